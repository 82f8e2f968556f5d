"""Shapes of the operations on inline identity policies (AWS IAM `PutUserPolicy` and its kin)."""

from __future__ import annotations

from dataclasses import dataclass

from kagitori_server.model import limits
from kagitori_server.model.shape import member
from kagitori_server.operations.shapes.keys import marker
from kagitori_server.operations.shapes.principals import entity_arn, name, page_limit

_POLICY_NAME_MAX = 128
_DOCUMENT = "[\\u0009\\u000A\\u000D\\u0020-\\u00FF]+"


@dataclass(frozen=True, slots=True, kw_only=True)
class PutIdentityPolicyRequest:
    """What PutIdentityPolicy takes."""

    principal_arn: str = entity_arn()
    policy_name: str = name(maximum=_POLICY_NAME_MAX)
    policy_document: str = member(required=True, minimum=1, maximum=limits.POLICY_SHAPE_MAX, pattern=_DOCUMENT)


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
