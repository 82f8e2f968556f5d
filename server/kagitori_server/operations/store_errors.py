"""What a key store's failure means to the caller of an operation."""

from __future__ import annotations

from kagitori_keystore.base import CiphertextInvalid, ErrorKind, ImportFault, ImportRefused, KeyStoreError
from kagitori_server.model.errors import (
    DependencyTimeoutException,
    IncorrectKeyMaterialException,
    InvalidCiphertextException,
    KeyUnavailableException,
    KmsError,
    KMSInternalException,
)


def as_kms_error(error: KeyStoreError) -> KmsError:
    """The AWS exception for a store's failure. Arguments were checked before, so other refusals are our fault."""
    if isinstance(error, CiphertextInvalid):
        return InvalidCiphertextException()
    if isinstance(error, ImportRefused):
        if error.reason is ImportFault.UNDECRYPTABLE:
            return InvalidCiphertextException()
        return IncorrectKeyMaterialException("The key material is not one key of the KMS key's spec.")
    if error.kind is ErrorKind.TOO_SLOW:
        return DependencyTimeoutException("The key store did not answer in time.", retry_after=1.0)
    if error.kind in (ErrorKind.SESSION_LOST, ErrorKind.STORE_LOST):
        return KeyUnavailableException("The key store can't be reached.", retry_after=1.0)
    return KMSInternalException("The key's material can't be used; the service's log says why.")
