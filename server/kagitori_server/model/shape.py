"""Shapes: requests and answers as frozen dataclasses whose fields carry the AWS model's constraints.

A shape is declared once and everything is derived from it: transports decode into and encode from it by field
name, `Shape.build` checks every constraint and answers all violations at once in AWS's words, and the audit record
shows members of it by name. Declared with `member(...)`:

    @dataclass(frozen=True, slots=True, kw_only=True)
    class EncryptRequest:
        key_id: str = member(required=True, minimum=1, maximum=2048)
        plaintext: bytes = member(required=True, minimum=1, maximum=4096, sensitive=True)
"""

from __future__ import annotations

import dataclasses
import enum
import re
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from kagitori_server.model.arn import shortened
from kagitori_server.model.errors import FieldViolation, SerializationException, ValidationException

_METADATA_KEY = "constraint"
_INDEX = re.compile(r"\[([0-9]+)\]")
_MAX_REPORTED = 10
_MOST_ELEMENTS = 1_000
"""Of a list or map that the model doesn't bound. No operation accepts as many, and looking at each costs time."""

S = TypeVar("S")


@dataclass(frozen=True, slots=True)
class Constraint:
    """What the AWS model says of one member. Lengths are characters, bytes, items or the number itself."""

    required: bool
    minimum: int | None
    maximum: int | None
    pattern: re.Pattern[str] | None
    items_minimum: int | None
    items_maximum: int | None
    sensitive: bool
    total_maximum: int | None = None


def member(
    *,
    required: bool = False,
    minimum: int | None = None,
    maximum: int | None = None,
    pattern: str | None = None,
    items_minimum: int | None = None,
    items_maximum: int | None = None,
    total_maximum: int | None = None,
    sensitive: bool = False,
    default: Any = None,
) -> Any:
    """A field of a shape.

    `minimum` and `maximum` bound a text's characters, a blob's bytes, a number's value, or each element of a list;
    `items_minimum` and `items_maximum` bound how many elements a list or map has, `total_maximum` the characters that
    all keys and values of a map of strings have together, which the AWS model doesn't. `sensitive` keeps the value
    out of reprs and messages. `default` stands for an absent member that isn't required.
    """
    # As in the AWS model, `\w`, `\d` and `\s` stand for characters of ASCII.
    compiled = re.compile(pattern, re.ASCII) if pattern else None
    constraint = Constraint(
        required, minimum, maximum, compiled, items_minimum, items_maximum, sensitive, total_maximum
    )
    metadata = {_METADATA_KEY: constraint}
    if required:
        return dataclasses.field(metadata=metadata, repr=not sensitive)
    if isinstance(default, dict):
        return dataclasses.field(default_factory=default.copy, metadata=metadata, repr=not sensitive)
    return dataclasses.field(default=default, metadata=metadata, repr=not sensitive)


def camel(name: str) -> str:
    """The member's name as AWS writes it in messages: `key_id` -> `keyId`."""
    head, *rest = name.split("_")
    return head + "".join(part.capitalize() for part in rest)


def _shown(path: str) -> str:
    """A place in a request as AWS writes it: `tags[0].tag_key` -> `tags.1.member.tagKey`."""
    return _INDEX.sub(lambda found: f".{int(found[1]) + 1}.member", camel(path))


_Report = Callable[[str, Any, str], None]
_Check = Callable[[str, Any, _Report], Any]
"""(path, raw value, report) -> the value as the shape holds it; a violation is reported, not raised."""

_ABSENT = object()


class Shape(Generic[S]):
    """The compiled form of a shape class. Compile once (`Shape(cls)`) and keep it: it holds no state."""

    __slots__ = ("_members", "_names", "cls")

    def __init__(self, cls: type[S]) -> None:
        self.cls = cls
        hints = typing.get_type_hints(cls)
        self._members: tuple[tuple[str, bool, _Check], ...] = tuple(
            (field.name, field.metadata[_METADATA_KEY].required,
             _compile(hints[field.name], field.metadata[_METADATA_KEY]))
            for field in dataclasses.fields(cls)  # type: ignore[arg-type]  # S is any dataclass; typing can't say so
        )
        self._names = frozenset(name for name, _, _ in self._members)

    def build(self, values: Mapping[str, Any]) -> S:
        """Check `values` (members by name, absent ones left out) and make the request of them.

        Raises ValidationException naming each violated constraint, SerializationException for a value of the
        wrong type or a member that the shape doesn't have.
        """
        violations: list[tuple[FieldViolation, str]] = []

        count = 0

        def report(path: str, shown: Any, constraint: str) -> None:
            nonlocal count
            count += 1
            if count > _MAX_REPORTED:
                return
            value = "" if shown is _ABSENT else f" {_quoted(shown)}"
            text = f"Value{value} at '{_shown(path)}' failed to satisfy constraint: {constraint}"
            violations.append((FieldViolation(path, constraint), text))

        built = self._build(values, "", report)
        if violations:
            raise _validation(violations, count)
        return built

    def member(self, name: str, value: Any) -> Any:
        """One member's value as `build` would have it. Raises as `build` does, KeyError for a name that it hasn't."""
        violations: list[tuple[FieldViolation, str]] = []

        def report(path: str, _value: Any, constraint: str) -> None:
            violations.append((FieldViolation(path, constraint), f"'{_shown(path)}': {constraint}"))

        check = next((check for known, _, check in self._members if known == name), None)
        if check is None:
            raise KeyError(name)
        built = check(name, value, report)
        if violations:
            raise _validation(violations[:_MAX_REPORTED], len(violations))
        return built

    def _build(self, values: Mapping[str, Any], prefix: str, report: _Report) -> S:
        if not values.keys() <= self._names:
            unknown = min(str(name) for name in values.keys() - self._names)
            raise SerializationException(f"The request has no member {shortened(prefix + unknown)}.")
        arguments: dict[str, Any] = {}
        for name, required, check in self._members:
            value = values.get(name)
            if value is not None:
                arguments[name] = check(prefix + name, value, report)
            elif required:
                report(prefix + name, None, "Member must not be null")
                arguments[name] = None
        return self.cls(**arguments)


def _quoted(value: Any) -> str:
    return "null" if value is None else f"'{shortened(str(value))}'"


def _validation(shown: list[tuple[FieldViolation, str]], count: int) -> ValidationException:
    noun = "validation error" if count == 1 else "validation errors"
    message = f"{count} {noun} detected: " + "; ".join(text for _, text in shown)
    return ValidationException(message, violations=tuple(violation for violation, _ in shown))


def _wrong_type(path: str, wanted: str) -> SerializationException:
    return SerializationException(f"The member {camel(path)} must be {wanted}.")


def _compile(hint: Any, constraint: Constraint) -> _Check:
    """The check of one member, from its type and constraint."""
    origin = typing.get_origin(hint)
    if origin in (types.UnionType, typing.Union):
        inner = [argument for argument in typing.get_args(hint) if argument is not types.NoneType]
        return _compile(inner[0], constraint)
    if origin is tuple:
        return _list_check(_compile(typing.get_args(hint)[0], constraint), constraint)
    if origin is not None and issubclass(origin, Mapping):
        value = typing.get_args(hint)[1]
        return _map_check(constraint, None if value is str else Shape(typing.cast("type[Any]", value)))
    if dataclasses.is_dataclass(hint):
        return _structure_check(Shape(typing.cast("type[Any]", hint)))
    if issubclass(hint, enum.StrEnum):
        return _enum_check(hint)
    simple: dict[type, Callable[[Constraint], _Check]] = {
        str: _text_check, bytes: _blob_check, bool: _bool_check, int: _number_check, float: _time_check,
    }
    return simple[hint](constraint)


def _text_check(constraint: Constraint) -> _Check:
    minimum, maximum, pattern = constraint.minimum or 0, constraint.maximum, constraint.pattern
    hidden = constraint.sensitive

    def check(path: str, value: Any, report: _Report) -> Any:
        if type(value) is not str:
            raise _wrong_type(path, "a string")
        shown = _ABSENT if hidden else value
        if len(value) < minimum:
            report(path, shown, f"Member must have length greater than or equal to {minimum}")
        elif maximum is not None and len(value) > maximum:
            report(path, shown, f"Member must have length less than or equal to {maximum}")
        elif pattern is not None and not pattern.fullmatch(value):
            report(path, shown, f"Member must satisfy regular expression pattern: {pattern.pattern}")
        elif "\x00" in value:
            report(path, shown, "Member must not contain the character U+0000")
        elif not value.isascii() and _has_surrogate(value):
            raise SerializationException(f"The member {camel(path)} is not valid Unicode text.")
        return value

    return check


def _has_surrogate(value: str) -> bool:
    return any("\ud800" <= character <= "\udfff" for character in value)


def _blob_check(constraint: Constraint) -> _Check:
    minimum, maximum = constraint.minimum or 0, constraint.maximum

    def check(path: str, value: Any, report: _Report) -> Any:
        if type(value) is not bytes:
            raise _wrong_type(path, "binary data")
        if len(value) < minimum:
            report(path, _ABSENT, f"Member must have length greater than or equal to {minimum}")
        elif maximum is not None and len(value) > maximum:
            report(path, _ABSENT, f"Member must have length less than or equal to {maximum}")
        return value

    return check


def _number_check(constraint: Constraint) -> _Check:
    minimum, maximum = constraint.minimum, constraint.maximum

    def check(path: str, value: Any, report: _Report) -> Any:
        if type(value) is not int:
            raise _wrong_type(path, "a whole number")
        if minimum is not None and value < minimum:
            report(path, value, f"Member must have value greater than or equal to {minimum}")
        elif maximum is not None and value > maximum:
            report(path, value, f"Member must have value less than or equal to {maximum}")
        return value

    return check


def _bool_check(_: Constraint) -> _Check:
    def check(path: str, value: Any, _report: _Report) -> Any:
        if type(value) is not bool:
            raise _wrong_type(path, "true or false")
        return value

    return check


def _time_check(_: Constraint) -> _Check:
    def check(path: str, value: Any, report: _Report) -> Any:
        if type(value) not in (int, float):
            raise _wrong_type(path, "a time")
        if not 0 <= value <= _YEAR_9999:
            report(path, value, "Member must be a time between the years 1970 and 9999")
        return float(value)

    return check


_YEAR_9999 = 253_402_300_799


def _enum_check(values: type[enum.StrEnum]) -> _Check:
    by_value = {item.value: item for item in values}
    listed = ", ".join(by_value)

    def check(path: str, value: Any, report: _Report) -> Any:
        if not isinstance(value, str):
            raise _wrong_type(path, "a string")
        found = by_value.get(value)
        if found is None:
            report(path, value, f"Member must satisfy enum value set: [{listed}]")
        return found

    return check


def _count(path: str, size: int, constraint: Constraint, report: _Report) -> bool:
    """Whether a list or map has an allowed number of elements; reports when it hasn't."""
    minimum, maximum = constraint.items_minimum or 0, constraint.items_maximum or _MOST_ELEMENTS
    if size < minimum:
        report(path, _ABSENT, f"Member must have length greater than or equal to {minimum}")
        return False
    if size > maximum:
        report(path, _ABSENT, f"Member must have length less than or equal to {maximum}")
        return False
    return True


def _list_check(element: _Check, constraint: Constraint) -> _Check:
    def check(path: str, value: Any, report: _Report) -> Any:
        if not isinstance(value, list | tuple):
            raise _wrong_type(path, "a list")
        if not _count(path, len(value), constraint, report):
            return ()
        return tuple(element(f"{path}[{index}]", item, report) for index, item in enumerate(value))

    return check


def _map_check(constraint: Constraint, structure: Shape[Any] | None) -> _Check:
    """Of a map of strings; or of structures, which are made anew."""
    maximum = constraint.total_maximum
    text = _text_check(Constraint(False, 0, None, None, None, None, sensitive=True))
    element = None if structure is None else _structure_check(structure)

    def check(path: str, value: Any, report: _Report) -> Any:
        if type(value) is not dict and not isinstance(value, Mapping):
            raise _wrong_type(path, "a map of strings" if element is None else "a map of structures")
        if not _count(path, len(value), constraint, report):
            return value
        for key, item in value.items():
            # The usual case, without a call: texts of ASCII characters.
            if type(key) is not str or not key.isascii() or "\x00" in key:
                text(path, key, report)
            if element is None and (type(item) is not str or not item.isascii() or "\x00" in item):
                text(path, item, report)
        if maximum is not None and sum(map(len, value)) + sum(map(len, value.values())) > maximum:
            report(path, _ABSENT, f"Member must have length less than or equal to {maximum}")
        return value if element is None else {key: element(path, item, report) for key, item in value.items()}

    return check


def _structure_check(shape: Shape[Any]) -> _Check:
    def check(path: str, value: Any, report: _Report) -> Any:
        if not isinstance(value, Mapping):
            raise _wrong_type(path, "a structure")
        return shape._build(value, f"{path}.", report)  # noqa: SLF001 - the same class, one level deeper

    return check
