"""Imported material is the key: what the service does with it is what its owner does with it elsewhere."""

from __future__ import annotations

import hashlib
import hmac
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa, mlkem, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_private_key
from tests.support.foreign_keys import ec_key
from tests.support.imports import (
    FOREVER,
    KEY_WRAP,
    USAGES,
    bring,
    external_key,
    material_of,
    parameters,
    state,
    wrapped,
)
from tests.support.inprocess import HOME, START, InProcess
from tests.support.kms_calls import DAY, encrypt, identity_policy, key_arn, last_record, new_key, refused
from tests.support.ml_kem_512 import libcrypto, peer_of

from kagitori_keystore.algorithms import KeySpec
from kagitori_keystore.ciphertext import aad_prefix, parse, with_context
from kagitori_keystore.xaes import XaesKey
from kagitori_server.model.encryption_context import canonical
from kagitori_server.model.errors import AccessDeniedException

ALGORITHMS = ("RSAES_OAEP_SHA_1", "RSAES_OAEP_SHA_256", "RSA_AES_KEY_WRAP_SHA_1", "RSA_AES_KEY_WRAP_SHA_256")
MESSAGE = b"the storehouse was opened at dawn"
CASES = [
    (spec, algorithm) for spec in USAGES for algorithm in ALGORITHMS
    if not (spec.startswith("RSA") and algorithm.startswith("RSAES"))
]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InProcess]:
    with InProcess(tmp_path_factory.mktemp("service")) as opened:
        yield opened


def check_use(service: InProcess, spec: str, key_id: str, material: bytes) -> None:
    """What the service does with the key, done with its material alone."""
    if spec == "SYMMETRIC_DEFAULT":
        blob = parse(encrypt(service, key_id, MESSAGE))
        aad = with_context(aad_prefix(blob.header), canonical({}))
        assert XaesKey(material).decrypt(blob.nonce, blob.sealed, aad) == MESSAGE
    elif spec.startswith("HMAC"):
        values = {"key_id": key_id, "message": MESSAGE, "mac_algorithm": spec.replace("_", "_SHA_")}
        mac = service.call("GenerateMac", values).mac
        assert mac == hmac.digest(material, MESSAGE, f"sha{spec[5:]}")
    elif spec == "ML_KEM_512":
        secret, sealed = peer_of(service.call("GetPublicKey", {"key_id": key_id}).public_key).encapsulate()
        assert libcrypto().open_ml_kem_512(material[-64:]).decapsulate(sealed) == secret
        values = {"key_id": key_id, "encapsulation_algorithm": "ML_KEM", "shared_secret_ciphertext_blob": sealed}
        assert service.call("Decapsulate", values).shared_secret == secret
    else:
        _check_pair(service, key_id, load_der_private_key(material, None))


def _check_pair(service: InProcess, key_id: str, key: Any) -> None:
    public = key.public_key()
    told = service.call("GetPublicKey", {"key_id": key_id})
    assert told.public_key == public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if isinstance(key, (mlkem.MLKEM768PrivateKey, mlkem.MLKEM1024PrivateKey)):
        made = service.call("Encapsulate", {"key_id": key_id, "encapsulation_algorithm": "ML_KEM"})
        assert key.decapsulate(made.shared_secret_ciphertext_blob) == made.shared_secret
        return
    values = {"key_id": key_id, "message": MESSAGE, "signing_algorithm": told.signing_algorithms[0]}
    signature = service.call("Sign", values).signature
    if isinstance(key, rsa.RSAPrivateKey):
        public.verify(signature, MESSAGE, padding.PKCS1v15(), hashes.SHA256())
    elif isinstance(key, ec.EllipticCurvePrivateKey):
        hashed = {256: hashes.SHA256(), 384: hashes.SHA384(), 521: hashes.SHA512()}[key.key_size]
        public.verify(signature, MESSAGE, ec.ECDSA(hashed))
    else:
        assert isinstance(key, (
            ed25519.Ed25519PrivateKey, mldsa.MLDSA44PrivateKey, mldsa.MLDSA65PrivateKey, mldsa.MLDSA87PrivateKey
        ))
        public.verify(signature, MESSAGE)


@pytest.mark.parametrize(("spec", "algorithm"), CASES)
def test_every_spec_in_every_wrapping(service: InProcess, spec: str, algorithm: str) -> None:
    """Awaiting its import, then Enabled and the very key."""
    key_id, material = external_key(service, spec), material_of(spec)
    assert state(service, key_id) == "PendingImport"
    size = "RSA_3072" if spec == "ECC_NIST_P521" else "RSA_2048"
    given = parameters(service, key_id, algorithm, size)
    assert given.key_id == key_arn(key_id)
    assert given.parameters_valid_to == service.clock() + DAY
    assert len(given.import_token) <= 6_144
    answer = service.call("ImportKeyMaterial", {"key_id": key_id, **wrapped(material, given, algorithm), **FOREVER})
    assert answer.key_id == key_arn(key_id)
    told = service.call("DescribeKey", {"key_id": key_id}).key_metadata
    assert (told.key_state, told.expiration_model, told.valid_to, told.origin) == (
        "Enabled", "KEY_MATERIAL_DOES_NOT_EXPIRE", None, "EXTERNAL"
    )
    assert (answer.key_material_id is not None) is (spec == "SYMMETRIC_DEFAULT")
    assert told.current_key_material_id == answer.key_material_id
    check_use(service, spec, key_id, material)


@pytest.mark.parametrize("size", ["RSA_2048", "RSA_3072", "RSA_4096"])
@pytest.mark.parametrize("algorithm", ["RSAES_OAEP_SHA_256", "RSA_AES_KEY_WRAP_SHA_1"])
def test_every_wrapping_key(service: InProcess, size: str, algorithm: str) -> None:
    """Whatever its size, the token has room for it."""
    key_id = external_key(service)
    given = parameters(service, key_id, algorithm, size)
    assert len(given.import_token) <= 6_144
    members = wrapped(material_of("SYMMETRIC_DEFAULT"), given, algorithm)
    service.call("ImportKeyMaterial", {"key_id": key_id, **members, **FOREVER})
    check_use(service, "SYMMETRIC_DEFAULT", key_id, material_of("SYMMETRIC_DEFAULT"))


def test_other_usages_of_a_pair(service: InProcess) -> None:
    """RSA keys that decrypt, elliptic keys that agree on secrets."""
    key_id = external_key(service, "RSA_2048", key_usage="ENCRYPT_DECRYPT")
    bring(service, key_id, material_of("RSA_2048"))
    oaep = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)
    own = load_der_private_key(material_of("RSA_2048"), None)
    assert isinstance(own, rsa.RSAPrivateKey)
    blob = own.public_key().encrypt(MESSAGE, oaep)
    values = {"key_id": key_id, "ciphertext_blob": blob, "encryption_algorithm": "RSAES_OAEP_SHA_256"}
    assert service.call("Decrypt", values).plaintext == MESSAGE
    key_id = external_key(service, "ECC_NIST_P384", key_usage="KEY_AGREEMENT")
    bring(service, key_id, material_of("ECC_NIST_P384"))
    mine, peer = ec_key(KeySpec.ECC_NIST_P384, 0), ec.generate_private_key(ec.SECP384R1())
    values = {
        "key_id": key_id, "key_agreement_algorithm": "ECDH",
        "public_key": peer.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
    }
    shared = service.call("DeriveSharedSecret", values).shared_secret
    assert shared == peer.exchange(ec.ECDH(), mine.public_key())


def test_material_that_openssl_wrapped(service: InProcess, tmp_path: Path) -> None:
    """With no tool of ours: AWS's own example of how to wrap a key."""
    key_id, material = external_key(service), hashlib.sha256(b"a key of mine").digest()
    given = parameters(service, key_id, "RSAES_OAEP_SHA_256", "RSA_3072")
    (tmp_path / "key.bin").write_bytes(material)
    (tmp_path / "public.der").write_bytes(given.public_key)
    subprocess.run(
        ["openssl", "pkeyutl", "-encrypt", "-in", "key.bin", "-out", "wrapped.bin", "-inkey", "public.der", "-keyform",
         "DER", "-pubin", "-pkeyopt", "rsa_padding_mode:oaep", "-pkeyopt", "rsa_oaep_md:sha256", "-pkeyopt",
         "rsa_mgf1_md:sha256"],
        cwd=tmp_path, check=True, timeout=30,
    )
    service.call("ImportKeyMaterial", {
        "key_id": key_id, "import_token": given.import_token,
        "encrypted_key_material": (tmp_path / "wrapped.bin").read_bytes(), **FOREVER,
    })
    check_use(service, "SYMMETRIC_DEFAULT", key_id, material)


def test_records_tell_what_happened_and_nothing_of_the_material(service: InProcess) -> None:
    """Members as CloudTrail has them; no token, no wrapped material, no public key."""
    key_id, until = external_key(service), START + 300 * DAY
    given = parameters(service, key_id)
    record = last_record(service)
    assert record["requestParameters"] == {
        "keyId": key_id, "wrappingAlgorithm": "RSA_AES_KEY_WRAP_SHA_256", "wrappingKeySpec": "RSA_2048"
    }
    assert (record["responseElements"], record["readOnly"]) == (None, True)
    answer = service.call("ImportKeyMaterial", {
        "key_id": key_id, **wrapped(material_of("SYMMETRIC_DEFAULT"), given), "valid_to": until,
        "key_material_description": "the first", "import_type": "NEW_KEY_MATERIAL",
    })
    record = last_record(service)
    shown = record["requestParameters"]
    assert shown.pop("validTo")
    assert shown == {"keyId": key_id, "importType": "NEW_KEY_MATERIAL", "keyMaterialDescription": "the first"}
    ids = {"keyId": key_arn(key_id), "keyMaterialId": answer.key_material_id}
    assert (record["responseElements"], record["readOnly"]) == (ids, False)
    service.call("DeleteImportedKeyMaterial", {"key_id": key_id})
    record = last_record(service)
    assert (record["requestParameters"], record["responseElements"]) == ({"keyId": key_id}, ids)
    assert record["resources"] == [{"accountId": HOME, "type": "AWS::KMS::Key", "ARN": key_arn(key_id)}]
    assert "importToken" not in service.audit_text()
    assert "encryptedKeyMaterial" not in service.audit_text()


def test_permissions_are_asked_on_the_key(service: InProcess) -> None:
    """Each operation its own; the condition keys are the request's."""
    key_id = external_key(service)
    allowed = {
        "wrap": identity_policy("kms:GetParametersForImport", "kms:ImportKeyMaterial", resource=key_arn(key_id)),
    }
    token = service.new_user("importer", policies=allowed)
    values = {"key_id": key_id, "wrapping_algorithm": "RSAES_OAEP_SHA_1", "wrapping_key_spec": "RSA_2048"}
    given = service.call("GetParametersForImport", values, token=token)
    members = wrapped(material_of("SYMMETRIC_DEFAULT"), given, "RSAES_OAEP_SHA_1")
    service.call("ImportKeyMaterial", {"key_id": key_id, **members, **FOREVER}, token=token)
    other = new_key(service, origin="EXTERNAL").key_id
    for operation, more in (
        ("GetParametersForImport", {**values, "key_id": other}),
        ("ImportKeyMaterial", {"key_id": other, **members, **FOREVER}),
        ("DeleteImportedKeyMaterial", {"key_id": key_id}),
    ):
        error = refused(service, AccessDeniedException, operation, more, token=token)
        assert f"not authorized to perform: kms:{operation}" in error.message


def test_conditions_on_how_material_comes(service: InProcess) -> None:
    """Policies can ask for a strong wrapping key, and for an end of what is imported."""
    key_id = external_key(service)
    denied = [
        {"Effect": "Deny", "Action": "kms:GetParametersForImport", "Resource": "*", "Condition": {
            "StringNotEquals": {"kms:WrappingKeySpec": "RSA_3072", "kms:WrappingAlgorithm": KEY_WRAP}}},
        {"Effect": "Deny", "Action": "kms:ImportKeyMaterial", "Resource": "*", "Condition": {
            "StringNotEquals": {"kms:ExpirationModel": "KEY_MATERIAL_EXPIRES"}}},
        {"Effect": "Deny", "Action": "kms:ImportKeyMaterial", "Resource": "*", "Condition": {
            "DateGreaterThan": {"kms:ValidTo": "2026-12-31T00:00:00Z"}}},
        {"Effect": "Allow", "Action": "kms:*", "Resource": "*"},
    ]
    token = service.new_user("careful", policies={"p": json.dumps({"Version": "2012-10-17", "Statement": denied})})
    values = {"key_id": key_id, "wrapping_key_spec": "RSA_2048", "wrapping_algorithm": "RSAES_OAEP_SHA_1"}
    refused(service, AccessDeniedException, "GetParametersForImport", values, token=token)
    values |= {"wrapping_key_spec": "RSA_3072", "wrapping_algorithm": KEY_WRAP}
    given = service.call("GetParametersForImport", values, token=token)
    values = {"key_id": key_id, **wrapped(material_of("SYMMETRIC_DEFAULT"), given)}
    ending = {"expiration_model": "KEY_MATERIAL_EXPIRES", "valid_to": service.clock() + DAY}
    for others in (FOREVER, {"valid_to": ending["valid_to"]}, {**ending, "valid_to": service.clock() + 300 * DAY}):
        refused(service, AccessDeniedException, "ImportKeyMaterial", {**values, **others}, token=token)
    service.call("ImportKeyMaterial", {**values, **ending}, token=token)
