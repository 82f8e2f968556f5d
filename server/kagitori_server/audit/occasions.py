"""The call in a line of the trail, found without parsing it: what repeats from call to call, and what doesn't."""

from __future__ import annotations

import re
from typing import NamedTuple

_EVENT = b'"event":{'
_TIME = b',"eventTime":"'
_TIME_BYTES = len("2026-01-01T00:00:00Z")
_REQUEST_ID = b',"requestID":"'
_EVENT_ID = b'","eventID":"'
_AFTER_IDS = b'","readOnly":'


class Occasion(NamedTuple):
    """A call as its line tells it, apart in what repeats from call to call and what doesn't."""

    what: bytes
    """Everything but time and ids: two calls with the same are the same call, made at two times."""
    when: str
    """`YYYY-MM-DDTHH:MM:SSZ`."""
    event_id: str
    request_id: str


# Names and values are whatever callers chose, with quotes and backslashes escaped.
_TEXT = rb'"(?:[^"\\]|\\.)*"'
_PAIRS = re.compile(rb'"encryptionContext":\{(?:' + _TEXT + rb":" + _TEXT + rb",?)*+\}")
_CONTEXT = b'"encryptionContext":'
_PARAMETERS = b',"requestParameters":{'


def without_context(what: bytes) -> bytes:
    """A call without its encryption context, which is often the only thing in which calls differ; the same if it has
    none. Contexts of other members, such as those of ReEncrypt, stay."""
    return split_context(what)[0]


def split_context(what: bytes) -> tuple[bytes, bytes]:
    """The same, and the pairs that were taken away, a JSON object; no bytes if there are none."""
    found = _context(what)
    if found is None:
        return what, b""
    return what[: found.start()] + what[found.end() :], what[found.start() + len(_CONTEXT) : found.end()]


def with_empty_context(line: bytes) -> bytes:
    """A line with no pairs in the context that `split_context` takes away."""
    found = _context(line)
    return line if found is None else line[: found.start()] + _CONTEXT + b"{}" + line[found.end() :]


def _context(what: bytes) -> re.Match[bytes] | None:
    begin = what.find(_PARAMETERS)
    return _PAIRS.search(what, begin) if begin >= 0 else None


def occasion(line: bytes) -> Occasion | None:
    """The call in a line, without parsing it; None for a line that tells of none.

    Names and values that callers choose can't be taken for members of a record: quotes within texts are escaped,
    what callers name stands within `requestParameters` and its like, between the time and the last request id.
    """
    begin = line.find(_EVENT)
    at = line.find(_TIME, begin)
    ids = line.rfind(_REQUEST_ID)
    event_id = line.find(_EVENT_ID, ids)
    rest = line.find(_AFTER_IDS, event_id)
    if not 0 <= begin < at < ids < event_id < rest:
        return None
    time = at + len(_TIME)
    what = b"".join((line[begin:at], line[time + _TIME_BYTES : ids], line[rest:]))
    request_id = line[ids + len(_REQUEST_ID) : event_id].decode("ascii", "replace")
    id_text = line[event_id + len(_EVENT_ID) : rest].decode("ascii", "replace")
    return Occasion(what, line[time : time + _TIME_BYTES].decode("ascii", "replace"), id_text, request_id)
