"""A bounded map for opened keys whose hits take no lock."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from kagitori_keystore.secret import Guarded

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class _Slot(Guarded, Generic[V]):
    __slots__ = ("used", "value")

    def __init__(self, value: V) -> None:
        self.value = value
        self.used = False


class HandleCache(Guarded, Generic[K, V]):
    """At most `capacity` entries; the one evicted is the oldest not used since it was last considered.

    This "second chance" rule approximates least-recently-used: a hit only marks its slot (a plain store, no
    reordering), which is why it needs no lock. Changes are serialised.
    """

    __slots__ = ("_capacity", "_closed", "_drops", "_lock", "_slots")

    def __init__(self, capacity: int) -> None:
        if capacity < 1:
            raise ValueError("a cache holds at least one entry")
        self._capacity = capacity
        self._slots: dict[K, _Slot[V]] = {}
        self._lock = threading.Lock()
        self._closed = False
        self._drops = 0

    def __len__(self) -> int:
        return len(self._slots)

    def get(self, key: K) -> V | None:
        """The value, marked as used, or None."""
        slot = self._slots.get(key)
        if slot is None:
            return None
        slot.used = True
        return slot.value

    @property
    def drops(self) -> int:
        """How often `drop` was called: read before opening what is to be `put`."""
        return self._drops

    def put(self, key: K, value: V, drops: int) -> None:
        """Adds or replaces an entry, evicting another if the map is full.

        Does nothing if something was dropped since `drops` was read, so that a key being opened while it was
        dropped does not come back; nor after `close`.
        """
        with self._lock:
            if self._closed or drops != self._drops:
                return
            self._slots.pop(key, None)
            while len(self._slots) >= self._capacity:
                self._evict_one()
            self._slots[key] = _Slot(value)

    def drop(self, key: K) -> None:
        """Removes an entry if it is there."""
        with self._lock:
            self._drops += 1
            self._slots.pop(key, None)

    def drop_where(self, doomed: Callable[[V], bool]) -> None:
        """Removes the entries whose values are `doomed`. Looks at each: for what happens seldom."""
        with self._lock:
            self._drops += 1
            for key in [key for key, slot in self._slots.items() if doomed(slot.value)]:
                del self._slots[key]

    def close(self) -> None:
        """Removes every entry, for good."""
        with self._lock:
            self._closed = True
            self._slots.clear()

    def _evict_one(self) -> None:
        # At most once round: each slot passed over has lost its mark, so the second visit evicts it.
        while True:
            oldest = next(iter(self._slots))
            slot = self._slots.pop(oldest)
            if not slot.used:
                return
            slot.used = False
            self._slots[oldest] = slot
