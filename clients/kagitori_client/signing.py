"""What to send to Sign and Verify for a message of any size.

    prepared = signable(file, SigningAlgorithm.SIGNING_ALGORITHM_RSASSA_PSS_SHA_256, public_key)
    client.crypto.Sign(SignRequest(key_id=..., message=prepared.message, message_type=prepared.message_type, ...))

The service takes at most 4,096 bytes. Longer messages are hashed here: for RSA and ECDSA their digest is what is
signed anyway, and for ML-DSA the message representative mu (FIPS 204, section 6.2) is made of them and the public
key. The signature is the same as over the whole message, and every other implementation verifies it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from kagitori.kms.v1.resources_pb2 import MessageType, SigningAlgorithm
from kagitori_client.errors import InvalidPublicKey, MessageLength

RAW_MAX_BYTES = 4096
"""The longest message that the service takes as it is (AWS Sign)."""
MU_BYTES = 64

_CHUNK = 1 << 20
_ML_DSA_PUBLIC_BYTES = {0x11: 1312, 0x12: 1952, 0x13: 2592}
"""Last byte of the object identifier (2.16.840.1.101.3.4.3.17 to 19) -> length of the public key (FIPS 204)."""
_SPKI_START_BYTES = 22


class Readable(Protocol):
    """A binary stream: a file, a pipe."""

    def read(self, size: int, /) -> bytes:
        """At most `size` bytes, none at the end."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A message in the form in which it is sent."""

    message: bytes = field(repr=False)
    message_type: MessageType.ValueType


def signable(
    content: Readable, algorithm: SigningAlgorithm.ValueType, public_key: Callable[[], bytes]
) -> Prepared:
    """Reads `content` to its end. `public_key` answers the key's DER SubjectPublicKeyInfo; it is called for ML-DSA
    messages that are empty or longer than 4,096 bytes alone.

    Raises MessageLength, for empty messages too, where the algorithm doesn't sign hashes; InvalidPublicKey for one
    that isn't ML-DSA's.
    """
    digest = digest_name(algorithm)
    if digest is not None:
        return Prepared(_hashed(content, hashlib.new(digest)), MessageType.MESSAGE_TYPE_DIGEST)
    start = _read(content, RAW_MAX_BYTES + 1)
    if 1 <= len(start) <= RAW_MAX_BYTES:
        return Prepared(start, MessageType.MESSAGE_TYPE_RAW)
    if algorithm != SigningAlgorithm.SIGNING_ALGORITHM_ML_DSA_SHAKE_256:
        name = SigningAlgorithm.Name(algorithm).removeprefix("SIGNING_ALGORITHM_")
        raise MessageLength(
            f"{name} signs messages of 1 to {RAW_MAX_BYTES:,} bytes in this service",
            hint="ED25519_PH_SHA_512 signs the SHA-512 digest of files of any size, with the same key",
        )
    shake = hashlib.shake_256(_mu_prefix(public_key()) + start)
    while chunk := content.read(_CHUNK):
        shake.update(chunk)
    return Prepared(shake.digest(MU_BYTES), MessageType.MESSAGE_TYPE_EXTERNAL_MU)


def hashed_form(algorithm: SigningAlgorithm.ValueType) -> tuple[MessageType.ValueType, int] | None:
    """(message type, length) of what the algorithm takes instead of a message; None: it takes messages only."""
    if algorithm == SigningAlgorithm.SIGNING_ALGORITHM_ML_DSA_SHAKE_256:
        return MessageType.MESSAGE_TYPE_EXTERNAL_MU, MU_BYTES
    digest = digest_name(algorithm)
    return None if digest is None else (MessageType.MESSAGE_TYPE_DIGEST, hashlib.new(digest).digest_size)


def digest_name(algorithm: SigningAlgorithm.ValueType) -> str | None:
    """The hash, by its name in hashlib, that an algorithm signs the value of; None for those that take messages."""
    family, _, size = SigningAlgorithm.Name(algorithm).removeprefix("SIGNING_ALGORITHM_").partition("_SHA_")
    return f"sha{size}" if size and family != "ED25519" else None


def _hashed(content: Readable, digest: hashlib._Hash) -> bytes:
    while chunk := content.read(_CHUNK):
        digest.update(chunk)
    return digest.digest()


def _read(content: Readable, size: int) -> bytes:
    """Up to `size` bytes, less at the end only: pipes give what they have."""
    read = b""
    while len(read) < size and (chunk := content.read(size - len(read))):
        read += chunk
    return read


def _mu_prefix(public_key: bytes) -> bytes:
    """What comes before the message in the input of mu: the hash of the public key, and the framing of a message
    without context (FIPS 204, algorithms 2 and 7)."""
    raw = public_key[_SPKI_START_BYTES:]
    starts = (_spki_start(arc, size) for arc, size in _ML_DSA_PUBLIC_BYTES.items() if size == len(raw))
    if public_key[:_SPKI_START_BYTES] not in starts:
        raise InvalidPublicKey("the key's public key is not one of ML-DSA")
    return hashlib.shake_256(raw).digest(MU_BYTES) + b"\x00\x00"


def _spki_start(arc: int, size: int) -> bytes:
    """What DER puts before the bytes of an ML-DSA public key (RFC 9881): lengths, algorithm, and no unused bits."""
    algorithm = bytes.fromhex("300b06096086480165030403") + bytes([arc])
    bits = b"\x03\x82" + (size + 1).to_bytes(2) + b"\x00"
    return b"\x30\x82" + (len(algorithm) + len(bits) + size).to_bytes(2) + algorithm + bits
