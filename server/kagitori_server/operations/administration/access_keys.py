"""CreateAccessKey, ListAccessKeys, UpdateAccessKey and DeleteAccessKey."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial

from kagitori_server.model.errors import (
    LimitExceededException,
    NoSuchEntityException,
    ValidationException,
)
from kagitori_server.model.principals import AccessKeyRecord, PrincipalKind, access_key_label
from kagitori_server.operations.administration.credentials import credential_id, drop_expired
from kagitori_server.operations.administration.pages import read_page
from kagitori_server.operations.administration.reach import find_access_key, principal_at
from kagitori_server.operations.context import Context, domain_of
from kagitori_server.operations.shapes import access_keys as shapes
from kagitori_server.operations.shapes.empty import EMPTY, Empty

ACCESS_KEYS_MAX = 2
"""Access keys of a principal (AWS IAM quotas)."""

ID_CHARACTERS = 20
STANDARD_BASE64 = str.maketrans("-_", "+/")
"""Secrets are 43 characters of Base64, 256 random bits: what AWS KMS takes as the secret of an external key store
proxy, too."""


@dataclass(frozen=True, slots=True)
class NewAccessKey:
    """An access key before anybody has it."""

    access_key_id: str
    region: str
    secret: str = field(repr=False)
    wrapped_secret: bytes = field(repr=False)


def new_access_key(context: Context, prefix: str) -> NewAccessKey:
    """Makes an access key of the call's account (`AKIA`, `ASIA`). It may write to the catalog: not in a write."""
    services = context.services
    access_key_id = services.ids.unique_id(prefix)[:ID_CHARACTERS]
    secret = services.ids.secret().translate(STANDARD_BASE64)
    # One Region for all, so that one key-encryption key opens them wherever a call comes in.
    region = services.administration.server.default_region
    wrapped = services.administration.secrets.wrap_secret(
        domain_of(context.account, region), access_key_label(access_key_id), secret.encode()
    )
    return NewAccessKey(access_key_id, region, secret, wrapped)


def check_create_access_key(context: Context, request: shapes.CreateAccessKeyRequest) -> None:
    """Refuses roles, whose access keys AssumeRole gives, and principals that aren't there."""
    principal = context.lookup.principal(request.principal_arn)
    if principal is None or principal.account != context.account:
        raise NoSuchEntityException(f"The principal {request.principal_arn} cannot be found.")
    if principal.kind is PrincipalKind.ROLE:
        raise ValidationException("A role has no access keys of its own; AssumeRole gives those of its sessions.")


def prepare_create_access_key(context: Context, _request: shapes.CreateAccessKeyRequest) -> None:
    """Makes the key and wraps its secret."""
    context.prepared = new_access_key(context, "AKIA")


def create_access_key(
    context: Context, request: shapes.CreateAccessKeyRequest
) -> shapes.CreateAccessKeyResponse:
    """Gives a user or root user an access key; its secret is shown this once (AWS IAM CreateAccessKey)."""
    writer = context.writer
    made: NewAccessKey = context.prepared
    principal = principal_at(context, writer, request.principal_arn)
    drop_expired(context, principal.arn)
    if len(writer.list_access_keys(context.account, principal.arn)) >= ACCESS_KEYS_MAX:
        raise LimitExceededException(f"The principal has {ACCESS_KEYS_MAX} access keys, the most it may have.")
    key = AccessKeyRecord(
        access_key_id=made.access_key_id,
        entry_id=credential_id(context, "key"),
        principal_arn=principal.arn,
        account=context.account,
        region=made.region,
        wrapped_secret=made.wrapped_secret,
        active=True,
        created=context.now,
    )
    writer.insert_access_key(key)
    return shapes.CreateAccessKeyResponse(access_key=_metadata(key), secret_access_key=made.secret)


def list_access_keys(context: Context, request: shapes.ListAccessKeysRequest) -> shapes.ListAccessKeysResponse:
    """Lists access keys, oldest first, without secrets; those of sessions aren't listed (AWS IAM ListAccessKeys)."""
    with context.services.catalog.read() as reader:
        if request.principal_arn is not None:
            principal_at(context, reader, request.principal_arn)
        page = read_page(
            context.operation.name,
            request.marker,
            request.limit,
            partial(reader.list_access_keys, context.account, request.principal_arn),
            lambda key: key.entry_id,
        )
    return shapes.ListAccessKeysResponse(
        access_keys=tuple(map(_metadata, page.items)), next_marker=page.next_marker, truncated=page.truncated
    )


def update_access_key(context: Context, request: shapes.UpdateAccessKeyRequest) -> Empty:
    """Says whether an access key is accepted (AWS IAM UpdateAccessKey)."""
    key = _lasting(context, request.access_key_id)
    active = request.status is shapes.AccessKeyStatus.ACTIVE
    context.writer.set_access_key_active(key.access_key_id, active=active)
    return EMPTY


def delete_access_key(context: Context, request: shapes.DeleteAccessKeyRequest) -> Empty:
    """Ends an access key for good (AWS IAM DeleteAccessKey)."""
    context.writer.delete_access_key(_lasting(context, request.access_key_id).access_key_id)
    return EMPTY


def _lasting(context: Context, access_key_id: str) -> AccessKeyRecord:
    key = find_access_key(context, context.writer, access_key_id)
    if key is None:
        raise NoSuchEntityException(f"The Access Key with id {access_key_id} cannot be found.")
    return key


def _metadata(key: AccessKeyRecord) -> shapes.AccessKeyMetadata:
    return shapes.AccessKeyMetadata(
        access_key_id=key.access_key_id,
        principal_arn=key.principal_arn,
        status=shapes.AccessKeyStatus.ACTIVE if key.active else shapes.AccessKeyStatus.INACTIVE,
        create_date=key.created,
        last_used_date=None,
    )
