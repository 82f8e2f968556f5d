"""Rotating keys on their schedule."""

from __future__ import annotations

import logging
import math

from kagitori_keystore.base import KeyStoreError
from kagitori_server.model import limits
from kagitori_server.model.keys import Key, KeyState, RotationType
from kagitori_server.operations.consequences import rotated
from kagitori_server.operations.context import Services
from kagitori_server.operations.rotation import add_rotated, generate_next
from kagitori_server.service_events import ServiceEvents

_log = logging.getLogger(__name__)

_DUE_PER_ROUND = 100
_ROTATING = frozenset({KeyState.ENABLED, KeyState.UPDATING})


class RotationWorker:
    """Rotates keys whose day has come. Each rotation leaves a `RotateKey` service event.

    A key that is disabled on its day is rotated when it is enabled again. Days that passed while nothing ran are
    made up for by one rotation; the schedule goes on as it was.
    """

    def __init__(self, services: Services, events: ServiceEvents) -> None:
        self._services = services
        self._events = events

    def run_once(self) -> int:
        """Rotates what is due now. Returns how many keys were rotated. Blocks.

        Raises KmsError when the catalog or the trail fails; a key whose store fails is left for a later round.
        """
        self._events.keep()
        rotated = 0
        with self._services.catalog.read() as reader:
            due = reader.due_rotations(self._services.clock(), _DUE_PER_ROUND)
            keys = [key for place in due if (key := reader.get_key(*place)) is not None]
        for key in keys:
            try:
                rotated += self._rotate(key)
            except KeyStoreError:
                _log.exception("key %s could not be rotated; trying again in the next round", key.arn)
        return rotated

    def _rotate(self, found: Key) -> bool:
        fresh = generate_next(self._services, found)
        with self._services.catalog.write() as writer:
            key, now = writer.get_key(found.region, found.key_id), self._services.clock()
            if key is None or key.state not in _ROTATING or key.next_rotation is None or key.next_rotation > now:
                # Another process, or its owner, was faster. What was generated is in no catalog and so nowhere.
                return False
            previous = key.current_material.material_id
            add_rotated(self._services, writer, key, fresh, now, RotationType.AUTOMATIC)
            writer.set_rotation(key.region, key.key_id, key.rotation_period_days, _next(key, now))
            events = rotated(key, RotationType.AUTOMATIC, previous, fresh.material_id)
            records = [self._events.promise(writer, event) for event in events]
        self._events.keep(*records)
        _log.info("key %s was rotated", key.arn)
        return True


def _next(key: Key, now: float) -> float:
    """The first day of the key's schedule that is still to come."""
    due = key.next_rotation or now
    period = (key.rotation_period_days or limits.ROTATION_PERIOD_DEFAULT) * limits.SECONDS_PER_DAY
    return due + period * (math.floor((now - due) / period) + 1)
