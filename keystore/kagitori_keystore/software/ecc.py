"""Keys on the curves of NIST (FIPS 186-5, SP 800-186) and on secp256k1 (SEC 2): materials are PKCS#8."""

from __future__ import annotations

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import (
    ECDH,
    ECDSA,
    SECP256K1,
    SECP256R1,
    SECP384R1,
    SECP521R1,
    EllipticCurve,
    EllipticCurvePrivateKey,
    EllipticCurvePublicKey,
    generate_private_key,
)
from cryptography.hazmat.primitives.serialization import load_der_private_key, load_der_public_key

from kagitori_keystore.algorithms import PUBLIC_KEY_MAX_BYTES, KeySpec, MessageForm, SigningAlgorithm, SigningScheme
from kagitori_keystore.base import MaterialCorrupt, PublicKeyInvalid
from kagitori_keystore.secret import RandomSource
from kagitori_keystore.software.abilities import AgreementKey, PublicHalf, Signable, SigningKey
from kagitori_keystore.software.encodings import MESSAGE_HASHES, pkcs8, spki

CURVES: dict[KeySpec, EllipticCurve] = {
    KeySpec.ECC_NIST_P256: SECP256R1(),
    KeySpec.ECC_NIST_P384: SECP384R1(),
    KeySpec.ECC_NIST_P521: SECP521R1(),
    KeySpec.ECC_SECG_P256K1: SECP256K1(),
}
ECDSA_HASHES: dict[tuple[SigningAlgorithm, MessageForm], ECDSA] = {
    signing: ECDSA(hashing) for signing, hashing in MESSAGE_HASHES.items() if signing[0].scheme is SigningScheme.ECDSA
}


class SecgKey(PublicHalf, SigningKey):
    """An opened key that signs."""

    __slots__ = ("_private", "_public")

    def __init__(self, key: EllipticCurvePrivateKey) -> None:
        self._private = key
        self._public = key.public_key()

    def public_der(self) -> bytes:
        return spki(self._public)

    def sign(self, what: Signable) -> bytes:
        return self._private.sign(what.message, ECDSA_HASHES[what.algorithm, what.form])

    def verify(self, what: Signable, signature: bytes) -> bool:
        try:
            self._public.verify(signature, what.message, ECDSA_HASHES[what.algorithm, what.form])
        except InvalidSignature:
            return False
        return True


class NistKey(SecgKey, AgreementKey):
    """An opened key that signs and agrees on secrets."""

    __slots__ = ()

    def agree(self, peer: bytes) -> bytes:
        # Public key validation of SP 800-56A section 5.6.2.3.3: the library refuses points that are not on
        # their curve and infinity; these curves have cofactor 1, so nothing else is left to check.
        if len(peer) > PUBLIC_KEY_MAX_BYTES:
            raise PublicKeyInvalid
        try:
            key = load_der_public_key(peer)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            raise PublicKeyInvalid from None
        if not isinstance(key, EllipticCurvePublicKey) or key.curve.name != self._private.curve.name:
            raise PublicKeyInvalid
        if len(peer) > len(spki(key)):  # the same curve spelt out as explicit parameters, which RFC 5480 forbids
            raise PublicKeyInvalid
        return self._private.exchange(ECDH(), key)


def make(spec: KeySpec, random: RandomSource) -> bytearray:
    """The material of a new key, which OpenSSL's own generator draws (FIPS 186-5 appendix A.2)."""
    return bytearray(make_pair(spec, random)[0])


def make_pair(spec: KeySpec, _: RandomSource) -> tuple[bytes, bytes]:
    """(PKCS#8, SubjectPublicKeyInfo) of a new key."""
    key = generate_private_key(CURVES[spec])
    return pkcs8(key), spki(key.public_key())


def open_nist(spec: KeySpec, material: bytearray) -> NistKey:
    """Raises `MaterialCorrupt` if the material is of another spec."""
    return NistKey(_load(spec, material))


def open_secg(spec: KeySpec, material: bytearray) -> SecgKey:
    """Raises `MaterialCorrupt` if the material is of another spec."""
    return SecgKey(_load(spec, material))


def _load(spec: KeySpec, material: bytearray) -> EllipticCurvePrivateKey:
    try:
        key = load_der_private_key(material, None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise MaterialCorrupt("a material holds no key of its spec") from None
    if not isinstance(key, EllipticCurvePrivateKey) or key.curve.name != CURVES[spec].name:
        raise MaterialCorrupt("a material holds no key of its spec")
    return key
