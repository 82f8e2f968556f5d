"""What LookupEvents sees of a record: the members it answers with, and by which of them a record is found."""

from __future__ import annotations

import enum
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from json.encoder import encode_basestring_ascii as quoted

from kagitori_server.audit.chain import parse_line
from kagitori_server.model.errors import ValidationException

MAX_VALUE_CHARACTERS = 2000


class LookupKey(enum.StrEnum):
    """What records can be looked up by."""

    EVENT_ID = "EventId"
    EVENT_NAME = "EventName"
    READ_ONLY = "ReadOnly"
    USERNAME = "Username"
    RESOURCE_TYPE = "ResourceType"
    RESOURCE_NAME = "ResourceName"
    EVENT_SOURCE = "EventSource"
    ACCESS_KEY_ID = "AccessKeyId"


@dataclass(frozen=True, slots=True)
class LookupEvent:
    """A record found.

    `read_only` is "true" or "false", as in CloudTrail; `event_time` is in epoch seconds; `username` is the
    user's, `root`, or the session's name of an assumed role; `resources` are (type, name) pairs;
    `cloud_trail_event` is the whole record as JSON.
    """

    event_id: str
    event_name: str
    read_only: str
    access_key_id: str | None
    event_time: float
    event_source: str
    username: str | None
    resources: tuple[tuple[str, str], ...]
    cloud_trail_event: str


# Text that is in the line of every record of this value, so that others needn't be parsed.
_NEEDLES = {
    LookupKey.EVENT_ID: '"eventID":{}',
    LookupKey.EVENT_NAME: '"eventName":{}',
    LookupKey.READ_ONLY: '"readOnly":{}',
    LookupKey.USERNAME: "{}",
    LookupKey.RESOURCE_TYPE: '"type":{}',
    LookupKey.RESOURCE_NAME: '"ARN":{}',
    LookupKey.EVENT_SOURCE: '"eventSource":{}',
    LookupKey.ACCESS_KEY_ID: '"accessKeyId":{}',
}


def needle(key: LookupKey, value: str) -> bytes:
    """What a line must contain for its record to be worth parsing. Raises ValidationException for a bad
    value.
    """
    if not 1 <= len(value) <= MAX_VALUE_CHARACTERS:
        raise ValidationException(f"An attribute's value must have 1 to {MAX_VALUE_CHARACTERS} characters.")
    if key is LookupKey.READ_ONLY and value not in ("true", "false"):
        raise ValidationException("The value of ReadOnly must be true or false.")
    text = quoted(value)
    if key is LookupKey.READ_ONLY or key is LookupKey.USERNAME:
        text = text[1:-1]  # a boolean, or the end of a role session's ARN
    return _NEEDLES[key].format(text).encode("ascii")


def fits(event: LookupEvent, key: LookupKey, value: str) -> bool:
    """Whether the record has this value, exactly."""
    match key:
        case LookupKey.EVENT_ID:
            return event.event_id == value
        case LookupKey.EVENT_NAME:
            return event.event_name == value
        case LookupKey.READ_ONLY:
            return event.read_only == value
        case LookupKey.USERNAME:
            return event.username == value
        case LookupKey.RESOURCE_TYPE:
            return any(kind == value for kind, _ in event.resources)
        case LookupKey.RESOURCE_NAME:
            return any(name == value for _, name in event.resources)
        case LookupKey.EVENT_SOURCE:
            return event.event_source == value
        case LookupKey.ACCESS_KEY_ID:
            return event.access_key_id == value


def parse_record(line: bytes) -> dict[str, object] | None:
    """The record in a line of a chain; None for what the verifier would call garbage."""
    parts = parse_line(line)
    if parts is None:
        return None
    try:
        record = json.loads(parts.event)
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None


def lookup_event(record: Mapping[str, object], line: bytes) -> LookupEvent | None:
    """What LookupEvents answers for a record; None if its time is unreadable."""
    parts = parse_line(line)
    try:
        moment = datetime.fromisoformat(_text(record, "eventTime") or "")
    except ValueError:
        return None
    identity = _mapping(record.get("userIdentity"))
    listed = record.get("resources")
    resources = [_mapping(resource) for resource in listed] if isinstance(listed, list) else []
    return LookupEvent(
        event_id=_text(record, "eventID") or "",
        event_name=_text(record, "eventName") or "",
        read_only="true" if record.get("readOnly") is True else "false",
        access_key_id=_text(identity, "accessKeyId"),
        event_time=moment.timestamp(),
        event_source=_text(record, "eventSource") or "",
        username=_username(identity),
        resources=tuple((_text(item, "type") or "", _text(item, "ARN") or "") for item in resources),
        cloud_trail_event=parts.event.decode("utf-8") if parts else "",
    )


def _username(identity: Mapping[str, object]) -> str | None:
    match _text(identity, "type"):
        case "Root":
            return "root"
        case "AssumedRole":
            arn = _text(identity, "arn") or ""
            return arn.rpartition("/")[2] or None
        case _:
            return _text(identity, "userName")


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, dict) else {}


def _text(members: Mapping[str, object], name: str) -> str | None:
    value = members.get(name)
    return value if isinstance(value, str) else None
