"""Keys: what they are, which state they are in, and what the catalog keeps of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class KeySpec(StrEnum):
    """Kinds of key material (AWS `KeySpec`)."""

    SYMMETRIC_DEFAULT = "SYMMETRIC_DEFAULT"
    RSA_2048 = "RSA_2048"
    RSA_3072 = "RSA_3072"
    RSA_4096 = "RSA_4096"
    ECC_NIST_P256 = "ECC_NIST_P256"
    ECC_NIST_P384 = "ECC_NIST_P384"
    ECC_NIST_P521 = "ECC_NIST_P521"
    ECC_SECG_P256K1 = "ECC_SECG_P256K1"
    ECC_NIST_EDWARDS25519 = "ECC_NIST_EDWARDS25519"
    HMAC_224 = "HMAC_224"
    HMAC_256 = "HMAC_256"
    HMAC_384 = "HMAC_384"
    HMAC_512 = "HMAC_512"
    SM2 = "SM2"
    ML_DSA_44 = "ML_DSA_44"
    ML_DSA_65 = "ML_DSA_65"
    ML_DSA_87 = "ML_DSA_87"
    ML_KEM_512 = "ML_KEM_512"
    ML_KEM_768 = "ML_KEM_768"
    ML_KEM_1024 = "ML_KEM_1024"


class KeyUsage(StrEnum):
    """What a key may be used for; fixed at its creation (AWS `KeyUsageType`)."""

    SIGN_VERIFY = "SIGN_VERIFY"
    ENCRYPT_DECRYPT = "ENCRYPT_DECRYPT"
    GENERATE_VERIFY_MAC = "GENERATE_VERIFY_MAC"
    KEY_AGREEMENT = "KEY_AGREEMENT"
    ENCAPSULATE_DECAPSULATE = "ENCAPSULATE_DECAPSULATE"


class KeyState(StrEnum):
    """Where a key stands in its life (AWS `KeyState`)."""

    CREATING = "Creating"
    ENABLED = "Enabled"
    DISABLED = "Disabled"
    PENDING_DELETION = "PendingDeletion"
    PENDING_IMPORT = "PendingImport"
    PENDING_REPLICA_DELETION = "PendingReplicaDeletion"
    UNAVAILABLE = "Unavailable"
    UPDATING = "Updating"


class Origin(StrEnum):
    """Where key material comes from (AWS `OriginType`)."""

    AWS_KMS = "AWS_KMS"
    EXTERNAL = "EXTERNAL"
    AWS_CLOUDHSM = "AWS_CLOUDHSM"
    EXTERNAL_KEY_STORE = "EXTERNAL_KEY_STORE"


class KeyManager(StrEnum):
    """Who manages a key (AWS `KeyManagerType`)."""

    AWS = "AWS"
    CUSTOMER = "CUSTOMER"


class EncryptionAlgorithm(StrEnum):
    """Encryption algorithms (AWS `EncryptionAlgorithmSpec`)."""

    SYMMETRIC_DEFAULT = "SYMMETRIC_DEFAULT"
    RSAES_OAEP_SHA_1 = "RSAES_OAEP_SHA_1"
    RSAES_OAEP_SHA_256 = "RSAES_OAEP_SHA_256"
    SM2PKE = "SM2PKE"


class DataKeySpec(StrEnum):
    """Lengths of symmetric data keys (AWS `DataKeySpec`): 16 and 32 bytes."""

    AES_256 = "AES_256"
    AES_128 = "AES_128"


DATA_KEY_BYTES: Mapping[DataKeySpec, int] = {DataKeySpec.AES_256: 32, DataKeySpec.AES_128: 16}


@dataclass(frozen=True, slots=True)
class Tag:
    """A label of a key: `tag_key` 1 to 128 characters, `tag_value` 0 to 256."""

    tag_key: str
    tag_value: str


@dataclass(frozen=True, slots=True)
class MaterialVersion:
    """One version of a key's material. The server holds a reference, never the material."""

    material_id: str
    """64 hexadecimal digits (AWS `KeyMaterialId`)."""
    reference: bytes = field(repr=False)
    """Opaque to everything but the key store that made it."""
    created: float
    """Seconds since the epoch."""


@dataclass(frozen=True, slots=True)
class Key:
    """A KMS key as the catalog keeps it. Immutable: a change makes a new one."""

    account: str
    region: str
    key_id: str
    arn: str
    spec: KeySpec
    usage: KeyUsage
    origin: Origin
    state: KeyState
    description: str
    created: float
    """Seconds since the epoch."""
    store_id: str
    """The key store that holds the material: `default`, or a custom key store's id."""
    materials: tuple[MaterialVersion, ...]
    """Oldest first; the last one is current. Empty while material awaits import."""
    policy: str = field(repr=False)
    """The key policy, byte for byte as it was put."""
    policy_bindings: Mapping[str, str]
    """Principal ARN in the policy -> unique id it meant when the policy was put."""
    tags: tuple[Tag, ...] = ()
    """In the order of their keys."""
    aliases: tuple[str, ...] = ()
    """Alias names with prefix, in order."""
    multi_region: bool = False
    deletion_date: float | None = None
    """When pending deletion: the moment after which the material is destroyed, seconds since the epoch."""
    manager: KeyManager = KeyManager.CUSTOMER

    @property
    def current_material(self) -> MaterialVersion:
        """The version used for encryption. Raises IndexError when there is none."""
        return self.materials[-1]

    def material(self, material_id: str) -> MaterialVersion | None:
        """The version of that id, if the key still has it."""
        for version in reversed(self.materials):
            if version.material_id == material_id:
                return version
        return None


@dataclass(frozen=True, slots=True)
class Alias:
    """A name for a key within one account and Region."""

    account: str
    region: str
    name: str
    """With its `alias/` prefix."""
    key_id: str
    created: float
    updated: float
