"""Shapes of the operations on budgets and freezes, which AWS doesn't have."""

from __future__ import annotations

from dataclasses import dataclass

from kagitori_server.model.arn import ACCOUNT_PATTERN, KEY_ID_PATTERN, PARTITION_PATTERN, REGION_PATTERN
from kagitori_server.model.budgets import BudgetWindow, OnExceed
from kagitori_server.model.shape import member
from kagitori_server.operations.shapes.keys import marker
from kagitori_server.operations.shapes.principals import account_id, name, page_limit

_NAME_MAX = 128
_ARN_MAX = 1_024
_CONTEXT_MAX = 8_192
_KEY = rf"\*|arn:{PARTITION_PATTERN}:kms:{REGION_PATTERN}:{ACCOUNT_PATTERN}:key/(?:{KEY_ID_PATTERN})"
_PRINCIPAL = rf"\*|arn:{PARTITION_PATTERN}:iam::{ACCOUNT_PATTERN}:(?:root|(?:user|role)/[!-~]{{1,575}})"
_COUNT_MAX = 1_000_000_000_000
_OPERATIONS_MAX = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetLimitShape:
    """`BudgetLimit` of the contract."""

    window: BudgetWindow = member(required=True)
    count: int = member(required=True, minimum=1, maximum=_COUNT_MAX)


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetShape:
    """`Budget` of the contract."""

    budget_name: str
    arn: str
    key_arn: str
    principal_arn: str
    context_key: str | None
    context_value: str | None
    operations: tuple[str, ...]
    limits: tuple[BudgetLimitShape, ...]
    on_exceed: OnExceed
    create_date: float
    last_updated_date: float


@dataclass(frozen=True, slots=True, kw_only=True)
class FreezeShape:
    """`Freeze` of the contract."""

    freeze_id: str
    key_arn: str
    principal_arn: str
    budget_name: str
    limit: BudgetLimitShape
    freeze_date: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PutBudgetRequest:
    """What PutBudget takes."""

    account_id: str | None = account_id()
    budget_name: str = name(maximum=_NAME_MAX)
    key_arn: str = member(required=True, minimum=1, maximum=_ARN_MAX, pattern=_KEY)
    principal_arn: str = member(required=True, minimum=1, maximum=_ARN_MAX, pattern=_PRINCIPAL)
    context_key: str | None = member(minimum=1, maximum=_CONTEXT_MAX)
    context_value: str | None = member(maximum=_CONTEXT_MAX)
    operations: tuple[str, ...] = member(
        minimum=1, maximum=64, pattern="[A-Za-z]+", items_maximum=_OPERATIONS_MAX, default=()
    )
    limits: tuple[BudgetLimitShape, ...] = member(required=True, items_minimum=1, items_maximum=len(BudgetWindow))
    on_exceed: OnExceed = member(required=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetRequest:
    """What GetBudget and DeleteBudget take."""

    account_id: str | None = account_id()
    budget_name: str = name(maximum=_NAME_MAX)


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetResponse:
    """What PutBudget and GetBudget answer."""

    budget: BudgetShape


@dataclass(frozen=True, slots=True, kw_only=True)
class ListBudgetsRequest:
    """What ListBudgets and ListFreezes take."""

    account_id: str | None = account_id()
    limit: int | None = page_limit()
    marker: str | None = marker()


@dataclass(frozen=True, slots=True, kw_only=True)
class ListBudgetsResponse:
    """What ListBudgets answers."""

    budgets: tuple[BudgetShape, ...]
    next_marker: str | None
    truncated: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ListFreezesResponse:
    """What ListFreezes answers."""

    freezes: tuple[FreezeShape, ...]
    next_marker: str | None
    truncated: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class LiftFreezeRequest:
    """What LiftFreeze takes."""

    account_id: str | None = account_id()
    budget_name: str = name(maximum=_NAME_MAX)
    freeze_id: str = member(required=True, minimum=1, maximum=64, pattern="[A-Za-z0-9-]+")
