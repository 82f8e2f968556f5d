"""Shapes of ExplainAccess and LintPolicy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from kagitori_server.model import limits
from kagitori_server.model.arn import ACCOUNT_PATTERN, PARTITION_PATTERN
from kagitori_server.model.shape import member
from kagitori_server.operations.shapes.principals import ARN_MAX

_PRINCIPAL = (
    f"arn:{PARTITION_PATTERN}:(?:iam::{ACCOUNT_PATTERN}:(?:root|(?:user|role)/[!-~]{{1,575}})"
    f"|sts::{ACCOUNT_PATTERN}:assumed-role/[A-Za-z0-9_+=,.@-]{{1,64}}/[A-Za-z0-9_+=,.@-]{{2,64}})"
)
_CONDITION_KEYS_MAX = 100
_GRANT_TOKENS_MAX = 10


class Outcome(StrEnum):
    """Of an authorisation (`Decision` in the contract)."""

    ALLOWED = "ALLOWED"
    EXPLICIT_DENY = "EXPLICIT_DENY"
    IMPLICIT_DENY = "IMPLICIT_DENY"


class PolicySource(StrEnum):
    """Where a statement stands."""

    KEY_POLICY = "KEY_POLICY"
    IDENTITY_POLICY = "IDENTITY_POLICY"
    PERMISSIONS_BOUNDARY = "PERMISSIONS_BOUNDARY"
    SESSION_POLICY = "SESSION_POLICY"
    TRUST_POLICY = "TRUST_POLICY"
    GRANT = "GRANT"


class LintSeverity(StrEnum):
    """How bad a remark about a policy is."""

    ERROR = "ERROR"
    WARNING = "WARNING"
    SUGGESTION = "SUGGESTION"


class PolicyKind(StrEnum):
    """What a document is to be used as."""

    KEY_POLICY = "KEY_POLICY"
    IDENTITY_POLICY = "IDENTITY_POLICY"
    TRUST_POLICY = "TRUST_POLICY"


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextValues:
    """Values of a condition key."""

    values: tuple[str, ...] = member(minimum=0, maximum=4_096, items_maximum=100, default=())


@dataclass(frozen=True, slots=True, kw_only=True)
class ExplainAccessRequest:
    """What ExplainAccess takes."""

    principal_arn: str | None = member(minimum=20, maximum=ARN_MAX, pattern=_PRINCIPAL)
    action: str = member(required=True, minimum=3, maximum=128, pattern="[A-Za-z]+:[A-Za-z]+")
    resource_arn: str = member(required=True, minimum=1, maximum=ARN_MAX)
    encryption_context: Mapping[str, str] = member(total_maximum=limits.ENCRYPTION_CONTEXT_MAX, default={})
    grant_tokens: tuple[str, ...] = member(
        minimum=1, maximum=8_192, items_maximum=_GRANT_TOKENS_MAX, sensitive=True, default=()
    )
    condition_values: Mapping[str, ContextValues] = member(items_maximum=_CONDITION_KEYS_MAX, default={})


@dataclass(frozen=True, slots=True, kw_only=True)
class StatementReference:
    """A statement of a policy, or a grant."""

    source: PolicySource
    policy: str
    index: int
    sid: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class StatementEvaluation:
    """What a statement contributed."""

    statement: StatementReference
    allows: bool
    matches: bool
    explanation: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ExplainAccessResponse:
    """What ExplainAccess answers."""

    decision: Outcome
    explanation: str
    decided_by: StatementReference | None
    evaluations: tuple[StatementEvaluation, ...]
    condition_values: Mapping[str, ContextValues]


@dataclass(frozen=True, slots=True, kw_only=True)
class LintPolicyRequest:
    """What LintPolicy takes."""

    policy_kind: PolicyKind = member(required=True)
    policy_document: str = member(required=True, minimum=1, maximum=limits.POLICY_SHAPE_MAX)


@dataclass(frozen=True, slots=True, kw_only=True)
class LintFinding:
    """A remark about a policy; `pointer` is a JSON pointer (RFC 6901)."""

    severity: LintSeverity
    code: str
    message: str
    pointer: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LintPolicyResponse:
    """What LintPolicy answers."""

    findings: tuple[LintFinding, ...]
