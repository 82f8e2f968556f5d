"""Records that didn't make it into the trail are brought there; jobs go on whatever happens to one round."""

from __future__ import annotations

import asyncio
import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from tests.support.full_disk import FullDisk
from tests.support.inprocess import InProcess
from tests.support.kms_calls import DAY, deletion_worker, encrypt, new_key

from kagitori_server.audit.trail import AuditUnavailable
from kagitori_server.audit.verify import verify
from kagitori_server.model.errors import DependencyTimeoutException, KmsError
from kagitori_server.workers import every, recover_intents


def _recover(service: InProcess) -> int:
    return recover_intents(service.services, service.trail, service.audit_folder)


def _count(service: InProcess, name: str) -> int:
    return sum(record["eventName"] == name and "errorCode" not in record for record in service.records())


def test_an_answer_without_a_record_never_leaves(tmp_path: Path) -> None:
    """With the trail gone every kind of call fails, reading, refused, writing, batch."""
    with InProcess(tmp_path) as service:
        key = new_key(service)
        blob = encrypt(service, key.key_id)
        service.trail.close()
        calls: list[tuple[str, dict[str, Any]]] = [
            ("Encrypt", {"key_id": key.key_id, "plaintext": b"x"}), ("Decrypt", {"ciphertext_blob": blob}),
            ("GenerateDataKey", {"key_id": key.key_id, "number_of_bytes": 1}), ("ListKeys", {}),
            ("GenerateRandom", {"number_of_bytes": 1}), ("CreateKey", {}), ("DisableKey", {"key_id": key.key_id}),
            ("Encrypt", {}), ("DescribeKey", {"key_id": "absent"}), ("GetCallerIdentity", {}),
            ("BatchDecrypt", {"items": [{"ciphertext_blob": blob}]}), ("NoSuchOperation", {}),
        ]
        for operation, values in calls:
            with pytest.raises(AuditUnavailable) as caught:
                service.call(operation, values)
            assert caught.value.code() == "KMSInternalException"
        with pytest.raises(AuditUnavailable):
            service.call("ListKeys", token="kgt_" + "x" * 43)


def test_what_was_committed_without_its_record_is_recorded_at_the_next_start(tmp_path: Path) -> None:
    """Exactly once, with the very record that was meant, however often the service starts."""
    with InProcess(tmp_path) as service:
        key = new_key(service, description="before")
        service.pipeline.settle()
        records = len(service.records())
        service.trail.close()
        with pytest.raises(AuditUnavailable):
            service.call("UpdateKeyDescription", {"key_id": key.key_id, "description": "after"})
        with service.catalog.read() as reader:
            (intent,) = reader.pending_intents(service.trail.position().chain)
        assert len(service.records()) == records
    for expected in (1, 0, 0):
        with InProcess(tmp_path) as service:
            assert _recover(service) == expected
            assert _recover(service) == 0
            assert service.call("DescribeKey", {"key_id": key.key_id}).key_metadata.description == "after"
            assert _count(service, "UpdateKeyDescription") == 1
            assert intent.record.decode() in service.audit_text()
    assert not verify(tmp_path / "audit").problems


def test_what_is_in_the_trail_already_is_not_recorded_twice(tmp_path: Path) -> None:
    """A process that ended before it could forget its intents (no settling) leaves no double."""
    with InProcess(tmp_path) as service:
        keys = [new_key(service) for _ in range(3)]
        for key in keys:
            service.call("DisableKey", {"key_id": key.key_id})
        with service.catalog.read() as reader:
            assert len(reader.pending_intents(service.trail.position().chain)) == 1
    with InProcess(tmp_path) as service:
        assert _recover(service) == 0
        with service.catalog.read() as reader:
            assert reader.pending_intents(service.trail.position().chain) == []
        assert (_count(service, "CreateKey"), _count(service, "DisableKey")) == (3, 3)


def test_refused_writes_leave_no_intent(tmp_path: Path) -> None:
    """Nothing was changed, so nothing is owed."""
    with InProcess(tmp_path) as service:
        key = new_key(service)
        for _ in range(3):
            with pytest.raises(KmsError):
                service.call("CancelKeyDeletion", {"key_id": key.key_id})
            with pytest.raises(KmsError):
                service.call("CreateAlias", {"alias_name": "alias/x", "target_key_id": "alias/y"})
        service.pipeline.settle()
        with service.catalog.read() as reader:
            assert reader.pending_intents(service.trail.position().chain) == []


def test_each_chain_is_mended_by_who_takes_it_over(tmp_path: Path) -> None:
    """The records of a second process stay out of the first one's chain, and wait for their own to be opened."""
    with InProcess(tmp_path) as one, InProcess(tmp_path, one.clock) as two:
        assert one.trail.position().chain != two.trail.position().chain
        second = two.trail.position().chain
        key = new_key(one)
        two.trail.close()
        with pytest.raises(AuditUnavailable):
            two.call("DisableKey", {"key_id": key.key_id}, token=one.root_token)
        assert _recover(one) == 0
        assert _count(one, "DisableKey") == 0
    with InProcess(tmp_path) as one, InProcess(tmp_path, one.clock) as two:
        assert _recover(one) == 0
        assert two.trail.position().chain == second
        assert _recover(two) == 1
        assert _count(one, "DisableKey") == 1
    assert not verify(tmp_path / "audit").problems


def test_settling(tmp_path: Path) -> None:
    """Intents are forgotten by later writes on their way, or by settling; both may be repeated."""
    with InProcess(tmp_path) as service:
        chain = service.trail.position().chain

        def pending() -> int:
            with service.catalog.read() as reader:
                return len(reader.pending_intents(chain))

        key = new_key(service)
        assert pending() == 1
        for _ in range(3):
            service.call("EnableKey", {"key_id": key.key_id})
            assert pending() == 1
        service.pipeline.settle()
        assert pending() == 0
        service.pipeline.settle()
        assert pending() == 0


def test_a_process_that_outlives_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls fail while the trail can't grow; the records of changes made meanwhile come as soon as it can."""
    disk = FullDisk()
    with InProcess(tmp_path) as service:
        monkeypatch.setattr(service.trail, "_disk", disk)
        key, doomed = new_key(service), new_key(service)
        service.call("ScheduleKeyDeletion", {"key_id": doomed.key_id, "pending_window_in_days": 7})
        service.clock.advance(7 * DAY)
        worker = deletion_worker(service)
        disk.full = True
        for operation in ("DisableKey", "EnableKey", "DisableKey"):
            with pytest.raises(AuditUnavailable):
                service.call(operation, {"key_id": key.key_id})
        with pytest.raises(AuditUnavailable):
            service.call("DescribeKey", {"key_id": key.key_id})
        for _ in range(2):
            with pytest.raises(AuditUnavailable):
                worker.run_once()
            with pytest.raises(AuditUnavailable):
                service.pipeline.settle()
        disk.full = False
        assert worker.run_once() == 0
        service.pipeline.settle()
        assert (_count(service, "DisableKey"), _count(service, "EnableKey"), _count(service, "DeleteKey")) == (2, 1, 1)
        assert _count(service, "DescribeKey") == 0
        with service.catalog.read() as reader:
            assert reader.pending_intents(service.trail.position().chain) == []
        service.pipeline.settle()
        assert worker.run_once() == 0
    with InProcess(tmp_path) as service:
        assert _recover(service) == 0
        assert (_count(service, "DisableKey"), _count(service, "EnableKey"), _count(service, "DeleteKey")) == (2, 1, 1)
    assert not verify(tmp_path / "audit").problems


def test_jobs_go_on(caplog: pytest.LogCaptureFixture) -> None:
    """A round that fails is logged, without its detail where it is one of ours, and the next one comes."""
    rounds: list[int] = []
    done = threading.Event()

    def job() -> None:
        rounds.append(len(rounds))
        if len(rounds) == 4:
            done.set()
        if len(rounds) == 1:
            raise DependencyTimeoutException("The database is away.")
        if len(rounds) == 2:
            raise ZeroDivisionError

    async def run() -> None:
        with ThreadPoolExecutor(1) as pool:
            task = asyncio.create_task(every(0.001, job, pool, "the job"))
            await asyncio.to_thread(done.wait, 5)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    with caplog.at_level(logging.WARNING):
        asyncio.run(run())
    messages = [record.getMessage() for record in caplog.records if record.name == "kagitori_server.workers.repeating"]
    assert messages == [
        "the job: The database is away.; trying again in 0 s", "the job failed; trying again in 0 s"
    ]
