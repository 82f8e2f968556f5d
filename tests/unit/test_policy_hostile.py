"""Hostile and random text: the reader of policies answers with a named error, soon, and with no other."""

from __future__ import annotations

import contextlib
import json
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kagitori_server.model.errors import (
    InvalidArnException,
    LimitExceededException,
    MalformedPolicyDocumentException,
)
from kagitori_server.policy import (
    Caller,
    CallerKind,
    IdentityKind,
    KeyPolicy,
    Query,
    decide_key,
    load_key_policy,
    make_context,
    parse_identity_policy,
    parse_key_policy,
)

A = "111122223333"
KEY = f"arn:aws:kms:us-east-1:{A}:key/1234abcd-12ab-34cd-56ef-1234567890ab"
USER = f"arn:aws:iam::{A}:user/division/P"
PRINCIPALS = {A: A, f"arn:aws:iam::{A}:root": A, USER: "AIDAP"}
REFUSALS = (MalformedPolicyDocumentException, InvalidArnException, LimitExceededException)


def _key_text(**members: object) -> str:
    statement = {"Effect": "Allow", "Principal": {"AWS": USER}, "Action": "kms:*", "Resource": "*"} | members
    return json.dumps({"Version": "2012-10-17", "Statement": statement}, separators=(",", ":"))


def _allows(policy: KeyPolicy) -> bool:
    query = Query(Caller(A, CallerKind.USER, USER, "AIDAP"), "kms:Decrypt", KEY, A)
    return decide_key(query, policy, [], cross_account_capable=False).allowed


HOSTILE = {
    "deep lists": "[" * 16_000,
    "deep lists, closed": "[" * 16_000 + "]" * 16_000,
    "deep objects": '{"Statement":' * 2_400,
    "deep after closing": "]" * 10_000 + "[" * 20_000,
    "deep behind a string": '{"Id": "\\"[", "Statement": ' + "[" * 16_000,
    "huge integer": '{"Version": ' + "9" * 30_000 + "}",
    "huge exponent": '{"Version": 1e' + "9" * 30_000 + "}",
    "huge integer in a list": '{"Statement": [' + "1" * 30_000 + "]}",
    "many numbers": '{"Statement": [' + "1," * 16_000 + "1]}",
    "many empty statements": '{"Statement": [' + "{}," * 10_000 + "{}]}",
    "many members": "{" + ",".join(f'"{n}":1' for n in range(3_000)) + "}",
    "many actions": _key_text(Action=[""] * 8_000),
    "many principals": _key_text(Principal={"AWS": ["9" * 12] * 2_000}),
    "long principal": _key_text(Principal={"AWS": "arn:aws:iam::111122223333:user/" + "a/" * 15_000 + "!"}),
    "long action": _key_text(Action="kms:" + "*a" * 15_000 + "!"),
    "long resource": _key_text(Resource="arn:" + ":" * 30_000),
    "escaped quotes": '"' + '\\"' * 16_000,
    "backslashes": '"' + "\\" * 30_001,
    "lone surrogate": '{"Statement": "\ud800"}',
    "lone surrogate, escaped": _key_text(Sid="\ud800"),
    "surrogate member": '{"\\udfff": 1}',
    "surrogate principal": _key_text(Principal={"AWS": "\udfff"}),
    "null character": '{"Id": "\x00"}',
    "control character": '{"Id": "a\nb"}',
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_text_gets_a_named_error_soon(text: str) -> None:
    """Built to exhaust the reader: it answers with a refusal, in well under a second."""
    start = time.process_time()
    with pytest.raises(REFUSALS):
        parse_key_policy(text, PRINCIPALS.get)
    with pytest.raises(REFUSALS):
        parse_identity_policy(text, IdentityKind.ROLE)
    assert time.process_time() - start < 1.0


def test_large_valid_policy_compiles_soon() -> None:
    """As many patterns as fit: compiling and asking stay far below a second."""
    patterns = [f"arn:aws:kms:*:{A}:key/*{n}?*" for n in range(700)]
    start = time.process_time()
    policy = parse_key_policy(_key_text(Resource=patterns), PRINCIPALS.get)
    for _ in range(20):
        _allows(policy)
    assert time.process_time() - start < 1.0


LONG = "a" * 8_192
"""As long as an encryption context may be."""


def _conditioned(operator: str, values: list[str], key: str = "kms:EncryptionContext:a") -> str:
    return _key_text(Condition={operator: {key: values}})


LARGE_CONDITIONS = {
    "10,000 values": _conditioned("StringEquals", [""] * 10_000),
    "10,000 negated patterns": _conditioned("StringNotLike", ["*b"] * 5_000),
    "different patterns": _conditioned("StringLike", [f"*{n}*b" for n in range(3_000)]),
    "question marks": _conditioned("StringLike", [f"*a?{n % 10}{n // 10}*" for n in range(2_500)]),
    "long pieces of question marks": _conditioned("StringLike", ["*" + "a?" * 500 + "b*"] * 30),
    "one piece of question marks": _conditioned("StringLike", ["*" + "?a" * 4_000 + "b*"]),
    "anchored question marks": _conditioned("StringLike", ["a?" * 4_000 + "b*" + "?a" * 3_000]),
    "stars and letters": _conditioned("StringLike", ["*a" * 15_000 + "b"]),
    "many stars and question marks": _conditioned("StringLike", ["*a?b" * 7_500]),
    "ARN patterns": _conditioned("ArnLike", [f"arn:*:a?{n}*:*:*:*a?b*" for n in range(1_000)]),
    "numbers": _conditioned("NumericLessThan", [str(n) for n in range(4_000)]),
    "dates": _conditioned("DateGreaterThan", [f"2026-01-01T00:{n // 60 % 60:02}:{n % 60:02}Z" for n in range(1_300)]),
    "addresses": _conditioned("NotIpAddress", [f"10.{n // 256}.{n % 256}.0/{n % 25 + 8}" for n in range(1_500)]),
    "variables": _conditioned("StringLike", ["*${kms:EncryptionContext:b}?"] * 900),
    "operators": _key_text(
        Condition={
            f"{prefix}String{name}IfExists": {"kms:EncryptionContextKeys": ["*${kms:EncryptionContext:b}?"] * 130}
            for prefix in ("", "ForAnyValue:", "ForAllValues:")
            for name in ("NotLike", "NotEquals")
        }
    ),
    "statements": json.dumps(
        {
            "Version": "2012-10-17",
            "Statement": [
                {"Effect": "Deny", "Principal": "*", "Action": "*", "Resource": "*",
                 "Condition": {"StringLike": {"kms:EncryptionContext:a": f"*a?{n}b*"}}}
                for n in range(210)
            ],
        }
    ),
}  # fmt: skip


@pytest.mark.parametrize("text", LARGE_CONDITIONS.values(), ids=LARGE_CONDITIONS.keys())
def test_large_conditions_are_answered_soon(text: str) -> None:
    """As much as fits a policy, asked about the longest values: compiling and one decision take a moment."""
    caller = Caller(A, CallerKind.USER, USER, "AIDAP")
    contexts = [
        make_context(
            [
                ("kms:EncryptionContext:a", value),
                ("kms:EncryptionContext:b", LONG),
                ("kms:EncryptionContextKeys", ("a?" * 50,) * 80),
            ]
        )
        for value in (LONG, ("a?" * 50,) * 80, "7", "2026-01-01", "10.0.0.1", f"arn:aws:aa1:x:y:{LONG[:2_000]}")
    ]
    assert len(text) > 8_000
    start = time.process_time()
    policy = parse_key_policy(text, PRINCIPALS.get)
    compiled = time.process_time()
    for context in contexts:
        decide_key(Query(caller, "kms:Decrypt", KEY, A, context), policy, [], cross_account_capable=False)
    assert compiled - start < 1.0
    assert time.process_time() - compiled < 1.0


SCRAPS = st.sampled_from(
    [
        "Version", "2012-10-17", "2008-10-17", "Id", "Statement", "Sid", "Effect", "Allow", "Deny",
        "Principal", "NotPrincipal", "AWS", "Service", "Action", "NotAction", "Resource", "NotResource",
        "Condition", "*", "kms:*", "kms:Decrypt", A, USER, KEY, f"arn:aws:iam::{A}:root", "arn:",
        "${aws:username}", "\ud800", "StringEquals", "ForAllValues:StringNotLike", "Null", "NumericLessThan",
        "aws:PrincipalArn", "kms:EncryptionContext:app", "1", "true", "10.0.0.0/8", "${", "StringEqual",
    ]
)  # fmt: skip
ATOMS = st.none() | st.booleans() | st.integers() | st.floats() | SCRAPS | st.text(max_size=5)
ANYTHING = st.recursive(
    ATOMS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(SCRAPS | st.text(max_size=3), inner, max_size=6)
    ),
    max_leaves=20,
)
NAMES = ("Sid", "Condition", "Effect", "Principal", "NotPrincipal", "Action", "NotAction", "Resource", "NotResource")
GOOD: dict[str, list[object]] = {
    "Effect": ["Allow", "Deny"],
    "Principal": ["*", {"AWS": USER}, {"AWS": [A]}],
    "Action": ["kms:*", ["kms:Decrypt"]],
    "Resource": ["*", [KEY]],
    "Condition": [{}, {"StringLike": {"aws:PrincipalArn": ["a*", "${aws:username}"]}, "Null": {"aws:x": True}}],
}


@st.composite
def nearly_policies(draw: st.DrawFn) -> str:
    """Documents that are right but for a few members, which are anything."""
    statements: list[object] = []
    for _ in range(draw(st.integers(1, 3))):
        statement: dict[str, object] = {name: draw(st.sampled_from(values)) for name, values in GOOD.items()}
        for name in draw(st.lists(st.sampled_from(NAMES), max_size=2)):
            statement[name] = draw(ANYTHING)
        for name in draw(st.lists(st.sampled_from(NAMES), max_size=1)):
            statement.pop(name, None)
        statements.append(statement)
    version = draw(st.sampled_from(["2012-10-17", "2008-10-17"]))
    return json.dumps({"Version": version, "Statement": statements})


def _parse_both(text: str) -> None:
    """Anything but the named errors ends the test."""
    with contextlib.suppress(*REFUSALS):
        policy = parse_key_policy(text, PRINCIPALS.get)
        _allows(policy)
        assert load_key_policy(text, policy.bindings).bindings == policy.bindings
    with contextlib.suppress(MalformedPolicyDocumentException, LimitExceededException):
        parse_identity_policy(text, IdentityKind.ROLE)


@settings(deadline=None)
@given(st.text(alphabet='{}[]",:\\ \n\x00\ud800\u00e9truefalsn0123456789.eE+-StaemnAc*', max_size=80))
def test_any_text_gets_a_named_error(text: str) -> None:
    """Text that is hardly JSON: a policy or a refusal, never another exception."""
    _parse_both(text)


@settings(deadline=None)
@given(ANYTHING)
def test_any_json_gets_a_named_error(value: object) -> None:
    """JSON that is hardly a policy, NaN and lone surrogates among it."""
    _parse_both(json.dumps(value))
    _parse_both(json.dumps(value, ensure_ascii=False))


@settings(deadline=None)
@given(nearly_policies())
def test_any_near_miss_gets_a_named_error(text: str) -> None:
    """Policies with a few members gone wrong: the refusal is named, or the policy can be asked."""
    _parse_both(text)
