"""What the rows of AdminService have in common:

the permission is `kagitori:` and the operation's name, asked of identity policies on the user, role, group or managed
policy that the call is about, or on the account where it's about none or many; no grant gives it
and no other account's caller gets it, but for the home account's, in the account that the request names.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from kagitori_server.model.rates import RateGroup
from kagitori_server.model.shape import Shape
from kagitori_server.operations.administration.reach import check_home
from kagitori_server.operations.row import (
    Answer,
    AuditRule,
    Check,
    Cost,
    Entity,
    Handler,
    Naming,
    Operation,
    Permission,
    Prepare,
    Resource,
)

KAGITORI = "kagitori"

NEW_USER = Entity(naming=Naming.USER, member="user_name", path_member="path")
NEW_ROLE = Entity(naming=Naming.ROLE, member="role_name", path_member="path")
NEW_GROUP = Entity(naming=Naming.GROUP, member="group_name", path_member="path")
NEW_POLICY = Entity(naming=Naming.POLICY, member="policy_name", path_member="path")
USER = Entity(naming=Naming.USER, member="user_name")
ROLE = Entity(naming=Naming.ROLE, member="role_name")
GROUP = Entity(naming=Naming.GROUP, member="group_name")
PRINCIPAL = Entity(naming=Naming.PRINCIPAL, member="principal_arn")
TOKEN = Entity(naming=Naming.TOKEN, member="token_id")
CERTIFICATE = Entity(naming=Naming.CERTIFICATE, member="certificate_id")
ACCESS_KEY = Entity(naming=Naming.ACCESS_KEY, member="access_key_id")


@dataclass(frozen=True, slots=True)
class Narrowed:
    """A list of what an account has, or of what belongs to one entity, which an optional member names."""

    member: str
    on: Resource | Entity
    """What is asked on when the member is there; otherwise it's the account."""


OF_PRINCIPAL = Narrowed("principal_arn", Resource.PRINCIPAL)
OF_GROUP = Narrowed("group_name", GROUP)

On = Resource | Entity | Narrowed
"""On what an operation asks its permission."""


def permissions(name: str, on: On) -> tuple[Permission, ...]:
    """The permissions of an operation of this name, of which every request needs exactly one."""
    if not isinstance(on, Narrowed):
        return (permission(name, on),)

    def narrowed(request: Any) -> bool:
        return getattr(request, on.member) is not None

    def whole(request: Any) -> bool:
        return not narrowed(request)

    return permission(name, Resource.ACCOUNT, whole), permission(name, on.on, narrowed)


def permission(name: str, on: Resource | Entity, when: Callable[[Any], object] | None = None) -> Permission:
    """The permission `kagitori:` and the name; needed only for requests of which `when` is true."""
    action = f"{KAGITORI}:{name}"
    if isinstance(on, Entity):
        return Permission(action=action, on=Resource.ENTITY, slot=None, entity=on, when=when)
    return Permission(action=action, on=on, slot=None, when=when)


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
    on: On, account_member: str | None, home_only: bool, shown: tuple[str, ...],
) -> Operation:
    """An operation that changes nothing and whose answer isn't recorded."""
    return Operation(
        name=name, service=KAGITORI, request=Shape(request), response=response,
        keys=(), alias_member=None, account_member=account_member, permissions=permissions(name, on),
        grantable=False, cross_account=False, read_only=True, writes=False, rate=RateGroup.ADMINISTRATION,
        audit=AuditRule(request_shown=shown, answer=Answer.NOTHING),
        cost=Cost.OFFLOAD, check=_checks(None, home_only=home_only), prepare=None, handler=handler,
    )


def streaming(
    name: str, request: type[Any], response: type[Any], handler: Handler, *,
    on: On, account_member: str | None, home_only: bool, shown: tuple[str, ...],
) -> Operation:
    """The same with an answer of many `response`s."""
    row = reading(
        name, request, response, handler, on=on, account_member=account_member, home_only=home_only, shown=shown
    )
    return replace(row, streams=True)


def writing(
    name: str, request: type[Any], response: type[Any], handler: Handler, *,
    on: On, account_member: str | None, home_only: bool,
    shown: tuple[str, ...], answer_shown: tuple[str, ...] = (),
    check: Check | None = None, prepare: Prepare | None = None,
) -> Operation:
    """An operation that changes the catalog; of its answer, the record shows `answer_shown`."""
    return Operation(
        name=name, service=KAGITORI, request=Shape(request), response=response,
        keys=(), alias_member=None, account_member=account_member, permissions=permissions(name, on),
        grantable=False, cross_account=False, read_only=False, writes=True, rate=RateGroup.ADMINISTRATION,
        audit=AuditRule(
            request_shown=shown, answer=Answer.MEMBERS if answer_shown else Answer.NOTHING,
            response_shown=answer_shown,
        ),
        cost=Cost.OFFLOAD, check=_checks(check, home_only=home_only), prepare=prepare, handler=handler,
    )
