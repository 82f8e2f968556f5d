"""DeriveSharedSecret, Encapsulate and Decapsulate."""

from __future__ import annotations

from kagitori_keystore.base import PublicKeyInvalid
from kagitori_server.model import key_specs
from kagitori_server.model.errors import InvalidKeyUsageException, ValidationException
from kagitori_server.operations.context import Context, domain_of
from kagitori_server.operations.recipients import addressed
from kagitori_server.operations.references import current_reference
from kagitori_server.operations.shapes.shared_secrets import (
    DecapsulateRequest,
    DecapsulateResponse,
    DeriveSharedSecretRequest,
    DeriveSharedSecretResponse,
    EncapsulateRequest,
    EncapsulateResponse,
)


def check_derive_shared_secret(context: Context, request: DeriveSharedSecretRequest) -> None:
    """Refuses an algorithm that the key hasn't. Raises InvalidKeyUsageException."""
    key = context.key
    if request.key_agreement_algorithm not in key_specs.agreement_algorithms(key.spec, key.usage):
        raise InvalidKeyUsageException(
            f"Algorithm {request.key_agreement_algorithm} is incompatible with key spec {key.spec}."
        )


def derive_shared_secret(context: Context, request: DeriveSharedSecretRequest) -> DeriveSharedSecretResponse:
    """The raw secret that the key and a peer's public key share (AWS DeriveSharedSecret).

    Raises ValidationException for a public key that isn't a point on the key's own curve.
    """
    key = context.key
    reference = current_reference(context, key)
    try:
        derived = context.store(key).derive_shared_secret(
            domain_of(key.account, key.region), key.key_id, reference, request.public_key
        )
    except PublicKeyInvalid:
        raise ValidationException(
            f"PublicKey must be a DER SubjectPublicKeyInfo of a point on the curve of {key.spec}."
        ) from None
    secret, for_recipient = addressed(context, derived)
    return DeriveSharedSecretResponse(
        key_id=key.arn,
        shared_secret=secret,
        ciphertext_for_recipient=for_recipient,
        key_agreement_algorithm=request.key_agreement_algorithm,
        key_origin=key.origin,
    )


def check_encapsulation(context: Context, request: EncapsulateRequest | DecapsulateRequest) -> None:
    """Refuses an algorithm that the key hasn't. Raises InvalidKeyUsageException."""
    key = context.key
    if request.encapsulation_algorithm not in key_specs.encapsulation_algorithms(key.spec, key.usage):
        raise InvalidKeyUsageException(
            f"Algorithm {request.encapsulation_algorithm} is incompatible with key spec {key.spec}."
        )


def encapsulate(context: Context, request: EncapsulateRequest) -> EncapsulateResponse:
    """Makes a shared secret and its encapsulation under an ML-KEM key (FIPS 203)."""
    key = context.key
    reference = current_reference(context, key)
    secret, ciphertext = context.store(key).encapsulate(domain_of(key.account, key.region), key.key_id, reference)
    return EncapsulateResponse(
        key_id=key.arn,
        shared_secret=secret,
        shared_secret_ciphertext_blob=ciphertext,
        encapsulation_algorithm=request.encapsulation_algorithm,
    )


def decapsulate(context: Context, request: DecapsulateRequest) -> DecapsulateResponse:
    """Recovers a shared secret (FIPS 203). Raises InvalidCiphertextException for an encapsulation of a wrong length;
    any other false one gives a secret that fits nothing."""
    key = context.key
    secret = context.store(key).decapsulate(
        domain_of(key.account, key.region),
        key.key_id,
        current_reference(context, key),
        request.shared_secret_ciphertext_blob,
    )
    return DecapsulateResponse(
        key_id=key.arn, shared_secret=secret, encapsulation_algorithm=request.encapsulation_algorithm
    )
