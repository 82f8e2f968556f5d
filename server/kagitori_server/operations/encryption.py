"""Encrypt, Decrypt and ReEncrypt."""

from __future__ import annotations

from kagitori_keystore.base import CiphertextInvalid, MaterialRef
from kagitori_keystore.ciphertext import CiphertextBlob, parse
from kagitori_server.model.encryption_context import canonical
from kagitori_server.model.errors import (
    IncorrectKeyException,
    InvalidCiphertextException,
    InvalidKeyUsageException,
    UnsupportedOperationException,
    ValidationException,
)
from kagitori_server.model.keys import EncryptionAlgorithm, Key, MaterialVersion
from kagitori_server.operations.context import Context, domain_of
from kagitori_server.operations.shapes.crypto import (
    DecryptRequest,
    DecryptResponse,
    DryRunModifier,
    EncryptRequest,
    EncryptResponse,
    ReEncryptRequest,
    ReEncryptResponse,
)

MATERIAL_ID = "key_material_id"
"""The name under which a record shows the material used."""


def check_algorithm(key: Key, algorithm: EncryptionAlgorithm) -> None:
    """Refuses an algorithm that the key's spec doesn't have. Raises InvalidKeyUsageException."""
    if algorithm is not EncryptionAlgorithm.SYMMETRIC_DEFAULT:
        raise InvalidKeyUsageException(f"Algorithm {algorithm} is incompatible with key spec {key.spec}.")


def current_reference(context: Context, key: Key) -> MaterialRef:
    """The material that encrypts, noted for the audit record."""
    return _reference(context, key, key.current_material)


def _reference(context: Context, key: Key, version: MaterialVersion) -> MaterialRef:
    context.extra[MATERIAL_ID] = version.material_id
    return MaterialRef(context.store(key).describe().kind, version.reference, version.material_id)


def check_encrypt(context: Context, request: EncryptRequest) -> None:
    """Refuses an algorithm the key doesn't have; a dry run also hears of an unacceptable encryption context."""
    check_algorithm(context.key, request.encryption_algorithm)
    if request.dry_run:
        canonical(request.encryption_context)


def encrypt(context: Context, request: EncryptRequest) -> EncryptResponse:
    """Encrypts up to 4,096 bytes (AWS Encrypt)."""
    key = context.key
    blob = context.store(key).encrypt(
        domain_of(key.account, key.region),
        key.key_id,
        current_reference(context, key),
        request.plaintext,
        canonical(request.encryption_context),
    )
    return EncryptResponse(
        ciphertext_blob=blob, key_id=key.arn, encryption_algorithm=EncryptionAlgorithm.SYMMETRIC_DEFAULT
    )


def check_decrypt(context: Context, request: DecryptRequest) -> None:
    """Refuses what can't be decrypted whatever the ciphertext says, and a ciphertext that isn't the key's.

    A dry run that isn't told to ignore the ciphertext opens it, and forgets what it held.
    """
    if request.recipient is not None:
        raise UnsupportedOperationException("Recipient is not served: answers can't be encrypted for an enclave.")
    check_algorithm(context.key, request.encryption_algorithm)
    if _ignores_ciphertext(request):
        _check_dry_modifier(dry_run=request.dry_run, key_named=request.key_id is not None)
    elif request.dry_run:
        _open(context, context.key, request.ciphertext_blob, canonical(request.encryption_context))
    else:
        _parsed(context.key, request.ciphertext_blob)


def decrypt(context: Context, request: DecryptRequest) -> DecryptResponse:
    """Decrypts what Encrypt or GenerateDataKey made (AWS Decrypt)."""
    aad = canonical(request.encryption_context)
    plaintext, material_id = _open(context, context.key, request.ciphertext_blob, aad)
    return DecryptResponse(
        key_id=context.key.arn,
        plaintext=plaintext,
        encryption_algorithm=EncryptionAlgorithm.SYMMETRIC_DEFAULT,
        key_material_id=material_id,
    )


def check_re_encrypt(context: Context, request: ReEncryptRequest) -> None:
    """As `check_decrypt` for the source, `check_encrypt` for the destination."""
    check_algorithm(context.keys["source"], request.source_encryption_algorithm)
    check_algorithm(context.keys["destination"], request.destination_encryption_algorithm)
    if _ignores_ciphertext(request):
        _check_dry_modifier(dry_run=request.dry_run, key_named=request.source_key_id is not None)
    elif request.dry_run:
        canonical(request.destination_encryption_context)
        source_context = canonical(request.source_encryption_context)
        _open(context, context.keys["source"], request.ciphertext_blob, source_context)
    else:
        _parsed(context.keys["source"], request.ciphertext_blob)


def re_encrypt(context: Context, request: ReEncryptRequest) -> ReEncryptResponse:
    """Decrypts and encrypts anew; the plaintext never leaves the service (AWS ReEncrypt)."""
    source, destination = context.keys["source"], context.keys["destination"]
    plaintext, source_material = _open(
        context, source, request.ciphertext_blob, canonical(request.source_encryption_context)
    )
    reference = current_reference(context, destination)
    blob = context.store(destination).encrypt(
        domain_of(destination.account, destination.region),
        destination.key_id,
        reference,
        plaintext,
        canonical(request.destination_encryption_context),
    )
    context.extra.pop(MATERIAL_ID)
    context.extra["source_key_material_id"] = source_material
    context.extra["destination_key_material_id"] = reference.material_id
    return ReEncryptResponse(
        ciphertext_blob=blob,
        source_key_id=source.arn,
        key_id=destination.arn,
        source_encryption_algorithm=EncryptionAlgorithm.SYMMETRIC_DEFAULT,
        destination_encryption_algorithm=EncryptionAlgorithm.SYMMETRIC_DEFAULT,
        source_key_material_id=source_material,
        destination_key_material_id=reference.material_id,
    )


def _ignores_ciphertext(request: DecryptRequest | ReEncryptRequest) -> bool:
    return DryRunModifier.IGNORE_CIPHERTEXT in request.dry_run_modifiers


def _check_dry_modifier(*, dry_run: bool, key_named: bool) -> None:
    if not dry_run:
        raise ValidationException("DryRunModifiers may be given only together with DryRun.")
    if not key_named:
        raise ValidationException("With IGNORE_CIPHERTEXT the request must name its key.")


def _parsed(key: Key, blob: bytes | None) -> CiphertextBlob:
    """The ciphertext taken apart. Raises IncorrectKeyException when another key made it."""
    if blob is None:
        raise ValidationException(
            "1 validation error detected: Value null at 'ciphertextBlob' failed to satisfy constraint: "
            "Member must not be null"
        )
    try:
        parsed = parse(blob)
    except CiphertextInvalid:
        raise InvalidCiphertextException from None
    if parsed.key_id != key.key_id:
        raise IncorrectKeyException(
            "The key ID in the request does not identify a CMK that can perform this operation."
        )
    return parsed


def _open(context: Context, key: Key, blob: bytes | None, aad: bytes) -> tuple[bytes, str]:
    """(plaintext, material id) of a ciphertext of `key`."""
    parsed = _parsed(key, blob)
    version = key.material(parsed.material_id)
    if version is None:
        raise InvalidCiphertextException
    reference = _reference(context, key, version)
    plaintext = context.store(key).decrypt(domain_of(key.account, key.region), key.key_id, reference, parsed, aad)
    return plaintext, version.material_id
