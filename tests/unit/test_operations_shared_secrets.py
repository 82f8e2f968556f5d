"""GetPublicKey, DeriveSharedSecret, Encapsulate, Decapsulate and data key pairs, and RSA encryption."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mlkem, padding, rsa, x25519
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_public_key,
)
from tests.support.inprocess import InProcess
from tests.support.kms_calls import encrypt, last_record, new_key, refused
from tests.support.ml_kem_512 import Peer, peer_of, spki_of

from kagitori_server.model.errors import (
    DryRunOperationException,
    InvalidCiphertextException,
    InvalidKeyUsageException,
    KmsError,
    UnsupportedOperationException,
    ValidationException,
)

CURVES: dict[str, ec.EllipticCurve] = {
    "ECC_NIST_P256": ec.SECP256R1(), "ECC_NIST_P384": ec.SECP384R1(), "ECC_NIST_P521": ec.SECP521R1()
}
OAEP_MAX = {
    ("RSA_2048", "RSAES_OAEP_SHA_1"): 214, ("RSA_2048", "RSAES_OAEP_SHA_256"): 190,
    ("RSA_3072", "RSAES_OAEP_SHA_1"): 342, ("RSA_3072", "RSAES_OAEP_SHA_256"): 318,
    ("RSA_4096", "RSAES_OAEP_SHA_1"): 470, ("RSA_4096", "RSAES_OAEP_SHA_256"): 446,
}
PAIRS = [
    "RSA_2048", "RSA_3072", "RSA_4096", "ECC_NIST_P256", "ECC_NIST_P384", "ECC_NIST_P521", "ECC_SECG_P256K1",
    "ECC_NIST_EDWARDS25519", "ML_KEM_512", "ML_KEM_768", "ML_KEM_1024",
]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InProcess]:
    with InProcess(tmp_path_factory.mktemp("service")) as opened:
        new_key(opened)
        yield opened


@pytest.fixture(scope="module")
def rsa_keys(service: InProcess) -> dict[str, str]:
    return {
        spec: new_key(service, key_spec=spec, key_usage="ENCRYPT_DECRYPT").key_id
        for spec in ("RSA_2048", "RSA_3072", "RSA_4096")
    }


def spki(public: ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | x25519.X25519PublicKey) -> bytes:
    return public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


@pytest.mark.parametrize("spec", sorted(CURVES))
def test_both_sides_derive_the_same_secret(service: InProcess, spec: str) -> None:
    """The x coordinate, as OpenSSL's ECDH gives it."""
    key = new_key(service, key_spec=spec, key_usage="KEY_AGREEMENT")
    peer = ec.generate_private_key(CURVES[spec])
    answer = service.call("DeriveSharedSecret", {
        "key_id": key.key_id, "key_agreement_algorithm": "ECDH", "public_key": spki(peer.public_key()),
    })
    record = last_record(service)
    assert record["requestParameters"] == {"keyId": key.key_id, "keyAgreementAlgorithm": "ECDH"}
    public = service.call("GetPublicKey", {"key_id": key.key_id})
    assert (public.key_agreement_algorithms, public.signing_algorithms) == (("ECDH",), ())
    ours = load_der_public_key(public.public_key)
    assert isinstance(ours, ec.EllipticCurvePublicKey)
    assert answer.shared_secret == peer.exchange(ec.ECDH(), ours)
    assert (answer.key_origin, answer.key_id, answer.key_agreement_algorithm) == ("AWS_KMS", key.arn, "ECDH")


def test_public_keys_that_are_none(service: InProcess) -> None:
    """Of another curve or kind, compressed beyond repair, off the curve, cut, with more behind it."""
    key = new_key(service, key_spec="ECC_NIST_P256", key_usage="KEY_AGREEMENT").key_id
    good = spki(ec.generate_private_key(ec.SECP256R1()).public_key())
    wrong = [
        b"x", good[:-1], good + b"x", good[:-1] + bytes([good[-1] ^ 1]), good[:27] + bytes(64),
        spki(ec.generate_private_key(ec.SECP384R1()).public_key()),
        spki(ec.generate_private_key(ec.SECP256K1()).public_key()),
        spki(ed25519.Ed25519PrivateKey.generate().public_key()),
        spki(x25519.X25519PrivateKey.generate().public_key()),
        rsa.generate_private_key(65537, 2048).public_key().public_bytes(
            Encoding.DER, PublicFormat.SubjectPublicKeyInfo
        ),
        bytes(8_192), bytes(8_193), b"",
    ]
    for public in wrong:
        refused(service, ValidationException, "DeriveSharedSecret", {
            "key_id": key, "key_agreement_algorithm": "ECDH", "public_key": public,
        })
    signing = new_key(service, key_spec="ECC_NIST_P256", key_usage="SIGN_VERIFY").key_id
    refused(service, InvalidKeyUsageException, "DeriveSharedSecret", {
        "key_id": signing, "key_agreement_algorithm": "ECDH", "public_key": good,
    })


@pytest.mark.parametrize(("spec", "kind"), [
    ("ML_KEM_512", Peer), ("ML_KEM_768", mlkem.MLKEM768PublicKey), ("ML_KEM_1024", mlkem.MLKEM1024PublicKey),
])
def test_encapsulation(service: InProcess, spec: str, kind: type) -> None:
    """What is encapsulated here or elsewhere is decapsulated; a forgery gives a secret that fits nothing."""
    key = new_key(service, key_spec=spec, key_usage="ENCAPSULATE_DECAPSULATE")
    named = {"key_id": key.key_id, "encapsulation_algorithm": "ML_KEM"}
    made = service.call("Encapsulate", named)
    assert len(made.shared_secret) == 32
    back = service.call(
        "Decapsulate", {**named, "shared_secret_ciphertext_blob": made.shared_secret_ciphertext_blob}
    )
    assert back.shared_secret == made.shared_secret
    public = peer_of(service.call("GetPublicKey", {"key_id": key.key_id}).public_key)
    assert isinstance(public, kind)
    secret, blob = public.encapsulate()
    assert service.call("Decapsulate", {**named, "shared_secret_ciphertext_blob": blob}).shared_secret == secret
    forged = bytes([blob[0] ^ 1]) + blob[1:]
    rejected = [
        service.call("Decapsulate", {**named, "shared_secret_ciphertext_blob": forged}).shared_secret
        for _ in range(2)
    ]
    assert rejected[0] == rejected[1] != secret
    for wrong in (blob[:-1], blob + b"x", b"x", bytes(6_144)):
        error = refused(
            service, InvalidCiphertextException, "Decapsulate", {**named, "shared_secret_ciphertext_blob": wrong}
        )
        assert error.message == ""
    refused(service, DryRunOperationException, "Encapsulate", {**named, "dry_run": True})


def test_keys_without_a_public_half(service: InProcess) -> None:
    """Symmetric and HMAC keys."""
    for key in (new_key(service), new_key(service, key_spec="HMAC_256", key_usage="GENERATE_VERIFY_MAC")):
        refused(service, UnsupportedOperationException, "GetPublicKey", {"key_id": key.key_id})


@pytest.mark.parametrize(("spec", "algorithm"), sorted(OAEP_MAX))
def test_rsa_encryption(service: InProcess, rsa_keys: dict[str, str], spec: str, algorithm: str) -> None:
    """Up to its limit, from here or from outside with the public key."""
    key_id, most = rsa_keys[spec], OAEP_MAX[spec, algorithm]
    public = load_der_public_key(service.call("GetPublicKey", {"key_id": key_id}).public_key)
    assert isinstance(public, rsa.RSAPublicKey)
    hashed = hashes.SHA1() if algorithm.endswith("_1") else hashes.SHA256()  # noqa: S303 - AWS's older algorithm
    outside = public.encrypt(b"from outside", padding.OAEP(padding.MGF1(hashed), hashed, None))
    named = {"key_id": key_id, "encryption_algorithm": algorithm}
    assert service.call("Decrypt", {**named, "ciphertext_blob": outside}).plaintext == b"from outside"
    blob = encrypt(service, key_id, bytes(most), encryption_algorithm=algorithm)
    answer = service.call("Decrypt", {**named, "ciphertext_blob": blob})
    assert (answer.plaintext, answer.key_material_id, answer.encryption_algorithm) == (bytes(most), None, algorithm)
    assert "additionalEventData" not in last_record(service)
    error = refused(service, ValidationException, "Encrypt", {**named, "plaintext": bytes(most + 1)})
    assert error.message == (
        f"Algorithm {algorithm} and key spec {spec} cannot encrypt data larger than {most} bytes."
    )


def test_rsa_ciphertexts_that_do_not_open(service: InProcess, rsa_keys: dict[str, str]) -> None:
    """One answer for all that can be wrong: altered, cut, of the other algorithm, of another key, none at all."""
    key_id = rsa_keys["RSA_2048"]
    named = {"key_id": key_id, "encryption_algorithm": "RSAES_OAEP_SHA_256"}
    blob = encrypt(service, key_id, b"x", encryption_algorithm="RSAES_OAEP_SHA_256")
    other = encrypt(service, rsa_keys["RSA_3072"], b"x", encryption_algorithm="RSAES_OAEP_SHA_256")
    for wrong in (bytes([blob[0] ^ 1]) + blob[1:], blob[:-1], blob + b"x", other, bytes(256), b"\xff" * 256, b"x"):
        error = refused(service, InvalidCiphertextException, "Decrypt", {**named, "ciphertext_blob": wrong})
        assert error.message == ""
    refused(service, InvalidCiphertextException, "Decrypt", {
        "key_id": key_id, "encryption_algorithm": "RSAES_OAEP_SHA_1", "ciphertext_blob": blob,
    })
    refused(service, InvalidCiphertextException, "Decrypt", {
        "encryption_algorithm": "RSAES_OAEP_SHA_256", "ciphertext_blob": blob,
    })
    context = {"a": "b"}
    refused(service, ValidationException, "Encrypt", {**named, "plaintext": b"x", "encryption_context": context})
    refused(service, ValidationException, "Decrypt", {**named, "ciphertext_blob": blob, "encryption_context": context})
    refused(service, InvalidKeyUsageException, "Encrypt", {"key_id": key_id, "plaintext": b"x"})
    symmetric = new_key(service).key_id
    refused(service, InvalidKeyUsageException, "Encrypt", {
        "key_id": symmetric, "plaintext": b"x", "encryption_algorithm": "RSAES_OAEP_SHA_256",
    })


def test_re_encryption_between_families(service: InProcess, rsa_keys: dict[str, str]) -> None:
    """From RSA to symmetric and back; what doesn't fit is refused."""
    symmetric, rsa_id, algorithm = new_key(service).key_id, rsa_keys["RSA_2048"], "RSAES_OAEP_SHA_256"
    blob = encrypt(service, rsa_id, b"secret", encryption_algorithm=algorithm)
    moved = service.call("ReEncrypt", {
        "ciphertext_blob": blob, "source_key_id": rsa_id, "source_encryption_algorithm": algorithm,
        "destination_key_id": symmetric, "destination_encryption_context": {"a": "b"},
    })
    assert (moved.source_key_material_id, moved.source_encryption_algorithm) == (None, algorithm)
    back = service.call("ReEncrypt", {
        "ciphertext_blob": moved.ciphertext_blob, "source_encryption_context": {"a": "b"},
        "destination_key_id": rsa_id, "destination_encryption_algorithm": algorithm,
    })
    opened = service.call("Decrypt", {
        "key_id": rsa_id, "encryption_algorithm": algorithm, "ciphertext_blob": back.ciphertext_blob,
    })
    assert opened.plaintext == b"secret"
    large = encrypt(service, symmetric, bytes(191))
    refused(service, ValidationException, "ReEncrypt", {
        "ciphertext_blob": large, "destination_key_id": rsa_id, "destination_encryption_algorithm": algorithm,
    })


@pytest.mark.parametrize("spec", PAIRS)
def test_data_key_pairs(service: InProcess, spec: str) -> None:
    """The private key in the clear is the one that comes back, and belongs to the public one."""
    key = new_key(service)
    values = {"key_id": key.key_id, "key_pair_spec": spec, "encryption_context": {"a": "b"}}
    pair = service.call("GenerateDataKeyPair", values)
    record = last_record(service)
    assert record["requestParameters"] == {"keyId": key.key_id, "keyPairSpec": spec, "encryptionContext": {"a": "b"}}
    assert record["additionalEventData"] == {"keyMaterialId": pair.key_material_id}
    opened = service.call(
        "Decrypt", {"ciphertext_blob": pair.private_key_ciphertext_blob, "encryption_context": {"a": "b"}}
    )
    assert opened.plaintext == pair.private_key_plaintext
    assert spki_of(pair.private_key_plaintext) == pair.public_key
    assert (pair.key_id, pair.key_pair_spec, pair.key_material_id) == (key.arn, spec, key.current_key_material_id)
    if not spec.startswith("RSA_4"):
        without = service.call("GenerateDataKeyPairWithoutPlaintext", values)
        assert without.public_key != pair.public_key
        assert not hasattr(without, "private_key_plaintext")


@pytest.mark.parametrize(("spec", "error"), [
    ("SM2", UnsupportedOperationException), ("AES_256", ValidationException),
])
def test_data_key_pairs_that_are_not_made(service: InProcess, spec: str, error: type[KmsError]) -> None:
    """Nor under other than symmetric encryption keys."""
    key = new_key(service).key_id
    for operation in ("GenerateDataKeyPair", "GenerateDataKeyPairWithoutPlaintext"):
        refused(service, error, operation, {"key_id": key, "key_pair_spec": spec})
        refused(service, DryRunOperationException, operation, {
            "key_id": key, "key_pair_spec": "RSA_4096", "dry_run": True,
        })


def test_data_keys_need_a_symmetric_key(service: InProcess, rsa_keys: dict[str, str]) -> None:
    """RSA keys encrypt, but not data keys."""
    rsa_id = rsa_keys["RSA_2048"]
    for operation in ("GenerateDataKey", "GenerateDataKeyWithoutPlaintext"):
        refused(service, InvalidKeyUsageException, operation, {"key_id": rsa_id, "key_spec": "AES_256"})
    for operation in ("GenerateDataKeyPair", "GenerateDataKeyPairWithoutPlaintext"):
        refused(service, InvalidKeyUsageException, operation, {"key_id": rsa_id, "key_pair_spec": "ECC_NIST_P256"})
