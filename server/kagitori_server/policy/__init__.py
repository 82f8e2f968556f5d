"""The policy language, pure: parse, validate, compile, evaluate, explain. No I/O, no clock, no log, no store."""

from __future__ import annotations

from kagitori_server.policy.context import Context, ContextValue, make_context
from kagitori_server.policy.defaults import default_key_policy
from kagitori_server.policy.document import (
    IdentityKind,
    load_key_policy,
    parse_identity_policy,
    parse_key_policy,
    policy_size,
)
from kagitori_server.policy.evaluate import (
    NO_LIMITS,
    Basis,
    Decision,
    Limits,
    NamedPolicies,
    Query,
    decide_identity,
    decide_key,
    decide_retire_grant,
)
from kagitori_server.policy.explain import (
    Explanation,
    GrantReport,
    StatementReport,
    explain_identity,
    explain_key,
)
from kagitori_server.policy.grants import ConstraintKind, Grant, GrantConstraint, child_grant_allowed
from kagitori_server.policy.lint import Finding, lint_identity_policy, lint_key_policy
from kagitori_server.policy.lockout import check_lockout
from kagitori_server.policy.principals import Caller, CallerKind, PrincipalResolver
from kagitori_server.policy.statements import IdentityPolicy, KeyPolicy, StatementRef

__all__ = [
    "NO_LIMITS",
    "Basis",
    "Caller",
    "CallerKind",
    "ConstraintKind",
    "Context",
    "ContextValue",
    "Decision",
    "Explanation",
    "Finding",
    "Grant",
    "GrantConstraint",
    "GrantReport",
    "IdentityKind",
    "IdentityPolicy",
    "KeyPolicy",
    "Limits",
    "NamedPolicies",
    "PrincipalResolver",
    "Query",
    "StatementRef",
    "StatementReport",
    "check_lockout",
    "child_grant_allowed",
    "decide_identity",
    "decide_key",
    "decide_retire_grant",
    "default_key_policy",
    "explain_identity",
    "explain_key",
    "lint_identity_policy",
    "lint_key_policy",
    "load_key_policy",
    "make_context",
    "parse_identity_policy",
    "parse_key_policy",
    "policy_size",
]
