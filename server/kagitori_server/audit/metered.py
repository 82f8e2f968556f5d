"""What counting needs of a record, found in its line without parsing it.

Records of the same kind of call by the same account on the same keys differ in times, ids and parameters alone. So a
line is cut down to its `Mark`, which thousands of lines share, and just the mark is read.
"""

from __future__ import annotations

import json
from typing import NamedTuple

from kagitori_server.audit.identity import INTERNAL
from kagitori_server.audit.matching import parse_record
from kagitori_server.audit.record import KEY_RESOURCE, KMS_SOURCE, EventType

_IDENTITY = b'"userIdentity":{"type":"'
_IDENTITY_FROM, _IDENTITY_TO = 80, 240
_TIME = b',"eventTime":"'
_HOUR_BYTES = len("2026-01-01T00")
_TIME_BYTES = len("2026-01-01T00:00:00Z")
_SOURCE_IP = b',"sourceIPAddress":'
_INTERNAL = f'"{INTERNAL}"'.encode()
_ERROR = b',"errorCode":"'
_PARAMETERS = b',"requestParameters":'
_READ_ONLY = b'","readOnly":'
_RECIPIENT = b',"recipientAccountId":"'
_RECIPIENT_BYTES = len(_RECIPIENT) + 13
_PAIR = b'"eventName":"GenerateDataKeyPair'

_OWNERS_COPY = "AWSAccount"
_NOBODY = "Unknown"


class Mark(NamedTuple):
    """The parts of a line that say who is charged for what. Equal marks mean the same."""

    identity: bytes
    """The type of the caller's identity."""
    what: bytes
    """The members from `eventSource` to `awsRegion`."""
    error: bytes
    """The error code; empty for success."""
    about: bytes
    """The members from `readOnly` to `recipientAccountId`."""
    pair: str | None
    """The spec of a data key pair that was asked for."""
    internal: bool
    """Whether the service did it by itself, for a call that has a record of its own or for none."""


class Metered(NamedTuple):
    """A record as counting sees it."""

    operation: str
    region: str
    account: str
    """Whose record it is: the caller's account or, in an owner's copy, the owner's."""
    error: str
    """Empty for success."""
    keys: tuple[str, ...]
    """ARNs of the keys that the call was about, in the order of the record."""
    charged: bool
    """Whether it is a call's own record with a caller who is known: not a copy, not something the service did."""
    pair: str | None


class Used(NamedTuple):
    """The use of keys that one record tells of."""

    time: str
    """`YYYY-MM-DDTHH:MM:SSZ`."""
    event_id: str
    request_id: str | None


def mark(line: bytes) -> tuple[bytes, Mark] | None:
    """The hour of a line as `YYYY-MM-DDTHH`, and its mark; None for what isn't a line with a record.

    Names and values that callers choose can't be taken for members: quotes within texts are escaped, and what callers
    name stands within `requestParameters` and its like, which come after the first marks and before the last.
    """
    at = line.find(_TIME)
    source_ip = line.find(_SOURCE_IP, at)
    parameters = line.find(_PARAMETERS, source_ip)
    read_only = line.rfind(_READ_ONLY)
    recipient = line.find(_RECIPIENT, read_only)
    if not 0 < at < source_ip < parameters < read_only < recipient:
        return None
    kind = line.find(_IDENTITY, _IDENTITY_FROM, _IDENTITY_TO) + len(_IDENTITY)
    identity = line[kind : line.find(b'"', kind)] if kind >= len(_IDENTITY) else b""
    time = at + len(_TIME)
    what = line[time + _TIME_BYTES + 2 : source_ip]
    error = line.find(_ERROR, source_ip, parameters)
    code = b""
    if error >= 0:
        error += len(_ERROR)
        code = line[error : line.find(b'"', error)]
    pair = _pair_spec(line) if _PAIR in what else None
    about = line[read_only + 2 : recipient + _RECIPIENT_BYTES]
    internal = line.startswith(_INTERNAL, source_ip + len(_SOURCE_IP))
    return line[time : time + _HOUR_BYTES], Mark(identity, what, code, about, pair, internal)


def read_mark(found: Mark) -> Metered | None:
    """What a mark says; None for records that aren't of KMS, or that can't be read."""
    try:
        members = json.loads(b"{%b,%b}" % (found.what, found.about))
        if members["eventSource"] != KMS_SOURCE:
            return None
        keys = tuple(
            resource["ARN"] for resource in members.get("resources", ())
            if resource["type"] == KEY_RESOURCE and resource["ARN"].split(":", 5)[-1].startswith("key/")
        )
        identity = found.identity.decode("ascii")
        return Metered(
            operation=members["eventName"],
            region=members["awsRegion"],
            account=members["recipientAccountId"],
            error=found.error.decode("ascii"),
            keys=tuple(dict.fromkeys(keys)),
            charged=members["eventType"] == EventType.API_CALL and identity not in ("", _OWNERS_COPY, _NOBODY)
            and not found.internal,
            pair=found.pair,
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def used(line: bytes) -> Used | None:
    """Time and ids of a record."""
    record = parse_record(line) or {}
    time, event_id, request_id = (record.get(name) for name in ("eventTime", "eventID", "requestID"))
    if not isinstance(time, str) or not isinstance(event_id, str):
        return None
    return Used(time, event_id, request_id if isinstance(request_id, str) else None)


def _pair_spec(line: bytes) -> str | None:
    parameters = (parse_record(line) or {}).get("requestParameters")
    spec = parameters.get("keyPairSpec") if isinstance(parameters, dict) else None
    return spec if isinstance(spec, str) else None
