"""Warnings about statements that are legal and yet dangerous, or without any effect.

Nothing is refused because of them. Every finding names its statement (None: the policy as a whole), a code that
stays the same between releases, and what is the matter in words.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from kagitori_server.policy.conditions import Condition, Quantifier
from kagitori_server.policy.globs import GlobSet
from kagitori_server.policy.known_names import ALWAYS_PRESENT, KMS_ACTIONS, LIST_VALUED, ON_EVERY_KEY, is_known_key
from kagitori_server.policy.statements import Effect, IdentityPolicy, KeyPolicy, KeyStatement, Statement


@dataclass(frozen=True, slots=True)
class Finding:
    """One warning. `index` counts statements from 0; None means the policy as a whole."""

    index: int | None
    sid: str | None
    code: str
    text: str


_ACTIONS = tuple(sorted(KMS_ACTIONS))
_Warning = tuple[str, str]
"""Code and text."""


def lint_key_policy(policy: KeyPolicy, key_arn: str) -> tuple[Finding, ...]:
    """Warnings about a key policy that is to govern the key of this ARN."""
    findings = [
        _finding(statement, warning)
        for statement in sorted((*policy.denies, *policy.allows), key=_place)
        for warning in (
            *_dead_actions(statement, key_policy=True),
            *_dead_key_statement(statement, key_arn),
            *_too_wide_in_key_policy(statement),
            *_conditions(statement, ALWAYS_PRESENT | ON_EVERY_KEY),
        )
    ]
    if not _anyone_may_put_policy(policy, key_arn):
        text = "Nobody may put another policy on the key: it can't be administered any more."
        findings.append(Finding(None, None, "nobody-administers", text))
    return tuple(findings)


def lint_identity_policy(policy: IdentityPolicy) -> tuple[Finding, ...]:
    """Warnings about an identity policy, as far as KMS is concerned."""
    return tuple(
        _finding(statement, warning)
        for statement in sorted((*policy.denies, *policy.allows), key=_place)
        for warning in (
            *_dead_actions(statement, key_policy=False),
            *_too_wide_in_identity_policy(statement),
            *_conditions(statement, ALWAYS_PRESENT),
        )
    )


def _place(statement: Statement) -> int:
    return statement.reference.index


def _finding(statement: Statement, warning: _Warning) -> Finding:
    return Finding(statement.reference.index, statement.reference.sid, *warning)


def _dead_actions(statement: Statement, *, key_policy: bool) -> Iterator[_Warning]:
    patterns = statement.actions.patterns
    if key_policy and not statement.actions.negated and patterns == GlobSet():
        yield "no-action", "The statement has no Action, and so no effect."
    for pattern, known in _known_patterns(patterns):
        if not known and (key_policy or pattern.startswith("kms:")):
            yield "unknown-action", f"{pattern} matches no action of KMS."


def _known_patterns(patterns: GlobSet) -> Iterator[tuple[str, bool]]:
    """Every action pattern, and whether it matches an action of KMS."""
    for action in sorted(patterns.exact):
        yield action, action in KMS_ACTIONS
    for prefix in patterns.prefixes:
        yield f"{prefix}*", any(action.startswith(prefix) for action in KMS_ACTIONS)
    for glob in patterns.globs:
        yield glob.pattern, glob.matches_any(_ACTIONS)


def _dead_key_statement(statement: KeyStatement, key_arn: str) -> Iterator[_Warning]:
    resources, principals = statement.resources, statement.principals
    if not resources.given:
        yield "no-resource", "The statement has no Resource, and so no effect."
    elif not resources.patterns.templates and not resources.matches(key_arn, {}):
        yield "other-resource", "The statement is about other resources than this key, and so has no effect."
    if not principals.negated and not (principals.names_anyone or principals.services):
        yield "nobody", "The statement names no principal that could call, and so has no effect."
    if principals.negated and not principals.everyone and not principals.accounts:
        yield "exempts-nobody", "NotPrincipal exempts nobody whose account it does not list too."


def _too_wide_in_key_policy(statement: KeyStatement) -> Iterator[_Warning]:
    if statement.effect is not Effect.ALLOW:
        return
    principals = statement.principals
    if principals.everyone and not statement.conditions:
        yield "everybody", "Everybody in the key's account is allowed, and every account may allow its principals."
    if _all_actions(statement) and (principals.everyone or principals.roles or principals.selves):
        yield "all-actions", "All actions are allowed to a principal, among them to change this policy."
    yield from _by_exception(statement)


def _too_wide_in_identity_policy(statement: Statement) -> Iterator[_Warning]:
    if statement.effect is not Effect.ALLOW:
        return
    if _all_actions(statement) and "" in statement.resources.patterns.whole.prefixes and not statement.conditions:
        yield "all-actions", "All actions are allowed on all keys that leave it to identity policies."
    yield from _by_exception(statement)


def _all_actions(statement: Statement) -> bool:
    return all(found is not statement.actions.negated for found in statement.actions.patterns.each(_ACTIONS))


def _by_exception(statement: Statement) -> Iterator[_Warning]:
    if statement.actions.negated:
        yield "allow-by-exception", "Allow with NotAction allows whatever is not listed, future actions too."
    if statement.resources.negated:
        yield "allow-by-exception", "Allow with NotResource allows whatever is not listed, future resources too."


def _conditions(statement: Statement, present: frozenset[str]) -> Iterator[_Warning]:
    guarded = {each.lookup for each in statement.conditions if each.operator == "Null"}
    for condition in statement.conditions:
        yield from _key_and_operator(condition)
        if condition.lookup not in present | guarded and not condition.operator.endswith("IfExists"):
            yield from _absence(condition, statement.effect)


def _key_and_operator(condition: Condition) -> Iterator[_Warning]:
    key, lookup = condition.key, condition.lookup
    is_single = condition.quantifier is Quantifier.SINGLE
    if not is_known_key(lookup):
        yield "unknown-key", f"{key} is no condition key of KMS: no request has it."
    elif lookup in LIST_VALUED and is_single and condition.operator != "Null":
        yield "plain-operator-on-list", f"{key} is a list: use ForAllValues or ForAnyValue."
    elif lookup not in LIST_VALUED and not is_single and lookup.startswith(("kms:", "aws:")):
        yield "set-operator-on-single-value", f"{key} has one value: use the operator without its prefix."


def _absence(condition: Condition, effect: Effect) -> Iterator[_Warning]:
    operator, key, quantifier = condition.operator, condition.key, condition.quantifier
    negated = quantifier is Quantifier.SINGLE and condition.negated
    if effect is Effect.ALLOW:
        if negated or quantifier is Quantifier.FOR_ALL_VALUES:
            yield "absent-key-allows", f'{operator} allows requests without {key}: add Null with "false".'
    elif negated:
        yield "absent-key-denies", f"{operator} denies requests without {key} too, whatever covered action they ask."
    elif condition.lookup.startswith("aws:multifactorauth") and not condition.when_absent:
        yield "absent-key-escapes", f"Long-term credentials have no {key} and escape the Deny: use {operator}IfExists."


def _anyone_may_put_policy(policy: KeyPolicy, key_arn: str) -> bool:
    """Conditions are left out of account: there may be a request that fulfils them."""
    allowed = any(each.principals.names_anyone and _covers_put_policy(each, key_arn) for each in policy.allows)
    return allowed and not any(
        each.principals.everyone
        and not each.principals.negated
        and not each.conditions
        and _covers_put_policy(each, key_arn)
        for each in policy.denies
    )


def _covers_put_policy(statement: KeyStatement, key_arn: str) -> bool:
    return statement.actions.matches("kms:putkeypolicy") and statement.resources.matches(key_arn, {})
