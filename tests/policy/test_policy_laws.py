"""Laws that every decision keeps, whatever the policies: tried on random policies, contexts and grants."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from kagitori_server.policy import (
    Basis,
    Caller,
    CallerKind,
    ConstraintKind,
    ContextValue,
    Decision,
    Grant,
    GrantConstraint,
    IdentityKind,
    IdentityPolicy,
    KeyPolicy,
    Limits,
    Query,
    decide_key,
    explain_key,
    parse_identity_policy,
    parse_key_policy,
)
from kagitori_server.policy.narrowing import narrow

A, B = "111122223333", "444455556666"
KEY = f"arn:aws:kms:us-east-1:{A}:key/1234abcd-12ab-34cd-56ef-1234567890ab"
USER, ROLE = f"arn:aws:iam::{A}:user/P", f"arn:aws:iam::{A}:role/R"
SESSION, FOREIGN = f"arn:aws:sts::{A}:assumed-role/R/s1", f"arn:aws:iam::{B}:user/PB"
PRINCIPALS = {A: A, B: B, USER: "AIDAP", ROLE: "AROAR", SESSION: "AROAR:s1", FOREIGN: "AIDAPB"}
CALLERS = [
    Caller(A, CallerKind.USER, USER, "AIDAP"),
    Caller(A, CallerKind.ROOT, f"arn:aws:iam::{A}:root", A),
    Caller(A, CallerKind.ASSUMED_ROLE, SESSION, "AROAR:s1", "AROAR", ROLE),
    Caller(B, CallerKind.USER, FOREIGN, "AIDAPB"),
]
STRANGER = Caller("777788889999", CallerKind.USER, "arn:aws:iam::777788889999:user/X", "AIDAX")

_Statement = dict[str, Any]
OPERATORS = st.sampled_from(
    ["StringEquals", "StringNotEquals", "StringLike", "StringNotLike", "StringEqualsIfExists"]
    + [f"For{which}:String{what}" for which in ("AllValues", "AnyValue") for what in ("Like", "NotEquals")]
)
CONDITIONS = st.dictionaries(
    OPERATORS,
    st.dictionaries(
        st.sampled_from(["aws:a", "kms:b"]),
        st.lists(st.sampled_from(["x", "y", "x*", "${aws:a}", "${kms:b, 'x'}"]), min_size=1, max_size=2),
        min_size=1,
    ),
    max_size=2,
) | st.just({"Null": {"aws:a": "true"}})


@st.composite
def identity_statements(draw: st.DrawFn) -> _Statement:
    """Statements of identity policies, most of them about the key and the action in question."""
    return {
        "Effect": draw(st.sampled_from(["Allow", "Allow", "Deny"])),
        draw(st.sampled_from(["Action", "Action", "NotAction"])): draw(
            st.sampled_from(["kms:Decrypt", "kms:*", "kms:Encrypt", ["kms:De*", "s3:*"]])
        ),
        draw(st.sampled_from(["Resource", "Resource", "NotResource"])): draw(
            st.sampled_from(["*", KEY, "arn:aws:kms:*:*:key/*", KEY + "${aws:a}", KEY[:-1]])
        ),
        "Condition": draw(st.just({}) | CONDITIONS),
    }


@st.composite
def key_statements(draw: st.DrawFn) -> _Statement:
    """Statements of key policies."""
    statement = draw(identity_statements())
    names = st.lists(st.sampled_from(list(PRINCIPALS)), min_size=1, max_size=2).map(lambda each: {"AWS": each})
    negated = statement["Effect"] == "Deny" and draw(st.booleans())
    return statement | {"NotPrincipal" if negated else "Principal": draw(st.just("*") | names)}


def _key_policy(statements: list[_Statement]) -> KeyPolicy:
    # A key policy has a statement; this one is about nobody.
    nobody = {"Effect": "Allow", "Principal": {"Service": "logs.us-east-1.amazonaws.com"}}
    return parse_key_policy(
        json.dumps({"Version": "2012-10-17", "Statement": [nobody, *statements]}), PRINCIPALS.get
    )


def _identity_policy(statements: list[_Statement]) -> IdentityPolicy:
    nothing = {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::none"}
    text = json.dumps({"Version": "2012-10-17", "Statement": [nothing, *statements]})
    return parse_identity_policy(text, IdentityKind.ROLE)


GRANTS = st.lists(
    st.builds(
        Grant,
        grant_id=st.sampled_from(["g1", "g2"]),
        grantee=st.sampled_from(["AIDAP", "AROAR", "AROAR:s1", "AIDAPB", A, B]),
        operations=st.sampled_from([frozenset({"Decrypt"}), frozenset({"Encrypt", "DescribeKey"})]),
        constraint=st.none()
        | st.builds(GrantConstraint, st.sampled_from(ConstraintKind), st.sampled_from([{"e": "1"}, {"e": "2"}])),
    ),
    max_size=2,
)
VALUES: st.SearchStrategy[ContextValue] = st.sampled_from(["x", "y", ("x",), ("x", "y"), ()])


class Case:
    """A question with all that bears on it; statements stay apart, so that laws can add to them."""

    def __init__(self, draw: st.DrawFn, caller: Caller | None = None) -> None:
        self.query = Query(
            caller or draw(st.sampled_from(CALLERS)),
            "kms:Decrypt",
            KEY,
            A,
            draw(st.dictionaries(st.sampled_from(["aws:a", "kms:b"]), VALUES)),
            draw(st.sampled_from([{}, {"e": "1"}, {"e": "1", "f": "2"}])),
        )
        self.key = draw(st.lists(key_statements(), max_size=3))
        layer = st.lists(identity_statements(), max_size=2)
        self.identity, self.boundary, self.session = draw(layer), draw(layer), draw(layer)
        self.grants = draw(GRANTS)
        self.cross = draw(st.booleans())

    def __repr__(self) -> str:
        return f"Case({vars(self)!r})"

    def layers(self) -> tuple[KeyPolicy, list[tuple[str, IdentityPolicy]], Limits]:
        """The policies, compiled. An empty limit is none."""
        limits = Limits(
            [("boundary", _identity_policy(self.boundary))] if self.boundary else (),
            [("session", _identity_policy(self.session))] if self.session else (),
        )
        return _key_policy(self.key), [("p", _identity_policy(self.identity))], limits

    def decide(self) -> Decision:
        """The decision."""
        key, identity, limits = self.layers()
        return decide_key(
            self.query, key, identity, cross_account_capable=self.cross, limits=limits, grants=self.grants
        )


CASES = st.composite(Case)
LAYERS = st.sampled_from(["key", "identity", "boundary", "session"])


def _added(case: Case, layer: str, statement: _Statement, place: int) -> _Statement:
    """Put a statement into a layer; the principal belongs to the key policy only."""
    statement = dict(statement)
    if layer != "key":
        statement.pop("Principal", None)
        statement.pop("NotPrincipal", None)
    statements = getattr(case, layer)
    statements.insert(place % (len(statements) + 1), statement)
    return statement


@settings(deadline=None)
@given(CASES(), LAYERS, key_statements(), st.integers(0, 3))
def test_a_deny_never_allows_more(case: Case, layer: str, statement: _Statement, place: int) -> None:
    """Whatever was refused stays refused when a Deny is added to any layer that is there."""
    before = case.decide().allowed
    if layer in ("boundary", "session") and not getattr(case, layer):
        layer = "identity"
    _added(case, layer, statement | {"Effect": "Deny"}, place)
    assert before or not case.decide().allowed


@settings(deadline=None)
@given(CASES(), LAYERS, key_statements(), st.integers(0, 3))
def test_an_allow_never_overrides_a_deny(case: Case, layer: str, statement: _Statement, place: int) -> None:
    """What was denied explicitly stays so, on the same grounds, when an Allow or a grant is added."""
    before = case.decide()
    statement = statement | {"Effect": "Allow"}
    if "NotPrincipal" in statement:
        statement["Principal"] = statement.pop("NotPrincipal")
    _added(case, layer, statement, place)
    case.grants.append(Grant("all", case.query.caller.principal_id, frozenset({"Decrypt"})))
    after = case.decide()
    assert not before.explicit_deny or after.basis is before.basis


@settings(deadline=None)
@given(CASES(), key_statements(), st.integers(0, 3))
def test_an_allow_never_refuses_more(case: Case, statement: _Statement, place: int) -> None:
    """Whatever was allowed stays allowed when an Allow is added to the key policy or the identity policies."""
    before = case.decide().allowed
    if "NotPrincipal" in statement:
        statement["Principal"] = statement.pop("NotPrincipal")
    _added(case, "key" if place % 2 else "identity", statement | {"Effect": "Allow"}, place)
    assert not before or case.decide().allowed


@settings(deadline=None)
@given(st.composite(lambda draw: Case(draw, STRANGER))())
def test_a_stranger_is_refused(case: Case) -> None:
    """Whoever is not named, nor is his account, is refused, unless everybody is and his account allows."""
    everybody = any(statement.get("Principal") == "*" for statement in case.key)
    decision = case.decide()
    if not everybody or not case.cross:
        assert not decision.allowed
    assert not decision.allowed or decision.basis is Basis.BOTH_SIDES


@settings(deadline=None)
@given(CASES(), st.randoms(use_true_random=False))
def test_order_is_of_no_consequence(case: Case, random: Any) -> None:
    """Statements, policies and grants in another order: the same answer on the same grounds."""
    before = case.decide()
    for shuffled in (case.key, case.identity, case.boundary, case.session, case.grants):
        random.shuffle(shuffled)
    after = case.decide()
    assert (after.basis, after.explicit_deny) == (before.basis, before.explicit_deny)


@settings(deadline=None)
@given(CASES())
def test_limits_and_grants_only_limit_and_grant(case: Case) -> None:
    """Without its limits a question is never refused that was allowed, without its grants never allowed."""
    with_all = case.decide()
    key, identity, limits = case.layers()
    capable = case.cross
    free = decide_key(case.query, key, identity, cross_account_capable=capable, grants=case.grants)
    assert free.allowed or not with_all.allowed
    bare = decide_key(case.query, key, identity, cross_account_capable=capable, limits=limits)
    assert with_all.allowed or not bare.allowed
    assert not bare.allowed or bare == with_all


@settings(deadline=None)
@given(CASES())
def test_explanation_agrees(case: Case) -> None:
    """The statement or grant that decided is reported as matching; an explicit deny is one of those reported."""
    key, identity, limits = case.layers()
    explanation = explain_key(
        case.query, key, identity, cross_account_capable=case.cross, limits=limits, grants=case.grants
    )
    decision = explanation.decision
    assert decision == case.decide()
    if decision.statement is not None:
        place = (decision.policy, decision.statement.index)
        assert [each.matched for each in explanation.statements if (each.policy, each.index) == place] == [True]
    if decision.grant is not None:
        assert any(each.matched and each.grant_id == decision.grant for each in explanation.grants)
    denied = any(each.matched and each.effect == "Deny" for each in explanation.statements)
    assert denied is decision.explicit_deny


@settings(deadline=None)
@given(CASES())
def test_narrowed_policies_decide_alike(case: Case) -> None:
    """What is left of the policies for caller, action and key decides as all of them, by the same statement; and
    beside a grant, where they don't allow, as they do without their allowing statements."""
    key, identity, limits = case.layers()
    query, whole = case.query, case.decide()
    narrowed = narrow(query.caller, query.action, query.resource_arn, key, identity, limits)

    def decide(policy: KeyPolicy) -> Decision:
        return decide_key(
            query, policy, narrowed.identity_policies, cross_account_capable=case.cross, limits=narrowed.limits,
            grants=case.grants,
        )

    assert decide(narrowed.key_policy) == whole
    if whole.basis is Basis.GRANT or not whole.allowed:
        beside = decide(narrowed.without_allows)
        assert beside.allowed is whole.allowed
        assert not whole.allowed or beside == whole
    if not narrowed.needs_context:
        case.query = replace(query, context={"aws:a": "x", "kms:b": "x"})
        assert case.decide() == whole


@settings(deadline=None)
@given(CASES())
def test_context_counts_only_where_it_is_needed(case: Case) -> None:
    """Policies that say they need no context decide alike on any: decisions may be cached without it."""
    key, identity, limits = case.layers()
    others = (*identity, *limits.boundary, *limits.session)
    if not key.needs_context and not any(policy.needs_context for _, policy in others):
        before = case.decide()
        case.query = replace(case.query, context={"aws:a": "x", "kms:b": "x"})
        assert case.decide() == before
