"""THE table of failures for AWS JSON 1.1: an exception of the vocabulary -> `__type`, message and status.

AWS KMS answers all that the caller can mend with 400, what went wrong in the service with 500 (`KmsError.server_fault`,
as the model says), and a body that is too long with 413. The message stands in the member `message`, for
AccessDeniedException in `Message`; an exception without a message has none.
"""

from __future__ import annotations

import json
from typing import NamedTuple

from kagitori_server.model import errors
from kagitori_server.model.errors import KmsError, every_error
from kagitori_server.model.neighbour_errors import InvalidParameterException, every_neighbour_error

MESSAGE_MAX = 4_096
"""Characters of a message."""

NAMES: dict[type[KmsError], str] = {each: each.code() for each in (*every_error(), *every_neighbour_error())}
"""Every class of the vocabulary and its `__type`. A subclass that isn't listed counts as its nearest ancestor."""
_CAPITAL = frozenset({errors.AccessDeniedException, InvalidParameterException})
_STATUS: dict[type[KmsError], int] = {errors.RequestEntityTooLargeException: 413}


class Failure(NamedTuple):
    """An exception as it goes over the wire."""

    status: int
    body: bytes
    retry_after: float | None


def failure(error: KmsError) -> Failure:
    """What a caller is told of `error`."""
    known = vocabulary_class(error)
    told = {"__type": NAMES[known]}
    if error.message:
        text = error.message if len(error.message) <= MESSAGE_MAX else error.message[:MESSAGE_MAX] + "..."
        told["Message" if known in _CAPITAL else "message"] = text
    status = _STATUS.get(known, 500 if error.server_fault else 400)
    return Failure(status, json.dumps(told, separators=(",", ":")).encode(), error.retry_after)


def vocabulary_class(error: KmsError) -> type[KmsError]:
    """The class of the table that `error` is told as; KMSInternalException for none."""
    for ancestor in type(error).__mro__:
        if ancestor in NAMES:
            return ancestor
    return errors.KMSInternalException
