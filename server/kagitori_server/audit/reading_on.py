"""Reading on in a chain, record after record, from a place that was kept."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from kagitori_server.audit.backwards import Cursor, chain_backwards, chain_end
from kagitori_server.audit.chain import parse_line
from kagitori_server.audit.following import Reach
from kagitori_server.audit.forwards import chain_forwards


class Place(NamedTuple):
    """How far a chain was read: the place behind the record numbered `seq`."""

    segment: int
    offset: int
    seq: int


BEGINNING = Place(1, 0, 0)


class Records(NamedTuple):
    """Records that follow each other. `place` is behind the last of them."""

    events: list[bytes]
    first_seq: int
    place: Place
    damaged: int
    """Lines on the way that weren't in the format."""


def read_on(chain_dir: Path, after: Place, reach: Reach, most: int, most_bytes: int) -> Records:
    """The next records of a chain: at most `most`, and no more than a single one beyond `most_bytes`. Blocks.

    Raises OSError.
    """
    events: list[bytes] = []
    place, first, size, damaged = after, 0, 0, 0
    for stretch in chain_forwards(chain_dir, Cursor(after.segment, after.offset), reach.stop):
        offset = stretch.end.offset - sum(len(line) + 1 for line in stretch.lines)
        for line in stretch.lines:
            offset += len(line) + 1
            parsed = parse_line(line)
            if parsed is None:
                damaged += 1
                continue
            if reach.seq is not None and parsed.seq > reach.seq:
                return Records(events, first, place, damaged)
            # What an append that failed left behind may be numbered like what came in its stead.
            if parsed.seq <= place.seq:
                continue
            if events and size + len(parsed.event) > most_bytes:
                return Records(events, first, place, damaged)
            first = first or parsed.seq
            events.append(parsed.event)
            size += len(parsed.event)
            place = Place(stretch.end.segment, offset, parsed.seq)
            if len(events) == most:
                return Records(events, first, place, damaged)
    return Records(events, first, place, damaged)


def newest_place(chain_dir: Path) -> Place:
    """The place behind the newest complete line. Raises OSError."""
    for line in chain_backwards(chain_dir, chain_end(chain_dir)):
        parsed = parse_line(line.data)
        if parsed is not None:
            return Place(line.end.segment, line.end.offset, parsed.seq)
    return BEGINNING
