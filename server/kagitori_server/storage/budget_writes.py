"""Writing budgets, what is taken of them, and freezes."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import func, select

from kagitori_server.model.budgets import (
    VALUES_PER_HOLDER,
    Budget,
    BudgetLimit,
    BudgetWindow,
    Freeze,
    block_size,
    window_bounds,
)
from kagitori_server.model.errors import NoSuchEntityException
from kagitori_server.storage import schema
from kagitori_server.storage.budget_reader import budget_values
from kagitori_server.storage.changes import Change
from kagitori_server.storage.recorder import Recorder

_SWEEP_EVERY = 256
_SWEEP_SECONDS = 86_400
"""How long after its end a count is kept, for the sake of processes whose clocks are behind."""
_SLACK_SECONDS = 60
_OTHER_VALUES = b"\xff" * schema.DIGEST_BYTES


@dataclass(frozen=True, slots=True)
class Leased:
    """What was taken of one limit."""

    ends: int
    """The end of the window it is good for, seconds since the epoch."""
    count: int
    """How many uses; may be fewer than asked for, or none."""
    spent: bool
    """Whether nothing is left for anybody in this window."""


@dataclass(frozen=True, slots=True)
class Lease:
    """What was taken of a budget."""

    uses: Mapping[BudgetWindow, Leased]
    crowded: bool
    """Whether the value is counted together with others, because there are too many of them."""


class BudgetWrites(Recorder):
    """Changes to budgets."""

    def put_budget(self, budget: Budget) -> None:
        """A new budget, or a changed one of the same id. Raises NoSuchEntityException without its account."""
        table = schema.budgets
        if self._count(schema.accounts, schema.accounts.c.account == budget.account) == 0:
            raise NoSuchEntityException("The account is not found.")
        values = budget_values(budget)
        if not self._update(table, values, table.c.budget_id == budget.budget_id):
            self._insert(table, values)
        self._touch(Change.of_budgets(budget.account))

    def delete_budget(self, budget: Budget) -> None:
        """Removes a budget and what was counted of it. Raises NoSuchEntityException when there is none."""
        if not self._delete(schema.budgets, schema.budgets.c.budget_id == budget.budget_id):
            raise NoSuchEntityException(f"The budget {budget.name} cannot be found.")
        self._touch(Change.of_budgets(budget.account))

    def lease_uses(
        self, budget: Budget, holder: tuple[str, str], value: str | None, wanted: Mapping[BudgetWindow, int], now: float
    ) -> Lease | None:
        """Takes uses of a budget for a process to give away: of each window at least as many as `wanted`, as long as
        there are some. Who takes them and doesn't use them has used them up all the same.

        `holder` is (key ARN, principal ARN), `value` the value of the encryption context, None for all those that are
        counted together. None when the budget isn't as it is in `budget` any more.
        """
        table = schema.budgets
        if not self._count(table, table.c.budget_id == budget.budget_id, table.c.revision == budget.revision):
            return None
        self._sweep(now)
        place = (budget.budget_id, _digest(*holder), _OTHER_VALUES if value is None else _digest(value))
        if not self._known(place):
            place = self._room(place, now)
        uses = {
            limit.window: self._take(place, limit, wanted[limit.window], now)
            for limit in budget.limits
            if limit.window in wanted
        }
        return Lease(uses, crowded=place[2] == _OTHER_VALUES)

    def insert_freeze(self, freeze: Freeze) -> bool:
        """Lets a principal not use a key any more. False when it can't already."""
        if self.find_freeze(freeze.region, freeze.key_id, freeze.principal_arn) is not None:
            return False
        values = {
            "freeze_id": freeze.freeze_id,
            "account": freeze.account,
            "region": freeze.region,
            "key_id": freeze.key_id,
            "key_arn": freeze.key_arn,
            "principal_arn": freeze.principal_arn,
            "budget_id": freeze.budget_id,
            "budget_name": freeze.budget_name,
            "window": freeze.limit.window.value,
            "most": freeze.limit.count,
            "created": freeze.created,
        }
        self._insert(schema.freezes, values)
        self._touch_freeze(freeze)
        return True

    def lift_freeze(self, freeze: Freeze) -> None:
        """Lets the principal use the key again, its counts of the budget beginning at zero.

        Raises NoSuchEntityException when it isn't frozen.
        """
        if not self._delete(schema.freezes, schema.freezes.c.freeze_id == freeze.freeze_id):
            raise NoSuchEntityException(f"The freeze {freeze.freeze_id} cannot be found.")
        counts, budgets = schema.budget_counts, schema.budgets
        holder = _digest(freeze.key_arn, freeze.principal_arn)
        self._delete(counts, counts.c.budget_id == freeze.budget_id, counts.c.holder == holder)
        # What processes have leased counts against the old numbers: it must not be used on top of the new ones.
        self._update(budgets, {"revision": budgets.c.revision + 1}, budgets.c.budget_id == freeze.budget_id)
        self._touch_freeze(freeze)

    def _touch_freeze(self, freeze: Freeze) -> None:
        self._touch(
            Change.of_freeze(freeze.region, freeze.key_id, freeze.principal_arn), Change.of_budgets(freeze.account)
        )

    def _known(self, place: tuple[str, bytes, bytes]) -> bool:
        counts = schema.budget_counts.c
        budget_id, holder, value = place
        return bool(self._count(
            schema.budget_counts, counts.budget_id == budget_id, counts.holder == holder, counts.value == value
        ))

    def _room(self, place: tuple[str, bytes, bytes], now: float) -> tuple[str, bytes, bytes]:
        """Where a value that wasn't counted yet is counted: by itself, or with all others when there are too many."""
        table, (budget_id, holder, _) = schema.budget_counts, place
        mine = (table.c.budget_id == budget_id, table.c.holder == holder)
        distinct = select(func.count(func.distinct(table.c.value))).where(*mine)
        if self._connection.execute(distinct).scalar_one() < VALUES_PER_HOLDER:
            return place
        self._delete(table, *mine, table.c.ends <= now - _SLACK_SECONDS)
        if self._connection.execute(distinct).scalar_one() < VALUES_PER_HOLDER:
            return place
        return budget_id, holder, _OTHER_VALUES

    def _take(self, place: tuple[str, bytes, bytes], limit: BudgetLimit, wanted: int, now: float) -> Leased:
        table = schema.budget_counts
        budget_id, holder, value = place
        row = self._one(
            table, table.c.budget_id == budget_id, table.c.holder == holder, table.c.value == value,
            table.c.window == limit.window.value,
        )
        _, ends = window_bounds(limit.window, now)
        # A later end is that of a process whose clock is before ours: its window goes on.
        current = row is not None and row.ends >= ends
        ends, taken = (row.ends, row.taken) if row is not None and current else (ends, 0)
        remaining = max(0, limit.count - taken)
        count = min(remaining, max(wanted, block_size(limit.window, remaining)))
        if count:
            values = {"ends": ends, "taken": taken + count}
            if row is None:
                names = {"budget_id": budget_id, "holder": holder, "value": value, "window": limit.window.value}
                self._insert(table, {**names, **values})
            else:
                self._update(
                    table, values, table.c.budget_id == budget_id, table.c.holder == holder, table.c.value == value,
                    table.c.window == limit.window.value,
                )
        return Leased(ends, count, spent=count == remaining)

    def _sweep(self, now: float) -> None:
        if self.version % _SWEEP_EVERY == 0:
            self._delete(schema.budget_counts, schema.budget_counts.c.ends <= now - _SWEEP_SECONDS)


def _digest(*texts: str) -> bytes:
    """SHA-256 over texts with their lengths before them."""
    digest = hashlib.sha256()
    for text in texts:
        encoded = text.encode()
        digest.update(len(encoded).to_bytes(4, "big") + encoded)
    return digest.digest()
