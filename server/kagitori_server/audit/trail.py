"""The durable, hash-chained log of one process: nothing is acknowledged before it is on stable storage.

Callers append to a buffer, which fixes the order. One writer thread takes whatever has gathered, links it,
writes it with a single synchronous write and then answers all of its callers; meanwhile the next batch
gathers. A lone caller waits for one flush and no timer; a crowd shares one, and is given half a millisecond to
gather when it comes fast (`TrailLimits`).

After a failed write or flush that batch is refused, and before the next one the trail repairs itself: it cuts
the segment back to what was durable and goes on in a new segment, with the chain carrying on from the last
durable line. A line that reached the disk although its batch was refused may survive a crash; the opposite
can't happen.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import os
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from kagitori_server.audit.chain import (
    MAX_CHAINS,
    MAX_EVENT_BYTES,
    chain_name,
    format_line,
    line_hash,
    segment_name,
)
from kagitori_server.audit.crowd import Crowd
from kagitori_server.audit.disk import Disk
from kagitori_server.audit.opening import ChainDamagedError, ChainTail, find_tail, lock_chain
from kagitori_server.model.errors import KMSInternalException

_logger = logging.getLogger(__name__)


class AuditUnavailable(KMSInternalException):
    """The record can't be made durable, or too many wait already: the call it belongs to must fail.

    To callers it is a `KMSInternalException`, which AWS's clients retry.
    """

    @classmethod
    def code(cls) -> str:
        return KMSInternalException.code()


@dataclass(frozen=True, slots=True)
class TrailLimits:
    """Sizes of a trail.

    A segment is left before a batch would make it longer than `segment_bytes`; only a single batch above that
    size makes a longer one. The `buffered_` limits bound what waits for the next write. While records keep coming
    during writes, and at `gather_rate` a second or more, a write waits `gather_seconds` for others to share it: each
    costs as much processor time as a good part of a call. A lone caller never waits (cf. PostgreSQL's
    commit_siblings and commit_delay).
    """

    segment_bytes: int = 64 * 1024 * 1024
    buffered_records: int = 20_000
    buffered_bytes: int = 32 * 1024 * 1024
    gather_rate: float = 1_000.0
    gather_seconds: float = 0.0005


class Position(NamedTuple):
    """The newest durable line: `head` is its hash (the chain's genesis while `seq` is 0)."""

    chain: str
    seq: int
    head: str
    segment: str


class Opening(NamedTuple):
    """What `open_trail` found.

    `torn_bytes` were cut off: an unfinished line, never acknowledged. `damaged` names chains that were left
    untouched because their end is not what a crash leaves, each with the reason.
    """

    chain: str
    created: bool
    torn_bytes: int
    damaged: tuple[tuple[str, str], ...]


class _Waiting(NamedTuple):
    """Events appended together, and whom to tell: a caller in an event loop or a thread."""

    events: tuple[bytes, ...]
    future: asyncio.Future[int] | concurrent.futures.Future[int]


class Trail:
    """One chain, appended to by this process alone. Made by `open_trail`; safe to use from any thread."""

    def __init__(
        self, chain_dir: Path, lock: int, tail: ChainTail, opening: Opening, disk: Disk, limits: TrailLimits
    ) -> None:
        """Continues the chain at `tail`; raises OSError if its segment can't be opened, cut or made."""
        self.opening = opening
        self._dir = chain_dir
        self._lock_descriptor: int | None = lock
        self._disk = disk
        self._limits = limits
        self._most_records, self._most_bytes = limits.buffered_records, limits.buffered_bytes
        self._crowd = Crowd(limits.gather_rate, time.monotonic)
        self._segment = tail.segment
        self._offset = tail.offset
        self._seq = tail.seq
        self._head = tail.head
        self._descriptor: int | None = None
        self._broken = False
        self._enter_segment()
        self._position = Position(chain_dir.name, self._seq, self._head, segment_name(self._segment))
        self._mutex = threading.Lock()
        self._work = threading.Condition(self._mutex)
        self._waiting: list[_Waiting] = []
        self._buffered_records = 0
        self._buffered_bytes = 0
        self._idle = False
        self._waking: asyncio.AbstractEventLoop | None = None
        self._closing = False
        self._writer = threading.Thread(target=self._run, name=f"audit-{chain_dir.name}", daemon=True)
        self._writer.start()

    def append(self, event_json: bytes) -> asyncio.Future[int]:
        """Appends a record from a running event loop; the future is done, with the record's number, when it is durable.

        Cancelling the future doesn't take the record back. Raises AuditUnavailable at once when the buffer is
        full or the trail closed, and through the future when the disk failed; ValueError for what can't be a
        line.
        """
        return self.append_all((event_json,))

    def append_all(self, events: Sequence[bytes]) -> asyncio.Future[int]:
        """Appends several records next to each other, durable (or refused) together; the future tells the number of the
        first. Raises like `append`."""
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._enqueue(_Waiting(tuple(events), future))
        return future

    def append_blocking(self, event_json: bytes) -> None:
        """Appends a record from any thread and returns when it is durable. Raises like `append`."""
        future: concurrent.futures.Future[int] = concurrent.futures.Future()
        self._enqueue(_Waiting((event_json,), future))
        future.result()

    def position(self) -> Position:
        """The newest durable line."""
        return self._position

    def failing(self) -> bool:
        """Whether the newest batch could not be made durable: what a health probe should tell."""
        return self._broken

    def close(self) -> None:
        """Makes durable what was appended, refuses what comes later and gives the chain back. Blocks."""
        with self._mutex:
            self._closing = True
            self._work.notify()
        self._writer.join()
        with self._mutex:
            lock, self._lock_descriptor = self._lock_descriptor, None
            try:
                self._release_descriptor()
            finally:
                if lock is not None:
                    os.close(lock)

    def _enqueue(self, waiting: _Waiting) -> None:
        events, future = waiting
        size = 0
        for event in events:
            if not _is_event(event):
                raise ValueError(f"an event is a JSON object on one line, at most {MAX_EVENT_BYTES} bytes")
            size += len(event)
        with self._mutex:
            if self._closing:
                raise AuditUnavailable("The audit trail is closed.")
            records = self._buffered_records + len(events)
            size += self._buffered_bytes
            if records > self._most_records or size > self._most_bytes:
                raise AuditUnavailable("Too many audit records wait to be written.", retry_after=0.1)
            self._buffered_records = records
            self._buffered_bytes = size
            self._waiting.append(waiting)
            if not isinstance(future, asyncio.Future):
                self._wake()
                return
        loop = future.get_loop()
        if loop is not self._waking:
            # When this turn of the event loop is over: woken at once, the writer would compete for the
            # interpreter with the very calls that are to share its flush.
            self._waking = loop
            loop.call_soon(self._wake_from_loop)

    def _wake_from_loop(self) -> None:
        self._waking = None
        with self._mutex:
            self._wake()

    def _wake(self) -> None:
        """Sets the writer to work if it waits. Under the mutex."""
        if self._idle:
            self._idle = False
            self._work.notify()

    # What follows runs in the writer thread alone; it owns the descriptor, the offset and the head.

    def _run(self) -> None:
        while batch := self._next_batch():
            try:
                first = self._write(batch)
            except Exception:  # whatever it is, the waiting calls must fail, not hang
                if not self._broken:
                    _logger.exception("audit trail %s: a batch could not be made durable", self._dir.name)
                self._broken = True
                _settle(batch, None)
            else:
                _settle(batch, first)
                self._crowd.written(len(batch), shared=len(batch) > 1 or bool(self._waiting))

    def _next_batch(self) -> list[_Waiting]:
        """What gathered since the last call, waiting for something; empty only when the trail closes."""
        with self._mutex:
            while not self._waiting and not self._closing:
                self._idle = True
                self._work.wait()
            self._idle = False
            gather = not self._closing and self._crowd.present
        if gather:
            time.sleep(self._limits.gather_seconds)
        with self._mutex:
            batch = self._waiting
            self._waiting = []
            self._buffered_records = self._buffered_bytes = 0
            return batch

    def _write(self, batch: list[_Waiting]) -> int:
        """Makes a batch durable and only then moves the head on; when it raises, the head is unmoved.

        Returns the number of the batch's first record.
        """
        if self._broken:
            self._repair()
        seq, head = self._seq, self._head
        first = seq + 1
        lines = []
        for waiting in batch:
            for event in waiting.events:
                seq += 1
                line = format_line(seq, head, event)
                head = line_hash(line)
                lines.append(line)
        lines.append(b"")
        data = b"\n".join(lines)
        if self._offset and self._offset + len(data) > self._limits.segment_bytes:
            self._leave_segment()
            self._enter_segment()
        self._disk.write_durably(self._open_descriptor(), data, self._offset)
        self._offset += len(data)
        self._seq, self._head = seq, head
        self._position = Position(self._dir.name, seq, head, segment_name(self._segment))
        return first

    def _repair(self) -> None:
        """Leaves the segment that failed behind, with durable lines only, and begins a new one."""
        if self._offset:
            self._disk.cut(self._open_descriptor(), self._offset)
            self._leave_segment()
        else:
            # Nothing of it was ever durable: it is made anew, or a full disk would breed empty segments.
            self._release_descriptor()
            self._disk.remove(self._dir / segment_name(self._segment))
        self._enter_segment()
        self._broken = False
        _logger.warning("audit trail %s: repaired, segment %d continues it", self._dir.name, self._segment)

    def _leave_segment(self) -> None:
        self._release_descriptor()
        self._segment += 1
        self._offset = 0

    def _enter_segment(self) -> None:
        """Opens the segment to continue, cut to its last complete line, or makes it."""
        self._segment = max(self._segment, 1)
        path = self._dir / segment_name(self._segment)
        if self._offset or path.exists():
            self._descriptor = self._disk.reopen(path)
            self._disk.sync_directory(self._dir)
            self._disk.cut(self._descriptor, self._offset)
        else:
            self._descriptor = self._disk.create(path)

    def _release_descriptor(self) -> None:
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            self._disk.close(descriptor)

    def _open_descriptor(self) -> int:
        if self._descriptor is None:
            raise OSError("the segment is not open")
        return self._descriptor


def open_trail(root: Path, *, disk: Disk | None = None, limits: TrailLimits | None = None) -> Trail:
    """Takes the first chain of `root` that no process holds, or makes the next one, and continues it.

    An unfinished last line is cut off; a chain that was tampered with is passed over and left as it is. Both
    are told in the trail's `opening` and the log. Raises OSError if the directory can't be used or no chain
    is free.
    """
    disk = disk or Disk()
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    damaged: list[tuple[str, str]] = []
    for number in range(MAX_CHAINS):
        chain_dir = root / chain_name(number)
        chain_dir.mkdir(mode=0o700, exist_ok=True)
        disk.sync_directory(root)
        lock = lock_chain(chain_dir)
        if lock is None:
            continue
        try:
            tail = find_tail(chain_dir)
            opening = Opening(chain_dir.name, tail.segment == 0, tail.torn_bytes, tuple(damaged))
            trail = Trail(chain_dir, lock, tail, opening, disk, limits or TrailLimits())
        except ChainDamagedError as error:
            os.close(lock)
            damaged.append((chain_dir.name, str(error)))
            _logger.exception("audit chain %s is damaged and left as it is", chain_dir.name)
        except BaseException:
            os.close(lock)
            raise
        else:
            if tail.torn_bytes:
                _logger.warning("audit chain %s: cut %d torn bytes", chain_dir.name, tail.torn_bytes)
            return trail
    raise OSError(f"none of the {MAX_CHAINS} audit chains can be taken")


def _is_event(event: bytes) -> bool:
    return event.startswith(b"{") and event.endswith(b"}") and 2 <= len(event) <= MAX_EVENT_BYTES and b"\n" not in event


def _settle(batch: list[_Waiting], first: int | None) -> None:
    """Tells everyone of a batch the number of their first record, the first of all being `first`, or that the batch
    failed (None); each event loop with one call."""
    by_loop: dict[asyncio.AbstractEventLoop, list[tuple[asyncio.Future[int], int | None]]] = {}
    number = first
    for waiting in batch:
        if isinstance(waiting.future, asyncio.Future):
            by_loop.setdefault(waiting.future.get_loop(), []).append((waiting.future, number))
        elif number is None:
            waiting.future.set_exception(_refusal())
        else:
            waiting.future.set_result(number)
        if number is not None:
            number += len(waiting.events)
    for loop, futures in by_loop.items():
        try:
            loop.call_soon_threadsafe(_resolve, futures)
        except RuntimeError:
            # The loop was closed meanwhile: nobody waits any more, and the records are where they belong.
            _logger.info("audit: the event loop of %d appended records is closed", len(futures))


def _resolve(futures: list[tuple[asyncio.Future[int], int | None]]) -> None:
    for future, number in futures:
        if future.done():
            continue
        if number is None:
            future.set_exception(_refusal())
        else:
            future.set_result(number)


def _refusal() -> AuditUnavailable:
    return AuditUnavailable("The audit record could not be made durable.", retry_after=1.0)
