"""Every class of the vocabulary goes over AWS JSON and is recognised by botocore on the other side."""

from __future__ import annotations

from typing import Any

import botocore.session
import pytest
from botocore.parsers import create_parser

from kagitori_server.model import errors
from kagitori_server.model.errors import KmsError, every_error
from kagitori_server.model.neighbour_errors import every_neighbour_error
from kagitori_server.transports.awsjson.codec import JsonCodec
from kagitori_server.transports.awsjson.failures import MESSAGE_MAX, NAMES, failure

BY_NAME = {error.code(): error for error in every_error()}
MODEL: Any = botocore.session.get_session().get_service_model("kms")


def example(kind: type[KmsError], message: str = "why") -> KmsError:
    """An exception of that class; one of them takes no message."""
    return kind() if kind is errors.DryRunOperationException else kind(message)


def parsed(error: KmsError) -> dict[str, Any]:
    """What botocore makes of it."""
    written = JsonCodec().failure(error, "request-1")
    headers = {name.decode(): value.decode() for name, value in written.headers}
    response = {"body": written.body, "headers": headers, "status_code": written.status}
    found: dict[str, Any] = create_parser("json").parse(response, MODEL.operation_model("Encrypt").output_shape)
    return found


def test_the_table_is_complete() -> None:
    """No class of the vocabulary is missing, and no name is there twice but where one class is a kind of the other."""
    assert set(NAMES) == {*every_error(), *every_neighbour_error()}
    assert len({NAMES[kind] for kind in every_error()}) == len(every_error())
    for kind in every_neighbour_error():
        assert all(issubclass(kind, other) for other, name in NAMES.items() if name == NAMES[kind]), kind


@pytest.mark.parametrize("kind", every_error(), ids=lambda kind: kind.__name__)
def test_there_and_back(kind: type[KmsError]) -> None:
    """Class, message and status survive."""
    error = example(kind)
    found = parsed(error)
    assert BY_NAME[found["Error"]["Code"]] is kind
    assert found["Error"]["Message"] == error.message
    expected = 413 if kind is errors.RequestEntityTooLargeException else 500 if kind.server_fault else 400
    assert found["ResponseMetadata"]["HTTPStatusCode"] == expected


def test_where_the_message_stands() -> None:
    """As AWS KMS writes it; exceptions without a message have no member for it."""
    assert failure(errors.AccessDeniedException("no")).body == b'{"__type":"AccessDeniedException","Message":"no"}'
    assert failure(errors.NotFoundException("no")).body == b'{"__type":"NotFoundException","message":"no"}'
    assert failure(errors.InvalidCiphertextException()).body == b'{"__type":"InvalidCiphertextException"}'


def test_text_of_any_kind() -> None:
    """Long ones are cut; what is no Unicode stays JSON."""
    assert len(failure(errors.NotFoundException("x" * 100_000)).body) < MESSAGE_MAX + 100
    assert failure(errors.NotFoundException("\ud800\r\n鍵")).body.isascii()


def test_subclasses_are_told_as_their_ancestors() -> None:
    """And what is of no listed class as an internal failure; own names aren't told."""

    class Special(errors.NotFoundException):
        """Isn't in the table."""

    class Unlisted(KmsError):
        """Neither."""

    assert parsed(Special("why"))["Error"]["Code"] == "NotFoundException"
    assert parsed(Unlisted("why"))["Error"]["Code"] == "KMSInternalException"


def test_when_to_come_again() -> None:
    """As a header, in whole seconds."""
    written = JsonCodec().failure(errors.ThrottlingException("slower", retry_after=0.1), "id")
    assert (b"retry-after", b"1") in written.headers
