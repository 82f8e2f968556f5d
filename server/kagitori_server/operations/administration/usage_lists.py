"""What the pages of a list of usage are cut from, so that a list is added up once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Sequence
from typing import NamedTuple

_SECONDS = 60.0
"""For how long a list can be turned over."""


class Sum(NamedTuple):
    """One line of a list: under which it is sorted, what it is of, how much."""

    name: str
    group: tuple[str, ...]
    quantity: int


class UsageLists:
    """Keeps lists that have more than a page, for a minute, at most `lines` of all together. Thread-safe.

    Whoever asks for a page must be allowed to see the whole list: what is asked for says whose usage it is.
    """

    def __init__(self, monotonic: Callable[[], float], lines: int = 200_000) -> None:
        self._monotonic = monotonic
        self._lines = lines
        self._lock = threading.Lock()
        self._kept: dict[Hashable, tuple[float, Sequence[Sum]]] = {}

    def keep(self, asked: Hashable, found: Sequence[Sum]) -> None:
        """Keeps the list that was found, in place of an older one, unless it is too long."""
        with self._lock:
            now = self._monotonic()
            self._kept = {key: kept for key, kept in self._kept.items() if key != asked and now - kept[0] <= _SECONDS}
            if len(found) > self._lines:
                return
            self._kept[asked] = now, found
            while sum(len(lines) for _, lines in self._kept.values()) > self._lines:
                del self._kept[next(iter(self._kept))]

    def get(self, asked: Hashable) -> Sequence[Sum] | None:
        """The list; None if it must be made."""
        with self._lock:
            found = self._kept.get(asked)
            if found is None or self._monotonic() - found[0] > _SECONDS:
                return None
            return found[1]
