"""What is left of policies once caller, action and resource are known: the statements that conditions decide about.

Decisions by narrowed policies are those by the whole ones, for that caller, action and resource.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TypeVar

from kagitori_server.policy.effort import Effort
from kagitori_server.policy.evaluate import Limits, NamedPolicies
from kagitori_server.policy.principals import Caller, PrincipalMatch
from kagitori_server.policy.statements import EVERY_ACTION, EVERY_RESOURCE, IdentityPolicy, KeyPolicy, Statement

_S = TypeVar("_S", bound=Statement)


@dataclass(frozen=True, slots=True)
class Narrowed:
    """Everything that bears on one caller's doing one thing to one key."""

    key_policy: KeyPolicy
    identity_policies: NamedPolicies
    limits: Limits
    without_allows: KeyPolicy
    """The key policy as it counts beside a grant, when its own statements don't allow."""
    needs_context: bool
    """Whether a decision depends on anything else of the request."""
    effort: Effort
    """What a decision takes at most."""


def narrow(
    caller: Caller, action: str, resource_arn: str, key_policy: KeyPolicy, identity: NamedPolicies, limits: Limits
) -> Narrowed:
    """Leave out what can't match; of the rest, what matches anyway isn't looked at again. `action` in any case."""
    folded = action.lower()

    def of_caller(policies: NamedPolicies) -> NamedPolicies:
        return tuple(
            (name, IdentityPolicy(
                tuple(_matching(policy.denies, folded, resource_arn)),
                tuple(_matching(policy.allows, folded, resource_arn)),
            ))
            for name, policy in policies
        )

    def about(statements: Iterable[_S]) -> Iterator[_S]:
        return _matching(statements, folded, resource_arn)

    kept = KeyPolicy(
        tuple(each for each in about(key_policy.denies) if each.principals.match(caller) is not PrincipalMatch.NONE),
        tuple(each for each in about(key_policy.allows) if each.principals.match(caller) is not PrincipalMatch.NONE),
        key_policy.bindings,
    )
    own, ends = of_caller(identity), Limits(of_caller(limits.boundary), of_caller(limits.session))
    others = [policy for _, policy in (*own, *ends.boundary, *ends.session)]
    return Narrowed(
        kept, own, ends, replace(kept, allows=()),
        needs_context=kept.needs_context or any(policy.needs_context for policy in others),
        effort=Effort.of((kept, *others)),
    )


def _matching(statements: Iterable[_S], action: str, resource_arn: str) -> Iterator[_S]:
    for statement in statements:
        if not statement.actions.matches(action):
            continue
        if statement.resources.patterns.templates:
            # What it covers depends on the request.
            yield replace(statement, actions=EVERY_ACTION)
        elif statement.resources.matches(resource_arn, {}):
            yield replace(statement, actions=EVERY_ACTION, resources=EVERY_RESOURCE)
