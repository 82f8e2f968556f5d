"""Requests and answers as CloudTrail writes them: JSON in camelCase, dates in words, and never a byte string.

Takes what the rest of the server speaks (mappings and frozen dataclasses with snake_case names) in one pass.
"""

from __future__ import annotations

import dataclasses
import enum
import math
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from json.encoder import encode_basestring_ascii as quoted
from typing import Any

OMITTED = "kagitoriOmitted"
_OMITTED = f'"{OMITTED}":{{"limitBytes":%d,"members":{{%s}}}}'
"""Stands in an object that would be too long; names what was left out and how many bytes that was."""

_MAX_DEPTH = 12
_SNAKE_CASE = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
_CAPITAL = re.compile(r"[A-Z]")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

_ODD_NAMES = {"aws_account_id": "aWSAccountId"}
"""CloudTrail lowers only the first letter of the API's name (`AWSAccountId`)."""
_OF_ODD_NAMES = {odd: name for name, odd in _ODD_NAMES.items()}

_VERBATIM_MAPS = frozenset(
    {
        "encryption_context",
        "source_encryption_context",
        "destination_encryption_context",
        "encryption_context_equals",
        "encryption_context_subset",
        "tag_claims",
        "recipient",
    }
)
"""The members whose keys are the caller's data, not names of the API; or names that CloudTrail spells its own way."""

_CONDITION_VALUES = "condition_values"
"""The member whose keys are names of condition keys, and whose values are structures."""


def render_members(members: Mapping[str, object], limit_bytes: int) -> str:
    """An object of at most `limit_bytes` ASCII characters (the marker aside), members in the given order.

    Members that are None are left out, as the API does. An object that would be longer loses its longest
    members and gains a marker that names them. Raises TypeError for anything that must not get into a record
    (bytes, sets, unknown objects, secret fields of dataclasses), ValueError for malformed names and dates
    without a zone.
    """
    parts = [_member(name, value, 0) for name, value in members.items() if value is not None]
    text = "{" + ",".join(parts) + "}"
    return text if len(text) <= limit_bytes else _shortened(parts, limit_bytes)


@lru_cache(maxsize=1024)
def camel_case(name: str) -> str:
    """The name CloudTrail gives to a member, `keyId` for `key_id`. Raises ValueError if not snake_case."""
    if not _SNAKE_CASE.fullmatch(name):
        raise ValueError("a member's name must be in snake_case")
    first, *others = name.split("_")
    return _ODD_NAMES.get(name) or first + "".join(map(str.capitalize, others))


def read_members(shown: Mapping[str, object]) -> dict[str, object]:
    """What `render_members` wrote, with snake_case names again, all the way down; dates stay text."""
    return {snake_case(name): _read(snake_case(name), value) for name, value in shown.items() if name != OMITTED}


def _read(name: str, value: object) -> object:
    if isinstance(value, list):
        return [_read("", item) for item in value]
    if not isinstance(value, dict) or name in _VERBATIM_MAPS:
        return value
    if name == _CONDITION_VALUES:
        return {key: read_members(item) for key, item in value.items()}
    return read_members(value)


@lru_cache(maxsize=1024)
def snake_case(name: str) -> str:
    """The member that CloudTrail calls so: the reverse of `camel_case`."""
    return _OF_ODD_NAMES.get(name) or _CAPITAL.sub(lambda found: f"_{found.group().lower()}", name)


def render_date(moment: datetime) -> str:
    """A date inside parameters: `Aug 10, 2025, 10:38:27 PM`, in UTC whatever zone it came in."""
    if moment.tzinfo is None:
        raise ValueError("a date in a record needs a zone")
    utc = moment.astimezone(UTC)
    hour = utc.hour % 12 or 12
    half = "PM" if utc.hour >= 12 else "AM"
    return f"{_MONTHS[utc.month - 1]} {utc.day}, {utc.year}, {hour}:{utc.minute:02d}:{utc.second:02d} {half}"


def _member(name: str, value: object, depth: int) -> str:
    if type(value) is str:
        return _label(name) + quoted(value)
    if name in _VERBATIM_MAPS:
        return _label(name) + _verbatim_map(value)
    if name == _CONDITION_VALUES and isinstance(value, Mapping):
        pairs = [f"{quoted(str(key))}:{_value(item, depth + 1)}" for key, item in value.items()]
        return _label(name) + "{" + ",".join(pairs) + "}"
    return _label(name) + _value(value, depth)


@lru_cache(maxsize=1024)
def _label(name: str) -> str:
    return f'"{camel_case(name)}":'


def _verbatim_map(value: object) -> str:
    if not isinstance(value, Mapping):
        raise TypeError("what has names in it that are no members of ours is a mapping")
    pairs = []
    for key, text in value.items():
        if not isinstance(key, str) or not isinstance(text, str):
            raise TypeError("a mapping with such names holds strings only")
        pairs.append(f"{quoted(key)}:{quoted(text)}")
    return "{" + ",".join(pairs) + "}"


def _value(value: object, depth: int) -> str:
    if depth > _MAX_DEPTH:
        raise ValueError("a record's parameters are nested too deeply")
    if isinstance(value, enum.Enum):
        value = value.value
    scalar = _scalar(value)
    if scalar is not None:
        return scalar
    if isinstance(value, (list, tuple)):
        return "[" + ",".join([_value(item, depth + 1) for item in value]) + "]"
    if isinstance(value, Mapping):
        pairs = [_member(name, item, depth + 1) for name, item in value.items() if item is not None]
        return "{" + ",".join(pairs) + "}"
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        items = _set_fields(value, dataclasses.fields(value))
        return "{" + ",".join([_member(name, item, depth + 1) for name, item in items]) + "}"
    # The type alone: the value is exactly what must not be shown.
    raise TypeError(f"a {type(value).__name__} must not get into an audit record")


def _scalar(value: object) -> str | None:
    """The JSON of a scalar; None for what isn't one."""
    if value is None:
        return "null"
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError("a time in a record must be finite")
        # Shapes hold times as seconds since the epoch, and have no other numbers with a fraction.
        return quoted(render_date(datetime.fromtimestamp(value, UTC)))
    if isinstance(value, datetime):
        return quoted(render_date(value))
    return None


def _set_fields(value: object, fields: tuple[dataclasses.Field[Any], ...]) -> Iterator[tuple[str, object]]:
    """The members of a dataclass that are set, and lists with something in them. Fields kept out of its repr are
    secrets and are refused."""
    for field in fields:
        item = getattr(value, field.name)
        if item is None or item == ():
            continue
        if not field.repr:
            raise TypeError(f"{type(value).__name__}.{field.name} must not get into an audit record")
        yield field.name, item


def _shortened(parts: list[str], limit_bytes: int) -> str:
    kept = dict(enumerate(parts))
    omitted = []
    size = sum(map(len, parts)) + len(parts) + 1
    for index in sorted(kept, key=lambda index: len(parts[index]), reverse=True):
        if size <= limit_bytes:
            break
        part = kept.pop(index)
        size -= len(part) + 1
        omitted.append(f"{part.partition(':')[0]}:{len(part)}")
    marker = _OMITTED % (limit_bytes, ",".join(omitted))
    return "{" + ",".join([*kept.values(), marker]) + "}"
