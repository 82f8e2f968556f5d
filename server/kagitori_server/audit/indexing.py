"""The index of the trail: follows the chains from disk, at its own pace, and mends itself.

    ROOT/index/chain-00/lock              held by the process that writes
    ROOT/index/chain-00/00000017.sqlite   a file for the lines from the beginning of segment 17 on
    ROOT/index/chain-00/00000017.sha256   its hash, once it isn't written any more

A look-up uses the files that were examined in this process, and reads the chain itself for all else: lines newer than
the index, and those of files that are missing, damaged or not yet examined. So it finds the same with and without.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from itertools import pairwise
from pathlib import Path

from kagitori_server.audit.backwards import Cursor
from kagitori_server.audit.chain import chain_names, parse_line, segment_name, segment_number, segment_numbers
from kagitori_server.audit.following import Reach, reach
from kagitori_server.audit.forwards import Stretch, chain_forwards
from kagitori_server.audit.index_file import IndexReader, Words, file_hash, means_damage, readable
from kagitori_server.audit.index_writer import SEAL_SUFFIX, IndexWriter
from kagitori_server.audit.opening import lock_chain
from kagitori_server.audit.trail import Trail

INDEX_NAME = "index"
SEALED_LINES = 1_000_000
"""A file with so many lines is sealed when the next segment begins."""
CHUNK_BYTES = 8 * 1024 * 1024
"""How much of a chain is indexed in one transaction."""

_SUFFIX = ".sqlite"
_log = logging.getLogger(__name__)


class Indexes:
    """The files of all chains under a root that may be used. Thread-safe."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._lock = threading.Lock()
        self._trusted: dict[Path, tuple[int, ...] | None] = {}
        self._broken: set[Path] = set()

    def folder(self, chain: str) -> Path:
        """Where the files of a chain are."""
        return self._root / INDEX_NAME / chain

    def files(self, chain: str) -> list[Path]:
        """The files of a chain that there are, oldest first."""
        try:
            found = [path for path in self.folder(chain).iterdir() if path.suffix == _SUFFIX]
        except FileNotFoundError:
            return []
        return sorted(path for path in found if first_segment(path))

    def file(self, chain: str, segment: int) -> Path:
        """The file for the lines from the beginning of a segment on."""
        return self.folder(chain) / Path(segment_name(segment)).with_suffix(_SUFFIX)

    def usable(self, chain: str) -> list[tuple[int, Path]]:
        """The files of a chain that may be used, with the segments that they begin with; newest first."""
        with self._lock:
            trusted = [path for path in self._trusted if path.parent.name == chain]
        return sorted(((first_segment(path) or 0, path) for path in trusted), reverse=True)

    def open(self, path: Path) -> IndexReader | None:
        """A file, for whoever closes it; None if it can't be read, which is remembered."""
        with self._lock:
            seal = self._trusted.get(path)
        try:
            if seal is None or seal == _stamp(path):
                return IndexReader(path, self._root / path.parent.name)
            self.doubt(path, ValueError("it was changed after it was sealed"))
        except (sqlite3.Error, OSError, TypeError, ValueError) as error:
            self.doubt(path, error)
        return None

    def trusts(self, path: Path) -> bool:
        """Whether look-ups use a file."""
        with self._lock:
            return path in self._trusted

    def trust(self, path: Path) -> None:
        """From now on the file is used; a sealed one for as long as it isn't touched."""
        stamp = _stamp(path) if path.with_suffix(SEAL_SUFFIX).exists() else None
        with self._lock:
            self._broken.discard(path)
            self._trusted[path] = stamp

    def doubt(self, path: Path, error: Exception) -> None:
        """The file isn't used until it was examined; one that SQLite called damaged is made anew."""
        with self._lock:
            known = path in self._trusted
            self._trusted.pop(path, None)
            if means_damage(error):
                self._broken.add(path)
        if known and path.exists():
            _log.warning("audit index %s/%s can't be used: %s", path.parent.name, path.name, error)

    def broken(self, path: Path) -> bool:
        """Whether it is to be made anew, whatever an examination says."""
        with self._lock:
            return path in self._broken

    def remove(self, path: Path) -> None:
        """Throws a file away."""
        with self._lock:
            self._trusted.pop(path, None)
            self._broken.discard(path)
        for name in (path.name, path.name + "-wal", path.name + "-shm", path.stem + SEAL_SUFFIX):
            (path.parent / name).unlink(missing_ok=True)


class Indexer:
    """The follower of a process. Methods block, and are for one thread, but for `stop`."""

    def __init__(
        self, root: Path, trail: Trail, indexes: Indexes, rest: Callable[[], None], sealed_lines: int = SEALED_LINES
    ) -> None:
        """`rest` is called again and again while there is work, so that it doesn't slow calls."""
        self._root = root
        self._trail = trail
        self._indexes = indexes
        self._rest = rest
        self._sealed_lines = sealed_lines
        self._words = Words()
        self._stopping = False

    def stop(self) -> None:
        """Lets `run_once` end soon."""
        self._stopping = True

    def run_once(self) -> None:
        """Brings the index up to what is durable now. Raises OSError, sqlite3.Error."""
        own = self._trail.position()
        for chain in chain_names(self._root):
            if self._stopping:
                return
            self._follow(chain, reach(self._root, chain, own))

    def indexed(self, chain: str) -> int:
        """The number of the last line of a chain before which all that is there is indexed; 0 for none."""
        files = self._indexes.files(chain)
        if not files or not self._indexes.trusts(files[-1]):
            return 0
        try:
            with closing(IndexReader(files[-1], self._root / chain)) as reader:
                return reader.about.seq
        except (sqlite3.Error, TypeError):
            return 0

    def _follow(self, chain: str, goal: Reach | None) -> None:
        folder = self._indexes.folder(chain)
        for each in (folder.parent, folder):
            each.mkdir(mode=0o700, exist_ok=True)
        lock = None if goal is None else lock_chain(folder)
        try:
            for path in self._indexes.files(chain):
                self._examine(path, chain, may_remove=lock is not None)
            if goal is not None and lock is not None:
                self._drop_pruned(chain)
                self._fill(goal)
        finally:
            if lock is not None:
                os.close(lock)

    def _examine(self, path: Path, chain: str, *, may_remove: bool) -> None:
        """Decides whether a file is used that this process doesn't know yet."""
        if self._indexes.trusts(path):
            return
        try:
            fit = not self._indexes.broken(path) and self._sound(path, self._root / chain)
        except sqlite3.Error as error:
            _log.info("audit index %s/%s can't be examined now: %s", chain, path.name, error)
            return
        if fit:
            self._indexes.trust(path)
        elif may_remove:
            _log.warning("audit index %s/%s is damaged or of another release, and is made anew", chain, path.name)
            self._indexes.remove(path)

    def _sound(self, path: Path, chain_dir: Path) -> bool:
        note = path.with_suffix(SEAL_SUFFIX)
        if note.exists() and note.read_bytes() != file_hash(path).encode("ascii"):
            return False
        numbers = segment_numbers(chain_dir)
        return readable(path, chain_dir, numbers[0] if numbers else 0)

    def _drop_pruned(self, chain: str) -> None:
        """Removes the files all of whose segments were pruned."""
        numbers = segment_numbers(self._root / chain)
        files = self._indexes.files(chain)
        for path, following in pairwise(files):
            if numbers and (first_segment(following) or 0) <= numbers[0]:
                self._indexes.remove(path)

    def _fill(self, goal: Reach) -> None:
        """Makes and continues files so that all lines up to the goal are in one."""
        numbers = segment_numbers(self._root / goal.chain)
        if not numbers:
            return
        files = self._indexes.files(goal.chain)
        begin: int | None = numbers[0]
        for path in files:
            first = first_segment(path) or 0
            if begin is not None and begin < first:
                self._write(goal._replace(seq=None, stop=Cursor(first, 0)), begin, last=False)
            begin = self._continue(goal, path, last=path == files[-1])
        while begin is not None and not self._stopping:
            begin = self._write(goal, begin, last=True)

    def _continue(self, goal: Reach, path: Path, *, last: bool) -> int | None:
        """Goes on with a file that isn't sealed. Returns the segment that the next file begins with, None if the goal
        is reached."""
        with closing(IndexReader(path, self._root / goal.chain)) as reader:
            about = reader.about
        if not about.sealed:
            return self._write(goal, about.first_segment, last=last)
        return about.segment + 1

    def _write(self, goal: Reach, first: int, *, last: bool) -> int | None:
        """Adds lines to the file that begins with a segment, up to the goal or until it is full; returns like
        `_continue`. A file that isn't the last is sealed when the goal is reached."""
        path = self._indexes.file(goal.chain, first)
        if not last and goal.stop is None:
            begins = [first_segment(each) or 0 for each in self._indexes.files(goal.chain)]
            goal = goal._replace(seq=None, stop=Cursor(min(each for each in begins if each > first), 0))
        chain_dir = self._root / goal.chain
        if last and not path.exists() and next(chain_forwards(chain_dir, Cursor(first, 0), goal.stop), None) is None:
            return None
        with closing(IndexWriter(path, first, self._words)) as writer:
            size = 0
            for stretch in chain_forwards(chain_dir, writer.end, goal.stop):
                if stretch.end.segment > writer.end.segment and writer.about.lines >= self._sealed_lines:
                    return self._seal(writer, path)
                wanted, done = _up_to(stretch, goal.seq)
                writer.add(wanted)
                size += sum(map(len, wanted.lines))
                if size >= CHUNK_BYTES:
                    writer.commit()
                    size = 0
                if done or self._stopping:
                    break
                self._rest()
            writer.commit()
            self._indexes.trust(path)
            if not last and not self._stopping:
                return self._seal(writer, path)
        return None

    def _seal(self, writer: IndexWriter, path: Path) -> int:
        writer.commit()
        writer.seal()
        self._indexes.trust(path)
        return writer.about.segment + 1


def first_segment(path: Path) -> int | None:
    """The segment that a file begins with; None for another name."""
    return segment_number(path.stem + ".jsonl") if path.suffix == _SUFFIX else None


def _stamp(path: Path) -> tuple[int, ...]:
    """What tells that a file was written to."""
    found = path.stat()
    return found.st_ino, found.st_size, found.st_mtime_ns


def _up_to(stretch: Stretch, seq: int | None) -> tuple[Stretch, bool]:
    """The lines of a stretch numbered up to `seq` (None: all), and whether others came behind."""
    if seq is None or not stretch.lines:
        return stretch, False
    last = parse_line(stretch.lines[-1])
    if last is not None and last.seq <= seq:
        return stretch, False
    offset = stretch.end.offset - sum(len(line) + 1 for line in stretch.lines)
    wanted: list[bytes] = []
    for line in stretch.lines:
        parsed = parse_line(line)
        if parsed is not None and parsed.seq > seq:
            return Stretch(wanted, Cursor(stretch.end.segment, offset)), True
        offset += len(line) + 1
        wanted.append(line)
    return stretch, False
