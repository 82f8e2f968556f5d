"""What is said of segments that were removed because their time was over.

    ROOT/chain-00/pruned.jsonl    a statement per removed segment, in the order of the segments

    {"statement":N,"prev":"<64 hex>","segment":N,"firstSeq":N,"lastSeq":N,"firstHash":"<64 hex>","lastHash":"<64 hex>",
     "firstTime":"…","lastTime":"…"}

`prev` is SHA-256 over the statement before, without its newline, and of a chain's first statement `origin(chain)`. The
statements are written before anything is removed, and so is a record in the trail (`PRUNING_EVENT`) that names the
newest statement of each chain: whoever removes segments without being entitled to has to forge the trail besides. What
is kept begins with the link to `lastHash`.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from kagitori_server.audit.backwards import event_time
from kagitori_server.audit.chain import PRUNED_NAME, line_hash, parse_line, read_lines, segment_path
from kagitori_server.audit.disk import Disk
from kagitori_server.audit.matching import parse_record

PRUNING_EVENT = "PruneAuditTrail"

_DOMAIN = b"kagitori audit pruning v1\n"
_MEMBERS = ("segment", "firstSeq", "lastSeq", "firstHash", "lastHash", "firstTime", "lastTime")


class StatementsDamagedError(Exception):
    """The statements of a chain aren't what was written."""


class Statement(NamedTuple):
    """A removed segment: the numbers, hashes and times of its first and last line."""

    segment: int
    first_seq: int
    last_seq: int
    first_hash: str
    last_hash: str
    first_time: str
    last_time: str


class Statements(NamedTuple):
    """All of a chain's. `hashes` are those of the lines they stand in."""

    stated: tuple[Statement, ...]
    hashes: tuple[str, ...]

    @property
    def segments(self) -> int:
        """How many segments were pruned, or are about to be: numbers 1 to this."""
        return len(self.stated)


def origin(chain: str) -> str:
    """The `prev` of a chain's first statement."""
    return hashlib.sha256(_DOMAIN + chain.encode()).hexdigest()


def read_statements(chain_dir: Path) -> Statements:
    """The statements of a chain; a torn last line, which a crash leaves before anything is removed, is none.

    Raises StatementsDamagedError, OSError.
    """
    try:
        raw = (chain_dir / PRUNED_NAME).read_bytes()
    except FileNotFoundError:
        return Statements((), ())
    lines = raw.split(b"\n")[:-1]
    stated: list[Statement] = []
    hashes: list[str] = []
    for number, line in enumerate(lines, 1):
        statement = _parse(line, number, hashes[-1] if hashes else origin(chain_dir.name))
        if statement is None or not _follows(statement, stated):
            raise StatementsDamagedError(f"statement {number} about pruned segments is not what was written")
        stated.append(statement)
        hashes.append(line_hash(line))
    return Statements(tuple(stated), tuple(hashes))


def describe(chain_dir: Path, number: int) -> Statement | None:
    """What is to be said of a segment; None if it isn't whole. Reads all of it. Raises OSError."""
    first = last = None
    newest = ""
    for raw in read_lines(segment_path(chain_dir, number)):
        line = parse_line(raw.data) if raw.complete else None
        if line is None:
            return None
        first = first or (line.seq, line_hash(raw.data), event_time(raw.data))
        last = (line.seq, raw.data)
        newest = max(newest, event_time(raw.data))
    if first is None or last is None:
        return None
    return Statement(number, first[0], last[0], first[1], line_hash(last[1]), first[2], newest)


def add_statements(chain_dir: Path, known: Statements, added: Sequence[Statement], disk: Disk) -> Statements:
    """Writes statements behind those that are known, durably. Raises OSError."""
    lines: list[bytes] = []
    hashes = list(known.hashes)
    for number, statement in enumerate(added, known.segments + 1):
        members = {"statement": number, "prev": hashes[-1] if hashes else origin(chain_dir.name)}
        line = json.dumps({**members, **dict(zip(_MEMBERS, statement, strict=True))}, separators=(",", ":"))
        lines.append(line.encode("ascii") + b"\n")
        hashes.append(line_hash(lines[-1][:-1]))
    path = chain_dir / PRUNED_NAME
    offset = 0
    if path.exists():
        # Behind the last whole line: what a crash left of another is overwritten.
        offset = path.read_bytes().rfind(b"\n") + 1
        descriptor = disk.reopen(path)
        disk.cut(descriptor, offset)
    else:
        descriptor = disk.create(path)
    try:
        disk.write_durably(descriptor, b"".join(lines), offset)
    finally:
        os.close(descriptor)
    return Statements((*known.stated, *added), tuple(hashes))


def attested(line: bytes) -> list[tuple[str, str]]:
    """The chains and the hashes of statements that a record of pruning names; none for any other line."""
    if PRUNING_EVENT.encode() not in line:
        return []
    record = parse_record(line) or {}
    details = record.get("serviceEventDetails")
    if record.get("eventName") != PRUNING_EVENT or record.get("eventType") != "AwsServiceEvent":
        return []
    chains = details.get("chains") if isinstance(details, dict) else None
    found = [chain for chain in chains if isinstance(chain, dict)] if isinstance(chains, list) else []
    return [(str(chain.get("chainName")), str(chain.get("statementHash"))) for chain in found]


def chain_beginning(chain_dir: Path) -> tuple[str, str] | None:
    """Hash and time of a chain's first line, also if it was pruned; None while there is none.

    Raises StatementsDamagedError, OSError.
    """
    try:
        statements = (chain_dir / PRUNED_NAME).stat()
        stated = _stated_beginning(chain_dir, statements.st_ino, statements.st_size, statements.st_mtime_ns)
    except FileNotFoundError:
        stated = None
    if stated is not None:
        return stated
    try:
        first = next(read_lines(segment_path(chain_dir, 1)), None)
    except FileNotFoundError:
        return None
    if first is None or not first.complete or parse_line(first.data) is None:
        return None
    return line_hash(first.data), event_time(first.data)


@lru_cache(maxsize=64)
def _stated_beginning(chain_dir: Path, inode: int, size: int, changed: int) -> tuple[str, str] | None:
    """What the statements say, which are all examined for it: again when their file isn't the same any more. Followers
    ask this every moment."""
    del inode, size, changed
    stated = read_statements(chain_dir).stated
    return (stated[0].first_hash, stated[0].first_time) if stated else None


def _parse(line: bytes, number: int, prev: str) -> Statement | None:
    try:
        members = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(members, dict) or (members.get("statement"), members.get("prev")) != (number, prev):
        return None
    values = [members.get(name) for name in _MEMBERS]
    wanted = (int, int, int, str, str, str, str)
    if any(type(value) is not kind for value, kind in zip(values, wanted, strict=True)):
        return None
    return Statement._make(values)


def _follows(statement: Statement, stated: Sequence[Statement]) -> bool:
    before = stated[-1].last_seq if stated else 0
    return (
        statement.segment == len(stated) + 1
        and statement.first_seq == before + 1
        and statement.last_seq >= statement.first_seq
    )
