"""May this caller do this? Brings together key policy, the caller's identity policies and grants for `policy`.

Policies are compiled when first needed and kept with the immutable records they came from; a decision is kept with
both, unless it depends on more of the request than caller and action: then what is kept is the part of the policies
that bears on these. A record that changed is another object, so nothing that follows from the old one is ever used
again.

A question that is asked in the event loop is hurried: where finding the answer could take long, for the size of the
policies and of what the request says, it raises `NotLoaded` for what is going to be kept, else `Lengthy`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from kagitori_server.authz.compiled import CompiledCaller, compile_caller, policy_characters
from kagitori_server.authz.condition_keys import Asked, RequestContext, SupposedContext, size_of
from kagitori_server.model.grant_set import GrantSet
from kagitori_server.model.grants import Grant
from kagitori_server.model.keys import Key
from kagitori_server.model.lookup import Lookup
from kagitori_server.model.principals import Caller
from kagitori_server.policy import grants as policy_grants
from kagitori_server.policy.context import Context, ContextValue
from kagitori_server.policy.document import load_key_policy
from kagitori_server.policy.effort import Effort, static_steps
from kagitori_server.policy.evaluate import (
    Decision,
    Query,
    decide_identity,
    decide_key,
    decide_retire_grant,
)
from kagitori_server.policy.explain import Explanation, explain_identity, explain_key
from kagitori_server.policy.lockout import check_lockout
from kagitori_server.policy.narrowing import Narrowed, narrow
from kagitori_server.policy.statements import KeyPolicy
from kagitori_server.storage.view import NotLoaded

_NO_CONTEXT: Context = {}
_DECISIONS_PER_RECORD = 1_000
_NARROWED_STATEMENTS = 100_000
"""Statements kept in all narrowed policies together, each entry counting as one more: some 50 MB."""
_CREATE_GRANT = "kms:creategrant"
_EXPLAINED_GRANTS = 100
"""Of a grantee on a key, that an explanation tells of; and one more that permits the call."""
_HURRIED_STEPS = 2_000
"""A millisecond, at most."""
_HURRIED_CHARACTERS = 1_024
"""Of policies that are compiled: takes as long at most."""


class Lengthy(Exception):
    """What a hurried question asks takes too long where it was asked; ask again, unhurried, in a thread."""


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

    def __init__(
        self, entries: int = 10_000, *, context_of: Callable[[Asked], Context] = RequestContext
    ) -> None:
        """`context_of` makes the condition keys of a question."""
        self._entries = entries
        self._context_of = context_of
        self._callers: dict[Caller, CompiledCaller] = {}
        self._keys: dict[tuple[str, str], _CompiledKey] = {}
        self._grants: dict[str, tuple[Grant, tuple[policy_grants.Grant, policy_grants.Grant]]] = {}
        self._narrowed: dict[tuple[_CompiledKey, CompiledCaller, str], Narrowed] = {}
        self._narrowed_size = 0

    def on_key(self, asked: Asked, key: Key, *, cross_account: bool) -> Decision:
        """May the caller do what is asked on `key`, by the policies alone?"""
        compiled = self._key(key, asked)
        question = (asked.caller, asked.action, cross_account)
        decision = compiled.decisions.get(question)
        if decision is None:
            who = self._caller(asked)
            narrowed = self._narrow(who, compiled, asked)
            decision = self._decide(who, compiled.key, asked, narrowed, narrowed.key_policy, cross_account, ())
            if not narrowed.needs_context:
                self._make_room(compiled.decisions, _DECISIONS_PER_RECORD)
                compiled.decisions[question] = decision
        return decision

    def by_grant(
        self, asked: Asked, key: Key, lookup: Lookup, proposed: policy_grants.Grant | None, *, cross_account: bool
    ) -> Decision | None:
        """Does a grant permit what `on_key` refused, without a Deny? None when none does.

        `proposed` is what a call to CreateGrant would grant: a grant permits only what it could have permitted
        itself, and nothing of which that isn't known. Whether a grant matches depends on the request and is found
        out each time; what follows from the match is remembered. Raises NotLoaded where `lookup` does.
        """
        caller, compiled, action = self._caller(asked), self._key(key, asked), asked.action.lower()
        operation = asked.action.partition(":")[2]
        for granted in _held(caller, key, lookup):
            for record in granted.candidates(operation, asked.pairs):
                grant, unbound = self._grant(record)
                if grant.mismatch(caller.caller, action, asked.pairs) is not None:
                    continue
                if action == _CREATE_GRANT and (
                    proposed is None or not policy_grants.child_grant_allowed(grant, proposed)
                ):
                    continue
                decision = self._granted(caller, compiled, asked, cross_account, unbound)
                if decision.allowed:
                    return decision
                # The same follows from every grant to this grantee.
                break
        return None

    def on_grant(self, asked: Asked, key: Key, grant: Grant) -> Decision:
        """May the caller retire `grant`, which is on `key`?"""
        who, bound = self._caller(asked), grant.constraint
        asked = replace(asked, constraint=None if bound is None else (bound.kind.value, bound.pairs))
        query = Query(who.caller, asked.action, key.arn, key.account, self._context_of(asked))
        policy = self._key(key, asked).policy
        return decide_retire_grant(query, policy, who.policies, self._grant(grant)[0], limits=who.limits)

    def on_identity(self, asked: Asked, resource_arn: str, governing: str | None = None) -> Decision:
        """May the caller do what is asked on a resource that identity policies alone govern?

        `governing` is the account whose policies do: the resource's own unless it is said otherwise.
        """
        who = self._caller(asked)
        account = governing or asked.resource_account
        if who.needs_context:
            self._take_time(asked, static_steps(policy_characters(asked.caller)), who.effort)
            return self._decide_on_identity(who, asked, resource_arn, account, self._context_of(asked))
        question = (asked.action, resource_arn, account)
        decision = who.decisions.get(question)
        if decision is None:
            self._take_time(asked, static_steps(policy_characters(asked.caller)))
            decision = self._decide_on_identity(who, asked, resource_arn, account, _NO_CONTEXT)
            self._make_room(who.decisions, _DECISIONS_PER_RECORD)
            who.decisions[question] = decision
        return decision

    def explain(
        self, asked: Asked, key: Key | None, resource_arn: str, lookup: Lookup, supposed: Mapping[str, ContextValue],
        *, grantable: bool, cross_account: bool,
    ) -> tuple[Explanation, Mapping[str, ContextValue]]:
        """What `on_key` and `by_grant` (or without a key `on_identity`) would decide, explained, and the condition
        keys that were present, for a call that isn't made: `supposed` says of it what a request would.

        Nothing is known of what a call to CreateGrant would grant, so no grant is held to permit it.
        """
        who, context = self._caller(asked), SupposedContext(asked, supposed)
        account = asked.resource_account if key is None else key.account
        query = Query(who.caller, asked.action, resource_arn, account, context, asked.pairs)
        if key is None:
            return explain_identity(query, who.policies, limits=who.limits), context
        grants: tuple[policy_grants.Grant, ...] = ()
        if grantable and asked.action.lower() != _CREATE_GRANT:
            grants = tuple(grant for held in _held(who, key, lookup) for grant in self._explained(query, held))
        policy = self._key(key, asked).policy
        explanation = explain_key(
            query, policy, who.policies, cross_account_capable=cross_account, limits=who.limits, grants=grants
        )
        return explanation, context

    def _explained(self, query: Query, held: GrantSet) -> Iterator[policy_grants.Grant]:
        """The first grants of a grantee, and one that permits, if any does: one is as good as another."""
        action = query.action.lower()
        shown = held.records[:_EXPLAINED_GRANTS]
        yield from (self._grant(record)[0] for record in shown)
        if len(held.records) > len(shown):
            for record in held.candidates(query.action.partition(":")[2], query.encryption_context):
                grant = self._grant(record)[0]
                if grant.mismatch(query.caller, action, query.encryption_context) is None:
                    if record not in shown:
                        yield grant
                    return

    def check_lockout(self, asked: Asked, candidate: KeyPolicy, key_arn: str) -> None:
        """Refuse a key policy under which the caller could not put the next one.

        Raises MalformedPolicyDocumentException.
        """
        who = self._caller(asked)
        check_lockout(candidate, who.caller, who.policies, key_arn, self._context_of(asked), limits=who.limits)

    def _decide(
        self, who: CompiledCaller, key: Key, asked: Asked, narrowed: Narrowed, policy: KeyPolicy, cross_account: bool,
        grants: tuple[policy_grants.Grant, ...],
    ) -> Decision:
        context = _NO_CONTEXT
        if narrowed.needs_context:
            self._take_time(asked, 0, narrowed.effort)
            context = self._context_of(asked)
        return decide_key(
            Query(who.caller, asked.action, key.arn, key.account, context), policy, narrowed.identity_policies,
            cross_account_capable=cross_account, limits=narrowed.limits, grants=grants,
        )

    def _decide_on_identity(
        self, who: CompiledCaller, asked: Asked, resource_arn: str, account: str, context: Context
    ) -> Decision:
        query = Query(who.caller, asked.action, resource_arn, account, context)
        return decide_identity(query, who.policies, limits=who.limits)

    def _granted(
        self, who: CompiledCaller, compiled: _CompiledKey, asked: Asked, cross_account: bool,
        unbound: policy_grants.Grant,
    ) -> Decision:
        """What follows from a grant that matches the request, given without its constraint: its own allow, unless
        something denies. It depends on whom the grant names, and on the rest of the request only where policies do."""
        question = (asked.caller, asked.action, cross_account, unbound.grantee)
        decision = compiled.granted.get(question)
        if decision is None:
            narrowed = self._narrow(who, compiled, asked)
            decision = self._decide(
                who, compiled.key, asked, narrowed, narrowed.without_allows, cross_account, (unbound,)
            )
            if not narrowed.needs_context:
                self._make_room(compiled.granted, _DECISIONS_PER_RECORD)
                compiled.granted[question] = decision
        if decision.grant is None or decision.grant == unbound.grant_id:
            return decision
        return replace(decision, grant=unbound.grant_id)

    def _narrow(self, who: CompiledCaller, compiled: _CompiledKey, asked: Asked) -> Narrowed:
        """What of all policies bears on the caller's doing what is asked to the key."""
        key, action = compiled.key, asked.action
        place = (compiled, who, action)
        narrowed = self._narrowed.get(place)
        if narrowed is None:
            if asked.hurried and static_steps(len(key.policy) + policy_characters(asked.caller)) > _HURRIED_STEPS:
                raise NotLoaded(partial(self._narrow, who, compiled, replace(asked, hurried=False)))
            narrowed = narrow(who.caller, action, key.arn, compiled.policy, who.policies, who.limits)
            self._narrowed_size += 1 + narrowed.effort.statements
            if self._narrowed_size > _NARROWED_STATEMENTS:
                self._narrowed.clear()
                self._narrowed_size = 1 + narrowed.effort.statements
            self._narrowed[place] = narrowed
        return narrowed

    def _grant(self, record: Grant) -> tuple[policy_grants.Grant, policy_grants.Grant]:
        """A grant as decisions see it, and as if it had no constraint."""
        known = self._grants.get(record.grant_id)
        if known is None or known[0] is not record:
            grant = _as_policy_grant(record)
            known = (record, (grant, replace(grant, constraint=None)))
            self._make_room(self._grants)
            self._grants[record.grant_id] = known
        return known[1]

    def _take_time(self, asked: Asked, steps: int, effort: Effort | None = None) -> None:
        """Raises Lengthy when the question is hurried and takes more: `steps`, and what `effort` takes."""
        if asked.hurried:
            if effort is not None and (effort.conditions or effort.patterns):
                steps += effort.steps(size_of(asked))
            if steps > _HURRIED_STEPS:
                raise Lengthy

    def _key(self, key: Key, asked: Asked) -> _CompiledKey:
        place = (key.region, key.key_id)
        compiled = self._keys.get(place)
        if compiled is None or compiled.key is not key:
            if asked.hurried and len(key.policy) > _HURRIED_CHARACTERS:
                raise NotLoaded(partial(self._key, key, replace(asked, hurried=False)))
            compiled = _CompiledKey(key, load_key_policy(key.policy, key.policy_bindings))
            self._make_room(self._keys)
            self._keys[place] = compiled
        return compiled

    def _caller(self, asked: Asked) -> CompiledCaller:
        caller = asked.caller
        compiled = self._callers.get(caller)
        if compiled is None:
            if asked.hurried and policy_characters(caller) > _HURRIED_CHARACTERS:
                raise NotLoaded(partial(self._caller, replace(asked, hurried=False)))
            compiled = compile_caller(caller)
            self._make_room(self._callers)
            self._callers[caller] = compiled
        return compiled

    def _make_room(self, memory: dict[Any, Any], most: int = 10_000) -> None:
        if len(memory) >= min(self._entries, most):
            memory.clear()


def _held(caller: CompiledCaller, key: Key, lookup: Lookup) -> Iterator[GrantSet]:
    """The grants on `key` whose grantee the caller is, by each name it goes by."""
    who = caller.caller
    for grantee in dict.fromkeys((who.principal_id, who.role_id, who.account)):
        if grantee:
            yield lookup.grants(key.region, key.key_id, grantee)


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
