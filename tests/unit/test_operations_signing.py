"""Sign, Verify, GenerateMac and VerifyMac: every algorithm, every form of message, every refusal."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterator
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa, padding, rsa, utils
from cryptography.hazmat.primitives.serialization import load_der_public_key
from tests.support.inprocess import InProcess
from tests.support.kms_calls import last_record, new_key, refused

from kagitori_server.model.errors import (
    DisabledException,
    DryRunOperationException,
    InvalidKeyUsageException,
    KMSInvalidMacException,
    KMSInvalidSignatureException,
    KMSInvalidStateException,
    ValidationException,
)

MESSAGE = b"the storehouse was opened at dawn"
RSA = [f"RSASSA_{scheme}_SHA_{bits}" for scheme in ("PSS", "PKCS1_V1_5") for bits in (256, 384, 512)]
SIGNING = {
    "RSA_2048": RSA, "RSA_3072": RSA, "RSA_4096": RSA,
    "ECC_NIST_P256": ["ECDSA_SHA_256"], "ECC_NIST_P384": ["ECDSA_SHA_384"], "ECC_NIST_P521": ["ECDSA_SHA_512"],
    "ECC_SECG_P256K1": ["ECDSA_SHA_256"],
    "ECC_NIST_EDWARDS25519": ["ED25519_SHA_512", "ED25519_PH_SHA_512"],
    "ML_DSA_44": ["ML_DSA_SHAKE_256"], "ML_DSA_65": ["ML_DSA_SHAKE_256"], "ML_DSA_87": ["ML_DSA_SHAKE_256"],
}
MACS = {f"HMAC_{bits}": f"HMAC_SHA_{bits}" for bits in (224, 256, 384, 512)}
CASES = [(spec, algorithm) for spec, algorithms in SIGNING.items() for algorithm in algorithms]


class Keys:
    """A service and one key of each spec, made when it is asked for."""

    def __init__(self, service: InProcess) -> None:
        self.service = service
        self._ids: dict[str, str] = {}

    def of(self, spec: str) -> str:
        if spec not in self._ids:
            usage = "GENERATE_VERIFY_MAC" if spec.startswith("HMAC") else "SIGN_VERIFY"
            self._ids[spec] = new_key(self.service, key_spec=spec, key_usage=usage).key_id
        return self._ids[spec]

    def sign(self, spec: str, algorithm: str, message: bytes, form: str = "RAW") -> bytes:
        answer = self.service.call("Sign", {
            "key_id": self.of(spec), "message": message, "message_type": form, "signing_algorithm": algorithm,
        })
        signature = answer.signature
        assert isinstance(signature, bytes)
        return signature


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keys]:
    with InProcess(tmp_path_factory.mktemp("service")) as service:
        yield Keys(service)


def forms(algorithm: str) -> dict[str, bytes]:
    """Messages that an algorithm takes, by their type."""
    if algorithm == "ML_DSA_SHAKE_256":
        return {"RAW": MESSAGE, "EXTERNAL_MU": bytes(range(64))}
    digest = hashlib.new("sha" + algorithm[-3:], MESSAGE).digest()
    if algorithm == "ED25519_SHA_512":
        return {"RAW": MESSAGE}
    if algorithm == "ED25519_PH_SHA_512":
        return {"DIGEST": digest}
    return {"RAW": MESSAGE, "DIGEST": digest}


def verify_elsewhere(public: Any, algorithm: str, signature: bytes) -> None:
    """Raises InvalidSignature unless it is a signature of MESSAGE by what a user has outside of the service."""
    if isinstance(public, rsa.RSAPublicKey):
        hashed = {"256": hashes.SHA256(), "384": hashes.SHA384(), "512": hashes.SHA512()}[algorithm[-3:]]
        pss = padding.PSS(padding.MGF1(hashed), hashed.digest_size)
        public.verify(signature, MESSAGE, pss if "PSS" in algorithm else padding.PKCS1v15(), hashed)
    elif isinstance(public, ec.EllipticCurvePublicKey):
        hashed = {"256": hashes.SHA256(), "384": hashes.SHA384(), "512": hashes.SHA512()}[algorithm[-3:]]
        utils.decode_dss_signature(signature)
        public.verify(signature, MESSAGE, ec.ECDSA(hashed))
    elif isinstance(public, ed25519.Ed25519PublicKey):
        public.verify(signature, MESSAGE)
    else:
        assert isinstance(public, (mldsa.MLDSA44PublicKey, mldsa.MLDSA65PublicKey, mldsa.MLDSA87PublicKey))
        public.verify(signature, MESSAGE)


@pytest.mark.parametrize(("spec", "algorithm"), CASES)
def test_what_is_signed_verifies(keys: Keys, spec: str, algorithm: str) -> None:
    """By the service in every form, and outside with the public key that it hands out."""
    service, key_id = keys.service, keys.of(spec)
    public = service.call("GetPublicKey", {"key_id": key_id})
    assert algorithm in public.signing_algorithms
    for form, message in forms(algorithm).items():
        values = {"key_id": key_id, "message": message, "message_type": form, "signing_algorithm": algorithm}
        answer = service.call("Sign", values)
        assert answer.key_id.endswith(key_id)
        assert answer.signing_algorithm == algorithm
        record = last_record(service)
        assert record["requestParameters"] == {
            "keyId": key_id, "messageType": form, "signingAlgorithm": algorithm
        }
        assert record["responseElements"] is None
        verified = service.call("Verify", {**values, "signature": answer.signature})
        assert (verified.signature_valid, verified.signing_algorithm) == (True, algorithm)
    if algorithm != "ED25519_PH_SHA_512":
        verify_elsewhere(
            load_der_public_key(public.public_key), algorithm, keys.sign(spec, algorithm, MESSAGE)
        )


@pytest.mark.parametrize(("spec", "algorithm"), CASES)
def test_what_is_not_its_signature(keys: Keys, spec: str, algorithm: str) -> None:
    """Altered, cut, lengthened, of another message: one exception without a message."""
    form, message = next(iter(forms(algorithm).items()))
    signature = keys.sign(spec, algorithm, message, form)
    other = bytes([message[0] ^ 1]) + message[1:]
    for wrong, said in (
        (bytes([signature[0] ^ 0x80]) + signature[1:], message),
        (signature[:-1] + bytes([signature[-1] ^ 1]), message),
        (signature[:-1], message),
        (signature + b"\0", message),
        (b"\0", message),
        (bytes(6_144), message),
        (signature, other),
    ):
        error = refused(keys.service, KMSInvalidSignatureException, "Verify", {
            "key_id": keys.of(spec), "message": said, "message_type": form, "signature": wrong,
            "signing_algorithm": algorithm,
        })
        assert error.message == ""


@pytest.mark.parametrize("operation", ["Sign", "Verify"])
@pytest.mark.parametrize("spec", sorted(SIGNING))
def test_algorithms_of_other_keys(keys: Keys, spec: str, operation: str) -> None:
    """Named, and refused."""
    every = {algorithm for algorithms in SIGNING.values() for algorithm in algorithms} | {"SM2DSA"}
    more = {"signature": b"x"} if operation == "Verify" else {}
    for algorithm in sorted(every - set(SIGNING[spec])):
        error = refused(keys.service, InvalidKeyUsageException, operation, {
            "key_id": keys.of(spec), "message": MESSAGE, "signing_algorithm": algorithm, **more,
        })
        assert error.message == f"Algorithm {algorithm} is incompatible with key spec {spec}."


@pytest.mark.parametrize(("spec", "algorithm"), [
    ("RSA_2048", "RSASSA_PSS_SHA_256"), ("RSA_2048", "RSASSA_PKCS1_V1_5_SHA_512"), ("ECC_NIST_P384", "ECDSA_SHA_384"),
    ("ECC_NIST_EDWARDS25519", "ED25519_SHA_512"), ("ECC_NIST_EDWARDS25519", "ED25519_PH_SHA_512"),
    ("ML_DSA_44", "ML_DSA_SHAKE_256"),
])
def test_messages_of_wrong_form_or_length(keys: Keys, spec: str, algorithm: str) -> None:
    """A digest has the algorithm's length, a mu 64 bytes, a message 1 to 4,096."""
    taken = forms(algorithm)
    wrong = [(form, MESSAGE[:32].ljust(64, b"x")) for form in ("RAW", "DIGEST", "EXTERNAL_MU") if form not in taken]
    if "DIGEST" in taken:
        wrong += [("DIGEST", taken["DIGEST"][:-1]), ("DIGEST", taken["DIGEST"] + b"x"), ("DIGEST", b"x")]
    if "EXTERNAL_MU" in taken:
        wrong += [("EXTERNAL_MU", bytes(63)), ("EXTERNAL_MU", bytes(65))]
    wrong += [(next(iter(taken)), b""), (next(iter(taken)), bytes(4_097))]
    for operation, more in (("Sign", {}), ("Verify", {"signature": b"x"})):
        for form, message in wrong:
            refused(keys.service, ValidationException, operation, {
                "key_id": keys.of(spec), "message": message, "message_type": form, "signing_algorithm": algorithm,
                **more,
            })
    if "RAW" in taken:
        keys.sign(spec, algorithm, bytes(4_096))


@pytest.mark.parametrize(("spec", "algorithm"), sorted(MACS.items()))
def test_macs(keys: Keys, spec: str, algorithm: str) -> None:
    """Made, verified, and refused when they aren't the key's."""
    service, values = keys.service, {"key_id": keys.of(spec), "message": MESSAGE, "mac_algorithm": algorithm}
    made = service.call("GenerateMac", values)
    assert (len(made.mac), made.mac_algorithm) == (int(algorithm[-3:]) // 8, algorithm)
    assert last_record(service)["requestParameters"] == {"keyId": keys.of(spec), "macAlgorithm": algorithm}
    assert service.call("VerifyMac", {**values, "mac": made.mac}).mac_valid
    for wrong in (made.mac[:-1], made.mac + b"x", bytes(len(made.mac)), b"x", bytes(6_144)):
        error = refused(service, KMSInvalidMacException, "VerifyMac", {**values, "mac": wrong})
        assert error.message == ""
    refused(service, KMSInvalidMacException, "VerifyMac", {**values, "message": b"other", "mac": made.mac})
    for other in set(MACS.values()) - {algorithm}:
        for operation, more in (("GenerateMac", {}), ("VerifyMac", {"mac": made.mac})):
            refused(service, InvalidKeyUsageException, operation, {**values, "mac_algorithm": other, **more})
    for message in (b"", bytes(4_097)):
        refused(service, ValidationException, "GenerateMac", {**values, "message": message})
    assert made.mac != hmac.new(bytes(32), MESSAGE, "sha" + algorithm[-3:]).digest()


def test_dry_runs(keys: Keys) -> None:
    """Everything but the computation."""
    sign = {"key_id": keys.of("ECC_NIST_P256"), "message": MESSAGE, "signing_algorithm": "ECDSA_SHA_256"}
    mac = {"key_id": keys.of("HMAC_256"), "message": MESSAGE, "mac_algorithm": "HMAC_SHA_256"}
    for operation, values in (
        ("Sign", sign), ("Verify", {**sign, "signature": b"x"}), ("GenerateMac", mac),
        ("VerifyMac", {**mac, "mac": b"x"}),
    ):
        refused(keys.service, DryRunOperationException, operation, {**values, "dry_run": True})
    refused(
        keys.service, InvalidKeyUsageException, "Sign", {**sign, "signing_algorithm": "ECDSA_SHA_384", "dry_run": True}
    )


def test_keys_of_another_usage_and_state(keys: Keys) -> None:
    """A key agrees, encrypts or signs, never two of them."""
    service = keys.service
    for spec, usage in (("RSA_2048", "ENCRYPT_DECRYPT"), ("ECC_NIST_P256", "KEY_AGREEMENT")):
        key = new_key(service, key_spec=spec, key_usage=usage)
        error = refused(service, InvalidKeyUsageException, "Sign", {
            "key_id": key.key_id, "message": MESSAGE, "signing_algorithm": SIGNING[spec][0],
        })
        assert error.message == f"{key.arn} key usage is {usage} which is not valid for Sign."
    signing = new_key(service, key_spec="ECC_NIST_P256", key_usage="SIGN_VERIFY").key_id
    values = {"key_id": signing, "message": MESSAGE, "signing_algorithm": "ECDSA_SHA_256"}
    service.call("DisableKey", {"key_id": signing})
    refused(service, DisabledException, "Sign", values)
    service.call("ScheduleKeyDeletion", {"key_id": signing})
    refused(service, KMSInvalidStateException, "Sign", values)
    refused(service, KMSInvalidStateException, "GetPublicKey", {"key_id": signing})
