"""Wrapping pairs, and opening what users wrap under them (AWS `AlgorithmSpec`).

    RSAES_OAEP_SHA_*        RFC 8017 section 7.1, MGF1 with the same hash, no label, of the material
    RSA_AES_KEY_WRAP_SHA_*  PKCS#11 v3.1 section 6.1.25 (CKM_RSA_AES_KEY_WRAP): the same of an AES key of 32 bytes,
                            followed by the material, wrapped with padding under that key (RFC 5649)

There is no oracle: every failure is one error with one message. In the two-step form an AES key that does not
come out is replaced with a random one, and the second step is done with that, so neither answer nor time tell at
which step it failed (the countermeasure of RFC 3218 section 2.3.2).
"""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric.padding import MGF1, OAEP
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA1, SHA256
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap_with_padding

from kagitori_keystore.algorithms import Digest, KeyFamily, KeySpec, WrappingAlgorithm, WrappingSpec
from kagitori_keystore.base import ImportFault, ImportRefused
from kagitori_keystore.secret import RandomSource

WRAPPED_MATERIAL_MAX_BYTES = 6144
"""AWS ImportKeyMaterial (EncryptedKeyMaterial)."""

_PUBLIC_EXPONENT = 65_537
_AES_KEY_BYTES = 32
_KEY_WRAP_BLOCK_BYTES = 8
_KEY_WRAP_MIN_BYTES = 16
_OAEP = {
    Digest.SHA_1: OAEP(MGF1(SHA1()), SHA1(), None),  # noqa: S303  (OAEP needs no collision resistance; AWS offers it)
    Digest.SHA_256: OAEP(MGF1(SHA256()), SHA256(), None),
}


def make_wrapping_key(spec: WrappingSpec) -> RSAPrivateKey:
    """A new wrapping pair. The primes come from OpenSSL's own generator (FIPS 186-5 appendix A.1)."""
    return generate_private_key(_PUBLIC_EXPONENT, spec.key_spec.bits)


def combines(spec: KeySpec, wrapping_spec: WrappingSpec, algorithm: WrappingAlgorithm) -> bool:
    """Whether a material of `spec` can be wrapped so (AWS, "Select a wrapping algorithm").

    RSA keys are too long for RSAES_OAEP, keys on P-521 are for RSAES_OAEP under RSA_2048.
    """
    if algorithm.wraps_aes_key:
        return True
    if spec is KeySpec.ECC_NIST_P521:
        return wrapping_spec is not WrappingSpec.RSA_2048
    return spec.family is not KeyFamily.RSA


def unwrap(key: RSAPrivateKey, algorithm: WrappingAlgorithm, wrapped: bytes, random: RandomSource) -> bytes:
    """What was wrapped under the public half of `key`; nothing is known of it yet.

    `random` makes the stand-in for an AES key. Raises `ImportRefused` (UNDECRYPTABLE).
    """
    if not algorithm.wraps_aes_key:
        opened = _oaep(key, algorithm, wrapped)
        if opened is None:
            raise ImportRefused(ImportFault.UNDECRYPTABLE)
        return opened
    modulus_bytes = key.key_size // 8
    head, body = wrapped[:modulus_bytes], wrapped[modulus_bytes:]
    # The length is no secret, so a wrong one may be told by the time it takes.
    if (
        len(wrapped) > WRAPPED_MATERIAL_MAX_BYTES
        or len(body) < _KEY_WRAP_MIN_BYTES
        or len(body) % _KEY_WRAP_BLOCK_BYTES
    ):
        raise ImportRefused(ImportFault.UNDECRYPTABLE)
    stand_in = random(_AES_KEY_BYTES)
    aes_key = _oaep(key, algorithm, head)
    if aes_key is None or len(aes_key) != _AES_KEY_BYTES:
        aes_key = stand_in
    try:
        return aes_key_unwrap_with_padding(aes_key, body)
    except InvalidUnwrap:
        # No cause: its frames hold the AES key and what came out.
        raise ImportRefused(ImportFault.UNDECRYPTABLE) from None


def _oaep(key: RSAPrivateKey, algorithm: WrappingAlgorithm, ciphertext: bytes) -> bytes | None:
    """The plaintext, None for every failure."""
    try:
        return key.decrypt(ciphertext, _OAEP[algorithm.digest])
    except ValueError:
        return None
