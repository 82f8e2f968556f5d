"""What the service does by itself: ending keys whose time has come, and bringing records into the trail.

Each is safe to run in several processes at once: the catalog's write turns are taken one after the other, and
whoever comes second finds nothing left to do.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor
from datetime import datetime
from pathlib import Path

from kagitori_server.audit.lookup import contains
from kagitori_server.audit.trail import Trail
from kagitori_server.model.errors import KmsError
from kagitori_server.model.keys import KeyState
from kagitori_server.operations.context import Services
from kagitori_server.operations.lifecycle import destroy
from kagitori_server.recording import Record, Recording

_log = logging.getLogger(__name__)

_DUE_PER_ROUND = 100


class DeletionWorker:
    """Destroys keys whose waiting period is over. Each leaves a `DeleteKey` service event."""

    def __init__(self, services: Services, recording: Recording, trail: Trail) -> None:
        self._services = services
        self._recording = recording
        self._trail = trail
        self._owed: deque[Record] = deque()
        """Records of keys that are gone already; more than one only when the trail failed."""

    def run_once(self) -> int:
        """Ends what is due now. Returns how many keys went. Blocks.

        Raises KmsError when the catalog or the trail fails; what was begun is finished in a later round.
        """
        self._record_ends()
        ended = 0
        with self._services.catalog.read() as reader:
            due = reader.due_deletions(self._services.clock(), _DUE_PER_ROUND)
        for region, key_id in due:
            ended += self._end(region, key_id)
        return ended

    def _end(self, region: str, key_id: str) -> bool:
        chain = self._trail.position().chain
        with self._services.catalog.write() as writer:
            key = writer.get_key(region, key_id)
            if key is None or key.state is not KeyState.PENDING_DELETION:
                return False
            if key.deletion_date is None or key.deletion_date > self._services.clock():
                return False
            record = self._recording.of_service("DeleteKey", key, None)
            destroy(self._services, writer, key)
            writer.add_intent(record.event_id, chain, record.event)
        self._owed.append(record)
        self._record_ends()
        _log.info("key %s was destroyed", key.arn)
        return True

    def _record_ends(self) -> None:
        while self._owed:
            record = self._owed[0]
            self._trail.append_blocking(record.event)
            self._owed.popleft()
            with self._services.catalog.write() as writer:
                writer.clear_intents([record.event_id])


def recover_intents(services: Services, trail: Trail, audit_root: Path) -> int:
    """Brings into the trail what was committed by a process that ended before its record was durable.

    Only intents of the chain that this process has taken over are looked at: their writer is gone. Returns how
    many records were brought. Blocks.
    """
    chain = trail.position().chain
    recovered = 0
    while True:
        with services.catalog.read() as reader:
            pending = reader.pending_intents(chain)
        if not pending:
            return recovered
        since = min(_record_time(intent.record) for intent in pending)
        present = contains(audit_root, chain, {intent.event_id for intent in pending}, since)
        for intent in pending:
            if intent.event_id not in present:
                trail.append_blocking(intent.record)
                recovered += 1
        with services.catalog.write() as writer:
            writer.clear_intents([intent.event_id for intent in pending])


def _record_time(record: bytes) -> float:
    return datetime.strptime(json.loads(record)["eventTime"], "%Y-%m-%dT%H:%M:%S%z").timestamp()


async def every(seconds: float, job: Callable[[], object], pool: Executor, name: str) -> None:
    """Runs `job` in `pool` again and again until cancelled. A failure is logged and the next round comes."""
    loop = asyncio.get_running_loop()
    while True:
        try:
            await loop.run_in_executor(pool, job)
        except KmsError as error:
            _log.warning("%s: %s; trying again in %.0f s", name, error.message or error.code(), seconds)
        except Exception:  # noqa: BLE001 - a worker that dies silently would be worse than one that repeats itself
            _log.exception("%s failed; trying again in %.0f s", name, seconds)
        await asyncio.sleep(seconds)
