"""What the user sees of a failure: lines on stderr and an exit code."""

from __future__ import annotations

import sys
import traceback

from kagitori_client.cli.text import printable
from kagitori_client.errors import (
    ConnectionFailed,
    ContextMismatch,
    DoesNotVerify,
    EnvelopeError,
    KagitoriError,
    NoUsableKey,
    ReceiptInvalid,
    ServiceError,
    SourceError,
    TooLarge,
)

REFUSED = 1
USAGE = 2
UNREACHABLE = 3
DOES_NOT_VERIFY = 4
WOULD_REFUSE = 5

_CRYPTOGRAPHIC = frozenset({"InvalidCiphertextException", "KMSInvalidMacException", "KMSInvalidSignatureException"})


class UsageError(KagitoriError):
    """The command line asks for something that makes no sense."""

    code = "Usage"


class LocalFileError(KagitoriError):
    """A file of this machine can't be read or written."""

    code = "LocalFile"


class Unhealthy(KagitoriError):
    """The service answers, but not everything it needs works."""

    code = "Unhealthy"


class AuditTrailBroken(KagitoriError):
    """The audit trail is not as it was written."""

    code = "AuditTrailBroken"


class ReceiptMissing(KagitoriError):
    """A call was made, but the service gave no receipt for it."""

    code = "ReceiptMissing"


class PolicyFindings(KagitoriError):
    """A policy was checked, and there is something to say about it."""

    code = "PolicyFindings"


class WouldRefuse(KagitoriError):
    """A change was simulated, and calls as they were made would be refused."""

    code = "WouldRefuse"


class MovedInPart(KagitoriError):
    """Of the keys of an AWS account some could not be moved."""

    code = "MovedInPart"


def exit_code(error: KagitoriError) -> int:
    """The process's exit code for a failure."""
    if isinstance(error, ConnectionFailed):
        return UNREACHABLE
    if isinstance(error, WouldRefuse):
        return WOULD_REFUSE
    if isinstance(error, (DoesNotVerify, ContextMismatch, TooLarge, AuditTrailBroken, ReceiptInvalid)):
        return DOES_NOT_VERIFY
    if isinstance(error, (ServiceError, NoUsableKey)):
        # The service's word that a ciphertext, MAC or signature is wrong is about the data, not the caller.
        return DOES_NOT_VERIFY if error.code in _CRYPTOGRAPHIC else REFUSED
    if isinstance(error, (EnvelopeError, Unhealthy, PolicyFindings, SourceError, MovedInPart, ReceiptMissing)):
        return REFUSED
    return USAGE


def report(error: KagitoriError, *, debug: bool) -> int:
    """Writes a failure to stderr and answers the exit code."""
    if debug:
        traceback.print_exception(error)
    message = error.message or "no reason was given"
    lines = [f"error: {error.code}: {message}"]
    if isinstance(error, ServiceError):
        lines += [f"  {violation.field}: {violation.description}" for violation in error.violations]
    hint = error.hint or _HINTS.get(error.code)
    if hint:
        lines.append(f"hint: {hint}")
    if isinstance(error, ServiceError) and error.request_id:
        lines.append(f"request id: {error.request_id}")
    sys.stderr.write("".join(f"{printable(line)}\n" for line in lines))
    return exit_code(error)


_HINTS = {
    "MissingAuthenticationTokenException": "give a credential: --token-file, KAGITORI_TOKEN_FILE, or kagitori init",
    "UnrecognizedClientException": "the token or certificate is not known to this service; was it revoked?",
    "ExpiredTokenException": "the token has ended: have a new one made with kagitori token create",
    "AccessDeniedException": "kagitori principal whoami shows who you are to the service",
    "DisabledException": "kagitori key enable KEY makes it usable again",
    "InvalidKeyUsageException": "kagitori key show KEY tells what the key is for, and its algorithms",
    "KMSInvalidSignatureException": "another key or algorithm made the signature, or the file is not what was signed",
    "KMSInvalidMacException": "another key made the code, or the file is not what it was made of",
    "InvalidCiphertextException": "the data was altered, or the encryption context is another one",
    "Unimplemented": "the server doesn't serve this operation: kagitori status lists the ones it does",
}
