"""Published vectors through the API of a running service: keys are imported as users import theirs, then used.

What the store computes with each vector is held in tests/unit; here a part of each file shows that nothing on the
way (import, forms of messages, encodings) changes it. AES-GCM vectors have no place: a symmetric key encrypts with
XAES-256-GCM under nonces of its own (tests/vectors/xaes-256-gcm.json). tests/vectors/README.md has the origins.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa, mlkem, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from tests.support.ml_kem_512 import seed_form
from tests.support.published_vectors import labelled, lines, records
from tests.support.whole_server import Caller, WholeServer

from kagitori.kms.v1 import key_material_pb2, resources_pb2
from kagitori_client.importing import KeyMaterial, WrappingAlgorithm, wrap_key_material

SETTINGS = {"listen": {"grpc": "127.0.0.1:0"}, "log": {"level": "error"}}
SIGN, MAC, ENCRYPT = "SIGN_VERIFY", "GENERATE_VERIFY_MAC", "ENCRYPT_DECRYPT"
AGREE, ENCAPSULATE = "KEY_AGREEMENT", "ENCAPSULATE_DECAPSULATE"
RSA_FILES = ("asymmetric", "RSA", "FIPS_186-2")
FEW = 6


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Caller]:
    """The root user of a service of these tests' own."""
    with WholeServer(tmp_path_factory.mktemp("whole") / "data", SETTINGS) as server, server.tls() as channel:
        yield Caller(channel, server.root_token)


def imported(root: Caller, spec: str, usage: str, material: bytes) -> str:
    """The ARN of a new key of this material."""
    key = root(
        "CreateKey", key_spec=f"KEY_SPEC_{spec}", key_usage=f"KEY_USAGE_{usage}", origin=resources_pb2.ORIGIN_EXTERNAL
    ).key_metadata.arn
    given = root(
        "GetParametersForImport", key_id=key, wrapping_key_spec=key_material_pb2.WRAPPING_KEY_SPEC_RSA_2048,
        wrapping_algorithm=key_material_pb2.WRAPPING_ALGORITHM_RSA_AES_KEY_WRAP_SHA_256,
    )
    wrapped = wrap_key_material(
        KeyMaterial(material, ()), given.public_key, WrappingAlgorithm.RSA_AES_KEY_WRAP_SHA_256
    )
    root(
        "ImportKeyMaterial", key_id=key, import_token=given.import_token, encrypted_key_material=wrapped,
        expiration_model=resources_pb2.EXPIRATION_MODEL_KEY_MATERIAL_DOES_NOT_EXPIRE,
    )
    return str(key)


def pkcs8(key: Any) -> bytes:
    """The form in which private keys are imported."""
    encoded = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    assert isinstance(encoded, bytes)
    return encoded


def rsa_key(n: int, e: int, d: int) -> bytes:
    p, q = rsa.rsa_recover_prime_factors(n, e, d)
    crt = (rsa.rsa_crt_dmp1(d, p), rsa.rsa_crt_dmq1(d, q), rsa.rsa_crt_iqmp(p, q))
    return pkcs8(rsa.RSAPrivateNumbers(p, q, d, *crt, rsa.RSAPublicNumbers(e, n)).private_key())


def code(outcome: Any) -> str:
    """How an item of a batch ended: "" when well."""
    return str(outcome.error.code)


@pytest.mark.parametrize("bits", [224, 256, 384, 512])
def test_hmac_rfc_4231(root: Caller, bits: int) -> None:
    """Cases whose tag is whole. HMAC (RFC 2104) fills shorter keys with zeros and hashes those beyond its block."""
    block = 64 if bits <= 256 else 128
    done = 0
    for _, case in records("HMAC", f"rfc-4231-sha{bits}.txt", last="MD"):
        key, message, mac = (bytes.fromhex(case[name]) for name in ("Key", "Msg", "MD"))
        if len(mac) != bits // 8:
            continue
        if len(key) > block:
            key = hashlib.new(f"sha{bits}", key).digest()
        terms = {
            "key_id": imported(root, f"HMAC_{bits}", MAC, key.ljust(bits // 8, b"\x00")), "message": message,
            "mac_algorithm": f"MAC_ALGORITHM_HMAC_SHA_{bits}",
        }
        assert root("GenerateMac", **terms).mac == mac
        assert root("VerifyMac", **terms, mac=mac).mac_valid
        done += 1
    assert done >= 6


@pytest.mark.parametrize("bits", [2048, 3072, 4096])
@pytest.mark.parametrize(("name", "scheme"), [("SigGen15_186-2.txt", "PKCS1_V1_5"), ("SigGenPSS_186-2.txt", "PSS")])
def test_rsa_signatures_nist(root: Caller, bits: int, name: str, scheme: str) -> None:
    """PKCS #1 v1.5 signatures come out the same; PSS ones, whose salts have 20 bytes there, don't verify."""
    key, items = "", []
    for section, case in records(*RSA_FILES, name, last="S"):
        if section != f"mod = {bits}" or case["SHAAlg"] not in ("SHA256", "SHA384", "SHA512"):
            continue
        key = key or imported(root, f"RSA_{bits}", SIGN, rsa_key(*(int(case[number], 16) for number in "ned")))
        message, signature = bytes.fromhex(case["Msg"]), bytes.fromhex(case["S"])
        terms = {"key_id": key, "signing_algorithm": f"SIGNING_ALGORITHM_RSASSA_{scheme}_SHA_{case['SHAAlg'][3:]}"}
        items.append(({**terms, "message": message}, signature))
        digest = hashlib.new(case["SHAAlg"], message).digest()
        items.append(({**terms, "message": digest, "message_type": "MESSAGE_TYPE_DIGEST"}, signature))
    assert len(items) == 60
    outcomes = root("BatchVerify", items=[{**terms, "signature": signature} for terms, signature in items]).outcomes
    assert {code(outcome) for outcome in outcomes} == {"" if scheme != "PSS" else "KMSInvalidSignatureException"}
    if scheme != "PSS":
        made = root("BatchSign", items=[terms for terms, _ in items]).outcomes
        assert [outcome.response.signature for outcome in made] == [signature for _, signature in items]


@pytest.mark.parametrize(
    ("digest", "path"),
    [("1", ("pkcs-1v2-1d2-vec", "oaep-vect.txt")), ("256", ("oaep-custom", "oaep-sha256-sha256.txt"))],
)
def test_oaep(root: Caller, digest: str, path: tuple[str, ...]) -> None:
    """Every ciphertext for a key of 2,048 bits opens."""
    done, last, key = 0, 0, ""
    for case in labelled("asymmetric", "RSA", *path):
        n, e, d = (int.from_bytes(case[name]) for name in ("Modulus", "Public exponent", "Exponent"))
        if n.bit_length() != 2048:
            continue
        if n != last:
            key, last = imported(root, "RSA_2048", ENCRYPT, rsa_key(n, e, d)), n
        opened = root(
            "Decrypt", key_id=key, ciphertext_blob=case["Encryption"].rjust(256, b"\x00"),
            encryption_algorithm=f"ENCRYPTION_ALGORITHM_RSAES_OAEP_SHA_{digest}",
        )
        assert opened.plaintext == case["Message"]
        done += 1
    assert done >= 6


CURVES: dict[str, tuple[ec.EllipticCurve, str, str]] = {
    "ECC_NIST_P256": (ec.SECP256R1(), "P-256,SHA-256", "FIPS_186-3"),
    "ECC_NIST_P384": (ec.SECP384R1(), "P-384,SHA-384", "FIPS_186-3"),
    "ECC_NIST_P521": (ec.SECP521R1(), "P-521,SHA-512", "FIPS_186-3"),
    "ECC_SECG_P256K1": (ec.SECP256K1(), "K-256,SHA-256", "SECP256K1"),
}


@pytest.mark.parametrize("spec", CURVES)
def test_ecdsa(root: Caller, spec: str) -> None:
    """Signatures verify, as messages and as digests, and for no other message."""
    curve, section, folder = CURVES[spec]
    found = (case for name, case in records("asymmetric", "ECDSA", folder, "SigGen.txt", last="S") if name == section)
    size = section.rpartition("-")[2]
    for case in islice(found, FEW):
        key = imported(root, spec, SIGN, pkcs8(ec.derive_private_key(int(case["d"], 16), curve)))
        message, r, s = bytes.fromhex(case["Msg"]), int(case["R"], 16), int(case["S"], 16)
        terms = {
            "key_id": key, "signing_algorithm": f"SIGNING_ALGORITHM_ECDSA_SHA_{size}",
            "signature": encode_dss_signature(r, s),
        }
        digest = hashlib.new(f"sha{size}", message).digest()
        items = [
            {**terms, "message": message},
            {**terms, "message": digest, "message_type": "MESSAGE_TYPE_DIGEST"},
            {**terms, "message": message[1:]},
            {**terms, "message": message, "signature": encode_dss_signature(s, r)},
        ]
        outcomes = root("BatchVerify", items=items).outcomes
        assert [code(outcome) for outcome in outcomes] == ["", "", *["KMSInvalidSignatureException"] * 2]


@pytest.mark.parametrize(("spec", "mark"), [("ECC_NIST_P256", "EC"), ("ECC_NIST_P384", "ED"), ("ECC_NIST_P521", "EE")])
def test_ecdh_nist(root: Caller, spec: str, mark: str) -> None:
    """Secrets come out as said, leading zeros and all."""
    curve = CURVES[spec][0]
    size = (curve.key_size + 7) // 8
    file = ("asymmetric", "ECDH", "KASValidityTest_ECCStaticUnified_NOKC_ZZOnly_resp.fax")
    prefix = ec.generate_private_key(curve).public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    good = (
        case for section, case in records(*file, last="Result")
        if section.startswith(mark) and case["Result"].split()[1].strip("(") in ("0", "13")
    )
    done = 0
    for case in islice(good, FEW):
        key = imported(root, spec, AGREE, pkcs8(ec.derive_private_key(int(case["dsIUT"], 16), curve)))
        x, y = (int(case[name], 16).to_bytes(size) for name in ("QsCAVSx", "QsCAVSy"))
        derived = root(
            "DeriveSharedSecret", key_id=key, public_key=prefix[: -2 * size] + x + y,
            key_agreement_algorithm=resources_pb2.KEY_AGREEMENT_ALGORITHM_ECDH,
        )
        assert derived.shared_secret == int(case["Z"], 16).to_bytes(size)
        done += 1
    assert done == FEW


def test_ed25519(root: Caller) -> None:
    """Signatures of messages of 1 to 961 bytes come out the same."""
    for line in islice(lines("asymmetric", "Ed25519", "sign.input"), 1, None, 96):
        secret, public, message, signed = (bytes.fromhex(part) for part in line.split(":")[:4])
        private = ed25519.Ed25519PrivateKey.from_private_bytes(secret[:32])
        key = imported(root, "ECC_NIST_EDWARDS25519", SIGN, pkcs8(private))
        assert root("GetPublicKey", key_id=key).public_key.endswith(public)
        terms = {
            "key_id": key, "message": message,
            "signing_algorithm": resources_pb2.SIGNING_ALGORITHM_ED25519_SHA_512,
        }
        assert root("Sign", **terms).signature == signed[:64]
        assert root("Verify", **terms, signature=signed[:64]).signature_valid


ML_DSA: dict[str, Any] = {"44": mldsa.MLDSA44PrivateKey, "65": mldsa.MLDSA65PrivateKey, "87": mldsa.MLDSA87PrivateKey}


@pytest.mark.parametrize("size", ML_DSA)
def test_ml_dsa(root: Caller, size: str) -> None:
    """Public keys come out the same and signatures verify, by their representative since each has a context."""
    for _, case in islice(records("asymmetric", "MLDSA", f"kat_MLDSA_{size}_det_pure.rsp", last="ctx"), FEW):
        seed, public, message, signed, context = (
            bytes.fromhex(case[name]) for name in ("xi", "pk", "msg", "sm", "ctx")
        )
        key = imported(root, f"ML_DSA_{size}", SIGN, pkcs8(ML_DSA[size].from_seed_bytes(seed)))
        assert root("GetPublicKey", key_id=key).public_key.endswith(public)
        tr = hashlib.shake_256(public).digest(64)
        mu = hashlib.shake_256(tr + bytes((0, len(context))) + context + message).digest(64)
        terms = {
            "key_id": key, "signature": signed[: -len(message)],
            "signing_algorithm": resources_pb2.SIGNING_ALGORITHM_ML_DSA_SHAKE_256,
        }
        items = [{**terms, "message": mu, "message_type": "MESSAGE_TYPE_EXTERNAL_MU"}, {**terms, "message": message}]
        outcomes = root("BatchVerify", items=items).outcomes
        assert [code(outcome) for outcome in outcomes] == ["", "KMSInvalidSignatureException"]


ML_KEM: dict[str, Callable[[bytes], bytes]] = {
    "512": seed_form,
    "768": lambda seed: pkcs8(mlkem.MLKEM768PrivateKey.from_seed_bytes(seed)),
    "1024": lambda seed: pkcs8(mlkem.MLKEM1024PrivateKey.from_seed_bytes(seed)),
}


@pytest.mark.parametrize("size", ML_KEM)
def test_ml_kem(root: Caller, size: str) -> None:
    """Public keys, secrets and the secrets of implicit rejection come out the same."""
    for _, case in islice(records("asymmetric", "MLKEM", f"kat_MLKEM_{size}.rsp", last="ss"), FEW):
        given = {name: bytes.fromhex(case[name]) for name in ("d", "z", "pk", "ct", "ss", "ct_n", "ss_n")}
        key = imported(root, f"ML_KEM_{size}", ENCAPSULATE, ML_KEM[size](given["d"] + given["z"]))
        assert root("GetPublicKey", key_id=key).public_key.endswith(given["pk"])
        terms = {"key_id": key, "encapsulation_algorithm": resources_pb2.ENCAPSULATION_ALGORITHM_ML_KEM}
        for blob, secret in (("ct", "ss"), ("ct_n", "ss_n")):
            found = root("Decapsulate", **terms, shared_secret_ciphertext_blob=given[blob])
            assert found.shared_secret == given[secret]
