"""Signs for what was delivered: for each account and Region a chain of digests, one an hour whatever happened.

A digest is planned first: the catalog is told its end, its key and the files that it lists, from which all of it
follows, signature included. Then it's put, then the catalog is told that it arrived. A plan has a process; another
one takes over when that doesn't finish. Chains go on over restarts: a digest that follows a stop covers its time, too.
"""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from kagitori_server.delivery.destination import Destination
from kagitori_server.delivery.naming import TrailDescription, utc_text
from kagitori_server.model.delivery_records import DeliveredFile, DigestChain, DigestPlan, KeyPurpose
from kagitori_server.operations.digest_keys import fingerprint, pkcs1
from kagitori_server.service_keys import ServiceKeys, SigningKey
from kagitori_server.storage.catalog import Catalog

SIGNATURE_ALGORITHM = "SHA256withRSA"
HASH_ALGORITHM = "SHA-256"
SIGNATURE, ALGORITHM = "signature", "signature-algorithm"
"""Names of a digest's metadata."""

FILES_MAX = 10_000
"""Log files of one digest; what is more is left for the next."""


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


class Digests:
    """The maker of a process. For one thread at a time. `worker` is the process's name among all, `period` in seconds.
    """

    def __init__(
        self, catalog: Catalog, keys: ServiceKeys, description: TrailDescription, destination: Destination,
        clock: Callable[[], float], worker: str, period: float,
    ) -> None:
        self._catalog = catalog
        self._keys = keys
        self._description = description
        self._destination = destination
        self._clock = clock
        self._worker = worker
        self._period = period
        self._left = min(60.0, period)
        """How old another process's plan has to be to be taken over."""

    def begin(self, accounts: Sequence[tuple[str, str]]) -> None:
        """Digests of these accounts and Regions begin, unless they have: now."""
        with self._catalog.read() as reader:
            begun = {(chain.account, chain.region) for chain in reader.digest_chains()}
        if begun.issuperset(accounts):
            return
        with self._catalog.write() as writer:
            for account, region in accounts:
                writer.begin_digests(account, region, float(int(self._clock())))

    def make_due(self) -> tuple[int, float]:
        """Makes what is due. Returns how many digests that were, and in how many seconds the next is due.

        Raises DestinationFailed, KmsError. What failed is done another time.
        """
        made = sum(self._make(chain) for chain in self._chains() if self._due(chain))
        return made, min((chain.ended + self._period - self._clock() for chain in self._chains()), default=self._period)

    def make_final(self, until: Callable[[], bool]) -> int:
        """Makes a digest of all that no digest covers yet, as long as `until` is false. Returns how many. Raises as
        before."""
        made = 0
        for chain in self._chains():
            if until():
                break
            made += self._make(chain)
        return made

    def _chains(self) -> Sequence[DigestChain]:
        with self._catalog.read() as reader:
            return reader.digest_chains()

    def _due(self, chain: DigestChain) -> bool:
        return chain.plan is not None or self._clock() >= chain.ended + self._period

    def _make(self, chain: DigestChain) -> bool:
        """Makes the next digest of a chain. False when it isn't this process's turn, or no second has passed."""
        planned = self._plan(chain) if chain.plan is None else self._take_over(chain, chain.plan)
        if planned is None or planned.plan is None:
            return False
        with self._catalog.read() as reader:
            files = reader.delivered_files(chain.account, chain.region, chain.number + 1, FILES_MAX)
        named = self._keys.named(KeyPurpose.AUDIT_DIGEST, planned.plan.key_id)
        key = named or self._keys.current(KeyPurpose.AUDIT_DIGEST)
        digest = make_digest(self._description, planned, planned.plan.ended, files, key)
        self._destination.put(digest.key, digest.content, digest.metadata)
        reached = replace(
            chain, number=chain.number + 1, ended=planned.plan.ended, bucket=self._description.bucket,
            object_key=digest.key, hash_value=hashlib.sha256(digest.text).hexdigest(), signature=digest.signature,
            plan=None,
        )
        with self._catalog.write() as writer:
            return writer.digest_arrived(planned, reached)

    def _plan(self, chain: DigestChain) -> DigestChain | None:
        # The key first, which may just be made: it has to be valid at the digest's end.
        key = self._keys.current(KeyPurpose.AUDIT_DIGEST)
        now = self._clock()
        if int(now) <= chain.ended:
            return None
        plan = DigestPlan(float(int(now)), key.key_id, self._worker, now)
        with self._catalog.write() as writer:
            files = writer.delivered_files(chain.account, chain.region, None, FILES_MAX)
            return replace(chain, plan=plan) if writer.plan_digest(chain, plan, files) else None

    def _take_over(self, chain: DigestChain, plan: DigestPlan) -> DigestChain | None:
        now = self._clock()
        if plan.worker == self._worker:
            return chain
        if now < plan.claimed + self._left:
            return None
        mine = replace(plan, worker=self._worker, claimed=now)
        with self._catalog.write() as writer:
            return replace(chain, plan=mine) if writer.plan_digest(chain, mine, ()) else None
