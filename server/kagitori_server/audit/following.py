"""What followers of the trail share: how a chain is known, how far it may be read, and which lines count.

A process reads its own chain as far as that is durable, and the chains that no process holds up to their end. The chain
of another process that runs is left to that one: lines may stand there that its writer is going to cut off.
"""

from __future__ import annotations

import fcntl
import os
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from kagitori_server.audit.backwards import Cursor, chain_end, event_time
from kagitori_server.audit.chain import LOCK_NAME, line_hash, parse_line, read_lines, segment_name
from kagitori_server.audit.forwards import Stretch


class Beginning(NamedTuple):
    """A chain's first line."""

    chain_id: str
    """Its hash, which no other chain of any audit folder has."""
    began: float
    """Time of its record, seconds since the epoch; 0 if it tells none."""


def beginning(folder: Path) -> Beginning | None:
    """How a chain is known; None while it has no record."""
    path = folder / segment_name(1)
    try:
        first = next(read_lines(path), None)
    except FileNotFoundError:
        return None
    if first is None or not first.complete or parse_line(first.data) is None:
        return None
    began = event_time(first.data)
    return Beginning(line_hash(first.data), moment(began) if began else 0.0)


def abandoned_end(folder: Path) -> Cursor | None:
    """Where a chain ends that no process holds; None for others."""
    try:
        descriptor = os.open(folder / LOCK_NAME, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        # Let go of at once: whoever takes the chain from then on changes nothing of the lines before its end.
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return chain_end(folder)
    except BlockingIOError:
        return None
    finally:
        os.close(descriptor)


def wanted(stretch: Stretch, after: int, until: int | None) -> tuple[Stretch, bool]:
    """The lines numbered after `after` and up to `until` (None: all), and whether what follows is beyond that."""
    lines = stretch.lines
    if not lines:
        return stretch, False
    first, last = number_of(lines[0]), number_of(lines[-1])
    beyond = until is not None and last > until
    if not beyond and first == after + 1 and last - first + 1 == len(lines):
        return stretch, until is not None and last == until
    found: list[bytes] = []
    offset = stretch.end.offset - sum(len(line) + 1 for line in lines)
    for line in lines:
        number = number_of(line)
        if until is not None and number > until:
            return Stretch(found, Cursor(stretch.end.segment, offset)), True
        offset += len(line) + 1
        # Lines that an append which failed left behind may be numbered like those that came in their stead.
        if number > after:
            found.append(line)
    return Stretch(found, stretch.end), False


def number_of(line: bytes) -> int:
    """The number of a line; 0 for what isn't one."""
    digits = line[7 : line.find(b",", 7, 27)]
    return int(digits) if line.startswith(b'{"seq":') and digits.isdigit() else 0


def moment(text: str) -> float:
    """A record's time in seconds since the epoch. Raises ValueError."""
    return datetime.fromisoformat(text).timestamp()
