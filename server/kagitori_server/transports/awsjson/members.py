"""JSON <-> the members and shapes of the model, compiled once per shape at start (AWS JSON 1.1).

Requests: blobs are base64 by the letter of RFC 4648, times are seconds since the epoch or ISO 8601 in UTC. A member
that is null counts as absent, and one that the shape doesn't have is ignored, as AWS does. Whether what is left has
the right types is for the shape to say. Answers: None is left out, times have milliseconds.
"""

from __future__ import annotations

import binascii
import dataclasses
import datetime as dt
import enum
import re
import types
import typing
from collections.abc import Callable, Mapping
from json.encoder import encode_basestring_ascii
from typing import Any

from kagitori_server.model.errors import SerializationException

Read = Callable[[Mapping[str, Any]], dict[str, Any]]
"""JSON object -> members by snake_case name. Raises SerializationException."""
Write = Callable[[Any], dict[str, Any]]
"""Answer -> JSON object."""
_Convert = Callable[[Any], Any]

_ISO = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,9})?Z")


def aws_name(member: str, irregular: Mapping[str, str]) -> str:
    """A member's name in AWS's API: `key_id` -> `KeyId`."""
    return irregular.get(member) or "".join(part[:1].upper() + part[1:] for part in member.split("_"))


def object_reader(shape: type[Any], irregular: Mapping[str, str]) -> Read:
    """Reads objects into members of `shape`. Raises TypeError for a member of a type that JSON can't hold."""
    members = {
        aws_name(name, irregular): (name, _reader(hint, irregular)) for name, hint in member_types(shape).items()
    }

    def read(sent: Mapping[str, Any]) -> dict[str, Any]:
        found = {}
        for name, value in sent.items():
            known = members.get(name)
            if known is not None and value is not None:
                member, convert = known
                found[member] = value if convert is None else convert(value)
        return found

    return read


def object_writer(
    shape: type[Any], irregular: Mapping[str, str], absent_if_empty: frozenset[str] = frozenset()
) -> Write:
    """Writes instances of `shape`; lists of the names `absent_if_empty` only with something in them.

    Raises TypeError for a member of a type that JSON can't hold.
    """
    members = [
        (name, aws_name(name, irregular), _writer(hint, irregular, absent_if_empty), name in absent_if_empty)
        for name, hint in member_types(shape).items()
    ]

    def write(answer: Any) -> dict[str, Any]:
        found = {}
        for member, name, convert, never_empty in members:
            value = getattr(answer, member)
            if value is not None and (value or not never_empty):
                found[name] = value if convert is None else convert(value)
        return found

    return write


def text_writer(shape: type[Any], irregular: Mapping[str, str]) -> Callable[[Any], str] | None:
    """Writes instances of a shape that has texts and blobs alone, as the JSON text of what `object_writer` makes of
    them, in half of the time; None for other shapes."""
    members: list[tuple[str, str, _Convert]] = []
    for name, hint in member_types(shape).items():
        if hint is not bytes and hint is not str and not (isinstance(hint, type) and issubclass(hint, enum.StrEnum)):
            return None
        label = f'"{aws_name(name, irregular)}":'
        members.append((name, label, _quoted_blob if hint is bytes else encode_basestring_ascii))

    def write(answer: Any) -> str:
        parts = []
        for member, label, quoted in members:
            value = getattr(answer, member)
            if value is not None:
                parts.append(label + quoted(value))
        return "{" + ",".join(parts) + "}"

    return write


def member_types(shape: type[Any]) -> dict[str, Any]:
    """The types of a shape's members by name, without None. Raises TypeError for a union of others."""
    hints = typing.get_type_hints(shape)
    return {field.name: _without_none(hints[field.name]) for field in dataclasses.fields(shape)}


def _without_none(hint: Any) -> Any:
    if typing.get_origin(hint) not in (types.UnionType, typing.Union):
        return hint
    inner = [argument for argument in typing.get_args(hint) if argument is not types.NoneType]
    if len(inner) != 1:
        raise TypeError(hint)
    return inner[0]


def _reader(hint: Any, irregular: Mapping[str, str]) -> _Convert | None:
    """What makes a JSON value one that the shape takes; None where it is one already."""
    if hint is bytes:
        return read_blob
    if hint is float:
        return read_time
    if _is_plain(hint):
        return None
    if dataclasses.is_dataclass(hint):
        read = object_reader(typing.cast("type[Any]", hint), irregular)
        # What is no object is for the shape to refuse, which knows where it stands.
        return lambda value: read(value) if type(value) is dict else value
    inner = _inner(hint)
    convert = _reader(inner, irregular)
    if convert is None:
        return None
    if typing.get_origin(hint) is tuple:
        return lambda value: [convert(item) for item in value] if type(value) is list else value
    return lambda value: {key: convert(item) for key, item in value.items()} if type(value) is dict else value


def _writer(hint: Any, irregular: Mapping[str, str], absent_if_empty: frozenset[str]) -> _Convert | None:
    if hint is bytes:
        return _write_blob
    if hint is float:
        return _write_time
    if _is_plain(hint):
        return None
    if dataclasses.is_dataclass(hint):
        return object_writer(typing.cast("type[Any]", hint), irregular, absent_if_empty)
    convert = _writer(_inner(hint), irregular, absent_if_empty)
    if typing.get_origin(hint) is tuple:
        return list if convert is None else lambda values: [convert(value) for value in values]
    return dict if convert is None else lambda values: {name: convert(value) for name, value in values.items()}


def _is_plain(hint: Any) -> bool:
    return hint in (str, int, bool) or (isinstance(hint, type) and issubclass(hint, enum.StrEnum))


def _inner(hint: Any) -> Any:
    """The type of the elements of a list, or of the values of a map."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is tuple and len(arguments) == 2 and arguments[1] is Ellipsis:
        return arguments[0]
    if isinstance(origin, type) and issubclass(origin, Mapping) and arguments[0] is str:
        return arguments[1]
    raise TypeError(hint)


def read_blob(value: Any) -> bytes:
    """A blob. Raises SerializationException for what isn't base64."""
    if type(value) is str:
        try:
            return binascii.a2b_base64(value, strict_mode=True)
        except ValueError:
            # Another name of binascii.Error, and what isn't ASCII. No cause: it might quote the value.
            pass
    raise SerializationException("A blob must be a text in base64.")


def _write_blob(value: bytes) -> str:
    return binascii.b2a_base64(value, newline=False).decode("ascii")


def _quoted_blob(value: bytes) -> str:
    return f'"{_write_blob(value)}"'


def read_time(value: Any) -> Any:
    """A time, seconds since the epoch; what is no text is left as it is. Raises SerializationException."""
    if type(value) is not str:
        return value
    if _ISO.fullmatch(value):
        try:
            # Python keeps six decimals of a second.
            moment = dt.datetime.fromisoformat(value[:19]).replace(tzinfo=dt.UTC)
            return moment.timestamp() + float("0" + value[19:-1])
        except ValueError:
            pass
    raise SerializationException("A time must be seconds since the epoch, or a text like 2026-01-01T00:00:00Z.")


def _write_time(value: float) -> float:
    return round(value, 3)
