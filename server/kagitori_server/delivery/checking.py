"""Verifies what was delivered: digests and their chains, log files, and that no record of the trail is missing.

What is known of delivery in the catalog makes it complete: how far each chain of digests and of the trail had come.
Without it, nobody could tell that the newest files were taken away.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from kagitori_server.audit.addressed import addressed
from kagitori_server.audit.backwards import Cursor
from kagitori_server.audit.chain import chain_names
from kagitori_server.audit.following import beginning, number_of, wanted
from kagitori_server.audit.forwards import chain_forwards
from kagitori_server.delivery.destination import Destination, Stored
from kagitori_server.delivery.digest_checks import FoundDigest, faults, link_faults, read_digest
from kagitori_server.delivery.naming import DIGEST, LOG, TrailDescription, parse_key
from kagitori_server.delivery.reading import Unreadable, parse, unpack
from kagitori_server.model.delivery_records import DeliveredChain, DeliveredFile, DigestChain, KeyPurpose
from kagitori_server.operations.digest_keys import PublicKey, public_key
from kagitori_server.storage.catalog import Catalog

PROBLEMS_MAX = 1_000
"""Problems that are described; all are counted."""

_SEALED = b"\x02"
"""The first byte of a message of the AWS Encryption SDK, version 2; gzip begins with another."""


class DeliveryProblem(NamedTuple):
    """One thing that is wrong with what was delivered."""

    place: str
    """An object key, or an account and Region, or a chain of the trail."""
    description: str


@dataclass(slots=True)
class DeliveryReport:
    """What was found. It's sound when nothing is wrong."""

    digests: int = 0
    log_files: int = 0
    records: int = 0
    pending: int = 0
    """Log files that the next digests will list."""
    sealed: int = 0
    """Log files that are encrypted and couldn't be opened here: what is in them wasn't looked at."""
    problem_count: int = 0
    problems: list[DeliveryProblem] = field(default_factory=list)

    @property
    def sound(self) -> bool:
        """Whether nothing at all is wrong."""
        return self.problem_count == 0

    def add(self, place: str, description: str) -> None:
        """One more problem."""
        self.problem_count += 1
        if len(self.problems) < PROBLEMS_MAX:
            self.problems.append(DeliveryProblem(place, description))


@dataclass(frozen=True, slots=True)
class Known:
    """What the catalog knows of delivery."""

    keys: Sequence[PublicKey]
    digests: Sequence[DigestChain]
    pending: Sequence[DeliveredFile]
    chains: Mapping[str, DeliveredChain]
    """By the id of the chain."""


def known_of(catalog: Catalog) -> Known:
    """It, at one moment. Raises KmsError."""
    with catalog.read() as reader:
        digests = reader.digest_chains()
        return Known(
            keys=tuple(map(public_key, reader.signing_keys(KeyPurpose.AUDIT_DIGEST))),
            digests=digests,
            pending=reader.undigested_files(),
            chains={chain.chain_id: chain for chain in reader.delivered_chains()},
        )


def check_delivery(
    destination: Destination, description: TrailDescription, learn: Callable[[], Known], audit_root: Path
) -> DeliveryReport:
    """Verifies all of it, while delivery may go on. Memory grows with the number of records, some 200 bytes each.

    Raises DestinationFailed, OSError, and what `learn` raises.
    """
    # In this order: what is there by now is known afterwards, or known to be on its way.
    keys = list(destination.keys(description.root + "/"))
    return _Check(destination, description, learn()).run(keys, audit_root)


class _Check:
    def __init__(
        self, destination: Destination, description: TrailDescription, known: Known
    ) -> None:
        self._destination = destination
        self._description = description
        self._known = known
        self._keys = {key.fingerprint: key for key in known.keys}
        self._report = DeliveryReport()
        self._listed: set[str] = set()
        self._records: dict[bytes, bytes] = {}
        """Hash of a record by the hash of its id."""

    def run(self, keys: Sequence[str], audit_root: Path) -> DeliveryReport:
        digests, logs = self._sort(keys)
        places = {(found.account, found.region) for found in map(parse_key, digests) if found is not None}
        places |= {(chain.account, chain.region) for chain in self._known.digests}
        for account, region in sorted(places):
            folder = self._description.folder(account, DIGEST, region) + "/"
            self._check_chain(account, region, [key for key in digests if key.startswith(folder)])
        pending = {file.object_key: file for file in self._known.pending}
        for file in pending.values():
            self._check_log(file.object_key, _listing(file), file.account, file.region)
        self._report.pending = len(pending)
        # A file may have been put whose arrival the catalog wasn't told of yet: it's as new as the newest.
        for key in logs:
            if key not in self._listed and not self._is_on_its_way(key):
                self._report.add(key, "no digest lists it")
        self._check_complete(audit_root)
        return self._report

    def _sort(self, keys: Sequence[str]) -> tuple[list[str], list[str]]:
        """The trail's digests, and log files."""
        digests, logs = [], []
        ours = f"_{self._description.name}_{self._description.home_region}_"
        for key in keys:
            found = parse_key(key)
            if found is None:
                self._report.add(key, "it isn't one of the trail's files")
            elif found.kind == LOG:
                logs.append(key)
            elif ours in found.name:
                digests.append(key)
        return digests, logs

    def _check_chain(self, account: str, region: str, keys: Sequence[str]) -> None:
        """Follows the digests of an account and Region from the newest to the first."""
        place = f"{account} {region}"
        head = next((
            chain for chain in self._known.digests if (chain.account, chain.region) == (account, region)
        ), None)
        left = dict.fromkeys(keys)
        key = head.object_key if head is not None and head.number else (max(keys) if keys else None)
        count, newer, following = 0, head, None
        while key is not None:
            left.pop(key, None)
            digest = self._read(key, account)
            if digest is None:
                # Everything before it is checked as well, though nothing vouches for its newest any more.
                before = [name for name in left if name < key]
                key, newer, following = (max(before) if before else None), None, None
                continue
            count += 1
            if newer is not None and (digest.hash_value, digest.signature) != (newer.hash_value, newer.signature):
                self._report.add(key, "it is another than the newest that the service made")
            if following is not None:
                for fault in link_faults(following, digest):
                    self._report.add(following.key, fault)
            self._check_files(digest, account, region)
            key, newer, following = digest.previous, None, digest
        for key in left:
            if not self._is_planned(head, key):
                self._report.add(key, "it stands in no chain of digests")
        if head is not None and count != head.number:
            self._report.add(place, f"of {head.number} digests {count} are there")
        self._report.digests += count

    def _read(self, key: str, account: str) -> FoundDigest | None:
        stored = self._destination.get(key)
        if stored is None:
            self._report.add(key, "the digest is missing")
            return None
        try:
            digest = read_digest(key, stored)
        except Unreadable as fault:
            self._report.add(key, str(fault))
            return None
        found = list(faults(digest, self._description.bucket, account, self._keys))
        for text in found:
            self._report.add(key, text)
        return None if found else digest

    def _check_files(self, digest: FoundDigest, account: str, region: str) -> None:
        files = digest.files
        times = (
            min((file["oldestEventTime"] for file in files), default=None),
            max((file["newestEventTime"] for file in files), default=None),
        )
        if times != (digest.members.get("oldestEventTime"), digest.members.get("newestEventTime")):
            self._report.add(digest.key, "its times of events aren't those of its log files")
        for file in files:
            self._check_log(file["s3Object"], file, account, region)

    def _check_log(self, key: str, file: Mapping[str, str], account: str, region: str) -> None:
        if key in self._listed:
            self._report.add(key, "it is listed more than once")
            return
        self._listed.add(key)
        self._report.log_files += 1
        stored = self._destination.get(key)
        if stored is None:
            self._report.add(key, "the log file is missing")
            return
        try:
            text = self._text(stored)
            if text is not None:
                self._check_records(key, text, file, account, region)
        except Unreadable as fault:
            self._report.add(key, str(fault))

    def _text(self, stored: Stored) -> bytes | None:
        if stored.content.startswith(_SEALED):
            self._report.sealed += 1
            return None
        return unpack(stored.content)

    def _check_records(self, key: str, text: bytes, file: Mapping[str, str], account: str, region: str) -> None:
        if hashlib.sha256(text).hexdigest() != file["hashValue"]:
            self._report.add(key, "the log file was altered")
            return
        records = parse(text).get("Records")
        if not isinstance(records, list):
            raise Unreadable("it has no list of records")
        times: list[str] = []
        for record in records:
            if not isinstance(record, dict) or not isinstance(record.get("eventTime"), str):
                raise Unreadable("a record is malformed")
            times.append(record["eventTime"])
            if (record.get("recipientAccountId"), record.get("awsRegion")) != (account, region):
                self._report.add(key, "it holds a record of another account or Region")
            name, value = _identity(record)
            if name in self._records:
                self._report.add(key, "a record was delivered twice")
            self._records[name] = value
        self._report.records += len(records)
        if (min(times, default=""), max(times, default="")) != (file["oldestEventTime"], file["newestEventTime"]):
            self._report.add(key, "its times of events aren't those that were noted")

    def _check_complete(self, audit_root: Path) -> None:
        """Looks for each record of the trail that was delivered by now."""
        if self._report.sealed:
            return
        for name in chain_names(audit_root):
            begun = beginning(audit_root / name)
            chain = None if begun is None else self._known.chains.get(begun.chain_id)
            if chain is None:
                continue
            lost: Counter[str] = Counter()
            for line in _lines(audit_root / name, chain):
                record = addressed(line)
                if record is None:
                    continue
                identity, value = _identity(parse(record.event))
                kept = self._records.get(identity)
                if kept is None:
                    lost["missing from the delivered log files"] += 1
                elif kept != value:
                    lost["delivered otherwise than they stand in the trail"] += 1
            for what, count in lost.items():
                self._report.add(name, f"{count} records are {what}")

    def _is_on_its_way(self, key: str) -> bool:
        """Whether a log file belongs to a consignment of which the catalog doesn't know yet that it arrived."""
        found = parse_key(key)
        moments = [chain.consignment.moment for chain in self._known.chains.values() if chain.consignment is not None]
        return found is not None and any(
            self._description.log_key(found.account, found.region, moment, "").rpartition("_")[0]
            == key.rpartition("_")[0]
            for moment in moments
        )

    def _is_planned(self, head: DigestChain | None, key: str) -> bool:
        if head is None or head.plan is None:
            return False
        return key == self._description.digest_key(head.account, head.region, head.plan.ended)


def _listing(file: DeliveredFile) -> Mapping[str, str]:
    return {"hashValue": file.hash_value, "oldestEventTime": file.oldest, "newestEventTime": file.newest}


def _identity(record: Mapping[str, Any]) -> tuple[bytes, bytes]:
    name = hashlib.sha256(str(record.get("eventID")).encode("utf-8", "backslashreplace")).digest()[:16]
    text = json.dumps(record, sort_keys=True, separators=(",", ":"))
    return name, hashlib.sha256(text.encode()).digest()[:16]


def _lines(folder: Path, chain: DeliveredChain) -> Iterator[bytes]:
    end, after = chain.delivered, 0
    for stretch in chain_forwards(folder, Cursor(1, 0), Cursor(end.segment, end.offset)):
        part, _ = wanted(stretch, after, end.seq)
        after = max(after, number_of(part.lines[-1])) if part.lines else after
        yield from part.lines
