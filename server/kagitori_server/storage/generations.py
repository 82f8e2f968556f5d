"""A bounded cache whose hits cost a dict lookup and no lock."""

from __future__ import annotations

import threading
from enum import Enum
from typing import Final, Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Missing(Enum):
    """What isn't cached, as opposed to what is known to be absent (None)."""

    MISSING = "missing"


MISSING: Final = Missing.MISSING


class Flight:
    """A record that is being loaded; `stale` once it changed meanwhile."""

    __slots__ = ("stale",)

    def __init__(self) -> None:
        self.stale = False


class Generations(Generic[K, V]):
    """At most `limit` entries in two generations: when the young one is full, it becomes the old one and the
    old one is forgotten; what is hit in the old one moves to the young one. Close to least recently used.

    Lookups may run in any thread beside one drop or insertion; those take turns.
    """

    def __init__(self, limit: int) -> None:
        self._half = max(1, limit // 2)
        self._young: dict[K, V] = {}
        self._old: dict[K, V] = {}
        self._lock = threading.Lock()

    def get(self, key: K) -> V | Missing:
        """The entry, or MISSING."""
        value = self._young.get(key, MISSING)
        if value is MISSING and key in self._old:
            return self._promoted(key)
        return value

    def put(self, key: K, value: V) -> None:
        """Keeps an entry."""
        with self._lock:
            self._keep(key, value)

    def drop(self, key: K) -> None:
        """Forgets an entry."""
        with self._lock:
            self._young.pop(key, None)
            self._old.pop(key, None)

    def clear(self) -> None:
        """Forgets everything."""
        with self._lock:
            self._young = {}
            self._old = {}

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def _promoted(self, key: K) -> V | Missing:
        # Under the lock, so that an entry that is dropped just now doesn't come back.
        with self._lock:
            value = self._old.pop(key, MISSING)
            if value is MISSING:
                return self._young.get(key, MISSING)
            self._keep(key, value)
            return value

    def _keep(self, key: K, value: V) -> None:
        if len(self._young) >= self._half and key not in self._young:
            self._old = self._young
            self._young = {}
        self._young[key] = value


class Records(Generic[K, V]):
    """Records of one kind: those that exist, and apart from them a note of those that don't.

    They are kept apart so that a flood of lookups of nothing pushes out no record.

    A load is a flight between `begin` and `finish`; whatever is dropped meanwhile isn't kept.
    """

    def __init__(self, limit: int) -> None:
        self._present: Generations[K, V] = Generations(limit)
        self._absent: Generations[K, None] = Generations(limit)
        self._flights: dict[K, list[Flight]] = {}
        self._lock = threading.Lock()

    def get(self, key: K) -> V | Missing | None:
        """The record, None when it is known not to exist, MISSING when it has to be loaded."""
        value = self._present.get(key)
        if value is not MISSING:
            return value
        return self._absent.get(key)

    def begin(self, key: K) -> Flight:
        """Before the snapshot is taken from which the record is read."""
        flight = Flight()
        with self._lock:
            self._flights.setdefault(key, []).append(flight)
        return flight

    def finish(self, key: K, flight: Flight, value: V | None) -> bool:
        """Keeps what was read. False when it changed meanwhile and wasn't kept."""
        with self._lock:
            self._land(key, flight)
            if flight.stale:
                return False
            if value is None:
                self._absent.put(key, None)
            else:
                self._present.put(key, value)
            return True

    def abandon(self, key: K, flight: Flight) -> None:
        """The load failed."""
        with self._lock:
            self._land(key, flight)

    def drop(self, key: K) -> None:
        """The record changed."""
        with self._lock:
            self._present.drop(key)
            self._absent.drop(key)
            for flight in self._flights.get(key, ()):
                flight.stale = True

    def clear(self) -> None:
        """Everything may have changed."""
        with self._lock:
            self._present.clear()
            self._absent.clear()
            for flights in self._flights.values():
                for flight in flights:
                    flight.stale = True

    def __len__(self) -> int:
        return len(self._present) + len(self._absent)

    def _land(self, key: K, flight: Flight) -> None:
        flights = self._flights[key]
        flights.remove(flight)
        if not flights:
            del self._flights[key]
