"""Which calls share a rate: the groups of AWS KMS's request quotas, and one for AdminService.

Cryptographic calls share one rate for each family of keys. Every other operation of a group has the group's rate for
itself, as in AWS's table.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum, StrEnum

from kagitori_server.model.keys import KeySpec


class RateGroup(StrEnum):
    """A group of calls; the value is its name in the configuration."""

    SYMMETRIC = "symmetric"
    """Symmetric encryption keys, HMAC keys and random bytes, all together."""
    RSA = "rsa"
    ECC = "ecc"
    """Elliptic curves and SM2, key agreement too."""
    ML_DSA = "ml_dsa"
    ML_KEM = "ml_kem"
    DATA_KEY_PAIR_ECC = "data_key_pair_ecc"
    DATA_KEY_PAIR_RSA_2048 = "data_key_pair_rsa_2048"
    DATA_KEY_PAIR_RSA_3072 = "data_key_pair_rsa_3072"
    DATA_KEY_PAIR_RSA_4096 = "data_key_pair_rsa_4096"
    DATA_KEY_PAIR_SM2 = "data_key_pair_sm2"
    DESCRIBE = "describe"
    """DescribeKey, GetPublicKey, ListResourceTags."""
    READ_SETTINGS = "read_settings"
    """GetKeyPolicy, GetKeyRotationStatus."""
    LIST = "list"
    """ListKeys, ListAliases."""
    LIST_OF_KEY = "list_of_key"
    """ListGrants, ListRetirableGrants, ListKeyPolicies, ListKeyRotations."""
    GRANT = "grant"
    """CreateGrant, RetireGrant, RevokeGrant."""
    CHANGE = "change"
    """DeleteAlias, DeleteImportedKeyMaterial, EnableKeyRotation, ImportKeyMaterial, PutKeyPolicy,
    ScheduleKeyDeletion."""
    TAG = "tag"
    """TagResource."""
    IMPORT_PARAMETERS = "import_parameters"
    """GetParametersForImport."""
    OTHER = "other"
    """Everything else of AWS's operations."""
    CUSTOM_KEY_STORE = "custom_key_store"
    """Uses of one custom key store, besides the group that a call is in."""
    ADMINISTRATION = "administration"
    """The operations of AdminService."""

    @property
    def shared(self) -> bool:
        """Whether its operations share one rate, instead of having one each."""
        return self in _SHARED


class CryptoRate(Enum):
    """The rate of operations that use key material: its group is known when the keys or the request are."""

    KEY = "by the spec of the key"
    PAIR = "by the spec of the data key pair that the request asks for"


Rate = RateGroup | CryptoRate
"""What an operation's row says of its rate."""

AWS_RATES: Mapping[RateGroup, float] = {
    RateGroup.SYMMETRIC: 10_000,
    RateGroup.RSA: 1_000,
    RateGroup.ECC: 1_000,
    RateGroup.ML_DSA: 1_000,
    RateGroup.ML_KEM: 1_000,
    RateGroup.DATA_KEY_PAIR_ECC: 100,
    RateGroup.DATA_KEY_PAIR_RSA_2048: 20,
    RateGroup.DATA_KEY_PAIR_RSA_3072: 4,
    RateGroup.DATA_KEY_PAIR_RSA_4096: 1,
    RateGroup.DATA_KEY_PAIR_SM2: 25,
    RateGroup.DESCRIBE: 2_000,
    RateGroup.READ_SETTINGS: 1_000,
    RateGroup.LIST: 500,
    RateGroup.LIST_OF_KEY: 100,
    RateGroup.GRANT: 50,
    RateGroup.CHANGE: 15,
    RateGroup.TAG: 10,
    RateGroup.IMPORT_PARAMETERS: 1,
    RateGroup.OTHER: 5,
    RateGroup.CUSTOM_KEY_STORE: 1_800,
}
"""Calls a second for each account and Region (AWS KMS, Request quotas; the smallest where Regions differ). AWS has no
ML-KEM keys: they get what the other families of key pairs have. `CUSTOM_KEY_STORE` is of each store instead."""

_SHARED = frozenset(group for group in RateGroup if group.value.startswith(("symmetric", "rsa", "ecc", "ml_", "data_")))
_FAMILIES = (
    ("RSA_", RateGroup.RSA), ("ECC_", RateGroup.ECC), ("SM2", RateGroup.ECC), ("ML_DSA_", RateGroup.ML_DSA),
    ("ML_KEM_", RateGroup.ML_KEM),
)
_BY_SPEC: Mapping[KeySpec, RateGroup] = {
    spec: group for spec in KeySpec for prefix, group in _FAMILIES if spec.startswith(prefix)
}


def rate_group(rate: Rate, key_spec: KeySpec | None, pair_spec: str | None) -> RateGroup:
    """The group of a call. A cryptographic call whose key isn't known, because there is none or the caller may not
    use it, counts as one with a symmetric key."""
    if isinstance(rate, RateGroup):
        return rate
    if rate is CryptoRate.PAIR:
        return _pair_group(pair_spec or "")
    return RateGroup.SYMMETRIC if key_spec is None else _BY_SPEC.get(key_spec, RateGroup.SYMMETRIC)


def _pair_group(spec: str) -> RateGroup:
    try:
        return RateGroup(f"data_key_pair_{spec.lower()}")
    except ValueError:
        return RateGroup.DATA_KEY_PAIR_ECC
