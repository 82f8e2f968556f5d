"""Shapes of the operations on access keys (AWS IAM) and of AssumeRole (AWS STS)."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from enum import StrEnum

from kagitori_server.model.arn import ACCOUNT_PATTERN, PARTITION_PATTERN
from kagitori_server.model.shape import member
from kagitori_server.operations.shapes.keys import TagShape, marker
from kagitori_server.operations.shapes.principals import (
    ARN_MAX,
    POLICY_CHARACTERS,
    account_id,
    credential_owner_arn,
    page_limit,
    tags,
)

_ACCESS_KEY_ID = "[A-Z0-9]+"
_SESSION_NAME = "[A-Za-z0-9_+=,.@-]+"


def access_key_id() -> str:
    """The id of an access key."""
    text: str = member(required=True, minimum=16, maximum=32, pattern=_ACCESS_KEY_ID)
    return text


class AccessKeyStatus(StrEnum):
    """Whether an access key is accepted."""

    ACTIVE = "Active"
    INACTIVE = "Inactive"


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessKeyMetadata:
    """An access key without its secret."""

    access_key_id: str
    principal_arn: str
    status: AccessKeyStatus
    create_date: float
    last_used_date: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateAccessKeyRequest:
    """AWS IAM `CreateAccessKey`."""

    principal_arn: str = credential_owner_arn()


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateAccessKeyResponse:
    """What CreateAccessKey answers, the secret this once."""

    access_key: AccessKeyMetadata
    secret_access_key: str = dataclasses.field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ListAccessKeysResponse:
    """AWS IAM `ListAccessKeys`."""

    access_keys: tuple[AccessKeyMetadata, ...]
    next_marker: str | None
    truncated: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ListAccessKeysRequest:
    """AWS IAM `ListAccessKeys`."""

    account_id: str | None = account_id()
    principal_arn: str | None = credential_owner_arn(required=False)
    limit: int | None = page_limit()
    marker: str | None = marker()

    @property
    def account_named(self) -> str | None:
        """The member that says which account the call is about."""
        return self.account_id if self.account_id is not None else self.principal_arn


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateAccessKeyRequest:
    """AWS IAM `UpdateAccessKey`."""

    account_id: str | None = account_id()
    access_key_id: str = access_key_id()
    status: AccessKeyStatus = member(required=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteAccessKeyRequest:
    """AWS IAM `DeleteAccessKey`."""

    account_id: str | None = account_id()
    access_key_id: str = access_key_id()


@dataclass(frozen=True, slots=True, kw_only=True)
class AssumeRoleRequest:
    """AWS STS `AssumeRole`."""

    role_arn: str = member(
        required=True, minimum=20, maximum=ARN_MAX,
        pattern=f"arn:{PARTITION_PATTERN}:iam::{ACCOUNT_PATTERN}:role/[!-~]{{1,575}}",
    )
    role_session_name: str = member(required=True, minimum=2, maximum=64, pattern=_SESSION_NAME)
    policy: str | None = member(minimum=1, maximum=2_048, pattern=POLICY_CHARACTERS)
    duration_seconds: int | None = member(minimum=900, maximum=43_200)
    tags: tuple[TagShape, ...] = tags()
    source_identity: str | None = member(minimum=2, maximum=256, pattern=_SESSION_NAME)


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionCredentials:
    """AWS STS `Credentials`: secret but for the id and the end."""

    access_key_id: str
    secret_access_key: str = dataclasses.field(repr=False)
    session_token: str = dataclasses.field(repr=False)
    expiration: float


@dataclass(frozen=True, slots=True, kw_only=True)
class AssumeRoleResponse:
    """What AssumeRole answers, the secrets this once."""

    credentials: SessionCredentials = dataclasses.field(repr=False)
    token: str = dataclasses.field(repr=False)
    assumed_role_arn: str
    assumed_role_id: str
