"""THE table of failures for gRPC: an exception of the vocabulary -> status code, message and details.

The details are a `google.rpc.Status` with an ErrorInfo that names the AWS exception, a BadRequest for violated
constraints and a RetryInfo where a retry makes sense. Nothing but what the exception holds for the caller gets in.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status
from grpc import StatusCode

from kagitori_server.model import errors
from kagitori_server.model.errors import FieldViolation, KmsError

DOMAIN = "kms.kagitori"
DETAILS_KEY = "grpc-status-details-bin"

MESSAGE_MAX = 1_024
"""Characters of a message."""
WIRE_MESSAGE_MAX = 1_536
"""Bytes of a message in `grpc-message`, where each byte that isn't printable ASCII takes three. Clients accept 8 KiB of
metadata, above that they begin to refuse some at random; the message goes over twice, and violations beside it."""
VIOLATIONS_BYTES_MAX = 2_048
"""Bytes of the BadRequest."""

_UNQUOTED = "".join(chr(code) for code in range(0x20, 0x7F) if chr(code) != "%")
"""What gRPC sends as it is (PROTOCOL-HTTP2, Percent-Encoded)."""

CODES: Mapping[type[KmsError], StatusCode] = {
    code_class: code
    for code, classes in {
        StatusCode.INVALID_ARGUMENT: (
            errors.InvalidAliasNameException,
            errors.InvalidArnException,
            errors.InvalidCiphertextException,
            errors.InvalidGrantIdException,
            errors.InvalidGrantTokenException,
            errors.InvalidImportTokenException,
            errors.InvalidMarkerException,
            errors.MalformedPolicyDocumentException,
            errors.TagException,
            errors.IncorrectTrustAnchorException,
            errors.IncorrectKeyException,
            errors.IncorrectKeyMaterialException,
            errors.KMSInvalidMacException,
            errors.KMSInvalidSignatureException,
            errors.ValidationException,
            errors.SerializationException,
        ),
        StatusCode.NOT_FOUND: (
            errors.NotFoundException,
            errors.CustomKeyStoreNotFoundException,
            errors.CloudHsmClusterNotFoundException,
            errors.XksKeyNotFoundException,
            errors.XksProxyVpcEndpointServiceNotFoundException,
            errors.NoSuchEntityException,
        ),
        StatusCode.ALREADY_EXISTS: (
            errors.AlreadyExistsException,
            errors.CustomKeyStoreNameInUseException,
            errors.CloudHsmClusterInUseException,
            errors.XksKeyAlreadyInUseException,
            errors.XksProxyUriInUseException,
            errors.XksProxyUriEndpointInUseException,
            errors.XksProxyVpcEndpointServiceInUseException,
            errors.EntityAlreadyExistsException,
        ),
        StatusCode.FAILED_PRECONDITION: (
            errors.DisabledException,
            errors.KMSInvalidStateException,
            errors.InvalidKeyUsageException,
            errors.ExpiredImportTokenException,
            errors.UnsupportedOperationException,
            errors.DryRunOperationException,
            errors.CustomKeyStoreInvalidStateException,
            errors.CustomKeyStoreHasCMKsException,
            errors.CloudHsmClusterNotActiveException,
            errors.CloudHsmClusterNotRelatedException,
            errors.CloudHsmClusterInvalidConfigurationException,
            errors.XksKeyInvalidConfigurationException,
            errors.XksProxyInvalidConfigurationException,
            errors.XksProxyIncorrectAuthenticationCredentialException,
            errors.XksProxyVpcEndpointServiceInvalidConfigurationException,
            errors.DeleteConflictException,
        ),
        StatusCode.ABORTED: (errors.ConflictException,),
        StatusCode.RESOURCE_EXHAUSTED: (
            errors.LimitExceededException,
            errors.ThrottlingException,
            # What grpcio itself answers to a message above its limit.
            errors.RequestEntityTooLargeException,
        ),
        StatusCode.INTERNAL: (errors.KMSInternalException,),
        StatusCode.UNAVAILABLE: (
            errors.KeyUnavailableException,
            errors.DependencyTimeoutException,
            errors.XksProxyUriUnreachableException,
            errors.XksProxyInvalidResponseException,
        ),
        StatusCode.PERMISSION_DENIED: (errors.AccessDeniedException,),
        StatusCode.UNAUTHENTICATED: (
            errors.MissingAuthenticationTokenException,
            errors.IncompleteSignatureException,
            errors.InvalidSignatureException,
            errors.UnrecognizedClientException,
            errors.ExpiredTokenException,
        ),
        StatusCode.UNIMPLEMENTED: (errors.UnknownOperationException,),
    }.items()
    for code_class in classes
}
"""Every class of the vocabulary. A subclass that isn't listed counts as its nearest listed ancestor."""

_CAPITALS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


@dataclass(frozen=True, slots=True)
class Failure:
    """An exception as it goes over the wire."""

    code: StatusCode
    message: str
    details: bytes
    """A serialized `google.rpc.Status` with the same code and message."""


def failure(error: KmsError, request_id: str) -> Failure:
    """What a caller is told of `error`."""
    known = vocabulary_class(error)
    code = CODES[known]
    message = _fitting(_text(error.message, MESSAGE_MAX))
    info = ErrorInfo(
        reason=reason(known),
        domain=DOMAIN,
        metadata={
            "awsErrorType": known.code(),
            "requestId": request_id,
            "httpStatus": "500" if error.server_fault else "400",
        },
    )
    details: list[Message] = [info]
    if error.violations:
        details.append(_bad_request(error.violations))
    if error.retry_after is not None:
        retry = RetryInfo()
        retry.retry_delay.FromMilliseconds(max(0, round(error.retry_after * 1000)))
        details.append(retry)
    # StatusCode's values are pairs of the number and its name.
    status = Status(code=code.value[0], message=message, details=[_packed(detail) for detail in details])
    return Failure(code, message, status.SerializeToString())


def vocabulary_class(error: KmsError) -> type[KmsError]:
    """The class of the table that `error` is told as; KMSInternalException for none."""
    for ancestor in type(error).__mro__:
        if ancestor in CODES:
            return ancestor
    return errors.KMSInternalException


def reason(known: type[KmsError]) -> str:
    """`KMSInvalidStateException` -> `KMS_INVALID_STATE`, at most 63 characters (google.rpc.ErrorInfo)."""
    # The one plural acronym of AWS's names would be torn apart.
    name = known.code().removesuffix("Exception").replace("CMKs", "Cmks")
    return _CAPITALS.sub("_", name).upper()


def _bad_request(violations: tuple[FieldViolation, ...]) -> BadRequest:
    told = BadRequest()
    for violation in violations:
        entry = BadRequest.FieldViolation(
            field=_text(violation.field, MESSAGE_MAX), description=_text(violation.description, MESSAGE_MAX)
        )
        if told.ByteSize() + entry.ByteSize() > VIOLATIONS_BYTES_MAX:
            break
        told.field_violations.append(entry)
    return told


def _text(text: str, limit: int) -> str:
    """What protobuf can hold of a text: halves of surrogate pairs are no Unicode text."""
    cut = text if len(text) <= limit else text[:limit] + "..."
    return cut.encode("utf-8", "replace").decode()


def _fitting(message: str) -> str:
    """The message, cut to what it may take on the wire."""
    if len(quote(message, safe=_UNQUOTED)) <= WIRE_MESSAGE_MAX:
        return message
    taken, kept = 0, 0
    for character in message:
        taken += len(quote(character, safe=_UNQUOTED))
        if taken > WIRE_MESSAGE_MAX - len("..."):
            break
        kept += 1
    return message[:kept] + "..."


def _packed(detail: Message) -> AnyMessage:
    packed = AnyMessage()
    packed.Pack(detail)
    return packed
