"""May this caller assume this role? The role's trust policy, held against the caller as a key policy would be."""

from __future__ import annotations

from collections.abc import Mapping

from kagitori_server.authz.compiled import compile_caller
from kagitori_server.model.principals import Caller, PrincipalKind, PrincipalRecord
from kagitori_server.policy.context import ContextValue, make_context
from kagitori_server.policy.document import load_trust_policy
from kagitori_server.policy.evaluate import Query, decide_key

_TYPES = {PrincipalKind.ROOT: "Account", PrincipalKind.USER: "User", PrincipalKind.ROLE: "AssumedRole"}


def may_assume(
    caller: Caller, role: PrincipalRecord, actions: tuple[str, ...], request: Mapping[str, ContextValue]
) -> bool:
    """Whether trust policy and the caller's own policies allow all of `actions` (`sts:AssumeRole`) on the role.

    `request` holds the condition keys that the request brings; those of the caller are added. In one account it is
    enough that the trust policy names the caller; an account that is named leaves it to identity policies, and
    across accounts both sides have to allow. A root user can't assume roles (AWS STS AssumeRole).
    """
    if caller.kind is PrincipalKind.ROOT or role.kind is not PrincipalKind.ROLE or role.trust is None:
        return False
    trust = load_trust_policy(role.trust.document, role.trust.bindings)
    who = compile_caller(caller)
    context = make_context((*request.items(), *_facts(caller).items()))
    return all(
        decide_key(
            Query(who.caller, action, role.arn, role.account, context), trust, who.policies,
            cross_account_capable=True, limits=who.limits,
        ).allowed
        for action in actions
    )


def _facts(caller: Caller) -> dict[str, ContextValue]:
    record = caller.record
    facts: dict[str, ContextValue] = {f"aws:PrincipalTag/{key}": value for key, value in caller.tags.items()}
    facts |= {
        "aws:PrincipalArn": record.arn,
        "aws:PrincipalAccount": caller.account,
        "aws:PrincipalType": _TYPES[caller.kind],
        "aws:userid": caller.user_id,
    }
    if caller.kind is PrincipalKind.USER:
        facts["aws:username"] = record.name
    if caller.source_identity is not None:
        facts["aws:SourceIdentity"] = caller.source_identity
    return facts
