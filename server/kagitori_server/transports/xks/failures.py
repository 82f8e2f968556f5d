"""THE table of failures for the proxy API: an exception of the vocabulary -> HTTP status and error name."""

from __future__ import annotations

import re
from collections.abc import Mapping

from kagitori_keystore.xks import wire
from kagitori_keystore.xks.errors import STATUS
from kagitori_server.model import errors
from kagitori_server.model.errors import KmsError, every_error

INTERNAL = "InternalException"
_UNAUTHENTICATED = "AuthenticationFailedException"

NAMES: Mapping[type[KmsError], str] = dict.fromkeys(every_error(), INTERNAL) | {
    error: name
    for name, classes in {
        "ValidationException": (
            errors.ValidationException,
            errors.SerializationException,
            errors.RequestEntityTooLargeException,
            errors.InvalidArnException,
            errors.LimitExceededException,
        ),
        "InvalidStateException": (
            errors.DisabledException,
            errors.KMSInvalidStateException,
            errors.CustomKeyStoreInvalidStateException,
        ),
        "InvalidCiphertextException": (
            errors.InvalidCiphertextException,
            errors.IncorrectKeyException,
        ),
        "InvalidKeyUsageException": (errors.InvalidKeyUsageException,),
        _UNAUTHENTICATED: (
            errors.MissingAuthenticationTokenException,
            errors.IncompleteSignatureException,
            errors.InvalidSignatureException,
            errors.UnrecognizedClientException,
            errors.ExpiredTokenException,
        ),
        "AccessDeniedException": (errors.AccessDeniedException,),
        "KeyNotFoundException": (errors.NotFoundException,),
        "ThrottlingException": (errors.ThrottlingException,),
        "UnsupportedOperationException": (errors.UnsupportedOperationException, errors.UnknownOperationException),
        "DependencyTimeoutException": (errors.DependencyTimeoutException,),
    }.items()
    for error in classes
}

_UNPRINTABLE = re.compile(r"[^ -~]")


def failure(error: KmsError) -> tuple[int, dict[str, object]]:
    """(status, body) that tell of an error. Who isn't authenticated hears nothing of why."""
    name = NAMES[type(error)]
    message = "The request could not be authenticated." if name == _UNAUTHENTICATED else error.message
    return named(name, message)


def named(name: str, message: str = "") -> tuple[int, dict[str, object]]:
    """(status, body) of an error of the API by its name."""
    body: dict[str, object] = {"errorName": name}
    if message:
        body["errorMessage"] = _UNPRINTABLE.sub("?", message)[: wire.ERROR_MESSAGE_MAX]
    return STATUS[name], body
