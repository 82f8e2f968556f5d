"""PutBudget, GetBudget, ListBudgets, DeleteBudget, ListFreezes and LiftFreeze."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from kagitori_server.model.arn import budget_arn, parse_key_reference
from kagitori_server.model.budgets import BUDGETS_PER_ACCOUNT, EVERY, Budget, BudgetLimit, Freeze
from kagitori_server.model.errors import (
    AccessDeniedException,
    LimitExceededException,
    NoSuchEntityException,
    NotFoundException,
    ValidationException,
)
from kagitori_server.operations.administration.pages import read_page
from kagitori_server.operations.administration.reach import principal_at
from kagitori_server.operations.context import Context
from kagitori_server.operations.shapes import budgets as shapes
from kagitori_server.operations.shapes.empty import EMPTY, Empty
from kagitori_server.storage.reader import Reader


def check_put_budget(context: Context, request: shapes.PutBudgetRequest) -> None:
    """Refuses terms that say nothing, or the same thing twice."""
    if request.context_value is not None and request.context_key is None:
        raise ValidationException("contextValue needs a contextKey.")
    windows = [limit.window for limit in request.limits]
    if len(set(windows)) != len(windows):
        raise ValidationException("A budget has one limit for each window at most.")
    if len(set(request.operations)) != len(request.operations):
        raise ValidationException("An operation is named twice.")
    counted = context.services.administration.counted_actions
    unknown = set(request.operations) - counted
    if unknown:
        raise ValidationException(f"{min(unknown)} is not counted by budgets; these are: {', '.join(sorted(counted))}.")


def put_budget(context: Context, request: shapes.PutBudgetRequest) -> shapes.BudgetResponse:
    """Makes a budget, or gives the one of that name other terms. What it has counted stays counted."""
    writer, services = context.writer, context.services
    _check_named(context, writer, request)
    present = writer.find_budget(context.account, request.budget_name)
    if present is None and writer.count_budgets(context.account) >= BUDGETS_PER_ACCOUNT:
        raise LimitExceededException(f"The account has {BUDGETS_PER_ACCOUNT} budgets, the most it may have.")
    budget = Budget(
        account=context.account,
        budget_id=services.ids.uuid(),
        name=request.budget_name,
        arn=budget_arn(services.partition, context.account, request.budget_name),
        key_arn=request.key_arn,
        principal_arn=request.principal_arn,
        context_key=request.context_key,
        context_value=request.context_value,
        operations=request.operations,
        limits=tuple(BudgetLimit(limit.window, limit.count) for limit in request.limits),
        on_exceed=request.on_exceed,
        created=context.now,
        updated=context.now,
    )
    if present is not None:
        budget = replace(
            budget, budget_id=present.budget_id, created=present.created, revision=present.revision + 1
        )
    writer.put_budget(budget)
    return shapes.BudgetResponse(budget=_shown(budget))


def get_budget(context: Context, request: shapes.BudgetRequest) -> shapes.BudgetResponse:
    """Describes a budget."""
    with context.services.catalog.read() as reader:
        return shapes.BudgetResponse(budget=_shown(_named(context, reader, request.budget_name)))


def list_budgets(context: Context, request: shapes.ListBudgetsRequest) -> shapes.ListBudgetsResponse:
    """Lists an account's budgets in the order of names."""
    with context.services.catalog.read() as reader:
        page = read_page(
            context.operation.name, request.marker, request.limit, partial(reader.list_budgets, context.account),
            lambda budget: budget.name,
        )
    return shapes.ListBudgetsResponse(
        budgets=tuple(map(_shown, page.items)), next_marker=page.next_marker, truncated=page.truncated
    )


def delete_budget(context: Context, request: shapes.BudgetRequest) -> Empty:
    """Removes a budget and what it has counted. Who was frozen by it stays so."""
    context.writer.delete_budget(_named(context, context.writer, request.budget_name))
    return EMPTY


def list_freezes(context: Context, request: shapes.ListBudgetsRequest) -> shapes.ListFreezesResponse:
    """Lists who can't use which of the account's keys, oldest first."""
    with context.services.catalog.read() as reader:
        page = read_page(
            context.operation.name, request.marker, request.limit, partial(reader.list_freezes, context.account),
            lambda freeze: freeze.freeze_id,
        )
    return shapes.ListFreezesResponse(
        freezes=tuple(map(_freeze, page.items)), next_marker=page.next_marker, truncated=page.truncated
    )


def lift_freeze(context: Context, request: shapes.LiftFreezeRequest) -> Empty:
    """Lets a principal use a key again. Never itself: whoever has stolen its credentials would, too."""
    freeze = context.writer.get_freeze(request.freeze_id)
    # The permission was asked on the budget that the request names.
    if freeze is None or freeze.account != context.account or freeze.budget_name != request.budget_name:
        raise NoSuchEntityException(
            f"The freeze {request.freeze_id} by the budget {request.budget_name} cannot be found."
        )
    if freeze.principal_arn == context.caller.record.arn:
        action = context.operation.permissions[0].action
        raise AccessDeniedException(
            f"User: {context.caller.arn} is not authorized to perform: {action} on its own freeze; "
            "another principal has to lift it"
        )
    context.writer.lift_freeze(freeze)
    return EMPTY


def _check_named(context: Context, reader: Reader, request: shapes.PutBudgetRequest) -> None:
    """Refuses a key that the account doesn't have, and a principal that it should have: a budget about nothing would
    protect nothing. Raises NotFoundException, InvalidArnException, NoSuchEntityException."""
    if request.key_arn != EVERY:
        reference = parse_key_reference(request.key_arn, context.services.partition, alias_allowed=False)
        key = reader.get_key(reference.region or "", reference.name)
        if key is None or key.arn != request.key_arn or key.account != context.account:
            raise NotFoundException(f"Key '{request.key_arn}' does not exist")
    if request.principal_arn != EVERY and request.principal_arn.split(":", 5)[4] == context.account:
        principal_at(context, reader, request.principal_arn)


def _named(context: Context, reader: Reader, name: str) -> Budget:
    budget = reader.find_budget(context.account, name)
    if budget is None:
        raise NoSuchEntityException(f"The budget {name} cannot be found.")
    return budget


def _shown(budget: Budget) -> shapes.BudgetShape:
    return shapes.BudgetShape(
        budget_name=budget.name,
        arn=budget.arn,
        key_arn=budget.key_arn,
        principal_arn=budget.principal_arn,
        context_key=budget.context_key,
        context_value=budget.context_value,
        operations=budget.operations,
        limits=tuple(map(_limit, budget.limits)),
        on_exceed=budget.on_exceed,
        create_date=budget.created,
        last_updated_date=budget.updated,
    )


def _freeze(freeze: Freeze) -> shapes.FreezeShape:
    return shapes.FreezeShape(
        freeze_id=freeze.freeze_id,
        key_arn=freeze.key_arn,
        principal_arn=freeze.principal_arn,
        budget_name=freeze.budget_name,
        limit=_limit(freeze.limit),
        freeze_date=freeze.created,
    )


def _limit(limit: BudgetLimit) -> shapes.BudgetLimitShape:
    return shapes.BudgetLimitShape(window=limit.window, count=limit.count)
