"""Shapes of the operations on identity policies, inline and managed, and on permissions boundaries (AWS IAM)."""

from __future__ import annotations

from dataclasses import dataclass

from kagitori_server.model.arn import ACCOUNT_PATTERN, PARTITION_PATTERN
from kagitori_server.model.shape import member
from kagitori_server.operations.shapes.keys import marker
from kagitori_server.operations.shapes.principals import (
    ARN_MAX,
    account_id,
    entity_arn,
    name,
    page_limit,
    path,
    path_prefix,
    policy_document,
    principal_arn,
)

_POLICY_NAME_MAX = 128
_ENTITY_ARN = f"arn:{PARTITION_PATTERN}:iam::{ACCOUNT_PATTERN}:(?:user|role|group)/[!-~]{{1,640}}"
_POLICY_ARN = f"arn:{PARTITION_PATTERN}:iam::{ACCOUNT_PATTERN}:policy/[!-~]{{1,640}}"


def policy_arn() -> str:
    """The ARN of a managed policy."""
    arn: str = member(required=True, minimum=20, maximum=ARN_MAX, pattern=_POLICY_ARN)
    return arn


@dataclass(frozen=True, slots=True, kw_only=True)
class PutIdentityPolicyRequest:
    """What PutIdentityPolicy takes."""

    principal_arn: str = entity_arn()
    policy_name: str = name(maximum=_POLICY_NAME_MAX)
    policy_document: str = policy_document()


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentityPolicyRequest:
    """What GetIdentityPolicy and DeleteIdentityPolicy take."""

    principal_arn: str = entity_arn()
    policy_name: str = name(maximum=_POLICY_NAME_MAX)


@dataclass(frozen=True, slots=True, kw_only=True)
class GetIdentityPolicyResponse:
    """What GetIdentityPolicy answers."""

    principal_arn: str
    policy_name: str
    policy_document: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ListIdentityPoliciesRequest:
    """What ListIdentityPolicies takes."""

    principal_arn: str = entity_arn()
    limit: int | None = page_limit()
    marker: str | None = marker()


@dataclass(frozen=True, slots=True, kw_only=True)
class ListIdentityPoliciesResponse:
    """What ListIdentityPolicies answers."""

    policy_names: tuple[str, ...]
    next_marker: str | None
    truncated: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ManagedPolicy:
    """AWS IAM `Policy`. Lists leave the document out."""

    policy_name: str
    policy_id: str
    arn: str
    path: str
    description: str | None
    policy_document: str | None
    attachment_count: int
    create_date: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateManagedPolicyRequest:
    """AWS IAM `CreatePolicy`."""

    account_id: str | None = account_id()
    policy_name: str = name(maximum=_POLICY_NAME_MAX)
    path: str | None = path()
    description: str | None = member(minimum=0, maximum=1_000)
    policy_document: str = policy_document()


@dataclass(frozen=True, slots=True, kw_only=True)
class ManagedPolicyResponse:
    """What CreateManagedPolicy and GetManagedPolicy answer."""

    policy: ManagedPolicy


@dataclass(frozen=True, slots=True, kw_only=True)
class ManagedPolicyRequest:
    """What GetManagedPolicy and DeleteManagedPolicy take."""

    policy_arn: str = policy_arn()


@dataclass(frozen=True, slots=True, kw_only=True)
class ListManagedPoliciesRequest:
    """AWS IAM `ListPolicies` and `ListAttachedUserPolicies` and its kin."""

    account_id: str | None = account_id()
    principal_arn: str | None = member(minimum=20, maximum=ARN_MAX, pattern=_ENTITY_ARN)
    path_prefix: str | None = path_prefix()
    limit: int | None = page_limit()
    marker: str | None = marker()

    @property
    def account_named(self) -> str | None:
        """The member that says which account the call is about."""
        return self.account_id if self.account_id is not None else self.principal_arn


@dataclass(frozen=True, slots=True, kw_only=True)
class ListManagedPoliciesResponse:
    """What ListManagedPolicies answers."""

    policies: tuple[ManagedPolicy, ...]
    next_marker: str | None
    truncated: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class AttachmentRequest:
    """What AttachManagedPolicy and DetachManagedPolicy take."""

    principal_arn: str = entity_arn()
    policy_arn: str = policy_arn()


@dataclass(frozen=True, slots=True, kw_only=True)
class PutPermissionsBoundaryRequest:
    """AWS IAM `PutUserPermissionsBoundary`, `PutRolePermissionsBoundary`."""

    principal_arn: str = principal_arn()
    policy_arn: str = policy_arn()


@dataclass(frozen=True, slots=True, kw_only=True)
class DeletePermissionsBoundaryRequest:
    """AWS IAM `DeleteUserPermissionsBoundary`, `DeleteRolePermissionsBoundary`."""

    principal_arn: str = principal_arn()
