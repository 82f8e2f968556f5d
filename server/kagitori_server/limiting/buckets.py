"""Token buckets: so many a second, with some saved up for a burst."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

_LOOKED_AT = 4
"""Buckets looked at for a full one when there is no room."""


@dataclass(frozen=True, slots=True)
class Flow:
    """What runs into a bucket: `rate` tokens a second, and no more than `capacity` stay in it."""

    rate: float
    capacity: float


@dataclass(slots=True)
class _Bucket:
    tokens: float
    at: float
    """When it held so many."""


class Buckets:
    """At most `limit` buckets, made full when first asked for. Each call takes constant time. Thread-safe.

    A bucket that is full again is like one that was never made, so full ones make room for new ones. Where there is
    none among those unused for longest, the very longest unused one goes: more than `limit` callers were busy within
    the time that a bucket takes to fill.
    """

    def __init__(self, limit: int, monotonic: Callable[[], float]) -> None:
        self._limit = limit
        self._monotonic = monotonic
        self._buckets: OrderedDict[Hashable, tuple[Flow, _Bucket]] = OrderedDict()
        self._lock = threading.Lock()

    def take(self, wanted: Sequence[tuple[Hashable, Flow]]) -> float:
        """Takes a token from each, or none from any. 0 when they were taken, else the seconds until they can be."""
        with self._lock:
            now, wait = self._monotonic(), 0.0
            buckets = [self._filled(name, flow, now) for name, flow in wanted]
            for bucket, (_, flow) in zip(buckets, wanted, strict=True):
                if bucket.tokens < 1.0:
                    wait = max(wait, (1.0 - bucket.tokens) / flow.rate)
            if wait == 0.0:
                for bucket in buckets:
                    bucket.tokens -= 1.0
            return wait

    def is_empty(self, name: Hashable) -> bool:
        """Whether a bucket has no token. One that was never made has."""
        with self._lock:
            found = self._buckets.get(name)
            return found is not None and _tokens(*found, self._monotonic()) < 1.0

    def charge(self, name: Hashable, flow: Flow) -> float:
        """Takes a token that was used up already, whether it is there or not: what is missing has to run in first, but
        no more than the bucket holds. Returns the seconds until there is another one."""
        with self._lock:
            bucket = self._filled(name, flow, self._monotonic())
            bucket.tokens = max(-flow.capacity, bucket.tokens - 1.0)
            return max(0.0, (1.0 - bucket.tokens) / flow.rate)

    def __len__(self) -> int:
        return len(self._buckets)

    def _filled(self, name: Hashable, flow: Flow, now: float) -> _Bucket:
        found = self._buckets.get(name)
        if found is None:
            if len(self._buckets) >= self._limit:
                self._make_room(now)
            bucket = _Bucket(flow.capacity, now)
            self._buckets[name] = (flow, bucket)
            return bucket
        bucket = found[1]
        self._buckets.move_to_end(name)
        bucket.tokens = _tokens(flow, bucket, now)
        bucket.at = now
        return bucket

    def _make_room(self, now: float) -> None:
        longest_unused = [name for name, _ in zip(self._buckets, range(_LOOKED_AT), strict=False)]
        full = [name for name in longest_unused if self._is_full(name, now)]
        for name in full or longest_unused[:1]:
            del self._buckets[name]

    def _is_full(self, name: Hashable, now: float) -> bool:
        flow, bucket = self._buckets[name]
        return _tokens(flow, bucket, now) >= flow.capacity


def _tokens(flow: Flow, bucket: _Bucket, now: float) -> float:
    return min(flow.capacity, bucket.tokens + max(0.0, now - bucket.at) * flow.rate)
