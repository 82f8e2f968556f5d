"""Reading budgets and freezes."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import Row

from kagitori_server.model.budgets import (
    AccountBudgets,
    Budget,
    BudgetLimit,
    BudgetWindow,
    Freeze,
    OnExceed,
)
from kagitori_server.storage import schema
from kagitori_server.storage.snapshot import Snapshot


class BudgetReader(Snapshot):
    """What a snapshot says of budgets and freezes."""

    def account_budgets(self, account: str) -> AccountBudgets | None:
        """All that limits the use of the account's keys; None for nothing."""
        columns = schema.budgets.c
        found = self._some(schema.budgets, columns.name, _ALL, columns.account == account)
        frozen = self._count(schema.freezes, schema.freezes.c.account == account) > 0
        if not found and not frozen:
            return None
        return AccountBudgets(tuple(map(budget_of, found)), freezes=frozen)

    def find_budget(self, account: str, name: str) -> Budget | None:
        """The budget of that name."""
        columns = schema.budgets.c
        row = self._one(schema.budgets, columns.account == account, columns.name == name)
        return None if row is None else budget_of(row)

    def list_budgets(self, account: str, after_name: str = "", limit: int = 100) -> list[Budget]:
        """Budgets of an account in the order of names."""
        columns = schema.budgets.c
        found = self._some(
            schema.budgets, columns.name, limit, columns.account == account, columns.name > after_name
        )
        return list(map(budget_of, found))

    def count_budgets(self, account: str) -> int:
        """How many budgets an account has."""
        return self._count(schema.budgets, schema.budgets.c.account == account)

    def get_freeze(self, freeze_id: str) -> Freeze | None:
        """The freeze of this id."""
        row = self._one(schema.freezes, schema.freezes.c.freeze_id == freeze_id)
        return None if row is None else _freeze_of(row)

    def find_freeze(self, region: str, key_id: str, principal_arn: str) -> Freeze | None:
        """The freeze of that principal on that key."""
        columns = schema.freezes.c
        row = self._one(
            schema.freezes, columns.region == region, columns.key_id == key_id, columns.principal_arn == principal_arn
        )
        return None if row is None else _freeze_of(row)

    def list_freezes(self, account: str, after: str = "", limit: int = 100) -> list[Freeze]:
        """Freezes on an account's keys in the order of ids, which is that of their making."""
        columns = schema.freezes.c
        found = self._some(
            schema.freezes, columns.freeze_id, limit, columns.account == account, columns.freeze_id > after
        )
        return list(map(_freeze_of, found))


_ALL = 1_000
"""More than an account may have."""


def budget_of(row: Row[Any]) -> Budget:
    """A budget from its row."""
    limits = tuple(BudgetLimit(BudgetWindow(window), count) for window, count in json.loads(row.limits).items())
    return Budget(
        account=row.account,
        budget_id=row.budget_id,
        name=row.name,
        arn=row.arn,
        key_arn=row.key_arn,
        principal_arn=row.principal_arn,
        context_key=row.context_key,
        context_value=row.context_value,
        operations=tuple(row.operations.split()),
        limits=limits,
        on_exceed=OnExceed(row.on_exceed),
        created=row.created,
        updated=row.updated,
        revision=row.revision,
    )


def budget_values(budget: Budget) -> dict[str, Any]:
    """The columns of `budgets`."""
    return {
        "budget_id": budget.budget_id,
        "account": budget.account,
        "name": budget.name,
        "arn": budget.arn,
        "key_arn": budget.key_arn,
        "principal_arn": budget.principal_arn,
        "context_key": budget.context_key,
        "context_value": budget.context_value,
        "operations": " ".join(budget.operations),
        "limits": json.dumps({limit.window.value: limit.count for limit in budget.limits}),
        "on_exceed": budget.on_exceed.value,
        "created": budget.created,
        "updated": budget.updated,
        "revision": budget.revision,
    }


def _freeze_of(row: Row[Any]) -> Freeze:
    return Freeze(
        freeze_id=row.freeze_id,
        account=row.account,
        region=row.region,
        key_id=row.key_id,
        key_arn=row.key_arn,
        principal_arn=row.principal_arn,
        budget_id=row.budget_id,
        budget_name=row.budget_name,
        limit=BudgetLimit(BudgetWindow(row.window), row.most),
        created=row.created,
    )
