"""Records of what the service does by itself on the way of a call: that a principal was frozen on a key."""

from __future__ import annotations

import threading
from collections import deque

from kagitori_server.audit.trail import Trail
from kagitori_server.model.budgets import Freeze
from kagitori_server.model.keys import Key
from kagitori_server.recording import Record, Recording
from kagitori_server.storage.catalog import Catalog
from kagitori_server.storage.writer import Writer

EVENT = "FreezePrincipal"


class FreezeEvents:
    """Leaves a `FreezePrincipal` service event for each freeze, in the trail of the key's account.

    The record is committed together with the freeze, so a crash in between loses neither.
    """

    def __init__(self, catalog: Catalog, recording: Recording, trail: Trail) -> None:
        self._catalog = catalog
        self._recording = recording
        self._trail = trail
        self._owed: deque[Record] = deque()
        """Records of freezes that are in force already; more than one only when the trail failed."""
        self._bringing = threading.Lock()

    def announce(self, writer: Writer, freeze: Freeze, key: Key) -> FreezeEvent:
        """Leaves the record in the transaction that freezes."""
        details: dict[str, object] = {
            "freeze_id": freeze.freeze_id,
            "principal_arn": freeze.principal_arn,
            "budget_name": freeze.budget_name,
            "window": freeze.limit.window.value,
            "limit": freeze.limit.count,
        }
        record = self._recording.of_service(EVENT, key, details)
        writer.add_intent(record.event_id, self._trail.position().chain, record.event)
        return FreezeEvent(self, record)

    def bring(self, *committed: Record) -> None:
        """Brings records whose freezes were committed into the trail, and those that it refused before. Blocks.

        Raises KmsError when trail or catalog fail; what is left is brought by a later call, or at the next start.
        """
        with self._bringing:
            self._owed.extend(committed)
            while self._owed:
                record = self._owed[0]
                self._trail.append_blocking(record.event)
                self._owed.popleft()
                with self._catalog.write() as writer:
                    writer.clear_intents([record.event_id])


class FreezeEvent:
    """The record of one freeze, waiting for its transaction to be committed."""

    def __init__(self, events: FreezeEvents, record: Record) -> None:
        self._events = events
        self._record = record

    def bring(self) -> None:
        """As `FreezeEvents.bring`."""
        self._events.bring(self._record)
