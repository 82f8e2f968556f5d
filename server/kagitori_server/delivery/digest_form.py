"""What a digest consists of: its content, what is signed of it, and what is put beside it."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from kagitori_server.delivery.naming import TrailDescription, utc_text
from kagitori_server.model.delivery_records import DeliveredFile, DigestChain
from kagitori_server.operations.digest_keys import fingerprint, pkcs1
from kagitori_server.service_keys import SigningKey

SIGNATURE_ALGORITHM = "SHA256withRSA"
HASH_ALGORITHM = "SHA-256"
SIGNATURE, ALGORITHM = "signature", "signature-algorithm"
"""Names of a digest's metadata."""


@dataclass(frozen=True, slots=True)
class Digest:
    """A digest, ready to be put."""

    key: str
    text: bytes
    """What is hashed and signed: the content before compression."""
    signature: str
    """Hexadecimal."""

    @property
    def content(self) -> bytes:
        """What is put: one gzip member, the same bytes whenever it's made."""
        return gzip.compress(self.text, mtime=0)

    @property
    def metadata(self) -> dict[str, str]:
        """What is put beside it."""
        return {SIGNATURE: self.signature, ALGORITHM: SIGNATURE_ALGORITHM}


def string_to_sign(end: str, bucket: str, key: str, text: bytes, previous_signature: str | None) -> bytes:
    """What a digest's signature is of: its end as it's written there, its place, its hash, the signature before it."""
    hashed = hashlib.sha256(text).hexdigest()
    return f"{end}\n{bucket}/{key}\n{hashed}\n{previous_signature or 'null'}".encode()


def make_digest(
    description: TrailDescription, chain: DigestChain, ended: float, files: Sequence[DeliveredFile], key: SigningKey
) -> Digest:
    """The digest after the newest one of `chain`. Raises KmsError."""
    object_key, end = description.digest_key(chain.account, chain.region, ended), utc_text(ended)
    first = not chain.signature
    members: dict[str, Any] = {
        "awsAccountId": chain.account,
        "digestStartTime": utc_text(chain.ended),
        "digestEndTime": end,
        "digestS3Bucket": description.bucket,
        "digestS3Object": object_key,
        "digestPublicKeyFingerprint": fingerprint(pkcs1(key.public_key_der)),
        "digestSignatureAlgorithm": SIGNATURE_ALGORITHM,
        "newestEventTime": max((file.newest for file in files), default=None),
        "oldestEventTime": min((file.oldest for file in files), default=None),
        "previousDigestS3Bucket": None if first else chain.bucket,
        "previousDigestS3Object": None if first else chain.object_key,
        "previousDigestHashValue": None if first else chain.hash_value,
        "previousDigestHashAlgorithm": None if first else HASH_ALGORITHM,
        "previousDigestSignature": None if first else chain.signature,
        "logFiles": [
            {
                "s3Bucket": file.bucket, "s3Object": file.object_key, "hashValue": file.hash_value,
                "hashAlgorithm": HASH_ALGORITHM, "newestEventTime": file.newest, "oldestEventTime": file.oldest,
            }
            for file in files
        ],
    }
    text = json.dumps(members, separators=(",", ":")).encode("ascii")
    previous = None if first else chain.signature
    signature = key.sign(string_to_sign(end, description.bucket, object_key, text, previous)).hex()
    return Digest(object_key, text, signature)
