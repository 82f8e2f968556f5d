"""Shapes of DeriveSharedSecret, Encapsulate and Decapsulate (AWS KMS API reference)."""

from __future__ import annotations

from dataclasses import dataclass, field

from kagitori_server.model import limits
from kagitori_server.model.keys import EncapsulationAlgorithm, KeyAgreementAlgorithm, Origin
from kagitori_server.model.shape import member
from kagitori_server.operations.shapes.crypto import RecipientInfo, grant_tokens
from kagitori_server.operations.shapes.keys import key_id


@dataclass(frozen=True, slots=True, kw_only=True)
class DeriveSharedSecretRequest:
    """AWS `DeriveSharedSecretRequest`; `public_key` is the peer's, DER SubjectPublicKeyInfo."""

    key_id: str = key_id()
    key_agreement_algorithm: KeyAgreementAlgorithm = member(required=True)
    public_key: bytes = member(required=True, minimum=1, maximum=limits.PUBLIC_KEY_MAX)
    grant_tokens: tuple[str, ...] = grant_tokens()
    dry_run: bool = member(default=False)
    recipient: RecipientInfo | None = member()


@dataclass(frozen=True, slots=True, kw_only=True)
class DeriveSharedSecretResponse:
    """AWS `DeriveSharedSecretResponse`; `key_id` is the key ARN. With a recipient there is no secret in the clear."""

    key_id: str
    shared_secret: bytes | None = field(repr=False)
    ciphertext_for_recipient: bytes | None
    key_agreement_algorithm: KeyAgreementAlgorithm
    key_origin: Origin


@dataclass(frozen=True, slots=True, kw_only=True)
class EncapsulateRequest:
    """AWS `EncapsulateRequest`."""

    key_id: str = key_id()
    encapsulation_algorithm: EncapsulationAlgorithm = member(required=True)
    grant_tokens: tuple[str, ...] = grant_tokens()
    dry_run: bool = member(default=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class EncapsulateResponse:
    """AWS `EncapsulateResponse`: a secret of 32 bytes and its encapsulation; `key_id` is the key ARN."""

    key_id: str
    shared_secret: bytes = field(repr=False)
    shared_secret_ciphertext_blob: bytes
    encapsulation_algorithm: EncapsulationAlgorithm


@dataclass(frozen=True, slots=True, kw_only=True)
class DecapsulateRequest:
    """AWS `DecapsulateRequest`."""

    key_id: str = key_id()
    shared_secret_ciphertext_blob: bytes = member(required=True, minimum=1, maximum=limits.CIPHERTEXT_MAX)
    encapsulation_algorithm: EncapsulationAlgorithm = member(required=True)
    grant_tokens: tuple[str, ...] = grant_tokens()
    dry_run: bool = member(default=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class DecapsulateResponse:
    """AWS `DecapsulateResponse`: the secret of 32 bytes; `key_id` is the key ARN."""

    key_id: str
    shared_secret: bytes = field(repr=False)
    encapsulation_algorithm: EncapsulationAlgorithm
