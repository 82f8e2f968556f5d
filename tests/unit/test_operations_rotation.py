"""Rotation: by schedule, on demand, what is told of it, and that no ciphertext is ever lost to it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.inprocess import START, InProcess
from tests.support.kms_calls import DAY, encrypt, last_record, new_key, refused

from kagitori_server.model.errors import (
    ConflictException,
    DisabledException,
    InvalidMarkerException,
    KMSInvalidStateException,
    LimitExceededException,
    UnsupportedOperationException,
    ValidationException,
)
from kagitori_server.model.keys import MaterialState, RotationType
from kagitori_server.workers import RotationWorker


@pytest.fixture
def service(tmp_path: Path) -> Iterator[InProcess]:
    with InProcess(tmp_path) as opened:
        yield opened


def turn(service: InProcess) -> int:
    """What one round of the worker rotates."""
    return RotationWorker(service.services, service.events).run_once()


def status(service: InProcess, key_id: str) -> tuple[bool, int | None, float | None]:
    told = service.call("GetKeyRotationStatus", {"key_id": key_id})
    return told.key_rotation_enabled, told.rotation_period_in_days, told.next_rotation_date


def rotations(service: InProcess, key_id: str, **values: Any) -> Any:
    return service.call("ListKeyRotations", {"key_id": key_id, **values})


def test_a_schedule_from_its_beginning_to_its_end(service: InProcess) -> None:
    """Nothing rotates before its day; on its day once; what was encrypted before is read for ever."""
    key = new_key(service)
    first = key.current_key_material_id
    assert status(service, key.key_id) == (False, None, None)
    service.call("EnableKeyRotation", {"key_id": key.key_id})
    assert status(service, key.key_id) == (True, 365, START + 365 * DAY)
    old = encrypt(service, key.key_id, b"old")
    service.clock.advance(365 * DAY - 1)
    assert turn(service) == 0
    service.clock.advance(1)
    assert turn(service) == 1
    assert turn(service) == 0
    event = last_record(service)
    assert (event["eventName"], event["eventType"], event["readOnly"]) == ("RotateKey", "AwsServiceEvent", False)
    second = service.call("DescribeKey", {"key_id": key.key_id}).key_metadata.current_key_material_id
    assert second != first
    assert event["serviceEventDetails"] == {
        "keyId": key.key_id, "keyOrigin": "AWS_KMS", "rotationType": "AUTOMATIC", "previousKeyMaterialId": first,
        "currentKeyMaterialId": second,
    }
    assert status(service, key.key_id) == (True, 365, START + 2 * 365 * DAY)
    opened = service.call("Decrypt", {"ciphertext_blob": old})
    assert (opened.plaintext, opened.key_material_id) == (b"old", first)
    moved = service.call("ReEncrypt", {"ciphertext_blob": old, "destination_key_id": key.key_id})
    assert (moved.source_key_material_id, moved.destination_key_material_id) == (first, second)
    service.call("DisableKeyRotation", {"key_id": key.key_id})
    service.clock.advance(800 * DAY)
    assert turn(service) == 0
    assert status(service, key.key_id) == (False, None, None)


def test_missed_days_are_made_up_for_once(service: InProcess) -> None:
    """The schedule goes on from the day on which it began."""
    key = new_key(service)
    service.call("EnableKeyRotation", {"key_id": key.key_id, "rotation_period_in_days": 90})
    service.clock.advance(95 * DAY + 4 * 90 * DAY)
    assert turn(service) == 1
    assert turn(service) == 0
    assert status(service, key.key_id) == (True, 90, START + 6 * 90 * DAY)
    assert len(rotations(service, key.key_id).rotations) == 1


def test_a_disabled_key_rotates_once_it_is_enabled(service: InProcess) -> None:
    """A key pending deletion says that it doesn't rotate, and remembers that it did."""
    key = new_key(service)
    service.call("EnableKeyRotation", {"key_id": key.key_id, "rotation_period_in_days": 90})
    service.call("DisableKey", {"key_id": key.key_id})
    service.clock.advance(91 * DAY)
    assert turn(service) == 0
    assert status(service, key.key_id)[0]
    service.call("ScheduleKeyDeletion", {"key_id": key.key_id})
    assert status(service, key.key_id) == (False, None, None)
    assert turn(service) == 0
    service.call("CancelKeyDeletion", {"key_id": key.key_id})
    service.call("EnableKey", {"key_id": key.key_id})
    assert status(service, key.key_id) == (True, 90, START + 90 * DAY)
    assert turn(service) == 1


def test_on_demand(service: InProcess) -> None:
    """Beside the schedule, 25 times in a life."""
    key = new_key(service)
    service.call("EnableKeyRotation", {"key_id": key.key_id, "rotation_period_in_days": 100})
    made = [encrypt(service, key.key_id, b"0")]
    for number in range(1, 26):
        assert service.call("RotateKeyOnDemand", {"key_id": key.key_id}).key_id == key.arn
        made.append(encrypt(service, key.key_id, b"%d" % number))
    record = next(found for found in service.records() if found["eventName"] == "RotateKeyOnDemand")
    assert record["additionalEventData"]["previousKeyMaterialId"] == key.current_key_material_id
    refused(service, LimitExceededException, "RotateKeyOnDemand", {"key_id": key.key_id})
    assert status(service, key.key_id) == (True, 100, START + 100 * DAY)
    for number, blob in enumerate(made):
        assert service.call("Decrypt", {"ciphertext_blob": blob}).plaintext == b"%d" % number
    service.clock.advance(100 * DAY - 20 * 60)
    other = new_key(service)
    service.call("RotateKeyOnDemand", {"key_id": other.key_id})
    assert turn(service) == 0


def test_on_demand_keeps_away_from_the_schedule(service: InProcess) -> None:
    """Not within 20 minutes before an automatic rotation."""
    key = new_key(service)
    service.call("EnableKeyRotation", {"key_id": key.key_id, "rotation_period_in_days": 90})
    service.clock.advance(90 * DAY - 20 * 60)
    refused(service, ConflictException, "RotateKeyOnDemand", {"key_id": key.key_id})
    service.clock.advance(20 * 60)
    turn(service)
    service.call("RotateKeyOnDemand", {"key_id": key.key_id})


def test_the_list_of_versions(service: InProcess) -> None:
    """Rotations alone by default; pages; the current one last."""
    key = new_key(service)
    assert rotations(service, key.key_id).rotations == ()
    for _ in range(3):
        service.clock.advance(60)
        service.call("RotateKeyOnDemand", {"key_id": key.key_id})
    everything = rotations(service, key.key_id, include_key_material="ALL_KEY_MATERIAL").rotations
    assert [entry.key_material_state for entry in everything] == [MaterialState.NON_CURRENT] * 3 + [
        MaterialState.CURRENT
    ]
    first = everything[0]
    assert (first.key_material_id, first.rotation_date, first.rotation_type) == (
        key.current_key_material_id, None, None
    )
    assert [entry.rotation_date for entry in everything[1:]] == [START + 60 * n for n in (1, 2, 3)]
    assert {entry.rotation_type for entry in everything[1:]} == {RotationType.ON_DEMAND}
    assert {(entry.import_state, entry.valid_to, entry.expiration_model) for entry in everything} == {
        (None, None, None)
    }
    page = rotations(service, key.key_id, limit=2)
    assert page.rotations == everything[1:3]
    assert page.truncated
    rest = rotations(service, key.key_id, limit=2, marker=page.next_marker)
    assert (rest.rotations, rest.truncated, rest.next_marker) == (everything[3:], False, None)
    refused(service, InvalidMarkerException, "ListKeyRotations", {"key_id": key.key_id, "marker": "x"})
    other = new_key(service).key_id
    refused(service, InvalidMarkerException, "ListKeyRotations", {"key_id": other, "marker": page.next_marker})


@pytest.mark.parametrize("days", [89, 2_561, 0, -1])
def test_periods_that_are_none(service: InProcess, days: int) -> None:
    """90 to 2,560 days."""
    refused(
        service, ValidationException, "EnableKeyRotation",
        {"key_id": new_key(service).key_id, "rotation_period_in_days": days},
    )


@pytest.mark.parametrize(
    "operation", ["EnableKeyRotation", "DisableKeyRotation", "GetKeyRotationStatus", "RotateKeyOnDemand",
                  "ListKeyRotations"],
)
def test_keys_that_do_not_rotate(service: InProcess, operation: str) -> None:
    """Asymmetric and HMAC keys; imported material not by itself."""
    reads = operation in ("GetKeyRotationStatus", "ListKeyRotations")
    for spec, usage in (("HMAC_256", "GENERATE_VERIFY_MAC"), ("ECC_NIST_P256", "SIGN_VERIFY")):
        key = new_key(service, key_spec=spec, key_usage=usage)
        error = refused(service, UnsupportedOperationException, operation, {"key_id": key.key_id})
        assert error.message == ""
    waiting = new_key(service, origin="EXTERNAL")
    if reads:
        service.call(operation, {"key_id": waiting.key_id})
    elif operation == "RotateKeyOnDemand":
        error = refused(service, KMSInvalidStateException, operation, {"key_id": waiting.key_id})
        assert error.message == f"{waiting.arn} is pending import."
    else:
        error = refused(service, UnsupportedOperationException, operation, {"key_id": waiting.key_id})
        assert error.message == f"{waiting.arn} origin is EXTERNAL which is not valid for this operation."
    disabled = new_key(service)
    service.call("DisableKey", {"key_id": disabled.key_id})
    if not reads:
        refused(service, DisabledException, operation, {"key_id": disabled.key_id})


def test_a_hundred_versions(service: InProcess) -> None:
    """Each decrypts what it encrypted; the list tells of all."""
    key = new_key(service)
    service.call("EnableKeyRotation", {"key_id": key.key_id, "rotation_period_in_days": 90})
    made = []
    for number in range(100):
        made.append(encrypt(service, key.key_id, b"%d" % number, encryption_context={"n": str(number)}))
        service.clock.advance(90 * DAY)
        assert turn(service) == 1
    for number, blob in enumerate(made):
        opened = service.call("Decrypt", {"ciphertext_blob": blob, "encryption_context": {"n": str(number)}})
        assert opened.plaintext == b"%d" % number
    assert len({entry.key_material_id for entry in rotations(service, key.key_id, limit=1000).rotations}) == 100
