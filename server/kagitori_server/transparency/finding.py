"""Finds records by their ids, newest first: by the index, and what isn't in it by looking for the id in blocks of bytes
before any line is taken apart."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import NamedTuple

from kagitori_server.audit.backwards import Cursor, chain_backwards, chain_end
from kagitori_server.audit.chain import MAX_LINE_BYTES, chain_names, segment_numbers
from kagitori_server.audit.index_file import Step, word
from kagitori_server.audit.indexing import Indexes
from kagitori_server.audit.lookup import Sought, search_back
from kagitori_server.audit.matching import LookupKey, parse_record
from kagitori_server.audit.segments import Segment, open_segment
from kagitori_server.transparency.following import read_leaf

MOST_FOUND = 100
_BLOCK_BYTES = 256 * 1024
_KEYS = {"eventID": LookupKey.EVENT_ID, "requestID": LookupKey.REQUEST_ID}
_EVER = ("", "~")
"""Texts before and behind all times, and before those of records that tell none."""


class FoundRecord(NamedTuple):
    """A record and where it is."""

    chain: str
    seq: int
    event: bytes


class Wanted(NamedTuple):
    """Which records: those kept for an account whose `member` (`eventID` or `requestID`) has that value."""

    account: str
    member: str
    value: str

    @property
    def needle(self) -> bytes:
        """What their lines hold. Others may hold it too: as a name and value that a caller chose."""
        return f'"{self.member}":"{self.value}"'.encode("ascii", "replace")

    @property
    def word(self) -> str:
        """What they are found by in the index."""
        return word(self.account, (_KEYS[self.member], self.value))


def find_records(
    root: Path, chains: list[str] | None, wanted: Wanted, rest: Callable[[], None], indexes: Indexes | None = None
) -> list[FoundRecord]:
    """What is wanted, at most 100 records, oldest first; those of one call stand together, in one chain. None if there
    are none in `chains` (None: in any). Calls `rest` now and then, which may raise. Raises OSError.
    """
    sought = Sought((wanted.word,), *_EVER)
    for chain in chain_names(root) if chains is None else chains:
        folder = root / chain
        scan = partial(_scan, folder, wanted.needle, rest)
        with closing(search_back(folder, chain_end(folder), sought, indexes, scan)) as steps:
            for step in steps:
                rest()
                found = [] if step.line is None else _together(folder, step.line.end, wanted)
                if found:
                    return found
    return []


def _together(chain_dir: Path, end: Cursor, wanted: Wanted) -> list[FoundRecord]:
    """The records that are wanted and stand right before a place."""
    found: list[FoundRecord] = []
    for line in chain_backwards(chain_dir, end):
        if wanted.needle not in line.data:
            break
        record, leaf = parse_record(line.data) or {}, read_leaf(line.data)
        if leaf is None or record.get(wanted.member) != wanted.value:
            break
        # Copies for owners of keys, in other accounts, stand in between.
        if record.get("recipientAccountId") == wanted.account:
            found.append(FoundRecord(chain_dir.name, leaf.seq, leaf.event))
        if len(found) == MOST_FOUND:
            break
    return found[::-1]


def _scan(
    chain_dir: Path, needle: bytes, rest: Callable[[], None], before: Cursor, after: Cursor
) -> Iterator[Step]:
    """The lines between two places that hold `needle`, last line first."""
    for number in reversed(segment_numbers(chain_dir)):
        if not after.segment <= number <= before.segment:
            continue
        begin = after.offset if number == after.segment else 0
        stop = before.offset if number == before.segment else sys.maxsize
        for end in _hits(chain_dir, number, range(begin, stop), needle, rest):
            line = next(chain_backwards(chain_dir, Cursor(number, end)), None)
            if line is not None:
                yield Step(line, line.start, len(line.data))


def _hits(chain_dir: Path, number: int, part: range, needle: bytes, rest: Callable[[], None]) -> Iterator[int]:
    """The ends of the lines in a part of a segment that hold `needle`, last line first."""
    segment = open_segment(chain_dir, number)
    if segment is None:
        return
    with closing(segment):
        stop = min(segment.size, part.stop)
        while stop > part.start:
            rest()
            start = max(part.start, stop - _BLOCK_BYTES)
            # What begins in this block may end in the one behind it.
            block = segment.pread(stop - start + len(needle) - 1, start)
            place = block.rfind(needle)
            while place >= 0:
                end = _line_end(segment, start + place)
                if end is not None:
                    yield end
                # On with the line before.
                place = block.rfind(needle, 0, max(block.rfind(b"\n", 0, place), 0))
            stop = start


def _line_end(segment: Segment, inside: int) -> int | None:
    """The place behind the line that holds a place; None for one that isn't finished, or too long."""
    rest = segment.pread(MAX_LINE_BYTES + 1, inside)
    end = rest.find(b"\n")
    return inside + end + 1 if end >= 0 else None
