"""Taking a chain: which one is free, where it ends, and whether it may be continued. Changes nothing in
segments.
"""

from __future__ import annotations

import fcntl
import os
from dataclasses import dataclass
from pathlib import Path

from kagitori_server.audit.chain import (
    LOCK_NAME,
    MAX_LINE_BYTES,
    genesis,
    line_hash,
    parse_line,
    read_lines,
    segment_name,
    segment_numbers,
)
from kagitori_server.audit.pruned import StatementsDamagedError, read_statements


class ChainDamagedError(Exception):
    """The chain's end is not what a crash can leave behind. It must be left untouched, as evidence."""


@dataclass(frozen=True, slots=True)
class ChainTail:
    """Where a chain is to be continued.

    `segment` is 0 for a chain without segments; `offset` is the end of its last complete line, behind which
    `torn_bytes` bytes of a line stand that was never finished. `head` is the hash of line `seq` (genesis at
    0).
    """

    segment: int
    offset: int
    seq: int
    head: str
    torn_bytes: int


def lock_chain(chain_dir: Path) -> int | None:
    """Takes the chain for this process: the descriptor that holds the lock, or None if another has it.

    The lock is flock's, so the kernel drops it with the process, however that ends.
    """
    descriptor = os.open(chain_dir / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def find_tail(chain_dir: Path) -> ChainTail:
    """Reads the last segment (and the one before, if the last has no complete line) and checks its links.

    Older segments are the verifier's business. Raises ChainDamagedError if numbers are missing, a complete
    line is not in the format or not linked, or more than one line's worth of bytes other than NUL is
    unfinished.
    """
    numbers = segment_numbers(chain_dir)
    try:
        stated = read_statements(chain_dir).segments
    except StatementsDamagedError as error:
        raise ChainDamagedError(str(error)) from None
    first = numbers[0] if numbers else 1
    if first > stated + 1 or numbers != list(range(first, first + len(numbers))) or (stated and not numbers):
        raise ChainDamagedError("segments are missing")
    if not numbers:
        return ChainTail(segment=0, offset=0, seq=0, head=genesis(chain_dir.name), torn_bytes=0)
    last = numbers[-1]
    tail = _scan(chain_dir, last)
    if tail.seq or last == first:
        return tail
    before = _scan(chain_dir, last - 1)
    if not before.seq or before.torn_bytes:
        raise ChainDamagedError(f"{segment_name(last - 1)} does not end with a complete line")
    return ChainTail(segment=last, offset=0, seq=before.seq, head=before.head, torn_bytes=tail.torn_bytes)


def _scan(chain_dir: Path, number: int) -> ChainTail:
    """The end of one segment; `seq` 0 and the genesis stand for a segment without a complete line."""
    path = chain_dir / segment_name(number)
    seq, head = 0, genesis(chain_dir.name)
    offset = 0
    for raw in read_lines(path):
        if not raw.complete:
            _check_torn(path, raw.data, raw.end - offset)
            return ChainTail(number, offset, seq, head, raw.end - offset)
        line = parse_line(raw.data)
        if line is None:
            raise ChainDamagedError(f"{path.name} line {raw.number} is not a line of a chain")
        follows = number > 1 and raw.number == 1
        if not follows and (line.seq, line.prev) != (seq + 1, head):
            raise ChainDamagedError(f"{path.name} line {raw.number} does not follow the line before it")
        seq, head, offset = line.seq, line_hash(raw.data), raw.end
    return ChainTail(number, offset, seq, head, 0)


def _check_torn(path: Path, start: bytes, length: int) -> None:
    # A crash leaves a prefix of a line, or (some file systems, after a loss of power) a run of NUL bytes.
    if length > MAX_LINE_BYTES and start.strip(b"\0"):
        raise ChainDamagedError(f"{path.name} ends with {length} bytes that are not a line")
