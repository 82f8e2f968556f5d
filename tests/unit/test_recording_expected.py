"""The whole record of every KMS operation, and of everything that the service does by itself.

`EXPECTED` is written by hand from CloudTrail's documentation and examples, not from what the service does. In it stand
`<key>` for the ARN of a slot's key, `<key id>` for its id, `<hex>` for 64 hexadecimal digits.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from tests.support.inprocess import HOME, InProcess
from tests.support.keystore_parts import Workshop
from tests.support.kms_calls import delegating, root
from tests.support.sample_requests import SAMPLES, Scene
from tests.support.token_double import AnyCluster

from kagitori_server.model.custom_key_stores import CustomKeyStoreType
from kagitori_server.model.limits import Quotas
from kagitori_server.operations.row import Operation
from kagitori_server.operations.table import TABLE

ROWS = [row for row in TABLE.values() if isinstance(row, Operation) and row.service == "kms"]
CALLER = {"type": "Root", "principalId": HOME, "arn": root(HOME), "accountId": HOME, "accessKeyId": "<id>"}
ENVELOPE = {
    "eventVersion": "1.11", "userIdentity": CALLER,
    "eventTime": "2026-09-21T14:13:20Z", "eventSource": "kms.amazonaws.com", "awsRegion": "us-east-1",
    "sourceIPAddress": "", "userAgent": "", "requestID": "<id>", "eventID": "<id>", "eventType": "AwsApiCall",
    "managementEvent": True, "eventCategory": "Management", "recipientAccountId": HOME,
}
INTERNAL = {
    **{name: value for name, value in ENVELOPE.items() if name != "requestID"},
    "userIdentity": {"accountId": HOME, "invokedBy": "AWS Internal"}, "sourceIPAddress": "AWS Internal",
    "userAgent": "AWS Internal", "eventType": "AwsServiceEvent", "readOnly": False, "requestParameters": None,
}
KEY = {"keyId": "<key>"}
BY_SYMMETRIC = {"additionalEventData": {"keyMaterialId": "<hex>"}}
CONTEXT = {"encryptionContext": {"tenant": "t1"}}
POLICY = delegating()
TAGS = [{"tagKey": "k", "tagValue": "v"}]
DATE = "Sep 21, 2026, 2:13:20 PM"
IN_30_DAYS = "Oct 21, 2026, 2:13:20 PM"
STORE = {"additionalEventData": {"customKeyStoreName": "<name>", "clusterId": "<cluster>"}}


def _metadata(**more: Any) -> dict[str, Any]:
    return {
        "aWSAccountId": HOME, "keyId": "<new id>", "arn": "<new>", "creationDate": DATE, "enabled": True,
        "description": "", "keyUsage": "ENCRYPT_DECRYPT", "keyState": "Enabled", "origin": "AWS_KMS",
        "keyManager": "CUSTOMER", "customerMasterKeySpec": "SYMMETRIC_DEFAULT", "keySpec": "SYMMETRIC_DEFAULT",
        "encryptionAlgorithms": ["SYMMETRIC_DEFAULT"], "multiRegion": False, "currentKeyMaterialId": "<hex>", **more,
    }


def _reads(request: dict[str, Any] | None = KEY, *about: str, **more: Any) -> list[dict[str, Any]]:
    """The record of an operation that changes nothing; by default about one key, which is all that it shows."""
    named = about or (("<key>",) if request is not None and "keyId" in request else ())
    return [{
        **ENVELOPE, "readOnly": True, "requestParameters": request, "responseElements": None,
        **_about(*named), **more,
    }]


def _writes(request: dict[str, Any] | None, answer: dict[str, Any] | None, *about: str, **more: Any) -> dict[str, Any]:
    return {
        **ENVELOPE, "readOnly": False, "requestParameters": request, "responseElements": answer, **_about(*about),
        **more,
    }


def _about(*arns: str) -> dict[str, Any]:
    listed = [{"accountId": HOME, "type": "AWS::KMS::Key", "ARN": arn} for arn in arns]
    return {"resources": listed} if listed else {}


def _changes(answer: dict[str, Any] | None = None, **request: Any) -> list[dict[str, Any]]:
    """The record of a change of one key."""
    return [_writes({**KEY, **request}, {**(answer or {}), **KEY}, "<key>")]


def _rotated(kind: str) -> dict[str, Any]:
    return {
        **INTERNAL, "eventName": "RotateKey", "responseElements": None, **_about("<key>"),
        "serviceEventDetails": {
            "keyId": "<key id>", "keyOrigin": "AWS_KMS", "rotationType": kind, "previousKeyMaterialId": "<hex>",
            "currentKeyMaterialId": "<hex>",
        },
    }


FAMILY = {
    "multiRegionKeyType": "REPLICA", "primaryKey": {"arn": "<key>", "region": "us-east-1"},
    "replicaKeys": [{"arn": "<new>", "region": "eu-west-1"}],
}
REPLICA = _metadata(multiRegion=True, multiRegionConfiguration=FAMILY)

EXPECTED: dict[str, list[dict[str, Any]]] = {
    "CreateKey": [_writes(
        {
            "keySpec": "SYMMETRIC_DEFAULT", "keyUsage": "ENCRYPT_DECRYPT", "origin": "AWS_KMS", "multiRegion": False,
            "bypassPolicyLockoutSafetyCheck": False, "tags": TAGS, "policy": POLICY,
        },
        {"keyMetadata": _metadata()}, "<new>",
    )],
    "DescribeKey": _reads(),
    "ListKeys": _reads(None),
    "UpdateKeyDescription": _changes(description="d"),
    "EnableKey": _changes(),
    "DisableKey": _changes(),
    "ScheduleKeyDeletion": _changes(
        {"keyState": "PendingDeletion", "deletionDate": IN_30_DAYS, "pendingWindowInDays": 30}, pendingWindowInDays=30
    ),
    "CancelKeyDeletion": _changes(),
    "CreateAlias": [_writes(
        {"aliasName": "alias/<key id>", "targetKeyId": "<key>"}, KEY, "<alias of key>", "<key>"
    )],
    "UpdateAlias": [_writes(
        {"aliasName": "alias/<current id>", "targetKeyId": "<new>"}, {"keyId": "<new>"},
        "<alias of current>", "<current>", "<new>",
    )],
    "DeleteAlias": [_writes({"aliasName": "alias/<key id>"}, KEY, "<alias of key>", "<key>")],
    "ListAliases": _reads(None),
    "TagResource": _changes(tags=TAGS),
    "UntagResource": _changes(tagKeys=["k"]),
    "ListResourceTags": _reads(),
    "GetKeyPolicy": _reads({**KEY, "policyName": "default"}),
    "PutKeyPolicy": _changes(policyName="default", policy=POLICY, bypassPolicyLockoutSafetyCheck=True),
    "ListKeyPolicies": _reads(),
    "CreateGrant": _changes({"grantId": "<hex>"}, granteePrincipal=root(HOME), operations=["CreateGrant"]),
    "ListGrants": _reads(),
    "ListRetirableGrants": _reads({"retiringPrincipal": root(HOME)}),
    "RetireGrant": [_writes(None, KEY, "<key>", additionalEventData={"grantId": "<hex>"})],
    "RevokeGrant": _changes(grantId="<hex>"),
    "Encrypt": _reads({**KEY, "encryptionAlgorithm": "SYMMETRIC_DEFAULT", **CONTEXT}, **BY_SYMMETRIC),
    "Decrypt": _reads({"encryptionAlgorithm": "SYMMETRIC_DEFAULT", **CONTEXT}, "<key>", **BY_SYMMETRIC),
    "ReEncrypt": _reads(
        {
            "sourceEncryptionAlgorithm": "SYMMETRIC_DEFAULT", "sourceEncryptionContext": {"tenant": "t1"},
            "destinationKeyId": "<destination>", "destinationEncryptionAlgorithm": "SYMMETRIC_DEFAULT",
        },
        "<source>", "<destination>",
        additionalEventData={"sourceKeyMaterialId": "<hex>", "destinationKeyMaterialId": "<hex>"},
    ),
    "GenerateDataKey": _reads({**KEY, "keySpec": "AES_256"}, **BY_SYMMETRIC),
    "GenerateDataKeyWithoutPlaintext": _reads({**KEY, "keySpec": "AES_256"}, **BY_SYMMETRIC),
    "GenerateDataKeyPair": _reads({**KEY, "keyPairSpec": "ECC_NIST_P256"}, **BY_SYMMETRIC),
    "GenerateDataKeyPairWithoutPlaintext": _reads({**KEY, "keyPairSpec": "ECC_NIST_P256"}, **BY_SYMMETRIC),
    "Sign": _reads({**KEY, "messageType": "RAW", "signingAlgorithm": "ECDSA_SHA_256"}),
    "Verify": _reads({**KEY, "messageType": "RAW", "signingAlgorithm": "ECDSA_SHA_256"}),
    "GetPublicKey": _reads(),
    "GenerateMac": _reads({**KEY, "macAlgorithm": "HMAC_SHA_256"}),
    "VerifyMac": _reads({**KEY, "macAlgorithm": "HMAC_SHA_256"}),
    "DeriveSharedSecret": _reads({**KEY, "keyAgreementAlgorithm": "ECDH"}),
    "Encapsulate": _reads({**KEY, "encapsulationAlgorithm": "ML_KEM"}),
    "Decapsulate": _reads({**KEY, "encapsulationAlgorithm": "ML_KEM"}),
    "GetKeyLastUsage": _reads(),
    "EnableKeyRotation": _changes(),
    "DisableKeyRotation": _changes(),
    "GetKeyRotationStatus": _reads(),
    "RotateKeyOnDemand": [
        _rotated("ON_DEMAND"),
        _writes(KEY, KEY, "<key>", additionalEventData={
            "previousKeyMaterialId": "<hex>", "currentKeyMaterialId": "<hex>",
        }),
    ],
    "ListKeyRotations": _reads({**KEY, "includeKeyMaterial": "ROTATIONS_ONLY"}),
    "ReplicateKey": [
        {
            **_writes(
                {
                    "keySpec": "SYMMETRIC_DEFAULT", "keyUsage": "ENCRYPT_DECRYPT", "origin": "AWS_KMS",
                    "multiRegion": True, "bypassPolicyLockoutSafetyCheck": False, "tags": TAGS, "policy": POLICY,
                },
                {"keyMetadata": REPLICA}, "<new>",
            ),
            "eventName": "CreateKey", "awsRegion": "eu-west-1", "sourceIPAddress": "AWS Internal",
            "userAgent": "AWS Internal",
            "userIdentity": {**CALLER, "invokedBy": "AWS Internal"},
        },
        _writes(
            {
                **KEY, "replicaRegion": "eu-west-1", "policy": POLICY, "bypassPolicyLockoutSafetyCheck": False,
                "tags": TAGS,
            },
            {"replicaKeyMetadata": REPLICA, "replicaPolicy": POLICY, "replicaTags": TAGS}, "<key>",
        ),
    ],
    "UpdatePrimaryRegion": [_writes(
        {**KEY, "primaryRegion": "eu-west-1"}, {"keyId": "<replica>"}, "<key>", "<replica>"
    )],
    "GetParametersForImport": _reads(
        {**KEY, "wrappingAlgorithm": "RSAES_OAEP_SHA_256", "wrappingKeySpec": "RSA_2048"}
    ),
    "ImportKeyMaterial": _changes({"keyMaterialId": "<hex>"}, expirationModel="KEY_MATERIAL_DOES_NOT_EXPIRE"),
    "DeleteImportedKeyMaterial": _changes({"keyMaterialId": "<hex>"}),
    "GenerateRandom": _reads(None),
    "CreateCustomKeyStore": [_writes(
        {"customKeyStoreName": "<name>", "cloudHsmClusterId": "<cluster>", "trustAnchorCertificate": "<certificate>"},
        {"customKeyStoreId": "<store>"}, **STORE,
    )],
    "ConnectCustomKeyStore": [_writes({"customKeyStoreId": "<store>"}, None, **STORE)],
    "DisconnectCustomKeyStore": [_writes({"customKeyStoreId": "<store>"}, None, **STORE)],
    "UpdateCustomKeyStore": [_writes(
        {"customKeyStoreId": "<store>", "newCustomKeyStoreName": "<name>"}, None, **STORE
    )],
    "DeleteCustomKeyStore": [_writes({"customKeyStoreId": "<store>"}, None, **STORE)],
    "DescribeCustomKeyStores": _reads(None),
}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InProcess]:
    """A service shared by all operations: each has keys of its own."""
    openers = {CustomKeyStoreType.AWS_CLOUDHSM: AnyCluster(Workshop(tmp_path_factory.mktemp("tokens")).store)}
    quotas = Quotas(custom_key_stores_per_account_region=10_000)
    with InProcess(tmp_path_factory.mktemp("service"), openers=openers, quotas=quotas) as opened:
        yield opened


_FORMS = (
    (r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "<id>"), (r"[0-9a-f]{64}", "<hex>"),
    (r"cks-[0-9a-f]{17}", "<store>"), (r"cluster-[2-7a-z]{11}", "<cluster>"), (r"store-[0-9]+", "<name>"),
    (r"-----BEGIN CERTIFICATE-----.*-----END CERTIFICATE-----(\\n)?", "<certificate>"),
)


def _alike(records: list[dict[str, Any]], names: dict[str, str]) -> list[dict[str, Any]]:
    """The records with placeholders for what is different each time."""
    text = json.dumps(records)
    for name in sorted(names, key=len, reverse=True):
        text = text.replace(name, names[name])
    for form, placeholder in _FORMS:
        text = re.sub(form, placeholder, text)
    found: list[dict[str, Any]] = json.loads(text)
    return found


def _names(slots: dict[str, Any]) -> dict[str, str]:
    names = {}
    for slot, made in slots.items():
        names[made.arn] = f"<{slot}>"
        names[made.key_id] = f"<{slot} id>"
        names[made.arn.replace("key/", "alias/")] = f"<alias of {slot}>"
    return names


def test_no_operation_is_left_out() -> None:
    """Each of the table, none that isn't there."""
    assert EXPECTED.keys() == {row.name for row in ROWS} == SAMPLES.keys()


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_record(service: InProcess, row: Operation) -> None:
    """Every member, no more and no less."""
    scene = Scene(service, row)
    values = scene.request()
    before = len(service.records())
    answer = service.call(row.name, values)
    names = _names(scene.keys)
    new = getattr(answer, "key_metadata", None) or getattr(answer, "replica_key_metadata", None)
    if new is not None and not row.read_only:
        names[new.arn] = "<new>"
        # A replica has the id of its primary key.
        names[new.key_id] = "<new id>"
    if row.name == "UpdatePrimaryRegion":
        del names[scene.keys["key"].key_id]
    records = _alike(service.records()[before:], names)
    assert records == [{"eventName": row.name, **expected} for expected in EXPECTED[row.name]]


def test_every_member_is_where_cloudtrail_has_it() -> None:
    """Nothing that CloudTrail never logs is expected above."""
    text = json.dumps(EXPECTED)
    for never in (
        "plaintext", "ciphertext", '"message"', "digest", '"mac"', "signature", "publicKey", "importToken",
        "encryptedKeyMaterial", "Password", "Credential", "grantToken",
    ):
        assert never not in text, never
