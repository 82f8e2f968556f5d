"""Shapes of what an external key store proxy (AWS KMS External Key Store Proxy API) asks of a key."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from kagitori_keystore.algorithms import PROXY_PLAINTEXT_MAX_BYTES
from kagitori_keystore.xks import wire
from kagitori_server.model.keys import EncryptionAlgorithm
from kagitori_server.model.shape import member
from kagitori_server.operations.shapes.crypto import encryption_context
from kagitori_server.operations.shapes.keys import key_id

_NOTED_MAX = 2_048


def _algorithm() -> EncryptionAlgorithm:
    algorithm: EncryptionAlgorithm = member(default=EncryptionAlgorithm.SYMMETRIC_DEFAULT)
    return algorithm


def _noted() -> str:
    """The member with something of the call that the proxy's client serves; it is recorded, and believed nowhere."""
    text: str = member(maximum=_NOTED_MAX, default="")
    return text


def _optional(maximum: int) -> bytes:
    data: bytes = member(maximum=maximum, default=b"")
    return data


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxiedEncryptRequest:
    """Encrypt of the proxy API. There is no encryption context, so policies that demand one refuse."""

    key_id: str = key_id()
    plaintext: bytes = member(required=True, minimum=1, maximum=PROXY_PLAINTEXT_MAX_BYTES, sensitive=True)
    additional_data: bytes = _optional(wire.AAD_MAX_BYTES)
    integrity: bool = member(default=False)
    """Whether the answer has an `integrity_value`, and decryption is tried before it is given."""
    kms_request_id: str = _noted()
    kms_operation: str = _noted()
    kms_key_arn: str = _noted()
    aws_principal_arn: str = _noted()
    encryption_algorithm: EncryptionAlgorithm = _algorithm()
    encryption_context: Mapping[str, str] = encryption_context()


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxiedEncryptResponse:
    """The answer to it."""

    iv: bytes
    metadata: bytes
    ciphertext: bytes
    tag: bytes
    integrity_value: bytes | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxiedDecryptRequest:
    """Decrypt of the proxy API."""

    key_id: str = key_id()
    iv: bytes = member(required=True, minimum=min(wire.IV_BYTES), maximum=max(wire.IV_BYTES))
    metadata: bytes = _optional(wire.METADATA_MAX_BYTES)
    ciphertext: bytes = member(required=True, minimum=1, maximum=PROXY_PLAINTEXT_MAX_BYTES)
    tag: bytes = member(required=True, minimum=wire.TAG_BYTES, maximum=wire.TAG_BYTES)
    additional_data: bytes = _optional(wire.AAD_MAX_BYTES)
    kms_request_id: str = _noted()
    kms_operation: str = _noted()
    kms_key_arn: str = _noted()
    aws_principal_arn: str = _noted()
    encryption_algorithm: EncryptionAlgorithm = _algorithm()
    encryption_context: Mapping[str, str] = encryption_context()


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxiedDecryptResponse:
    """The answer to it."""

    plaintext: bytes = field(repr=False)
