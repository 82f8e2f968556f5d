"""Brings what came to the trail to the destination, as files of CloudTrail.

A part of a chain is consigned first: the catalog is told where it ends, and at which moment that was decided. From that
follows which files it becomes, what they're called and what is in them. Then they are put, then the catalog is told
that they arrived. Whoever finds a consignment that didn't arrive, because its process was killed or the destination was
away, does the same once more: the same files, under the same names. So nothing is lost, and nothing there twice.

Each process delivers its own chain, and those of processes that are gone: hosts with audit folders of their own may
share a catalog and a destination.
"""

from __future__ import annotations

import hashlib
import logging
import os
import zlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from kagitori_server.audit.addressed import Addressed, addressed
from kagitori_server.audit.backwards import Cursor
from kagitori_server.audit.chain import chain_names, segment_name
from kagitori_server.audit.following import Reach, beginning, number_of, reach, wanted
from kagitori_server.audit.forwards import chain_forwards
from kagitori_server.audit.trail import Trail
from kagitori_server.delivery.destination import Destination
from kagitori_server.delivery.naming import TrailDescription
from kagitori_server.model.delivery_records import Consignment, DeliveredChain, DeliveredFile, Place
from kagitori_server.storage.catalog import Catalog

_log = logging.getLogger(__name__)

CONSIGNMENT_BYTES = 16 * 1024 * 1024
"""How much of a chain is consigned at once, some sixteen thousand records."""

LEFT_SECONDS = 60.0
"""How old a consignment of a chain that is nobody's has to be before another process takes it on."""

_GZIP = 16 + zlib.MAX_WBITS
_OPENING, _CLOSING = b'{"Records":[', b"]}"


class Sealing(Protocol):
    """Encrypts log files. Blocks; raises KmsError."""

    def seal(self, key: str, content: bytes) -> bytes:
        """`content` for the object of that key."""
        ...


class _File:
    """A log file while it's being filled: one gzip member, and the hash of what is in it."""

    def __init__(self) -> None:
        self._packer = zlib.compressobj(wbits=_GZIP)
        self._packed = [self._packer.compress(_OPENING)]
        self._hash = hashlib.sha256(_OPENING)
        self.oldest = self.newest = ""
        self.records = 0

    def add(self, record: Addressed) -> None:
        text = record.event if self.records == 0 else b"," + record.event
        self._hash.update(text)
        self._packed.append(self._packer.compress(text))
        self.oldest = min(self.oldest or record.time, record.time)
        self.newest = max(self.newest, record.time)
        self.records += 1

    def finish(self) -> tuple[bytes, str]:
        """What it consists of, and the hash."""
        self._hash.update(_CLOSING)
        self._packed += [self._packer.compress(_CLOSING), self._packer.flush()]
        return b"".join(self._packed), self._hash.hexdigest()


_Files = Mapping[tuple[str, str], _File]
"""By account and Region."""


class LogFiles:
    """The deliverer of a process. For one thread at a time.

    `rest` is called again and again, so that calls aren't slowed; `sealing` None leaves files as they are.
    """

    def __init__(
        self, catalog: Catalog, audit_root: Path, trail: Trail, description: TrailDescription,
        destination: Destination, clock: Callable[[], float], rest: Callable[[], None],
        sealing: Sealing | None = None,
    ) -> None:
        self._catalog = catalog
        self._root = audit_root
        self._trail = trail
        self._description = description
        self._destination = destination
        self._clock = clock
        self._rest = rest
        self._sealing = sealing

    def deliver(self, until: Callable[[], bool]) -> int:
        """Delivers what there is by now, as long as `until` is false. Returns how many files that were.

        Raises DestinationFailed, KmsError when catalog or sealing fail, OSError. What failed is done another time.
        """
        delivered = 0
        own = self._trail.position()
        others = [chain for chain in chain_names(self._root) if chain != own.chain]
        for goal in [reach(self._root, chain, own) for chain in (own.chain, *others)]:
            while goal is not None and not until() and (files := self._step(goal)) is not None:
                delivered += files
        return delivered

    def delivered(self, chain: str) -> int | None:
        """The number of a chain's last record that was delivered, None while it has none. Raises KmsError, OSError."""
        known = self._known(chain)
        return None if known is None else known.delivered.seq

    def _step(self, goal: Reach) -> int | None:
        """Delivers one part of a chain. None when there was none, or another process does it."""
        known = self._known(goal.chain)
        if known is None:
            return None
        waiting = known.consignment
        if waiting is None:
            files, end = self._gather(goal, known, CONSIGNMENT_BYTES)
            if end == known.delivered:
                return None
            waiting = Consignment(end, self._clock())
            if goal.stop is not None:
                self._make_durable(goal.chain, end.segment)
            with self._catalog.write() as writer:
                if not writer.consign(known, waiting):
                    return None
            known = replace(known, consignment=waiting)
        elif goal.stop is not None and self._clock() < waiting.moment + LEFT_SECONDS:
            return None
        else:
            end = waiting.end
            files, _ = self._gather(Reach(goal.chain, end.seq, Cursor(end.segment, end.offset)), known, None)
        return self._bring(known, waiting, files)

    def _known(self, chain: str) -> DeliveredChain | None:
        """How far a chain was delivered; None while it has no record."""
        begun = beginning(self._root / chain)
        if begun is None:
            return None
        with self._catalog.read() as reader:
            known = reader.delivered_chain(begun.chain_id)
        return known or DeliveredChain(begun.chain_id, chain, begun.began, Place(1, 0, 0))

    def _gather(self, goal: Reach, known: DeliveredChain, most: int | None) -> tuple[_Files, Place]:
        """The records from where the chain was delivered to, and the place behind the last."""
        files: dict[tuple[str, str], _File] = {}
        reached, size, damaged = known.delivered, 0, 0
        start = Cursor(reached.segment, reached.offset)
        for stretch in chain_forwards(self._root / goal.chain, start, goal.stop):
            part, done = wanted(stretch, reached.seq, goal.seq)
            for line in part.lines:
                record = addressed(line)
                if record is None:
                    damaged += 1
                    continue
                files.setdefault((record.account, record.region), _File()).add(record)
            if part.lines or not done:
                seq = max(number_of(part.lines[-1]), reached.seq) if part.lines else reached.seq
                reached = Place(part.end.segment, part.end.offset, seq)
            size += sum(map(len, part.lines))
            if done or (most is not None and size >= most):
                break
            self._rest()
        if damaged:
            _log.error("%d lines of audit chain %s can't be read and are not delivered", damaged, goal.chain)
        if reached.seq == known.delivered.seq:
            reached = known.delivered
        return files, reached

    def _bring(self, known: DeliveredChain, consignment: Consignment, files: _Files) -> int:
        """Puts the files of a consignment, and says that they arrived."""
        arrived = []
        source = f"{known.chain_id} {known.delivered.seq}"
        for (account, region), file in sorted(files.items()):
            content, hash_value = file.finish()
            key = self._description.log_key(account, region, consignment.moment, source)
            sealed = content if self._sealing is None else self._sealing.seal(key, content)
            self._destination.put(key, sealed, {})
            arrived.append(DeliveredFile(
                self._description.bucket, key, account, region, hash_value, file.oldest, file.newest, file.records,
                self._clock(),
            ))
            self._rest()
        with self._catalog.write() as writer:
            if writer.arrived(known, arrived):
                for each in arrived:
                    writer.begin_digests(each.account, each.region, float(int(consignment.moment)))
        return len(arrived)

    def _make_durable(self, chain: str, segment: int) -> None:
        """What a killed process wrote may not be on the disk yet, and mustn't be known elsewhere before."""
        try:
            descriptor = os.open(self._root / chain / segment_name(segment), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            # In the archive, where nothing is put that isn't on the disk.
            return
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
