"""Records of what the service does by itself: to keys whose day has come, and to principals that exceed a budget.

What is done leaves a service event, whatever fails on the way: the record is promised in the transaction that does the
deed, and kept once that is committed.
"""

from __future__ import annotations

import threading
from collections import deque

from kagitori_server.audit.trail import Trail
from kagitori_server.model.budgets import Freeze
from kagitori_server.model.keys import Key
from kagitori_server.operations.consequences import Consequence
from kagitori_server.recording import Record, Recording
from kagitori_server.storage.catalog import Catalog
from kagitori_server.storage.writer import Writer

FREEZE_EVENT = "FreezePrincipal"


class ServiceEvents:
    """Promises service events and keeps them. Thread-safe."""

    def __init__(self, catalog: Catalog, recording: Recording, trail: Trail) -> None:
        self._catalog = catalog
        self._recording = recording
        self._trail = trail
        self._owed: deque[Record] = deque()
        """Records of what was done already; more than one only when the trail failed."""
        self._keeping = threading.Lock()

    def promise(self, writer: Writer, event: Consequence) -> Record:
        """Puts the record of what the service does beside the change itself. To be given to `keep` after the commit; a
        crash in between loses neither."""
        record = self._recording.of_service(event)
        writer.add_intent(record.event_id, self._trail.position().chain, record.event)
        return record

    def keep(self, *committed: Record) -> None:
        """Brings records whose deeds were committed into the trail, and those that it refused before. Blocks.

        Raises KmsError when trail or catalog fail; what is left is brought by a later call, or at the next start.
        """
        with self._keeping:
            self._owed.extend(committed)
            while self._owed:
                record = self._owed[0]
                self._trail.append_blocking(record.event)
                self._owed.popleft()
                with self._catalog.write() as writer:
                    writer.clear_intents([record.event_id])


class FreezeEvents:
    """Leaves a `FreezePrincipal` service event for each freeze, in the trail of the key's account."""

    def __init__(self, events: ServiceEvents) -> None:
        self._events = events

    def announce(self, writer: Writer, freeze: Freeze, key: Key) -> FreezeEvent:
        """Leaves the record in the transaction that freezes."""
        details: dict[str, object] = {
            "freeze_id": freeze.freeze_id,
            "principal_arn": freeze.principal_arn,
            "budget_name": freeze.budget_name,
            "window": freeze.limit.window.value,
            "limit": freeze.limit.count,
        }
        event = Consequence(name=FREEZE_EVENT, key=key, details=details)
        return FreezeEvent(self._events, self._events.promise(writer, event))


class FreezeEvent:
    """The record of one freeze, waiting for its transaction to be committed."""

    def __init__(self, events: ServiceEvents, record: Record) -> None:
        self._events = events
        self._record = record

    def bring(self) -> None:
        """As `ServiceEvents.keep`."""
        self._events.keep(self._record)
