"""AWS JSON 1.1, and 1.0, which is the same but for the media type."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from kagitori_server.model.errors import KmsError, SerializationException
from kagitori_server.transports.awsjson.failures import failure
from kagitori_server.transports.awsjson.members import Write, object_reader, object_writer, text_writer
from kagitori_server.transports.awsjson.messages import Received, Written

if TYPE_CHECKING:
    from kagitori_server.transports.awsjson.services import AwsService, Reader, Writer

MEDIA_TYPE = "application/x-amz-json-1.1"
MEDIA_TYPES = frozenset({MEDIA_TYPE, "application/x-amz-json-1.0"})

_HEADERS: tuple[tuple[bytes, bytes], ...] = ((b"Content-Type", MEDIA_TYPE.encode()),)


class JsonCodec:
    """Reads and writes by shapes. `no_output` are operations whose answers have no body, since they have no shape."""

    def __init__(self, no_output: frozenset[str] = frozenset()) -> None:
        self._no_output = no_output

    def reader(self, service: AwsService, _operation: str, request: type[Any]) -> Reader:
        """Reads bodies into the members of `request`."""
        read = object_reader(request, service.member_names)

        def decode(received: Received) -> Mapping[str, Any]:
            return read(parse_object(received.body))

        return decode

    def writer(self, service: AwsService, operation: str, response: type[Any]) -> Writer:
        """Writes answers of the class `response`."""
        if operation in self._no_output:
            nothing = Written(200, _HEADERS, b"")
            return lambda _answer, _request_id: nothing
        text = text_writer(response, service.member_names) or _text_of(
            object_writer(response, service.member_names, service.absent_if_empty)
        )

        def encode(answer: Any, _request_id: str) -> Written:
            if type(answer) is not response:
                raise TypeError(f"the answer is no {response.__name__}")
            return Written(200, _HEADERS, text(answer).encode())

        return encode

    def failure(self, error: KmsError, _request_id: str) -> Written:
        """What a caller is told of `error`."""
        told = failure(error)
        headers = _HEADERS
        if told.retry_after is not None:
            headers = (*headers, (b"retry-after", str(max(1, round(told.retry_after))).encode()))
        return Written(told.status, headers, told.body)


def _text_of(write: Write) -> Callable[[Any], str]:
    return lambda answer: _dumps(write(answer))


def parse_object(body: bytes) -> dict[str, Any]:
    """The JSON object (RFC 8259) that a body is. Raises SerializationException, also for repeated names."""
    try:
        found = _decoder.decode(body.decode("utf-8"))
    except (ValueError, RecursionError):
        # No cause: it might quote the body.
        raise SerializationException("The body is not valid JSON in UTF-8.") from None
    if type(found) is not dict:
        raise SerializationException("The body must be a JSON object.")
    return found


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise SerializationException("An object of the body has a member twice.")
    return found


def _no_number(text: str) -> Any:
    raise ValueError(text)


_decoder = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_no_number)
_dumps = json.JSONEncoder(separators=(",", ":")).encode
