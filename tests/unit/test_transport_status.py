"""Every class of the vocabulary goes over gRPC and is recognised on the other side."""

from __future__ import annotations

import re

import pytest
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status
from grpc import StatusCode

from kagitori_server.model import errors
from kagitori_server.model.errors import FieldViolation, KmsError, every_error
from kagitori_server.transports.grpc.status import CODES, DOMAIN, failure, reason, vocabulary_class

BY_NAME = {error.code(): error for error in every_error()}


def example(kind: type[KmsError], message: str = "why") -> KmsError:
    """An exception of that class; one of them takes no message."""
    return kind() if kind is errors.DryRunOperationException else kind(message)


def parsed(error: KmsError) -> tuple[Status, ErrorInfo]:
    """What a client reads."""
    status = Status.FromString(failure(error, "request-1").details)
    info = ErrorInfo()
    assert status.details[0].Unpack(info)
    return status, info


def test_the_table_is_complete() -> None:
    """No class of the vocabulary is missing, and nothing else is there."""
    assert set(CODES) == set(every_error())


@pytest.mark.parametrize("kind", every_error(), ids=lambda kind: kind.__name__)
def test_there_and_back(kind: type[KmsError]) -> None:
    """Code, message, class and request id survive; the reason obeys google.rpc.ErrorInfo."""
    error = example(kind)
    told = failure(error, "request-1")
    status, info = parsed(error)
    assert status.code == told.code.value[0] == CODES[kind].value[0]
    assert status.message == told.message == error.message
    assert BY_NAME[info.metadata["awsErrorType"]] is kind
    assert info.domain == DOMAIN
    assert re.fullmatch("[A-Z][A-Z0-9_]{1,61}[A-Z0-9]", info.reason)
    assert info.metadata["requestId"] == "request-1"
    assert info.metadata["httpStatus"] == ("500" if kind.server_fault else "400")
    assert len(status.details) == 1


def test_reasons_are_unique() -> None:
    """A client may go by the reason alone."""
    assert len({reason(kind) for kind in every_error()}) == len(every_error())


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (errors.CustomKeyStoreHasCMKsException, "CUSTOM_KEY_STORE_HAS_CMKS"),
        (errors.KMSInvalidStateException, "KMS_INVALID_STATE"),
        (errors.KMSInternalException, "KMS_INTERNAL"),
        (errors.XksProxyUriInUseException, "XKS_PROXY_URI_IN_USE"),
        (errors.CloudHsmClusterInUseException, "CLOUD_HSM_CLUSTER_IN_USE"),
        (errors.TagException, "TAG"),
    ],
)
def test_reasons_read_well(kind: type[KmsError], expected: str) -> None:
    """Words are kept whole, acronyms too."""
    assert reason(kind) == expected


def test_never_success() -> None:
    """No failure is told as OK."""
    assert StatusCode.OK not in CODES.values()


def test_subclass_is_told_as_its_ancestor() -> None:
    """A class that isn't listed counts as the nearest one that is; its own name isn't told."""
    class AuditUnavailable(errors.KMSInternalException):
        """Like the pipeline's own."""

    told = failure(AuditUnavailable("The audit record can't be written."), "r")
    _, info = parsed(AuditUnavailable("x"))
    assert told.code is StatusCode.INTERNAL
    assert info.metadata["awsErrorType"] == "KMSInternalException"
    assert info.reason == "KMS_INTERNAL"


def test_stranger_is_internal() -> None:
    """A class outside of the vocabulary is told as an internal error."""
    class Stranger(KmsError):
        """No ancestor of it is listed."""

    assert vocabulary_class(Stranger()) is errors.KMSInternalException


def test_violations() -> None:
    """Each violated constraint is a FieldViolation."""
    violations = (FieldViolation("tags[3].tag_key", "too long"), FieldViolation("key_id", "missing"))
    status, _ = parsed(errors.ValidationException("2 errors", violations=violations))
    bad = BadRequest()
    assert status.details[1].Unpack(bad)
    assert [(entry.field, entry.description) for entry in bad.field_violations] == [
        ("tags[3].tag_key", "too long"), ("key_id", "missing")
    ]


@pytest.mark.parametrize(("seconds", "milliseconds"), [(0.0, 0), (0.25, 250), (7200.0, 7_200_000), (-1.0, 0)])
def test_retry_delay(seconds: float, milliseconds: int) -> None:
    """When a retry makes sense is told, and never as the past."""
    status, _ = parsed(errors.ThrottlingException("slow", retry_after=seconds))
    retry = RetryInfo()
    assert status.details[1].Unpack(retry)
    assert retry.retry_delay.ToMilliseconds() == milliseconds


def test_size_is_bounded() -> None:
    """Message twice and details, in base64, stay within the 8 KiB that clients accept."""
    violations = tuple(FieldViolation(f"member_{number}", "x" * 5_000) for number in range(10))
    told = failure(errors.ValidationException("y" * 50_000, violations=violations), "r" * 36)
    assert len(told.message) + len(told.details) * 4 / 3 < 7_000


def test_half_of_a_surrogate_pair() -> None:
    """A text that isn't Unicode is told as far as it is."""
    assert failure(errors.NotFoundException("a\ud800b"), "r").message == "a?b"
