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
MAX_PAIR_CHARACTERS = 12 * 2 * MAX_VALUE_CHARACTERS + 8
"""Of two texts of that length with every character escaped, which takes up to twelve."""


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
    # What follows isn't CloudTrail's.
    REQUEST_ID = "RequestId"
    SOURCE_IP_ADDRESS = "SourceIPAddress"
    PRINCIPAL_ARN = "PrincipalArn"
    """Of the caller; a role's ARN stands for all of its sessions, too."""
    ERROR_CODE = "ErrorCode"
    OUTCOME = "Outcome"
    """`success` or `failure`."""
    KEY = "Key"
    """A key by its id or ARN, as what the call was about or as the caller named it."""
    KEY_ALIAS = "KeyAlias"
    """An alias by its name (`alias/app`, in any Region) or ARN, as the caller named it."""
    REGION = "Region"
    """The Region that the call was made to."""
    ENCRYPTION_CONTEXT = "EncryptionContext"
    """A pair of the encryption context, as `context_pair` writes it."""


SUCCESS, FAILURE = "success", "failure"

Filter = tuple[LookupKey, str]
"""What a record must be found by, and the exact value."""


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


def context_pair(key: str, value: str) -> str:
    """A pair of an encryption context as one text, which no other pair has."""
    return f"{quoted(key)}:{quoted(value)}"


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
    LookupKey.REQUEST_ID: '"requestID":{}',
    LookupKey.SOURCE_IP_ADDRESS: '"sourceIPAddress":{}',
    LookupKey.PRINCIPAL_ARN: '"arn":{}',
    LookupKey.ERROR_CODE: '"errorCode":{}',
    LookupKey.KEY: "{}",
    LookupKey.KEY_ALIAS: "{}",
    LookupKey.REGION: '"awsRegion":{}',
    LookupKey.ENCRYPTION_CONTEXT: "{}",
}
_WITHIN = frozenset({LookupKey.READ_ONLY, LookupKey.USERNAME, LookupKey.KEY, LookupKey.KEY_ALIAS})
"""Values that stand in a line without quotes (booleans), or as the end of a longer text."""
_CLOSED = {LookupKey.READ_ONLY: ("true", "false"), LookupKey.OUTCOME: (SUCCESS, FAILURE)}
"""The values that there are."""


def needle(key: LookupKey, value: str) -> bytes:
    """What a line must contain for its record to be worth parsing. Raises ValidationException for a bad
    value.
    """
    most = MAX_PAIR_CHARACTERS if key is LookupKey.ENCRYPTION_CONTEXT else MAX_VALUE_CHARACTERS
    if not 1 <= len(value) <= most:
        raise ValidationException(f"An attribute's value must have 1 to {MAX_VALUE_CHARACTERS} characters.")
    closed = _CLOSED.get(key)
    if closed is not None and value not in closed:
        raise ValidationException(f"The value of {key.value} must be {closed[0]} or {closed[1]}.")
    if key is LookupKey.OUTCOME:
        return b'"errorCode":' if value == FAILURE else b""
    text = value if key is LookupKey.ENCRYPTION_CONTEXT else quoted(value)
    if key in _WITHIN:
        text = text[1:-1]
    return _NEEDLES[key].format(text).encode("ascii")


def attributes(record: Mapping[str, object]) -> set[Filter]:
    """All that a record is found by: what look-ups compare with, and what is put into indexes."""
    identity = _mapping(record.get("userIdentity"))
    issuer = _mapping(_mapping(identity.get("sessionContext")).get("sessionIssuer"))
    error = _text(record, "errorCode")
    resources = _resources(record)
    found: list[tuple[LookupKey, str | None]] = [
        (LookupKey.EVENT_ID, _text(record, "eventID")),
        (LookupKey.EVENT_NAME, _text(record, "eventName")),
        (LookupKey.READ_ONLY, _read_only(record)),
        (LookupKey.USERNAME, _username(identity)),
        (LookupKey.EVENT_SOURCE, _text(record, "eventSource")),
        (LookupKey.ACCESS_KEY_ID, _text(identity, "accessKeyId")),
        (LookupKey.REQUEST_ID, _text(record, "requestID")),
        (LookupKey.SOURCE_IP_ADDRESS, _text(record, "sourceIPAddress")),
        (LookupKey.REGION, _text(record, "awsRegion")),
        (LookupKey.PRINCIPAL_ARN, _text(identity, "arn")),
        (LookupKey.PRINCIPAL_ARN, _text(issuer, "arn")),
        (LookupKey.ERROR_CODE, error),
        (LookupKey.OUTCOME, SUCCESS if error is None else FAILURE),
    ]
    for kind, name in resources:
        found += ((LookupKey.RESOURCE_TYPE, kind), (LookupKey.RESOURCE_NAME, name))
    parameters = record.get("requestParameters")
    named = [name for _, name in resources]
    if isinstance(parameters, dict):
        named += [text for member in _NAMING_KEYS if (text := _text(parameters, member)) is not None]
        for member in _CONTEXTS:
            pairs = _mapping(parameters.get(member)).items()
            found += [(LookupKey.ENCRYPTION_CONTEXT, context_pair(k, v)) for k, v in pairs if isinstance(v, str)]
    for name in named:
        found += _key_names(name)
    return {(key, value) for key, value in found if value}


_NAMING_KEYS = ("keyId", "sourceKeyId", "destinationKeyId", "targetKeyId", "aliasName")
_CONTEXTS = ("encryptionContext", "sourceEncryptionContext", "destinationEncryptionContext")


def _key_names(name: str) -> list[tuple[LookupKey, str | None]]:
    """What the id, alias or ARN of a key, or the ARN of anything else, is found by."""
    resource = name.split(":", 5)[-1] if name.startswith("arn:") else name
    if resource.startswith("alias/"):
        return [(LookupKey.KEY_ALIAS, resource), (LookupKey.KEY_ALIAS, name)]
    if resource.startswith("key/"):
        return [(LookupKey.KEY, resource.removeprefix("key/")), (LookupKey.KEY, name)]
    return [] if name.startswith("arn:") else [(LookupKey.KEY, name)]


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
    return LookupEvent(
        event_id=_text(record, "eventID") or "",
        event_name=_text(record, "eventName") or "",
        read_only=_read_only(record),
        access_key_id=_text(identity, "accessKeyId"),
        event_time=moment.timestamp(),
        event_source=_text(record, "eventSource") or "",
        username=_username(identity),
        resources=_resources(record),
        cloud_trail_event=parts.event.decode("utf-8") if parts else "",
    )


def _read_only(record: Mapping[str, object]) -> str:
    return "true" if record.get("readOnly") is True else "false"


def _resources(record: Mapping[str, object]) -> tuple[tuple[str, str], ...]:
    """(type, ARN) pairs."""
    listed = record.get("resources")
    members = [_mapping(resource) for resource in listed] if isinstance(listed, list) else []
    return tuple((_text(item, "type") or "", _text(item, "ARN") or "") for item in members)


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
