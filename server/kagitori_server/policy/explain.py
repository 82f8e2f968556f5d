"""Why a decision came out as it did: what every statement and grant made of the request.

The decision is that of `evaluate`, and the matchers are those it used; nothing here decides anything.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from kagitori_server.policy.conditions import Condition
from kagitori_server.policy.evaluate import (
    NO_LIMITS,
    Decision,
    Limits,
    NamedPolicies,
    Query,
    decide_identity,
    decide_key,
)
from kagitori_server.policy.grants import Grant
from kagitori_server.policy.principals import PrincipalMatch
from kagitori_server.policy.statements import Element, KeyPolicy, KeyStatement, Statement


class Layer(enum.Enum):
    """The kind of policy that a statement is in."""

    KEY_POLICY = "key policy"
    IDENTITY_POLICY = "identity policy"
    BOUNDARY = "permissions boundary"
    SESSION_POLICY = "session policy"


@dataclass(frozen=True, slots=True)
class StatementReport:
    """What one statement made of the request.

    `policy` is None for the key policy. `failed` is the first element that did not match (`principal`, `action`,
    `resource`, `condition`), None when the statement matched; `operator` and `key` name a condition that failed.
    `names_caller_as` tells of a key policy how its principal element names the caller.
    """

    layer: str
    policy: str | None
    index: int
    sid: str | None
    effect: str
    matched: bool
    failed: str | None
    operator: str | None = None
    key: str | None = None
    names_caller_as: str | None = None


@dataclass(frozen=True, slots=True)
class GrantReport:
    """What one grant made of the request; `failed` is `grantee`, `operation` or `constraint`."""

    grant_id: str
    matched: bool
    failed: str | None


@dataclass(frozen=True, slots=True)
class Explanation:
    """A decision with its grounds, in the order in which the layers are asked, statements as in their policies.

    A statement that matched need not have decided: `decision` names the one that did.
    """

    decision: Decision
    statements: tuple[StatementReport, ...]
    grants: tuple[GrantReport, ...]


def explain_key(
    query: Query,
    key_policy: KeyPolicy,
    identity_policies: NamedPolicies,
    *,
    cross_account_capable: bool,
    limits: Limits = NO_LIMITS,
    grants: Sequence[Grant] = (),
) -> Explanation:
    """The decision of `decide_key` on the same arguments, explained."""
    decision = decide_key(
        query,
        key_policy,
        identity_policies,
        cross_account_capable=cross_account_capable,
        limits=limits,
        grants=grants,
    )
    statements = sorted((*key_policy.denies, *key_policy.allows), key=_place)
    of_key = tuple(_report_key_statement(query, each) for each in statements)
    return Explanation(
        decision,
        of_key + _report_policies(query, identity_policies, limits),
        tuple(_report_grant(query, each) for each in grants),
    )


def explain_identity(
    query: Query, identity_policies: NamedPolicies, *, limits: Limits = NO_LIMITS
) -> Explanation:
    """The decision of `decide_identity` on the same arguments, explained."""
    decision = decide_identity(query, identity_policies, limits=limits)
    return Explanation(decision, _report_policies(query, identity_policies, limits), ())


def _place(statement: Statement) -> int:
    return statement.reference.index


def _report_policies(query: Query, identity: NamedPolicies, limits: Limits) -> tuple[StatementReport, ...]:
    layers: Iterable[tuple[Layer, NamedPolicies]] = (
        (Layer.IDENTITY_POLICY, identity),
        (Layer.BOUNDARY, limits.boundary),
        (Layer.SESSION_POLICY, limits.session),
    )
    return tuple(
        _report(layer, name, statement, _mismatch(query, statement), None)
        for layer, policies in layers
        for name, policy in policies
        for statement in sorted((*policy.denies, *policy.allows), key=_place)
    )


def _report_key_statement(query: Query, statement: KeyStatement) -> StatementReport:
    named = statement.principals.match(query.caller)
    failed = Element.PRINCIPAL if named is PrincipalMatch.NONE else _mismatch(query, statement)
    return _report(Layer.KEY_POLICY, None, statement, failed, named)


def _mismatch(query: Query, statement: Statement) -> Element | Condition | None:
    return statement.mismatch(query.action.lower(), query.resource_arn, query.context)


def _report(
    layer: Layer,
    policy: str | None,
    statement: Statement,
    failed: Element | Condition | None,
    named: PrincipalMatch | None,
) -> StatementReport:
    condition = failed if isinstance(failed, Condition) else None
    element = failed.value if isinstance(failed, Element) else None
    return StatementReport(
        layer=layer.value,
        policy=policy,
        index=statement.reference.index,
        sid=statement.reference.sid,
        effect=statement.effect.value,
        matched=failed is None,
        failed=element if condition is None else "condition",
        operator=None if condition is None else condition.operator,
        key=None if condition is None else condition.key,
        names_caller_as=None if named is None else named.name.lower(),
    )


def _report_grant(query: Query, grant: Grant) -> GrantReport:
    failed = grant.mismatch(query.caller, query.action.lower(), query.encryption_context)
    return GrantReport(grant.grant_id, failed is None, None if failed is None else failed.value)
