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

from kagitori_server.model.arn import (
    alias_arn,
    budget_arn,
    check_new_alias_name,
    entity_arn,
    service_arn,
    trail_arn,
)
from kagitori_server.model.principals import PrincipalKind
from kagitori_server.operations.administration.oidc_providers import provider_arn
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
_WITH_ARN = (Naming.USER, Naming.ROLE, Naming.GROUP, Naming.POLICY)


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentityResource:
    """What a permission is asked on."""

    arn: str
    shown: str
    """What a refusal says of it: no more than the request did."""
    unknown_arn: str
    """What would be asked on if nothing of that name existed; the same as `arn` where nothing is looked up."""
    is_entity: bool
    """Whether it's an entity that there is, as far as is known: one that isn't looked up counts as there."""
    account: str
    """Whose it is."""
    governing: str
    """Whose identity policies decide."""

    def note(self, context: Context, *, allowed: bool) -> None:
        """Lets the call's record tell what it's about; of another account's only when it's allowed."""
        if self.is_entity and (allowed or self.account == context.caller.account):
            context.entities.append(self.arn)


def identity_resource(context: Context, permission: Permission, request: Any) -> IdentityResource:
    """What `permission` is asked on, which isn't on a key or grant.

    Looks an entity up, within the transaction of a call that has one, and blocks for it.
    """
    row, services = context.operation, context.services
    if permission.on is Resource.ALIAS:
        name: str = getattr(request, row.alias_member or "")
        check_new_alias_name(name)
        return _own(alias_arn(services.partition, context.region, context.account, name), context.account)
    if permission.on is Resource.RETIRING_PRINCIPAL and request.retiring_principal:
        parts = request.retiring_principal.split(":", 5)
        return _own(request.retiring_principal, parts[4] if len(parts) == 6 else context.account)
    if permission.on in (Resource.PRINCIPAL, Resource.POLICY):
        return _named(context, request.principal_arn if permission.on is Resource.PRINCIPAL else request.policy_arn)
    if permission.on is Resource.OIDC_PROVIDER:
        return _named(context, provider_arn(context, request))
    if permission.on is Resource.BUDGET:
        budget = budget_arn(services.partition, context.account, request.budget_name)
        return _reached(context, budget, shown=budget, unknown_arn=budget, is_entity=False)
    if permission.on is Resource.TRAIL:
        trail: str = request.name
        if not trail.startswith("arn:"):
            trail = trail_arn(services.partition, context.region, context.account, trail)
        return _own(trail, context.account)
    if permission.on is Resource.CHANGED:
        arn = request.changed_arn(services.partition, context.region, context.account)
        # A key isn't an identity: the call that is about it lets its record tell so by itself.
        is_identity = request.identity_policy is not None
        return _reached(context, arn, shown=arn, unknown_arn=arn, is_entity=is_identity)
    if permission.on is not Resource.ENTITY:
        region = getattr(request, permission.region_member) if permission.region_member else context.region
        arn = service_arn(services.partition, row.service, region, context.account)
        return _reached(context, arn, shown=arn, unknown_arn=arn, is_entity=False)
    if permission.entity is None:
        message = f"the row {row.name} doesn't say what entity its permission is asked on"
        raise RuntimeError(message)
    return _entity(context, permission.entity, request)


def _entity(context: Context, entity: Entity, request: Any) -> IdentityResource:
    naming = entity.naming
    if naming is Naming.PRINCIPAL:
        return _principal(context, getattr(request, entity.member))
    named: str = getattr(request, entity.member)
    if entity.path_member is not None:
        return _named(context, _arn(context, naming, named, getattr(request, entity.path_member) or "/"))
    unknown = _arn(context, naming, named, "/") if naming in _WITH_ARN else _no_entity(context)
    return _found(context, naming, named, shown=f"{naming.value} {named}", unknown_arn=unknown)


def _principal(context: Context, named: str | None) -> IdentityResource:
    """A role for each of its sessions, so that none of them is a way around what is said of the role."""
    if named is None:
        return _named(context, context.caller.record.arn)
    session = _SESSION.fullmatch(named)
    if session is None:
        return _named(context, named)
    unknown = _arn(context, Naming.ROLE, session["role"], "/")
    return _found(context, Naming.ROLE, session["role"], shown=named, unknown_arn=unknown)


def _own(arn: str, account: str) -> IdentityResource:
    """What the policies of its own account decide on, whoever calls."""
    return IdentityResource(
        arn=arn, shown=arn, unknown_arn=arn, is_entity=False, account=account, governing=account
    )


def _named(context: Context, arn: str) -> IdentityResource:
    """What the request tells the ARN of."""
    return _reached(context, arn, shown=arn, unknown_arn=arn, is_entity=True)


def _found(context: Context, naming: Naming, name: str, *, shown: str, unknown_arn: str) -> IdentityResource:
    """What has to be looked up."""
    with _reading(context) as reader:
        arn = _find(context, reader, naming, name)
    return _reached(context, arn or unknown_arn, shown=shown, unknown_arn=unknown_arn, is_entity=arn is not None)


def _reached(context: Context, arn: str, *, shown: str, unknown_arn: str, is_entity: bool) -> IdentityResource:
    """What may be another account's: whether the call may reach there was decided before."""
    return IdentityResource(
        arn=arn, shown=shown, unknown_arn=unknown_arn, is_entity=is_entity, account=arn.split(":", 5)[4],
        governing=context.caller.account,
    )


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
    return service_arn(context.services.partition, context.operation.service, context.region, context.account)


@contextmanager
def _reading(context: Context) -> Iterator[Reader]:
    """The call's write transaction, or a snapshot of its own."""
    if context.writer_or_none is not None:
        yield context.writer_or_none
        return
    with context.services.catalog.read() as reader:
        yield reader
