"""Every condition operator: which request values match which policy values, and what an absent key means."""

from __future__ import annotations

import itertools

import pytest

from kagitori_server.policy.conditions import UnknownOperatorError, compile_condition
from kagitori_server.policy.context import ContextValue
from kagitori_server.policy.operators import FAMILIES, ConditionArnError, ConditionValueError

USER = "arn:aws:iam::111122223333:user/P"


def holds(operator: str, values: list[str], value: ContextValue | None, *, allows: bool = True) -> bool:
    """Whether the condition on a key holds for a request in which the key has this value."""
    condition = compile_condition(operator, "aws:Key", values, variables=True, allows=allows)
    return condition.holds({} if value is None else {"aws:key": value})


# Operator, values of the policy, values of the request that match, values that don't.
TABLE: list[tuple[str, list[str], list[str], list[str]]] = [
    ("StringEquals", ["a"], ["a"], ["", "A", "a ", "b", "ab"]),
    ("StringEquals", ["a*", "?"], ["a*", "?"], ["ab", "a", "x"]),
    ("StringEquals", [""], [""], [" "]),
    ("StringEqualsIgnoreCase", ["aB*"], ["ab*", "AB*"], ["abc", "a"]),
    ("StringLike", ["a*"], ["a", "a*", "abc", "a\nb"], ["", "A", "ba"]),
    ("StringLike", ["a?c", "x"], ["abc", "a?c", "x"], ["ac", "abbc", "X"]),
    ("StringLike", ["*"], ["", "anything"], []),
    ("NumericEquals", ["10"], ["10", "10.0", "010", "+10"], ["1", "100", "ten", "", "10.01", "1e1"]),
    ("NumericEquals", ["-0.5", "7"], ["-0.50", "7"], ["0.5", "-7"]),
    ("NumericLessThan", ["10"], ["9.99", "-1"], ["10", "10.0", "11", "x", ""]),
    ("NumericLessThan", ["10", "20"], ["15"], ["20"]),
    ("NumericLessThanEquals", ["10"], ["10", "10.0", "9"], ["10.01"]),
    ("NumericGreaterThan", ["10"], ["11", "10.01"], ["10", "9", "x"]),
    ("NumericGreaterThan", ["10", "20"], ["15"], ["10"]),
    ("NumericGreaterThanEquals", ["10"], ["10", "11"], ["9"]),
    ("NumericEquals", ["9" * 32], ["9" * 32], ["9" * 31, "9" * 33]),
    ("DateEquals", ["2026-01-02T03:04:05Z"], ["2026-01-02T05:04:05+02:00", "1767323045"], ["1767323046", "x"]),
    ("DateEquals", ["2026"], ["2026-01-01", "2026-01", "2026-01-01T00:00Z", "1767225600"], ["2026-02"]),
    ("DateEquals", ["2026-01-01T00:00:00.25Z"], ["1767225600.25"], ["1767225600.5", "1767225600"]),
    ("DateLessThan", ["2026-06-01"], ["2026-05-31T23:59:59Z", "1767225600"], ["2026-06-01T00:00:00Z", ""]),
    ("DateLessThanEquals", ["2026-06-01"], ["2026-06-01T00:00:00Z"], ["2026-06-01T00:00:01Z"]),
    ("DateGreaterThan", ["2026-06-01T00:00:00-05:00"], ["2026-06-01T05:00:01Z"], ["2026-06-01T05:00:00Z"]),
    ("DateGreaterThanEquals", ["1767225600"], ["2026-01-01T00:00:00Z"], ["2025-12-31T23:59:59Z"]),
    ("Bool", ["true"], ["true", "TRUE"], ["false", "", "yes", "1"]),
    ("Bool", ["False"], ["false"], ["true", "", "no"]),
    ("BinaryEquals", ["AAEC"], ["AAEC"], ["AAED", "AAE", "aaec", "", "!"]),
    ("IpAddress", ["203.0.113.0/24"], ["203.0.113.0", "203.0.113.255"], ["203.0.114.0", "x", "", "::203.0.113.1"]),
    ("IpAddress", ["203.0.113.77/24"], ["203.0.113.1"], ["203.0.112.255"]),
    ("IpAddress", ["203.0.113.7"], ["203.0.113.7", "::ffff:203.0.113.7"], ["203.0.113.8", "203.0.113.7/32"]),
    ("IpAddress", ["2001:db8::/32", "::1"], ["2001:db8:1::1", "::1", "2001:DB8::"], ["2001:db9::", "203.0.113.7"]),
    ("IpAddress", ["::ffff:203.0.113.0/120"], ["203.0.113.9"], ["203.0.114.9"]),
    ("IpAddress", ["0.0.0.0/0"], ["1.2.3.4"], ["::1"]),
    ("IpAddress", ["::/0"], ["::1", "fe80::1%eth0"], ["1.2.3.4"]),
    ("ArnLike", [USER], [USER], [USER + "x", USER.lower().replace("p", "q"), "", "x"]),
    ("ArnLike", ["arn:aws:iam::*:user/*"], [USER, "arn:aws:iam::1:user/a/b"], ["arn:aws:iam::1:role/x"]),
    ("ArnLike", ["arn:*:iam:*:1111?2223333:*"], [USER], ["arn:aws:sts::111122223333:x"]),
    ("ArnLike", ["arn:aws:iam:*:user/P:x"], [], [USER, "arn:aws:iam:user/P:x"]),
    ("ArnEquals", ["arn:aws:iam::*:user/P"], [USER], ["arn:aws:iam::1:1:user/P", "arn:aws:iam::1:user/Q"]),
    ("ArnLike", ["*"], [USER, "anything"], []),
]  # fmt: skip
NEGATIONS = {
    "StringNotEquals": "StringEquals",
    "StringNotEqualsIgnoreCase": "StringEqualsIgnoreCase",
    "StringNotLike": "StringLike",
    "NumericNotEquals": "NumericEquals",
    "DateNotEquals": "DateEquals",
    "NotIpAddress": "IpAddress",
    "ArnNotEquals": "ArnEquals",
    "ArnNotLike": "ArnLike",
}
ROWS = [
    (operator, values, value, matches)
    for operator, values, good, bad in TABLE
    for value, matches in [*((each, True) for each in good), *((each, False) for each in bad)]
]


@pytest.mark.parametrize(("operator", "values", "value", "matches"), ROWS)
def test_operator(operator: str, values: list[str], value: str, matches: bool) -> None:
    """The operator, its negation where there is one, with set prefixes and the suffix, in both effects."""
    names = [operator, *(name for name, positive in NEGATIONS.items() if positive == operator)]
    if operator.startswith("Arn"):
        # The two spellings mean the same.
        names = ["ArnEquals", "ArnLike", "ArnNotEquals", "ArnNotLike"]
    for name in names:
        expected = matches is not (name in NEGATIONS)
        for prefix, suffix in itertools.product(("", "ForAllValues:", "ForAnyValue:"), ("", "IfExists")):
            for allows in (True, False):
                assert holds(prefix + name + suffix, values, value, allows=allows) is expected
                in_list = expected and bool(prefix or not allows)
                assert holds(prefix + name + suffix, values, (value,), allows=allows) is in_list


def test_the_table_is_complete() -> None:
    """Every operator of the language has rows."""
    assert {row[0] for row in TABLE} | set(NEGATIONS) == set(FAMILIES)


VALUE_OF = {
    "String": "a",
    "Numeric": "1",
    "Date": "2026",
    "Bool": "true",
    "Binary": "AAEC",
    "Ip": "10.0.0.0/8",
    "NotIp": "10.0.0.0/8",
    "Arn": USER,
}


@pytest.mark.parametrize("absent", [None, ()])
@pytest.mark.parametrize("name", sorted(FAMILIES))
def test_absent_key(name: str, absent: ContextValue | None) -> None:
    """The table of absent keys: plain false, negated true, IfExists true, ForAllValues true, ForAnyValue false."""
    values = [next(value for start, value in VALUE_OF.items() if name.startswith(start))]
    negated = name in NEGATIONS
    for allows in (True, False):
        assert holds(name, values, absent, allows=allows) is negated
        assert holds(f"{name}IfExists", values, absent, allows=allows)
        assert holds(f"ForAllValues:{name}", values, absent, allows=allows)
        assert holds(f"ForAllValues:{name}IfExists", values, absent, allows=allows)
        assert not holds(f"ForAnyValue:{name}", values, absent, allows=allows)
        assert holds(f"ForAnyValue:{name}IfExists", values, absent, allows=allows)


@pytest.mark.parametrize(
    ("values", "absent", "present"),
    [
        (["true"], True, False),
        (["false"], False, True),
        (["TRUE"], True, False),
        (["true", "false"], True, True),
    ],
)
def test_null(values: list[str], absent: bool, present: bool) -> None:
    """`true` is for absent keys, an empty list among them; `false` for present ones, whatever they hold."""
    assert holds("Null", values, None) is absent
    assert holds("Null", values, ()) is absent
    for value in ("", "x", ("x",), ("x", "y"), ("",)):
        assert holds("Null", values, value) is present


@pytest.mark.parametrize(
    ("operator", "request_values", "expected"),
    [
        ("ForAllValues:StringEquals", ("a", "b"), True),
        ("ForAllValues:StringEquals", ("a", "c"), False),
        ("ForAllValues:StringNotEquals", ("c", "d"), True),
        ("ForAllValues:StringNotEquals", ("a", "c"), False),
        ("ForAnyValue:StringEquals", ("c", "a"), True),
        ("ForAnyValue:StringEquals", ("c", "d"), False),
        ("ForAnyValue:StringNotEquals", ("a", "c"), True),
        ("ForAnyValue:StringNotEquals", ("a", "b"), False),
    ],
)
def test_lists(operator: str, request_values: tuple[str, ...], expected: bool) -> None:
    """The test is made per value of the request, against all values of the policy; then all or any decides."""
    assert holds(operator, ["a", "b"], request_values) is expected
    assert holds(operator, ["a", "b"], request_values, allows=False) is expected


@pytest.mark.parametrize(
    ("operator", "request_values", "in_allow", "in_deny"),
    [
        ("StringEquals", ("a",), False, True),
        ("StringEquals", ("a", "b"), False, True),
        ("StringEquals", ("a", "c"), False, True),
        ("StringEquals", ("c", "d"), False, False),
        ("StringEqualsIfExists", ("a", "b"), False, True),
        ("StringNotEquals", ("c", "d"), False, True),
        ("StringNotEquals", ("a", "c"), False, True),
        ("StringNotEquals", ("a", "b"), False, False),
    ],
)
def test_plain_operator_on_a_list(
    operator: str, request_values: tuple[str, ...], in_allow: bool, in_deny: bool
) -> None:
    """Undefined by AWS: in an Allow it fails, in a Deny one value that passes is enough."""
    assert holds(operator, ["a", "b"], request_values) is in_allow
    assert holds(operator, ["a", "b"], request_values, allows=False) is in_deny


def test_negated_is_nor() -> None:
    """One of several policy values that matches makes a negated operator fail."""
    assert not holds("StringNotEquals", ["a", "b"], "b")
    assert holds("StringNotEquals", ["a", "b"], "c")
    assert not holds("ArnNotLike", [USER, "arn:aws:iam::*:role/*"], "arn:aws:iam::1:role/r")


@pytest.mark.parametrize(
    "operator",
    [
        *("", "stringequals", "StringEqual", "Stringequals", "StringEqualsIfexists", "IfExists", "StringEquals "),
        *("BinaryNotEquals", "BoolNot", "NullIfExists", "ForAllValues:Null", "ForAnyValue:Null"),
        *("ForAllValues:", "ForAllValue:StringEquals", "forallvalues:StringEquals", "ForAllValues:ForAnyValue:Bool"),
        *("StringEqualsIfExistsIfExists", "NumericLike", "DateLike", "\nNull", "Null\n", "A" * 10_000),
    ],
)  # fmt: skip
def test_unknown_operator(operator: str) -> None:
    """The names are exact."""
    with pytest.raises(UnknownOperatorError):
        compile_condition(operator, "aws:Key", ["true"], variables=True, allows=True)


@pytest.mark.parametrize(
    ("operator", "value"),
    [
        *(("NumericEquals", each) for each in ("", "x", "1e3", "0x1", "1.", ".5", "1 ", "1\n", "١", "${aws:x}")),
        ("NumericEquals", "9" * 33),
        *(("DateLessThan", each) for each in ("", "x", "2026-13", "2026-02-30", "2026-1-1", "0000", "20260101T00:00Z")),
        *(("DateLessThan", each) for each in ("2026-01-01T00:00:00", "2026-01-01T24:00Z", "2026-01-01T00:60Z")),
        *(("DateLessThan", each) for each in ("2026-01-01T00:00:60Z", "2026-01-01 00:00Z", "2026-01-01T00:00+24:00")),
        *(("DateLessThan", each) for each in ("2026-01-01T00Z", "-1", "${aws:CurrentTime}", "2026-01-01Z")),
        *(("Bool", each) for each in ("", "yes", "1", "0", "true ")),
        *(("Null", each) for each in ("", "yes", "1", "${aws:x}")),
        *(("BinaryEquals", each) for each in ("A", "AAE", "A A=", "****", "é", "AA=A")),
        *(("IpAddress", each) for each in ("", "x", "10.0.0.0/33", "10.0.0/8", "10.0.0.0/255.0.0.0", "10.0.0.0/-1")),
        *(("IpAddress", each) for each in ("::1/129", "::ffff:10.0.0.0/95", "fe80::1%eth0", "10.0.0.1/", "010.0.0.1")),
        *(("IpAddress", each) for each in ("10.0.0.*", "*", "${aws:SourceIp}", "10", ":", "10.0.0.0/8/8")),
    ],
)  # fmt: skip
def test_bad_value(operator: str, value: str) -> None:
    """Values that their operator couldn't compare are refused, alone and among good ones."""
    good = "true" if operator in ("Bool", "Null") else next(v for k, v in VALUE_OF.items() if operator.startswith(k))
    for values in ([value], [good, value]):
        with pytest.raises(ConditionValueError):
            compile_condition(operator, "aws:Key", values, variables=True, allows=True)


@pytest.mark.parametrize(
    "value", ["", "x", "**", "arn:aws:iam::*", "arn:aws:iam:x", "a*:aws:iam::1:x", "arn::iam::1:x"]
)
def test_bad_arn(value: str) -> None:
    """ARN operators compare part by part, so their values have six."""
    for operator in ("ArnEquals", "ArnLike", "ArnNotEquals", "ForAnyValue:ArnNotLikeIfExists"):
        with pytest.raises(ConditionArnError):
            compile_condition(operator, "aws:Key", [USER, value], variables=True, allows=True)


def test_key_names_are_case_insensitive() -> None:
    """The policy may write a key in any case; contexts have it in lower case."""
    condition = compile_condition(
        "StringEquals", "KMS:EncryptionContext:AppName", ["x"], variables=True, allows=True
    )
    assert condition.holds({"kms:encryptioncontext:appname": "x"})
    assert not condition.holds({"kms:encryptioncontext:appname": "X"})
