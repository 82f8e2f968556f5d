"""Deleting imported key material whose time is over."""

from __future__ import annotations

import logging

from kagitori_server.operations.consequences import expired
from kagitori_server.operations.context import Services
from kagitori_server.operations.imported_material import take_away
from kagitori_server.service_events import ServiceEvents

_log = logging.getLogger(__name__)

_DUE_PER_ROUND = 100


class ExpirationWorker:
    """Deletes imported material that has expired. Each leaves a `DeleteExpiredKeyMaterial` service event.

    No call uses such material, whether or not this has come to it: `Key.as_of`.
    """

    def __init__(self, services: Services, events: ServiceEvents) -> None:
        self._services = services
        self._events = events

    def run_once(self) -> int:
        """Deletes what is due now. Returns how many materials went. Blocks.

        Raises KmsError when the catalog or the trail fails; what was begun is finished in a later round.
        """
        self._events.keep()
        with self._services.catalog.read() as reader:
            due = reader.due_expirations(self._services.clock(), _DUE_PER_ROUND)
        return sum(self._delete(*place) for place in due)

    def _delete(self, region: str, key_id: str, material_id: str) -> bool:
        with self._services.catalog.write() as writer:
            key = writer.get_key(region, key_id)
            version = key.material(material_id) if key is not None else None
            if key is None or version is None or version.expires is None:
                return False
            if version.expires > self._services.clock():
                return False
            record = self._events.promise(writer, expired(key, version))
            take_away(self._services, writer, key, version)
        self._events.keep(record)
        _log.info("material %s of key %s has expired and was deleted", material_id, key.arn)
        return True
