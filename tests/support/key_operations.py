"""Each operation on keys of every family, their material and their Regions, called over a channel."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_private_key,
    load_der_public_key,
)
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status
from tests.support.whole_server import Caller

from kagitori.kms.v1 import key_material_pb2, resources_pb2
from kagitori_client.importing import KeyMaterial, WrappingAlgorithm, wrap_key_material


def use_keys_of_every_family(root: Caller, abroad: Caller) -> None:
    """Calls them all; `alias/app` names a symmetric key, and `abroad` calls in eu-west-1."""
    _key_pairs(root)
    _signatures(root)
    _macs(root)
    _shared_secrets(root)
    _rotation(root)
    _imports(root)
    _regions(root, abroad)


def refused(caller: Caller, operation: str, **members: Any) -> tuple[grpc.StatusCode, ErrorInfo]:
    """Status and details of a call that must be refused."""
    with pytest.raises(grpc.RpcError) as caught:
        caller(operation, **members)
    error: Any = caught.value
    details = Status.FromString(dict(error.trailing_metadata())["grpc-status-details-bin"])
    info = ErrorInfo()
    assert details.details[0].Unpack(info)
    assert info.metadata["requestId"] == dict(error.trailing_metadata())["kagitori-request-id"]
    return error.code(), info


def _new_key(root: Caller, spec: str, usage: str) -> str:
    key = root("CreateKey", key_spec=f"KEY_SPEC_{spec}", key_usage=f"KEY_USAGE_{usage}").key_metadata
    assert resources_pb2.KeySpec.Name(key.key_spec) == f"KEY_SPEC_{spec}"
    return str(key.arn)


def _key_pairs(root: Caller) -> None:
    key = _new_key(root, "RSA_2048", "ENCRYPT_DECRYPT")
    terms = {"key_id": key, "encryption_algorithm": resources_pb2.ENCRYPTION_ALGORITHM_RSAES_OAEP_SHA_256}
    sealed = root("Encrypt", plaintext=b"small", **terms)
    assert len(sealed.ciphertext_blob) == 256
    assert root("Decrypt", ciphertext_blob=sealed.ciphertext_blob, **terms).plaintext == b"small"
    moved = root(
        "ReEncrypt", ciphertext_blob=sealed.ciphertext_blob, source_key_id=key,
        source_encryption_algorithm=terms["encryption_algorithm"], destination_key_id="alias/app",
    )
    assert root("Decrypt", ciphertext_blob=moved.ciphertext_blob).plaintext == b"small"
    public = root("GetPublicKey", key_id=key)
    loaded = load_der_public_key(public.public_key)
    assert isinstance(loaded, RSAPublicKey)
    assert loaded.key_size == 2048
    terms = {"key_id": "alias/app", "key_pair_spec": resources_pb2.DATA_KEY_PAIR_SPEC_ECC_NIST_P256}
    pair = root("GenerateDataKeyPair", **terms)
    assert root("Decrypt", ciphertext_blob=pair.private_key_ciphertext_blob).plaintext == pair.private_key_plaintext
    bare = root("GenerateDataKeyPairWithoutPlaintext", **terms)
    private = root("Decrypt", ciphertext_blob=bare.private_key_ciphertext_blob).plaintext
    found = load_der_private_key(private, None).public_key()
    assert found.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo) == bare.public_key


def _signatures(root: Caller) -> None:
    for spec, algorithm in (
        ("RSA_2048", "RSASSA_PSS_SHA_256"), ("ECC_NIST_P256", "ECDSA_SHA_256"),
        ("ECC_NIST_EDWARDS25519", "ED25519_SHA_512"), ("ML_DSA_44", "ML_DSA_SHAKE_256"),
    ):
        terms = {
            "key_id": _new_key(root, spec, "SIGN_VERIFY"), "message": b"to all",
            "signing_algorithm": f"SIGNING_ALGORITHM_{algorithm}",
        }
        signature = root("Sign", **terms).signature
        assert root("Verify", **terms, signature=signature).signature_valid
        code, info = refused(root, "Verify", **{**terms, "message": b"to none"}, signature=signature)
        assert (code, info.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "KMS_INVALID_SIGNATURE")
        made = [outcome.response.signature for outcome in root("BatchSign", items=[terms] * 3).outcomes]
        items = [{**terms, "signature": signature} for signature in [*made, b"no signature"]]
        outcomes = root("BatchVerify", items=items).outcomes
        assert [outcome.response.signature_valid for outcome in outcomes] == [True, True, True, False]
        assert outcomes[3].error.code == "KMSInvalidSignatureException"


def _macs(root: Caller) -> None:
    terms = {
        "key_id": _new_key(root, "HMAC_384", "GENERATE_VERIFY_MAC"), "message": b"to all",
        "mac_algorithm": resources_pb2.MAC_ALGORITHM_HMAC_SHA_384,
    }
    mac = root("GenerateMac", **terms).mac
    assert len(mac) == 48
    assert root("VerifyMac", **terms, mac=mac).mac_valid
    code, info = refused(root, "VerifyMac", **terms, mac=mac[::-1])
    assert (code, info.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "KMS_INVALID_MAC")
    assert [outcome.response.mac for outcome in root("BatchGenerateMac", items=[terms] * 2).outcomes] == [mac, mac]


def _shared_secrets(root: Caller) -> None:
    algorithm = resources_pb2.KEY_AGREEMENT_ALGORITHM_ECDH
    mine, yours = (_new_key(root, "ECC_NIST_P384", "KEY_AGREEMENT") for _ in range(2))
    secrets = [
        root("DeriveSharedSecret", key_id=one, key_agreement_algorithm=algorithm,
             public_key=root("GetPublicKey", key_id=other).public_key).shared_secret
        for one, other in ((mine, yours), (yours, mine))
    ]
    assert secrets[0] == secrets[1]
    assert len(secrets[0]) == 48
    terms = {
        "key_id": _new_key(root, "ML_KEM_768", "ENCAPSULATE_DECAPSULATE"),
        "encapsulation_algorithm": resources_pb2.ENCAPSULATION_ALGORITHM_ML_KEM,
    }
    sent = root("Encapsulate", **terms)
    blob = sent.shared_secret_ciphertext_blob
    assert root("Decapsulate", **terms, shared_secret_ciphertext_blob=blob).shared_secret == sent.shared_secret


def _rotation(root: Caller) -> None:
    key = root("DescribeKey", key_id="alias/app").key_metadata.arn
    before = root("Encrypt", key_id=key, plaintext=b"old").ciphertext_blob
    root("EnableKeyRotation", key_id=key, rotation_period_in_days=90)
    status = root("GetKeyRotationStatus", key_id=key)
    assert (status.key_rotation_enabled, status.rotation_period_in_days) == (True, 90)
    root("DisableKeyRotation", key_id=key)
    assert not root("GetKeyRotationStatus", key_id=key).key_rotation_enabled
    root("RotateKeyOnDemand", key_id=key)
    assert len(root("ListKeyRotations", key_id=key).rotations) == 1
    old = root("Decrypt", ciphertext_blob=before)
    new = root("Decrypt", ciphertext_blob=root("Encrypt", key_id=key, plaintext=b"new").ciphertext_blob)
    assert (old.plaintext, new.plaintext) == (b"old", b"new")
    assert old.key_material_id != new.key_material_id


def _imports(root: Caller) -> None:
    key = root("CreateKey", origin=resources_pb2.ORIGIN_EXTERNAL).key_metadata.arn
    given = root(
        "GetParametersForImport", key_id=key, wrapping_key_spec=key_material_pb2.WRAPPING_KEY_SPEC_RSA_2048,
        wrapping_algorithm=key_material_pb2.WRAPPING_ALGORITHM_RSAES_OAEP_SHA_256,
    )
    algorithm = WrappingAlgorithm.RSAES_OAEP_SHA_256
    imported = root(
        "ImportKeyMaterial", key_id=key, import_token=given.import_token,
        expiration_model=resources_pb2.EXPIRATION_MODEL_KEY_MATERIAL_DOES_NOT_EXPIRE,
        encrypted_key_material=wrap_key_material(KeyMaterial(bytes(range(32)), ()), given.public_key, algorithm),
    )
    blob = root("Encrypt", key_id=key, plaintext=b"x").ciphertext_blob
    assert root("Decrypt", ciphertext_blob=blob).key_material_id == imported.key_material_id
    root("DeleteImportedKeyMaterial", key_id=key)
    assert root("DescribeKey", key_id=key).key_metadata.key_state == resources_pb2.KEY_STATE_PENDINGIMPORT


def _regions(root: Caller, abroad: Caller) -> None:
    primary = root("CreateKey", multi_region=True).key_metadata
    assert primary.key_id.startswith("mrk-")
    replica = root("ReplicateKey", key_id=primary.arn, replica_region="eu-west-1").replica_key_metadata
    assert replica.key_id == primary.key_id
    sealed = root("Encrypt", key_id=primary.arn, plaintext=b"afar").ciphertext_blob
    assert abroad("Decrypt", ciphertext_blob=sealed, key_id=replica.arn).plaintext == b"afar"
    root("UpdatePrimaryRegion", key_id=primary.arn, primary_region="eu-west-1")
    described = abroad("DescribeKey", key_id=replica.key_id).key_metadata.multi_region_configuration
    assert described.multi_region_key_type == resources_pb2.MULTI_REGION_KEY_TYPE_PRIMARY
