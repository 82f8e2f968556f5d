"""Protobuf <-> the members and shapes of the model, compiled once per message type at start.

Requests become members by snake_case name. What is given and what is left out:

- a scalar without `optional`: always given, since protobuf can't tell empty from absent;
- an enum: its AWS value; left out when UNSPECIFIED. A number that the contract doesn't list becomes a text of
  digits, and UNSPECIFIED within a list the text `UNSPECIFIED`: no enumeration has such a value;
- `optional` scalars, messages and members of a oneof: given when they were sent;
- lists and maps: given when not empty, so a required list without elements is a missing member. The `items` of a
  batch are always given;
- Timestamps and Durations: seconds as a float;
- fields of the contract that the shape doesn't have: given as they are, for the shape to refuse.

Answers are the reverse: None is left out, texts of enumerations become numbers. Any member of a shape that has no
field of a fitting type is a `ContractMismatch` when it is compiled, never in a call.
"""

from __future__ import annotations

import dataclasses
import enum
import types
import typing
from collections.abc import Callable, Mapping
from operator import attrgetter
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

from kagitori_server.model.call import Unread
from kagitori_server.model.errors import SerializationException
from kagitori_server.model.limits import BATCH_ITEMS_MAX
from kagitori_server.operations.shapes.crypto import BatchItemError, BatchOutcome, BatchResponse
from kagitori_server.transports.grpc.enumerations import enum_reader, enum_writer
from kagitori_server.transports.grpc.mismatch import ContractMismatch
from kagitori_server.transports.grpc.splitting import NoMessage, split
from kagitori_server.transports.grpc.times import (
    read_duration,
    read_timestamp,
    write_duration,
    write_timestamp,
)

Decoder = Callable[[bytes], dict[str, Any]]
"""Body -> members. Raises SerializationException."""
Encoder = Callable[[Any], bytes]
"""Answer -> body. Raises TypeError for an answer of another class."""
SINGLE_BYTES_MAX = 640 * 1024
"""Of the request of an operation, or of an item of a batch: the longest policies and attestation documents fit."""
_BATCH_FIELDS = 4 * BATCH_ITEMS_MAX
"""Of a batch that are looked at: more items than are allowed, so that it is refused."""
_Convert = Callable[[Any], Any]
_Read = Callable[[Message], dict[str, Any]]
_Write = Callable[[Any], dict[str, Any]]

_SCALARS: Mapping[int, type] = {
    FieldDescriptor.CPPTYPE_STRING: str,
    FieldDescriptor.CPPTYPE_BOOL: bool,
    FieldDescriptor.CPPTYPE_INT32: int,
    FieldDescriptor.CPPTYPE_INT64: int,
    FieldDescriptor.CPPTYPE_UINT32: int,
    FieldDescriptor.CPPTYPE_UINT64: int,
}
_TIMES: Mapping[str, tuple[_Convert, _Convert]] = {
    "google.protobuf.Timestamp": (read_timestamp, write_timestamp),
    "google.protobuf.Duration": (read_duration, write_duration),
}


def request_decoder(descriptor: Descriptor, shape: type[Any]) -> Decoder:
    """Reads bodies of `descriptor` into the members of `shape`. Raises ContractMismatch."""
    return _decoder(descriptor, _reader(descriptor, shape))


def batch_decoder(descriptor: Descriptor, item: type[Any]) -> Decoder:
    """Reads bodies of a batch, whose `items` are requests of the shape `item`. Raises ContractMismatch."""
    items = descriptor.fields_by_name.get("items")
    if items is None or items.message_type is None or not items.is_repeated:
        raise ContractMismatch(f"{descriptor.full_name} has no list of messages `items`.")
    read_item, number = request_decoder(items.message_type, item), items.number

    def decode(body: bytes) -> dict[str, Any]:
        try:
            return {"items": Unread(split(body, number, _BATCH_FIELDS), read_item)}
        except NoMessage:
            raise _no_message(descriptor) from None

    return decode


def response_encoder(descriptor: Descriptor, shape: type[Any]) -> Encoder:
    """Writes answers of the class `shape` as `descriptor`. Raises ContractMismatch."""
    return _encoder(descriptor, shape, _writer(descriptor, shape))


def batch_encoder(descriptor: Descriptor, item: type[Any]) -> Encoder:
    """Writes a BatchResponse whose outcomes hold answers of the class `item`. Raises ContractMismatch."""
    outcomes = descriptor.fields_by_name.get("outcomes")
    if outcomes is None or outcomes.message_type is None or not outcomes.is_repeated:
        raise ContractMismatch(f"{descriptor.full_name} has no list of messages `outcomes`.")
    write_response = _message_writer(outcomes.message_type, "response", item)
    write_error = _message_writer(outcomes.message_type, "error", BatchItemError)

    def write_outcome(outcome: BatchOutcome) -> dict[str, Any]:
        if outcome.error is not None:
            return {"error": write_error(outcome.error)}
        if type(outcome.response) is not item:
            raise TypeError(f"an outcome of {descriptor.full_name} holds no {item.__name__}")
        return {"response": write_response(outcome.response)}

    def write(response: BatchResponse) -> dict[str, Any]:
        return {"outcomes": [write_outcome(outcome) for outcome in response.outcomes]}

    return _encoder(descriptor, BatchResponse, write)


def _decoder(descriptor: Descriptor, read: _Read) -> Decoder:
    parse = GetMessageClass(descriptor).FromString

    def decode(body: bytes) -> dict[str, Any]:
        if len(body) > SINGLE_BYTES_MAX:
            raise SerializationException(f"A {descriptor.name} has at most {SINGLE_BYTES_MAX} bytes.")
        try:
            message = parse(body)
        except DecodeError:
            # The cause would quote nothing useful and might quote the body.
            raise _no_message(descriptor) from None
        return read(message)

    return decode


def _no_message(descriptor: Descriptor) -> SerializationException:
    return SerializationException(f"The body of the request is no {descriptor.name}.")


def _encoder(descriptor: Descriptor, shape: type[Any], write: _Write) -> Encoder:
    make = GetMessageClass(descriptor)

    def encode(answer: Any) -> bytes:
        if type(answer) is not shape:
            raise TypeError(f"{descriptor.full_name} is made of {shape.__name__}, not {type(answer).__name__}")
        body: bytes = make(**write(answer)).SerializeToString()
        return body

    return encode


def _reader(descriptor: Descriptor, shape: type[Any]) -> _Read:
    hints = _members(descriptor, shape)
    plans: dict[int, tuple[str, _Convert | None]] = {}
    always: dict[str, Any] = {}
    for field in descriptor.fields:
        if field.name not in hints:
            plans[field.number] = (field.name, None)
            continue
        plans[field.number] = (field.name, _field_reader(field, hints[field.name]))
        if not (field.is_repeated or field.has_presence or field.enum_type):
            always[field.name] = field.default_value

    def read(message: Message) -> dict[str, Any]:
        members = always.copy()
        for field, value in message.ListFields():
            name, convert = plans[field.number]
            if convert is not None:
                value = convert(value)  # noqa: PLW2901 - hot path
                if value is None:
                    continue
            members[name] = value
        return members

    return read


def _writer(descriptor: Descriptor, shape: type[Any]) -> _Write:
    hints = _members(descriptor, shape)
    names = tuple(hints)
    values = _getter(names)
    converters = tuple(
        (name, convert)
        for name, hint in hints.items()
        if (convert := _field_writer(descriptor.fields_by_name[name], hint)) is not None
    )

    def write(answer: Any) -> dict[str, Any]:
        members = dict(zip(names, values(answer)))  # noqa: B905 - hot path; the getter is made of the names
        for name, convert in converters:
            value = members[name]
            # Protobuf's constructors leave out what is None.
            if value is not None:
                members[name] = convert(value)
        return members

    return write


def _getter(names: tuple[str, ...]) -> Callable[[Any], tuple[Any, ...]]:
    """The attributes of these names as a tuple; `attrgetter` makes one of two names or more only."""
    if len(names) > 1:
        return attrgetter(*names)
    return lambda answer: tuple(getattr(answer, name) for name in names)


def _message_writer(descriptor: Descriptor, name: str, shape: type[Any]) -> _Write:
    field = descriptor.fields_by_name.get(name)
    if field is None or field.message_type is None or field.is_repeated:
        raise ContractMismatch(f"{descriptor.full_name} has no message `{name}`.")
    return _writer(field.message_type, shape)


def _members(descriptor: Descriptor, shape: type[Any]) -> dict[str, Any]:
    """Member name -> type without None. Raises ContractMismatch for a member without a field."""
    hints = typing.get_type_hints(shape)
    names = [field.name for field in dataclasses.fields(shape)]
    missing = [name for name in names if name not in descriptor.fields_by_name]
    if missing:
        raise ContractMismatch(f"{descriptor.full_name} has no field {missing[0]}, {shape.__name__} has.")
    return {name: _without_none(hints[name]) for name in names}


def _without_none(hint: Any) -> Any:
    if typing.get_origin(hint) not in (types.UnionType, typing.Union):
        return hint
    inner = [argument for argument in typing.get_args(hint) if argument is not types.NoneType]
    if len(inner) != 1:
        raise ContractMismatch(f"{hint} is no type of a member.")
    return inner[0]


def _field_reader(field: FieldDescriptor, hint: Any) -> _Convert | None:
    if _is_map(field):
        value = _map_value(field, hint)
        if value is None:
            return _read_map
        read = _reader(*value)
        return lambda sent: {name: read(item) for name, item in sent.items()}
    if field.is_repeated:
        element = _element_reader(field, _element_type(field, hint))
        if element is None:
            return list
        return lambda values: [element(value) for value in values]
    if field.enum_type is not None:
        return enum_reader(field, hint, unspecified=None)
    return _element_reader(field, hint)


def _element_reader(field: FieldDescriptor, hint: Any) -> _Convert | None:
    if field.enum_type is not None:
        return enum_reader(field, hint, unspecified="UNSPECIFIED")
    if field.message_type is not None:
        if field.message_type.full_name in _TIMES:
            _check(field, hint, float)
            return _TIMES[field.message_type.full_name][0]
        return _reader(field.message_type, _structure(field, hint))
    _check_scalar(field, hint)
    return None


def _field_writer(field: FieldDescriptor, hint: Any) -> _Convert | None:
    if _is_map(field):
        value = _map_value(field, hint)
        if value is None:
            return None
        descriptor, shape = value
        write, make = _writer(descriptor, shape), GetMessageClass(descriptor)
        return lambda values: {name: make(**write(item)) for name, item in values.items()}
    if field.is_repeated:
        element = _element_writer(field, _element_type(field, hint))
        if element is None:
            return None
        return lambda values: [element(value) for value in values]
    return _element_writer(field, hint)


def _element_writer(field: FieldDescriptor, hint: Any) -> _Convert | None:
    if field.enum_type is not None:
        return enum_writer(field, hint)
    if field.message_type is not None:
        if field.message_type.full_name in _TIMES:
            _check(field, hint, float)
            return _TIMES[field.message_type.full_name][1]
        return _writer(field.message_type, _structure(field, hint))
    _check_scalar(field, hint)
    return None


def _is_map(field: FieldDescriptor) -> bool:
    return field.message_type is not None and field.message_type.GetOptions().map_entry


def _read_map(sent: Any) -> dict[str, str]:
    # Faster than dict(sent), which looks every key up.
    return dict(sent.items())


def _map_value(field: FieldDescriptor, hint: Any) -> tuple[Descriptor, type[Any]] | None:
    """The message and the class of a map's values; None for a map of texts. Raises ContractMismatch."""
    entry = field.message_type
    arguments = typing.get_args(hint)
    if entry is None or typing.get_origin(hint) is None or len(arguments) != 2 or arguments[0] is not str:
        raise _unfit(field, hint)
    name, value = entry.fields_by_name["key"], entry.fields_by_name["value"]
    if name.type != FieldDescriptor.TYPE_STRING:
        raise _unfit(field, hint)
    if value.message_type is not None and value.message_type.full_name not in _TIMES:
        return value.message_type, _structure(field, arguments[1])
    if value.type != FieldDescriptor.TYPE_STRING or arguments[1] is not str:
        raise _unfit(field, hint)
    return None


def _element_type(field: FieldDescriptor, hint: Any) -> Any:
    arguments = typing.get_args(hint)
    if typing.get_origin(hint) is not tuple or len(arguments) != 2 or arguments[1] is not Ellipsis:
        raise _unfit(field, hint)
    return arguments[0]


def _structure(field: FieldDescriptor, hint: Any) -> type[Any]:
    if not (isinstance(hint, type) and dataclasses.is_dataclass(hint)):
        raise _unfit(field, hint)
    return hint


def _check_scalar(field: FieldDescriptor, hint: Any) -> None:
    wanted = bytes if field.type == FieldDescriptor.TYPE_BYTES else _SCALARS.get(field.cpp_type)
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        raise _unfit(field, hint)
    _check(field, hint, wanted)


def _check(field: FieldDescriptor, hint: Any, wanted: type | None) -> None:
    if wanted is None or hint is not wanted:
        raise _unfit(field, hint)


def _unfit(field: FieldDescriptor, hint: Any) -> ContractMismatch:
    return ContractMismatch(f"{field.full_name} can't hold {hint}.")
