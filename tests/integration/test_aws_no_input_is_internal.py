"""Whatever body is sent to whichever operation over AWS's protocol: an answer of AWS's, never a failure of our own.

Bodies come from botocore's model: each member of each operation wrong in some twenty ways while the others make sense,
and examples of Hypothesis's choice. `KAGITORI_FUZZ_SEED` chooses others, `KAGITORI_FUZZ_EXAMPLES` more of them.
"""

from __future__ import annotations

import json
import os
import ssl
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import botocore.session
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, OAEP
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_der_public_key
from hypothesis import HealthCheck, Phase, given, seed, settings
from tests.support.aws_endpoint import JSON, AccessKey, Answered, Endpoint, read_answer, running_endpoint, sign
from tests.support.client_certificates import certificate
from tests.support.inprocess import HOME
from tests.support.kms_calls import delegating
from tests.support.random_bodies import LEFT_OUT, Pool, bodies, first_body, written, wrong_bodies
from tests.support.random_messages import ODD_POLICIES
from tests.support.tokens import PIN, fresh_token

MODEL: Any = botocore.session.get_session().get_service_model("kms")
SEED = int(os.environ.get("KAGITORI_FUZZ_SEED", "2026"))
EXAMPLES = int(os.environ.get("KAGITORI_FUZZ_EXAMPLES", "15"))
COMMON = {"ValidationException", "SerializationException", "AccessDeniedException", "RequestEntityTooLargeException"}
OF_PARAMETERS = {
    "InvalidArnException", "InvalidAliasNameException", "InvalidGrantTokenException", "InvalidMarkerException",
}
"""Of the model, but not listed for each operation that has such a parameter."""
STRANGER = AccessKey("AKIAIOSFODNN7EXAMPLE", "x" * 40)
CLUSTER = "cluster-aaaaaaaaaaa"


class Target:
    """A service with a few things in it, and a connection that requests go over one after the other."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.kms = endpoint.client()
        self.kept = self.new_key()
        self.pool = _Things(self).pool
        self._connection: ssl.SSLSocket | None = None

    def new_key(self, **values: Any) -> str:
        """A key's ARN."""
        return str(self.kms.create_key(**values)["KeyMetadata"]["Arn"])

    def send(self, operation: str, body: str, key: AccessKey | None = None) -> Answered:
        """The answer to a signed request."""
        request = sign(self.endpoint, operation, body.encode("utf-8", "surrogatepass"), key)
        if self._connection is None:
            self._connection = self.endpoint.connect()
        self._connection.sendall(request.raw())
        answer = read_answer(self._connection)
        if answer.headers.get("connection") == "close":
            self.close()
        return answer

    def close(self) -> None:
        """Ends the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


class _Things:
    """What requests can name: a key of each family, what they make, an alias, a grant, a custom key store."""

    def __init__(self, target: Target) -> None:
        kms = target.kms
        key, spare, doomed = (target.new_key() for _ in range(3))
        kms.disable_key(KeyId=spare)
        signer, agreeing, mac, kem, pair = (
            target.new_key(KeySpec=spec, KeyUsage=usage) for spec, usage in (
                ("ECC_NIST_P256", "SIGN_VERIFY"), ("ECC_NIST_P256", "KEY_AGREEMENT"),
                ("HMAC_256", "GENERATE_VERIFY_MAC"), ("ML_KEM_768", "ENCAPSULATE_DECAPSULATE"),
                ("RSA_2048", "ENCRYPT_DECRYPT"),
            )
        )
        external, family = target.new_key(Origin="EXTERNAL"), target.new_key(MultiRegion=True)
        kms.create_alias(AliasName="alias/app", TargetKeyId=key)
        root = f"arn:aws:iam::{HOME}:root"
        grant = kms.create_grant(KeyId=key, GranteePrincipal=root, Operations=["Encrypt"], RetiringPrincipal=root)
        sealed = _text(kms.encrypt(KeyId=key, Plaintext=b"x")["CiphertextBlob"])
        signing = {"KeyId": signer, "Message": b"x", "SigningAlgorithm": "ECDSA_SHA_256"}
        parameters = kms.get_parameters_for_import(
            KeyId=external, WrappingAlgorithm="RSAES_OAEP_SHA_256", WrappingKeySpec="RSA_2048"
        )
        wrapping = load_der_public_key(parameters["PublicKey"])
        assert isinstance(wrapping, rsa.RSAPublicKey)
        material = wrapping.encrypt(bytes(32), OAEP(MGF1(SHA256()), SHA256(), None))
        store = kms.create_custom_key_store(
            CustomKeyStoreName="hsm", CloudHsmClusterId=CLUSTER, TrustAnchorCertificate=certificate().decode(),
            KeyStorePassword=PIN.decode(),
        )["CustomKeyStoreId"]
        secret = kms.encapsulate(KeyId=kem, EncapsulationAlgorithm="ML_KEM")["SharedSecretCiphertextBlob"]
        keys = [key, spare, signer, agreeing, mac, kem, pair, external, family, doomed, "alias/app"]
        tags = [[{"TagKey": "k", "TagValue": "v"}]]
        use = {
            "Sign": signer, "Verify": signer, "GetPublicKey": signer, "DeriveSharedSecret": agreeing,
            "GenerateMac": mac, "VerifyMac": mac, "Encapsulate": kem, "Decapsulate": kem, "ReplicateKey": family,
            "UpdatePrimaryRegion": family, "GetParametersForImport": external, "ImportKeyMaterial": external,
            "DeleteImportedKeyMaterial": external, "ScheduleKeyDeletion": doomed, "CancelKeyDeletion": doomed,
            "DisableKey": spare, "EnableKey": spare,
        }
        self.pool = Pool(
            members={
                **{f"{operation}.KeyId": [first, *keys] for operation, first in use.items()}, "KeyId": keys,
                "TargetKeyId": [key, signer], "SourceKeyId": [LEFT_OUT, key, pair], "DestinationKeyId": [key, pair],
                "AliasName": ["alias/app", "alias/new", "alias/newer"], "GranteePrincipal": [root],
                "RetiringPrincipal": [root, LEFT_OUT], "GrantId": [grant["GrantId"]],
                "GrantToken": [LEFT_OUT, grant["GrantToken"]], "GrantTokens": [LEFT_OUT, [grant["GrantToken"]]],
                "Operations": [["Encrypt"], ["Decrypt", "DescribeKey"]], "Constraints": [LEFT_OUT],
                "GranteeServicePrincipal": [LEFT_OUT], "RetiringServicePrincipal": [LEFT_OUT],
                "SourceArn": [LEFT_OUT], "Marker": [LEFT_OUT], "Limit": [LEFT_OUT, 1, 50], "DryRun": [LEFT_OUT, True],
                "DryRunModifiers": [LEFT_OUT, ["IGNORE_CIPHERTEXT"]], "CreateAlias.AliasName": ["alias/new"],
                "CiphertextBlob": [sealed, sealed[:-4], sealed[:40]], "Recipient": [LEFT_OUT],
                "EncryptionContext": [LEFT_OUT, {"a": "b"}], "SourceEncryptionContext": [LEFT_OUT, {"a": "b"}],
                "DestinationEncryptionContext": [LEFT_OUT, {"a": "b"}], "Plaintext": [_text(b"x"), _text(bytes(4_096))],
                "EncryptionAlgorithm": [LEFT_OUT, "SYMMETRIC_DEFAULT", "RSAES_OAEP_SHA_256"],
                "SourceEncryptionAlgorithm": [LEFT_OUT, "SYMMETRIC_DEFAULT"],
                "DestinationEncryptionAlgorithm": [LEFT_OUT, "RSAES_OAEP_SHA_1"],
                "NumberOfBytes": [LEFT_OUT, 32], "GenerateRandom.NumberOfBytes": [32, 1_024],
                "GenerateDataKey.KeySpec": ["AES_256", LEFT_OUT],
                "GenerateDataKeyWithoutPlaintext.KeySpec": ["AES_256", LEFT_OUT],
                # Pairs and keys that are made in no time.
                "KeyPairSpec": ["ECC_NIST_P256", "ECC_SECG_P256K1"],
                "CreateKey.KeySpec": ["SYMMETRIC_DEFAULT", "ECC_NIST_P256", "HMAC_256", "ML_KEM_768", LEFT_OUT],
                "CustomerMasterKeySpec": [LEFT_OUT, "ECC_NIST_P256"], "KeyUsage": ["ENCRYPT_DECRYPT", "SIGN_VERIFY"],
                "CreateKey.CustomKeyStoreId": [LEFT_OUT, store], "XksKeyId": [LEFT_OUT],
                "Origin": [LEFT_OUT, "AWS_KMS", "EXTERNAL", "AWS_CLOUDHSM", "EXTERNAL_KEY_STORE"],
                "GenerateRandom.CustomKeyStoreId": [LEFT_OUT, store],
                "Policy": [delegating(), *ODD_POLICIES, LEFT_OUT], "PolicyName": ["default", LEFT_OUT],
                "Tags": tags, "TagKeys": [["k"]], "MultiRegion": [LEFT_OUT, True, False],
                "BypassPolicyLockoutSafetyCheck": [LEFT_OUT, True], "PendingWindowInDays": [7, 30, LEFT_OUT],
                "ReplicaRegion": ["eu-west-1", "us-east-1"], "PrimaryRegion": ["us-east-1", "eu-west-1"],
                "RotationPeriodInDays": [90, 2_560, LEFT_OUT], "IncludeKeyMaterial": [LEFT_OUT, "ALL_KEY_MATERIAL"],
                "Message": [_text(b"x"), _text(bytes(32))], "MessageType": ["RAW", "DIGEST", LEFT_OUT],
                "SigningAlgorithm": ["ECDSA_SHA_256", "RSASSA_PSS_SHA_256"],
                "Signature": [_text(kms.sign(**signing)["Signature"])], "MacAlgorithm": ["HMAC_SHA_256"],
                "Mac": [_text(kms.generate_mac(KeyId=mac, Message=b"x", MacAlgorithm="HMAC_SHA_256")["Mac"])],
                "KeyAgreementAlgorithm": ["ECDH"], "EncapsulationAlgorithm": ["ML_KEM"],
                "PublicKey": [_text(kms.get_public_key(KeyId=agreeing)["PublicKey"])],
                "SharedSecretCiphertextBlob": [_text(secret), _text(secret[:-1])],
                "WrappingAlgorithm": ["RSAES_OAEP_SHA_256"], "WrappingKeySpec": ["RSA_2048"],
                "ImportToken": [_text(parameters["ImportToken"])],
                "EncryptedKeyMaterial": [_text(material), _text(bytes(256))], "ValidTo": [LEFT_OUT, 1_900_000_000],
                "ExpirationModel": ["KEY_MATERIAL_DOES_NOT_EXPIRE", LEFT_OUT],
                "ImportType": [LEFT_OUT, "NEW_KEY_MATERIAL"],
                "KeyMaterialId": [LEFT_OUT], "KeyMaterialDescription": [LEFT_OUT, "d"],
                "CustomKeyStoreType": ["AWS_CLOUDHSM", LEFT_OUT], "CloudHsmClusterId": [CLUSTER],
                "TrustAnchorCertificate": [certificate().decode()], "CustomKeyStoreName": ["hsm2"],
                "CustomKeyStoreId": [store], "NewCustomKeyStoreName": ["hsm2"],
                "DescribeCustomKeyStores.CustomKeyStoreName": [LEFT_OUT, "hsm"], "KeyStorePassword": [PIN.decode()],
                **{name: [LEFT_OUT] for name in (
                    "XksProxyUriEndpoint", "XksProxyUriPath", "XksProxyVpcEndpointServiceName",
                    "XksProxyVpcEndpointServiceOwner", "XksProxyAuthenticationCredential", "XksProxyConnectivity",
                )},
            },
            texts=[*keys, root, sealed, "eu-west-1", "default", grant["GrantToken"], *ODD_POLICIES],
        )


def _text(blob: bytes) -> str:
    return b64encode(blob).decode()


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """One server for all operations: what one does to it, the next one meets. Its log says nothing in the end."""
    folder = tmp_path_factory.mktemp("aws")
    log = folder / "log"
    token = fresh_token().settings
    (folder / "config.toml").write_text(
        f'[hsm.{CLUSTER}]\nmodule = "{token.module}"\ntoken_label = "{token.token_label}"\n'
        f'softhsm_conf = "{token.softhsm_conf}"\n'
    )
    arguments = ("--set", "service.regions=us-east-1,eu-west-1", "--config", str(folder / "config.toml"))
    with running_endpoint(folder / "data", arguments, log) as endpoint:
        target = Target(endpoint)
        yield target
        target.close()
        assert _complaints(log) == []
    assert _complaints(log) == []


def _complaints(log: Path) -> list[str]:
    """Lines of errors, and what isn't the log's own, such as a traceback."""
    lines = log.read_text().splitlines()
    return [line for line in lines if not line.startswith("{") or json.loads(line)["level"] in ("error", "critical")]


def _judge(operation: str, body: str, answer: Answered, common: set[str] = COMMON) -> None:
    shown = body if len(body) < 2_000 else f"{body[:1_000]}…{body[-1_000:]}"
    if answer.status == 200:
        assert MODEL.operation_model(operation).output_shape is None or isinstance(answer.found, dict), shown
        return
    assert answer.status in (400, 413), (answer, shown)
    assert answer.headers["content-type"] == JSON
    assert answer.headers["x-amzn-requestid"]
    assert answer.found.keys() <= {"__type", "message", "Message"}, (answer, shown)
    modelled = {shape.name for shape in MODEL.operation_model(operation).error_shapes}
    assert answer.error in modelled | common | OF_PARAMETERS, (answer, shown)


@pytest.mark.parametrize("operation", sorted(MODEL.operation_names))
def test_bodies(target: Target, operation: str) -> None:
    """Modelled exceptions of the operation, or AWS's common ones, as JSON; and it goes on serving."""
    shape = MODEL.operation_model(operation).input_shape
    for body in wrong_bodies(operation, shape, target.pool):
        _judge(operation, body, target.send(operation, body))

    @seed(SEED)
    @settings(
        max_examples=EXAMPLES, deadline=None, database=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(body=bodies(operation, shape, target.pool))
    def run(body: str) -> None:
        _judge(operation, body, target.send(operation, body))

    # Shown with a failure, to do it again.
    print(f"KAGITORI_FUZZ_SEED={SEED}")
    run()
    body = written(first_body(operation, shape, target.pool))
    _judge(operation, body, stranger := target.send(operation, body, STRANGER), {"UnrecognizedClientException"})
    assert stranger.error == "UnrecognizedClientException"
    assert target.kms.describe_key(KeyId=target.kept)["KeyMetadata"]["Enabled"]
