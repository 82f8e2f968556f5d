"""ML-KEM keys (FIPS 203): materials are the seed d || z of 64 bytes.

ML_KEM_768 and ML_KEM_1024 are done with by `cryptography`, ML_KEM_512 by a libcrypto of OpenSSL, where there is one:
`cryptography` leaves it out.
"""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM1024PrivateKey

from kagitori_keystore.algorithms import KeySpec
from kagitori_keystore.base import LibraryLacking
from kagitori_keystore.secret import RandomSource
from kagitori_keystore.software.abilities import EncapsulationKey, PublicHalf
from kagitori_keystore.software.encodings import pkcs8, spki
from kagitori_keystore.software.libcrypto import LibCrypto, MlKem512

_Private = MLKEM768PrivateKey | MLKEM1024PrivateKey

_PARAMETER_SETS: dict[KeySpec, type[MLKEM768PrivateKey] | type[MLKEM1024PrivateKey]] = {
    KeySpec.ML_KEM_768: MLKEM768PrivateKey,
    KeySpec.ML_KEM_1024: MLKEM1024PrivateKey,
}

# RFC 9935 sections 4 and 6, DER up to the key: id-alg-ml-kem-512 is 2.16.840.1.101.3.4.4.1, the seed is tagged [0].
_SPKI_512 = bytes.fromhex("30820332300b06096086480165030404010382032100")
_PKCS8_512 = bytes.fromhex("3054020100300b060960864801650304040104428040")


class MlKemKey(PublicHalf, EncapsulationKey):
    """An opened key of `cryptography`."""

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


class MlKem512Key(PublicHalf, EncapsulationKey):
    """An opened key of OpenSSL."""

    __slots__ = ("_key",)

    def __init__(self, key: MlKem512) -> None:
        self._key = key

    def public_der(self) -> bytes:
        return _SPKI_512 + self._key.public_bytes()

    def encapsulate(self) -> tuple[bytes, bytes]:
        return self._key.encapsulate()

    def decapsulate(self, ciphertext: bytes) -> bytes:
        return self._key.decapsulate(ciphertext)


class MlKem:
    """The family. Without a `libcrypto` it lacks ML_KEM_512."""

    def __init__(self, libcrypto: LibCrypto | None) -> None:
        self._libcrypto = libcrypto

    def make(self, spec: KeySpec, random: RandomSource) -> bytearray:
        """The material of a new key."""
        return bytearray(random(spec.material_bytes))

    def make_pair(self, spec: KeySpec, random: RandomSource) -> tuple[bytes, bytes]:
        """(PKCS#8 with the seed, SubjectPublicKeyInfo) of a new key. Raises as `open_key`."""
        seed = random(spec.material_bytes)
        if spec is KeySpec.ML_KEM_512:
            return _PKCS8_512 + seed, self._open_512(seed).public_der()
        key = _PARAMETER_SETS[spec].from_seed_bytes(seed)
        return pkcs8(key), spki(key.public_key())

    def open_key(self, spec: KeySpec, material: bytearray) -> MlKemKey | MlKem512Key:
        """Raises `LibraryLacking` for ML_KEM_512 without a library: another process, which had one, made the key."""
        if spec is KeySpec.ML_KEM_512:
            return self._open_512(material)
        return MlKemKey(_PARAMETER_SETS[spec].from_seed_bytes(material))

    def _open_512(self, seed: bytes | bytearray) -> MlKem512Key:
        if self._libcrypto is None:
            raise LibraryLacking("keys of ML_KEM_512 need an OpenSSL of 3.5 or newer, which this process has not")
        return MlKem512Key(self._libcrypto.open_ml_kem_512(seed))
