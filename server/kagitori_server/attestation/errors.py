"""The one failure of this package."""

from __future__ import annotations

import enum


class AttestationFault(enum.Enum):
    """What is wrong with an attestation document. For logs and metrics; callers need not be told."""

    MALFORMED = "malformed"
    """Not a COSE_Sign1 with a Nitro attestation document in it."""
    ALGORITHM = "algorithm"
    """Signed, or measured, with something else than ES384 and SHA-384."""
    CHAIN = "chain"
    """The signing certificate does not lead to a trusted root, or is not made for signing documents."""
    EXPIRED = "expired"
    """A certificate of the chain is not valid at this time."""
    SIGNATURE = "signature"
    """The document was changed, or another key signed it."""
    STALE = "stale"
    """The document is too old, or comes from the future."""
    PUBLIC_KEY = "public-key"
    """It carries no RSA public key to answer to, or an unfit one."""


class AttestationRefused(Exception):
    """An attestation document that proves nothing. The message quotes no byte of it."""

    def __init__(self, fault: AttestationFault, message: str) -> None:
        super().__init__(message)
        self.fault = fault
