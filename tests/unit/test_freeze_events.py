"""The record of a freeze is never lost and never doubled, whatever becomes of the trail or the process."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.full_disk import FullDisk
from tests.support.inprocess import ALLOW_ALL, InProcess

from kagitori_server.audit.trail import AuditUnavailable
from kagitori_server.audit.verify import verify
from kagitori_server.model.errors import AccessDeniedException
from kagitori_server.workers import recover_intents


def _prepared(service: InProcess) -> tuple[str, str]:
    """A key with a budget of one use that is used up, and the token of a user that used it."""
    token = service.new_user("alice", policies={"all": ALLOW_ALL})
    key_id = service.call("CreateKey").key_metadata.key_id
    limits = [{"window": "MONTH", "count": 1}]
    terms = {"key_arn": "*", "principal_arn": "*", "on_exceed": "FREEZE", "limits": limits}
    service.call("PutBudget", {"budget_name": "b", **terms})
    service.call("Encrypt", {"key_id": key_id, "plaintext": b"x"}, token=token)
    service.pipeline.settle()
    return key_id, token


def _freezes(service: InProcess) -> int:
    return sum(record["eventName"] == "FreezePrincipal" for record in service.records())


def test_a_freeze_whose_process_ends_is_recorded_at_the_next_start(tmp_path: Path) -> None:
    """It is in force from its commit on; the call that led to it isn't answered without the record."""
    with InProcess(tmp_path) as service:
        key_id, token = _prepared(service)
        service.trail.close()
        with pytest.raises(AuditUnavailable):
            service.call("Encrypt", {"key_id": key_id, "plaintext": b"x"}, token=token)
        assert _freezes(service) == 0
    for expected in (1, 0):
        with InProcess(tmp_path, service.clock) as again:
            assert recover_intents(again.services, again.trail, again.audit_folder) == expected
            assert _freezes(again) == 1
            with pytest.raises(AccessDeniedException, match="frozen"):
                again.call("DescribeKey", {"key_id": key_id}, token=token)
    assert not verify(tmp_path / "audit").problems


def test_a_process_that_outlives_a_full_disk_records_the_freeze(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a later round, exactly once."""
    disk = FullDisk()
    with InProcess(tmp_path) as service:
        monkeypatch.setattr(service.trail, "_disk", disk)
        key_id, token = _prepared(service)
        disk.full = True
        for _ in range(2):
            with pytest.raises(AuditUnavailable):
                service.call("Encrypt", {"key_id": key_id, "plaintext": b"x"}, token=token)
            with pytest.raises(AuditUnavailable):
                service.events.keep()
        disk.full = False
        for _ in range(2):
            service.events.keep()
        assert _freezes(service) == 1
        service.pipeline.settle()
        with service.catalog.read() as reader:
            assert not reader.pending_intents()
    assert not verify(tmp_path / "audit").problems
