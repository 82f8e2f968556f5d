"""May this caller assume this role? The role's trust policy, held against the caller as a key policy would be."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from kagitori_server.authz.compiled import compile_caller
from kagitori_server.authz.condition_keys import Asked, RequestContext
from kagitori_server.model.principals import Caller, PrincipalKind, PrincipalRecord
from kagitori_server.policy.context import ContextValue, make_context
from kagitori_server.policy.document import load_trust_policy
from kagitori_server.policy.evaluate import Query, decide_key
from kagitori_server.policy.principals import Caller as PolicyCaller
from kagitori_server.policy.principals import CallerKind
from kagitori_server.policy.statements import KeyPolicy

_BEFORE_A_SESSION = frozenset({
    "aws:sourceip", "aws:currenttime", "aws:epochtime", "aws:securetransport", "aws:requestedregion", "aws:useragent",
    "aws:viaawsservice", "aws:principalisawsservice",
})
"""Condition keys that a caller has who is no principal yet, beside what the issuer says of it."""


class _WebIdentityContext(RequestContext):
    """The condition keys of AssumeRoleWithWebIdentity: nothing is known of a principal."""

    __slots__ = ("_facts",)

    def __init__(self, asked: Asked, facts: Mapping[str, ContextValue]) -> None:
        super().__init__(asked)
        self._facts = facts

    def __getitem__(self, name: str) -> ContextValue:
        if name in _BEFORE_A_SESSION:
            return super().__getitem__(name)
        return self._facts[name]

    def get(self, name: str, default: Any = None) -> Any:
        """See RequestContext."""
        return super().get(name, default) if name in _BEFORE_A_SESSION else self._facts.get(name, default)

    def __iter__(self) -> Iterator[str]:
        yield from self._facts
        yield from (name for name in _BEFORE_A_SESSION if name in self)


@dataclass(frozen=True, slots=True)
class _Assumption:
    """What stays the same of one session's question to the trust policy of its role."""

    trust: KeyPolicy
    who: PolicyCaller
    facts: Mapping[str, ContextValue]
    actions: tuple[str, ...]


def may_assume_with_web_identity(asked: Asked) -> bool:
    """Whether the trust policy of the role admits whom a token of an OpenID Connect issuer speaks of.

    `asked.caller` is the session as it would be. Only a statement that names the provider as a federated principal
    admits; with session tags `sts:TagSession` has to be allowed as well (AWS STS AssumeRoleWithWebIdentity). Denials
    of everybody count.
    """
    role, wanted = asked.caller.record, _assumption(asked.caller)
    if wanted is None:
        return False
    context = _WebIdentityContext(asked, wanted.facts)
    return all(
        decide_key(
            Query(wanted.who, action, role.arn, role.account, context), wanted.trust, (), cross_account_capable=False
        ).allowed
        for action in wanted.actions
    )


@lru_cache(maxsize=4_096)
def _assumption(caller: Caller) -> _Assumption | None:
    """Kept with the caller, which is another object as soon as its role's record is."""
    role, web_identity = caller.record, caller.web_identity
    if web_identity is None or role.kind is not PrincipalKind.ROLE or role.trust is None:
        return None
    provider_arn = web_identity.provider_arn
    trust = _compiled_trust(role.trust.document, tuple(role.trust.bindings.items()))
    tags = {} if caller.session is None else caller.session.tags
    facts: dict[str, ContextValue] = {
        **web_identity.facts,
        **make_context((f"aws:RequestTag/{name}", value) for name, value in tags.items()),
        "sts:rolesessionname": caller.session_name,
        "aws:federatedprovider": provider_arn,
        "aws:tagkeys": tuple(tags),
    }
    return _Assumption(
        trust=replace(trust, allows=tuple(each for each in trust.allows if provider_arn in each.principals.federated)),
        who=PolicyCaller(role.account, CallerKind.WEB_IDENTITY, provider_arn, provider_arn),
        facts=facts,
        actions=("sts:AssumeRoleWithWebIdentity", *(("sts:TagSession",) if tags else ())),
    )


@lru_cache(maxsize=1_024)
def _compiled_trust(document: str, bindings: tuple[tuple[str, str], ...]) -> KeyPolicy:
    return load_trust_policy(document, dict(bindings))


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
