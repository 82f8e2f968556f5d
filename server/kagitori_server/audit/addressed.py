"""To whom a record belongs, found in its line without parsing it."""

from __future__ import annotations

from typing import NamedTuple

from kagitori_server.audit.chain import parse_line

_TIME = b',"eventTime":"'
_TIME_BYTES = len("2026-01-01T00:00:00Z")
_REGION = b'","awsRegion":"'
_SOURCE_IP = b'","sourceIPAddress":'
_READ_ONLY = b'","readOnly":'
_RECIPIENT = b',"recipientAccountId":"'
_ACCOUNT_BYTES = 12


class Addressed(NamedTuple):
    """A record and whose it is."""

    account: str
    """12 digits."""
    region: str
    time: str
    """`YYYY-MM-DDTHH:MM:SSZ`."""
    event: bytes
    """The record as JSON."""


def addressed(line: bytes) -> Addressed | None:
    """The record of a line; None for what isn't a line with a record.

    Names and values that callers choose can't be taken for members: quotes within texts are escaped, and what callers
    name stands within `requestParameters` and its like, which come after the Region and before the account.
    """
    parsed = parse_line(line)
    if parsed is None:
        return None
    event = parsed.event
    time = event.find(_TIME) + len(_TIME)
    source_ip = event.find(_SOURCE_IP, time)
    region = event.rfind(_REGION, time, source_ip) + len(_REGION)
    read_only = event.rfind(_READ_ONLY)
    recipient = event.find(_RECIPIENT, read_only) + len(_RECIPIENT)
    if not len(_TIME) < time < region < source_ip < read_only < recipient:
        return None
    try:
        account = event[recipient : recipient + _ACCOUNT_BYTES].decode("ascii")
        found = Addressed(
            account, event[region:source_ip].decode("ascii"), event[time : time + _TIME_BYTES].decode("ascii"), event
        )
    except UnicodeDecodeError:
        return None
    return found if account.isdigit() and len(account) == _ACCOUNT_BYTES else None
