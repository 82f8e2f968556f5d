"""The rows of AdminService about budgets and the freezes that they lead to."""

from __future__ import annotations

from kagitori_server.operations.admin_rows import reading, writing
from kagitori_server.operations.administration import budgets
from kagitori_server.operations.row import Operation, Resource
from kagitori_server.operations.shapes import budgets as shapes
from kagitori_server.operations.shapes.empty import Empty

BUDGETS: tuple[Operation, ...] = (
    writing(
        "PutBudget", shapes.PutBudgetRequest, shapes.BudgetResponse, budgets.put_budget,
        on=Resource.BUDGET, account_member="account_id", home_only=False,
        shown=(
            "account_id", "budget_name", "key_arn", "principal_arn", "context_key", "context_value", "operations",
            "limits", "on_exceed",
        ),
        answer_shown=("budget",), check=budgets.check_put_budget,
    ),
    reading(
        "GetBudget", shapes.BudgetRequest, shapes.BudgetResponse, budgets.get_budget,
        on=Resource.BUDGET, account_member="account_id", home_only=False, shown=("account_id", "budget_name"),
    ),
    reading(
        "ListBudgets", shapes.ListBudgetsRequest, shapes.ListBudgetsResponse, budgets.list_budgets,
        on=Resource.ACCOUNT, account_member="account_id", home_only=False, shown=("account_id", "limit", "marker"),
    ),
    writing(
        "DeleteBudget", shapes.BudgetRequest, Empty, budgets.delete_budget,
        on=Resource.BUDGET, account_member="account_id", home_only=False, shown=("account_id", "budget_name"),
    ),
    reading(
        "ListFreezes", shapes.ListBudgetsRequest, shapes.ListFreezesResponse, budgets.list_freezes,
        on=Resource.ACCOUNT, account_member="account_id", home_only=False, shown=("account_id", "limit", "marker"),
    ),
    writing(
        "LiftFreeze", shapes.LiftFreezeRequest, Empty, budgets.lift_freeze,
        on=Resource.BUDGET, account_member="account_id", home_only=False,
        shown=("account_id", "budget_name", "freeze_id"),
    ),
)
