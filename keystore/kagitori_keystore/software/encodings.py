"""DER of keys, and the hash functions, as `cryptography` has them."""

from __future__ import annotations

from typing import Protocol

from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.hashes import SHA1, SHA224, SHA256, SHA384, SHA512, HashAlgorithm
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from kagitori_keystore.algorithms import Digest, MessageForm, SigningAlgorithm

HASHES: dict[Digest | None, HashAlgorithm] = {
    Digest.SHA_1: SHA1(),  # noqa: S303  (OAEP needs no collision resistance, and AWS offers it)
    Digest.SHA_224: SHA224(),
    Digest.SHA_256: SHA256(),
    Digest.SHA_384: SHA384(),
    Digest.SHA_512: SHA512(),
}
"""By the digest of a table's row; those rows whose digest is None have no business here."""

MESSAGE_HASHES: dict[tuple[SigningAlgorithm, MessageForm], HashAlgorithm | Prehashed] = {
    (algorithm, form): Prehashed(HASHES[algorithm.digest]) if form is MessageForm.DIGEST else HASHES[algorithm.digest]
    for algorithm in SigningAlgorithm
    if algorithm.digest is not None
    for form in algorithm.forms
}
"""How a signature hashes its message: not at all, if it is a digest already."""


class PrivateKey(Protocol):
    """What the library's private keys have in common."""

    def private_bytes(
        self, encoding: Encoding, form: PrivateFormat, encryption: KeySerializationEncryption, /
    ) -> bytes: ...


class PublicKey(Protocol):
    """What the library's public keys have in common."""

    def public_bytes(self, encoding: Encoding, form: PublicFormat, /) -> bytes: ...


def pkcs8(key: PrivateKey) -> bytes:
    """DER of an unencrypted PKCS#8 PrivateKeyInfo, the same for the same key; for ML-DSA and ML-KEM the seed."""
    return key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())


def spki(key: PublicKey) -> bytes:
    """DER of a SubjectPublicKeyInfo."""
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
