"""Decides: may this caller do this to that resource, by these policies? Answers are values, never exceptions.

Follows the AWS evaluation logic for resource-based and identity-based policies, their limits, and KMS grants. It
knows no store and no clock; whoever asks has gathered the policies in one snapshot.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from kagitori_server.policy.context import Context
from kagitori_server.policy.grants import Grant
from kagitori_server.policy.principals import Caller, CallerKind, PrincipalMatch, match_id
from kagitori_server.policy.statements import IdentityPolicy, KeyPolicy, KeyStatement, Statement, StatementRef

NamedPolicies = Sequence[tuple[str, IdentityPolicy]]
"""Policies, each with the name to report: all identity policies of a caller (of its groups too), or a limit."""


class Basis(enum.Enum):
    """What a decision rests on. `reason` says it in words; of a refusal, in those that end AWS's sentence."""

    DIRECT = ("the key policy names the caller", True, False)
    DELEGATED = ("the key policy names the account and an identity policy allows", True, False)
    BOTH_SIDES = ("the key policy admits the other account and an identity policy allows", True, False)
    GRANT = ("a grant allows", True, False)
    IDENTITY = ("an identity policy allows", True, False)
    ROOT_USER = ("the root user acts in its own account", True, False)
    DENIED_BY_KEY_POLICY = ("with an explicit deny in a resource-based policy", False, True)
    DENIED_BY_IDENTITY_POLICY = ("with an explicit deny in an identity-based policy", False, True)
    DENIED_BY_BOUNDARY = ("with an explicit deny in a permissions boundary", False, True)
    DENIED_BY_SESSION_POLICY = ("with an explicit deny in a session policy", False, True)
    NO_KEY_POLICY = ("because no resource-based policy allows the {action} action", False, False)
    NO_IDENTITY_POLICY = ("because no identity-based policy allows the {action} action", False, False)
    NO_BOUNDARY = ("because no permissions boundary allows the {action} action", False, False)
    NO_SESSION_POLICY = ("because no session policy allows the {action} action", False, False)

    reason: str
    allows: bool
    is_explicit_deny: bool

    def __init__(self, reason: str, allows: bool, is_explicit_deny: bool) -> None:
        self.reason = reason
        self.allows = allows
        self.is_explicit_deny = is_explicit_deny


@dataclass(frozen=True, slots=True)
class Decision:
    """The answer, and the statement or grant that decided.

    `policy` is the name of the identity, boundary or session policy the statement is in, None for the key policy.
    `statement` is None for implicit refusals, for what a root user may do in its own right and for a grant that
    needed none; `grant` is the id of the grant that allowed.
    """

    basis: Basis
    policy: str | None = None
    statement: StatementRef | None = None
    grant: str | None = None

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
    condition keys of the request and their values (see `policy.context`), `encryption_context` what the
    constraints of grants are held against.
    """

    caller: Caller
    action: str
    resource_arn: str
    resource_account: str
    context: Context = field(default_factory=dict)
    encryption_context: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Limits:
    """What the caller's permissions end at, whatever gives them: a permissions boundary, session policies.

    Empty: there is no such limit. Of several session policies one has to allow.
    """

    boundary: NamedPolicies = ()
    session: NamedPolicies = ()


NO_LIMITS = Limits()


def decide_key(
    query: Query,
    key_policy: KeyPolicy,
    identity_policies: NamedPolicies,
    *,
    cross_account_capable: bool,
    limits: Limits = NO_LIMITS,
    grants: Sequence[Grant] = (),
) -> Decision:
    """Decide on a key.

    `grants` are those on the key whose grantee the caller could be; for `kms:CreateGrant`, only parents that
    `child_grant_allowed` lets the child have. The decision is a pure function of the arguments. It does not
    depend on the context when neither policies nor limits have `needs_context`, nor on the encryption context
    when no grant has a constraint, and may then be cached without them.
    """
    request = _Request(query, identity_policies, limits)
    # 2. An explicit deny anywhere ends it.
    denied = request.key_deny(key_policy) or request.deny()
    if denied is not None:
        return denied
    own_account = query.resource_account == query.caller.account
    if not own_account and not cross_account_capable:
        return _NO_KEY_POLICY
    # 3./4. What the key policy gives: a direct statement counts more than delegation to the account.
    match, statement = request.strongest_allow(key_policy.allows)
    decision = _NO_KEY_POLICY
    if statement is not None and not own_account:
        # 4a. A foreign caller: no form of statement suffices without its own account.
        decision = request.delegated(Decision(Basis.BOTH_SIDES, None, statement.reference))
    elif statement is not None:
        # 3a. The caller is named: its identity policies aren't asked. 3b. The account is named.
        direct = match is not PrincipalMatch.ACCOUNT
        basis = Basis.DIRECT if direct else Basis.DELEGATED
        decision = request.given(match, Decision(basis, None, statement.reference))
    if decision.allowed:
        return decision
    # 3c./4b. A grant; one names its grantee as a statement names its principal.
    for grant in grants:
        if grant.mismatch(query.caller, request.action, query.encryption_context) is None:
            granted = request.given(
                match_id(grant.grantee, query.caller), Decision(Basis.GRANT, grant=grant.grant_id)
            )
            if granted.allowed:
                return granted
    # 5. Identity policies alone never open a key, not even to the root user.
    return decision


def decide_identity(
    query: Query, identity_policies: NamedPolicies, *, limits: Limits = NO_LIMITS
) -> Decision:
    """Decide on what identity policies alone govern: aliases and actions without a resource.

    They reach no further than their own account. Its root user may do everything that nothing denies it.
    """
    request = _Request(query, identity_policies, limits)
    denied = request.deny()
    if denied is not None:
        return denied
    if query.resource_account != query.caller.account:
        return _NO_KEY_POLICY
    root = query.caller.kind is CallerKind.ROOT
    return request.delegated(Decision(Basis.ROOT_USER if root else Basis.IDENTITY))


def decide_retire_grant(
    query: Query,
    key_policy: KeyPolicy,
    identity_policies: NamedPolicies,
    grant: Grant,
    *,
    limits: Limits = NO_LIMITS,
) -> Decision:
    """Decide on `kms:RetireGrant`, whatever action the query names: the grant itself says who may.

    The retiring principal, the grantee when RetireGrant is among the operations, and the account that issued the
    grant. Where one of these is an account, its principals need the permission of their identity policies. A key
    policy can only deny.
    """
    request = _Request(query, identity_policies, limits, "kms:retiregrant")
    denied = request.key_deny(key_policy) or request.deny()
    if denied is not None:
        return denied
    grantee = grant.grantee if "kms:retiregrant" in grant.actions else None
    answers = [
        request.given(match_id(holder, query.caller), Decision(Basis.GRANT, grant=grant.grant_id))
        for holder in (grant.retiring_principal, grantee, grant.issuing_account)
        if holder is not None and match_id(holder, query.caller) is not PrincipalMatch.NONE
    ]
    return next((answer for answer in answers if answer.allowed), answers[0] if answers else _NO_KEY_POLICY)


_NO_KEY_POLICY = Decision(Basis.NO_KEY_POLICY)
_NO_IDENTITY_POLICY = Decision(Basis.NO_IDENTITY_POLICY)
_NO_BOUNDARY = Decision(Basis.NO_BOUNDARY)
_NO_SESSION_POLICY = Decision(Basis.NO_SESSION_POLICY)


class _Request:
    """One question, put to one kind of policy after the other."""

    __slots__ = ("_context", "_identity", "_limits", "_query", "action")

    def __init__(
        self, query: Query, identity: NamedPolicies, limits: Limits, action: str | None = None
    ) -> None:
        self._query = query
        self._context = query.context
        self._identity = identity
        self._limits = limits
        self.action = action or query.action.lower()

    def key_deny(self, policy: KeyPolicy) -> Decision | None:
        """The explicit deny of the key policy."""
        for statement in policy.denies:
            if statement.principals.match(self._query.caller) and self._covered(statement):
                return Decision(Basis.DENIED_BY_KEY_POLICY, None, statement.reference)
        return None

    def deny(self) -> Decision | None:
        """The explicit deny of a policy of the caller's account."""
        return (
            self._deny(Basis.DENIED_BY_IDENTITY_POLICY, self._identity)
            or self._deny(Basis.DENIED_BY_BOUNDARY, self._limits.boundary)
            or self._deny(Basis.DENIED_BY_SESSION_POLICY, self._limits.session)
        )

    def strongest_allow(self, allows: Iterable[KeyStatement]) -> tuple[PrincipalMatch, KeyStatement | None]:
        """The statement that gives the caller most, and how it names the caller."""
        best: PrincipalMatch = PrincipalMatch.NONE
        found = None
        for statement in allows:
            match = statement.principals.match(self._query.caller)
            if match > best and self._covered(statement):
                best, found = match, statement
                if match is PrincipalMatch.SELF:
                    break
        return best, found

    def given(self, match: PrincipalMatch, decision: Decision) -> Decision:
        """What becomes of a permission that was given to the caller in this way, in its own right or not."""
        if match is PrincipalMatch.SELF:
            # Neither boundary nor session policy limits by its silence what names the caller itself.
            return decision
        if match is PrincipalMatch.ROLE:
            return self._limited(decision)
        return self.delegated(decision)

    def delegated(self, decision: Decision) -> Decision:
        """It is left to the caller's account: to its identity policies, or to its root user."""
        if self._query.caller.kind is CallerKind.ROOT:
            return self._limited(decision)
        allow = self._allow(self._identity)
        if allow is None:
            return _NO_IDENTITY_POLICY
        name, reference = allow
        return self._limited(Decision(decision.basis, name, reference, decision.grant))

    def _limited(self, decision: Decision) -> Decision:
        if self._limits.boundary and self._allow(self._limits.boundary) is None:
            return _NO_BOUNDARY
        if self._limits.session and self._allow(self._limits.session) is None:
            return _NO_SESSION_POLICY
        return decision

    def _covered(self, statement: Statement) -> bool:
        return statement.mismatch(self.action, self._query.resource_arn, self._context) is None

    def _deny(self, basis: Basis, policies: NamedPolicies) -> Decision | None:
        for name, policy in policies:
            for statement in policy.denies:
                if self._covered(statement):
                    return Decision(basis, name, statement.reference)
        return None

    def _allow(self, policies: NamedPolicies) -> tuple[str, StatementRef] | None:
        for name, policy in policies:
            for statement in policy.allows:
                if self._covered(statement):
                    return name, statement.reference
        return None
