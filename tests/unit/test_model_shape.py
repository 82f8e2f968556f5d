"""Shapes: each kind of constraint at its edge, types taken strictly, all violations at once, secrets withheld."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import pytest

from kagitori_server.model.errors import SerializationException, ValidationException
from kagitori_server.model.shape import Shape, camel, member


class Colour(StrEnum):
    """An enumeration."""

    RED = "RED"
    BLUE = "BLUE"


@dataclass(frozen=True, slots=True, kw_only=True)
class Inner:
    """A structure within."""

    name: str = member(required=True, minimum=1, maximum=3)
    more: str | None = member()


@dataclass(frozen=True, slots=True, kw_only=True)
class Outer:
    """One member of every kind."""

    text: str = member(required=True, minimum=2, maximum=4, pattern="[a-z]+")
    secret: str | None = member(maximum=2, sensitive=True)
    blob: bytes | None = member(minimum=1, maximum=2)
    number: int | None = member(minimum=1, maximum=9)
    flag: bool = member(default=False)
    when: float | None = member()
    colour: Colour | None = member()  # noqa: RUF009 - member() makes dataclass fields
    names: tuple[str, ...] = member(minimum=1, maximum=2, items_minimum=1, items_maximum=2, default=())
    pairs: Mapping[str, str] = member(items_maximum=2, default={})
    inner: Inner | None = member()  # noqa: RUF009 - member() makes dataclass fields
    inners: tuple[Inner, ...] = member(default=())


SHAPE = Shape(Outer)


def _build(**values: Any) -> Outer:
    return SHAPE.build({"text": "abc", **values})


@pytest.mark.parametrize(
    "values",
    [
        {"text": "ab"}, {"text": "abcd"}, {"secret": ""}, {"blob": b"x"}, {"blob": b"xx"}, {"number": 1},
        {"number": 9}, {"flag": True}, {"when": 0}, {"when": 253_402_300_799}, {"when": 1.5}, {"colour": "RED"},
        {"names": ["a", "bb"]}, {"names": ("a",)}, {"pairs": {}}, {"pairs": {"": ""}}, {"pairs": {"a": "1", "b": "2"}},
        {"inner": {"name": "x"}}, {"inners": []},
        {"inners": [{"name": "x"}, {"name": "y", "more": ""}]}, {"number": None, "inner": None},
    ],
)
def test_what_fits(values: dict[str, Any]) -> None:
    """Exactly at the edge."""
    _build(**values)


@dataclass(frozen=True, slots=True, kw_only=True)
class Described:
    """A member whose pattern has classes of characters."""

    text: str = member(required=True, pattern=r"[\w\s]+\d")


@pytest.mark.parametrize("text", ["\u00e4 1", "a\u3000 1", "a\u20281", "a\x1c1", "a\x851", "a \u0661"])
def test_classes_of_characters_are_of_ascii(text: str) -> None:
    """Separators of lines among them, which some logs and terminals act upon."""
    assert Shape(Described).build({"text": "a_\t\n 1"}).text
    with pytest.raises(ValidationException, match="regular expression"):
        Shape(Described).build({"text": text})


@pytest.mark.parametrize(
    ("values", "field", "text"),
    [
        ({"text": None}, "text", "Value null at 'text' failed to satisfy constraint: Member must not be null"),
        ({"text": "a"}, "text", "Value 'a' at 'text' failed to satisfy constraint: Member must have length greater"),
        ({"text": "abcde"}, "text", "less than or equal to 4"), ({"text": "abC"}, "text", "pattern: [a-z]+"),
        ({"text": "ab\n"}, "text", "pattern"), ({"secret": "xyz"}, "secret", "Value at 'secret' failed"),
        ({"secret": "\x00"}, "secret", "U+0000"), ({"blob": b""}, "blob", "Value at 'blob' failed"),
        ({"blob": b"xyz"}, "blob", "less than or equal to 2"), ({"number": 0}, "number", "value greater than"),
        ({"number": 10}, "number", "value less than or equal to 9"), ({"number": 2**70}, "number", "value less than"),
        ({"when": -1}, "when", "between the years"), ({"when": float("nan")}, "when", "between the years"),
        ({"when": float("inf")}, "when", "between the years"), ({"colour": "red"}, "colour", "[RED, BLUE]"),
        ({"names": []}, "names", "length greater than or equal to 1"), ({"names": ["a"] * 3}, "names", "equal to 2"),
        ({"names": ["a", "bbb"]}, "names[1]", "at 'names.2.member'"),
        ({"pairs": dict.fromkeys("abc", "")}, "pairs", "to 2"),
        ({"pairs": {"a\x00": ""}}, "pairs", "U+0000"), ({"pairs": {"a": "\x00"}}, "pairs", "U+0000"),
        ({"inner": {}}, "inner.name", "at 'inner.name'"),
        ({"inners": [{"name": "x"}, {"name": ""}]}, "inners[1].name", ""),
    ],
)
def test_what_breaks_a_constraint(values: dict[str, Any], field: str, text: str) -> None:
    """One violation, by its path, in AWS's words."""
    with pytest.raises(ValidationException) as caught:
        SHAPE.build({"text": "abc", **values})
    assert caught.value.message.startswith("1 validation error detected: Value")
    assert text in caught.value.message
    assert [violation.field for violation in caught.value.violations] == [field]


@pytest.mark.parametrize(
    "values",
    [
        {"text": b"abc"}, {"text": 3}, {"text": ["abc"]}, {"secret": "\ud800"}, {"blob": "x"},
        {"blob": bytearray(b"x")},
        {"number": True}, {"number": 1.0}, {"number": "1"}, {"flag": 1}, {"flag": "true"}, {"flag": None, "x": 1},
        {"when": "now"}, {"when": True}, {"colour": 1}, {"names": "ab"}, {"names": [1]}, {"names": {"a": 1}},
        {"pairs": ["a"]}, {"pairs": {"a": 1}}, {"pairs": {1: "a"}}, {"pairs": {"a": "\ud800"}}, {"inner": "x"},
        {"inner": {"name": "x", "other": 1}}, {"inners": {"name": "x"}}, {"inners": ["x"]}, {"unknown": 1},
        {"TEXT": "abc"}, {"__init__": 1},
    ],
)
def test_what_is_of_another_type(values: dict[Any, Any]) -> None:
    """Nothing is converted: it isn't the request it should be."""
    with pytest.raises(SerializationException):
        SHAPE.build({"text": "abc", **values})


def test_all_at_once_but_not_without_end() -> None:
    """Every violation counts, ten are told; no value of a secret is."""
    with pytest.raises(ValidationException) as caught:
        SHAPE.build({"text": "A", "secret": "HIDDEN", "number": 0})
    assert caught.value.message.startswith("3 validation errors detected: ")
    assert "HIDDEN" not in caught.value.message
    with pytest.raises(ValidationException) as caught:
        _build(inners=[{"name": ""}] * 500)
    assert caught.value.message.startswith("500 validation errors detected: ")
    assert len(caught.value.violations) == 10
    assert len(caught.value.message) < 3000


def test_long_and_strange_values_are_shortened() -> None:
    """A message stays readable whatever was sent."""
    with pytest.raises(ValidationException) as caught:
        SHAPE.build({"text": "\x1b" * 100_000})
    assert len(caught.value.message) < 400
    assert "\x1b" not in caught.value.message


def test_what_is_built() -> None:
    """Defaults, tuples, enumerations, floats; nothing shared between two requests."""
    first, second = _build(), _build(names=["a"], colour="BLUE", when=3, inners=[{"name": "x"}])
    assert (first.flag, first.names, first.pairs, first.colour, first.inners) == (False, (), {}, None, ())
    assert (second.names, second.colour, second.when) == (("a",), Colour.BLUE, 3.0)
    assert second.inners == (Inner(name="x"),)
    assert first.pairs is not _build().pairs
    assert "secret" not in repr(_build(secret="x"))


def test_names_as_aws_writes_them() -> None:
    """Camel case, index and path kept."""
    assert [camel(name) for name in ("key_id", "tags[3].tag_key", "limit", "bypass_policy_lockout_safety_check")] == [
        "keyId", "tags[3].tagKey", "limit", "bypassPolicyLockoutSafetyCheck"
    ]
