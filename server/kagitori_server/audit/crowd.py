"""Whether a trail has many callers at the moment, judged by what its writer sees."""

from __future__ import annotations

from collections.abc import Callable

_WEIGHT = 0.1
"""Of the newest write, in averages over some ten of them."""
_OFTEN = 0.3


class Crowd:
    """Many callers show in two things: appends come while others are being written, and they come fast.

    A lone caller, however fast, waits for the answer before it comes again: its next record never finds a write
    under way. For one thread.
    """

    def __init__(self, rate: float, monotonic: Callable[[], float]) -> None:
        """`rate` is in appends a second."""
        self._longest_gap = 1.0 / rate
        self._monotonic = monotonic
        self._last = monotonic()
        self._gap = 1.0
        self._overtaken = 0.0

    @property
    def present(self) -> bool:
        """Whether there are many."""
        return self._overtaken > _OFTEN and self._gap < self._longest_gap

    def written(self, appends: int, *, shared: bool) -> None:
        """A write of so many appends has ended; `shared` when it was of several, or others came meanwhile."""
        now = self._monotonic()
        self._gap += _WEIGHT * ((now - self._last) / appends - self._gap)
        self._last = now
        self._overtaken += _WEIGHT * (shared - self._overtaken)
