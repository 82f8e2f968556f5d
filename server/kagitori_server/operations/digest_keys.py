"""Public keys as CloudTrail lists them (AWS CloudTrail ListPublicKeys)."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

from kagitori_server.model.delivery_records import ListedKey


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A key that digests are, or were, signed with."""

    value: bytes
    """DER of PKCS #1's RSAPublicKey (RFC 8017, appendix A.1.1)."""
    fingerprint: str
    """MD5 of that, in lower-case hexadecimal: a name, nothing relies on it."""
    validity_start: float
    validity_end: float
    """Seconds since the epoch."""


def public_key(listed: ListedKey) -> PublicKey:
    """A signing key of the service in CloudTrail's form. Raises TypeError for one that isn't RSA."""
    value = pkcs1(listed.public_key_der)
    return PublicKey(value, fingerprint(value), listed.valid_from, listed.valid_until)


def pkcs1(public_key_der: bytes) -> bytes:
    """RSAPublicKey from SubjectPublicKeyInfo."""
    key = load_der_public_key(public_key_der)
    if not isinstance(key, RSAPublicKey):
        raise TypeError("not an RSA key")
    return key.public_bytes(Encoding.DER, PublicFormat.PKCS1)


def fingerprint(value: bytes) -> str:
    """CloudTrail's name of a key."""
    return hashlib.md5(value, usedforsecurity=False).hexdigest()
