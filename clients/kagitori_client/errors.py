"""Every failure a user of the client can meet, as one tree.

Nothing here holds a token, a plaintext or key material; messages are safe to print and to log.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Violation:
    """A field of a request that broke its limits: its snake_case path and what it should have been."""

    field: str
    description: str


class KagitoriError(Exception):
    """Root of the tree.

    `code` is short and stable, made for programs: the AWS exception's name where the service answered,
    such as `AccessDeniedException`. `message` is made for people, `hint` says what to do, if that is known.
    """

    code = "KagitoriError"

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"


class ConfigurationError(KagitoriError):
    """The client was told something it can't work with: endpoint, profile, file of a credential."""

    code = "Configuration"


class ConnectionFailed(KagitoriError):
    """The service could not be reached, or did not answer in time."""

    code = "CannotConnect"


class MessageLength(KagitoriError):
    """The service doesn't take a message of that length, too long or empty, and the algorithm doesn't sign hashes."""

    code = "MessageLength"


class InvalidPublicKey(KagitoriError):
    """A public key is malformed, or of another kind than what it is needed for."""

    code = "InvalidPublicKey"


class ReceiptInvalid(KagitoriError):
    """A receipt, checkpoint or proof of the audit trail doesn't prove what it claims."""

    code = "ReceiptInvalid"


class ServiceError(KagitoriError):
    """The service refused a call.

    `code` is the AWS exception's name; where the answer carried none (a proxy's, say), the name of its gRPC
    status in CamelCase. `request_id` finds the call in the audit trail. `retry_after` is seconds.
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        request_id: str | None = None,
        violations: tuple[Violation, ...] = (),
        retry_after: float | None = None,
        key_arn: str | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.request_id = request_id
        self.violations = violations
        self.retry_after = retry_after
        self.key_arn = key_arn


class KeyMaterialError(KagitoriError):
    """A key file is not what can be imported, or cannot be wrapped as asked."""

    code = "KeyMaterial"


class SourceError(KagitoriError):
    """AWS, from where keys are to be moved, refused a call or couldn't be reached."""

    code = "Aws"


class EnvelopeError(KagitoriError):
    """An encrypted message could not be written or read."""

    code = "Envelope"


class DoesNotVerify(EnvelopeError):
    """The message was altered, cut short or continued, or is none at all."""

    code = "DoesNotVerify"


class ContextMismatch(EnvelopeError):
    """The message does not contain the encryption context that was asked for."""

    code = "ContextMismatch"


class TooLarge(EnvelopeError):
    """The message holds a frame or a number of data keys above the limits that protect the reader's memory."""

    code = "TooLarge"


class NoUsableKey(EnvelopeError):
    """None of the data keys of the message could be decrypted.

    `causes` are the service's refusals, one for each data key that was tried. With at least one, `code` is the
    first one's AWS name, so that "may not" and "can't be" stay distinguishable.
    """

    code = "NoUsableKey"

    def __init__(self, message: str, *, causes: tuple[ServiceError, ...] = (), hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.causes = causes
        if causes:
            self.code = causes[0].code
