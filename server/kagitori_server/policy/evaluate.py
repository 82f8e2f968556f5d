"""Decides: may this caller do this to that resource, by these policies? Answers are values, never exceptions.

Follows the AWS evaluation logic for resource-based and identity-based policies. It knows no store and no
clock; whoever asks has gathered the policies in one snapshot.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from kagitori_server.policy.principals import Caller, CallerKind, PrincipalMatch
from kagitori_server.policy.statements import IdentityPolicy, KeyPolicy, KeyStatement, StatementRef

NamedPolicies = Sequence[tuple[str, IdentityPolicy]]
"""All identity policies of the caller (of its groups too), each with the name to report."""


class Basis(enum.Enum):
    """What a decision rests on. `reason` says it in words; of a refusal, in those that end AWS's sentence."""

    DIRECT = ("the key policy names the caller", True, False)
    DELEGATED = ("the key policy names the account and an identity policy allows", True, False)
    BOTH_SIDES = ("the key policy admits the other account and an identity policy allows", True, False)
    IDENTITY = ("an identity policy allows", True, False)
    ROOT_USER = ("the root user acts in its own account", True, False)
    DENIED_BY_KEY_POLICY = ("with an explicit deny in a resource-based policy", False, True)
    DENIED_BY_IDENTITY_POLICY = ("with an explicit deny in an identity-based policy", False, True)
    NO_KEY_POLICY = ("because no resource-based policy allows the {action} action", False, False)
    NO_IDENTITY_POLICY = ("because no identity-based policy allows the {action} action", False, False)

    reason: str
    allows: bool
    is_explicit_deny: bool

    def __init__(self, reason: str, allows: bool, is_explicit_deny: bool) -> None:
        self.reason = reason
        self.allows = allows
        self.is_explicit_deny = is_explicit_deny


@dataclass(frozen=True, slots=True)
class Decision:
    """The answer, and the statement that decided.

    `policy` is the name of the identity policy the statement is in, None for the key policy. `statement` is
    None for implicit refusals and for what a root user may do in its own right.
    """

    basis: Basis
    policy: str | None = None
    statement: StatementRef | None = None

    @property
    def allowed(self) -> bool:
        """Whether the call may proceed."""
        return self.basis.allows

    @property
    def explicit_deny(self) -> bool:
        """Whether a Deny statement decided, which nothing else can overrule."""
        return self.basis.is_explicit_deny

    def denial_text(self, caller_arn: str, action: str, resource: str) -> str:
        """The sentence of AWS for a refusal. ValueError when the decision is none."""
        if self.allowed:
            raise ValueError("the decision is to allow")
        reason = self.basis.reason.format(action=action)
        return f"User: {caller_arn} is not authorized to perform: {action} on resource: {resource} {reason}"


@dataclass(frozen=True, slots=True)
class Query:
    """One question.

    `action` is `service:Name` in any case. `resource_arn` names a key or an alias, or for an action without a
    resource its Region (`arn:aws:kms:REGION:ACCOUNT:*`); `resource_account` owns it. `context` holds the
    condition keys of the request and their values.
    """

    caller: Caller
    action: str
    resource_arn: str
    resource_account: str
    context: Mapping[str, object] = field(default_factory=dict)


def decide_key(
    query: Query, key_policy: KeyPolicy, identity_policies: NamedPolicies, *, cross_account_capable: bool
) -> Decision:
    """Decide on a key.

    The decision is a pure function of the caller's account, kind, principal id and role id, the action, the
    resource ARN and account, the two kinds of policies and the flag; the context has no part in it, since no
    compiled statement carries conditions. It may be cached under those as long as the policies are current.
    """
    caller, action, resource = query.caller, query.action.lower(), query.resource_arn
    # 2. An explicit deny anywhere ends it.
    denied = _key_deny(key_policy.denies, caller, action, resource) if key_policy.denies else None
    if denied is None:
        denied = _identity_deny(identity_policies, action, resource)
    if denied is not None:
        return denied
    # 3./4. What the key policy gives: a direct statement counts more than delegation to the account.
    match, statement = _strongest_allow(key_policy.allows, caller, action, resource)
    if query.resource_account != caller.account:
        # 4. A foreign caller: the operation must lend itself to it, and no form of statement suffices.
        if statement is None or not cross_account_capable:
            return _NO_KEY_POLICY
        return _delegated(Basis.BOTH_SIDES, statement, query, action, identity_policies)
    if statement is None:
        # 5. Identity policies alone never open a key, not even to the root user.
        return _NO_KEY_POLICY
    if match is not PrincipalMatch.ACCOUNT:
        # 3a. The caller is named: its identity policies aren't asked.
        return Decision(Basis.DIRECT, None, statement.reference)
    # 3b. The account is named.
    return _delegated(Basis.DELEGATED, statement, query, action, identity_policies)


def decide_identity(query: Query, identity_policies: NamedPolicies) -> Decision:
    """Decide on what identity policies alone govern: aliases and actions without a resource.

    They reach no further than their own account. Its root user may do everything that nothing denies it. The
    decision depends on the caller's account and kind, the action, the resource ARN and account, and the
    policies.
    """
    action, resource = query.action.lower(), query.resource_arn
    denied = _identity_deny(identity_policies, action, resource)
    if denied is not None:
        return denied
    if query.resource_account != query.caller.account:
        return _NO_KEY_POLICY
    if query.caller.kind is CallerKind.ROOT:
        return Decision(Basis.ROOT_USER)
    return _identity_allow(Basis.IDENTITY, identity_policies, action, resource)


_NO_KEY_POLICY = Decision(Basis.NO_KEY_POLICY)
_NO_IDENTITY_POLICY = Decision(Basis.NO_IDENTITY_POLICY)


def _key_deny(
    denies: Iterable[KeyStatement], caller: Caller, action: str, resource: str
) -> Decision | None:
    for statement in denies:
        if statement.principals.match(caller) and statement.covers(action, resource):
            return Decision(Basis.DENIED_BY_KEY_POLICY, None, statement.reference)
    return None


def _identity_deny(policies: NamedPolicies, action: str, resource: str) -> Decision | None:
    for name, policy in policies:
        for statement in policy.denies:
            if statement.covers(action, resource):
                return Decision(Basis.DENIED_BY_IDENTITY_POLICY, name, statement.reference)
    return None


def _strongest_allow(
    allows: Iterable[KeyStatement], caller: Caller, action: str, resource: str
) -> tuple[PrincipalMatch, KeyStatement | None]:
    """The statement that gives the caller most, and how it names the caller."""
    best: PrincipalMatch = PrincipalMatch.NONE
    found = None
    for statement in allows:
        match = statement.principals.match(caller)
        if match > best and statement.covers(action, resource):
            best, found = match, statement
            if match is PrincipalMatch.SELF:
                break
    return best, found


def _identity_allow(basis: Basis, policies: NamedPolicies, action: str, resource: str) -> Decision:
    for name, policy in policies:
        for statement in policy.allows:
            if statement.covers(action, resource):
                return Decision(basis, name, statement.reference)
    return _NO_IDENTITY_POLICY


def _delegated(
    basis: Basis, statement: KeyStatement, query: Query, action: str, policies: NamedPolicies
) -> Decision:
    """The key policy leaves it to the caller's account: to its identity policies, or to its root user."""
    if query.caller.kind is CallerKind.ROOT:
        return Decision(basis, None, statement.reference)
    return _identity_allow(basis, policies, action, query.resource_arn)
