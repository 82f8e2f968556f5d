"""Whether a digest is what the service signed: checks of one digest by itself, and of one after another.

AWS's validator leaves out the hash of the previous digest, the signature kept beside that one, which hash is inside the
PKCS #1 signature, and what stands behind the gzip member. None of that is left out here.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_der_public_key

from kagitori_server.delivery.destination import Stored
from kagitori_server.delivery.digest_form import (
    ALGORITHM,
    HASH_ALGORITHM,
    SIGNATURE,
    SIGNATURE_ALGORITHM,
    string_to_sign,
)
from kagitori_server.delivery.reading import Unreadable, parse, unpack
from kagitori_server.operations.digest_keys import PublicKey

_HASH = re.compile(r"[0-9a-f]{64}")
_SIGNATURE = re.compile(r"(?:[0-9a-f]{2}){128,1024}")
_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z")
_TEXTS = (
    "awsAccountId", "digestStartTime", "digestEndTime", "digestS3Bucket", "digestS3Object",
    "digestPublicKeyFingerprint", "digestSignatureAlgorithm",
)
_PREVIOUS = (
    "previousDigestS3Bucket", "previousDigestS3Object", "previousDigestHashValue", "previousDigestHashAlgorithm",
    "previousDigestSignature",
)
_FILE = ("s3Bucket", "s3Object", "hashValue", "hashAlgorithm", "newestEventTime", "oldestEventTime")


@dataclass(frozen=True, slots=True)
class FoundDigest:
    """A digest that could be read. It isn't believed before `faults` finds nothing."""

    key: str
    members: Mapping[str, Any]
    text: bytes
    signature: str
    algorithm: str

    @property
    def hash_value(self) -> str:
        """SHA-256 of the content before compression, hexadecimal."""
        return hashlib.sha256(self.text).hexdigest()

    @property
    def previous(self) -> str | None:
        """The object key of the digest before it."""
        key: str | None = self.members["previousDigestS3Object"]
        return key

    @property
    def files(self) -> Sequence[Mapping[str, str]]:
        """The log files that it lists."""
        files: Sequence[Mapping[str, str]] = self.members["logFiles"]
        return files


def read_digest(key: str, stored: Stored) -> FoundDigest:
    """A digest as it lies there. Raises Unreadable."""
    text = unpack(stored.content)
    members = parse(text)
    for name in _TEXTS:
        if not isinstance(members.get(name), str):
            raise Unreadable(f"its {name} is not a text")
    if not all(_TIME.fullmatch(members[name]) for name in ("digestStartTime", "digestEndTime")):
        raise Unreadable("its times are not of the form YYYY-MM-DDTHH:MM:SSZ")
    previous = [members.get(name, 0) for name in _PREVIOUS]
    if any(value is not None for value in previous) and not all(isinstance(value, str) for value in previous):
        raise Unreadable("what it says of the previous digest is not whole")
    files = members.get("logFiles")
    if not isinstance(files, list) or not all(map(_is_file, files)):
        raise Unreadable("its list of log files is malformed")
    return FoundDigest(key, members, text, stored.metadata.get(SIGNATURE, ""), stored.metadata.get(ALGORITHM, ""))


def faults(digest: FoundDigest, bucket: str, account: str, keys: Mapping[str, PublicKey]) -> Iterator[str]:
    """What is wrong with a digest by itself. `keys` are all that there ever were, by fingerprint."""
    members = digest.members
    if (members["digestS3Bucket"], members["digestS3Object"]) != (bucket, digest.key):
        yield "it was moved here from another place"
    if members["awsAccountId"] != account:
        yield "it is another account's"
    end = members["digestEndTime"]
    if end.replace("-", "").replace(":", "") not in digest.key.rpartition("/")[2]:
        yield "its end is another than its name says"
    if {digest.algorithm, members["digestSignatureAlgorithm"]} != {SIGNATURE_ALGORITHM}:
        yield f"it isn't signed with {SIGNATURE_ALGORITHM}"
    if members["previousDigestHashAlgorithm"] not in (None, HASH_ALGORITHM):
        yield f"the hash of the previous digest isn't {HASH_ALGORITHM}"
    key = keys.get(members["digestPublicKeyFingerprint"])
    if key is None:
        yield "it is signed with a key that is not the service's"
        return
    if not key.validity_start - 1 <= datetime.fromisoformat(end).timestamp() < key.validity_end:
        yield "it is signed with a key that was not valid at its end"
    if not _is_signed(digest, key):
        yield "its signature is wrong"


def link_faults(digest: FoundDigest, previous: FoundDigest) -> Iterator[str]:
    """What is wrong with two digests that follow each other."""
    members = digest.members
    if members["previousDigestHashValue"] != previous.hash_value:
        yield "the previous digest is another than the one that it followed"
    if members["previousDigestSignature"] != previous.signature:
        yield "the previous digest's signature is another than the one that it followed"
    if members["digestStartTime"] != previous.members["digestEndTime"]:
        yield "it doesn't begin where the previous digest ends"
    if members["previousDigestS3Bucket"] != previous.members["digestS3Bucket"]:
        yield "the previous digest is in another bucket than it says"


def _is_signed(digest: FoundDigest, key: PublicKey) -> bool:
    if not _SIGNATURE.fullmatch(digest.signature):
        return False
    signed = string_to_sign(
        digest.members["digestEndTime"], digest.members["digestS3Bucket"], digest.members["digestS3Object"],
        digest.text, digest.members["previousDigestSignature"],
    )
    public_key = load_der_public_key(key.value)
    if not isinstance(public_key, RSAPublicKey):
        return False
    try:
        public_key.verify(bytes.fromhex(digest.signature), signed, PKCS1v15(), SHA256())
    except InvalidSignature:
        return False
    return True


def _is_file(found: object) -> bool:
    if not isinstance(found, dict) or not all(isinstance(found.get(name), str) for name in _FILE):
        return False
    times = _TIME.fullmatch(found["oldestEventTime"]) and _TIME.fullmatch(found["newestEventTime"])
    return bool(times and _HASH.fullmatch(found["hashValue"])) and found["hashAlgorithm"] == HASH_ALGORITHM
