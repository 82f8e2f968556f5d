"""A file of the index: which lines of a stretch of a chain have which attributes.

SQLite's full-text index is used for its lists of row ids alone: a row is a line, its words are short hashes of account
and attribute, and neither content nor positions are kept. Hashes may collide, so what is found is a reason to read a
line and no more. Rows are numbered from 1 in the order of lines; `blocks` says where they stand. All of it is derived
from the chain and is thrown away when there is any doubt about it.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from kagitori_server.audit.backwards import Cursor, LineAt
from kagitori_server.audit.chain import parse_line
from kagitori_server.audit.matching import Filter, LookupKey, attributes, context_pair, parse_record
from kagitori_server.audit.occasions import Occasion, occasion, split_context, with_empty_context
from kagitori_server.audit.segments import Segment, open_segment

VERSION = 3
WINDOW_LINES = 1 << 18
"""How many lines are looked through in the index between two chances to stop."""
_COST_PER_LINE = 4
"""What that costs for each of them, compared with reading bytes."""

SCHEMA = """
CREATE TABLE about (
    version INTEGER NOT NULL, sealed INTEGER NOT NULL, first_segment INTEGER NOT NULL, lines INTEGER NOT NULL,
    segment INTEGER NOT NULL, offset INTEGER NOT NULL, seq INTEGER NOT NULL, last_hash TEXT NOT NULL
);
CREATE TABLE blocks (
    first INTEGER PRIMARY KEY, lines INTEGER NOT NULL, segment INTEGER NOT NULL, offset INTEGER NOT NULL,
    size INTEGER NOT NULL, oldest TEXT, newest TEXT
);
CREATE UNIQUE INDEX places ON blocks (segment, offset);
CREATE VIRTUAL TABLE terms USING fts5 (words, content='', columnsize=0, detail=none, tokenize='ascii');
"""

_LONGEST_KNOWN = 8 * 1024
"""Bytes of a call that is remembered."""
_UNIQUE = frozenset({LookupKey.EVENT_ID, LookupKey.REQUEST_ID})


class About(NamedTuple):
    """What a file covers: the lines from the beginning of `first_segment` to the place `segment`, `offset`.

    `seq` is the number of the last line, `last_hash` its hash. A `sealed` file isn't written any more.
    """

    version: int
    sealed: int
    first_segment: int
    lines: int
    segment: int
    offset: int
    seq: int
    last_hash: str


class Block(NamedTuple):
    """Lines that follow each other in a segment; `oldest` and `newest` are their times, None if they tell none."""

    first: int
    lines: int
    segment: int
    offset: int
    size: int
    oldest: str | None
    newest: str | None


class Step(NamedTuple):
    """How far a search has come: everything behind `place` is dealt with but for `line`, if there is one.

    `cost` is what it took to come here, in bytes read or their like.
    """

    line: LineAt | None
    place: Cursor
    cost: int


class Words:
    """Finds the words of lines. Most calls are made again and again: of those, just the ids and the encryption context
    are looked at. For one thread."""

    def __init__(self, known: int = 20_000) -> None:
        """Remembers about so many calls."""
        self._most = known
        self._known: dict[bytes, tuple[str, str]] = {}
        self._request: tuple[tuple[str, ...], str] = (), ""

    def of(self, line: bytes, when: str) -> str:
        """What a line is found by, as the words of its row; empty for what isn't a record. `when` is its
        `event_time`."""
        seen = occasion(line)
        if seen is None or seen.when != when or not _plain(seen) or parse_line(line) is None:
            return _slowly(line)
        call, context = split_context(seen.what)
        known = self._known.get(call)
        if known is None:
            if len(call) > _LONGEST_KNOWN:
                return _slowly(line)
            if len(self._known) >= self._most:
                self._known.clear()
            known = self._known[call] = _repeated(line)
        account, words = known
        if not words:
            return ""
        if context:
            pairs = (context_pair(*pair) for pair in json.loads(context).items())
            words = " ".join([words, *(_word(account, LookupKey.ENCRYPTION_CONTEXT, pair) for pair in pairs)])
        request = account, LookupKey.REQUEST_ID, seen.request_id
        if self._request[0] != request:
            # The items of a batch share it.
            self._request = request, _hashed(*request)
        return f"{words} {_hashed(account, LookupKey.EVENT_ID, seen.event_id)} {self._request[1]}"


def _repeated(line: bytes) -> tuple[str, str]:
    """The account of a record, and the words of it without those of its ids and its encryption context."""
    record = parse_record(with_empty_context(line))
    account = None if record is None else record.get("recipientAccountId")
    if record is None or not isinstance(account, str):
        return "", ""
    found = [each for each in attributes(record) if each[0] not in _UNIQUE]
    return account, " ".join([_word(account), *(word(account, each) for each in found)])


def _slowly(line: bytes) -> str:
    record = parse_record(line)
    account = None if record is None else record.get("recipientAccountId")
    if record is None or not isinstance(account, str):
        return ""
    return " ".join([_word(account), *(word(account, found) for found in attributes(record))])


def _plain(seen: Occasion) -> bool:
    """Whether the ids mean themselves: nothing in them is escaped or ends them."""
    ids = seen.event_id + seen.request_id
    return ids.isprintable() and '"' not in ids and "\\" not in ids


def word(account: str, found: Filter) -> str:
    """The word of the lines that are found by this attribute in an account."""
    # These don't come twice: they would only drive others out of the cache.
    return _hashed(account, *found) if found[0] in _UNIQUE else _word(account, *found)


def account_word(account: str) -> str:
    """The word of all lines of an account."""
    return _word(account)


def _hashed(*parts: str) -> str:
    text = "\0".join(parts).encode("utf-8", "surrogatepass")
    return hashlib.blake2b(text, digest_size=5).hexdigest()


_word = lru_cache(maxsize=100_000)(_hashed)


class IndexReader:
    """A file at one moment. Methods raise sqlite3.Error if it can't be read, OSError if the chain can't."""

    def __init__(self, path: Path, chain_dir: Path) -> None:
        self.path = path
        self._dir = chain_dir
        self._db = sqlite3.connect(f"file:{path}?mode=rw", uri=True, isolation_level=None, check_same_thread=False)
        self._segment: tuple[int, Segment | None] = (0, None)
        self._block: tuple[Block | None, list[bytes]] = (None, [])
        try:
            self._db.execute("PRAGMA query_only = 1")
            self._db.execute("BEGIN")
            self.about = About(*self._db.execute("SELECT * FROM about").fetchone())
        except BaseException:
            self.close()
            raise

    @property
    def start(self) -> Cursor:
        """The place before the first line."""
        return Cursor(self.about.first_segment, 0)

    @property
    def end(self) -> Cursor:
        """The place behind the last line."""
        return Cursor(self.about.segment, self.about.offset)

    def close(self) -> None:
        """Gives everything back."""
        self._db.close()
        if self._segment[1] is not None:
            self._segment[1].close()
            self._segment = (0, None)

    def search(self, words: Sequence[str], before: Cursor, oldest: str, newest: str) -> Iterator[Step]:
        """The lines before `before` that have all of `words`, in blocks that hold times between `oldest` and
        `newest`, newest first. The last step is at `start`.
        """
        query = " AND ".join(words)
        for low, high in self._ranges(self._lines_before(before), oldest, newest):
            # Windows begin where a block does, so that they have a place.
            stop = high
            while stop > low:
                block = self._block_of(max(low, stop - WINDOW_LINES))
                begin = max(low, block.first)
                found = self._db.execute(
                    "SELECT rowid FROM terms WHERE terms MATCH ? AND rowid >= ? AND rowid < ? ORDER BY rowid DESC",
                    (query, begin, stop),
                )
                for (row,) in found:
                    line = self._line(row)
                    if line is not None:
                        yield Step(line, line.start, len(line.data))
                yield Step(None, Cursor(block.segment, block.offset), (stop - begin) * _COST_PER_LINE)
                stop = begin
        yield Step(None, self.start, 0)

    def first_place(self, oldest: str, newest: str) -> Cursor | None:
        """The place of the first block that holds times between these; None if none does."""
        found = self._db.execute(
            "SELECT segment, offset FROM blocks WHERE newest >= ? AND oldest <= ? ORDER BY first LIMIT 1",
            (oldest, newest),
        ).fetchone()
        return None if found is None else Cursor(*found)

    def last_line(self) -> bytes | None:
        """The last line as the chain has it, b"" if it hasn't; None if the file has no line."""
        if not self.about.lines:
            return None
        line = self._line(self.about.lines)
        return b"" if line is None or line.end != self.end else line.data

    def problems(self) -> bool:
        """Whether SQLite finds that its own structures are damaged. Reads all of the file."""
        self._db.execute("COMMIT")
        self._db.execute("PRAGMA query_only = 0")
        try:
            self._db.execute("INSERT INTO terms(terms) VALUES ('integrity-check')")
            return bool(self._db.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok")
        finally:
            self._db.execute("PRAGMA query_only = 1")
            self._db.execute("BEGIN")

    def _ranges(self, below: int, oldest: str, newest: str) -> list[tuple[int, int]]:
        """The rows up to `below`, not included, of blocks that hold such times, as ranges, last first."""
        outside = "SELECT 1 FROM blocks WHERE newest < ? OR oldest > ? LIMIT 1"
        if self._db.execute(outside, (oldest, newest)).fetchone() is None:
            return [(1, below)] if below > 1 else []
        ranges: list[tuple[int, int]] = []
        blocks = self._db.execute(
            "SELECT first, lines FROM blocks WHERE newest >= ? AND oldest <= ? AND first < ? ORDER BY first DESC",
            (oldest, newest, below),
        )
        for first, lines in blocks:
            stop = min(first + lines, below)
            if ranges and ranges[-1][0] == stop:
                ranges[-1] = (first, ranges[-1][1])
            else:
                ranges.append((first, stop))
        return ranges

    def _lines_before(self, place: Cursor) -> int:
        """The row of the first line that doesn't begin before the place."""
        found = self._db.execute(
            "SELECT * FROM blocks WHERE (segment, offset) < (?, ?) ORDER BY segment DESC, offset DESC LIMIT 1", place
        ).fetchone()
        if found is None:
            return 1
        block = Block(*found)
        if block.segment < place.segment or block.offset + block.size <= place.offset:
            return block.first + block.lines
        offset, row = block.offset, block.first
        for line in self._read(block):
            if offset >= place.offset:
                break
            offset += len(line) + 1
            row += 1
        return row

    def _block_of(self, row: int) -> Block:
        block = self._block[0]
        if block is not None and block.first <= row < block.first + block.lines:
            return block
        found = self._db.execute("SELECT * FROM blocks WHERE first <= ? ORDER BY first DESC LIMIT 1", (row,)).fetchone()
        if found is None:
            raise sqlite3.DatabaseError("a row is in no block")
        return Block(*found)

    def _line(self, row: int) -> LineAt | None:
        """A line; None if its segment isn't there."""
        block = self._block_of(row)
        lines = self._read(block)
        place = row - block.first
        if place >= len(lines):
            return None
        offset = block.offset + sum(len(line) + 1 for line in lines[:place])
        data = lines[place]
        return LineAt(data, Cursor(block.segment, offset), Cursor(block.segment, offset + len(data) + 1))

    def _read(self, block: Block) -> list[bytes]:
        if self._block[0] != block:
            file = self._open_segment(block.segment)
            data = b"" if file is None else file.pread(block.size, block.offset)
            self._block = (block, data.split(b"\n")[:-1])
        return self._block[1]

    def _open_segment(self, number: int) -> Segment | None:
        if self._segment[0] != number:
            if self._segment[1] is not None:
                self._segment[1].close()
            self._segment = (number, open_segment(self._dir, number))
        return self._segment[1]


def file_hash(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


_PASSING = frozenset({
    sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_INTERRUPT,
    sqlite3.SQLITE_IOERR, sqlite3.SQLITE_FULL, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PROTOCOL,
})


def means_damage(error: Exception) -> bool:
    """Whether what came of reading a file says that its content is wrong, not that it can't be read at the moment."""
    if isinstance(error, OSError):
        return False
    code = getattr(error, "sqlite_errorcode", None)
    return code is None or code & 0xFF not in _PASSING


def readable(path: Path, chain_dir: Path, first_kept: int) -> bool:
    """Whether a file belongs to the chain and SQLite finds nothing wrong with it. Reads all of it.

    Segments before `first_kept` were pruned. Raises sqlite3.Error when that can't be found out at the moment, OSError
    if the chain can't be read.
    """
    try:
        return _is_readable(path, chain_dir, first_kept)
    except (sqlite3.Error, TypeError, ValueError) as error:
        if means_damage(error):
            return False
        raise


def _is_readable(path: Path, chain_dir: Path, first_kept: int) -> bool:
    with closing(IndexReader(path, chain_dir)) as reader:
        if reader.about.version != VERSION:
            return False
        line = reader.last_line() if reader.about.segment >= first_kept else None
        if line is not None and hashlib.sha256(line).hexdigest() != reader.about.last_hash:
            return False
        return not reader.problems()
