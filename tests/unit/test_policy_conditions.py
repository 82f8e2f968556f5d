"""The Condition element as policies write it: forms of values, and what several conditions mean together."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

import pytest

from kagitori_server.policy import Context, ContextValue, IdentityKind, parse_identity_policy, parse_key_policy

A = "111122223333"
KEY = f"arn:aws:kms:us-east-1:{A}:key/1234abcd-12ab-34cd-56ef-1234567890ab"


def _covers(condition: object, context: Context, *, version: str = "2012-10-17") -> bool:
    statement = {"Effect": "Allow", "Action": "kms:*", "Resource": "*", "Condition": condition}
    policy = parse_identity_policy(json.dumps({"Version": version, "Statement": statement}), IdentityKind.ROLE)
    return policy.allows[0].mismatch("kms:decrypt", KEY, context) is None


@pytest.mark.parametrize(
    ("a", "b", "c", "expected"),
    [
        ("1", "2", "3", True),
        ("x", "2", "3", False),
        ("1", "x", "3", False),
        ("1", "2", "x", False),
        (None, "2", "3", False),
    ],
)
def test_all_keys_and_operators_have_to_hold(a: str | None, b: str, c: str, expected: bool) -> None:
    """AND over the keys of an operator and over the operators."""
    condition = {"StringEquals": {"aws:a": "1", "aws:b": ["2", "9"]}, "StringLike": {"aws:c": "3*"}}
    context: dict[str, ContextValue] = {"aws:b": b, "aws:c": c}
    if a is not None:
        context["aws:a"] = a
    assert _covers(condition, context) is expected


def test_the_same_key_twice() -> None:
    """Under two operators, or under one in two spellings, both have to hold."""
    between = {"NumericGreaterThan": {"aws:n": "1"}, "NumericLessThan": {"aws:n": 3}}
    assert [_covers(between, {"aws:n": value}) for value in ("1", "2", "3")] == [False, True, False]
    spelled = {"StringLike": {"aws:n": "a*", "AWS:N": "*b"}}
    assert [_covers(spelled, {"aws:n": value}) for value in ("a", "ab", "b")] == [False, True, False]


def test_empty_condition_is_none() -> None:
    """An empty object asks for nothing."""
    assert _covers({}, {})


@pytest.mark.parametrize(
    ("operator", "value", "given"),
    [
        ("Bool", True, "true"),
        ("Bool", [False], "false"),
        ("Null", False, "anything"),
        ("NumericEquals", 7, "7"),
        ("NumericEquals", [1, 7.5], "7.50"),
        ("NumericLessThan", -1, "-2"),
        ("DateGreaterThan", 1767225600, "2026-01-02"),
        ("StringEquals", 123456789012, "123456789012"),
        ("StringEquals", True, "true"),
        ("StringEquals", ["a", 1], "1"),
    ],
)
def test_numbers_and_booleans(operator: str, value: object, given: str) -> None:
    """JSON numbers and booleans stand for what they look like."""
    assert _covers({operator: {"aws:x": value}}, {"aws:x": given})


def test_variables_by_version() -> None:
    """In condition values as in resources, only the current version of the language has variables."""
    condition = {"StringEquals": {"aws:x": "${aws:username}"}}
    context: Context = {"aws:x": "P", "aws:username": "P"}
    assert _covers(condition, context)
    assert not _covers(condition, context, version="2008-10-17")
    assert _covers(condition, {"aws:x": "${aws:username}"}, version="2008-10-17")


def test_context_may_be_lazy() -> None:
    """A Mapping that computes its values is asked only for keys of statements that fit otherwise."""
    asked: list[str] = []

    class Lazy(Mapping[str, ContextValue]):
        def __getitem__(self, key: str) -> ContextValue:
            asked.append(key)
            return "x"

        def __iter__(self) -> Iterator[str]:
            raise AssertionError

        def __len__(self) -> int:
            raise AssertionError

    policy = parse_identity_policy(
        json.dumps(
            {
                "Statement": [
                    {
                        "Effect": "Allow",
                        "Action": action,
                        "Resource": "*",
                        "Condition": {"StringEquals": {f"aws:{action}": "x"}},
                    }
                    for action in ("kms:Encrypt", "kms:Decrypt")
                ]
            }
        ),
        IdentityKind.ROLE,
    )
    assert [each.mismatch("kms:decrypt", KEY, Lazy()) is None for each in policy.allows] == [False, True]
    assert asked == ["aws:kms:decrypt"]


@pytest.mark.parametrize("element", [{"Condition": {"Null": {"aws:x": "true"}}}, {"Resource": KEY + "${aws:x}"}])
def test_needs_context(element: dict[str, object]) -> None:
    """Whoever caches decisions learns whether they depend on the context."""
    plain = {"Effect": "Deny", "Action": "kms:*", "Resource": "*"}
    for statement, expected in ((plain, False), (plain | element, True)):
        text = json.dumps({"Version": "2012-10-17", "Statement": [plain, statement]})
        assert parse_identity_policy(text, IdentityKind.ROLE).needs_context is expected
        text = json.dumps({"Version": "2012-10-17", "Statement": [statement | {"Principal": "*"}]})
        assert parse_key_policy(text, lambda _: None).needs_context is expected


def test_key_policy_may_compare_what_it_must_not_forget() -> None:
    """Keys that are forbidden in key policies are no prefix of the others."""
    for key in ("aws:ResourceAccount", "aws:PrincipalTag/team", "kms:EncryptionContextKeys", "aws:TagKeys"):
        statement = {
            "Effect": "Allow",
            "Principal": "*",
            "Action": "kms:*",
            "Resource": "*",
            "Condition": {"ForAllValues:StringEquals": {key: "x"}},
        }
        parse_key_policy(json.dumps({"Statement": statement}), lambda _: None)
