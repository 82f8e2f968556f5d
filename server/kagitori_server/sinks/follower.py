"""Following the trail for one sink, in a thread of its own."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from kagitori_server.audit.chain import chain_names
from kagitori_server.audit.following import Reach, beginning, reach
from kagitori_server.audit.reading_on import BEGINNING, Place, newest_place, read_on
from kagitori_server.audit.trail import Trail
from kagitori_server.sinks.delivery import Batch, Delivery, DeliveryFailed
from kagitori_server.sinks.places import Places

_log = logging.getLogger(__name__)

BATCH_BYTES = 1024 * 1024
"""Most bytes of records in a batch, but for a single longer one: what a sink holds in memory."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How a follower spends its time, in seconds."""

    look: float = 0.5
    """How often it looks for new records."""
    look_around: float = 30.0
    """How often it looks for chains that a process left behind."""
    first_wait: float = 1.0
    """After the first failure; then twice as long each time."""
    longest_wait: float = 60.0
    longest_asked: float = 600.0
    """How long a receiver may ask it to wait."""


class SinkStatus(NamedTuple):
    """How a sink does. Counts are since the start of this process."""

    name: str
    kind: str
    up: bool
    """Whether the last delivery succeeded; True before the first."""
    delivered: int
    """Records."""
    failures: int
    """Deliveries that failed, each time they were tried."""
    lag: int
    """Durable records of this process that wait to be delivered."""


class Follower:
    """Brings the records of this process, and those that ended processes left, to one receiver."""

    def __init__(
        self, name: str, kind: str, delivery: Delivery, places: Places, audit_root: Path, trail: Trail,
        *, batch_records: int, from_beginning: bool, chance: Callable[[], float], pace: Pace | None = None,
    ) -> None:
        """Settles where it begins, so it has to be made before calls are taken. `chance` gives numbers from 0 to 1.

        Raises OSError.
        """
        self.name = name
        self._kind = kind
        self._delivery = delivery
        self._places = places
        self._root = audit_root
        self._trail = trail
        self._most = batch_records
        self._chance = chance
        self._pace = pace or Pace()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"sink-{name}", daemon=True)
        self._up = True
        self._delivered = self._failures = 0
        self._in_row = 0
        """Failures since the last delivery."""
        self._limit = batch_records
        """Fewer than `batch_records` while a receiver finds batches too large."""
        self._since_look = 0.0
        if places.fresh and not from_beginning:
            self._begin_here()
        self._own = self._place_of(trail.position().chain)

    def start(self) -> None:
        """Begins to follow."""
        self._thread.start()

    def ask_to_stop(self) -> None:
        """Lets it end after the delivery that is under way. What is left is delivered after the next start."""
        self._stop.set()

    def stopped(self, seconds: float) -> bool:
        """Waits so long for its end; whether it came."""
        if self._thread.is_alive():
            self._thread.join(seconds)
        if self._thread.is_alive():
            return False
        self._delivery.close()
        return True

    def status(self) -> SinkStatus:
        """May be asked in any thread."""
        lag = max(0, self._trail.position().seq - self._own.seq)
        return SinkStatus(self.name, self._kind, self._up, self._delivered, self._failures, lag)

    def sent(self, chain: str) -> int | None:
        """The number of a chain's last record that was delivered, None while the chain has none. Raises OSError."""
        chain_id = _identity(self._root / chain)
        return None if chain_id is None else self._places.load(chain, chain_id).seq

    def _begin_here(self) -> None:
        """What stands in the trail by now isn't for this sink."""
        for chain in chain_names(self._root):
            folder = self._root / chain
            self._places.save(chain, _identity(folder) or "", newest_place(folder))

    def _place_of(self, chain: str) -> Place:
        chain_id = _identity(self._root / chain)
        return BEGINNING if chain_id is None else self._places.load(chain, chain_id)

    def _run(self) -> None:
        wait = 0.0
        while not self._stop.wait(wait):
            try:
                self.follow()
                self._limit, wait = self._most, self._pace.look
            except DeliveryFailed as failure:
                self._failed(str(failure))
                if failure.too_large and self._limit > 1:
                    self._limit, wait = max(1, self._limit // 2), 0.0
                else:
                    wait = self._patience(failure.retry_after)
            except Exception as problem:  # noqa: BLE001 - a follower that ended would leave its sink silent for ever
                self._failed(type(problem).__name__)
                wait = self._patience(None)

    def _failed(self, reason: str) -> None:
        if self._up:
            _log.warning("audit sink %s: not delivered: %s; trying again", self.name, reason)
        self._up = False
        self._failures += 1
        self._in_row += 1

    def _patience(self, asked: float | None) -> float:
        pace = self._pace
        wait = min(pace.longest_wait, pace.first_wait * 2.0 ** min(self._in_row - 1, 20))
        # Sinks, and processes, that failed together needn't come back together.
        return max(wait * (0.5 + self._chance() / 2), min(asked or 0.0, pace.longest_asked))

    def follow(self) -> None:
        """Delivers all that is durable by now. Raises DeliveryFailed, OSError."""
        own = self._trail.position()
        if own.seq > self._own.seq:
            self._follow_chain(Reach(own.chain, own.seq, None))
        self._since_look -= self._pace.look
        if self._since_look <= 0:
            self._since_look = self._pace.look_around
            for chain in chain_names(self._root):
                left = None if chain == own.chain else reach(self._root, chain, own)
                if left is not None:
                    self._follow_chain(left)

    def _follow_chain(self, goal: Reach) -> None:
        chain, folder = goal.chain, self._root / goal.chain
        chain_id = _identity(folder)
        if chain_id is None:
            return
        with self._places.held(chain) as held:
            if not held:
                return
            place = self._places.load(chain, chain_id)
            while not self._stop.is_set():
                found = read_on(folder, place, goal, self._limit, BATCH_BYTES)
                if found.damaged:
                    _log.error("%d lines of audit chain %s can't be read and were not delivered", found.damaged, chain)
                if not found.events:
                    return
                if found.first_seq != place.seq + 1:
                    _log.error("audit sink %s: records %d to %d of %s are gone", self.name, place.seq + 1,
                               found.first_seq - 1, chain)
                self._delivery.deliver(Batch(chain, chain_id, found.first_seq, found.events))
                place = found.place
                self._places.save(chain, chain_id, place)
                self._succeeded(chain, place, len(found.events))

    def _succeeded(self, chain: str, place: Place, count: int) -> None:
        if not self._up:
            _log.info("audit sink %s: delivered again", self.name)
        self._up, self._in_row = True, 0
        self._delivered += count
        if chain == self._trail.position().chain:
            self._own = place


def stop_all(followers: Sequence[Follower], seconds: float) -> None:
    """Lets followers end, and waits so long for all of them together. Those that hang end with the process."""
    deadline = time.monotonic() + seconds
    for follower in followers:
        follower.ask_to_stop()
    for follower in followers:
        if not follower.stopped(max(0.0, deadline - time.monotonic())):
            _log.warning("audit sink %s: a delivery was still under way at the end", follower.name)


def _identity(folder: Path) -> str | None:
    found = beginning(folder)
    return None if found is None else found.chain_id
