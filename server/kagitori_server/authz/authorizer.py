"""May this caller do this? Brings together key policy, the caller's identity policies and grants for `policy`.

Policies are compiled when first needed and kept with the immutable records they came from; a decision is kept with
both. A record that changed is another object, so nothing that follows from the old one is ever used again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from kagitori_server.authz.compiled import CompiledCaller, compile_caller
from kagitori_server.model.grant_set import NO_GRANTS
from kagitori_server.model.grants import Grant
from kagitori_server.model.keys import Key
from kagitori_server.model.lookup import Lookup
from kagitori_server.model.principals import Caller
from kagitori_server.policy import grants as policy_grants
from kagitori_server.policy.document import load_key_policy
from kagitori_server.policy.evaluate import (
    Decision,
    Query,
    decide_identity,
    decide_key,
    decide_retire_grant,
)
from kagitori_server.policy.lockout import check_lockout
from kagitori_server.policy.statements import KeyPolicy

_NO_CONTEXT: Mapping[str, str | tuple[str, ...]] = {}
_CREATE_GRANT = "kms:creategrant"


@dataclass(slots=True, eq=False)
class _CompiledKey:
    """A key record with its policy compiled, and the decisions made on it."""

    key: Key
    policy: KeyPolicy
    decisions: dict[tuple[Caller, str, bool], Decision] = field(default_factory=dict)
    """Made without grants."""
    granted: dict[tuple[Caller, str, bool, str], Decision] = field(default_factory=dict)
    """(…, grantee's unique id) -> what follows for the caller once a grant to that grantee matches the request."""


class Authorizer:
    """Decides, and remembers decisions as long as everything they depend on is unchanged.

    Thread-safe: entries are replaced, never altered, but for their memory of decisions, of which a lost update
    costs one evaluation more. `entries` bounds each of its memories.
    """

    def __init__(self, entries: int = 10_000) -> None:
        self._entries = entries
        self._callers: dict[Caller, CompiledCaller] = {}
        self._keys: dict[tuple[str, str], _CompiledKey] = {}
        self._grants: dict[str, tuple[Grant, policy_grants.Grant]] = {}

    def on_key(self, caller: Caller, action: str, key: Key, *, cross_account: bool) -> Decision:
        """May `caller` do `action` (`kms:Encrypt`) on `key`?"""
        compiled = self._key(key)
        question = (caller, action, cross_account)
        decision = compiled.decisions.get(question)
        if decision is None:
            who = self._caller(caller)
            query = Query(who.caller, action, key.arn, key.account, _NO_CONTEXT)
            decision = decide_key(
                query, compiled.policy, who.policies, cross_account_capable=cross_account, limits=who.limits
            )
            self._make_room(compiled.decisions)
            compiled.decisions[question] = decision
        return decision

    def by_grant(
        self, caller: Caller, action: str, key: Key, lookup: Lookup, encryption_context: Mapping[str, str],
        proposed: policy_grants.Grant | None, *, cross_account: bool,
    ) -> Decision | None:
        """Does a grant permit what `on_key` refused, without a Deny? None when none does.

        `proposed` is what a call to CreateGrant would grant: a grant permits only what it could have permitted
        itself, and nothing of which that isn't known. Whether a grant matches depends on the request and is found
        out each time; what follows from the match is remembered. Raises NotLoaded where `lookup` does.
        """
        who, compiled, asked = self._caller(caller).caller, self._key(key), action.lower()
        operation = action.partition(":")[2]
        for grantee in dict.fromkeys((who.principal_id, who.role_id, who.account)):
            granted = lookup.grants(key.region, key.key_id, grantee) if grantee else NO_GRANTS
            for record in granted.candidates(operation, encryption_context):
                grant = self._grant(record)
                if grant.mismatch(who, asked, encryption_context) is not None:
                    continue
                if asked == _CREATE_GRANT and (
                    proposed is None or not policy_grants.child_grant_allowed(grant, proposed)
                ):
                    continue
                decision = self._granted(compiled, caller, action, cross_account, grant)
                if decision.allowed:
                    return decision
                # The same follows from every grant to this grantee.
                break
        return None

    def on_grant(self, caller: Caller, key: Key, grant: Grant) -> Decision:
        """May `caller` retire `grant`, which is on `key`?"""
        who = self._caller(caller)
        query = Query(who.caller, "kms:RetireGrant", key.arn, key.account, _NO_CONTEXT)
        policy = self._key(key).policy
        return decide_retire_grant(query, policy, who.policies, self._grant(grant), limits=who.limits)

    def on_identity(self, caller: Caller, action: str, resource_arn: str, account: str) -> Decision:
        """May `caller` do `action` on a resource of `account` that identity policies alone govern?"""
        who = self._caller(caller)
        question = (action, resource_arn)
        decision = who.decisions.get(question)
        if decision is None:
            query = Query(who.caller, action, resource_arn, account, _NO_CONTEXT)
            decision = decide_identity(query, who.policies, limits=who.limits)
            self._make_room(who.decisions)
            who.decisions[question] = decision
        return decision

    def check_lockout(self, caller: Caller, candidate: KeyPolicy, key_arn: str) -> None:
        """Refuse a key policy under which `caller` could not put the next one.

        Raises MalformedPolicyDocumentException.
        """
        who = self._caller(caller)
        check_lockout(candidate, who.caller, who.policies, key_arn, _NO_CONTEXT, limits=who.limits)

    def _granted(
        self, compiled: _CompiledKey, caller: Caller, action: str, cross_account: bool, grant: policy_grants.Grant
    ) -> Decision:
        """What follows from a grant that matches the request. It depends on whom the grant names, and no longer on
        its constraint."""
        question = (caller, action, cross_account, grant.grantee)
        decision = compiled.granted.get(question)
        if decision is None:
            who, key = self._caller(caller), compiled.key
            decision = decide_key(
                Query(who.caller, action, key.arn, key.account, _NO_CONTEXT), compiled.policy, who.policies,
                cross_account_capable=cross_account, limits=who.limits, grants=(replace(grant, constraint=None),),
            )
            self._make_room(compiled.granted)
            compiled.granted[question] = decision
        if decision.grant is None or decision.grant == grant.grant_id:
            return decision
        return replace(decision, grant=grant.grant_id)

    def _grant(self, record: Grant) -> policy_grants.Grant:
        known = self._grants.get(record.grant_id)
        if known is None or known[0] is not record:
            known = (record, _as_policy_grant(record))
            self._make_room(self._grants)
            self._grants[record.grant_id] = known
        return known[1]

    def _key(self, key: Key) -> _CompiledKey:
        place = (key.region, key.key_id)
        compiled = self._keys.get(place)
        if compiled is None or compiled.key is not key:
            compiled = _CompiledKey(key, load_key_policy(key.policy, key.policy_bindings))
            self._make_room(self._keys)
            self._keys[place] = compiled
        return compiled

    def _caller(self, caller: Caller) -> CompiledCaller:
        compiled = self._callers.get(caller)
        if compiled is None:
            compiled = compile_caller(caller)
            self._make_room(self._callers)
            self._callers[caller] = compiled
        return compiled

    def _make_room(self, memory: dict[Any, Any]) -> None:
        if len(memory) >= self._entries:
            memory.clear()


def _as_policy_grant(record: Grant) -> policy_grants.Grant:
    """A grant as decisions see it."""
    constraint = None
    if record.constraint is not None:
        kind = policy_grants.ConstraintKind(record.constraint.kind.value)
        constraint = policy_grants.GrantConstraint(kind, record.constraint.pairs)
    return policy_grants.Grant(
        grant_id=record.grant_id,
        grantee=record.grantee.unique_id,
        operations=frozenset(operation.value for operation in record.operations),
        constraint=constraint,
        retiring_principal=None if record.retiring is None else record.retiring.unique_id,
        issuing_account=record.issuing_account,
    )
