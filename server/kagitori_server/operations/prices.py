"""How each KMS operation is priced. Whoever adds an operation to the table adds its price: a test compares the two.

Every name of the AWS KMS API is here, so a record of any release of this service can be counted.
"""

from __future__ import annotations

from collections.abc import Mapping

from kagitori_server.model.usage import Price

_MANAGEMENT = (
    "CancelKeyDeletion", "ConnectCustomKeyStore", "CreateAlias", "CreateCustomKeyStore", "CreateGrant", "CreateKey",
    "DeleteAlias", "DeleteCustomKeyStore", "DeleteImportedKeyMaterial", "DescribeCustomKeyStores", "DescribeKey",
    "DisableKey", "DisableKeyRotation", "DisconnectCustomKeyStore", "EnableKey", "EnableKeyRotation",
    "GenerateRandom", "GetKeyLastUsage", "GetKeyPolicy", "GetKeyRotationStatus", "GetParametersForImport",
    "ImportKeyMaterial", "ListAliases", "ListGrants", "ListKeyPolicies", "ListKeyRotations", "ListKeys",
    "ListResourceTags", "ListRetirableGrants", "PutKeyPolicy", "ReplicateKey", "RetireGrant", "RevokeGrant",
    "RotateKeyOnDemand", "ScheduleKeyDeletion", "TagResource", "UntagResource", "UpdateAlias",
    "UpdateCustomKeyStore", "UpdateKeyDescription", "UpdatePrimaryRegion",
)
_BY_KEY = (
    "Decapsulate", "Decrypt", "DeriveSharedSecret", "Encapsulate", "Encrypt", "GenerateDataKey",
    "GenerateDataKeyWithoutPlaintext", "GenerateMac", "GetPublicKey", "ReEncrypt", "Sign", "Verify", "VerifyMac",
)
_BY_PAIR = ("GenerateDataKeyPair", "GenerateDataKeyPairWithoutPlaintext")

PRICES: Mapping[str, Price] = {
    **dict.fromkeys(_MANAGEMENT, Price.MANAGEMENT),
    **dict.fromkeys(_BY_KEY, Price.BY_KEY),
    **dict.fromkeys(_BY_PAIR, Price.BY_PAIR),
}
"""Operation -> how its price is found. What isn't here costs nothing: AdminService, and names that nobody serves."""
