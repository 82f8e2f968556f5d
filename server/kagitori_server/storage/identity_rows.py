"""Rows of groups, managed policies, access keys and OpenID Connect providers, and the model's nouns: each way, nothing
else."""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from sqlalchemy import Row

from kagitori_server.model.principals import (
    AccessKeyRecord,
    GroupRecord,
    ManagedPolicyRecord,
    OidcProviderRecord,
)
from kagitori_server.storage.rows import pairs_of, pairs_text, session_of, session_text


def group_of(row: Row[Any], policies: Mapping[str, str]) -> GroupRecord:
    """A group from its row and its inline policies."""
    return GroupRecord(
        account=row.account,
        name=row.name,
        path=row.path,
        group_id=row.group_id,
        arn=row.arn,
        created=row.created,
        policies=MappingProxyType(dict(policies)),
    )


def group_values(group: GroupRecord) -> dict[str, Any]:
    """The columns of `groups`."""
    return {
        "arn": group.arn,
        "account": group.account,
        "name": group.name,
        "folded_name": group.name.lower(),
        "path": group.path,
        "group_id": group.group_id,
        "created": group.created,
    }


def managed_policy_of(row: Row[Any], attachments: int) -> ManagedPolicyRecord:
    """A managed policy from its row and the number of those who have it."""
    return ManagedPolicyRecord(
        account=row.account,
        name=row.name,
        path=row.path,
        policy_id=row.policy_id,
        arn=row.arn,
        created=row.created,
        description=row.description,
        document=row.document,
        attachments=attachments,
    )


def managed_policy_values(policy: ManagedPolicyRecord) -> dict[str, Any]:
    """The columns of `managed_policies`."""
    return {
        "arn": policy.arn,
        "account": policy.account,
        "name": policy.name,
        "folded_name": policy.name.lower(),
        "path": policy.path,
        "policy_id": policy.policy_id,
        "description": policy.description,
        "document": policy.document,
        "created": policy.created,
    }


def access_key_of(row: Row[Any]) -> AccessKeyRecord:
    """An access key from its row."""
    return AccessKeyRecord(
        access_key_id=row.access_key_id,
        entry_id=row.entry_id,
        principal_arn=row.principal_arn,
        account=row.account,
        region=row.region,
        wrapped_secret=bytes(row.wrapped_secret),
        active=row.active,
        created=row.created,
        expires=row.expires,
        session_name=row.session_name,
        session_token_digest=None if row.session_token_digest is None else bytes(row.session_token_digest),
        session=session_of(row.session),
    )


def access_key_values(key: AccessKeyRecord) -> dict[str, Any]:
    """The columns of `access_keys`."""
    return {
        "access_key_id": key.access_key_id,
        "entry_id": key.entry_id,
        "principal_arn": key.principal_arn,
        "account": key.account,
        "region": key.region,
        "wrapped_secret": key.wrapped_secret,
        "active": key.active,
        "created": key.created,
        "expires": key.expires,
        "session_name": key.session_name,
        "session_token_digest": key.session_token_digest,
        "session": session_text(key.session),
    }


def oidc_provider_of(row: Row[Any]) -> OidcProviderRecord:
    """An OpenID Connect provider from its row."""
    return OidcProviderRecord(
        arn=row.arn,
        account=row.account,
        issuer=row.issuer,
        audiences=tuple(json.loads(row.audiences)),
        role_arn=row.role_arn,
        session_name_claim=row.session_name_claim,
        tag_claims=pairs_of(row.tag_claims),
        jwks=row.jwks,
        created=row.created,
    )


def oidc_provider_values(provider: OidcProviderRecord) -> dict[str, Any]:
    """The columns of `oidc_providers`."""
    return {
        "arn": provider.arn,
        "account": provider.account,
        "issuer": provider.issuer,
        "audiences": json.dumps(provider.audiences, ensure_ascii=True, separators=(",", ":")),
        "role_arn": provider.role_arn,
        "session_name_claim": provider.session_name_claim,
        "tag_claims": pairs_text(provider.tag_claims),
        "jwks": provider.jwks,
        "created": provider.created,
    }
