"""GenerateDataKey, GenerateDataKeyWithoutPlaintext and GenerateRandom."""

from __future__ import annotations

from kagitori_server.model.custom_key_stores import DEFAULT_STORE, CustomKeyStoreType
from kagitori_server.model.encryption_context import canonical
from kagitori_server.model.errors import (
    InvalidKeyUsageException,
    UnsupportedOperationException,
    ValidationException,
)
from kagitori_server.model.keys import DATA_KEY_BYTES, Key, KeySpec
from kagitori_server.operations.context import Context, domain_of
from kagitori_server.operations.custom_key_stores import connected_store
from kagitori_server.operations.recipients import addressed
from kagitori_server.operations.references import current_reference
from kagitori_server.operations.shapes.crypto import (
    GenerateDataKeyRequest,
    GenerateDataKeyResponse,
    GenerateDataKeyWithoutPlaintextRequest,
    GenerateDataKeyWithoutPlaintextResponse,
    GenerateRandomRequest,
    GenerateRandomResponse,
)

DataKeyRequest = GenerateDataKeyRequest | GenerateDataKeyWithoutPlaintextRequest


def _size(request: DataKeyRequest) -> int:
    """The length of the data key in bytes. Raises ValidationException unless it is said exactly one way."""
    size, spec = request.number_of_bytes, request.key_spec
    if spec is not None and size is None:
        return DATA_KEY_BYTES[spec]
    if size is not None and spec is None:
        return size
    raise ValidationException("Please specify either number of bytes or key spec.")


def _check_symmetric(key: Key) -> None:
    if key.spec is not KeySpec.SYMMETRIC_DEFAULT:
        raise InvalidKeyUsageException(f"{key.arn} key spec is {key.spec}; data keys need SYMMETRIC_DEFAULT.")


def check_generate_data_key(context: Context, request: GenerateDataKeyRequest) -> None:
    """Refuses a size said twice or not at all, and, in a dry run, an unacceptable context."""
    _check_symmetric(context.key)
    _size(request)
    if request.dry_run:
        canonical(request.encryption_context)


def check_generate_data_key_without_plaintext(
    context: Context, request: GenerateDataKeyWithoutPlaintextRequest
) -> None:
    """Refuses a size said twice or not at all, and, in a dry run, an unacceptable context."""
    _check_symmetric(context.key)
    _size(request)
    if request.dry_run:
        canonical(request.encryption_context)


def generate_data_key(context: Context, request: GenerateDataKeyRequest) -> GenerateDataKeyResponse:
    """Makes a data key, in the clear and encrypted under the KMS key (AWS GenerateDataKey)."""
    key = context.key
    reference = current_reference(context, key)
    data_key, blob = context.store(key).generate_data_key(
        domain_of(key.account, key.region),
        key.key_id,
        reference,
        _size(request),
        canonical(request.encryption_context),
    )
    plaintext, for_recipient = addressed(context, data_key)
    return GenerateDataKeyResponse(
        ciphertext_blob=blob,
        plaintext=plaintext,
        key_id=key.arn,
        ciphertext_for_recipient=for_recipient,
        key_material_id=reference.material_id if for_recipient is None else None,
    )


def generate_data_key_without_plaintext(
    context: Context, request: GenerateDataKeyWithoutPlaintextRequest
) -> GenerateDataKeyWithoutPlaintextResponse:
    """Makes a data key, encrypted only (AWS GenerateDataKeyWithoutPlaintext)."""
    key = context.key
    reference = current_reference(context, key)
    blob = context.store(key).generate_data_key_without_plaintext(
        domain_of(key.account, key.region),
        key.key_id,
        reference,
        _size(request),
        canonical(request.encryption_context),
    )
    return GenerateDataKeyWithoutPlaintextResponse(
        ciphertext_blob=blob, key_id=key.arn, key_material_id=reference.material_id
    )


def check_generate_random(context: Context, request: GenerateRandomRequest) -> None:
    """Refuses a missing length, and key stores that generate none."""
    if request.number_of_bytes is None:
        raise ValidationException("NumberOfBytes is required.")
    if request.custom_key_store_id is not None:
        store = connected_store(context, request.custom_key_store_id)
        if store.kind is not CustomKeyStoreType.AWS_CLOUDHSM:
            raise UnsupportedOperationException("External key stores generate no random bytes.")
        context.store_id = store.store_id


def generate_random(context: Context, request: GenerateRandomRequest) -> GenerateRandomResponse:
    """Random bytes from the key store's source (AWS GenerateRandom)."""
    size = request.number_of_bytes or 0  # absent was refused by check_generate_random; a store refuses 0
    store = context.services.stores.of(context.store_id or DEFAULT_STORE)
    plaintext, for_recipient = addressed(context, store.random(size))
    return GenerateRandomResponse(plaintext=plaintext, ciphertext_for_recipient=for_recipient)
