"""ML-DSA keys (FIPS 204): materials are the seed xi of 32 bytes; signatures are hedged, their context is empty."""

from __future__ import annotations

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey, MLDSA65PrivateKey, MLDSA87PrivateKey

from kagitori_keystore.algorithms import KeySpec, MessageForm
from kagitori_keystore.secret import RandomSource
from kagitori_keystore.software.abilities import PublicHalf, Signable, SigningKey
from kagitori_keystore.software.encodings import spki

_Private = MLDSA44PrivateKey | MLDSA65PrivateKey | MLDSA87PrivateKey

_PARAMETER_SETS: dict[KeySpec, type[MLDSA44PrivateKey] | type[MLDSA65PrivateKey] | type[MLDSA87PrivateKey]] = {
    KeySpec.ML_DSA_44: MLDSA44PrivateKey,
    KeySpec.ML_DSA_65: MLDSA65PrivateKey,
    KeySpec.ML_DSA_87: MLDSA87PrivateKey,
}


class MlDsaKey(PublicHalf, SigningKey):
    """An opened key."""

    __slots__ = ("_private", "_public")

    def __init__(self, key: _Private) -> None:
        self._private = key
        self._public = key.public_key()

    def public_der(self) -> bytes:
        return spki(self._public)

    def sign(self, what: Signable) -> bytes:
        if what.form is MessageForm.EXTERNAL_MU:
            return self._private.sign_mu(what.message)
        return self._private.sign(what.message)

    def verify(self, what: Signable, signature: bytes) -> bool:
        try:
            if what.form is MessageForm.EXTERNAL_MU:
                self._public.verify_mu(signature, what.message)
            else:
                self._public.verify(signature, what.message)
        except InvalidSignature:
            return False
        return True


def make(spec: KeySpec, random: RandomSource) -> bytearray:
    """The material of a new key."""
    return bytearray(random(spec.material_bytes))


def open_key(spec: KeySpec, material: bytearray) -> MlDsaKey:
    return MlDsaKey(_PARAMETER_SETS[spec].from_seed_bytes(material))
