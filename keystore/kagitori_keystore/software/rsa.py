"""RSA keys: public exponent 65,537, materials are PKCS#8 (RFC 8017)."""

from __future__ import annotations

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, OAEP, PSS, AsymmetricPadding, PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.serialization import load_der_private_key

from kagitori_keystore.algorithms import (
    AsymmetricEncryptionAlgorithm,
    KeySpec,
    SigningAlgorithm,
    SigningScheme,
)
from kagitori_keystore.base import CiphertextInvalid, MaterialCorrupt
from kagitori_keystore.secret import RandomSource
from kagitori_keystore.software.abilities import OaepKey, PublicHalf, Signable, SigningKey
from kagitori_keystore.software.encodings import HASHES, MESSAGE_HASHES, pkcs8, spki

PUBLIC_EXPONENT = 65_537

SIGNATURE_PADDINGS: dict[SigningAlgorithm, AsymmetricPadding] = {
    algorithm: PSS(MGF1(HASHES[algorithm.digest]), PSS.DIGEST_LENGTH)
    if algorithm.scheme is SigningScheme.PSS
    else PKCS1v15()
    for algorithm in SigningAlgorithm
    if algorithm.scheme in (SigningScheme.PSS, SigningScheme.PKCS1)
}
OAEP_PADDINGS: dict[AsymmetricEncryptionAlgorithm, OAEP] = {
    algorithm: OAEP(MGF1(HASHES[algorithm.digest]), HASHES[algorithm.digest], None)
    for algorithm in AsymmetricEncryptionAlgorithm
}


class RsaKey(PublicHalf, SigningKey, OaepKey):
    """An opened RSA key."""

    __slots__ = ("_private", "_public")

    def __init__(self, key: RSAPrivateKey) -> None:
        self._private = key
        self._public = key.public_key()

    def public_der(self) -> bytes:
        return spki(self._public)

    def sign(self, what: Signable) -> bytes:
        padding = SIGNATURE_PADDINGS[what.algorithm]
        return self._private.sign(what.message, padding, MESSAGE_HASHES[what.algorithm, what.form])

    def verify(self, what: Signable, signature: bytes) -> bool:
        # RFC 8017 section 8.1.2, step 1, which OpenSSL leaves out for PSS: a leading zero may not be dropped.
        if len(signature) != self._public.key_size // 8:
            return False
        padding = SIGNATURE_PADDINGS[what.algorithm]
        try:
            self._public.verify(signature, what.message, padding, MESSAGE_HASHES[what.algorithm, what.form])
        except InvalidSignature:
            return False
        return True

    def encrypt(self, algorithm: AsymmetricEncryptionAlgorithm, plaintext: bytes) -> bytes:
        return self._public.encrypt(plaintext, OAEP_PADDINGS[algorithm])

    def decrypt(self, algorithm: AsymmetricEncryptionAlgorithm, ciphertext: bytes) -> bytes:
        try:
            return self._private.decrypt(ciphertext, OAEP_PADDINGS[algorithm])
        except ValueError:
            # One class and message for length, range and every check of the padding; no cause.
            raise CiphertextInvalid from None


def make(spec: KeySpec, random: RandomSource) -> bytearray:
    """The material of a new key. The primes come from OpenSSL's own generator (FIPS 186-5 appendix A.1)."""
    return bytearray(make_pair(spec, random)[0])


def make_pair(spec: KeySpec, _: RandomSource) -> tuple[bytes, bytes]:
    """(PKCS#8, SubjectPublicKeyInfo) of a new key."""
    key = generate_private_key(PUBLIC_EXPONENT, spec.bits)
    return pkcs8(key), spki(key.public_key())


def open_key(spec: KeySpec, material: bytearray) -> RsaKey:
    """Raises `MaterialCorrupt` if the material is of another spec."""
    try:
        # What is sealed was generated or checked by this store; testing primes again takes half a second.
        key = load_der_private_key(material, None, unsafe_skip_rsa_key_validation=True)
    except (TypeError, ValueError):
        raise MaterialCorrupt("a material holds no key of its spec") from None
    if not isinstance(key, RSAPrivateKey) or key.key_size != spec.bits:
        raise MaterialCorrupt("a material holds no key of its spec")
    return RsaKey(key)
