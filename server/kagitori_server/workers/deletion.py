"""Destroying keys whose waiting period is over."""

from __future__ import annotations

import logging

from kagitori_server.model.keys import KeyState
from kagitori_server.operations.consequences import deleted
from kagitori_server.operations.context import Services
from kagitori_server.operations.lifecycle import destroy
from kagitori_server.service_events import ServiceEvents

_log = logging.getLogger(__name__)

_DUE_PER_ROUND = 100


class DeletionWorker:
    """Destroys keys whose waiting period is over. Each leaves a `DeleteKey` service event."""

    def __init__(self, services: Services, events: ServiceEvents) -> None:
        self._services = services
        self._events = events

    def run_once(self) -> int:
        """Ends what is due now. Returns how many keys went. Blocks.

        Raises KmsError when the catalog or the trail fails; what was begun is finished in a later round.
        """
        self._events.keep()
        ended = 0
        with self._services.catalog.read() as reader:
            due = reader.due_deletions(self._services.clock(), _DUE_PER_ROUND)
        for region, key_id in due:
            ended += self._end(region, key_id)
        return ended

    def _end(self, region: str, key_id: str) -> bool:
        with self._services.catalog.write() as writer:
            key = writer.get_key(region, key_id)
            if key is None or key.state is not KeyState.PENDING_DELETION:
                return False
            if key.deletion_date is None or key.deletion_date > self._services.clock():
                return False
            record = self._events.promise(writer, deleted(key))
            destroy(self._services, writer, key)
        self._events.keep(record)
        _log.info("key %s was destroyed", key.arn)
        return True
