"""What callers of the AWS endpoint are told is what AWS KMS says: `__type`, status and the text to the letter.

Texts are those that AWS answered to requests of this kind, as users and other projects have published them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from tests.support.aws_endpoint import AccessKey, Endpoint, running_endpoint, sign
from tests.support.inprocess import HOME

REGION = "us-east-1"
NO_KEY = "0b8f52c4-9d3e-4a57-8f0c-6f1d4c2f9a10"
KEY = f"arn:aws:kms:{REGION}:{HOME}:key/"
ALIAS = f"arn:aws:kms:{REGION}:{HOME}:alias/"
ROOT = f"arn:aws:iam::{HOME}:root"
ERROR = "1 validation error detected: Value"
FAILED = "failed to satisfy constraint: Member must"


@dataclass
class Things:
    """What requests name: keys by their ARNs."""

    endpoint: Endpoint
    key: str
    signer: str
    mac: str
    rsa: str
    disabled: str
    doomed: str
    external: str
    sealed: str


@pytest.fixture(scope="module")
def things(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Things]:
    """One server for all tests here."""
    with running_endpoint(tmp_path_factory.mktemp("aws") / "data") as endpoint:
        kms = endpoint.client()

        def new_key(**values: Any) -> str:
            return str(kms.create_key(**values)["KeyMetadata"]["Arn"])

        made = Things(
            endpoint, new_key(), new_key(KeySpec="ECC_NIST_P256", KeyUsage="SIGN_VERIFY"),
            new_key(KeySpec="HMAC_224", KeyUsage="GENERATE_VERIFY_MAC"),
            new_key(KeySpec="RSA_2048", KeyUsage="ENCRYPT_DECRYPT"), new_key(), new_key(), new_key(Origin="EXTERNAL"),
            "",
        )
        kms.disable_key(KeyId=made.disabled)
        kms.schedule_key_deletion(KeyId=made.doomed)
        kms.create_alias(AliasName="alias/app", TargetKeyId=made.key)
        made.sealed = json.loads(endpoint.send_signed(
            sign(endpoint, "Encrypt", json.dumps({"KeyId": new_key(), "Plaintext": "eA=="}).encode())
        ).body)["CiphertextBlob"]
        kms.close()
        yield made


ROWS: list[tuple[str, Callable[[Things], dict[str, Any]], str, str]] = [
    ("DescribeKey", lambda _: {"KeyId": NO_KEY}, "NotFound", f"Key '{KEY}{NO_KEY}' does not exist"),
    ("DescribeKey", lambda _: {"KeyId": KEY + NO_KEY}, "NotFound", f"Key '{KEY}{NO_KEY}' does not exist"),
    ("Encrypt", lambda _: {"KeyId": NO_KEY, "Plaintext": "eA=="}, "NotFound", f"Key '{KEY}{NO_KEY}' does not exist"),
    ("DescribeKey", lambda _: {"KeyId": "fake"}, "NotFound", "Invalid keyId 'fake'"),
    ("DescribeKey", lambda _: {"KeyId": NO_KEY.replace("-", "")}, "NotFound",
     f"Invalid keyId '{NO_KEY.replace('-', '')}'"),
    ("DescribeKey", lambda _: {"KeyId": "mrk-fake"}, "NotFound", "Invalid keyId 'mrk-fake'"),
    ("DescribeKey", lambda _: {"KeyId": "alias/none"}, "NotFound", f"Alias {ALIAS}none is not found."),
    ("DescribeKey", lambda _: {"KeyId": ALIAS + "none"}, "NotFound", f"Alias {ALIAS}none is not found."),
    ("DescribeKey", lambda t: {"KeyId": t.key.replace(REGION, "eu-west-1")}, "NotFound", "Invalid arn eu-west-1"),
    ("DeleteAlias", lambda _: {"AliasName": "alias/none"}, "NotFound", f"Alias {ALIAS}none is not found."),
    ("UpdateAlias", lambda t: {"AliasName": "alias/none", "TargetKeyId": t.key}, "NotFound",
     f"Alias {ALIAS}none is not found."),
    ("CreateAlias", lambda t: {"AliasName": "alias/app", "TargetKeyId": t.key}, "AlreadyExists",
     f"An alias with the name {ALIAS}app already exists"),
    ("Encrypt", lambda t: {"KeyId": t.disabled, "Plaintext": "eA=="}, "Disabled", "{disabled} is disabled."),
    ("Encrypt", lambda t: {"KeyId": t.doomed, "Plaintext": "eA=="}, "KMSInvalidState", "{doomed} is pending deletion."),
    ("Encrypt", lambda t: {"KeyId": t.external, "Plaintext": "eA=="}, "KMSInvalidState",
     "{external} is pending import."),
    ("CancelKeyDeletion", lambda t: {"KeyId": t.key}, "KMSInvalidState", "{key} is not pending deletion."),
    ("GenerateMac", lambda t: {"KeyId": t.key, "Message": "eA==", "MacAlgorithm": "HMAC_SHA_256"}, "InvalidKeyUsage",
     "{key} key usage is ENCRYPT_DECRYPT which is not valid for GenerateMac."),
    ("Sign", lambda t: {"KeyId": t.mac, "Message": "eA==", "SigningAlgorithm": "ECDSA_SHA_256"}, "InvalidKeyUsage",
     "{mac} key usage is GENERATE_VERIFY_MAC which is not valid for Sign."),
    ("Encrypt", lambda t: {"KeyId": t.signer, "Plaintext": "eA=="}, "InvalidKeyUsage",
     "{signer} key usage is SIGN_VERIFY which is not valid for Encrypt."),
    ("GenerateMac", lambda t: {"KeyId": t.mac, "Message": "eA==", "MacAlgorithm": "HMAC_SHA_256"}, "InvalidKeyUsage",
     "Algorithm HMAC_SHA_256 is incompatible with key spec HMAC_224."),
    ("Decrypt", lambda t: {"KeyId": t.key, "CiphertextBlob": t.sealed}, "IncorrectKey",
     "The key ID in the request does not identify a CMK that can perform this operation."),
    ("Decrypt", lambda t: {"CiphertextBlob": t.sealed, "EncryptionContext": {"a": "b"}}, "InvalidCiphertext", ""),
    ("Decrypt", lambda _: {"CiphertextBlob": "eA=="}, "InvalidCiphertext", ""),
    ("Verify", lambda t: {"KeyId": t.signer, "Message": "eA==", "SigningAlgorithm": "ECDSA_SHA_256",
                          "Signature": "eA=="}, "KMSInvalidSignature", ""),
    ("VerifyMac", lambda t: {"KeyId": t.mac, "Message": "eA==", "MacAlgorithm": "HMAC_SHA_224", "Mac": "eA=="},
     "KMSInvalidMac", ""),
    ("GetParametersForImport", lambda t: {"KeyId": t.key, "WrappingAlgorithm": "RSAES_OAEP_SHA_256",
                                          "WrappingKeySpec": "RSA_2048"}, "UnsupportedOperation",
     "{key} origin is AWS_KMS which is not valid for this operation."),
    ("ImportKeyMaterial", lambda t: {"KeyId": t.external, "ImportToken": "eA==", "EncryptedKeyMaterial": "eA==",
                                     "ExpirationModel": "KEY_MATERIAL_EXPIRES"}, "Validation",
     "A validTo date must be set if the ExpirationModel is KEY_MATERIAL_EXPIRES"),
    ("CreateKey", lambda _: {"KeySpec": "HMAC_256"}, "Validation",
     "You must specify a KeyUsage value for all KMS keys except for symmetric encryption keys."),
    ("Encrypt", lambda t: {"KeyId": t.rsa, "Plaintext": "eHh4" * 100, "EncryptionAlgorithm": "RSAES_OAEP_SHA_256"},
     "Validation", "Algorithm RSAES_OAEP_SHA_256 and key spec RSA_2048 cannot encrypt data larger than 190 bytes."),
    ("Sign", lambda t: {"KeyId": t.signer, "Message": "eA==", "MessageType": "DIGEST",
                        "SigningAlgorithm": "ECDSA_SHA_256"}, "Validation",
     "Digest is invalid length for algorithm ECDSA_SHA_256."),
    ("GenerateRandom", lambda _: {}, "Validation", "NumberOfBytes is required."),
    ("GenerateRandom", lambda _: {"NumberOfBytes": 0}, "Validation",
     f"{ERROR} '0' at 'numberOfBytes' {FAILED} have value greater than or equal to 1"),
    ("GenerateRandom", lambda _: {"NumberOfBytes": 1_025}, "Validation",
     f"{ERROR} '1025' at 'numberOfBytes' {FAILED} have value less than or equal to 1024"),
    ("DescribeKey", lambda _: {}, "Validation", f"{ERROR} null at 'keyId' {FAILED} not be null"),
    ("DescribeKey", lambda _: {"KeyId": ""}, "Validation",
     f"{ERROR} '' at 'keyId' {FAILED} have length greater than or equal to 1"),
    ("Encrypt", lambda t: {"KeyId": t.key, "Plaintext": "eHh4" * 1_400}, "Validation",
     f"{ERROR} at 'plaintext' {FAILED} have length less than or equal to 4096"),
    ("GenerateDataKey", lambda t: {"KeyId": t.key, "KeySpec": "AES"}, "Validation",
     f"{ERROR} 'AES' at 'keySpec' {FAILED} satisfy enum value set: [AES_256, AES_128]"),
    ("TagResource", lambda t: {"KeyId": t.key, "Tags": [{"TagKey": "", "TagValue": "x"}]}, "Validation",
     f"{ERROR} '' at 'tags.1.member.tagKey' {FAILED} have length greater than or equal to 1"),
    ("Nothing", lambda _: {}, "UnknownOperation", "*"),
]


@pytest.mark.parametrize(
    ("operation", "request_of", "error", "text"), ROWS, ids=[f"{row[0]}-{row[2]}-{i}" for i, row in enumerate(ROWS)]
)
def test_texts(
    things: Things, operation: str, request_of: Callable[[Things], dict[str, Any]], error: str, text: str
) -> None:
    """By the root user, who may do everything."""
    answer = things.endpoint.send_signed(
        sign(things.endpoint, operation, json.dumps(request_of(things)).encode())
    )
    assert (answer.status, answer.error) == (400, f"{error}Exception")
    for name in ("key", "signer", "mac", "disabled", "doomed", "external"):
        text = text.replace(f"{{{name}}}", getattr(things, name))
    if text != "*":
        assert answer.found.get("message", "") == text


def test_dry_runs_and_markers(things: Things) -> None:
    """Their own exceptions, by whatever operation has them."""
    for operation, body, error in (
        ("Encrypt", {"KeyId": things.key, "Plaintext": "eA==", "DryRun": True}, "DryRunOperation"),
        ("ListKeys", {"Marker": "x"}, "InvalidMarker"), ("ListGrants", {"KeyId": things.key, "Marker": "x"},
                                                         "InvalidMarker"),
    ):
        answer = things.endpoint.send_signed(sign(things.endpoint, operation, json.dumps(body).encode()))
        assert answer.error == f"{error}Exception"


def test_who_is_not_let_in(things: Things) -> None:
    """Texts of authentication and of permissions."""
    endpoint, body = things.endpoint, json.dumps({"KeyId": things.key, "Plaintext": "eA=="}).encode()
    user = endpoint.new_user("nobody")
    signature = (
        "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access "
        "Key and signing method. Consult the service documentation for details."
    )
    denied = (
        f"User: arn:aws:iam::{HOME}:user/nobody is not authorized to perform: kms:Encrypt on resource: {things.key} "
        "because no identity-based policy allows the kms:Encrypt action"
    )
    for request, error, text in (
        (sign(endpoint, "Encrypt", body, AccessKey("AKIAIOSFODNN7EXAMPLE", "x")), "UnrecognizedClient",
         "The security token included in the request is invalid."),
        (sign(endpoint, "Encrypt", body, AccessKey(user.id, "x")), "InvalidSignature", signature),
        (sign(endpoint, "Encrypt", body, service="sts"), "InvalidSignature",
         "Credential should be scoped to correct service: 'kms'."),
        (sign(endpoint, "Encrypt", body).changed(authorization=None), "MissingAuthenticationToken",
         "Missing Authentication Token"),
        (sign(endpoint, "Encrypt", body, user), "AccessDenied",
         denied),
    ):
        answer = endpoint.send_signed(request)
        assert (answer.status, answer.error) == (400, f"{error}Exception")
        assert answer.found["Message" if error == "AccessDenied" else "message"] == text
