"""Names of KMS actions and condition keys, for whoever checks a policy for mistakes. Decisions need neither.

After the AWS service authorization reference (actions, resources and condition keys for KMS; global keys).
"""

from __future__ import annotations

import re

KMS_ACTIONS = frozenset(
    f"kms:{name}".lower()
    for name in (
        *("CancelKeyDeletion", "ConnectCustomKeyStore", "CreateAlias", "CreateCustomKeyStore", "CreateGrant"),
        *("CreateKey", "Decapsulate", "Decrypt", "DeleteAlias", "DeleteCustomKeyStore"),
        *("DeleteImportedKeyMaterial", "DeriveSharedSecret", "DescribeCustomKeyStores", "DescribeKey", "DisableKey"),
        *("DisableKeyRotation", "DisconnectCustomKeyStore", "EnableKey", "EnableKeyRotation", "Encapsulate"),
        *("Encrypt", "GenerateDataKey"),
        *("GenerateDataKeyPair", "GenerateDataKeyPairWithoutPlaintext", "GenerateDataKeyWithoutPlaintext"),
        *("GenerateMac", "GenerateRandom", "GetKeyLastUsage", "GetKeyPolicy", "GetKeyRotationStatus"),
        *("GetParametersForImport", "GetPublicKey", "ImportKeyMaterial", "ListAliases", "ListGrants"),
        *("ListKeyPolicies", "ListKeyRotations", "ListKeys", "ListResourceTags", "ListRetirableGrants"),
        *("PutKeyPolicy", "ReEncryptFrom", "ReEncryptTo", "ReplicateKey", "RetireGrant", "RevokeGrant"),
        *("RotateKeyOnDemand", "ScheduleKeyDeletion", "Sign", "SynchronizeMultiRegionKey", "TagResource"),
        *("UntagResource", "UpdateAlias", "UpdateCustomKeyStore", "UpdateKeyDescription"),
        *("UpdatePrimaryRegion", "Verify", "VerifyMac"),
    )
)
"""All actions of KMS, in lower case; permissions without an operation of that name among them."""

ALWAYS_PRESENT = frozenset(
    {
        "aws:currenttime",
        "aws:epochtime",
        "aws:principalaccount",
        "aws:principalarn",
        "aws:principalisawsservice",
        "aws:principaltype",
        "aws:requestedregion",
        "aws:securetransport",
        "aws:userid",
        "aws:viaawsservice",
    }
)
"""Condition keys of every request, in lower case."""

ON_EVERY_KEY = frozenset(
    {
        "aws:resourceaccount",
        "kms:calleraccount",
        "kms:customermasterkeyspec",
        "kms:customermasterkeyusage",
        "kms:keyorigin",
        "kms:keyspec",
        "kms:keyusage",
        "kms:multiregion",
    }
)
"""Condition keys of every request to a key, in lower case."""

LIST_VALUED = frozenset(
    {
        "aws:calledvia",
        "aws:principalorgpaths",
        "aws:principalservicenameslist",
        "aws:tagkeys",
        "kms:encryptioncontextkeys",
        "kms:grantoperations",
        "kms:resourcealiases",
    }
)
"""Condition keys that have a list of values, in lower case."""

_OTHER_KMS_KEYS = re.compile(
    "kms:(?:"
    "bypasspolicylockoutsafetycheck|viaservice|multiregionkeytype|encryptionalgorithm|encryptioncontext:.+|"
    "datakeypairspec|signingalgorithm|messagetype|macalgorithm|keyagreementalgorithm|reencryptonsamekey|"
    "requestalias|granteeprincipal|retiringprincipal|grantconstrainttype|grantisforawsresource|"
    "expirationmodel|validto|wrappingalgorithm|wrappingkeyspec|rotationperiodindays|"
    "schedulekeydeletionpendingwindowindays|primaryregion|replicaregion|resourcetag/.+|"
    "recipientattestation:(?:imagesha384|pcr(?:[12]?[0-9]|3[01])|nitrotpmpcr(?:1?[0-9]|2[0-3]))"
    ")",
    re.DOTALL,
)


def is_known_key(key: str) -> bool:
    """Whether a condition key (in lower case) could be in a request; of vendors other than kms, all could."""
    if not key.startswith("kms:"):
        return True
    return key in ON_EVERY_KEY or key in LIST_VALUED or _OTHER_KMS_KEYS.fullmatch(key) is not None
