"""Published vectors, put through the software store: what it computes is what the standards say.

The files are those of the package `cryptography_vectors`; `tests/vectors/README.md` says where each is from.
"""

from __future__ import annotations

import hashlib
import json
from itertools import islice
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_public_key,
)
from tests.support.keystore_parts import HOME, KEY, Workshop
from tests.support.published_vectors import known, labelled, lines, records

from kagitori_keystore.algorithms import (
    AsymmetricEncryptionAlgorithm,
    KeySpec,
    MessageForm,
    SigningAlgorithm,
    signing_algorithms,
)
from kagitori_keystore.base import PublicKeyInvalid
from kagitori_keystore.software.abilities import Signable
from kagitori_keystore.software.edwards import open_key

RAW, DIGEST, MU = MessageForm.RAW, MessageForm.DIGEST, MessageForm.EXTERNAL_MU
VECTORS = Path(__file__).parents[1] / "vectors"


@pytest.fixture
def shop(tmp_path: Path) -> Workshop:
    return Workshop(tmp_path, materials_cached=4)


def pkcs8(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())


def rsa_key(n: int, e: int, d: int) -> bytes:
    p, q = rsa.rsa_recover_prime_factors(n, e, d)
    crt = (rsa.rsa_crt_dmp1(d, p), rsa.rsa_crt_dmq1(d, q), rsa.rsa_crt_iqmp(p, q))
    numbers = rsa.RSAPrivateNumbers(p, q, d, *crt, rsa.RSAPublicNumbers(e, n))
    return pkcs8(numbers.private_key(unsafe_skip_rsa_key_validation=True))


@pytest.mark.parametrize("spec", [KeySpec.HMAC_224, KeySpec.HMAC_256, KeySpec.HMAC_384, KeySpec.HMAC_512])
def test_hmac_rfc_4231(shop: Workshop, spec: KeySpec) -> None:
    """Each case whose tag is not truncated. RFC 2104 makes short keys longer with zeros, and hashes long ones."""
    assert spec.digest
    done = 0
    for _, case in records("HMAC", f"rfc-4231-{spec.digest.value[1]}.txt", last="MD"):
        key, message, mac = (bytes.fromhex(case[name]) for name in ("Key", "Msg", "MD"))
        if len(mac) != spec.digest.size:
            continue
        if len(key) > spec.material_bytes:
            key = hashlib.new(spec.digest.value[1], key).digest()
        ref = known(shop, spec, key.ljust(spec.material_bytes, b"\x00"))
        assert shop.store.generate_mac(HOME, KEY, ref, message) == mac
        assert shop.store.verify_mac(HOME, KEY, ref, message, mac)
        done += 1
    assert done >= 6


RSA_FILES = ("asymmetric", "RSA", "FIPS_186-2")


@pytest.mark.parametrize("spec", [KeySpec.RSA_2048, KeySpec.RSA_3072, KeySpec.RSA_4096])
@pytest.mark.parametrize(("name", "scheme"), [("SigGen15_186-2.txt", "PKCS1_V1_5"), ("SigGenPSS_186-2.txt", "PSS")])
def test_rsa_signatures_nist(shop: Workshop, spec: KeySpec, name: str, scheme: str) -> None:
    """PKCS #1 v1.5 signatures come out the same; PSS ones, whose salts have 20 bytes there, are refused for that."""
    done = 0
    for section, case in records(*RSA_FILES, name, last="S"):
        if section != f"mod = {spec.bits}" or case["SHAAlg"] not in ("SHA256", "SHA384", "SHA512"):
            continue
        if done == 0:
            ref = known(shop, spec, rsa_key(*(int(case[number], 16) for number in "ned")))
        algorithm = SigningAlgorithm(f"RSASSA_{scheme}_SHA_{case['SHAAlg'][3:]}")
        message, signature = bytes.fromhex(case["Msg"]), bytes.fromhex(case["S"])
        digest = hashlib.new(case["SHAAlg"], message).digest()
        for form, given in ((RAW, message), (DIGEST, digest)):
            if scheme == "PSS":
                assert not shop.store.verify(HOME, KEY, ref, algorithm, form, given, signature)
            else:
                assert shop.store.sign(HOME, KEY, ref, algorithm, form, given) == signature
                assert shop.store.verify(HOME, KEY, ref, algorithm, form, given, signature)
        done += 1
    assert done == 30


@pytest.mark.parametrize(
    ("algorithm", "path"),
    [
        (AsymmetricEncryptionAlgorithm.RSAES_OAEP_SHA_1, ("pkcs-1v2-1d2-vec", "oaep-vect.txt")),
        (AsymmetricEncryptionAlgorithm.RSAES_OAEP_SHA_256, ("oaep-custom", "oaep-sha256-sha256.txt")),
    ],
)
def test_oaep(shop: Workshop, algorithm: AsymmetricEncryptionAlgorithm, path: tuple[str, ...]) -> None:
    """Every ciphertext for a key of 2,048 bits opens."""
    done, last = 0, 0
    for case in labelled("asymmetric", "RSA", *path):
        n, e, d = (int.from_bytes(case[name]) for name in ("Modulus", "Public exponent", "Exponent"))
        if n.bit_length() != 2048:
            continue
        if n != last:
            ref, last = known(shop, KeySpec.RSA_2048, rsa_key(n, e, d)), n
        plaintext = shop.store.decrypt_asymmetric(HOME, KEY, ref, algorithm, case["Encryption"].rjust(256, b"\x00"))
        assert plaintext == case["Message"]
        done += 1
    assert done >= 6


CURVES: dict[KeySpec, tuple[ec.EllipticCurve, str, str]] = {
    KeySpec.ECC_NIST_P256: (ec.SECP256R1(), "P-256,SHA-256", "FIPS_186-3"),
    KeySpec.ECC_NIST_P384: (ec.SECP384R1(), "P-384,SHA-384", "FIPS_186-3"),
    KeySpec.ECC_NIST_P521: (ec.SECP521R1(), "P-521,SHA-512", "FIPS_186-3"),
    KeySpec.ECC_SECG_P256K1: (ec.SECP256K1(), "K-256,SHA-256", "SECP256K1"),
}


@pytest.mark.parametrize("spec", CURVES, ids=lambda spec: spec.name)
def test_ecdsa(shop: Workshop, spec: KeySpec) -> None:
    """Every signature of the spec's curve and hash verifies, for its own message alone."""
    curve, section, folder = CURVES[spec]
    (algorithm,) = signing_algorithms(spec)
    done = 0
    for found, case in records("asymmetric", "ECDSA", folder, "SigGen.txt", last="S"):
        if found != section:
            continue
        ref = known(shop, spec, pkcs8(ec.derive_private_key(int(case["d"], 16), curve)))
        public = load_der_public_key(shop.store.public_key(HOME, KEY, ref))
        assert isinstance(public, ec.EllipticCurvePublicKey)
        assert (public.public_numbers().x, public.public_numbers().y) == (int(case["Qx"], 16), int(case["Qy"], 16))
        message, r, s = bytes.fromhex(case["Msg"]), int(case["R"], 16), int(case["S"], 16)
        digest = hashlib.new(section.split(",")[1].replace("-", ""), message).digest()
        signature = encode_dss_signature(r, s)
        assert shop.store.verify(HOME, KEY, ref, algorithm, RAW, message, signature)
        assert shop.store.verify(HOME, KEY, ref, algorithm, DIGEST, digest, signature)
        assert not shop.store.verify(HOME, KEY, ref, algorithm, RAW, message[1:], signature)
        assert not shop.store.verify(HOME, KEY, ref, algorithm, RAW, message, encode_dss_signature(s, r))
        done += 1
    assert done >= 15


ECDH = {KeySpec.ECC_NIST_P256: "EC", KeySpec.ECC_NIST_P384: "ED", KeySpec.ECC_NIST_P521: "EE"}


@pytest.mark.parametrize("spec", ECDH, ids=lambda spec: spec.name)
def test_ecdh_nist(shop: Workshop, spec: KeySpec) -> None:
    """Secrets come out as said, leading zeros and all; peers that fail their validation are refused."""
    curve, size = CURVES[spec][0], (spec.bits + 7) // 8
    file = ("asymmetric", "ECDH", "KASValidityTest_ECCStaticUnified_NOKC_ZZOnly_resp.fax")
    any_key = ec.generate_private_key(curve).public_key()
    prefix = any_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)[: -2 * size]
    outcomes: dict[str, int] = {}
    for section, case in records(*file, last="Result"):
        verdict = case["Result"].split()[1].strip("(")
        if not section.startswith(ECDH[spec]) or verdict in ("5", "6", "7"):  # keys of ours that no store would hold
            continue
        ref = known(shop, spec, pkcs8(ec.derive_private_key(int(case["dsIUT"], 16), curve)))
        x, y = (int(case[name], 16).to_bytes(size) for name in ("QsCAVSx", "QsCAVSy"))
        if verdict in ("1", "2"):
            with pytest.raises(PublicKeyInvalid):
                shop.store.derive_shared_secret(HOME, KEY, ref, prefix + x + y)
        else:
            secret = shop.store.derive_shared_secret(HOME, KEY, ref, prefix + x + y)
            assert (secret == int(case["Z"], 16).to_bytes(size)) is (verdict != "8")
        outcomes[verdict] = outcomes.get(verdict, 0) + 1
    assert set(outcomes) == {"0", "1", "2", "8", "13"}


def test_ed25519(shop: Workshop) -> None:
    """Signatures of messages of 1 to 1,023 bytes come out the same."""
    algorithm = SigningAlgorithm.ED25519_SHA_512
    done = 0
    for line in islice(lines("asymmetric", "Ed25519", "sign.input"), 1, None):
        secret, public, message, signed = (bytes.fromhex(part) for part in line.split(":")[:4])
        ref = known(shop, KeySpec.ECC_NIST_EDWARDS25519, secret[:32])
        assert shop.store.public_key(HOME, KEY, ref).endswith(public)
        assert shop.store.sign(HOME, KEY, ref, algorithm, RAW, message) == signed[:64]
        assert shop.store.verify(HOME, KEY, ref, algorithm, RAW, message, signed[:64])
        done += 1
    assert done == 1023


def test_ed25519ph_rfc_8032() -> None:
    """The vector of section 7.3: its message is too short for the store, so the opened key is asked itself."""
    case = json.loads((VECTORS / "ed25519ph-rfc8032.json").read_text(encoding="utf-8"))
    seed, public, message, signature = (
        bytes.fromhex(case[name]) for name in ("secret_key", "public_key", "message", "signature")
    )
    key = open_key(KeySpec.ECC_NIST_EDWARDS25519, bytearray(seed))
    what = Signable(SigningAlgorithm.ED25519_PH_SHA_512, DIGEST, message)
    assert key.public_der().endswith(public)
    assert key.sign(what) == signature
    assert key.verify(what, signature)
    assert not key.verify(Signable(SigningAlgorithm.ED25519_SHA_512, RAW, message), signature)
    assert not key.verify(Signable(SigningAlgorithm.ED25519_PH_SHA_512, DIGEST, message + b"d"), signature)


@pytest.mark.parametrize("spec", [KeySpec.ML_DSA_44, KeySpec.ML_DSA_65, KeySpec.ML_DSA_87], ids=lambda spec: spec.name)
def test_ml_dsa(shop: Workshop, spec: KeySpec) -> None:
    """Public keys come out the same and signatures verify, by their representative since each has a context."""
    algorithm = SigningAlgorithm.ML_DSA_SHAKE_256
    done = 0
    for _, case in records("asymmetric", "MLDSA", f"kat_MLDSA_{spec.name[-2:]}_det_pure.rsp", last="ctx"):
        seed, public, message, signed, context = (
            bytes.fromhex(case[name]) for name in ("xi", "pk", "msg", "sm", "ctx")
        )
        ref = known(shop, spec, seed)
        assert shop.store.public_key(HOME, KEY, ref).endswith(public)
        signature = signed[: -len(message)]
        tr = hashlib.shake_256(public).digest(64)
        mu = hashlib.shake_256(tr + bytes((0, len(context))) + context + message).digest(64)
        assert shop.store.verify(HOME, KEY, ref, algorithm, MU, mu, signature)
        assert not shop.store.verify(HOME, KEY, ref, algorithm, RAW, message, signature), "it has a context"
        done += 1
    assert done == 100


@pytest.mark.parametrize(
    "spec", [KeySpec.ML_KEM_512, KeySpec.ML_KEM_768, KeySpec.ML_KEM_1024], ids=lambda spec: spec.name
)
def test_ml_kem(shop: Workshop, spec: KeySpec) -> None:
    """Public keys, secrets and the secrets of implicit rejection come out the same."""
    file = ("asymmetric", "MLKEM", f"kat_MLKEM_{spec.name[7:]}.rsp")
    for _, case in islice(records(*file, last="ss"), 100):
        given = {name: bytes.fromhex(case[name]) for name in ("d", "z", "pk", "ct", "ss", "ct_n", "ss_n")}
        ref = known(shop, spec, given["d"] + given["z"])
        assert shop.store.public_key(HOME, KEY, ref).endswith(given["pk"])
        assert shop.store.decapsulate(HOME, KEY, ref, given["ct"]) == given["ss"]
        assert shop.store.decapsulate(HOME, KEY, ref, given["ct_n"]) == given["ss_n"]
