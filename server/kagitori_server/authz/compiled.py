"""A caller as policies see it, with all that its account says of what it may do, compiled once."""

from __future__ import annotations

from dataclasses import dataclass, field

from kagitori_server.model.principals import Caller, PolicyHome, PolicyText, PrincipalKind
from kagitori_server.policy.document import IdentityKind, parse_identity_policy
from kagitori_server.policy.effort import Effort
from kagitori_server.policy.evaluate import Decision, Limits, NamedPolicies
from kagitori_server.policy.principals import Caller as PolicyCaller
from kagitori_server.policy.principals import CallerKind

_KINDS = {
    PrincipalKind.ROOT: CallerKind.ROOT,
    PrincipalKind.USER: CallerKind.USER,
    PrincipalKind.ROLE: CallerKind.ASSUMED_ROLE,
}
_HOMES = {PolicyHome.GROUP: IdentityKind.GROUP, PolicyHome.MANAGED: IdentityKind.MANAGED}
_SESSION_POLICY = "session policy"
"""What decisions call it: it has no name."""


@dataclass(slots=True, eq=False)
class CompiledCaller:
    """What policies know of a caller, its identity policies (its groups' among them), and what they end at."""

    caller: PolicyCaller
    policies: NamedPolicies
    limits: Limits
    needs_context: bool
    """Whether some policy or limit has conditions or variables."""
    effort: Effort
    """What a decision by all of them takes at most, but for finding what bears on action and resource."""
    decisions: dict[tuple[str, str, str], Decision] = field(default_factory=dict)


def compile_caller(caller: Caller) -> CompiledCaller:
    """Compiles what the records of a caller hold. Raises what parsing raises: nothing is left out silently."""
    record = caller.record
    is_role = record.kind is PrincipalKind.ROLE
    who = PolicyCaller(
        account=caller.account,
        kind=_KINDS[record.kind],
        arn=caller.arn,
        principal_id=caller.user_id,
        role_id=record.principal_id if is_role else None,
        role_arn=record.arn if is_role else None,
    )
    kind = IdentityKind.ROLE if is_role else IdentityKind.USER
    inline = tuple((name, parse_identity_policy(text, kind)) for name, text in record.policies.items())
    policies, limits = (*inline, *_named(record.inherited)), _limits(caller)
    everything = (*policies, *limits.boundary, *limits.session)
    compiled = [policy for _, policy in everything]
    return CompiledCaller(
        who, policies, limits, any(policy.needs_context for policy in compiled), Effort.of(compiled)
    )


def policy_characters(caller: Caller) -> int:
    """Of all documents that `compile_caller` compiles."""
    record, session = caller.record, caller.session
    named = record.inherited if record.boundary is None else (*record.inherited, record.boundary)
    of_session = 0 if session is None else len(session.policy or "")
    return of_session + sum(map(len, record.policies.values())) + sum(len(each.document) for each in named)


def _limits(caller: Caller) -> Limits:
    boundary = caller.record.boundary
    text = None if caller.session is None else caller.session.policy
    return Limits(
        boundary=() if boundary is None else _named((boundary,)),
        # AssumeRole bounds it by 2,048 characters, as a user's own policies are.
        session=() if text is None else ((_SESSION_POLICY, parse_identity_policy(text, IdentityKind.USER)),),
    )


def _named(policies: tuple[PolicyText, ...]) -> NamedPolicies:
    return tuple((each.name, parse_identity_policy(each.document, _HOMES[each.home])) for each in policies)
