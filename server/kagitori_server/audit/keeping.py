"""How long segments are kept, and where: compressed into an archive after a time, removed after a longer one.

What is moved reads as before. What is removed leaves statements (`pruned`), in the chain's folder and in the trail.
Only whole segments are touched, never the newest two of a chain, and none is removed before every follower has dealt
with it. Each step can be broken off anywhere and is gone on with the next time.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from kagitori_server.audit.archived import ArchivedSegment, compress
from kagitori_server.audit.asked import second_text
from kagitori_server.audit.backwards import event_time
from kagitori_server.audit.chain import (
    ARCHIVE_NAME,
    ARCHIVED,
    MAX_LINE_BYTES,
    chain_names,
    parse_line,
    segment_name,
    segment_numbers,
    segment_path,
)
from kagitori_server.audit.disk import Disk
from kagitori_server.audit.pruned import (
    PRUNING_EVENT,
    Statement,
    Statements,
    StatementsDamagedError,
    add_statements,
    describe,
    read_statements,
)
from kagitori_server.audit.segments import Segment, open_segment
from kagitori_server.audit.trail import Trail

_LOCK_NAME = "keeping.lock"
_CHAINS_PER_RECORD = 100
_BLOCK_BYTES = 64 * 1024
_DAY = 86_400
_log = logging.getLogger(__name__)

Cursor = Callable[[str], int | None]
"""How far a follower has come in a chain: the number of the last record that it has dealt with, None for a chain that
it doesn't follow."""

Event = Callable[[str, Mapping[str, object]], bytes]
"""Makes the record of a service event from its name and details."""


@dataclass(frozen=True, slots=True)
class Keeping:
    """For how many days records are kept, and after how many they go to the archive. 0: for ever; never."""

    retention_days: float = 0
    archive_directory: Path | None = None
    archive_days: float = 0


class Keeper:
    """Moves and removes segments of all chains of a root. Methods block, and are for one thread."""

    def __init__(
        self, root: Path, trail: Trail, keeping: Keeping, followers: Mapping[str, Cursor], make_event: Event,
        clock: Callable[[], float], disk: Disk | None = None,
    ) -> None:
        self._root = root
        self._trail = trail
        self._keeping = keeping
        self._followers = followers
        self._make_event = make_event
        self._clock = clock
        self._disk = disk or Disk()
        self._stopping = False

    def stop(self) -> None:
        """Lets `run_once` end soon, after the segment that it is at."""
        self._stopping = True

    def run_once(self) -> None:
        """Does what there is to do by now; nothing if another process is at it. Raises OSError, KmsError."""
        path = self._root / _LOCK_NAME
        path.touch(0o600)
        with path.open("rb") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return
            if self._keeping.archive_directory is not None:
                for chain in chain_names(self._root):
                    self._archive(chain, self._keeping.archive_directory)
            if self._keeping.retention_days and not self._stopping:
                self._prune()

    def _archive(self, chain: str, directory: Path) -> None:
        folder = self._root / chain
        link, target = folder / ARCHIVE_NAME, directory.absolute() / chain
        oldest = self._before(self._keeping.archive_days)
        plain = [number for number in _sealed(folder) if (folder / segment_name(number)).exists()]
        for number in plain:
            if self._stopping or _first_line(folder, number + 1)[1] >= oldest:
                return
            if not link.is_symlink():
                for each in (directory, target):
                    each.mkdir(mode=0o700, exist_ok=True)
                    self._disk.sync_directory(each.parent)
                link.symlink_to(target)
                self._disk.sync_directory(folder)
            if link.resolve() != target.resolve():
                raise OSError(f"{link} leads elsewhere than to {target}: move the archive and the link first")
            self._move(folder / segment_name(number), target / (segment_name(number) + ARCHIVED))

    def _move(self, plain: Path, archived: Path) -> None:
        """Puts a segment into the archive, and removes it once it can be read there."""
        if not archived.exists():
            new = archived.with_suffix(".new")
            with plain.open("rb") as source, new.open("wb") as made:
                os.fchmod(made.fileno(), 0o600)
                for part in compress(source):
                    made.write(part)
                made.flush()
                os.fsync(made.fileno())
            new.replace(archived)
        # Also when it was put there by one who was killed before he could say so.
        self._disk.sync_directory(archived.parent)
        chain_dir, number = plain.parent, int(plain.name[:8])
        with plain.open("rb") as source:
            expected = hashlib.file_digest(source, "sha256").digest()
        if _digest(archived) != expected:
            raise OSError(f"{archived} is not what {plain.name} of {chain_dir.name} is")
        self._disk.remove(plain)
        _log.info("audit chain %s: segment %d went to the archive", chain_dir.name, number)

    def _prune(self) -> None:
        """Removes segments whose records are all too old."""
        known: dict[str, Statements] = {}
        removable: dict[str, list[int]] = {}
        for chain in chain_names(self._root):
            folder = self._root / chain
            try:
                known[chain] = read_statements(folder)
            except StatementsDamagedError as error:
                _log.error("audit chain %s is not pruned: %s", chain, error)
                continue
            added = self._due(folder, known[chain])
            if added:
                known[chain] = add_statements(folder, known[chain], added, self._disk)
            removable[chain] = [number for number in segment_numbers(folder) if number <= known[chain].segments]
        if any(removable.values()):
            self._record(known)
        for chain, numbers in removable.items():
            for number in numbers:
                self._remove(self._root / chain, number)
            if numbers:
                _log.info("audit chain %s: pruned up to segment %d", chain, numbers[-1])

    def _due(self, folder: Path, known: Statements) -> list[Statement]:
        """What is to be said of the segments behind the stated ones that can be removed."""
        oldest = self._before(self._keeping.retention_days)
        dealt_with = self._dealt_with(folder.name)
        due: list[Statement] = []
        for number in _sealed(folder):
            if number <= known.segments:
                continue
            seq, when = _first_line(folder, number + 1)
            if number != known.segments + len(due) + 1 or when >= oldest or not 0 < seq <= dealt_with + 1:
                break
            # Of clocks that were set back: the newest of all its records counts.
            statement = describe(folder, number)
            if statement is None or statement.last_time >= oldest or statement.last_seq != seq - 1:
                break
            due.append(statement)
        return due

    def _dealt_with(self, chain: str) -> int:
        """The number of the last record that all followers have dealt with."""
        reached = [seq for follower in self._followers.values() if (seq := follower(chain)) is not None]
        return min(reached, default=0)

    def _record(self, known: Mapping[str, Statements]) -> None:
        """Leaves records of all statements that there are, so that the newest records vouch for them."""
        chains: list[dict[str, object]] = []
        for chain, statements in known.items():
            if not statements.stated:
                continue
            first, last = statements.stated[0], statements.stated[-1]
            chains.append({
                "chain_name": chain, "segments": statements.segments, "first_sequence": first.first_seq,
                "last_sequence": last.last_seq, "first_hash": first.first_hash, "last_hash": last.last_hash,
                "last_time": last.last_time, "statement_hash": statements.hashes[-1],
            })
        for begin in range(0, len(chains), _CHAINS_PER_RECORD):
            details = {
                "retention_days": self._keeping.retention_days, "chains": chains[begin : begin + _CHAINS_PER_RECORD]
            }
            self._trail.append_blocking(self._make_event(PRUNING_EVENT, details))

    def _remove(self, folder: Path, number: int) -> None:
        path = segment_path(folder, number)
        while path.exists():
            # First where it is read: a copy in the archive would be found in its stead.
            self._disk.remove(path)
            path = segment_path(folder, number)

    def _before(self, days: float) -> str:
        return second_text(self._clock() - days * _DAY)


def _sealed(folder: Path) -> Sequence[int]:
    """The segments that nobody writes or needs to find a chain's end, ascending."""
    return segment_numbers(folder)[:-2]


def _first_line(folder: Path, number: int) -> tuple[int, str]:
    """Number and time of a segment's first line; 0 and a time that never comes if there is none."""
    file: Segment | None = open_segment(folder, number)
    if file is not None:
        with closing(file):
            line = file.pread(MAX_LINE_BYTES + 1, 0).partition(b"\n")[0]
            parsed = parse_line(line)
            if parsed is not None:
                return parsed.seq, event_time(line)
    return 0, "9"


def _digest(archived: Path) -> bytes:
    """SHA-256 of an archived segment's content."""
    digest = hashlib.sha256()
    with closing(ArchivedSegment(archived)) as segment:
        offset = 0
        while block := segment.pread(_BLOCK_BYTES, offset):
            digest.update(block)
            offset += len(block)
    return digest.digest()
