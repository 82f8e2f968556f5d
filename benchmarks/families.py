"""What is measured of keys that sign, agree and the like: a row per operation, its requests and its bare call.

The bare call is what the library `cryptography` needs for the same result, on a key that is open already; of
ML_KEM_512, which it leaves out, what the libcrypto needs that the service would use. Where the service is given bytes
that have to be read each time (a peer's public key), the bare call reads them too.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import grpc
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, hmac
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa, mlkem, padding, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_public_key,
)
from google.protobuf.message import Message

from benchmarks.deployment import BATCH, Deployment
from kagitori.kms.v1 import batch_pb2, crypto_service_pb2_grpc, cryptography_pb2, key_service_pb2_grpc, keys_pb2
from kagitori.kms.v1 import resources_pb2 as r
from kagitori_keystore.software.libcrypto import SEED_BYTES, LibCrypto
from kagitori_server.configured import first_libcrypto, known_libcryptos

MESSAGE = b"x" * 1024

_SHA256 = hashes.SHA256()
_OAEP = padding.OAEP(padding.MGF1(_SHA256), _SHA256, None)
_PSS = padding.PSS(padding.MGF1(_SHA256), _SHA256.digest_size)


@dataclass(frozen=True)
class Row:
    """An operation on a kind of key."""

    name: str
    operation: str
    bare: Callable[[], Callable[[], object]]
    """Prepares a key and answers the call on it; run in the process that measures it."""
    batched: bool = True

    @property
    def request(self) -> str:
        """The name of its request in the deployment."""
        return f"{self.operation}:{self.name.split()[0]}"

    @property
    def batch(self) -> str:
        """The name of the request of many of them at once."""
        return f"Batch{self.request}"


def _rsa(bits: int) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, bits)


def _rsa_sign(bits: int) -> Callable[[], object]:
    key = _rsa(bits)
    return lambda: key.sign(MESSAGE, _PSS, _SHA256)


def _rsa_verify(bits: int) -> Callable[[], object]:
    key = _rsa(bits)
    public, signature = key.public_key(), key.sign(MESSAGE, _PSS, _SHA256)
    return lambda: public.verify(signature, MESSAGE, _PSS, _SHA256)


def _rsa_encrypt(bits: int) -> Callable[[], object]:
    public = _rsa(bits).public_key()
    return lambda: public.encrypt(MESSAGE[:32], _OAEP)


def _rsa_decrypt(bits: int) -> Callable[[], object]:
    key = _rsa(bits)
    sealed = key.public_key().encrypt(MESSAGE[:32], _OAEP)
    return lambda: key.decrypt(sealed, _OAEP)


def _ecdsa_sign(curve: ec.EllipticCurve, digest: hashes.HashAlgorithm) -> Callable[[], object]:
    key = ec.generate_private_key(curve)
    return lambda: key.sign(MESSAGE, ec.ECDSA(digest))


def _ecdsa_verify(curve: ec.EllipticCurve, digest: hashes.HashAlgorithm) -> Callable[[], object]:
    key = ec.generate_private_key(curve)
    public, signature = key.public_key(), key.sign(MESSAGE, ec.ECDSA(digest))
    return lambda: public.verify(signature, MESSAGE, ec.ECDSA(digest))


def _message_sign(make: Callable[[], Any]) -> Callable[[], object]:
    key = make()
    return lambda: key.sign(MESSAGE)


def _message_verify(make: Callable[[], Any]) -> Callable[[], object]:
    key = make()
    public, signature = key.public_key(), key.sign(MESSAGE)
    return lambda: public.verify(signature, MESSAGE)


def _mac() -> Callable[[], object]:
    def make() -> bytes:
        mac = hmac.HMAC(b"k" * 32, _SHA256)
        mac.update(MESSAGE)
        return mac.finalize()

    return make


def _check_mac() -> Callable[[], object]:
    make = hmac.HMAC(b"k" * 32, _SHA256)
    make.update(MESSAGE)
    tag = make.finalize()

    def check() -> None:
        mac = hmac.HMAC(b"k" * 32, _SHA256)
        mac.update(MESSAGE)
        mac.verify(tag)

    return check


def _encapsulate(make: Callable[[], Any]) -> Callable[[], object]:
    public: Any = make().public_key()
    encapsulate: Callable[[], object] = public.encapsulate
    return encapsulate


def _decapsulate(make: Callable[[], Any]) -> Callable[[], object]:
    key = make()
    _, sealed = key.public_key().encapsulate()
    return lambda: key.decapsulate(sealed)


def _encapsulate_512(library: LibCrypto) -> Callable[[], object]:
    return library.open_ml_kem_512(os.urandom(SEED_BYTES)).encapsulate


def _decapsulate_512(library: LibCrypto) -> Callable[[], object]:
    key = library.open_ml_kem_512(os.urandom(SEED_BYTES))
    _, sealed = key.encapsulate()
    return lambda: key.decapsulate(sealed)


def _agree(curve: ec.EllipticCurve) -> Callable[[], object]:
    key = ec.generate_private_key(curve)
    peer = ec.generate_private_key(curve).public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)

    def agree() -> bytes:
        public = load_der_public_key(peer)
        if not isinstance(public, ec.EllipticCurvePublicKey):
            raise InvalidSignature
        return key.exchange(ec.ECDH(), public)

    return agree


def _pair(make: Callable[[], rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey]) -> Callable[[], object]:
    return lambda: make().private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())


_CURVES: dict[str, tuple[ec.EllipticCurve, hashes.HashAlgorithm]] = {
    "ECC_NIST_P256": (ec.SECP256R1(), hashes.SHA256()), "ECC_NIST_P384": (ec.SECP384R1(), hashes.SHA384()),
    "ECC_NIST_P521": (ec.SECP521R1(), hashes.SHA512()), "ECC_SECG_P256K1": (ec.SECP256K1(), hashes.SHA256()),
}
_ML_DSA: dict[str, Any] = {
    "ML_DSA_44": mldsa.MLDSA44PrivateKey, "ML_DSA_65": mldsa.MLDSA65PrivateKey, "ML_DSA_87": mldsa.MLDSA87PrivateKey,
}
_ML_KEM: dict[str, Any] = {"ML_KEM_768": mlkem.MLKEM768PrivateKey, "ML_KEM_1024": mlkem.MLKEM1024PrivateKey}


def _rows() -> Iterator[Row]:
    for bits in (2048, 3072, 4096):
        yield Row(f"RSA_{bits} Sign", "Sign", partial(_rsa_sign, bits))
        yield Row(f"RSA_{bits} Verify", "Verify", partial(_rsa_verify, bits))
        yield Row(f"RSA_{bits} Encrypt", "Encrypt", partial(_rsa_encrypt, bits))
        yield Row(f"RSA_{bits} Decrypt", "Decrypt", partial(_rsa_decrypt, bits))
    for spec, terms in _CURVES.items():
        yield Row(f"{spec} Sign", "Sign", partial(_ecdsa_sign, *terms))
        yield Row(f"{spec} Verify", "Verify", partial(_ecdsa_verify, *terms))
    ed = ed25519.Ed25519PrivateKey
    yield Row("ECC_NIST_EDWARDS25519 Sign", "Sign", partial(_message_sign, ed.generate))
    yield Row("ECC_NIST_EDWARDS25519 Verify", "Verify", partial(_message_verify, ed.generate))
    for spec, kind in _ML_DSA.items():
        yield Row(f"{spec} Sign", "Sign", partial(_message_sign, kind.generate))
        yield Row(f"{spec} Verify", "Verify", partial(_message_verify, kind.generate))
    yield Row("HMAC_256 GenerateMac", "GenerateMac", _mac)
    yield Row("HMAC_256 VerifyMac", "VerifyMac", _check_mac, batched=False)
    for spec, kind in _ML_KEM.items():
        yield Row(f"{spec} Encapsulate", "Encapsulate", partial(_encapsulate, kind.generate), batched=False)
        yield Row(f"{spec} Decapsulate", "Decapsulate", partial(_decapsulate, kind.generate), batched=False)
    library = first_libcrypto(known_libcryptos())
    if library is not None:
        yield Row("ML_KEM_512 Encapsulate", "Encapsulate", partial(_encapsulate_512, library), batched=False)
        yield Row("ML_KEM_512 Decapsulate", "Decapsulate", partial(_decapsulate_512, library), batched=False)
    for spec in ("ECC_NIST_P256", "ECC_NIST_P384", "ECC_NIST_P521"):
        agreed = _CURVES[spec][0]
        yield Row(f"{spec} DeriveSharedSecret", "DeriveSharedSecret", partial(_agree, agreed), batched=False)
    yield Row("RSA_2048 GenerateDataKeyPair", "GenerateDataKeyPair", partial(_pair, partial(_rsa, 2048)), batched=False)
    yield Row(
        "ECC_NIST_P256 GenerateDataKeyPair", "GenerateDataKeyPair",
        partial(_pair, partial(ec.generate_private_key, ec.SECP256R1())), batched=False,
    )


ROWS = {row.name: row for row in _rows()}


class Requests:
    """Makes keys and writes the requests of rows into the deployment."""

    def __init__(self, channel: grpc.Channel, deployment: Deployment) -> None:
        self._keys = key_service_pb2_grpc.KeyServiceStub(channel)
        self._crypto = crypto_service_pb2_grpc.CryptoServiceStub(channel)
        self._deployment = deployment
        self._made: dict[tuple[str, str], str] = {}

    def write(self, row: Row) -> None:
        """One request, and a batch of 256 of them where there is one."""
        request = self._request(*row.name.split())
        self._deployment.request(row.request).write_bytes(request.SerializeToString())
        if row.batched:
            batch: Any = getattr(batch_pb2, f"Batch{row.operation}Request")
            self._deployment.request(row.batch).write_bytes(batch(items=[request] * BATCH).SerializeToString())

    def _request(self, spec: str, operation: str) -> Message:
        if operation in ("Sign", "Verify"):
            terms: dict[str, Any] = {
                "key_id": self._key(spec, "SIGN_VERIFY"), "message": MESSAGE, "signing_algorithm": _algorithm(spec)
            }
            request = cryptography_pb2.SignRequest(**terms)
            if operation == "Sign":
                return request
            return cryptography_pb2.VerifyRequest(**terms, signature=self._crypto.Sign(request).signature)
        if operation in ("Encrypt", "Decrypt"):
            terms = {
                "key_id": self._key(spec, "ENCRYPT_DECRYPT"),
                "encryption_algorithm": r.ENCRYPTION_ALGORITHM_RSAES_OAEP_SHA_256,
            }
            encrypt = cryptography_pb2.EncryptRequest(**terms, plaintext=MESSAGE[:32])
            if operation == "Encrypt":
                return encrypt
            return cryptography_pb2.DecryptRequest(
                **terms, ciphertext_blob=self._crypto.Encrypt(encrypt).ciphertext_blob
            )
        if operation in ("GenerateMac", "VerifyMac"):
            terms = {
                "key_id": self._key(spec, "GENERATE_VERIFY_MAC"), "message": MESSAGE,
                "mac_algorithm": r.MAC_ALGORITHM_HMAC_SHA_256,
            }
            make = cryptography_pb2.GenerateMacRequest(**terms)
            if operation == "GenerateMac":
                return make
            return cryptography_pb2.VerifyMacRequest(**terms, mac=self._crypto.GenerateMac(make).mac)
        if operation in ("Encapsulate", "Decapsulate"):
            terms = {
                "key_id": self._key(spec, "ENCAPSULATE_DECAPSULATE"),
                "encapsulation_algorithm": r.ENCAPSULATION_ALGORITHM_ML_KEM,
            }
            encapsulate = cryptography_pb2.EncapsulateRequest(**terms)
            if operation == "Encapsulate":
                return encapsulate
            return cryptography_pb2.DecapsulateRequest(
                **terms,
                shared_secret_ciphertext_blob=self._crypto.Encapsulate(encapsulate).shared_secret_ciphertext_blob,
            )
        if operation == "DeriveSharedSecret":
            key = self._key(spec, "KEY_AGREEMENT")
            public = self._crypto.GetPublicKey(cryptography_pb2.GetPublicKeyRequest(key_id=key)).public_key
            return cryptography_pb2.DeriveSharedSecretRequest(
                key_id=key, public_key=public, key_agreement_algorithm=r.KEY_AGREEMENT_ALGORITHM_ECDH
            )
        return cryptography_pb2.GenerateDataKeyPairRequest(
            key_id=self._key("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT"),
            key_pair_spec=r.DataKeyPairSpec.Value(f"DATA_KEY_PAIR_SPEC_{spec}"),
        )

    def _key(self, spec: str, usage: str) -> str:
        if (spec, usage) not in self._made:
            request = keys_pb2.CreateKeyRequest(
                key_spec=r.KeySpec.Value(f"KEY_SPEC_{spec}"), key_usage=r.KeyUsage.Value(f"KEY_USAGE_{usage}")
            )
            self._made[spec, usage] = self._keys.CreateKey(request).key_metadata.key_id
        return self._made[spec, usage]


def _algorithm(spec: str) -> r.SigningAlgorithm.ValueType:
    if spec.startswith("RSA"):
        return r.SIGNING_ALGORITHM_RSASSA_PSS_SHA_256
    if spec.startswith("ML_DSA"):
        return r.SIGNING_ALGORITHM_ML_DSA_SHAKE_256
    return {
        "ECC_NIST_P256": r.SIGNING_ALGORITHM_ECDSA_SHA_256, "ECC_NIST_P384": r.SIGNING_ALGORITHM_ECDSA_SHA_384,
        "ECC_NIST_P521": r.SIGNING_ALGORITHM_ECDSA_SHA_512, "ECC_SECG_P256K1": r.SIGNING_ALGORITHM_ECDSA_SHA_256,
        "ECC_NIST_EDWARDS25519": r.SIGNING_ALGORITHM_ED25519_SHA_512,
    }[spec]
