"""Reading a chain from its end: newest line first, lazily, in memory bounded by one line and one block."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from kagitori_server.audit.chain import MAX_LINE_BYTES, segment_numbers
from kagitori_server.audit.segments import open_segment

CLOCK_SLACK_SECONDS = 300
"""How far records of one chain may be out of order by their event times (concurrent calls, clock steps)."""

_BLOCK_BYTES = 64 * 1024
_EVENT_TIME = re.compile(rb'"eventTime":"([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z)"')


class Cursor(NamedTuple):
    """A place between two lines: what stands before it is still to be read."""

    segment: int
    offset: int


BEGINNING = Cursor(0, 0)
"""The place before all lines."""


class LineAt(NamedTuple):
    """A complete line and the places before and behind it."""

    data: bytes
    start: Cursor
    end: Cursor


def chain_end(chain_dir: Path) -> Cursor:
    """The place behind the newest line."""
    numbers = segment_numbers(chain_dir)
    if not numbers:
        return Cursor(1, 0)
    file = open_segment(chain_dir, numbers[-1])
    if file is None:
        return Cursor(numbers[-1], 0)
    with closing(file):
        return Cursor(numbers[-1], file.size)


def event_time(line: bytes) -> str:
    """The event's time as `YYYY-MM-DDTHH:MM:SSZ`, read without parsing the line; empty if there is none.

    In a record the time stands before everything whose names a caller can choose: the first match is right.
    """
    match = _EVENT_TIME.search(line)
    return match.group(1).decode() if match else ""


def chain_backwards(chain_dir: Path, cursor: Cursor, stop: Cursor = BEGINNING) -> Iterator[LineAt]:
    """The complete lines before `cursor` and from `stop` on, newest first, across segments.

    A writer may append meanwhile; a segment that it cut or removed meanwhile simply ends earlier.
    """
    for number in reversed(segment_numbers(chain_dir)):
        if number > cursor.segment:
            continue
        if number < stop.segment:
            return
        end = cursor.offset if number == cursor.segment else None
        for start, data in _segment_backwards(chain_dir, number, end):
            if number == stop.segment and start < stop.offset:
                return
            yield LineAt(data, Cursor(number, start), Cursor(number, start + len(data) + 1))


def _segment_backwards(chain_dir: Path, number: int, end: int | None) -> Iterator[tuple[int, bytes]]:
    """Offsets and contents of the complete lines before `end`. Overlong ones and a torn end are skipped."""
    file = open_segment(chain_dir, number)
    if file is None:
        return
    with closing(file):
        size = file.size
        position = size if end is None else min(end, size)
        carried = b""  # a line's last part, whose beginning is further to the left
        skipping = True  # True until the newline that ends the next line to report was seen
        while position > 0:
            start = max(0, position - _BLOCK_BYTES)
            block = file.pread(position - start, start)
            if len(block) < position - start:
                return
            position = start
            if skipping:
                block = block[: block.rfind(b"\n") + 1]
                skipping = not block
            block += carried
            stop = len(block)
            while (before := block.rfind(b"\n", 0, max(stop - 1, 0))) >= 0:
                yield start + before + 1, block[before + 1 : stop - 1]
                stop = before + 1
            carried = block[:stop]
            if len(carried) > MAX_LINE_BYTES + 1:
                carried, skipping = b"", True
        if carried:
            yield 0, carried[:-1]
