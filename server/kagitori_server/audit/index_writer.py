"""Making a file of the index: lines are added in the order of the chain, and the place that was reached with them."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from kagitori_server.audit.backwards import Cursor, event_time
from kagitori_server.audit.chain import line_hash, parse_line
from kagitori_server.audit.forwards import Stretch
from kagitori_server.audit.index_file import SCHEMA, VERSION, About, Block, Words, file_hash

_BLOCK_BYTES = 32 * 1024
"""Blocks shorter than that grow by what comes next, so that a quiet service doesn't have one for each line."""
SEAL_SUFFIX = ".sha256"


class IndexWriter:
    """One file, written by one at a time. Methods raise sqlite3.Error."""

    def __init__(self, path: Path, first_segment: int, words: Words) -> None:
        """Goes on with the file, or makes one for the lines from the beginning of a segment."""
        self._words = words
        self._path = path
        # SQLite gives its other files the mode of this one.
        path.touch(0o600)
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        try:
            self._db.execute("PRAGMA journal_mode = WAL")
            # What a crash takes with it is read from the chain again.
            self._db.execute("PRAGMA synchronous = NORMAL")
            self._db.execute("BEGIN IMMEDIATE")
            if not self._db.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone():
                self._make(first_segment)
            self._db.execute("COMMIT")
            self.about = About(*self._db.execute("SELECT * FROM about").fetchone())
            last = self._db.execute("SELECT * FROM blocks ORDER BY first DESC LIMIT 1").fetchone()
        except BaseException:
            self._db.close()
            raise
        self._last = None if last is None else Block(*last)
        self._pending: list[tuple[int, str]] = []
        self._blocks: dict[int, Block] = {}

    @property
    def end(self) -> Cursor:
        """The place behind the last line that was added."""
        return Cursor(self.about.segment, self.about.offset)

    def close(self) -> None:
        """Gives the file back, without what wasn't committed."""
        self._db.close()

    def add(self, stretch: Stretch) -> None:
        """Adds lines; `commit` makes them count."""
        lines, end = stretch
        if not lines:
            self.about = self.about._replace(segment=end.segment, offset=end.offset)
            return
        times = list(map(event_time, lines))
        row = self.about.lines
        for line, when in zip(lines, times, strict=True):
            row += 1
            if words := self._words.of(line, when):
                self._pending.append((row, words))
        size = sum(map(len, lines)) + len(lines)
        times = [when for when in times if when]
        block = Block(
            self.about.lines + 1, len(lines), end.segment, end.offset - size, size,
            min(times, default=None), max(times, default=None),
        )
        self._last = self._joined(self._last, block)
        self._blocks[self._last.first] = self._last
        parsed = parse_line(lines[-1])
        self.about = self.about._replace(
            lines=row, segment=end.segment, offset=end.offset, seq=parsed.seq if parsed else self.about.seq,
            last_hash=line_hash(lines[-1]),
        )

    def commit(self) -> None:
        """Makes what was added and the place that was reached count, together."""
        about = self.about
        self._db.execute("BEGIN IMMEDIATE")
        try:
            self._db.executemany("INSERT INTO terms(rowid, words) VALUES (?, ?)", self._pending)
            self._db.executemany("INSERT OR REPLACE INTO blocks VALUES (?, ?, ?, ?, ?, ?, ?)", self._blocks.values())
            self._db.execute(
                "UPDATE about SET lines = ?, segment = ?, offset = ?, seq = ?, last_hash = ?",
                (about.lines, about.segment, about.offset, about.seq, about.last_hash),
            )
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise
        self._pending.clear()
        self._blocks.clear()

    def seal(self) -> None:
        """Makes it a file that doesn't change any more, as compact as it gets, and notes its hash beside it."""
        self._db.execute("INSERT INTO terms(terms) VALUES ('optimize')")
        self._db.execute("UPDATE about SET sealed = 1")
        self.about = self.about._replace(sealed=1)
        self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self._db.execute("PRAGMA journal_mode = DELETE")
        self._db.close()
        note = self._path.with_suffix(SEAL_SUFFIX)
        new = note.with_suffix(".new")
        new.touch(0o600)
        new.write_text(file_hash(self._path), encoding="ascii")
        new.replace(note)

    def _make(self, first_segment: int) -> None:
        for statement in SCHEMA.split(";"):
            self._db.execute(statement)
        about = About(VERSION, 0, first_segment, 0, first_segment, 0, 0, "")
        self._db.execute("INSERT INTO about VALUES (?, ?, ?, ?, ?, ?, ?, ?)", about)

    def _joined(self, last: Block | None, new: Block) -> Block:
        """The block that the new one makes with the last, or the new one where they don't fit together."""
        if last is None or last.size >= _BLOCK_BYTES or last.segment != new.segment:
            return new
        if last.offset + last.size != new.offset:
            return new
        oldest = [when for when in (last.oldest, new.oldest) if when is not None]
        newest = [when for when in (last.newest, new.newest) if when is not None]
        return Block(
            last.first, last.lines + new.lines, last.segment, last.offset, last.size + new.size,
            min(oldest, default=None), max(newest, default=None),
        )
