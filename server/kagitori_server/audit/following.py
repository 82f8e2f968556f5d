"""What followers of the trail share: how a chain is known, how far it may be read, and which lines count.

A process reads its own chain as far as that is durable, and the chains that no process holds up to their end. The chain
of another process that runs is left to that one: lines may stand there that its writer is going to cut off.
"""

from __future__ import annotations

import fcntl
import logging
import os
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from kagitori_server.audit.backwards import Cursor, chain_end
from kagitori_server.audit.chain import LOCK_NAME
from kagitori_server.audit.forwards import Stretch
from kagitori_server.audit.pruned import StatementsDamagedError, chain_beginning
from kagitori_server.audit.trail import Position

_log = logging.getLogger(__name__)


class Beginning(NamedTuple):
    """A chain's first line."""

    chain_id: str
    """Its hash, which no other chain of any audit folder has."""
    began: float
    """Time of its record, seconds since the epoch; 0 if it tells none."""


def beginning(folder: Path) -> Beginning | None:
    """How a chain is known, also if its first line was pruned; None while it has no record, or can't tell."""
    try:
        found = chain_beginning(folder)
    except StatementsDamagedError as error:
        _log.error("audit chain %s isn't followed: %s", folder.name, error)
        return None
    if found is None:
        return None
    chain_id, began = found
    return Beginning(chain_id, moment(began) if began else 0.0)


class Reach(NamedTuple):
    """How far a chain may be read: to the line of a number (by its own process) or to a place (if no process holds
    it). One of them is None."""

    chain: str
    seq: int | None
    stop: Cursor | None


def reach(root: Path, chain: str, own: Position) -> Reach | None:
    """How far this process, whose own chain is durable up to `own`, may read a chain; None for one that another process
    holds. Raises OSError."""
    if chain == own.chain:
        return Reach(chain, own.seq, None)
    end = abandoned_end(root / chain)
    return None if end is None else Reach(chain, None, end)


def abandoned_end(folder: Path) -> Cursor | None:
    """Where a chain ends that no process holds; None for one that is held. Raises OSError."""
    try:
        descriptor = os.open(folder / LOCK_NAME, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return chain_end(folder)
    try:
        # Read while it is held, then let go of: whoever takes the chain changes nothing of the lines before that end.
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
