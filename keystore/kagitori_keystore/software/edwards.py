"""Ed25519 keys (RFC 8032 section 5.1): materials are the seed of 32 bytes."""

from __future__ import annotations

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from nacl.bindings import (
    crypto_sign_BYTES,
    crypto_sign_ed25519ph_final_create,
    crypto_sign_ed25519ph_final_verify,
    crypto_sign_ed25519ph_state,
    crypto_sign_ed25519ph_update,
)
from nacl.exceptions import BadSignatureError

from kagitori_keystore.algorithms import KeySpec, SigningScheme
from kagitori_keystore.secret import RandomSource
from kagitori_keystore.software.abilities import PublicHalf, Signable, SigningKey
from kagitori_keystore.software.encodings import pkcs8, spki


class EdwardsKey(PublicHalf, SigningKey):
    """An opened key. It signs as Ed25519 and as Ed25519ph, the latter by libsodium.

    As AWS's Sign documents it, the 64-byte digest that ED25519_PH_SHA_512 takes is the message of Ed25519ph,
    whose own prehash (FIPS 186-5 section 7.8.1) hashes it again: `verify` elsewhere has to be given the digest
    as the message.
    """

    __slots__ = ("_private", "_public")

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._private = key
        self._public = key.public_key()

    def public_der(self) -> bytes:
        return spki(self._public)

    def sign(self, what: Signable) -> bytes:
        if what.algorithm.scheme is SigningScheme.ED25519:
            return self._private.sign(what.message)
        # libsodium's secret key is seed and public key; its binding takes nothing but immutable bytes.
        secret = self._private.private_bytes_raw() + self._public.public_bytes_raw()
        return crypto_sign_ed25519ph_final_create(_prehash(what.message), secret)

    def verify(self, what: Signable, signature: bytes) -> bool:
        if len(signature) != crypto_sign_BYTES:
            return False
        try:
            if what.algorithm.scheme is SigningScheme.ED25519:
                self._public.verify(signature, what.message)
            else:
                crypto_sign_ed25519ph_final_verify(_prehash(what.message), signature, self._public.public_bytes_raw())
        except (InvalidSignature, BadSignatureError):
            return False
        return True


def make(spec: KeySpec, random: RandomSource) -> bytearray:
    """The material of a new key."""
    return bytearray(random(spec.material_bytes))


def make_pair(spec: KeySpec, random: RandomSource) -> tuple[bytes, bytes]:
    """(PKCS#8, SubjectPublicKeyInfo) of a new key."""
    key = Ed25519PrivateKey.from_private_bytes(random(spec.material_bytes))
    return pkcs8(key), spki(key.public_key())


def open_key(_: KeySpec, material: bytearray) -> EdwardsKey:
    return EdwardsKey(Ed25519PrivateKey.from_private_bytes(material))


def _prehash(message: bytes) -> crypto_sign_ed25519ph_state:
    state = crypto_sign_ed25519ph_state()
    crypto_sign_ed25519ph_update(state, message)
    return state
