"""Budgets: how often a principal may use a key within windows of time, and what happens when it's too often.

Windows are those of the calendar in UTC, so that everybody can tell when one ends.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum

BUDGET_NAME = re.compile(r"[\w+=,.@-]{1,128}", re.ASCII)
BUDGETS_PER_ACCOUNT = 100
VALUES_PER_HOLDER = 10_000
"""Values of an encryption context that are counted apart for one principal on one key; all further ones together."""
EVERY = "*"
"""Each key of the account, or each principal: counted apart."""


class BudgetWindow(StrEnum):
    """A stretch of the calendar, UTC."""

    SECOND = "SECOND"
    MINUTE = "MINUTE"
    HOUR = "HOUR"
    DAY = "DAY"
    MONTH = "MONTH"


class OnExceed(StrEnum):
    """What becomes of calls beyond a limit."""

    REFUSE = "REFUSE"
    """They are refused until the window ends."""
    FREEZE = "FREEZE"
    """The principal can't use the key any more until an administrator lifts that."""


@dataclass(frozen=True, slots=True)
class BudgetLimit:
    """At most `count` uses within each `window`."""

    window: BudgetWindow
    count: int


@dataclass(frozen=True, slots=True)
class Budget:
    """A budget of the account that owns the keys."""

    account: str
    budget_id: str
    name: str
    arn: str
    key_arn: str
    """A key of the account, or `*`."""
    principal_arn: str
    """A user, role or root user of any account, or `*`. Sessions count as their role."""
    context_key: str | None
    """Only uses whose encryption context has this pair are counted."""
    context_value: str | None
    """The value that it must have; None: each value is counted apart."""
    operations: tuple[str, ...]
    """KMS actions without prefix that are counted; empty for all that use key material."""
    limits: tuple[BudgetLimit, ...]
    on_exceed: OnExceed
    created: float
    updated: float
    revision: int = 1
    """Changes whenever what was leased of the budget must not be used any more."""

    def counted_value(self, action: str, key_arn: str, principal_arn: str, pairs: Mapping[str, str]) -> str | None:
        """The value of the encryption context that a use is counted under (empty where none matters); None when the
        budget isn't about this use."""
        if self.key_arn not in (EVERY, key_arn) or self.principal_arn not in (EVERY, principal_arn):
            return None
        if self.operations and action not in self.operations:
            return None
        if self.context_key is None:
            return ""
        value = pairs.get(self.context_key)
        return value if self.context_value in (None, value) else None


@dataclass(frozen=True, slots=True)
class Freeze:
    """A principal that may not use a key any more."""

    freeze_id: str
    account: str
    region: str
    key_id: str
    key_arn: str
    principal_arn: str
    budget_id: str
    budget_name: str
    limit: BudgetLimit
    """The limit that was exceeded."""
    created: float


@dataclass(frozen=True, slots=True, eq=False)
class AccountBudgets:
    """What limits the use of one account's keys."""

    budgets: tuple[Budget, ...]
    freezes: bool
    """Whether any principal is frozen on any of the account's keys."""
    _by_key: dict[str, tuple[Budget, ...]] = field(init=False, repr=False)
    _for_all: tuple[Budget, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        for_all = tuple(budget for budget in self.budgets if budget.key_arn == EVERY)
        named = {budget.key_arn for budget in self.budgets} - {EVERY}
        by_key = {
            arn: tuple(budget for budget in self.budgets if budget.key_arn in (EVERY, arn)) for arn in named
        }
        object.__setattr__(self, "_for_all", for_all)
        object.__setattr__(self, "_by_key", by_key)

    def on(self, key_arn: str) -> tuple[Budget, ...]:
        """Budgets that are about this key."""
        return self._by_key.get(key_arn, self._for_all)


NO_BUDGETS = AccountBudgets((), freezes=False)

_SECONDS: Mapping[BudgetWindow, int] = {
    BudgetWindow.SECOND: 1, BudgetWindow.MINUTE: 60, BudgetWindow.HOUR: 3_600, BudgetWindow.DAY: 86_400,
}


def window_bounds(window: BudgetWindow, now: float) -> tuple[int, int]:
    """(begin, end) of the window that the moment `now` is in, seconds since the epoch; the end isn't in it."""
    if window is BudgetWindow.MONTH:
        moment = datetime.fromtimestamp(now, UTC)
        begin = datetime(moment.year, moment.month, 1, tzinfo=UTC)
        following = divmod(moment.month, 12)
        end = datetime(moment.year + following[0], following[1] + 1, 1, tzinfo=UTC)
        return int(begin.timestamp()), int(end.timestamp())
    seconds = _SECONDS[window]
    begin_number = int(now // seconds) * seconds
    return begin_number, begin_number + seconds


def block_size(window: BudgetWindow, remaining: int) -> int:
    """How many of `remaining` uses a process takes at once: ever fewer as they run out, so that what a process that
    dies has taken and not used is little."""
    share = 2 if window is BudgetWindow.SECOND else 16
    return max(1, min(_BLOCK_MAX, remaining // share))


_BLOCK_MAX = 10_000
