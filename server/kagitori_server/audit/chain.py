"""The layout of a trail on disk: how a line is written, linked, named and read. No writing, no threads.

    ROOT/chain-00/lock             held (flock) by the one process that appends to the chain
    ROOT/chain-00/00000001.jsonl   segments, numbered without gaps; each is JSON Lines
    ROOT/chain-00/archive          a link to where segments are that were compressed (`segments`)
    ROOT/chain-00/pruned.jsonl     what was removed when its time was over (`pruned`)

    {"seq":N,"prev":"<64 lowercase hex>","event":{...}}\n

`seq` counts from 1 over the whole chain. `prev` is SHA-256 over the bytes of the line before, without its
newline; it carries on across segments. The `prev` of line 1 is `genesis(chain)`, which depends on the chain's
name, so one chain can't be passed off as another. The newest line is the head: nothing after it vouches for
it, which is why heads should be kept elsewhere and given to the verifier.
"""

from __future__ import annotations

import gzip
import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import IO, NamedTuple, cast

MAX_EVENT_BYTES = 512 * 1024
"""Longest event of a line: above CloudTrail's bounds of 100 KB parameters, 100 KB response, 28 KB extra."""

MAX_LINE_BYTES = MAX_EVENT_BYTES + 128
"""Longest line without its newline: the event, a 19-digit `seq`, 64 digits of `prev` and the punctuation."""

MAX_CHAINS = 1000
"""Chains of one root; a process takes one for as long as it runs."""

LOCK_NAME = "lock"
ARCHIVE_NAME = "archive"
ARCHIVED = ".gz"
"""What an archived segment's name ends with besides."""
PRUNED_NAME = "pruned.jsonl"

_GENESIS_DOMAIN = b"kagitori audit chain v1\n"
_CHAIN = re.compile(r"chain-[0-9]{2,3}")
_SEGMENT = re.compile(r"[0-9]{8}\.jsonl")
_LINE = re.compile(rb'\{"seq":([1-9][0-9]{0,18}),"prev":"([0-9a-f]{64})","event":(\{.*\})\}')


class ChainLine(NamedTuple):
    """A line taken apart; `event` is still JSON bytes."""

    seq: int
    prev: str
    event: bytes


class RawLine(NamedTuple):
    """What stands between two newlines of a segment.

    `number` counts from 1, `end` is the offset behind the newline (or the end of the file). `data` lacks the
    newline and is cut after `MAX_LINE_BYTES` + 1 bytes. `complete` is False for a last line without newline.
    """

    number: int
    end: int
    data: bytes
    complete: bool


def genesis(chain: str) -> str:
    """The `prev` of a chain's first line: SHA-256 in hex over a domain line and the chain's name."""
    return hashlib.sha256(_GENESIS_DOMAIN + chain.encode()).hexdigest()


def format_line(seq: int, prev: str, event: bytes) -> bytes:
    """The bytes of a line, without the newline."""
    return b'{"seq":%d,"prev":"%b","event":%b}' % (seq, prev.encode(), event)


def parse_line(data: bytes) -> ChainLine | None:
    """Takes a line (without newline) apart, or None if it isn't exactly in the format.

    The event is only known to begin and end with a brace: whoever needs its content parses it.
    """
    if len(data) > MAX_LINE_BYTES:
        return None
    match = _LINE.fullmatch(data)
    if match is None:
        return None
    seq, prev, event = match.groups()
    return ChainLine(int(seq), prev.decode(), event)


def line_hash(data: bytes) -> str:
    """What the next line's `prev` must say about this one."""
    return hashlib.sha256(data).hexdigest()


def chain_name(number: int) -> str:
    """`chain-00` for 0."""
    return f"chain-{number:02d}"


def segment_name(number: int) -> str:
    """`00000001.jsonl` for 1."""
    return f"{number:08d}.jsonl"


def chain_names(root: Path) -> list[str]:
    """The chains of a root in the order of their numbers; none if the root does not exist."""
    if not root.is_dir():
        return []
    found = [entry.name for entry in root.iterdir() if _CHAIN.fullmatch(entry.name) and entry.is_dir()]
    canonical = [name for name in found if name == chain_name(int(name.removeprefix("chain-")))]
    return sorted(canonical, key=lambda name: int(name.removeprefix("chain-")))


def segment_number(name: str) -> int | None:
    """The number of a segment's file name, None for any other name."""
    number = int(name[:8]) if _SEGMENT.fullmatch(name) else 0
    return number or None


def segment_numbers(chain_dir: Path) -> list[int]:
    """The segment numbers present in a chain and its archive, ascending; gaps are the caller's business."""
    found = {number for entry in chain_dir.iterdir() if (number := segment_number(entry.name))}
    return sorted(found.union(archived_numbers(chain_dir)))


def archived_numbers(chain_dir: Path) -> list[int]:
    """The numbers of the segments in a chain's archive, ascending."""
    try:
        names = [entry.name for entry in (chain_dir / ARCHIVE_NAME).iterdir()]
    except (FileNotFoundError, NotADirectoryError):
        return []
    plain = [name.removesuffix(ARCHIVED) for name in names if name.endswith(ARCHIVED)]
    return sorted(number for name in plain if (number := segment_number(name)))


def segment_path(chain_dir: Path, number: int) -> Path:
    """Where a segment is; where it would be, if it is nowhere."""
    plain = chain_dir / segment_name(number)
    archived = chain_dir / ARCHIVE_NAME / (plain.name + ARCHIVED)
    return plain if plain.exists() or not archived.exists() else archived


def read_lines(path: Path) -> Iterator[RawLine]:
    """The lines of a segment from its start, in memory bounded by one line.

    Raises OSError; for an archived segment that is damaged EOFError or zlib.error, too.
    """
    limit = MAX_LINE_BYTES + 1
    number = 0
    end = 0
    with cast("IO[bytes]", gzip.open(path) if path.suffix == ARCHIVED else path.open("rb")) as file:
        while first := file.readline(limit):
            number += 1
            end += len(first)
            last = first
            while not last.endswith(b"\n") and (last := file.readline(limit)):
                end += len(last)
            yield RawLine(number, end, first.removesuffix(b"\n"), complete=last.endswith(b"\n"))
