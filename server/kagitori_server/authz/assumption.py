"""May this caller assume this role? The role's trust policy, held against the caller as a key policy would be."""

from __future__ import annotations

from collections.abc import Mapping

from kagitori_server.authz.compiled import compile_caller
from kagitori_server.authz.condition_keys import Asked, RequestContext
from kagitori_server.model.principals import PrincipalKind, PrincipalRecord
from kagitori_server.policy.context import ContextValue, make_context
from kagitori_server.policy.document import load_trust_policy
from kagitori_server.policy.evaluate import Query, decide_key


def may_assume(
    asked: Asked, role: PrincipalRecord, actions: tuple[str, ...], brought: Mapping[str, ContextValue]
) -> bool:
    """Whether trust policy and the caller's own policies allow all of `actions` (`sts:AssumeRole`) on the role.

    `brought` holds the condition keys that this request alone has; all others are as for any call. In one account it
    is enough that the trust policy names the caller; an account that is named leaves it to identity policies, and
    across accounts both sides have to allow. A root user can't assume roles (AWS STS AssumeRole).
    """
    if asked.caller.kind is PrincipalKind.ROOT or role.kind is not PrincipalKind.ROLE or role.trust is None:
        return False
    trust = load_trust_policy(role.trust.document, role.trust.bindings)
    who = compile_caller(asked.caller)
    context = RequestContext(asked, make_context(brought.items()))
    return all(
        decide_key(
            Query(who.caller, action, role.arn, role.account, context), trust, who.policies,
            cross_account_capable=True, limits=who.limits,
        ).allowed
        for action in actions
    )
