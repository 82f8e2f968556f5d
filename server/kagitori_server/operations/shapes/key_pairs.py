"""Shapes of GetPublicKey, GenerateDataKeyPair and GenerateDataKeyPairWithoutPlaintext (AWS KMS API reference)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from kagitori_server.model.keys import (
    DataKeyPairSpec,
    EncapsulationAlgorithm,
    EncryptionAlgorithm,
    KeyAgreementAlgorithm,
    KeySpec,
    KeyUsage,
    SigningAlgorithm,
)
from kagitori_server.model.shape import member
from kagitori_server.operations.shapes.crypto import RecipientInfo, encryption_context, grant_tokens
from kagitori_server.operations.shapes.keys import key_id


@dataclass(frozen=True, slots=True, kw_only=True)
class GetPublicKeyRequest:
    """AWS `GetPublicKeyRequest`."""

    key_id: str = key_id()
    grant_tokens: tuple[str, ...] = grant_tokens()


@dataclass(frozen=True, slots=True, kw_only=True)
class GetPublicKeyResponse:
    """AWS `GetPublicKeyResponse`; `key_id` is the key ARN, `public_key` DER SubjectPublicKeyInfo."""

    key_id: str
    public_key: bytes
    customer_master_key_spec: KeySpec | None
    key_spec: KeySpec
    key_usage: KeyUsage
    encryption_algorithms: tuple[EncryptionAlgorithm, ...]
    signing_algorithms: tuple[SigningAlgorithm, ...]
    key_agreement_algorithms: tuple[KeyAgreementAlgorithm, ...]
    encapsulation_algorithms: tuple[EncapsulationAlgorithm, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerateDataKeyPairRequest:
    """AWS `GenerateDataKeyPairRequest`."""

    encryption_context: Mapping[str, str] = encryption_context()
    key_id: str = key_id()
    key_pair_spec: DataKeyPairSpec = member(required=True)
    grant_tokens: tuple[str, ...] = grant_tokens()
    recipient: RecipientInfo | None = member()
    dry_run: bool = member(default=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerateDataKeyPairResponse:
    """AWS `GenerateDataKeyPairResponse`; `key_id` is the key ARN, the keys are DER: PKCS#8, SubjectPublicKeyInfo.
    With a recipient there is no private key in the clear."""

    private_key_ciphertext_blob: bytes
    private_key_plaintext: bytes | None = field(repr=False)
    public_key: bytes
    key_id: str
    key_pair_spec: DataKeyPairSpec
    ciphertext_for_recipient: bytes | None
    key_material_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerateDataKeyPairWithoutPlaintextRequest:
    """AWS `GenerateDataKeyPairWithoutPlaintextRequest`."""

    encryption_context: Mapping[str, str] = encryption_context()
    key_id: str = key_id()
    key_pair_spec: DataKeyPairSpec = member(required=True)
    grant_tokens: tuple[str, ...] = grant_tokens()
    dry_run: bool = member(default=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerateDataKeyPairWithoutPlaintextResponse:
    """AWS `GenerateDataKeyPairWithoutPlaintextResponse`; as with plaintext, but without."""

    private_key_ciphertext_blob: bytes
    public_key: bytes
    key_id: str
    key_pair_spec: DataKeyPairSpec
    key_material_id: str
