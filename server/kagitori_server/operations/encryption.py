"""Encrypt, Decrypt and ReEncrypt."""

from __future__ import annotations

from collections.abc import Mapping

from kagitori_keystore.algorithms import AsymmetricEncryptionAlgorithm, oaep_plaintext_max
from kagitori_keystore.algorithms import KeySpec as MaterialSpec
from kagitori_keystore.base import CiphertextInvalid
from kagitori_keystore.ciphertext import CiphertextBlob, parse
from kagitori_server.model import key_specs
from kagitori_server.model.encryption_context import canonical
from kagitori_server.model.errors import (
    IncorrectKeyException,
    InvalidCiphertextException,
    InvalidKeyUsageException,
    ValidationException,
)
from kagitori_server.model.keys import EncryptionAlgorithm, Key, KeySpec
from kagitori_server.operations.context import Context, domain_of
from kagitori_server.operations.recipients import addressed
from kagitori_server.operations.references import MATERIAL_ID, current_reference, reference
from kagitori_server.operations.shapes.crypto import (
    DecryptRequest,
    DecryptResponse,
    DryRunModifier,
    EncryptRequest,
    EncryptResponse,
    ReEncryptRequest,
    ReEncryptResponse,
)


def check_algorithm(key: Key, algorithm: EncryptionAlgorithm) -> None:
    """Refuses an algorithm that the key's spec doesn't have. Raises InvalidKeyUsageException."""
    if algorithm not in key_specs.encryption_algorithms(key.spec, key.usage):
        raise InvalidKeyUsageException(f"Algorithm {algorithm} is incompatible with key spec {key.spec}.")


def check_context(key: Key, pairs: Mapping[str, str]) -> None:
    """Refuses pairs that can't be authenticated: asymmetric ciphertexts have no place for them."""
    if pairs and key.spec is not KeySpec.SYMMETRIC_DEFAULT:
        raise ValidationException("An encryption context is for symmetric encryption keys alone.")


def _check_size(key: Key, algorithm: EncryptionAlgorithm, size: int) -> None:
    if key.spec is KeySpec.SYMMETRIC_DEFAULT:
        return
    most = oaep_plaintext_max(MaterialSpec[key.spec.name], AsymmetricEncryptionAlgorithm(algorithm))
    if size > most:
        raise ValidationException(
            f"Algorithm {algorithm} and key spec {key.spec} cannot encrypt data larger than {most} bytes."
        )


def check_encrypt(context: Context, request: EncryptRequest) -> None:
    """Refuses an algorithm the key doesn't have; a dry run also hears of an unacceptable encryption context."""
    check_algorithm(context.key, request.encryption_algorithm)
    check_context(context.key, request.encryption_context)
    _check_size(context.key, request.encryption_algorithm, len(request.plaintext))
    if request.dry_run:
        canonical(request.encryption_context)


def encrypt(context: Context, request: EncryptRequest) -> EncryptResponse:
    """Encrypts up to 4,096 bytes, or as much as fits into an RSA key (AWS Encrypt)."""
    key = context.key
    blob, _ = _seal(context, key, request.encryption_algorithm, request.plaintext, request.encryption_context)
    return EncryptResponse(
        ciphertext_blob=blob, key_id=key.arn, encryption_algorithm=request.encryption_algorithm
    )


def check_decrypt(context: Context, request: DecryptRequest) -> None:
    """Refuses what can't be decrypted whatever the ciphertext says, and a ciphertext that isn't the key's.

    A dry run that isn't told to ignore the ciphertext opens it, and forgets what it held.
    """
    check_algorithm(context.key, request.encryption_algorithm)
    check_context(context.key, request.encryption_context)
    if _ignores_ciphertext(request):
        _check_dry_modifier(dry_run=request.dry_run, key_named=request.key_id is not None)
    elif request.dry_run:
        _open(context, context.key, request.encryption_algorithm, request.ciphertext_blob, request.encryption_context)
    else:
        _check_ciphertext(context.key, request.ciphertext_blob)


def decrypt(context: Context, request: DecryptRequest) -> DecryptResponse:
    """Decrypts what Encrypt or GenerateDataKey made (AWS Decrypt)."""
    opened, material_id = _open(
        context, context.key, request.encryption_algorithm, request.ciphertext_blob, request.encryption_context
    )
    plaintext, for_recipient = addressed(context, opened)
    return DecryptResponse(
        key_id=context.key.arn,
        plaintext=plaintext,
        encryption_algorithm=request.encryption_algorithm,
        ciphertext_for_recipient=for_recipient,
        key_material_id=material_id if for_recipient is None else None,
    )


def check_re_encrypt(context: Context, request: ReEncryptRequest) -> None:
    """As `check_decrypt` for the source, `check_encrypt` for the destination."""
    check_algorithm(context.keys["source"], request.source_encryption_algorithm)
    check_context(context.keys["source"], request.source_encryption_context)
    check_algorithm(context.keys["destination"], request.destination_encryption_algorithm)
    check_context(context.keys["destination"], request.destination_encryption_context)
    if _ignores_ciphertext(request):
        _check_dry_modifier(dry_run=request.dry_run, key_named=request.source_key_id is not None)
    elif request.dry_run:
        canonical(request.destination_encryption_context)
        _open(
            context, context.keys["source"], request.source_encryption_algorithm, request.ciphertext_blob,
            request.source_encryption_context,
        )
    else:
        _check_ciphertext(context.keys["source"], request.ciphertext_blob)


def re_encrypt(context: Context, request: ReEncryptRequest) -> ReEncryptResponse:
    """Decrypts and encrypts anew; the plaintext never leaves the service (AWS ReEncrypt)."""
    source, destination = context.keys["source"], context.keys["destination"]
    plaintext, source_material = _open(
        context, source, request.source_encryption_algorithm, request.ciphertext_blob,
        request.source_encryption_context,
    )
    _check_size(destination, request.destination_encryption_algorithm, len(plaintext))
    blob, destination_material = _seal(
        context, destination, request.destination_encryption_algorithm, plaintext,
        request.destination_encryption_context,
    )
    context.extra.pop(MATERIAL_ID, None)
    shown = {"source_key_material_id": source_material, "destination_key_material_id": destination_material}
    context.extra.update({name: material_id for name, material_id in shown.items() if material_id is not None})
    return ReEncryptResponse(
        ciphertext_blob=blob,
        source_key_id=source.arn,
        key_id=destination.arn,
        source_encryption_algorithm=request.source_encryption_algorithm,
        destination_encryption_algorithm=request.destination_encryption_algorithm,
        source_key_material_id=source_material,
        destination_key_material_id=destination_material,
    )


def _ignores_ciphertext(request: DecryptRequest | ReEncryptRequest) -> bool:
    return DryRunModifier.IGNORE_CIPHERTEXT in request.dry_run_modifiers


def _check_dry_modifier(*, dry_run: bool, key_named: bool) -> None:
    if not dry_run:
        raise ValidationException("DryRunModifiers may be given only together with DryRun.")
    if not key_named:
        raise ValidationException("With IGNORE_CIPHERTEXT the request must name its key.")


def _given(blob: bytes | None) -> bytes:
    if blob is None:
        raise ValidationException(
            "1 validation error detected: Value null at 'ciphertextBlob' failed to satisfy constraint: "
            "Member must not be null"
        )
    return blob


def _check_ciphertext(key: Key, blob: bytes | None) -> None:
    """What can be seen of a ciphertext without opening it."""
    if key.spec is KeySpec.SYMMETRIC_DEFAULT:
        _parsed(key, _given(blob))
    else:
        _given(blob)


def _parsed(key: Key, blob: bytes) -> CiphertextBlob:
    """The ciphertext taken apart. Raises IncorrectKeyException when another key made it."""
    try:
        parsed = parse(blob)
    except CiphertextInvalid:
        raise InvalidCiphertextException from None
    if parsed.key_id != key.key_id:
        raise IncorrectKeyException(
            "The key ID in the request does not identify a CMK that can perform this operation."
        )
    return parsed


def _seal(
    context: Context, key: Key, algorithm: EncryptionAlgorithm, plaintext: bytes, pairs: Mapping[str, str]
) -> tuple[bytes, str | None]:
    """(ciphertext, id of the material of a symmetric key)."""
    used, domain, store = current_reference(context, key), domain_of(key.account, key.region), context.store(key)
    if key.spec is KeySpec.SYMMETRIC_DEFAULT:
        return store.encrypt(domain, key.key_id, used, plaintext, canonical(pairs)), used.material_id
    known = AsymmetricEncryptionAlgorithm(algorithm)
    return store.encrypt_asymmetric(domain, key.key_id, used, known, plaintext), None


def _open(
    context: Context, key: Key, algorithm: EncryptionAlgorithm, blob: bytes | None, pairs: Mapping[str, str]
) -> tuple[bytes, str | None]:
    """(plaintext, id of the material of a symmetric key) of a ciphertext of `key`."""
    domain, store, sealed = domain_of(key.account, key.region), context.store(key), _given(blob)
    if key.spec is not KeySpec.SYMMETRIC_DEFAULT:
        used, known = current_reference(context, key), AsymmetricEncryptionAlgorithm(algorithm)
        return store.decrypt_asymmetric(domain, key.key_id, used, known, sealed), None
    parsed = _parsed(key, sealed)
    version = key.material(parsed.material_id)
    if version is None or not version.present:
        raise InvalidCiphertextException
    used = reference(context, key, version)
    return store.decrypt(domain, key.key_id, used, parsed, canonical(pairs)), version.material_id
