"""CreateGrant, ListGrants, ListRetirableGrants, RetireGrant and RevokeGrant."""

from __future__ import annotations

import base64

from kagitori_server.model.arn import root_arn
from kagitori_server.model.errors import (
    InvalidGrantIdException,
    NotFoundException,
    UnsupportedOperationException,
    ValidationException,
)
from kagitori_server.model.grants import ConstraintKind, Grant, GrantPrincipal
from kagitori_server.model.limits import Quotas
from kagitori_server.operations.context import Context
from kagitori_server.operations.grant_names import find_grant, named_principal, token_digest, unique_id_of
from kagitori_server.operations.grant_terms import check_operations, terms_of
from kagitori_server.operations.paging import cut, decode_marker, encode_marker
from kagitori_server.operations.shapes.empty import EMPTY, Empty
from kagitori_server.operations.shapes.grants import (
    CreateGrantRequest,
    CreateGrantResponse,
    GrantConstraints,
    GrantListEntry,
    ListGrantsRequest,
    ListGrantsResponse,
    ListRetirableGrantsRequest,
    RetireGrantRequest,
    RevokeGrantRequest,
)
from kagitori_server.storage.reader import Reader

_DEFAULT_PAGE = 50


def check_create_grant(context: Context, request: CreateGrantRequest) -> None:
    """Refuses what the key can't do, principals that don't exist, and a grant too many."""
    check_operations(context.key, request)
    with context.services.catalog.read() as reader:
        _same_as(reader, _proposed(context, request, reader), context.services.quotas)


def create_grant(context: Context, request: CreateGrantRequest) -> CreateGrantResponse:
    """Permits a principal operations on a key (AWS CreateGrant). Under the same name the same grant is made once;
    each call has a token of its own."""
    writer = context.writer
    grant = _proposed(context, request, writer)
    existing = _same_as(writer, grant, context.services.quotas)
    if existing is None:
        writer.insert_grant(grant)
    else:
        grant = existing
    token = base64.b64encode(_random(context)).decode()
    writer.add_grant_token(grant, token_digest(token), context.now)
    return CreateGrantResponse(grant_token=token, grant_id=grant.grant_id)


def list_grants(context: Context, request: ListGrantsRequest) -> ListGrantsResponse:
    """Lists a key's grants, or those of one grantee, or one grant (AWS ListGrants)."""
    _refuse_services(request.grantee_service_principal)
    key, size = context.key, request.limit or _DEFAULT_PAGE
    listing = f"ListGrants {key.arn}"
    after = decode_marker(listing, request.marker)
    if request.grant_id is not None:
        return _one_grant(context, request, request.grant_id)
    with context.services.catalog.read() as reader:
        grantee = None
        if request.grantee_principal is not None:
            grantee = unique_id_of(reader, context.services.partition, request.grantee_principal)
            if grantee is None:
                return ListGrantsResponse(grants=(), next_marker=None, truncated=False)
        page, more = cut(reader.list_grants(key.region, key.key_id, grantee, after, size + 1), size)
    return ListGrantsResponse(
        grants=tuple(_entry(context, grant, key.arn) for grant in page),
        next_marker=encode_marker(listing, page[-1].grant_id) if more else None,
        truncated=more,
    )


def check_list_retirable_grants(_context: Context, request: ListRetirableGrantsRequest) -> None:
    """Refuses services as retiring principals, and a request that names nobody."""
    _refuse_services(request.retiring_service_principal)
    if request.retiring_principal is None:
        raise ValidationException("The request does not name its retiring principal.")


def list_retirable_grants(context: Context, request: ListRetirableGrantsRequest) -> ListGrantsResponse:
    """Lists what a principal of the caller's account may retire, on keys of any account (AWS
    ListRetirableGrants)."""
    arn, size = request.retiring_principal or "", request.limit or _DEFAULT_PAGE
    listing = f"ListRetirableGrants {context.region} {arn}"
    key_id, _, grant_id = decode_marker(listing, request.marker).partition("/")
    with context.services.catalog.read() as reader:
        retiring = unique_id_of(reader, context.services.partition, arn)
        found = [] if retiring is None else reader.list_retirable_grants(
            context.region, retiring, (key_id, grant_id), size + 1
        )
    page, more = cut(found, size)
    keys = ((grant, context.lookup.key(grant.region, grant.key_id)) for grant in page)
    return ListGrantsResponse(
        grants=tuple(_entry(context, grant, key.arn) for grant, key in keys if key is not None),
        next_marker=encode_marker(listing, f"{page[-1].key_id}/{page[-1].grant_id}") if more else None,
        truncated=more,
    )


def retire_grant(context: Context, _request: RetireGrantRequest) -> Empty:
    """Ends a grant by whom the grant itself allows to (AWS RetireGrant)."""
    return _end(context)


def check_revoke_grant(context: Context, request: RevokeGrantRequest) -> None:
    """Finds the grant."""
    context.grant = find_grant(context, context.key, request.grant_id)


def revoke_grant(context: Context, _request: RevokeGrantRequest) -> Empty:
    """Ends a grant by whom the key's policy allows to (AWS RevokeGrant)."""
    return _end(context)


def _end(context: Context) -> Empty:
    grant = context.grant
    if grant is None:
        message = "a grant is ended before it is found"
        raise RuntimeError(message)
    context.writer.delete_grant(grant.region, grant.key_id, grant.grant_id)
    return EMPTY


def _proposed(context: Context, request: CreateGrantRequest, reader: Reader) -> Grant:
    """The grant that would be made, with a fresh id."""
    partition = context.services.partition
    if request.grantee_principal is None:
        raise ValidationException("The request does not name its grantee principal.")
    retiring = request.retiring_principal
    operations, constraint = terms_of(request)
    return Grant(
        region=context.key.region,
        key_id=context.key.key_id,
        grant_id=_random(context).hex(),
        name=request.name,
        created=context.now,
        grantee=named_principal(reader, partition, request.grantee_principal),
        retiring=None if retiring is None else named_principal(reader, partition, retiring),
        issuing_account=context.caller.account,
        operations=operations,
        constraint=constraint,
    )


def _same_as(reader: Reader, grant: Grant, quotas: Quotas) -> Grant | None:
    """The grant of the same name and terms, if there is one. Raises LimitExceededException when there is none and
    no room for it."""
    if grant.name is not None:
        for known in reader.grants_named(grant.region, grant.key_id, grant.name):
            if known.same_terms(grant):
                return known
    quotas.check_grants(reader.count_grants(grant.region, grant.key_id))
    return None


def _random(context: Context) -> bytes:
    """32 random bytes."""
    return base64.urlsafe_b64decode(context.services.ids.secret() + "=")


def _one_grant(context: Context, request: ListGrantsRequest, grant_id: str) -> ListGrantsResponse:
    try:
        grant = find_grant(context, context.key, grant_id)
    except NotFoundException:
        raise InvalidGrantIdException(f"There is no grant of this id on {context.key.arn}.") from None
    wanted = request.grantee_principal
    if wanted is not None:
        with context.services.catalog.read() as reader:
            if unique_id_of(reader, context.services.partition, wanted) != grant.grantee.unique_id:
                return ListGrantsResponse(grants=(), next_marker=None, truncated=False)
    return ListGrantsResponse(grants=(_entry(context, grant, context.key.arn),), next_marker=None, truncated=False)


def _entry(context: Context, grant: Grant, key_arn: str) -> GrantListEntry:
    return GrantListEntry(
        key_id=key_arn,
        grant_id=grant.grant_id,
        name=grant.name,
        creation_date=grant.created,
        grantee_principal=_shown(context, grant.grantee),
        retiring_principal=None if grant.retiring is None else _shown(context, grant.retiring),
        issuing_account=root_arn(context.services.partition, grant.issuing_account),
        operations=tuple(sorted(grant.operations)),
        constraints=_constraints(grant),
    )


def _shown(context: Context, principal: GrantPrincipal) -> str:
    """The ARN, or the unique id once the ARN no longer means it."""
    if ":iam:" in principal.arn and not principal.arn.endswith(":root"):
        record = context.lookup.principal(principal.arn)
        meant = None if record is None else record.principal_id
    else:
        with context.services.catalog.read() as reader:
            meant = unique_id_of(reader, context.services.partition, principal.arn)
    return principal.arn if meant == principal.unique_id else principal.unique_id


def _constraints(grant: Grant) -> GrantConstraints | None:
    if grant.constraint is None:
        return None
    if grant.constraint.kind is ConstraintKind.EQUALS:
        return GrantConstraints(encryption_context_equals=grant.constraint.pairs)
    return GrantConstraints(encryption_context_subset=grant.constraint.pairs)


def _refuse_services(name: str | None) -> None:
    if name is not None:
        raise UnsupportedOperationException("Grants to services are not supported.")
