"""Reading a period of the trail from its beginning, fast: what a line needs to hold is looked for before it's parsed.

Chains are read one after the other, each forwards, as far as they went when the reading began. Memory is bounded by
one block and one line. Blocks on file I/O, and returns after each block, so that whoever reads can rest or stop.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from kagitori_server.audit.backwards import (
    CLOCK_SLACK_SECONDS,
    Cursor,
    chain_backwards,
    chain_end,
    event_time,
)
from kagitori_server.audit.chain import (
    MAX_LINE_BYTES,
    chain_names,
    parse_line,
    segment_numbers,
)
from kagitori_server.audit.lookup import second_text
from kagitori_server.audit.occasions import Occasion, occasion, without_context
from kagitori_server.audit.segments import open_segment

__all__ = ["Block", "Occasion", "Replay", "occasion", "without_context"]

_BLOCK_BYTES = 64 * 1024
_FIRST_BYTES = MAX_LINE_BYTES + 1
_OPENING, _CLOSING = b'{"seq":', b"}}"


class Block(NamedTuple):
    """A stretch of a chain."""

    lines: list[bytes]
    """Those that hold everything wanted, whatever their time."""
    read: int
    """How many lines there were."""
    damaged: int
    """How many of them were no lines of a chain."""


@dataclass(frozen=True, slots=True)
class _Part:
    """A segment to read, up to a size."""

    chain_dir: Path
    number: int
    size: int


class Replay:
    """The lines of all chains under `root` of the period (epoch seconds, None for no end) that hold all of `needles`.

    Segments wholly outside the period are skipped. Lines outside it within a segment are not: look at their times.
    """

    def __init__(self, root: Path, start: float, end: float | None, needles: Sequence[bytes]) -> None:
        oldest = second_text(start - CLOCK_SLACK_SECONDS)
        newest = None if end is None else second_text(end + CLOCK_SLACK_SECONDS)
        self._needles = tuple(needles)
        self._parts: list[_Part] = []
        self.total = 0
        """How many lines there are to read, by the numbers that they bear."""
        for chain in chain_names(root):
            parts, lines = _plan(root / chain, oldest, newest)
            self._parts += parts
            self.total += lines

    def blocks(self) -> Iterator[Block]:
        """All of it, block after block."""
        for part in self._parts:
            for lines in _blocks_of(part):
                damaged = sum(1 for line in lines if not (line.startswith(_OPENING) and line.endswith(_CLOSING)))
                wanted = lines
                for needle in self._needles:
                    wanted = [line for line in wanted if needle in line]
                yield Block(wanted, len(lines), damaged)


def _plan(chain_dir: Path, oldest: str, newest: str | None) -> tuple[list[_Part], int]:
    """The segments of a chain that the period may be in, and how many lines they have."""
    end = chain_end(chain_dir)
    firsts = [(number, *_first(chain_dir, number)) for number in segment_numbers(chain_dir)]
    parts: list[_Part] = []
    first_seq = 0
    stop_seq = _last_seq(chain_dir, end) + 1
    for place, (number, seq, when) in enumerate(firsts):
        following = firsts[place + 1] if place + 1 < len(firsts) else None
        if following is not None and following[2] and following[2] < oldest:
            continue
        if newest is not None and when and when > newest:
            stop_seq = seq
            break
        if not parts:
            first_seq = seq
        parts.append(_Part(chain_dir, number, end.offset if number == end.segment else _size(chain_dir, number)))
    return parts, max(0, stop_seq - first_seq) if parts else 0


def _first(chain_dir: Path, number: int) -> tuple[int, str]:
    """Number and time of a segment's first line; 0 and nothing if it can't be read."""
    file = open_segment(chain_dir, number)
    if file is None:
        return 0, ""
    with closing(file):
        line = file.pread(_BLOCK_BYTES, 0)
        if b"\n" not in line:
            line = file.pread(_FIRST_BYTES, 0)
    line = line.partition(b"\n")[0]
    parsed = parse_line(line)
    return (0, "") if parsed is None else (parsed.seq, event_time(line))


def _last_seq(chain_dir: Path, end: Cursor) -> int:
    for line in chain_backwards(chain_dir, end):
        parsed = parse_line(line.data)
        if parsed is not None:
            return parsed.seq
    return 0


def _size(chain_dir: Path, number: int) -> int:
    file = open_segment(chain_dir, number)
    if file is None:
        return 0
    with closing(file):
        return file.size


def _blocks_of(part: _Part) -> Iterator[list[bytes]]:
    """Complete lines, in bunches. Of an overlong one the end is left, which is no line; a torn end is skipped."""
    file = open_segment(part.chain_dir, part.number)
    if file is None:
        return
    with closing(file):
        position, carried = 0, b""
        while position < part.size:
            block = file.pread(min(_BLOCK_BYTES, part.size - position), position)
            if not block:
                return
            position += len(block)
            lines = (carried + block).split(b"\n")
            carried = lines.pop()
            if len(carried) > MAX_LINE_BYTES:
                carried = b"overlong "
            yield lines
