"""How many failed proofs of callers are recorded, by where they came from; and what is told of those that are not.

Whoever reaches a listener can fail to prove who it is as often as it likes, and each of these calls would be a durable
record. Beyond a rate of each source and of all together they are counted instead.
"""

from __future__ import annotations

import ipaddress
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache

from kagitori_server.limiting.buckets import Buckets, Flow

SOURCES = 10_000
"""Sources that are told apart at once; beyond, those are forgotten that were heard of longest ago."""
TOLD = 50
"""Sources that one report names; the calls of further ones are told together."""
_ALL = "all"
_IPV6_NETWORK = 64


@dataclass(slots=True)
class LeftOut:
    """Calls that were refused without a record of their own."""

    first: float
    last: float
    """When the first and the last was, seconds since the epoch."""
    calls: int = 0
    of_source: dict[str, int] = field(default_factory=dict)
    """Of `TOLD` sources at most."""

    def add(self, source: str, moment: float, calls: int = 1) -> None:
        """So many more from a source."""
        self.first, self.last = min(self.first, moment), max(self.last, moment)
        self.calls += calls
        if source in self.of_source or len(self.of_source) < TOLD:
            self.of_source[source] = self.of_source.get(source, 0) + calls


class Strangers:
    """Thread-safe; takes constant time and bounded memory."""

    def __init__(
        self, *, of_source: float, together: float, burst_seconds: float, monotonic: Callable[[], float],
        clock: Callable[[], float],
    ) -> None:
        """`of_source` and `together` are failures a second that are recorded, 0 for no limit; so many as come within
        `burst_seconds` can be saved up."""
        self._of_source = Flow(of_source, max(1.0, of_source * burst_seconds)) if of_source else None
        self._together = Flow(together, max(1.0, together * burst_seconds)) if together else None
        self._buckets = Buckets(SOURCES, monotonic)
        self._monotonic = monotonic
        self._some_empty_until = monotonic()
        """From then on no bucket is empty, so that calls need not look as long as few proofs fail."""
        self._clock = clock
        self._lock = threading.Lock()
        self._untold: LeftOut | None = None
        self.left_out = 0
        """Calls that were refused without a record of their own, since the start."""

    def are_many(self, address: str) -> bool:
        """Whether another failure from there is not to be recorded."""
        if self._monotonic() >= self._some_empty_until:
            return False
        return self._buckets.is_empty(_ALL) or self._buckets.is_empty((source_of(address),))

    def failed(self, address: str) -> None:
        """A call from there was recorded that didn't prove its caller."""
        wait = 0.0
        if self._together is not None:
            wait = self._buckets.charge(_ALL, self._together)
        if self._of_source is not None:
            wait = max(wait, self._buckets.charge((source_of(address),), self._of_source))
        if wait:
            with self._lock:
                self._some_empty_until = max(self._some_empty_until, self._monotonic() + wait)

    def leave_out(self, address: str) -> None:
        """Such a call was refused and isn't recorded."""
        now = self._clock()
        with self._lock:
            self.left_out += 1
            if self._untold is None:
                self._untold = LeftOut(now, now)
            self._untold.add(source_of(address), now)

    def take_untold(self) -> LeftOut | None:
        """What was left out since this was last asked; None for nothing. Whoever can't tell it gives it back."""
        with self._lock:
            untold, self._untold = self._untold, None
            return untold

    def give_back(self, untold: LeftOut) -> None:
        """What was taken couldn't be told."""
        with self._lock:
            newer, self._untold = self._untold, untold
            if newer is None:
                return
            for source, calls in newer.of_source.items():
                untold.add(source, newer.last, calls)
            untold.calls += newer.calls - sum(newer.of_source.values())


@lru_cache(maxsize=4_096)
def source_of(address: str) -> str:
    """The address, of IPv6 the network of 64 bits that whoever has one address has all of. What is no address (the
    local socket has none) is a source by itself."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return ""
    if isinstance(found, ipaddress.IPv4Address):
        return str(found)
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(ipaddress.ip_network((found, _IPV6_NETWORK), strict=False))
