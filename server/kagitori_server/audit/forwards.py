"""Reading on in a chain from where one was: bunches of complete lines with the place behind them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from kagitori_server.audit.backwards import Cursor
from kagitori_server.audit.chain import MAX_LINE_BYTES, segment_numbers
from kagitori_server.audit.segments import open_segment

_BLOCK_BYTES = 64 * 1024


class Stretch(NamedTuple):
    """Complete lines that follow each other; `end` is the place behind the last."""

    lines: list[bytes]
    end: Cursor


def chain_forwards(chain_dir: Path, start: Cursor, stop: Cursor | None = None) -> Iterator[Stretch]:
    """What stands from `start` to `stop` (None: to the end of the segments that are there now), oldest first.

    Memory is bounded by one block and one line. A writer may append meanwhile. An unfinished line is left for later;
    one that is longer than lines can be is skipped. Blocks on file I/O.
    """
    for number in segment_numbers(chain_dir):
        if number < start.segment:
            continue
        if stop is not None and number > stop.segment:
            return
        begin = start.offset if number == start.segment else 0
        end = stop.offset if stop is not None and number == stop.segment else None
        yield from _segment_forwards(chain_dir, number, begin, end)


def _segment_forwards(chain_dir: Path, number: int, position: int, end: int | None) -> Iterator[Stretch]:
    file = open_segment(chain_dir, number)
    if file is None:
        return
    with closing(file):
        carried, overlong = b"", False
        while True:
            size = _BLOCK_BYTES if end is None else min(_BLOCK_BYTES, end - position)
            block = file.pread(size, position) if size > 0 else b""
            if not block:
                return
            position += len(block)
            lines = (carried + block).split(b"\n")
            carried = lines.pop()
            if lines:
                place = Cursor(number, position - len(carried))
                yield Stretch(lines[1:] if overlong else lines, place)
                overlong = False
            if len(carried) > MAX_LINE_BYTES:
                carried, overlong = b"", True
