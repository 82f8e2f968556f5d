"""`kagitori budget`: how often principals may use keys, and whom that has frozen."""

from __future__ import annotations

import re
from typing import Annotated

import typer

from kagitori.kms.v1.budgets_pb2 import (
    BudgetLimit,
    BudgetWindow,
    DeleteBudgetRequest,
    GetBudgetRequest,
    LiftFreezeRequest,
    ListBudgetsRequest,
    ListFreezesRequest,
    OnExceed,
    PutBudgetRequest,
)
from kagitori.kms.v1.keys_pb2 import DescribeKeyRequest
from kagitori_client.cli.arguments import principal_arn
from kagitori_client.cli.failures import UsageError
from kagitori_client.cli.principals import Account
from kagitori_client.cli.session import Session, command
from kagitori_client.client import pages

app = typer.Typer(help="Limit how often principals may use keys; see and lift freezes.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="BUDGET", help="Name of the budget.")]
_EVERY = "*"
_LIMIT = re.compile(r"([1-9][0-9]{0,12})/(second|minute|hour|day|month)")
_COLUMNS = ["budget_name", "key_arn", "principal_arn", "on_exceed", "last_updated_date"]
_FREEZE_COLUMNS = ["freeze_id", "budget_name", "principal_arn", "key_arn", "freeze_date"]


@command(app, "put", epilog="Example: kagitori budget put web --key alias/orders --limit 20/second --limit 5000/day")
def put(
    session: Session,
    name: Name,
    limit: Annotated[
        list[str],
        typer.Option(help="Uses within a second, minute, hour, day or month; repeatable.", metavar="N/WINDOW"),
    ],
    key: Annotated[str, typer.Option(help="Key id, ARN or alias; * for each key.", metavar="KEY")] = _EVERY,
    principal: Annotated[
        str, typer.Option(help="ARN, user/NAME, role/NAME or root; * for each.", metavar="PRINCIPAL")
    ] = _EVERY,
    context: Annotated[
        str | None,
        typer.Option(
            help="Count uses with this pair in their encryption context, or each value of KEY apart.",
            metavar="KEY[=VALUE]",
        ),
    ] = None,
    operation: Annotated[
        list[str] | None, typer.Option(help="Action to count, such as Decrypt; all without it. Repeatable.")
    ] = None,
    freeze: Annotated[
        bool,
        typer.Option("--freeze/--refuse", help="Freeze who exceeds it until that is lifted, or refuse for a time."),
    ] = False,
    account: Account = None,
) -> None:
    """Make a budget, or change one. Each principal is counted by itself on each key."""
    context_key, equals, value = (context or "").partition("=")
    request = PutBudgetRequest(
        account_id=account,
        budget_name=name,
        key_arn=_key_arn(session, key),
        principal_arn=principal if principal == _EVERY else principal_arn(session, principal),
        context_key=context_key or None,
        context_value=value if equals else None,
        operations=operation or (),
        limits=list(map(_limit, limit)),
        on_exceed=OnExceed.ON_EXCEED_FREEZE if freeze else OnExceed.ON_EXCEED_REFUSE,
    )
    session.record(session.client.admin.PutBudget(request).budget)


@command(app, "show")
def show(session: Session, name: Name, account: Account = None) -> None:
    """Show a budget."""
    session.record(session.client.admin.GetBudget(GetBudgetRequest(budget_name=name, account_id=account)).budget)


@command(app, "list")
def list_(session: Session, account: Account = None) -> None:
    """List budgets."""
    every = pages(session.client.admin.ListBudgets, ListBudgetsRequest(account_id=account))
    session.records("budgets", [budget for page in every for budget in page.budgets], _COLUMNS)


@command(app, "delete")
def delete(session: Session, name: Name, account: Account = None) -> None:
    """Remove a budget and what it has counted. Who was frozen by it stays so."""
    session.client.admin.DeleteBudget(DeleteBudgetRequest(budget_name=name, account_id=account))
    session.done(f"budget {name} is removed", budget_name=name)


@command(app, "list-freezes")
def list_freezes(session: Session, account: Account = None) -> None:
    """List who can't use which key any more because a budget was exceeded."""
    every = pages(session.client.admin.ListFreezes, ListFreezesRequest(account_id=account))
    session.records("freezes", [freeze for page in every for freeze in page.freezes], _FREEZE_COLUMNS)


@command(app, "lift", epilog="Example: kagitori budget lift web frz-01976a3c52f0-1b9d6bcd")
def lift(
    session: Session,
    name: Name,
    freeze_id: Annotated[str, typer.Argument(metavar="FREEZE_ID")],
    account: Account = None,
) -> None:
    """Let a principal use a key again; what the budget counted of it begins at zero."""
    request = LiftFreezeRequest(budget_name=name, freeze_id=freeze_id, account_id=account)
    session.client.admin.LiftFreeze(request)
    session.done(f"freeze {freeze_id} is lifted", freeze_id=freeze_id)


def _limit(text: str) -> BudgetLimit:
    match = _LIMIT.fullmatch(text)
    if match is None:
        raise UsageError(f"{text!r} is no limit", hint="write a number, a slash and a window, such as 5000/day")
    return BudgetLimit(count=int(match[1]), window=BudgetWindow.Value(f"BUDGET_WINDOW_{match[2].upper()}"))


def _key_arn(session: Session, key: str) -> str:
    """An ARN of a key and `*` as they are; what else names a key is looked up."""
    if key == _EVERY or (key.startswith("arn:") and ":key/" in key):
        return key
    return session.client.keys.DescribeKey(DescribeKeyRequest(key_id=key)).key_metadata.arn
