"""The policy language, pure: parse, validate, compile and evaluate. No I/O, no clock, no log, no store."""

from __future__ import annotations

from kagitori_server.policy.defaults import default_key_policy
from kagitori_server.policy.document import (
    IdentityKind,
    load_key_policy,
    parse_identity_policy,
    parse_key_policy,
    policy_size,
)
from kagitori_server.policy.evaluate import Basis, Decision, NamedPolicies, Query, decide_identity, decide_key
from kagitori_server.policy.lockout import check_lockout
from kagitori_server.policy.principals import Caller, CallerKind, PrincipalResolver
from kagitori_server.policy.statements import IdentityPolicy, KeyPolicy, StatementRef

__all__ = [
    "Basis",
    "Caller",
    "CallerKind",
    "Decision",
    "IdentityKind",
    "IdentityPolicy",
    "KeyPolicy",
    "NamedPolicies",
    "PrincipalResolver",
    "Query",
    "StatementRef",
    "check_lockout",
    "decide_identity",
    "decide_key",
    "default_key_policy",
    "load_key_policy",
    "parse_identity_policy",
    "parse_key_policy",
    "policy_size",
]
