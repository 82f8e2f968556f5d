"""Finds records by their ids, newest first, by looking for the id in blocks of bytes before any line is taken apart."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from kagitori_server.audit.backwards import Cursor, chain_backwards
from kagitori_server.audit.chain import MAX_LINE_BYTES, chain_names, segment_numbers
from kagitori_server.audit.matching import parse_record
from kagitori_server.audit.segments import Segment, open_segment
from kagitori_server.transparency.following import read_leaf

MOST_FOUND = 100
_BLOCK_BYTES = 256 * 1024


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


def find_records(root: Path, chains: list[str] | None, wanted: Wanted, rest: Callable[[], None]) -> list[FoundRecord]:
    """What is wanted, at most 100 records, oldest first; those of one call stand together, in one chain. None if there
    are none in `chains` (None: in any). Calls `rest` now and then, which may raise. Raises OSError.
    """
    for chain in chain_names(root) if chains is None else chains:
        for number in reversed(segment_numbers(root / chain)):
            for end in _hits(root / chain, number, wanted.needle, rest):
                found = _together(root / chain, Cursor(number, end), wanted)
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


def _hits(chain_dir: Path, number: int, needle: bytes, rest: Callable[[], None]) -> Iterator[int]:
    """The ends of the lines of a segment that hold `needle`, last line first."""
    segment = open_segment(chain_dir, number)
    if segment is None:
        return
    with closing(segment):
        stop = segment.size
        while stop > 0:
            rest()
            start = max(0, stop - _BLOCK_BYTES)
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
