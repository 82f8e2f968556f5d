"""For which hours keys are charged: from creation to the day they are given up, and what rotations add."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.support.inprocess import ALLOW_ALL, HOME, REGION, START, FakeClock, InProcess
from tests.support.kms_calls import (
    DAY,
    OTHER,
    deletion_worker,
    encrypt,
    identity_policy,
    key_policy,
    new_key,
    root,
    statement,
)

from kagitori_server.model.errors import AccessDeniedException, KmsError
from kagitori_server.model.keys import MaterialState, MaterialVersion, RotationType
from kagitori_server.storage.usage_schema import billing_spans

HOUR = 3_600
MIDNIGHT = START - START % DAY


@pytest.fixture
def service(tmp_path: Path) -> Iterator[InProcess]:
    with InProcess(tmp_path, FakeClock(MIDNIGHT)) as opened:
        yield opened


def hours(
    service: InProcess, start: float = MIDNIGHT - DAY, end: float = MIDNIGHT + 300 * DAY, **more: Any
) -> dict[str, int]:
    """Hours of keys by kind, up to now."""
    values = {"start_time": start, "end_time": end, "group_by": ("USAGE_TYPE",), **more}
    found = service.call("GetUsage", values).items
    return {item.usage_type.removeprefix("KeyHours"): item.quantity for item in found if item.unit == "Hours"}


def rotate(service: InProcess, key_id: str, number: int) -> None:
    """Material as a rotation at this moment brings it."""
    version = MaterialVersion(
        f"{number:064x}", b"reference", service.clock.now, MaterialState.CURRENT, rotated=service.clock.now,
        rotation_type=RotationType.ON_DEMAND,
    )
    with service.catalog.write() as writer:
        writer.add_material(REGION, key_id, version)


def test_a_key_is_charged_by_the_started_hour(service: InProcess) -> None:
    service.clock.now = MIDNIGHT + 59 * 60
    new_key(service)
    assert hours(service) == {"": 1}
    service.clock.advance(59)
    assert hours(service) == {"": 1}
    service.clock.advance(2)
    assert hours(service) == {"": 2}
    assert hours(service, MIDNIGHT, MIDNIGHT + HOUR) == {"": 1}
    assert hours(service, MIDNIGHT + HOUR, MIDNIGHT + 2 * HOUR) == {"": 1}
    assert hours(service, MIDNIGHT + 2 * HOUR, MIDNIGHT + 3 * HOUR) == {}
    assert hours(service, MIDNIGHT - HOUR, MIDNIGHT) == {}
    service.clock.now = MIDNIGHT + 30 * DAY
    assert hours(service, MIDNIGHT, MIDNIGHT + 30 * DAY) == {"": 720}


def test_a_key_pending_deletion_is_free(service: InProcess) -> None:
    key = new_key(service)
    service.clock.advance(10 * HOUR + 1)
    service.call("ScheduleKeyDeletion", {"key_id": key.key_id, "pending_window_in_days": 7})
    service.clock.advance(5 * HOUR)
    assert hours(service) == {"": 11}
    service.clock.advance(8 * DAY)
    assert deletion_worker(service).run_once() == 1
    assert hours(service) == {"": 11}
    with service.catalog.read() as reader:
        (span,) = reader._connection.execute(billing_spans.select())
    assert (span.destroyed, span.ended) == (True, MIDNIGHT + 10 * HOUR + 1)


def test_a_key_whose_deletion_is_cancelled_is_charged_after_all(service: InProcess) -> None:
    key = new_key(service)
    for _ in range(2):
        service.clock.advance(DAY)
        service.call("ScheduleKeyDeletion", {"key_id": key.key_id})
        service.clock.advance(DAY)
        service.call("CancelKeyDeletion", {"key_id": key.key_id})
    assert hours(service) == {"": 4 * 24 + 1}


def test_a_disabled_key_is_charged(service: InProcess) -> None:
    key = new_key(service)
    service.call("DisableKey", {"key_id": key.key_id})
    service.clock.advance(DAY - 1)
    assert hours(service) == {"": 24}


def test_each_rotation_is_charged_from_its_hour(service: InProcess) -> None:
    """The first and the second on their own, all others together: the price list says which of them cost."""
    key = new_key(service)
    for number in range(1, 5):
        service.clock.advance(DAY)
        rotate(service, key.key_id, number)
    service.clock.advance(HOUR - 1)
    assert hours(service) == {"": 97, "-FirstRotation": 73, "-SecondRotation": 49, "-FurtherRotation": 25 + 1}
    service.call("ScheduleKeyDeletion", {"key_id": key.key_id})
    service.clock.advance(10 * DAY)
    assert hours(service) == {"": 97, "-FirstRotation": 73, "-SecondRotation": 49, "-FurtherRotation": 26}
    service.call("CancelKeyDeletion", {"key_id": key.key_id})
    assert hours(service)["-FirstRotation"] == 73 + 240


def test_waiting_material_counts_once_it_becomes_current(service: InProcess) -> None:
    key = new_key(service)
    waiting = MaterialVersion("a" * 64, b"reference", service.clock.now, MaterialState.PENDING_ROTATION)
    with service.catalog.write() as writer:
        writer.add_material(REGION, key.key_id, waiting)
    service.clock.advance(2 * HOUR - 1)
    assert hours(service) == {"": 2}
    with service.catalog.write() as writer:
        writer.make_material_current(REGION, key.key_id, "a" * 64, service.clock.now, RotationType.ON_DEMAND)
    assert hours(service) == {"": 2, "-FirstRotation": 1}


def test_primary_and_replica_count_each_with_the_rotations_they_have(service: InProcess) -> None:
    """A replica may come, go and come again under its id."""
    primary = new_key(service, multi_region=True)
    rotate(service, primary.key_id, 1)
    service.clock.advance(DAY)
    for _ in range(2):
        with service.catalog.write() as writer:
            key = writer.get_key(REGION, primary.key_id)
            assert key is not None
            replica_arn = key.arn.replace(REGION, "eu-west-1")
            writer.insert_key(replace(key, region="eu-west-1", arn=replica_arn, created=service.clock.now))
        service.clock.advance(HOUR)
        with service.catalog.write() as writer:
            writer.stop_billing("eu-west-1", primary.key_id, service.clock.now)
            writer.delete_key("eu-west-1", primary.key_id)
        service.clock.advance(DAY)
    by_region = service.call("GetUsage", {
        "start_time": MIDNIGHT, "end_time": MIDNIGHT + 300 * DAY, "group_by": ("USAGE_TYPE", "REGION"),
    }).items
    found = {(item.usage_type, item.region): item.quantity for item in by_region if item.unit == "Hours"}
    assert found == {
        ("KeyHours", REGION): 75, ("KeyHours-FirstRotation", REGION): 75,
        ("KeyHours", "eu-west-1"): 2, ("KeyHours-FirstRotation", "eu-west-1"): 2,
    }


def test_what_a_rotation_brings_to_a_replica_pending_deletion_is_free(service: InProcess) -> None:
    key_id, there = new_key(service, multi_region=True).key_id, "eu-west-1"
    service.call("ReplicateKey", {"key_id": key_id, "replica_region": there})
    service.clock.advance(DAY)
    service.call("ScheduleKeyDeletion", {"key_id": key_id, "pending_window_in_days": 30}, region=there)
    service.clock.advance(DAY)
    service.call("RotateKeyOnDemand", {"key_id": key_id})
    service.clock.advance(DAY)
    assert hours(service) == {"": 73 + 24, "-FirstRotation": 25}
    service.call("CancelKeyDeletion", {"key_id": key_id}, region=there)
    assert hours(service) == {"": 73 + 73, "-FirstRotation": 25 + 25}


def test_every_key_counts_in_its_account(service: InProcess) -> None:
    token = service.new_account(OTHER)
    for by in (token, None):
        service.call("CreateKey", {}, token=by)
    assert hours(service) == {"": 2}
    assert hours(service, account_id=OTHER) == {"": 1}
    assert hours(service, account_id=HOME) == {"": 1}


def test_last_use_is_told_at_once(service: InProcess) -> None:
    """The newest successful use and its record's ids; refused calls, dry runs and management don't count."""
    key = new_key(service)
    unused = service.call("GetKeyLastUsage", {"key_id": key.arn})
    assert unused.key_last_usage.operation is None
    assert unused.key_id == key.arn
    assert unused.tracking_start_date == unused.key_creation_date == MIDNIGHT
    service.clock.advance(10)
    blob = encrypt(service, key.key_id)
    service.clock.advance(10)
    service.call("Decrypt", {"ciphertext_blob": blob})
    record = service.records()[-1]
    service.clock.advance(10)
    service.call("DescribeKey", {"key_id": key.key_id})
    for operation, values in (
        ("Encrypt", {"key_id": key.key_id, "plaintext": b"x", "dry_run": True}),
        ("Decrypt", {"key_id": key.key_id, "ciphertext_blob": b"junk"}),
    ):
        with pytest.raises(KmsError):
            service.call(operation, values)
    used = service.call("GetKeyLastUsage", {"key_id": key.key_id}).key_last_usage
    assert (used.operation, used.timestamp) == ("Decrypt", MIDNIGHT + 20)
    assert (used.cloud_trail_event_id, used.kms_request_id) == (record["eventID"], record["requestID"])


def test_both_keys_of_a_reencryption_were_used(service: InProcess) -> None:
    source, destination = new_key(service), new_key(service)
    blob = encrypt(service, source.key_id)
    service.clock.advance(5)
    service.call("ReEncrypt", {"ciphertext_blob": blob, "destination_key_id": destination.key_id})
    for key in (source, destination):
        used = service.call("GetKeyLastUsage", {"key_id": key.key_id}).key_last_usage
        assert (used.operation, used.timestamp) == ("ReEncrypt", MIDNIGHT + 5)


def test_use_by_another_account_is_told_to_the_owner_with_the_record_of_his(service: InProcess) -> None:
    service.new_account(OTHER)
    alice = service.new_user("alice", account=OTHER, policies={"all": ALLOW_ALL})
    key = new_key(service, policy=key_policy(statement(root(HOME), "kms:*"), statement(root(OTHER), "kms:*")))
    service.call("Encrypt", {"key_id": key.arn, "plaintext": b"x"}, token=alice)
    callers, owners = service.records()[-2:]
    assert (callers["recipientAccountId"], owners["recipientAccountId"]) == (OTHER, HOME)
    used = service.call("GetKeyLastUsage", {"key_id": key.arn}).key_last_usage
    assert used.cloud_trail_event_id == owners["eventID"]
    assert used.kms_request_id == callers["requestID"]
    with pytest.raises(KmsError):
        service.call("GetKeyLastUsage", {"key_id": key.arn}, token=alice)


def test_last_use_needs_its_permission_and_no_alias(service: InProcess) -> None:
    key = new_key(service)
    service.call("CreateAlias", {"alias_name": "alias/a", "target_key_id": key.key_id})
    with pytest.raises(AccessDeniedException):
        service.call("GetKeyLastUsage", {"key_id": key.arn}, token=service.new_user("nobody"))
    policies = {"p": identity_policy("kms:GetKeyLastUsage", resource=key.arn)}
    reader = service.new_user("reader", policies=policies)
    assert service.call("GetKeyLastUsage", {"key_id": key.arn}, token=reader).key_id == key.arn
    with pytest.raises(KmsError):
        service.call("GetKeyLastUsage", {"key_id": "alias/a"})


def test_a_replica_made_again_has_not_been_used(service: InProcess) -> None:
    """Under the ARN it had before, which was."""
    key = new_key(service, multi_region=True)
    encrypt(service, key.key_id)
    service.call("GetKeyLastUsage", {"key_id": key.key_id})
    service.clock.advance(DAY)
    with service.catalog.write() as writer:
        record = writer.get_key(REGION, key.key_id)
        assert record is not None
        writer.delete_key(REGION, key.key_id)
        writer.insert_key(replace(record, created=service.clock.now))
    assert service.call("GetKeyLastUsage", {"key_id": key.key_id}).key_last_usage.operation is None
