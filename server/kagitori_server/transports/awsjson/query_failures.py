"""THE table of failures for the query protocol (STS): an exception of the vocabulary -> AWS's code and HTTP status."""

from __future__ import annotations

from collections.abc import Mapping

from kagitori_server.model import errors, neighbour_errors
from kagitori_server.model.errors import KmsError

CODES: Mapping[type[KmsError], tuple[str, int]] = {
    errors.AccessDeniedException: ("AccessDenied", 403),
    errors.ValidationException: ("ValidationError", 400),
    errors.SerializationException: ("MalformedInput", 400),
    errors.RequestEntityTooLargeException: ("RequestEntityTooLarge", 413),
    errors.UnknownOperationException: ("InvalidAction", 400),
    errors.ThrottlingException: ("Throttling", 400),
    errors.MissingAuthenticationTokenException: ("MissingAuthenticationToken", 403),
    errors.IncompleteSignatureException: ("IncompleteSignature", 400),
    errors.InvalidSignatureException: ("SignatureDoesNotMatch", 403),
    errors.UnrecognizedClientException: ("InvalidClientTokenId", 403),
    errors.ExpiredTokenException: ("ExpiredToken", 403),
    errors.LimitExceededException: ("LimitExceeded", 409),
    errors.MalformedPolicyDocumentException: ("MalformedPolicyDocument", 400),
    errors.DependencyTimeoutException: ("ServiceUnavailable", 503),
    errors.KeyUnavailableException: ("ServiceUnavailable", 503),
    neighbour_errors.InvalidIdentityTokenException: ("InvalidIdentityToken", 400),
    neighbour_errors.ExpiredIdentityTokenException: ("ExpiredTokenException", 400),
    neighbour_errors.IDPRejectedClaimException: ("IDPRejectedClaim", 403),
    neighbour_errors.IDPCommunicationErrorException: ("IDPCommunicationError", 400),
    neighbour_errors.PackedPolicyTooLargeException: ("PackedPolicyTooLarge", 400),
}
"""A class that isn't here counts as its nearest ancestor that is; of those without one, the service's own faults are an
InternalFailure, and the others have their own name."""


def told_as(error: KmsError) -> tuple[str, int]:
    """(code, HTTP status)."""
    for ancestor in type(error).__mro__:
        found = CODES.get(ancestor)
        if found is not None:
            return found
    if error.server_fault:
        return "InternalFailure", 500
    return error.code().removesuffix("Exception"), 400
