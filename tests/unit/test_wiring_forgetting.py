"""Opened material of a key that changed does not stay in memory, in whichever process the change was made."""

from __future__ import annotations

from pathlib import Path

from tests.support.inprocess import InProcess

from kagitori_server.wiring import forgetting
from kagitori_server.workers import DeletionWorker


def _opened(service: InProcess) -> int:
    return len(service.store._materials)


def test_a_key_destroyed_by_another_process_is_forgotten(tmp_path: Path) -> None:
    with InProcess(tmp_path) as one, InProcess(tmp_path, one.clock) as two:
        two.catalog.view.listen(forgetting(two.store))
        doomed, kept = (one.call("CreateKey").key_metadata.key_id for _ in range(2))
        for key_id in (doomed, kept):
            two.call("Encrypt", {"key_id": key_id, "plaintext": b"x"})
        assert _opened(two) == 2
        one.call("ScheduleKeyDeletion", {"key_id": doomed, "pending_window_in_days": 7})
        one.clock.advance(8 * 86_400)
        assert DeletionWorker(one.services, one.events).run_once() == 1
        two.call("GetCallerIdentity")
        assert _opened(two) == 1
