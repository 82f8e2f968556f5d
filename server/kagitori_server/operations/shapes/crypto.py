"""Shapes of the cryptographic operations (AWS KMS API reference) and of our batch calls."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from kagitori_server.model import limits
from kagitori_server.model.keys import DataKeySpec, EncryptionAlgorithm
from kagitori_server.model.shape import member
from kagitori_server.operations.shapes.keys import key_id


class DryRunModifier(StrEnum):
    """AWS `DryRunModifierType`."""

    IGNORE_CIPHERTEXT = "IGNORE_CIPHERTEXT"


class KeyEncryptionMechanism(StrEnum):
    """AWS `KeyEncryptionMechanism`."""

    RSAES_OAEP_SHA_256 = "RSAES_OAEP_SHA_256"


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipientInfo:
    """AWS `RecipientInfo`: an attestation document to encrypt the answer for. Both members must be there."""

    key_encryption_algorithm: KeyEncryptionMechanism | None = member()
    attestation_document: bytes | None = member(minimum=1, maximum=262_144)


def encryption_context() -> Mapping[str, str]:
    """The member with the pairs that are authenticated with a ciphertext."""
    pairs: Mapping[str, str] = member(total_maximum=limits.ENCRYPTION_CONTEXT_MAX, default={})
    return pairs


def grant_tokens() -> tuple[str, ...]:
    """The member with at most 10 tokens of fresh grants."""
    tokens: tuple[str, ...] = member(
        minimum=1, maximum=limits.GRANT_TOKEN_MAX, items_maximum=limits.GRANT_TOKENS_MAX, sensitive=True, default=()
    )
    return tokens


def _algorithm() -> EncryptionAlgorithm:
    algorithm: EncryptionAlgorithm = member(default=EncryptionAlgorithm.SYMMETRIC_DEFAULT)
    return algorithm


def _ciphertext() -> bytes | None:
    blob: bytes | None = member(minimum=1, maximum=limits.CIPHERTEXT_MAX)
    return blob


def _optional_key_id() -> str | None:
    name: str | None = member(minimum=1, maximum=limits.KEY_ID_MAX)
    return name


@dataclass(frozen=True, slots=True, kw_only=True)
class EncryptRequest:
    """AWS `EncryptRequest`."""

    key_id: str = key_id()
    plaintext: bytes = member(required=True, minimum=1, maximum=limits.PLAINTEXT_MAX, sensitive=True)
    encryption_context: Mapping[str, str] = encryption_context()
    grant_tokens: tuple[str, ...] = grant_tokens()
    encryption_algorithm: EncryptionAlgorithm = _algorithm()
    dry_run: bool = member(default=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class EncryptResponse:
    """AWS `EncryptResponse`; `key_id` is the key ARN."""

    ciphertext_blob: bytes
    key_id: str
    encryption_algorithm: EncryptionAlgorithm


@dataclass(frozen=True, slots=True, kw_only=True)
class DecryptRequest:
    """AWS `DecryptRequest`."""

    ciphertext_blob: bytes | None = _ciphertext()
    encryption_context: Mapping[str, str] = encryption_context()
    grant_tokens: tuple[str, ...] = grant_tokens()
    key_id: str | None = _optional_key_id()
    encryption_algorithm: EncryptionAlgorithm = _algorithm()
    recipient: RecipientInfo | None = member()
    dry_run: bool = member(default=False)
    dry_run_modifiers: tuple[DryRunModifier, ...] = member(default=())


@dataclass(frozen=True, slots=True, kw_only=True)
class DecryptResponse:
    """AWS `DecryptResponse`; `key_id` is the key ARN. With a recipient there is neither plaintext nor material."""

    key_id: str
    plaintext: bytes | None = field(repr=False)
    encryption_algorithm: EncryptionAlgorithm
    ciphertext_for_recipient: bytes | None
    key_material_id: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReEncryptRequest:
    """AWS `ReEncryptRequest`."""

    ciphertext_blob: bytes | None = _ciphertext()
    source_encryption_context: Mapping[str, str] = encryption_context()
    source_key_id: str | None = _optional_key_id()
    destination_key_id: str = key_id()
    destination_encryption_context: Mapping[str, str] = encryption_context()
    source_encryption_algorithm: EncryptionAlgorithm = _algorithm()
    destination_encryption_algorithm: EncryptionAlgorithm = _algorithm()
    grant_tokens: tuple[str, ...] = grant_tokens()
    dry_run: bool = member(default=False)
    dry_run_modifiers: tuple[DryRunModifier, ...] = member(default=())


@dataclass(frozen=True, slots=True, kw_only=True)
class ReEncryptResponse:
    """AWS `ReEncryptResponse`; `source_key_id` and `key_id` are key ARNs."""

    ciphertext_blob: bytes
    source_key_id: str
    key_id: str
    source_encryption_algorithm: EncryptionAlgorithm
    destination_encryption_algorithm: EncryptionAlgorithm
    source_key_material_id: str | None
    destination_key_material_id: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerateDataKeyRequest:
    """AWS `GenerateDataKeyRequest`: exactly one of `number_of_bytes` and `key_spec`."""

    key_id: str = key_id()
    encryption_context: Mapping[str, str] = encryption_context()
    number_of_bytes: int | None = member(minimum=1, maximum=limits.RANDOM_BYTES_MAX)
    key_spec: DataKeySpec | None = member()
    grant_tokens: tuple[str, ...] = grant_tokens()
    recipient: RecipientInfo | None = member()
    dry_run: bool = member(default=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerateDataKeyResponse:
    """AWS `GenerateDataKeyResponse`; `key_id` is the key ARN. With a recipient there is neither plaintext nor
    material."""

    ciphertext_blob: bytes
    plaintext: bytes | None = field(repr=False)
    key_id: str
    ciphertext_for_recipient: bytes | None
    key_material_id: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerateDataKeyWithoutPlaintextRequest:
    """AWS `GenerateDataKeyWithoutPlaintextRequest`: exactly one of `number_of_bytes` and `key_spec`."""

    key_id: str = key_id()
    encryption_context: Mapping[str, str] = encryption_context()
    key_spec: DataKeySpec | None = member()
    number_of_bytes: int | None = member(minimum=1, maximum=limits.RANDOM_BYTES_MAX)
    grant_tokens: tuple[str, ...] = grant_tokens()
    dry_run: bool = member(default=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerateDataKeyWithoutPlaintextResponse:
    """AWS `GenerateDataKeyWithoutPlaintextResponse`; `key_id` is the key ARN."""

    ciphertext_blob: bytes
    key_id: str
    key_material_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerateRandomRequest:
    """AWS `GenerateRandomRequest`."""

    number_of_bytes: int | None = member(minimum=1, maximum=limits.RANDOM_BYTES_MAX)
    custom_key_store_id: str | None = member(minimum=1, maximum=64)
    recipient: RecipientInfo | None = member()


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerateRandomResponse:
    """AWS `GenerateRandomResponse`; without plaintext if there is a recipient."""

    plaintext: bytes | None = field(repr=False)
    ciphertext_for_recipient: bytes | None


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchItemError:
    """Why one item of a batch failed: the AWS name of the exception and its message."""

    code: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchRequest:
    """Our batch calls: 1 to 256 requests of one operation, checked one by one so that a bad one spoils no other."""

    items: tuple[Mapping[str, object], ...] = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchOutcome:
    """What became of one item: exactly one of the two is set."""

    response: object | None = None
    error: BatchItemError | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchResponse:
    """An outcome per item, in the order of the items."""

    outcomes: tuple[BatchOutcome, ...]
