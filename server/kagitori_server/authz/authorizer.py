"""May this caller do this? Brings together the key policy and the caller's identity policies for `policy`.

Policies are compiled when first needed and kept with the immutable records they came from; a decision is kept with
both. A record that changed is another object, so nothing that follows from the old one is ever used again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from kagitori_server.authz.compiled import CompiledCaller, compile_caller
from kagitori_server.model.keys import Key
from kagitori_server.model.principals import Caller
from kagitori_server.policy.document import load_key_policy
from kagitori_server.policy.evaluate import Decision, Query, decide_identity, decide_key
from kagitori_server.policy.lockout import check_lockout
from kagitori_server.policy.statements import KeyPolicy

_NO_CONTEXT: Mapping[str, str | tuple[str, ...]] = {}


@dataclass(slots=True, eq=False)
class _CompiledKey:
    """A key record with its policy compiled, and the decisions made on it."""

    key: Key
    policy: KeyPolicy
    decisions: dict[tuple[Caller, str, bool], Decision] = field(default_factory=dict)


class Authorizer:
    """Decides, and remembers decisions as long as everything they depend on is unchanged.

    Thread-safe: entries are replaced, never altered, but for their memory of decisions, of which a lost update
    costs one evaluation more. `entries` bounds each of its memories.
    """

    def __init__(self, entries: int = 10_000) -> None:
        self._entries = entries
        self._callers: dict[Caller, CompiledCaller] = {}
        self._keys: dict[tuple[str, str], _CompiledKey] = {}

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
