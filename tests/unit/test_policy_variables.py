"""Policy variables: where they stand, what they bring in, and what becomes of those without a value."""

from __future__ import annotations

import json

import pytest

from kagitori_server.model.errors import InvalidArnException, MalformedPolicyDocumentException
from kagitori_server.policy import Context, IdentityKind, make_context, parse_identity_policy, parse_key_policy
from kagitori_server.policy.conditions import compile_condition
from kagitori_server.policy.context import ContextValue
from kagitori_server.policy.statements import Effect
from kagitori_server.policy.variables import VariableError, read_pieces

A = "111122223333"
ALIAS = f"arn:aws:kms:us-east-1:{A}:alias/"


def _nobody(_: str) -> str | None:
    return None


def _covers(resource: str, arn: str, context: Context, *, effect: str = "Allow", element: str = "Resource") -> bool:
    statement = {"Effect": effect, "Action": "kms:*", element: resource}
    text = json.dumps({"Version": "2012-10-17", "Statement": statement})
    policy = parse_identity_policy(text, IdentityKind.USER)
    statements = policy.allows if effect == Effect.ALLOW.value else policy.denies
    return statements[0].mismatch("kms:createalias", arn, context) is None


def _holds(operator: str, value: str, given: ContextValue, context: dict[str, ContextValue], **flags: bool) -> bool:
    flags = {"variables": True, "allows": True} | flags
    condition = compile_condition(operator, "aws:Key", [value], **flags)
    return condition.holds({"aws:key": given} | context)


@pytest.mark.parametrize(
    ("name", "arn", "username", "expected"),
    [
        ("${aws:username}", "P", "P", True),
        ("${aws:username}", "Q", "P", False),
        ("${AWS:UserName}", "P", "P", True),
        ("${ aws:username }", "P", "P", True),
        ("${aws:username}/*", "P/x", "P", True),
        ("x-${aws:username}-?-*", "x-P-1-", "P", True),
        ("${aws:username}${aws:username}", "PP", "P", True),
        ("${aws:username}", "*", "*", True),
        ("${aws:username}", "P", "*", False),
        ("${aws:username}*", "ab", "?", False),
        ("${aws:username}*", "?b", "?", True),
        ("${aws:username}", "${aws:username}", "${aws:username}", True),
        ("${aws:username}", "P", "", False),
        ("a:${aws:username}", "a:b:c", "b:c", True),
        ("${aws:username}", "P", None, False),
        ("${aws:username}*", "P", None, False),
        ("${aws:username, 'P'}", "P", None, True),
        ("${aws:username, 'P'}", "P", "Q", False),
        ("${aws:username,''}x", "x", None, True),
        ("${aws:username, '*'}", "P", None, False),
        ("${aws:username, 'a, b'}", "a, b", None, True),
        ("${*}", "*", None, True),
        ("${*}", "P", None, False),
        ("${?}", "?", None, True),
        ("${?}", "P", None, False),
        ("${$}{aws:username}", "${aws:username}", "P", True),
        ("*${*}", "x*", None, True),
        ("*${*}", "xy", None, False),
        ("$aws", "$aws", None, True),
        ("a}", "a}", None, True),
        ("$", "$", None, True),
    ],
)
def test_resource(name: str, arn: str, username: str | None, expected: bool) -> None:
    """The value comes in as data; without one the pattern matches nothing."""
    context = {} if username is None else {"aws:username": username}
    assert _covers(ALIAS + name, ALIAS + arn, context) is expected
    assert _covers(ALIAS + name, ALIAS + arn, context, effect="Deny") is expected


def test_resource_with_wildcards_before() -> None:
    """The first five parts may have wildcards beside a variable in the last."""
    pattern = "arn:aws:kms:*:1111?2223333:alias/${aws:username}"
    assert _covers(pattern, f"{ALIAS}P", {"aws:username": "P"})
    assert not _covers(pattern, f"arn:aws:kms:us-east-1:{A}:key:alias/P", {"aws:username": "P"})
    assert not _covers(pattern, "P", {"aws:username": "P"})


def test_not_resource_without_value_fails_closed() -> None:
    """What NotResource excepts is unknown: an Allow covers nothing then, a Deny everything."""
    pattern = ALIAS + "${aws:username}"
    for arn in (ALIAS + "P", ALIAS + "Q"):
        assert not _covers(pattern, arn, {}, element="NotResource")
        assert _covers(pattern, arn, {}, element="NotResource", effect="Deny")
    assert _covers(pattern, ALIAS + "Q", {"aws:username": "P"}, element="NotResource")
    assert not _covers(pattern, ALIAS + "P", {"aws:username": "P"}, element="NotResource")


def test_several_values_are_none() -> None:
    """Only single-valued keys stand for a text, and a default is for absent keys."""
    context = make_context([("aws:username", ("P",))])
    assert not _covers(ALIAS + "${aws:username}", ALIAS + "P", context)
    assert not _covers(ALIAS + "${aws:username, 'P'}", ALIAS + "P", context)
    assert _covers(ALIAS + "${aws:username, 'P'}", ALIAS + "P", {"aws:username": ()})


@pytest.mark.parametrize(
    ("operator", "value", "given", "team", "expected"),
    [
        ("StringEquals", "${aws:team}", "red", "red", True),
        ("StringEquals", "${aws:team}", "Red", "red", False),
        ("StringEquals", "x${aws:team}*", "xred*", "red", True),
        ("StringEquals", "${aws:team}", "red", None, False),
        ("StringEquals", "${aws:team, 'red'}", "red", None, True),
        ("StringEquals", "${*}", "*", None, True),
        ("StringEqualsIgnoreCase", "${aws:team}", "Red", "rED", True),
        ("StringNotEquals", "${aws:team}", "red", "red", False),
        ("StringNotEquals", "${aws:team}", "red", "blue", True),
        ("StringNotEquals", "${aws:team}", "red", None, True),
        ("StringLike", "${aws:team}*", "reddish", "red", True),
        ("StringLike", "${aws:team}*", "reddish", "r*d", False),
        ("StringLike", "${aws:team}*", "reddish", None, False),
        ("StringLike", "${*}?", "*x", None, True),
        ("StringNotLike", "${aws:team}*", "reddish", None, True),
        ("Bool", "${aws:team}", "true", "TRUE", True),
        ("Bool", "${aws:team}", "true", "false", False),
        ("Bool", "${aws:team}", "true", "x", False),
        ("Bool", "${aws:team}", "true", None, False),
        ("ArnEquals", "arn:aws:iam::1:user/${aws:team}", "arn:aws:iam::1:user/red", "red", True),
        ("ArnLike", "arn:aws:iam::1:user/${aws:team}", "arn:aws:iam::1:user/red", "*", False),
        ("ArnLike", "arn:aws:iam::${aws:team}:user/*", "arn:aws:iam::1:user/red", "1", True),
        ("ArnLike", "arn:aws:iam::${aws:team}:user/*", "arn:aws:iam::1:user:user/red", "1:user", False),
        ("ArnLike", "arn:aws:iam::${aws:team}:user/*", "arn:aws:iam::1:user/red", None, False),
        ("ArnNotLike", "arn:aws:iam::${aws:team}:user/*", "arn:aws:iam::1:user/red", None, True),
        ("ArnEquals", "${aws:team}", "arn:aws:iam::1:user/red", "arn:aws:iam::1:user/red", True),
        ("ArnEquals", "${aws:team}", "arn:aws:iam::1:user/red", "arn:aws:iam::1:user/*", False),
        ("ArnEquals", "${aws:team}", "red", "red", False),
        ("ArnEquals", "${aws:team}", "arn:aws:iam::1:user/red", None, False),
    ],
)
def test_condition_value(operator: str, value: str, given: str, team: str | None, expected: bool) -> None:
    """In String, Bool and ARN values; positive operators fail without a value, negated ones hold."""
    context: dict[str, ContextValue] = {} if team is None else {"aws:team": team}
    assert _holds(operator, value, given, context) is expected


def test_one_value_resolves_another_does_not() -> None:
    """A variable without a value leaves the other values as they are."""
    condition = compile_condition(
        "StringEquals", "aws:Key", ["${aws:none}", "${aws:team}", "x"], variables=True, allows=True
    )
    for value, expected in (("red", True), ("x", True), ("y", False)):
        assert condition.holds({"aws:key": value, "aws:team": "red"}) is expected


def test_the_first_version_has_none() -> None:
    """There `${…}` is plain text, escapes too."""
    assert _holds("StringEquals", "${aws:team}", "${aws:team}", {"aws:team": "red"}, variables=False)
    assert not _holds("StringEquals", "${aws:team}", "red", {"aws:team": "red"}, variables=False)
    assert _holds("StringLike", "${*}", "${anything}", {}, variables=False)
    assert _holds("StringEquals", "${", "${", {}, variables=False)


@pytest.mark.parametrize(
    "text",
    [
        *("${", "${}", "${ }", "${aws:x", "${x}", "${username}", "${aws:}", "${:x}", "${**}", "${aws:x${*}}"),
        *("${aws:x,}", "${aws:x, y}", "${aws:x, 'y}", "${aws:x, y'}", "${aws:x, '}", "${aws:x, 'a'b'}"),
        *("${aws:x, 'a', 'b'}", "${aws:*}", "${aws:x?}", "${'aws:x'}", "${,'x'}", "a${aws:x}${"),
    ],
)  # fmt: skip
def test_malformed_variable(text: str) -> None:
    """What is not surely a variable is refused rather than taken as text."""
    with pytest.raises(VariableError):
        read_pieces(text, variables=True, wildcards=True)
    statement = {"Effect": "Allow", "Action": "kms:*", "Resource": ALIAS + text}
    document = json.dumps({"Version": "2012-10-17", "Statement": statement})
    with pytest.raises(MalformedPolicyDocumentException, match="Syntax errors"):
        parse_identity_policy(document, IdentityKind.USER)


@pytest.mark.parametrize(
    "resource",
    [
        f"arn:aws:kms:${{aws:RequestedRegion}}:{A}:key/*",
        "arn:aws:kms:us-east-1:${aws:PrincipalAccount}:key/*",
        "arn:${aws:x}:kms:us-east-1:1:key/*",
        "arn:aws:kms:us-east-1:${aws:x, 'y'}:key/${aws:username}",
    ],
)
def test_variable_in_an_early_part(resource: str) -> None:
    """Only the part after the fifth colon may have variables."""
    statement = {"Effect": "Allow", "Action": "kms:*", "Resource": resource}
    with pytest.raises(MalformedPolicyDocumentException, match="Syntax errors"):
        parse_identity_policy(json.dumps({"Version": "2012-10-17", "Statement": statement}), IdentityKind.USER)
    text = json.dumps({"Version": "2012-10-17", "Statement": statement | {"Principal": "*"}})
    with pytest.raises(MalformedPolicyDocumentException, match="last part of an ARN"):
        parse_key_policy(text, _nobody)


def test_variable_is_no_arn() -> None:
    """A variable can't stand for a whole resource."""
    statement = {"Effect": "Allow", "Principal": "*", "Action": "kms:*", "Resource": "${aws:x}"}
    with pytest.raises(InvalidArnException):
        parse_key_policy(json.dumps({"Version": "2012-10-17", "Statement": statement}), _nobody)


def test_make_context_folds_names() -> None:
    """Names that differ only in case end up as one key with several values."""
    entries: list[tuple[str, ContextValue]] = [("aws:A", "1"), ("aws:b", ("2", "3")), ("AWS:a", "4"), ("aws:B", "5")]
    assert make_context(entries) == {"aws:a": ("1", "4"), "aws:b": ("2", "3", "5")}
    assert make_context([("aws:TagKeys", ())]) == {"aws:tagkeys": ()}
