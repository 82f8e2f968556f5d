"""Whom and what a call of AdminService may reach: the home account's callers, and entities of the call's account.

What belongs to another account than the call's is answered exactly as if it weren't there.
"""

from __future__ import annotations

from typing import Any

from kagitori_server.model.errors import AccessDeniedException, NoSuchEntityException
from kagitori_server.model.principals import (
    AccessKeyRecord,
    CertificateRecord,
    GroupRecord,
    ManagedPolicyRecord,
    PrincipalKind,
    PrincipalRecord,
    TokenRecord,
)
from kagitori_server.operations.context import Context
from kagitori_server.storage.reader import Reader


def is_home(context: Context) -> bool:
    """Whether the caller belongs to the account that runs the installation."""
    return context.caller.account == context.services.home_account


def check_home(context: Context, _request: Any) -> None:
    """Refuses callers of other accounts. Raises AccessDeniedException."""
    if not is_home(context):
        action = context.operation.permissions[0].action
        raise AccessDeniedException(
            f"User: {context.caller.arn} is not authorized to perform: {action}, "
            "which is for principals of the managing account only"
        )


def principal_at(context: Context, reader: Reader, arn: str) -> PrincipalRecord:
    """The user, role or root user of that ARN. Raises NoSuchEntityException."""
    found = reader.get_principal(arn)
    if found is None or found.account != context.account:
        raise NoSuchEntityException(f"The principal {arn} cannot be found.")
    return found


def principal_named(context: Context, reader: Reader, kind: PrincipalKind, name: str) -> PrincipalRecord:
    """The user or role of exactly that name. Raises NoSuchEntityException."""
    found = find_principal(context, reader, kind, name)
    if found is None:
        raise NoSuchEntityException(f"The {kind} with name {name} cannot be found.")
    return found


def find_principal(context: Context, reader: Reader, kind: PrincipalKind, name: str) -> PrincipalRecord | None:
    """The user or role of exactly that name."""
    found = reader.find_principal(context.account, kind, name)
    return None if found is None or found.name != name else found


def holder_at(context: Context, reader: Reader, arn: str) -> PrincipalRecord | GroupRecord:
    """The user, role or group of that ARN. Raises NoSuchEntityException."""
    found = reader.get_group(arn)
    if found is None or found.account != context.account:
        return principal_at(context, reader, arn)
    return found


def group_named(context: Context, reader: Reader, name: str) -> GroupRecord:
    """The group of exactly that name. Raises NoSuchEntityException."""
    found = find_group(context, reader, name)
    if found is None:
        raise NoSuchEntityException(f"The group with name {name} cannot be found.")
    return found


def find_group(context: Context, reader: Reader, name: str) -> GroupRecord | None:
    """The group of exactly that name."""
    found = reader.find_group(context.account, name)
    return None if found is None or found.name != name else found


def managed_policy_at(context: Context, reader: Reader, arn: str) -> ManagedPolicyRecord:
    """The managed policy of that ARN. Raises NoSuchEntityException."""
    found = reader.get_managed_policy(arn)
    if found is None or found.account != context.account:
        raise NoSuchEntityException(f"Policy {arn} does not exist or is not attachable.")
    return found


def find_token(context: Context, reader: Reader, token_id: str) -> TokenRecord | None:
    """The token of that id, expired or not."""
    found = reader.get_token(token_id)
    return None if found is None or found.account != context.account else found


def find_certificate(context: Context, reader: Reader, certificate_id: str) -> CertificateRecord | None:
    """The certificate mapping of that id."""
    found = reader.get_certificate(certificate_id)
    return None if found is None or found.account != context.account else found


def find_access_key(context: Context, reader: Reader, access_key_id: str) -> AccessKeyRecord | None:
    """The access key of that id that somebody made; those of sessions go with them and can't be named."""
    found = reader.get_access_key(access_key_id)
    return None if found is None or found.account != context.account or found.session is not None else found
