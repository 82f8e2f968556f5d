"""Messages of the contract as plain data, and plain data as text for people."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from google.protobuf.descriptor import EnumDescriptor, FieldDescriptor
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

# AWS writes the values of these enums in CamelCase; protobuf's rules made them upper case.
_CAMEL_CASE = {
    value.upper(): value
    for value in (
        "Creating",
        "Enabled",
        "Disabled",
        "PendingDeletion",
        "PendingImport",
        "PendingReplicaDeletion",
        "Unavailable",
        "Updating",
        "Decrypt",
        "Encrypt",
        "GenerateDataKey",
        "GenerateDataKeyWithoutPlaintext",
        "ReEncrypt",
        "ReEncryptFrom",
        "ReEncryptTo",
        "Sign",
        "Verify",
        "GetPublicKey",
        "CreateGrant",
        "RetireGrant",
        "DescribeKey",
        "GenerateDataKeyPair",
        "GenerateDataKeyPairWithoutPlaintext",
        "GenerateMac",
        "VerifyMac",
        "DeriveSharedSecret",
        "Encapsulate",
        "Decapsulate",
    )
}
_CAMEL_CASE_ENUMS = {"KeyState", "GrantOperation", "KeyLastUsageTrackingOperation"}

Plain = None | bool | int | float | str | list["Plain"] | dict[str, "Plain"]


def plain(message: Message) -> dict[str, Plain]:
    """A message as JSON data: all its fields, absent ones as null, names as in the contract.

    Bytes are base64, times RFC 3339 in UTC, durations seconds, enums AWS's values.
    """
    # Which of protobuf's implementations a descriptor comes from makes no difference here.
    described = cast("Sequence[FieldDescriptor]", message.DESCRIPTOR.fields)
    return {field.name: _field(message, field) for field in described}


def _field(message: Message, field: FieldDescriptor) -> Plain:
    value = getattr(message, field.name)
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        of = field.message_type.fields_by_name["value"]
        return {str(name): _value(value[name], of) for name in sorted(value)}
    if field.is_repeated:
        return [_value(item, field) for item in value]
    if field.has_presence and not message.HasField(field.name):
        return None
    return _value(value, field)


def _value(value: Any, field: FieldDescriptor) -> Plain:
    if isinstance(value, Timestamp):
        return moment(value)
    if isinstance(value, Duration):
        return value.ToTimedelta().total_seconds()
    if isinstance(value, Message):
        return plain(value)
    if isinstance(value, bytes):
        return base64.b64encode(value).decode("ascii")
    if field.enum_type is not None:
        return _enum(field.enum_type, value)
    if isinstance(value, (bool, int, float, str)):
        return value
    raise TypeError(f"{field.full_name} has no plain form")


def _enum(kind: EnumDescriptor, number: int) -> Plain:
    known = kind.values_by_number.get(number)
    if known is None:
        return number
    prefix = kind.values_by_number[0].name.removesuffix("UNSPECIFIED")
    name = known.name.removeprefix(prefix)
    if number == 0:
        return None
    return _CAMEL_CASE.get(name, name) if kind.name in _CAMEL_CASE_ENUMS else name


def moment(time: Timestamp) -> str:
    """A time as RFC 3339 in UTC, to the millisecond."""
    at = datetime.fromtimestamp(time.seconds, UTC) + timedelta(microseconds=time.nanos // 1000)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def cell(value: Plain) -> str:
    """Plain data as the text of a table's cell."""
    if value is None or value == [] or value == {}:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return ", ".join(f"{name}={cell(item)}" for name, item in value.items())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(cell(item) for item in value)
    return printable(str(value))


def json_text(data: Plain, indent: int | None = None) -> str:
    """JSON for a terminal as well: nothing in it moves a cursor or changes a state."""
    text = json.dumps(data, indent=indent, ensure_ascii=False)
    # JSON leaves these alone, and terminals take some of them for commands.
    return re.sub("[\x7f-\x9f]", lambda found: f"\\u{ord(found[0]):04x}", text)


def printable(text: str) -> str:
    """The text with everything escaped that could move a terminal's cursor or change its state."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
