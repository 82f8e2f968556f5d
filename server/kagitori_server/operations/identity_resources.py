"""On what the permissions are asked that identity policies alone decide: aliases, and the users, roles, groups and
managed policies that operations of AdminService are about, as in AWS IAM.

An entity is named by its name or by the id of something that belongs to it, while policies name it by its ARN, with
its path: it has to be looked up before it's known whether the caller may hear of it. So each resource comes with what
a refusal may say of it, which is the same for an entity that isn't there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from kagitori_server.model.arn import alias_arn, check_new_alias_name, entity_arn, service_arn
from kagitori_server.model.principals import PrincipalKind
from kagitori_server.operations.administration.reach import (
    find_access_key,
    find_certificate,
    find_group,
    find_principal,
    find_token,
)
from kagitori_server.operations.context import Context
from kagitori_server.operations.row import Entity, Naming, Permission, Resource
from kagitori_server.storage.reader import Reader

_SESSION = re.compile(r"arn:[a-z-]+:sts::[0-9]{12}:assumed-role/(?P<role>[^/]+)/[^/]+")
_NAMED_KINDS = (Naming.USER, Naming.ROLE, Naming.GROUP, Naming.POLICY)


@dataclass(frozen=True, slots=True)
class IdentityResource:
    """What a permission is asked on."""

    arn: str
    account: str
    """Whose identity policies decide."""
    shown: str
    """What a refusal says of it: no more than the request did."""
    unknown_arn: str
    """What would be asked on if nothing of that name existed; the same as `arn` where nothing is looked up."""


def identity_resource(context: Context, permission: Permission, request: Any) -> IdentityResource:
    """What `permission` is asked on, which isn't on a key or grant.

    Looks an entity up, within the transaction of a call that has one, and blocks for it.
    """
    row, caller, services = context.operation, context.caller, context.services
    # Of AdminService: whether the call may reach another account than the caller's was decided before.
    account = caller.account
    if permission.on is Resource.ENTITY:
        if permission.entity is None:
            message = f"the row {row.name} doesn't say what entity its permission is asked on"
            raise RuntimeError(message)
        return _entity(context, permission.entity, request)
    if permission.on is Resource.ALIAS:
        name: str = getattr(request, row.alias_member or "")
        check_new_alias_name(name)
        arn, account = alias_arn(services.partition, context.region, context.account, name), context.account
    elif permission.on is Resource.PRINCIPAL:
        arn = request.principal_arn
    elif permission.on is Resource.POLICY:
        arn = request.policy_arn
    elif permission.on is Resource.CHANGED:
        arn = request.changed_arn(services.partition, context.region, context.account)
    elif permission.on is Resource.RETIRING_PRINCIPAL and request.retiring_principal:
        arn = request.retiring_principal
        parts = arn.split(":", 5)
        account = parts[4] if len(parts) == 6 else account
    else:
        arn = _no_entity(context)
    return IdentityResource(arn, account, arn, arn)


def _entity(context: Context, entity: Entity, request: Any) -> IdentityResource:
    naming, account = entity.naming, context.caller.account
    named: str | None = getattr(request, entity.member)
    if naming is Naming.PRINCIPAL:
        return _principal(context, named)
    if named is None:
        arn = _no_entity(context)
        return IdentityResource(arn, account, arn, arn)
    if entity.path_member is not None:
        arn = _arn(context, naming, named, getattr(request, entity.path_member) or "/")
        return IdentityResource(arn, account, arn, arn)
    unknown = _arn(context, naming, named, "/") if naming in _NAMED_KINDS else _no_entity(context)
    with _reading(context) as reader:
        found = _find(context, reader, naming, named)
    return IdentityResource(found or unknown, account, f"{naming.value} {named}", unknown)


def _principal(context: Context, named: str | None) -> IdentityResource:
    """A role for each of its sessions, so that none of them is a way around what is said of the role."""
    account = context.caller.account
    if named is None:
        named = context.caller.record.arn
    session = _SESSION.fullmatch(named)
    if session is None:
        return IdentityResource(named, account, named, named)
    unknown = _arn(context, Naming.ROLE, session["role"], "/")
    with _reading(context) as reader:
        found = _find(context, reader, Naming.ROLE, session["role"])
    return IdentityResource(found or unknown, account, named, unknown)


def _find(context: Context, reader: Reader, naming: Naming, named: str) -> str | None:
    """The ARN of what is named, or of the principal that it belongs to; None for nothing of the call's account."""
    if naming is Naming.GROUP:
        group = find_group(context, reader, named)
        return None if group is None else group.arn
    if naming in (Naming.USER, Naming.ROLE):
        principal = find_principal(context, reader, PrincipalKind(naming.value), named)
        return None if principal is None else principal.arn
    if naming is Naming.TOKEN:
        token = find_token(context, reader, named)
        return None if token is None else token.principal_arn
    if naming is Naming.CERTIFICATE:
        certificate = find_certificate(context, reader, named)
        return None if certificate is None else certificate.principal_arn
    if naming is Naming.ACCESS_KEY:
        access_key = find_access_key(context, reader, named)
        return None if access_key is None else access_key.principal_arn
    message = f"nothing is looked up as a {naming.value}"
    raise RuntimeError(message)


def _arn(context: Context, naming: Naming, name: str, path: str) -> str:
    return entity_arn(context.services.partition, context.account, naming.value, path, name)


def _no_entity(context: Context) -> str:
    return service_arn(
        context.services.partition, context.operation.service, context.region, context.caller.account
    )


@contextmanager
def _reading(context: Context) -> Iterator[Reader]:
    """The call's write transaction, or a snapshot of its own."""
    if context.writer_or_none is not None:
        yield context.writer_or_none
        return
    with context.services.catalog.read() as reader:
        yield reader
