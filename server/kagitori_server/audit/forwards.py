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
    if stop is not None and start >= stop:
        return
    reached = start
    # Who reads on block by block needn't list the folder for each.
    for stretch in _segment_forwards(chain_dir, start.segment, start.offset, _end(start.segment, stop)):
        yield stretch
        reached = stretch.end
    for number in segment_numbers(chain_dir):
        if number < start.segment:
            continue
        if stop is not None and number > stop.segment:
            return
        # Before its writer began the next segment it may have added to the first.
        begin = reached.offset if number == start.segment else 0
        yield from _segment_forwards(chain_dir, number, begin, _end(number, stop))


def _end(number: int, stop: Cursor | None) -> int | None:
    """Where to stop in a segment; None for its end."""
    return stop.offset if stop is not None and number == stop.segment else None


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
