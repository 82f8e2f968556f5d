"""Keys: what they are, which state they are in, and what the catalog keeps of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from kagitori_server.model.custom_key_stores import CustomKeyStore


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


class SigningAlgorithm(StrEnum):
    """Signing algorithms (AWS `SigningAlgorithmSpec`)."""

    RSASSA_PSS_SHA_256 = "RSASSA_PSS_SHA_256"
    RSASSA_PSS_SHA_384 = "RSASSA_PSS_SHA_384"
    RSASSA_PSS_SHA_512 = "RSASSA_PSS_SHA_512"
    RSASSA_PKCS1_V1_5_SHA_256 = "RSASSA_PKCS1_V1_5_SHA_256"
    RSASSA_PKCS1_V1_5_SHA_384 = "RSASSA_PKCS1_V1_5_SHA_384"
    RSASSA_PKCS1_V1_5_SHA_512 = "RSASSA_PKCS1_V1_5_SHA_512"
    ECDSA_SHA_256 = "ECDSA_SHA_256"
    ECDSA_SHA_384 = "ECDSA_SHA_384"
    ECDSA_SHA_512 = "ECDSA_SHA_512"
    SM2DSA = "SM2DSA"
    ML_DSA_SHAKE_256 = "ML_DSA_SHAKE_256"
    ED25519_SHA_512 = "ED25519_SHA_512"
    ED25519_PH_SHA_512 = "ED25519_PH_SHA_512"


class MacAlgorithm(StrEnum):
    """Algorithms of message authentication codes (AWS `MacAlgorithmSpec`)."""

    HMAC_SHA_224 = "HMAC_SHA_224"
    HMAC_SHA_256 = "HMAC_SHA_256"
    HMAC_SHA_384 = "HMAC_SHA_384"
    HMAC_SHA_512 = "HMAC_SHA_512"


class KeyAgreementAlgorithm(StrEnum):
    """Algorithms of key agreement (AWS `KeyAgreementAlgorithmSpec`)."""

    ECDH = "ECDH"


class EncapsulationAlgorithm(StrEnum):
    """Algorithms of key encapsulation."""

    ML_KEM = "ML_KEM"


class MaterialState(StrEnum):
    """What a version of key material is to its key (AWS `KeyMaterialState`)."""

    CURRENT = "CURRENT"
    """It encrypts and decrypts; a key that has material has exactly one."""
    NON_CURRENT = "NON_CURRENT"
    """It decrypts what it once encrypted."""
    PENDING_ROTATION = "PENDING_ROTATION"
    """Imported; it becomes current by RotateKeyOnDemand."""
    PENDING_MULTI_REGION_IMPORT_AND_ROTATION = "PENDING_MULTI_REGION_IMPORT_AND_ROTATION"
    """As before, once every replica of a multi-Region key has it as well."""


class RotationType(StrEnum):
    """How a version of material became current (AWS `RotationType`)."""

    AUTOMATIC = "AUTOMATIC"
    ON_DEMAND = "ON_DEMAND"


class ExpirationModel(StrEnum):
    """Whether imported material expires (AWS `ExpirationModelType`)."""

    KEY_MATERIAL_EXPIRES = "KEY_MATERIAL_EXPIRES"
    KEY_MATERIAL_DOES_NOT_EXPIRE = "KEY_MATERIAL_DOES_NOT_EXPIRE"


class DataKeySpec(StrEnum):
    """Lengths of symmetric data keys (AWS `DataKeySpec`): 16 and 32 bytes."""

    AES_256 = "AES_256"
    AES_128 = "AES_128"


class DataKeyPairSpec(StrEnum):
    """Kinds of data key pairs (AWS `DataKeyPairSpec`)."""

    RSA_2048 = "RSA_2048"
    RSA_3072 = "RSA_3072"
    RSA_4096 = "RSA_4096"
    ECC_NIST_P256 = "ECC_NIST_P256"
    ECC_NIST_P384 = "ECC_NIST_P384"
    ECC_NIST_P521 = "ECC_NIST_P521"
    ECC_SECG_P256K1 = "ECC_SECG_P256K1"
    SM2 = "SM2"
    ECC_NIST_EDWARDS25519 = "ECC_NIST_EDWARDS25519"
    ML_KEM_512 = "ML_KEM_512"
    ML_KEM_768 = "ML_KEM_768"
    ML_KEM_1024 = "ML_KEM_1024"


_WAITING = frozenset({MaterialState.PENDING_ROTATION, MaterialState.PENDING_MULTI_REGION_IMPORT_AND_ROTATION})
_DYING = frozenset({KeyState.PENDING_DELETION, KeyState.PENDING_REPLICA_DELETION})

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
    """Opaque to everything but the key store that made it. Empty: imported material that was deleted or expired and
    may be imported again."""
    created: float
    """When it was generated, or imported for the first time. Seconds since the epoch."""
    state: MaterialState
    rotated: float | None = None
    """When it became current by a rotation, seconds since the epoch; None for a key's first material."""
    rotation_type: RotationType | None = None
    """How it became current; None for a key's first material."""
    expires: float | None = None
    """When imported material is deleted by the service, seconds since the epoch; None where it isn't."""
    description: str | None = None
    """What the one who imported it said of it."""

    @property
    def present(self) -> bool:
        """Whether there is material under this id, or only the memory that there was."""
        return bool(self.reference)

    @property
    def waiting(self) -> bool:
        """Whether it awaits its rotation: the key can do without it, and nothing was encrypted with it yet."""
        return self.state in _WAITING


def _expired(version: MaterialVersion, now: float) -> bool:
    return version.expires is not None and version.expires <= now


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
    """Oldest first. Empty while the first material awaits import."""
    policy: str = field(repr=False)
    """The key policy, byte for byte as it was put."""
    policy_bindings: Mapping[str, str]
    """Principal ARN in the policy -> unique id it meant when the policy was put."""
    tags: tuple[Tag, ...] = ()
    """In the order of their keys."""
    aliases: tuple[str, ...] = ()
    """Alias names with prefix, in order."""
    deletion_date: float | None = None
    """When pending deletion: the moment after which the material is destroyed, seconds since the epoch."""
    pending_window_days: int | None = None
    """Of a primary key pending the deletion of its replicas: how long it waits once the last is gone."""
    manager: KeyManager = KeyManager.CUSTOMER
    rotation_period_days: int | None = None
    """Days between automatic rotations; None while they are switched off."""
    next_rotation: float | None = None
    """When the next automatic rotation is due, seconds since the epoch; None while they are switched off."""
    on_demand_rotations: int = 0
    """How often the key was rotated on demand in its life."""
    primary_region: str | None = None
    """The Region of the primary key of a multi-Region family; None for a key of a single Region."""
    family_regions: tuple[str, ...] = ()
    """The Regions that have a key of a multi-Region family, in order, this one's included; else empty. Derived from
    the keys themselves whenever one is read."""
    xks_key_id: str | None = None
    """The proxy's name of the external key that a key in an external key store uses."""
    custom_store: CustomKeyStore | None = None
    """The custom key store that holds its material, as it was when the key was read; its keys read as Unavailable
    while it isn't connected. Derived like `family_regions`."""

    @property
    def multi_region(self) -> bool:
        """Whether it is the primary or a replica of a multi-Region family."""
        return self.primary_region is not None

    @property
    def is_replica(self) -> bool:
        """Whether another Region has the primary key."""
        return self.primary_region is not None and self.primary_region != self.region

    @property
    def current_material(self) -> MaterialVersion:
        """The version used for encryption. Raises LookupError when there is none."""
        for version in reversed(self.materials):
            if version.state is MaterialState.CURRENT:
                return version
        raise LookupError(f"{self.arn} has no material")

    @property
    def regions(self) -> tuple[str, ...]:
        """Where there are keys of this id: the Regions of its family, or its own."""
        return self.family_regions or (self.region,)

    @property
    def waiting_material(self) -> MaterialVersion | None:
        """The imported version that awaits its rotation; there is one at most."""
        return next((version for version in self.materials if version.waiting), None)

    @property
    def awaits_import(self) -> bool:
        """Whether material has to be imported (again) before the key can be used."""
        return self.origin is Origin.EXTERNAL and not (
            self.materials and all(version.present or version.waiting for version in self.materials)
        )

    @property
    def valid_to(self) -> float | None:
        """When the first of the imported materials that it can't do without expires; None where none does."""
        return min(
            (version.expires for version in self.materials if version.expires is not None and not version.waiting),
            default=None,
        )

    @property
    def dying(self) -> bool:
        """Whether it is pending deletion, and stays so whatever becomes of its material."""
        return self.state in _DYING

    def as_of(self, now: float) -> Key:
        """The key without imported material that has expired by `now` (seconds since the epoch), though nobody may
        have taken it out of the catalog yet."""
        if self.origin is not Origin.EXTERNAL or not any(_expired(version, now) for version in self.materials):
            return self
        left = replace(self, materials=tuple(
            replace(version, reference=b"", expires=None) if _expired(version, now) else version
            for version in self.materials
        ))
        return replace(left, state=KeyState.PENDING_IMPORT) if left.awaits_import and not left.dying else left

    def material(self, material_id: str) -> MaterialVersion | None:
        """The version of that id, if the key has or had it."""
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
