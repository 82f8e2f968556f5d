"""Shapes of the operations that import key material (AWS KMS API reference)."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from kagitori_server.model import limits
from kagitori_server.model.keys import ExpirationModel
from kagitori_server.model.shape import member
from kagitori_server.operations.shapes.keys import key_id


class WrappingAlgorithm(StrEnum):
    """AWS `AlgorithmSpec`: how material is wrapped for its import."""

    RSAES_PKCS1_V1_5 = "RSAES_PKCS1_V1_5"
    RSAES_OAEP_SHA_1 = "RSAES_OAEP_SHA_1"
    RSAES_OAEP_SHA_256 = "RSAES_OAEP_SHA_256"
    RSA_AES_KEY_WRAP_SHA_1 = "RSA_AES_KEY_WRAP_SHA_1"
    RSA_AES_KEY_WRAP_SHA_256 = "RSA_AES_KEY_WRAP_SHA_256"
    SM2PKE = "SM2PKE"


class WrappingKeySpec(StrEnum):
    """AWS `WrappingKeySpec`: the key pair under which material is wrapped."""

    RSA_2048 = "RSA_2048"
    RSA_3072 = "RSA_3072"
    RSA_4096 = "RSA_4096"
    SM2 = "SM2"


class ImportType(StrEnum):
    """AWS `ImportType`: whether the key has had this material."""

    NEW_KEY_MATERIAL = "NEW_KEY_MATERIAL"
    EXISTING_KEY_MATERIAL = "EXISTING_KEY_MATERIAL"


def _material_id() -> str | None:
    text: str | None = member(minimum=64, maximum=64, pattern="[a-f0-9]+")
    return text


@dataclass(frozen=True, slots=True, kw_only=True)
class GetParametersForImportRequest:
    """AWS `GetParametersForImportRequest`."""

    key_id: str = key_id()
    wrapping_algorithm: WrappingAlgorithm = member(required=True)
    wrapping_key_spec: WrappingKeySpec = member(required=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class GetParametersForImportResponse:
    """AWS `GetParametersForImportResponse`; `key_id` is the key ARN, the time seconds since the epoch."""

    key_id: str
    import_token: bytes = field(repr=False)
    public_key: bytes
    parameters_valid_to: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportKeyMaterialRequest:
    """AWS `ImportKeyMaterialRequest`; `valid_to` is seconds since the epoch."""

    key_id: str = key_id()
    import_token: bytes = member(required=True, minimum=1, maximum=limits.CIPHERTEXT_MAX, sensitive=True)
    encrypted_key_material: bytes = member(required=True, minimum=1, maximum=limits.CIPHERTEXT_MAX, sensitive=True)
    valid_to: float | None = member()
    expiration_model: ExpirationModel | None = member()
    import_type: ImportType | None = member()
    key_material_description: str | None = member(minimum=0, maximum=256, pattern=r"[a-zA-Z0-9:/_\s.-]+")
    key_material_id: str | None = _material_id()


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportKeyMaterialResponse:
    """AWS `ImportKeyMaterialResponse`; `key_id` is the key ARN, the material's id told of symmetric keys."""

    key_id: str
    key_material_id: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteImportedKeyMaterialRequest:
    """AWS `DeleteImportedKeyMaterialRequest`."""

    key_id: str = key_id()
    key_material_id: str | None = _material_id()


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteImportedKeyMaterialResponse:
    """AWS `DeleteImportedKeyMaterialResponse`; `key_id` is the key ARN, the material's id told of symmetric keys."""

    key_id: str
    key_material_id: str | None
