"""What a key store's failure means to the caller of an operation."""

from __future__ import annotations

from kagitori_keystore.base import (
    CiphertextInvalid,
    ErrorKind,
    ImportFault,
    ImportRefused,
    KeyStoreError,
    LibraryLacking,
    MaterialCorrupt,
    MaterialUnknown,
    PublicKeyInvalid,
    StoreKind,
)
from kagitori_server.model.errors import (
    DependencyTimeoutException,
    IncorrectKeyMaterialException,
    InvalidCiphertextException,
    KeyUnavailableException,
    KmsError,
    KMSInternalException,
    KMSInvalidStateException,
    UnsupportedOperationException,
    XksKeyInvalidConfigurationException,
    XksKeyNotFoundException,
)
from kagitori_server.model.keys import KeySpec
from kagitori_server.operations.context import Context
from kagitori_server.operations.stores import store_kind

_AWAY = frozenset({ErrorKind.TOO_SLOW, ErrorKind.SESSION_LOST, ErrorKind.STORE_LOST})


def as_kms_error(error: KeyStoreError) -> KmsError:
    """The AWS exception for a store's failure. Arguments were checked before, so other refusals are our fault."""
    if isinstance(error, CiphertextInvalid):
        return InvalidCiphertextException()
    if isinstance(error, ImportRefused):
        if error.reason is ImportFault.UNDECRYPTABLE:
            return InvalidCiphertextException()
        return IncorrectKeyMaterialException("The key material is not one key of the KMS key's spec.")
    if isinstance(error, LibraryLacking):
        return KeyUnavailableException("Keys of this spec need an OpenSSL of 3.5 or newer, which this server lacks.")
    if error.kind is ErrorKind.TOO_SLOW:
        return DependencyTimeoutException("The key store did not answer in time.", retry_after=1.0)
    if error.kind in (ErrorKind.SESSION_LOST, ErrorKind.STORE_LOST):
        return KeyUnavailableException("The key store can't be reached.", retry_after=1.0)
    return KMSInternalException("The key's material can't be used; the service's log says why.")


def spec_not_made(spec: KeySpec) -> UnsupportedOperationException:
    """The service's own key store makes no keys of a spec of this model."""
    if spec is KeySpec.ML_KEM_512:
        return UnsupportedOperationException(
            "Key spec ML_KEM_512 is not served: this server lacks an OpenSSL of 3.5 or newer, which such keys need."
        )
    return UnsupportedOperationException(f"Key spec {spec} is not served: the key store can't make such keys.")


def of_custom_store(error: KeyStoreError, context: Context) -> KmsError | None:
    """What a failure means in a call that a custom key store has a part in, where that is another than else."""
    key = next((key for key in context.keys.values() if key.custom_store is not None), None)
    if key is None and context.store_id is None:
        return None
    if error.kind is ErrorKind.CALLER and not isinstance(error, CiphertextInvalid | PublicKeyInvalid):
        # A token does what its mechanisms let it do.
        return UnsupportedOperationException("The custom key store can't do this with the key.")
    if key is not None and store_kind(key) is StoreKind.XKS and _of_proxy(error):
        return KMSInvalidStateException(f"{key.arn}: the external key store proxy did not serve the request.")
    return None


def _of_proxy(error: KeyStoreError) -> bool:
    """Whether a proxy, or the external key that it looks after, stands in the way."""
    return error.kind in _AWAY or (error.kind is ErrorKind.KEY and not isinstance(error, MaterialCorrupt))


def of_adoption(error: KeyStoreError, xks_key_id: str) -> KmsError:
    """What it means that an external key can't become the material of a key."""
    if isinstance(error, MaterialUnknown):
        return XksKeyNotFoundException(f"The proxy knows no external key {xks_key_id}.")
    if error.kind is ErrorKind.KEY:
        return XksKeyInvalidConfigurationException(
            f"The external key {xks_key_id} is no enabled AES-256 key that encrypts and decrypts."
        )
    return as_kms_error(error)
