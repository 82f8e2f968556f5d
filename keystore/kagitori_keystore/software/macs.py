"""HMAC keys (RFC 2104, FIPS 198-1): materials are as long as the digest, imported ones up to 128 bytes."""

from __future__ import annotations

from cryptography.hazmat.primitives.hmac import HMAC

from kagitori_keystore.algorithms import KeySpec
from kagitori_keystore.secret import RandomSource
from kagitori_keystore.software.abilities import MacKey
from kagitori_keystore.software.encodings import HASHES


class HmacKey(MacKey):
    """An opened key: the state of an HMAC that has taken in the key and no message; each message copies it."""

    __slots__ = ("_keyed",)

    def __init__(self, keyed: HMAC) -> None:
        self._keyed = keyed

    def mac(self, message: bytes) -> bytes:
        state = self._keyed.copy()
        state.update(message)
        return state.finalize()


def make(spec: KeySpec, random: RandomSource) -> bytearray:
    """The material of a new key."""
    return bytearray(random(spec.material_bytes))


def open_key(spec: KeySpec, material: bytearray) -> HmacKey:
    return HmacKey(HMAC(material, HASHES[spec.digest]))
