"""Turns the failure of a gRPC call into the client's tree of errors."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

import grpc
from google.protobuf.message import DecodeError
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status

from kagitori_client.errors import ConnectionFailed, KagitoriError, ServiceError, Violation

REQUEST_ID = "kagitori-request-id"
_DETAILS = "grpc-status-details-bin"
_DOMAIN = "kms.kagitori"

# What gRPC's own texts mean for the user, by a part of them.
_OTHER_NAME = "the server's certificate is for another name: check the endpoint's host"
_UNKNOWN_HOST = "the host name of the endpoint is unknown"
_HANDSHAKE = "the TLS handshake failed: check the CA file and the client certificate, if any"
_HINTS = (
    ("CERTIFICATE_VERIFY_FAILED", "the server's certificate isn't signed by the CA file: check --ca-file"),
    ("No match found for server name", _OTHER_NAME),
    ("Hostname Verification Check failed", _OTHER_NAME),
    ("WRONG_VERSION_NUMBER", "the server doesn't speak TLS there: check the endpoint"),
    ("CERTIFICATE_REQUIRED", "the server wants a client certificate there: set cert_file and key_file"),
    ("DNS resolution failed", _UNKNOWN_HOST),
    ("errors resolving", _UNKNOWN_HOST),
    ("Connection refused", "nothing listens there: is kagitori-server running, and is the endpoint right?"),
    ("No such file or directory", "there is no such socket: is kagitori-server running with it?"),
    ("Permission denied", "this user may not use the socket"),
    ("Ssl handshake failed", _HANDSHAKE),
    ("Tls handshake failed", _HANDSHAKE),
    ("Socket closed", "the connection was closed: a server with TLS needs an https:// endpoint"),
)


@dataclass(frozen=True, slots=True)
class Failure:
    """A failed call: what to raise, and what decides about another try."""

    error: KagitoriError
    code: grpc.StatusCode
    retry_after: float | None


def failure(
    code: grpc.StatusCode,
    details: str | None,
    trailing: Iterable[tuple[str, str | bytes]],
    *,
    endpoint: str,
    timeout: float,
) -> Failure:
    """Reads status and details of a failed call.

    Statuses without the service's own ErrorInfo come from the network, from gRPC or from something in between:
    those that mean "not reached" become ConnectionFailed.
    """
    metadata = dict(trailing)
    info, violations, retry_after = _unpack(metadata.get(_DETAILS))
    request_id = metadata.get(REQUEST_ID)
    if info is None and code is grpc.StatusCode.UNAVAILABLE:
        return Failure(_unreachable(endpoint, details or ""), code, None)
    if info is None and code is grpc.StatusCode.DEADLINE_EXCEEDED:
        late = ConnectionFailed(
            f"{endpoint} did not answer within {timeout:g} s",
            hint="a change may have happened all the same: look before repeating it",
        )
        return Failure(late, code, None)
    if info is None:
        answer = ServiceError(
            _camel(code.name), details or "no reason was given", request_id=_text(request_id), violations=violations
        )
        return Failure(answer, code, retry_after)
    answer = ServiceError(
        info.metadata.get("awsErrorType") or info.reason,
        details or "",
        request_id=info.metadata.get("requestId") or _text(request_id),
        violations=violations,
        retry_after=retry_after,
        key_arn=info.metadata.get("keyArn"),
    )
    return Failure(answer, code, retry_after)


def _unpack(
    packed: str | bytes | None,
) -> tuple[ErrorInfo | None, tuple[Violation, ...], float | None]:
    info: ErrorInfo | None = None
    violations: tuple[Violation, ...] = ()
    retry_after: float | None = None
    if not isinstance(packed, bytes):
        return info, violations, retry_after
    try:
        for detail in Status.FromString(packed).details:
            found, bad, retry = ErrorInfo(), BadRequest(), RetryInfo()
            if detail.Unpack(found) and found.domain == _DOMAIN:
                info = found
            elif detail.Unpack(bad):
                violations = tuple(Violation(v.field, v.description) for v in bad.field_violations)
            elif detail.Unpack(retry):
                retry_after = retry.retry_delay.ToTimedelta().total_seconds()
    except DecodeError:
        # Not from the service, or damaged on the way: the plain status says all there is.
        return None, (), None
    return info, violations, retry_after


def _unreachable(endpoint: str, details: str) -> ConnectionFailed:
    hint = next((hint for part, hint in _HINTS if part in details), "check the endpoint and the network between")
    reason = re.sub(r"\s+", " ", details).strip()[:300] or "no reason was given"
    return ConnectionFailed(f"{endpoint} can't be reached: {reason}", hint=hint)


def _camel(name: str) -> str:
    return "".join(part.capitalize() for part in name.split("_"))


def _text(value: str | bytes | None) -> str | None:
    return value.decode("ascii", "replace") if isinstance(value, bytes) else value
