"""Members that several operations share, and those that are left out, by stock boto3: what AWS KMS makes of them."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import botocore.session
import pytest
from botocore.exceptions import ClientError
from cryptography.hazmat.primitives.serialization import Encoding
from tests.support.attestations import Hypervisor, put
from tests.support.aws_endpoint import Endpoint, running_endpoint
from tests.support.inprocess import ALLOW_ALL, HOME
from tests.support.recipients import hypervisor_of, opened

MODEL: Any = botocore.session.get_session().get_service_model("kms")
ROOT = f"arn:aws:iam::{HOME}:root"
LISTS: Mapping[str, tuple[str, int]] = {
    "list_keys": ("Keys", 1_000), "list_aliases": ("Aliases", 100), "list_grants": ("Grants", 100),
    "list_retirable_grants": ("Grants", 100), "list_resource_tags": ("Tags", 50),
    "list_key_rotations": ("Rotations", 1_000), "list_key_policies": ("PolicyNames", 1_000),
    "describe_custom_key_stores": ("CustomKeyStores", 1_000),
}
"""Every paginated operation: the member with what it lists, and the most of a page."""


def _with(member: str) -> set[str]:
    return {
        name for name in MODEL.operation_names if member in MODEL.operation_model(name).input_shape.members
    }


@dataclass
class Scene:
    """A server, its root user's client, and requests that succeed."""

    endpoint: Endpoint
    kms: Any
    hypervisor: Hypervisor
    key: str
    requests: Mapping[str, dict[str, Any]]

    def call(self, operation: str, client: Any = None, **more: Any) -> Any:
        """The answer to the request of that operation with more members."""
        found = getattr(client or self.kms, botocore.xform_name(operation))
        return found(**{**self.requests[operation], **more})


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """One server for all tests here; boto3 checks no parameters, so that the service has to."""
    folder: Path = tmp_path_factory.mktemp("aws")
    hypervisor = hypervisor_of(time.time())
    (folder / "roots.pem").write_bytes(hypervisor.root.certificate.public_bytes(Encoding.PEM))
    with running_endpoint(folder / "data", ("--set", f"attestation.roots_file={folder / 'roots.pem'}")) as endpoint:
        kms = endpoint.client(parameter_validation=False)
        key = str(kms.create_key()["KeyMetadata"]["Arn"])
        yield Scene(endpoint, kms, hypervisor, key, _requests(kms, key))
        kms.close()


def _requests(kms: Any, key: str) -> dict[str, dict[str, Any]]:
    def new_key(spec: str, usage: str) -> str:
        return str(kms.create_key(KeySpec=spec, KeyUsage=usage)["KeyMetadata"]["Arn"])

    signer, mac = new_key("ECC_NIST_P256", "SIGN_VERIFY"), new_key("HMAC_256", "GENERATE_VERIFY_MAC")
    agreeing, kem = new_key("ECC_NIST_P256", "KEY_AGREEMENT"), new_key("ML_KEM_768", "ENCAPSULATE_DECAPSULATE")
    grant = kms.create_grant(KeyId=key, GranteePrincipal=ROOT, Operations=["DescribeKey"], RetiringPrincipal=ROOT)
    named = {"KeyId": key, "GrantId": grant["GrantId"]}
    sealed = {"CiphertextBlob": kms.encrypt(KeyId=key, Plaintext=b"x")["CiphertextBlob"]}
    signing = {"KeyId": signer, "Message": b"x", "SigningAlgorithm": "ECDSA_SHA_256"}
    making = {"KeyId": mac, "Message": b"x", "MacAlgorithm": "HMAC_SHA_256"}
    hiding = {"KeyId": kem, "EncapsulationAlgorithm": "ML_KEM"}
    secret = kms.encapsulate(**hiding)["SharedSecretCiphertextBlob"]
    pair = {"KeyId": key, "KeyPairSpec": "ECC_NIST_P256"}
    return {
        "CreateGrant": {"KeyId": key, "GranteePrincipal": ROOT, "Operations": ["CreateGrant"]},
        "RetireGrant": named, "RevokeGrant": named, "DescribeKey": {"KeyId": key}, "GetPublicKey": {"KeyId": signer},
        "Encrypt": {"KeyId": key, "Plaintext": b"x"}, "Decrypt": sealed,
        "ReEncrypt": {**sealed, "DestinationKeyId": key},
        "GenerateDataKey": {"KeyId": key, "KeySpec": "AES_256"}, "GenerateRandom": {"NumberOfBytes": 32},
        "GenerateDataKeyWithoutPlaintext": {"KeyId": key, "KeySpec": "AES_256"}, "GenerateDataKeyPair": pair,
        "GenerateDataKeyPairWithoutPlaintext": pair, "Sign": signing, "GenerateMac": making, "Encapsulate": hiding,
        "Verify": {**signing, "Signature": kms.sign(**signing)["Signature"]},
        "VerifyMac": {**making, "Mac": kms.generate_mac(**making)["Mac"]},
        "Decapsulate": {**hiding, "SharedSecretCiphertextBlob": secret},
        "DeriveSharedSecret": {
            "KeyId": agreeing, "KeyAgreementAlgorithm": "ECDH",
            "PublicKey": kms.get_public_key(KeyId=agreeing)["PublicKey"],
        },
    }


def _refused(call: Any, **arguments: Any) -> tuple[str, int]:
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    response = caught.value.response
    return response["Error"]["Code"], response["ResponseMetadata"]["HTTPStatusCode"]


@pytest.mark.parametrize("operation", sorted(_with("DryRun")))
def test_dry_runs(scene: Scene, operation: str) -> None:
    """Nothing is done, and the exception says that it could have been."""
    grants = len(scene.kms.list_grants(KeyId=scene.key)["Grants"])
    assert _refused(lambda: scene.call(operation, DryRun=True))[0] == "DryRunOperationException"
    assert len(scene.kms.list_grants(KeyId=scene.key)["Grants"]) == grants
    with pytest.raises(ClientError) as denied:
        scene.call(operation, scene.endpoint.client(scene.endpoint.new_user(f"dry-{operation}")), DryRun=True)
    assert denied.value.response["Error"]["Code"] == "AccessDeniedException"


@pytest.mark.parametrize("operation", sorted(_with("GrantTokens")))
def test_grant_tokens(scene: Scene, operation: str) -> None:
    """A good one is taken, and a bad one refused."""
    token = scene.kms.create_grant(KeyId=scene.key, GranteePrincipal=ROOT, Operations=["Decrypt"])["GrantToken"]
    assert _refused(lambda: scene.call(operation, GrantTokens=["x"])) == ("InvalidGrantTokenException", 400)
    assert _refused(lambda: scene.call(operation, GrantTokens=[token] * 11)) == ("ValidationException", 400)
    if scene.requests[operation].get("KeyId", scene.key) == scene.key:
        assert scene.call(operation, GrantTokens=[token])


@pytest.mark.parametrize("operation", sorted(_with("Recipient")))
def test_recipients(scene: Scene, operation: str) -> None:
    """What would be plain is encrypted for who is attested; other documents and algorithms are refused."""
    document = scene.hypervisor.document(put(timestamp=int(time.time() * 1_000)))
    algorithm = {"KeyEncryptionAlgorithm": "RSAES_OAEP_SHA_256"}
    answer = scene.call(operation, Recipient={**algorithm, "AttestationDocument": document})
    assert opened(answer["CiphertextForRecipient"])
    assert not answer.get("Plaintext")
    assert not answer.get("PrivateKeyPlaintext")
    assert not answer.get("SharedSecret")
    for bad in ({**algorithm, "AttestationDocument": document[:-1]}, {**algorithm, "AttestationDocument": b""},
                {"KeyEncryptionAlgorithm": "RSA", "AttestationDocument": document}):
        assert _refused(lambda given=bad: scene.call(operation, Recipient=given)) == ("ValidationException", 400)


def test_pages(scene: Scene) -> None:
    """Of one item each, of botocore's all paginators; limits and markers beyond AWS's are refused."""
    kms = scene.kms
    paginated = {botocore.xform_name(name) for name in _with("Marker")}
    assert paginated == LISTS.keys()
    kms.tag_resource(KeyId=scene.key, Tags=[{"TagKey": key, "TagValue": "v"} for key in ("a", "b", "c")])
    for number in range(3):
        kms.create_alias(AliasName=f"alias/page-{number}", TargetKeyId=scene.key)
        kms.create_grant(KeyId=scene.key, GranteePrincipal=ROOT, Operations=["Encrypt"], RetiringPrincipal=ROOT,
                         Name=f"g{number}")
        kms.rotate_key_on_demand(KeyId=scene.key)
    of_key = {"KeyId": scene.key}
    arguments = {
        **dict.fromkeys(LISTS, of_key), "list_keys": {}, "describe_custom_key_stores": {},
        "list_retirable_grants": {"RetiringPrincipal": ROOT},
    }
    for name, (member, most) in LISTS.items():
        call, given = getattr(kms, name), arguments[name]
        whole = call(**given, Limit=most)
        assert whole["Truncated"] is False
        assert "NextMarker" not in whole
        pages = list(kms.get_paginator(name).paginate(**given, PaginationConfig={"PageSize": 1}))
        assert [item for page in pages for item in page[member]] == whole[member], name
        assert len(pages) == max(1, len(whole[member])), name
        assert len(whole[member]) >= {"list_key_policies": 1, "describe_custom_key_stores": 0}.get(name, 3), name
        assert all(page["Truncated"] == ("NextMarker" in page) for page in pages)
        for limit in (0, -1, most + 1, 1_001):
            assert _refused(call, **given, Limit=limit) == ("ValidationException", 400), (name, limit)
        assert _refused(call, **given, Limit="1") == ("SerializationException", 400)
        foreign = next(page["NextMarker"] for page in kms.get_paginator(
            "list_keys" if name != "list_keys" else "list_aliases"
        ).paginate(PaginationConfig={"PageSize": 1}) if "NextMarker" in page)
        for marker in ("x", "é", foreign):
            assert _refused(call, **given, Marker=marker) == ("InvalidMarkerException", 400), name
        assert _refused(call, **given, Marker="") == ("ValidationException", 400)


def test_what_is_left_out(scene: Scene) -> None:
    """Defaults are AWS's."""
    kms = scene.kms
    made = kms.create_key()["KeyMetadata"]
    assert {name: made[name] for name in (
        "Description", "KeySpec", "CustomerMasterKeySpec", "KeyUsage", "Origin", "MultiRegion", "Enabled", "KeyManager",
    )} == {
        "Description": "", "KeySpec": "SYMMETRIC_DEFAULT", "CustomerMasterKeySpec": "SYMMETRIC_DEFAULT",
        "KeyUsage": "ENCRYPT_DECRYPT", "Origin": "AWS_KMS", "MultiRegion": False, "Enabled": True,
        "KeyManager": "CUSTOMER",
    }
    key = made["KeyId"]
    assert kms.get_key_policy(KeyId=key)["PolicyName"] == "default"
    kms.enable_key_rotation(KeyId=key)
    status = kms.get_key_rotation_status(KeyId=key)
    assert status["RotationPeriodInDays"] == 365
    assert abs(status["NextRotationDate"] - made["CreationDate"] - dt.timedelta(days=365)) < dt.timedelta(minutes=2)
    answer = kms.schedule_key_deletion(KeyId=key)
    assert answer["PendingWindowInDays"] == 30
    assert abs(answer["DeletionDate"] - made["CreationDate"] - dt.timedelta(days=30)) < dt.timedelta(minutes=2)
    assert scene.call("Encrypt")["EncryptionAlgorithm"] == "SYMMETRIC_DEFAULT"
    assert scene.call("Decrypt")["EncryptionAlgorithm"] == "SYMMETRIC_DEFAULT"
    moved = scene.call("ReEncrypt")
    assert moved["SourceEncryptionAlgorithm"] == moved["DestinationEncryptionAlgorithm"] == "SYMMETRIC_DEFAULT"
    raw = {**scene.requests["Verify"], "MessageType": "RAW"}
    assert kms.verify(**raw)["SignatureValid"] is True
    assert _refused(kms.generate_data_key, KeyId=scene.key) == ("ValidationException", 400)
    assert _refused(kms.generate_data_key, KeyId=scene.key, KeySpec="AES_128", NumberOfBytes=16) == (
        "ValidationException", 400
    )
    user = scene.endpoint.client(scene.endpoint.new_user("somebody", ALLOW_ALL))
    assert user.create_key()["KeyMetadata"]["AWSAccountId"] == HOME


def test_every_limit_of_the_model_is_refused_beyond(scene: Scene) -> None:
    """One less or more than each member of each operation may be, at the top of its request."""
    refused = 0
    for operation in MODEL.operation_names:
        shape = MODEL.operation_model(operation).input_shape
        for name, member in shape.members.items():
            for value in _beyond(member):
                call = getattr(scene.kms, botocore.xform_name(operation))
                code, status = _refused(call, **{name: value})
                assert (code, status) == ("ValidationException", 400), (operation, name)
                refused += 1
    assert refused > 250


def _beyond(shape: Any) -> Iterator[Any]:
    least, most = shape.metadata.get("min"), shape.metadata.get("max")
    one: Any = {"string": "x", "blob": b"x", "list": [None]}.get(shape.type_name)
    if shape.type_name == "list":
        one = [{} if shape.member.type_name == "structure" else "x"]
    if getattr(shape, "enum", None):
        yield "NOTHING"
    elif shape.type_name == "integer":
        yield from ([] if least is None else [least - 1])
        yield from ([] if most is None else [most + 1])
    elif one is not None:
        yield from ([] if not least else [one * (least - 1)])
        yield from ([] if most is None else [one * (most + 1)])
