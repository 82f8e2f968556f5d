"""All operations of AWS KMS by stock boto3, over TLS, signed with an access key; botocore parses the answers."""

from __future__ import annotations

import base64
import datetime as dt
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import botocore.session
import pytest
from botocore.exceptions import ClientError
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, OAEP
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_der_public_key
from tests.support.aws_endpoint import Endpoint, running_endpoint
from tests.support.client_certificates import certificate
from tests.support.inprocess import HOME
from tests.support.kms_calls import delegating
from tests.support.tokens import PIN, fresh_token

CLUSTER = "cluster-aaaaaaaaaaa"
CONTEXT = {"tenant": "t1", "鍵": ""}
OPERATIONS = frozenset(botocore.session.get_session().get_service_model("kms").operation_names)


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    """One server for all tests here, with a token for a custom key store."""
    token = fresh_token().settings
    arguments = (
        "--set", "service.regions=us-east-1,eu-west-1", "--config", str(tmp_path_factory.mktemp("c") / "c.toml")
    )
    Path(arguments[-1]).write_text(
        f'[hsm.{CLUSTER}]\nmodule = "{token.module}"\ntoken_label = "{token.token_label}"\n'
        f'softhsm_conf = "{token.softhsm_conf}"\n'
    )
    with running_endpoint(tmp_path_factory.mktemp("aws") / "data", arguments) as running:
        yield running


@pytest.fixture(scope="module")
def kms(endpoint: Endpoint) -> Any:
    """The root user's client."""
    return endpoint.client()


@pytest.fixture(scope="module")
def key(kms: Any) -> str:
    """A symmetric key's ARN."""
    made = kms.create_key(Description="app", Tags=[{"TagKey": "team", "TagValue": "x"}], Policy=delegating())
    return str(made["KeyMetadata"]["Arn"])


def new_key(kms: Any, **values: Any) -> str:
    """A key's ARN."""
    return str(kms.create_key(**values)["KeyMetadata"]["Arn"])


def test_every_operation(kms: Any, endpoint: Endpoint, key: str) -> None:
    """Nothing of AWS's model is left out."""
    called: set[str] = set()
    kms.meta.events.register("after-call.kms", lambda model, **_: called.add(model.name))
    _keys(kms, key)
    _names_tags_and_policies(kms, key)
    _symmetric_encryption(kms, key)
    _other_cryptography(kms)
    _grants(kms, endpoint, key)
    _rotation_and_import(kms)
    _regions(kms, endpoint)
    _custom_key_stores(kms)
    assert called == OPERATIONS


def _keys(kms: Any, key: str) -> None:
    """Making, finding, describing and ending keys."""
    metadata = kms.describe_key(KeyId=key)["KeyMetadata"]
    assert metadata["AWSAccountId"] == HOME
    assert metadata["Arn"] == key
    assert (metadata["KeySpec"], metadata["KeyState"], metadata["Enabled"]) == ("SYMMETRIC_DEFAULT", "Enabled", True)
    assert metadata["EncryptionAlgorithms"] == ["SYMMETRIC_DEFAULT"]
    assert "SigningAlgorithms" not in metadata
    assert abs(metadata["CreationDate"] - dt.datetime.now(dt.UTC)) < dt.timedelta(minutes=2)
    assert {"KeyId": metadata["KeyId"], "KeyArn": key} in kms.list_keys()["Keys"]
    kms.update_key_description(KeyId=key, Description="the app's")
    assert kms.describe_key(KeyId=key)["KeyMetadata"]["Description"] == "the app's"
    spare = new_key(kms)
    for change in (kms.disable_key, kms.enable_key, kms.schedule_key_deletion, kms.cancel_key_deletion):
        change(KeyId=spare)
    due = kms.schedule_key_deletion(KeyId=spare, PendingWindowInDays=7)
    assert due["KeyState"] == "PendingDeletion"
    assert abs(due["DeletionDate"] - dt.datetime.now(dt.UTC) - dt.timedelta(days=7)) < dt.timedelta(minutes=2)
    assert "KeyLastUsage" in kms.get_key_last_usage(KeyId=key)


def _names_tags_and_policies(kms: Any, key: str) -> None:
    """What stands beside keys; changes that AWS answers with nothing are answered with nothing."""
    key_id = key.rpartition("/")[2]
    answer = kms.create_alias(AliasName="alias/app", TargetKeyId=key)
    assert answer["ResponseMetadata"]["HTTPHeaders"]["content-length"] == "0"
    other = new_key(kms)
    kms.create_alias(AliasName="alias/old", TargetKeyId=other)
    kms.update_alias(AliasName="alias/old", TargetKeyId=key)
    kms.delete_alias(AliasName="alias/old")
    (alias,) = kms.list_aliases(KeyId=key)["Aliases"]
    assert (alias["AliasName"], alias["TargetKeyId"]) == ("alias/app", key_id)
    kms.tag_resource(KeyId=key_id, Tags=[{"TagKey": "env", "TagValue": ""}])
    kms.untag_resource(KeyId=key_id, TagKeys=["team"])
    assert kms.list_resource_tags(KeyId=key_id)["Tags"] == [{"TagKey": "env", "TagValue": ""}]
    kms.put_key_policy(KeyId=key, Policy=delegating(), PolicyName="default")
    assert kms.get_key_policy(KeyId=key)["Policy"] == delegating()
    assert kms.list_key_policies(KeyId=key)["PolicyNames"] == ["default"]


def _symmetric_encryption(kms: Any, key: str) -> None:
    """Encryption with a context, and data keys."""
    sealed = kms.encrypt(KeyId=key, Plaintext=b"attack at dawn", EncryptionContext=CONTEXT)
    opened = kms.decrypt(CiphertextBlob=sealed["CiphertextBlob"], EncryptionContext=CONTEXT)
    assert (opened["Plaintext"], opened["KeyId"]) == (b"attack at dawn", key)
    moved = kms.re_encrypt(
        CiphertextBlob=sealed["CiphertextBlob"], SourceEncryptionContext=CONTEXT, DestinationKeyId=key
    )
    assert moved["SourceKeyId"] == key
    assert kms.decrypt(CiphertextBlob=moved["CiphertextBlob"])["Plaintext"] == b"attack at dawn"
    data = kms.generate_data_key(KeyId=key, NumberOfBytes=64)
    assert len(data["Plaintext"]) == 64
    assert kms.decrypt(CiphertextBlob=data["CiphertextBlob"])["Plaintext"] == data["Plaintext"]
    assert "Plaintext" not in kms.generate_data_key_without_plaintext(KeyId=key, KeySpec="AES_256")
    pair = kms.generate_data_key_pair(KeyId=key, KeyPairSpec="ECC_NIST_P256")
    private = kms.decrypt(CiphertextBlob=pair["PrivateKeyCiphertextBlob"])["Plaintext"]
    assert private == pair["PrivateKeyPlaintext"]
    kms.generate_data_key_pair_without_plaintext(KeyId=key, KeyPairSpec="ECC_NIST_P256")
    assert len(kms.generate_random(NumberOfBytes=1024)["Plaintext"]) == 1024
    with pytest.raises(kms.exceptions.DryRunOperationException):
        kms.encrypt(KeyId=key, Plaintext=b"x", DryRun=True)


def _other_cryptography(kms: Any) -> None:
    """Signatures, MACs, shared secrets."""
    signer = new_key(kms, KeySpec="ECC_NIST_P256", KeyUsage="SIGN_VERIFY")
    terms = {"KeyId": signer, "Message": b"to all", "SigningAlgorithm": "ECDSA_SHA_256"}
    signature = kms.sign(**terms)["Signature"]
    assert kms.verify(**terms, Signature=signature)["SignatureValid"] is True
    with pytest.raises(kms.exceptions.KMSInvalidSignatureException):
        kms.verify(**{**terms, "Message": b"to none"}, Signature=signature)
    assert kms.get_public_key(KeyId=signer)["SigningAlgorithms"] == ["ECDSA_SHA_256"]
    terms = {
        "KeyId": new_key(kms, KeySpec="HMAC_384", KeyUsage="GENERATE_VERIFY_MAC"), "Message": b"to all",
        "MacAlgorithm": "HMAC_SHA_384",
    }
    mac = kms.generate_mac(**terms)["Mac"]
    assert kms.verify_mac(**terms, Mac=mac)["MacValid"] is True
    with pytest.raises(kms.exceptions.KMSInvalidMacException):
        kms.verify_mac(**terms, Mac=mac[::-1])
    one, two = (new_key(kms, KeySpec="ECC_NIST_P384", KeyUsage="KEY_AGREEMENT") for _ in range(2))
    secrets = {
        kms.derive_shared_secret(
            KeyId=mine, KeyAgreementAlgorithm="ECDH", PublicKey=kms.get_public_key(KeyId=yours)["PublicKey"]
        )["SharedSecret"]
        for mine, yours in ((one, two), (two, one))
    }
    assert len(secrets) == 1
    terms = {
        "KeyId": new_key(kms, KeySpec="ML_KEM_768", KeyUsage="ENCAPSULATE_DECAPSULATE"),
        "EncapsulationAlgorithm": "ML_KEM",
    }
    sent = kms.encapsulate(**terms)
    blob = sent["SharedSecretCiphertextBlob"]
    assert kms.decapsulate(**terms, SharedSecretCiphertextBlob=blob)["SharedSecret"] == sent["SharedSecret"]


def _grants(kms: Any, endpoint: Endpoint, key: str) -> None:
    """Given, listed, used, retired and revoked."""
    grantee = endpoint.new_user("grantee")
    arn = f"arn:aws:iam::{HOME}:user/grantee"
    made = kms.create_grant(
        KeyId=key, GranteePrincipal=arn, Operations=["Encrypt", "DescribeKey"], RetiringPrincipal=arn, Name="g",
        Constraints={"EncryptionContextSubset": CONTEXT},
    )
    (grant,) = kms.list_grants(KeyId=key)["Grants"]
    assert grant["GrantId"] == made["GrantId"]
    assert grant["Constraints"] == {"EncryptionContextSubset": CONTEXT}
    granted = endpoint.client(grantee)
    granted.encrypt(KeyId=key, Plaintext=b"x", EncryptionContext=CONTEXT, GrantTokens=[made["GrantToken"]])
    with pytest.raises(ClientError) as refused:
        granted.encrypt(KeyId=key, Plaintext=b"x")
    assert refused.value.response["Error"]["Code"] == "AccessDeniedException"
    assert len(kms.list_retirable_grants(RetiringPrincipal=arn)["Grants"]) == 1
    kms.retire_grant(KeyId=key, GrantId=made["GrantId"])
    made = kms.create_grant(KeyId=key, GranteePrincipal=arn, Operations=["Encrypt"])
    kms.revoke_grant(KeyId=key, GrantId=made["GrantId"])
    assert kms.list_grants(KeyId=key)["Grants"] == []


def _rotation_and_import(kms: Any) -> None:
    """Material that comes and goes."""
    key = new_key(kms)
    kms.enable_key_rotation(KeyId=key, RotationPeriodInDays=90)
    status = kms.get_key_rotation_status(KeyId=key)
    assert (status["KeyRotationEnabled"], status["RotationPeriodInDays"]) == (True, 90)
    assert status["NextRotationDate"] > dt.datetime.now(dt.UTC)
    kms.disable_key_rotation(KeyId=key)
    kms.rotate_key_on_demand(KeyId=key)
    (rotation,) = kms.list_key_rotations(KeyId=key)["Rotations"]
    assert rotation["RotationType"] == "ON_DEMAND"
    key = new_key(kms, Origin="EXTERNAL")
    given = kms.get_parameters_for_import(
        KeyId=key, WrappingAlgorithm="RSAES_OAEP_SHA_256", WrappingKeySpec="RSA_2048"
    )
    wrapping = load_der_public_key(given["PublicKey"])
    assert isinstance(wrapping, rsa.RSAPublicKey)
    until = dt.datetime.now(dt.UTC).replace(microsecond=0) + dt.timedelta(days=1)
    kms.import_key_material(
        KeyId=key, ImportToken=given["ImportToken"], ExpirationModel="KEY_MATERIAL_EXPIRES", ValidTo=until,
        EncryptedKeyMaterial=wrapping.encrypt(bytes(32), OAEP(MGF1(SHA256()), SHA256(), None)),
    )
    metadata = kms.describe_key(KeyId=key)["KeyMetadata"]
    assert (metadata["ValidTo"], metadata["ExpirationModel"]) == (until, "KEY_MATERIAL_EXPIRES")
    kms.delete_imported_key_material(KeyId=key)
    assert kms.describe_key(KeyId=key)["KeyMetadata"]["KeyState"] == "PendingImport"


def _regions(kms: Any, endpoint: Endpoint) -> None:
    """A call's Region is that of its credential scope."""
    primary = kms.create_key(MultiRegion=True)["KeyMetadata"]
    replica = kms.replicate_key(KeyId=primary["Arn"], ReplicaRegion="eu-west-1")["ReplicaKeyMetadata"]
    abroad = endpoint.client(region="eu-west-1")
    sealed = kms.encrypt(KeyId=primary["Arn"], Plaintext=b"afar")["CiphertextBlob"]
    opened = abroad.decrypt(CiphertextBlob=sealed, KeyId=replica["KeyId"])
    assert (opened["Plaintext"], opened["KeyId"]) == (b"afar", replica["Arn"])
    kms.update_primary_region(KeyId=primary["Arn"], PrimaryRegion="eu-west-1")
    shown = abroad.describe_key(KeyId=replica["KeyId"])["KeyMetadata"]["MultiRegionConfiguration"]
    assert shown["PrimaryKey"] == {"Arn": replica["Arn"], "Region": "eu-west-1"}
    assert [entry["KeyId"] for entry in abroad.list_keys()["Keys"]] == [replica["KeyId"]]
    with pytest.raises(ClientError) as refused:
        endpoint.client(region="sa-east-1").list_keys()
    assert refused.value.response["Error"]["Code"] == "InvalidSignatureException"
    assert "'sa-east-1'" in refused.value.response["Error"]["Message"]


def _custom_key_stores(kms: Any) -> None:
    """A life of one."""
    store = {"CustomKeyStoreId": kms.create_custom_key_store(
        CustomKeyStoreName="hsm", CloudHsmClusterId=CLUSTER, TrustAnchorCertificate=certificate().decode(),
        KeyStorePassword=PIN.decode(),
    )["CustomKeyStoreId"]}
    kms.update_custom_key_store(**store, NewCustomKeyStoreName="vault")

    def wait_for(state: str) -> None:
        end = time.monotonic() + 30
        while True:
            (found,) = kms.describe_custom_key_stores(CustomKeyStoreName="vault")["CustomKeyStores"]
            if found["ConnectionState"] == state:
                return
            assert time.monotonic() < end
            time.sleep(0.1)

    kms.connect_custom_key_store(**store)
    wait_for("CONNECTED")
    kms.disconnect_custom_key_store(**store)
    wait_for("DISCONNECTED")
    assert kms.delete_custom_key_store(**store)["ResponseMetadata"]["HTTPStatusCode"] == 200


def test_paginators(endpoint: Endpoint) -> None:
    """Every paginator of botocore goes through all pages."""
    kms = endpoint.client(region="eu-west-1")
    key = new_key(kms, Tags=[{"TagKey": f"k{number}", "TagValue": ""} for number in range(3)])
    for number in range(3):
        kms.create_alias(AliasName=f"alias/page-{number}", TargetKeyId=key)
        kms.create_grant(
            KeyId=key, GranteePrincipal=f"arn:aws:iam::{HOME}:root", Operations=["Encrypt"], Name=str(number),
            RetiringPrincipal=f"arn:aws:iam::{HOME}:root",
        )
        kms.rotate_key_on_demand(KeyId=key)
        new_key(kms)
    for name, member, arguments in (
        ("list_keys", "Keys", {}),
        ("list_aliases", "Aliases", {"KeyId": key}),
        ("list_grants", "Grants", {"KeyId": key}),
        ("list_retirable_grants", "Grants", {"RetiringPrincipal": f"arn:aws:iam::{HOME}:root"}),
        ("list_resource_tags", "Tags", {"KeyId": key}),
        ("list_key_rotations", "Rotations", {"KeyId": key}),
    ):
        pages = list(kms.get_paginator(name).paginate(**arguments, PaginationConfig={"PageSize": 2}))
        found = [str(item) for page in pages for item in page[member]]
        assert len(pages) >= 2, name
        assert len(found) == len(set(found)) >= 3, name


def test_error_codes(kms: Any, key: str) -> None:
    """The modelled exceptions by their classes, with AWS's status."""
    kms.create_alias(AliasName="alias/twice", TargetKeyId=key)
    refusals: list[tuple[str, Callable[[], Any]]] = [
        ("NotFoundException", lambda: kms.describe_key(KeyId="alias/nothing")),
        ("AlreadyExistsException", lambda: kms.create_alias(AliasName="alias/twice", TargetKeyId=key)),
        ("InvalidCiphertextException", lambda: kms.decrypt(CiphertextBlob=b"nothing")),
        ("InvalidArnException", lambda: kms.describe_key(KeyId="arn:aws:kms:us-east-1:000000000000:nothing/x")),
        ("InvalidMarkerException", lambda: kms.list_keys(Marker="nothing")),
        ("MalformedPolicyDocumentException", lambda: kms.put_key_policy(KeyId=key, Policy="{}")),
    ]
    for exception, call in refusals:
        with pytest.raises(getattr(kms.exceptions, exception)) as refused:
            call()
        assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400
        assert refused.value.response["ResponseMetadata"]["RequestId"]
    with pytest.raises(ClientError) as refused:
        kms.encrypt(KeyId=key, Plaintext=bytes(4097))
    assert refused.value.response["Error"]["Code"] == "ValidationException"
    assert refused.value.response["Error"]["Message"].startswith("1 validation error detected: Value at 'plaintext'")


def test_records_are_like_those_of_grpc(kms: Any, endpoint: Endpoint, key: str) -> None:
    """Who, by what, from where, over which TLS; the account of the access key."""
    answer = kms.encrypt(KeyId=key, Plaintext=b"x", EncryptionContext=CONTEXT)
    endpoint.call("Encrypt", key_id=key, plaintext=b"x", encryption_context=CONTEXT)
    by_aws, by_grpc = endpoint.records()[-2:]
    assert by_aws["requestID"] == answer["ResponseMetadata"]["RequestId"]
    assert by_aws["userIdentity"]["accessKeyId"] == endpoint.root.id
    assert by_aws["userAgent"].startswith("Boto3/")
    assert by_aws["tlsDetails"]["clientProvidedHostHeader"] == endpoint.server.addresses["aws"]
    assert by_aws["tlsDetails"]["tlsVersion"] == by_grpc["tlsDetails"]["tlsVersion"] == "TLSv1.3"
    own = {"requestID", "eventID", "eventTime", "userAgent", "userIdentity", "tlsDetails", "sourceIPAddress"}
    assert {k: v for k, v in by_aws.items() if k not in own} == {k: v for k, v in by_grpc.items() if k not in own}
    assert by_aws["sourceIPAddress"] == "127.0.0.1"
    text = (endpoint.server.data / "audit").rglob("*.jsonl")
    assert all(base64.b64encode(b"attack at dawn").decode() not in path.read_text() for path in text)
