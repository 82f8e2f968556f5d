"""What the service does to a key by itself leaves a service event, whatever fails on the way."""

from __future__ import annotations

from collections import deque

from kagitori_server.audit.trail import Trail
from kagitori_server.model.keys import Key
from kagitori_server.operations.context import Services
from kagitori_server.recording import Record, Recording
from kagitori_server.storage.writer import Writer


class Deeds:
    """Service events: each is promised in the transaction that does the deed, and kept once that is committed.

    For one thread.
    """

    def __init__(self, services: Services, recording: Recording, trail: Trail) -> None:
        self._services = services
        self._recording = recording
        self._trail = trail
        self._owed: deque[Record] = deque()
        """Records of what was done already; more than one only when the trail failed."""

    def promise(self, writer: Writer, name: str, key: Key, details: dict[str, object] | None = None) -> Record:
        """Puts the record of the event `name` about `key` beside the change itself. To be given to `keep` after the
        commit."""
        record = self._recording.of_service(name, key, details)
        writer.add_intent(record.event_id, self._trail.position().chain, record.event)
        return record

    def keep(self, record: Record) -> None:
        """Brings a promised record into the trail. Raises KmsError when the trail fails; `settle` tries again."""
        self._owed.append(record)
        self.settle()

    def settle(self) -> None:
        """Brings what is owed into the trail, if anything is. Raises KmsError when that fails."""
        while self._owed:
            record = self._owed[0]
            self._trail.append_blocking(record.event)
            self._owed.popleft()
            with self._services.catalog.write() as writer:
                writer.clear_intents([record.event_id])
