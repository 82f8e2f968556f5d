"""What the rows of AdminService have in common:

the permission is `kagitori:` and the operation's name, asked of identity policies on the account, or on the principal
or managed policy that the request names by its ARN; no grant gives it
and no other account's caller gets it, but for the home account's, in the account that the request names.
"""

from __future__ import annotations

from typing import Any

from kagitori_server.model.rates import RateGroup
from kagitori_server.model.shape import Shape
from kagitori_server.operations.administration.reach import check_home
from kagitori_server.operations.row import (
    Answer,
    AuditRule,
    Check,
    Cost,
    Handler,
    Operation,
    Permission,
    Prepare,
    Resource,
)

KAGITORI = "kagitori"


def permission(name: str, on: Resource) -> Permission:
    """The permission that an operation of this name asks."""
    return Permission(action=f"{KAGITORI}:{name}", on=on, slot=None)


def _checks(check: Check | None, *, home_only: bool) -> Check | None:
    """`check`, after that of the caller's account where the operation is for the home account's callers only."""
    if not home_only:
        return check
    if check is None:
        return check_home

    def both(context: Any, request: Any) -> None:
        check_home(context, request)
        check(context, request)

    return both


def reading(
    name: str, request: type[Any], response: type[Any], handler: Handler, *,
    on: Resource, account_member: str | None, home_only: bool, shown: tuple[str, ...],
) -> Operation:
    """An operation that changes nothing and whose answer isn't recorded."""
    return Operation(
        name=name, service=KAGITORI, request=Shape(request), response=response,
        keys=(), alias_member=None, account_member=account_member, permissions=(permission(name, on),),
        grantable=False, cross_account=False, read_only=True, writes=False, rate=RateGroup.ADMINISTRATION,
        audit=AuditRule(request_shown=shown, answer=Answer.NOTHING),
        cost=Cost.OFFLOAD, check=_checks(None, home_only=home_only), prepare=None, handler=handler,
    )


def writing(
    name: str, request: type[Any], response: type[Any], handler: Handler, *,
    on: Resource, account_member: str | None, home_only: bool,
    shown: tuple[str, ...], answer_shown: tuple[str, ...] = (),
    check: Check | None = None, prepare: Prepare | None = None,
) -> Operation:
    """An operation that changes the catalog; of its answer, the record shows `answer_shown`."""
    return Operation(
        name=name, service=KAGITORI, request=Shape(request), response=response,
        keys=(), alias_member=None, account_member=account_member, permissions=(permission(name, on),),
        grantable=False, cross_account=False, read_only=False, writes=True, rate=RateGroup.ADMINISTRATION,
        audit=AuditRule(
            request_shown=shown, answer=Answer.MEMBERS if answer_shown else Answer.NOTHING,
            response_shown=answer_shown,
        ),
        cost=Cost.OFFLOAD, check=_checks(check, home_only=home_only), prepare=prepare, handler=handler,
    )
