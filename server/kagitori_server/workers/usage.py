"""Summing up what was used long ago by months, so that the catalog doesn't grow without end."""

from __future__ import annotations

from collections.abc import Callable

from kagitori_server.model.usage import SECONDS_PER_HOUR, hours_end, month_around
from kagitori_server.storage.catalog import Catalog

_STEPS_PER_ROUND = 40
"""Hours that a round adds up, each in a transaction: nobody waits long for one, and there is all the time in the world.
"""
_REST_SECONDS = SECONDS_PER_HOUR
"""After all has been looked at."""


class UsageWorker:
    """Adds the hours of months that are over for long (`hours_end`) to the first hour of their month. The sum of a
    whole month is the same at any moment, and so is every bill."""

    def __init__(self, catalog: Catalog, clock: Callable[[], float]) -> None:
        self._catalog = catalog
        self._clock = clock
        self._place = 0
        self._again = 0.0

    def run_once(self) -> int:
        """Sums up a few hours, or looks for some. Returns how many. Blocks.

        Raises KmsError when the catalog fails.
        """
        if self._clock() < self._again:
            return 0
        hours, end = 0, hours_end(self._clock())
        for _ in range(_STEPS_PER_ROUND):
            with self._catalog.read() as reader:
                found = reader.first_counted_hour(self._place, end)
            if found is None:
                self._place, self._again = 0, self._clock() + _REST_SECONDS
                break
            first, _ = month_around(found)
            if found == first:
                self._place = first + 1
                continue
            with self._catalog.write() as writer:
                writer.add_up_hour(found, first)
            hours += 1
        return hours
