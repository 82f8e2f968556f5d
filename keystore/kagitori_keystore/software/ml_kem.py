"""ML-KEM keys (FIPS 203): materials are the seed d || z of 64 bytes.

ML_KEM_512 is missing: neither `cryptography` nor another library that is kept well has its parameter set (docs/keys.md
lists what was looked at).
"""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM1024PrivateKey

from kagitori_keystore.algorithms import KeySpec
from kagitori_keystore.base import RequestRefused
from kagitori_keystore.secret import RandomSource
from kagitori_keystore.software.abilities import EncapsulationKey, PublicHalf
from kagitori_keystore.software.encodings import pkcs8, spki

_Private = MLKEM768PrivateKey | MLKEM1024PrivateKey

PARAMETER_SETS: dict[KeySpec, type[MLKEM768PrivateKey] | type[MLKEM1024PrivateKey]] = {
    KeySpec.ML_KEM_768: MLKEM768PrivateKey,
    KeySpec.ML_KEM_1024: MLKEM1024PrivateKey,
}


class MlKemKey(PublicHalf, EncapsulationKey):
    """An opened key."""

    __slots__ = ("_private", "_public")

    def __init__(self, key: _Private) -> None:
        self._private = key
        self._public = key.public_key()

    def public_der(self) -> bytes:
        return spki(self._public)

    def encapsulate(self) -> tuple[bytes, bytes]:
        return self._public.encapsulate()

    def decapsulate(self, ciphertext: bytes) -> bytes:
        return self._private.decapsulate(ciphertext)


def make(spec: KeySpec, random: RandomSource) -> bytearray:
    """The material of a new key."""
    return bytearray(random(spec.material_bytes))


def make_pair(spec: KeySpec, random: RandomSource) -> tuple[bytes, bytes]:
    """(PKCS#8 with the seed, SubjectPublicKeyInfo) of a new key."""
    key = PARAMETER_SETS[spec].from_seed_bytes(random(spec.material_bytes))
    return pkcs8(key), spki(key.public_key())


def open_key(spec: KeySpec, material: bytearray) -> MlKemKey:
    """Raises `RequestRefused` for ML_KEM_512, which another release may have made."""
    if spec not in PARAMETER_SETS:
        raise RequestRefused("the store uses no keys of this spec")
    return MlKemKey(PARAMETER_SETS[spec].from_seed_bytes(material))
