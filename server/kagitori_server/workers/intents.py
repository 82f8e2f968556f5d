"""Bringing into the trail what a process that ended had committed, but not recorded."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path

from kagitori_server.audit.lookup import contains
from kagitori_server.audit.trail import Trail
from kagitori_server.operations.context import Services


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
