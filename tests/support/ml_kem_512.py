"""Key files of ML-KEM-512, which `cryptography` neither writes nor reads (RFC 9935), and libraries that have it."""

from __future__ import annotations

import base64
import importlib.metadata
import os
from functools import cache

from cryptography.hazmat.primitives.asymmetric import mlkem
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.pbkdf2 import PBKDF2HMAC
from cryptography.hazmat.primitives.padding import PKCS7
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_private_key,
    load_der_public_key,
)
from cryptography.x509 import ObjectIdentifier
from tests.support.fips203 import PUBLIC_BYTES, encapsulate
from tests.support.foreign_keys import PlainAlgorithm, wrapped_info

from kagitori_keystore.software.libcrypto import LibCrypto
from kagitori_server.configured import first_libcrypto, known_libcryptos

ALGORITHM = PlainAlgorithm(algorithm=ObjectIdentifier("2.16.840.1.101.3.4.4.1"))
EXPANDED_BYTES = 1632
_HEAD = bytes.fromhex("30820332300b06096086480165030404010382032100")
"""SubjectPublicKeyInfo (RFC 9935) up to the 800 bytes of the key."""


@cache
def carried() -> str:
    """Path of the libcrypto that psycopg-binary carries."""
    files = importlib.metadata.files("psycopg-binary") or []
    return next(str(file.locate()) for file in files if file.match("psycopg_binary.libs/libcrypto-*.so*"))


@cache
def libcrypto() -> LibCrypto:
    """What a service on this machine would use."""
    found = first_libcrypto(known_libcryptos())
    assert found is not None, "tests need an OpenSSL of 3.5 or newer: the system's, or that of psycopg-binary"
    return found


class Peer:
    """Who has the public key: what `cryptography`'s public keys are for the other parameter sets."""

    def __init__(self, spki: bytes) -> None:
        assert spki[:-PUBLIC_BYTES] == _HEAD
        self._key = spki[-PUBLIC_BYTES:]

    def encapsulate(self) -> tuple[bytes, bytes]:
        return encapsulate(self._key)


def peer_of(spki: bytes) -> Peer | mlkem.MLKEM768PublicKey | mlkem.MLKEM1024PublicKey:
    """Who encapsulates under an ML-KEM public key of any parameter set."""
    if len(spki) == len(_HEAD) + PUBLIC_BYTES:
        return Peer(spki)
    public = load_der_public_key(spki)
    assert isinstance(public, mlkem.MLKEM768PublicKey | mlkem.MLKEM1024PublicKey)
    return public


def spki_of(private: bytes) -> bytes:
    """The SubjectPublicKeyInfo of a PKCS#8 of any kind of key."""
    if private == seed_form(private[-64:]):
        return _HEAD + libcrypto().open_ml_kem_512(private[-64:]).public_bytes()
    public = load_der_private_key(private, None).public_key()
    return public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def seed_form(seed: bytes, *, version: int = 0, attributes: bool = False) -> bytes:
    """PKCS#8 with the seed alone."""
    return wrapped_info(ALGORITHM, _tlv(0x80, seed), version=version, attributes=attributes)


def expanded_form(expanded: bytes) -> bytes:
    """PKCS#8 with the expanded key alone."""
    return wrapped_info(ALGORITHM, _tlv(0x04, expanded))


def both_form(seed: bytes, expanded: bytes) -> bytes:
    """PKCS#8 with both, as OpenSSL writes it unless told otherwise."""
    return wrapped_info(ALGORITHM, _tlv(0x30, _tlv(0x04, seed) + _tlv(0x04, expanded)))


def pem(der: bytes, label: str = "PRIVATE KEY") -> bytes:
    text = base64.encodebytes(der).decode()
    return f"-----BEGIN {label}-----\n{text}-----END {label}-----\n".encode()


def encrypted(der: bytes, passphrase: bytes) -> bytes:
    """EncryptedPrivateKeyInfo (RFC 5958): PBES2 with PBKDF2, HMAC-SHA-256 and AES-256-CBC."""
    salt, nonce, rounds = os.urandom(16), os.urandom(16), 1000
    key = PBKDF2HMAC(SHA256(), 32, salt, rounds).derive(passphrase)
    padder, encryptor = PKCS7(128).padder(), Cipher(AES(key), CBC(nonce)).encryptor()
    sealed = encryptor.update(padder.update(der) + padder.finalize()) + encryptor.finalize()
    parameters = _tlv(0x04, salt) + _tlv(0x02, rounds.to_bytes(2)) + _algorithm("2a864886f70d0209", b"\x05\x00")
    derivation = _algorithm("2a864886f70d01050c", _tlv(0x30, parameters))
    cipher = _algorithm("60864801650304012a", _tlv(0x04, nonce))
    scheme = _algorithm("2a864886f70d01050d", _tlv(0x30, derivation + cipher))
    return _tlv(0x30, scheme + _tlv(0x04, sealed))


def _algorithm(oid: str, parameters: bytes) -> bytes:
    return _tlv(0x30, _tlv(0x06, bytes.fromhex(oid)) + parameters)


def _tlv(tag: int, content: bytes) -> bytes:
    size = len(content)
    length = bytes((size,)) if size < 0x80 else bytes((0x82,)) + size.to_bytes(2)
    if 0x80 <= size < 0x100:
        length = bytes((0x81, size))
    return bytes((tag,)) + length + content
