"""Counting uses against budgets, strictly over all processes: uses are leased from the catalog in blocks and given away
from memory.

What a process has leased is used up as far as everybody else is concerned, whether or not it gets to use it. So no
interleaving of processes, crashes and restarts allows more than the limit; what a process that died had left is lost
until the window ends. Blocks shrink as a limit runs out (`model.budgets.block_size`).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple, Protocol

from kagitori_server.model.budgets import Budget, BudgetLimit, BudgetWindow, Freeze, OnExceed
from kagitori_server.model.errors import ThrottlingException
from kagitori_server.model.keys import Key
from kagitori_server.storage.budget_writes import Lease, Leased
from kagitori_server.storage.catalog import Catalog
from kagitori_server.storage.generations import MISSING, Generations
from kagitori_server.storage.view import NotLoaded
from kagitori_server.storage.writer import Writer

_LEASES = 100_000
"""Leases of a process; beyond, the longest unused ones are lost."""


class Use(NamedTuple):
    """A use of a key that a budget counts."""

    budget: Budget
    key: Key
    principal_arn: str
    value: str
    """The value of the encryption context that it's counted under; empty where none matters."""


class Announcement(Protocol):
    """The record of a freeze, which is durable together with it."""

    def bring(self) -> None:
        """Brings it into the trail, after the freeze was committed. Raises KmsError; it is then brought later."""


class Announcer(Protocol):
    """Who tells the audit trail of freezes."""

    def announce(self, writer: Writer, freeze: Freeze, key: Key, /) -> Announcement:
        """Leaves the record in the transaction that freezes."""


@dataclass(slots=True)
class _Window:
    """What is left of the uses that were leased of one limit."""

    limit: BudgetLimit
    left: int = 0
    ends: float = 0.0
    """When they are no use any more, seconds since the epoch."""
    spent: bool = False
    """Whether the catalog has no more of them."""


@dataclass(slots=True)
class _Holding:
    """What is leased for one principal on one key under one value, for one revision of the budget."""

    revision: int
    windows: tuple[_Window, ...]


@dataclass(slots=True)
class Counted:
    """What a call has been counted against, to be given back if it comes to nothing."""

    windows: list[tuple[_Window, float]] = field(default_factory=list)
    """With the end that the window had, once for each use."""


_Place = tuple[str, str, str, str | None]
"""(budget id, key ARN, principal ARN, value); None for all values that are counted together."""


class Leases:
    """What this process may give away. Thread-safe; `count` is a few look-ups in memory most of the time."""

    def __init__(
        self, catalog: Catalog, clock: Callable[[], float], new_id: Callable[[], str], announcer: Announcer
    ) -> None:
        self._catalog = catalog
        self._clock = clock
        self._new_id = new_id
        self._announcer = announcer
        self._holdings: Generations[_Place, _Holding] = Generations(_LEASES)
        self._crowded: Generations[tuple[str, str, str], tuple[int, float]] = Generations(_LEASES)
        """Where further values are counted together: the revision and until when that is so."""
        self._lock = threading.Lock()
        self._leasing = threading.Lock()

    def count(self, uses: Sequence[Use]) -> Counted:
        """Counts all of `uses`, or none.

        Raises NotLoaded when a lease is needed first: `load` makes it, then this is to be called again, the freeze
        having been looked for again. Raises ThrottlingException for a limit that is exceeded until its window ends.
        """
        wanted: dict[_Place, tuple[Use, int]] = {}
        with self._lock:
            now = self._clock()
            for use in uses:
                place = self._place(use, now)
                _, before = wanted.get(place, (use, 0))
                wanted[place] = (use, before + 1)
            taking = [
                (window, number)
                for place, (use, number) in wanted.items()
                for window in self._covering(place, use, number, now)
            ]
            counted = Counted()
            for window, number in taking:
                window.left -= number
                counted.windows += [(window, window.ends)] * number
            return counted

    def give_back(self, counted: Counted) -> None:
        """Undoes `count` for a call that came to nothing."""
        with self._lock:
            for window, ends in counted.windows:
                # What was leased for a window that is over is no use in the next one.
                if window.ends == ends:
                    window.left += 1

    def _place(self, use: Use, now: float) -> _Place:
        budget, key, principal_arn, value = use
        holder = (budget.budget_id, key.arn, principal_arn)
        crowded = self._crowded.get(holder)
        if (
            crowded is not MISSING and crowded[0] == budget.revision and now < crowded[1]
            and self._holdings.get((*holder, value)) is MISSING
        ):
            return *holder, None
        return *holder, value

    def _covering(self, place: _Place, use: Use, number: int, now: float) -> tuple[_Window, ...]:
        """The windows of a holding, all of which have `number` left. Raises as `count` does."""
        holding = self._holdings.get(place)
        if holding is MISSING or holding.revision != use.budget.revision:
            raise NotLoaded(partial(self._lease, place, use, number), writes=True)
        for window in holding.windows:
            if now < window.ends and window.left >= number:
                continue
            if now < window.ends and window.spent and use.budget.on_exceed is OnExceed.REFUSE:
                raise _exceeded(use, window.limit, window.ends - now)
            raise NotLoaded(partial(self._lease, place, use, number), writes=True)
        return holding.windows

    def _lease(self, place: _Place, use: Use, number: int) -> None:
        """Leases what is missing for `number` uses. When there isn't as much, freezes where the budget says so."""
        with self._leasing:
            missing = self._missing(place, use.budget, number)
            if not missing:
                return  # somebody else has been here meanwhile
            announcement = None
            with self._catalog.write() as writer:
                lease = writer.lease_uses(use.budget, place[1:3], place[3], missing, self._clock())
                if lease is None:
                    return  # the budget was changed; whoever needs this sees it next
                exceeded = [window for window, needed in missing.items() if lease.uses[window].count < needed]
                if exceeded and use.budget.on_exceed is OnExceed.FREEZE:
                    announcement = self._freeze(writer, use, exceeded[0])
            self._keep(place, use.budget, lease)
        if announcement is not None:
            announcement.bring()

    def _missing(self, place: _Place, budget: Budget, number: int) -> dict[BudgetWindow, int]:
        """How many more of each window are needed to have `number` of all."""
        with self._lock:
            now = self._clock()
            holding = self._holdings.get(place)
            if holding is MISSING or holding.revision != budget.revision:
                return {limit.window: number for limit in budget.limits}
            left = {window.limit.window: window.left if now < window.ends else 0 for window in holding.windows}
            return {window: number - have for window, have in left.items() if have < number}

    def _keep(self, place: _Place, budget: Budget, lease: Lease) -> None:
        with self._lock:
            if lease.crowded and place[3] is not None:
                until = float(min(leased.ends for leased in lease.uses.values()))
                self._crowded.put(place[:3], (budget.revision, until))
                place = (*place[:3], None)
            holding = self._holdings.get(place)
            if holding is MISSING or holding.revision != budget.revision:
                holding = _Holding(budget.revision, tuple(_Window(limit) for limit in budget.limits))
                self._holdings.put(place, holding)
            for window in holding.windows:
                _add(window, lease.uses)

    def _freeze(self, writer: Writer, use: Use, window: BudgetWindow) -> Announcement | None:
        now = self._clock()
        freeze = Freeze(
            # Sorts by the time of making.
            freeze_id=f"frz-{int(now * 1000):012x}-{self._new_id()[:8]}",
            account=use.key.account,
            region=use.key.region,
            key_id=use.key.key_id,
            key_arn=use.key.arn,
            principal_arn=use.principal_arn,
            budget_id=use.budget.budget_id,
            budget_name=use.budget.name,
            limit=next(limit for limit in use.budget.limits if limit.window is window),
            created=now,
        )
        if writer.get_key(use.key.region, use.key.key_id) is None or not writer.insert_freeze(freeze):
            return None
        return self._announcer.announce(writer, freeze, use.key)


def _add(window: _Window, leased: Mapping[BudgetWindow, Leased]) -> None:
    new = leased.get(window.limit.window)
    if new is None:
        return
    window.left = window.left + new.count if window.ends == new.ends else new.count
    window.ends, window.spent = float(new.ends), new.spent


def _exceeded(use: Use, limit: BudgetLimit, seconds: float) -> ThrottlingException:
    budget = use.budget
    if use.principal_arn.split(":", 5)[4:5] != [budget.account]:
        # How the keys' account protects them is nothing to others.
        return ThrottlingException("A budget of the key's account is used up.", retry_after=seconds)
    return ThrottlingException(
        f"The budget {budget.name} allows {limit.count} uses of the key a {limit.window.lower()}; they are used up.",
        retry_after=seconds,
    )
