"""Key states: what each operation answers in each of them, and the end of a key."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.inprocess import HOME, REGION, START, FakeClock, InProcess
from tests.support.kms_calls import (
    DAY,
    alias_arn,
    database_bytes,
    delegating,
    deletion_worker,
    encrypt,
    identity_policy,
    last_record,
    new_key,
    refused,
)

from kagitori_keystore.algorithms import KeySpec
from kagitori_keystore.base import Domain
from kagitori_server.audit.trail import AuditUnavailable
from kagitori_server.model.errors import (
    AccessDeniedException,
    DisabledException,
    KMSInvalidStateException,
    NotFoundException,
    ValidationException,
)
from kagitori_server.model.keys import KeyState
from kagitori_server.workers import recover_intents

ENABLED, DISABLED, DYING = "Enabled", "Disabled", "PendingDeletion"
OK, D1, S3, S4 = "ok", "is disabled.", "is pending deletion.", "is not pending deletion."

STATES: dict[str, tuple[str, str, str]] = {
    # operation: answer when Enabled, Disabled, PendingDeletion (AWS "Key states of AWS KMS keys").
    "Encrypt": (OK, D1, S3),
    "Decrypt": (OK, D1, S3),
    "ReEncrypt from": (OK, D1, S3),
    "ReEncrypt to": (OK, D1, S3),
    "GenerateDataKey": (OK, D1, S3),
    "GenerateDataKeyWithoutPlaintext": (OK, D1, S3),
    "DescribeKey": (OK, OK, OK),
    "GetKeyPolicy": (OK, OK, OK),
    "ListKeyPolicies": (OK, OK, OK),
    "ListResourceTags": (OK, OK, OK),
    "ListAliases": (OK, OK, OK),
    "PutKeyPolicy": (OK, OK, OK),
    "DeleteAlias": (OK, OK, OK),
    "CreateAlias": (OK, OK, S3),
    "UpdateAlias from": (OK, OK, OK),
    "UpdateAlias to": (OK, OK, S3),
    "TagResource": (OK, OK, S3),
    "UntagResource": (OK, OK, S3),
    "UpdateKeyDescription": (OK, OK, S3),
    "EnableKey": (OK, OK, S3),
    "DisableKey": (OK, OK, S3),
    "ScheduleKeyDeletion": (OK, OK, S3),
    "CancelKeyDeletion": (S4, S4, OK),
}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InProcess]:
    """A service shared by tests that only look at keys of their own."""
    with InProcess(tmp_path_factory.mktemp("service")) as opened:
        yield opened


def _bring(service: InProcess, key_id: str, state: str) -> None:
    if state == DISABLED:
        service.call("DisableKey", {"key_id": key_id})
    elif state == DYING:
        service.call("ScheduleKeyDeletion", {"key_id": key_id})


def _request(case: str, key_id: str, other: str, alias: str, other_alias: str, blob: bytes, other_blob: bytes) -> (
    tuple[str, dict[str, Any]]
):
    tag = {"tag_key": "k", "tag_value": "v"}
    requests: dict[str, dict[str, Any]] = {
        "Encrypt": {"key_id": key_id, "plaintext": b"x"},
        "Decrypt": {"ciphertext_blob": blob},
        "ReEncrypt from": {"ciphertext_blob": blob, "destination_key_id": other},
        "ReEncrypt to": {"ciphertext_blob": other_blob, "destination_key_id": key_id},
        "GenerateDataKey": {"key_id": key_id, "key_spec": "AES_256"},
        "GenerateDataKeyWithoutPlaintext": {"key_id": key_id, "key_spec": "AES_256"},
        "PutKeyPolicy": {"key_id": key_id, "policy": delegating()},
        "DeleteAlias": {"alias_name": alias},
        "CreateAlias": {"alias_name": f"{alias}-2", "target_key_id": key_id},
        "UpdateAlias from": {"alias_name": alias, "target_key_id": other},
        "UpdateAlias to": {"alias_name": other_alias, "target_key_id": key_id},
        "TagResource": {"key_id": key_id, "tags": [tag]},
        "UntagResource": {"key_id": key_id, "tag_keys": ["k"]},
        "UpdateKeyDescription": {"key_id": key_id, "description": "d"},
    }
    return case.split()[0], requests.get(case, {"key_id": key_id})


@pytest.mark.parametrize("number", range(3), ids=[ENABLED, DISABLED, DYING])
@pytest.mark.parametrize("case", STATES)
def test_every_operation_in_every_state(service: InProcess, case: str, number: int) -> None:
    """The table above, row by row; a refusal carries AWS's exception and text and changes nothing."""
    state, expected = (ENABLED, DISABLED, DYING)[number], STATES[case][number]
    key, other = new_key(service), new_key(service)
    alias = f"alias/{key.key_id}"
    for name, target in ((alias, key), (f"{alias}-other", other)):
        service.call("CreateAlias", {"alias_name": name, "target_key_id": target.key_id})
    blobs = encrypt(service, key.key_id), encrypt(service, other.key_id)
    _bring(service, key.key_id, state)
    operation, values = _request(case, key.key_id, other.key_id, alias, f"{alias}-other", *blobs)
    if expected == OK:
        service.call(operation, values)
        return
    error = refused(service, DisabledException if expected == D1 else KMSInvalidStateException, operation, values)
    assert error.message == f"{key.arn} {expected}"
    assert service.call("DescribeKey", {"key_id": key.key_id}).key_metadata.key_state == state


@pytest.mark.parametrize("state", [ENABLED, DISABLED, DYING])
@pytest.mark.parametrize("operation", sorted({case.split()[0] for case in STATES}))
def test_states_are_not_told_to_those_who_are_not_allowed(
    service: InProcess, operation: str, state: str
) -> None:
    """Whoever may not do it hears only that, in whatever state the key is."""
    token = _nobody(service)
    key = new_key(service)
    alias = f"alias/{key.key_id}"
    service.call("CreateAlias", {"alias_name": alias, "target_key_id": key.key_id})
    blob = encrypt(service, key.key_id)
    _bring(service, key.key_id, state)
    case = next(case for case in STATES if case.startswith(operation))
    _, values = _request(case, key.key_id, key.key_id, alias, alias, blob, blob)
    error = refused(service, AccessDeniedException, operation, values, token=token)
    assert "disabled" not in error.message
    assert "pending" not in error.message


_TOKENS: dict[int, str] = {}


def _nobody(service: InProcess) -> str:
    if id(service) not in _TOKENS:
        _TOKENS[id(service)] = service.new_user("nobody")
    return _TOKENS[id(service)]


def test_disabling_and_enabling(service: InProcess) -> None:
    """Both may be repeated; the metadata follows; the material is the same afterwards."""
    key = new_key(service)
    blob = encrypt(service, key.key_id)
    for operation, state in (("DisableKey", "Disabled"), ("DisableKey", "Disabled"), ("EnableKey", "Enabled"),
                             ("EnableKey", "Enabled")):
        service.call(operation, {"key_id": key.arn})
        record = last_record(service)
        assert (record["requestParameters"], record["responseElements"]) == ({"keyId": key.arn}, {"keyId": key.arn})
        found = service.call("DescribeKey", {"key_id": key.key_id}).key_metadata
        assert (found.key_state, found.enabled) == (state, state == "Enabled")
    assert service.call("Decrypt", {"ciphertext_blob": blob}).plaintext == b"attack at dawn"


@pytest.mark.parametrize("days", [7, 8, 30, None])
def test_waiting_periods(service: InProcess, days: int | None) -> None:
    """7 to 30 days, 30 when nothing is said; the date is told by every answer."""
    key = new_key(service)
    values = {"key_id": key.key_id} if days is None else {"key_id": key.key_id, "pending_window_in_days": days}
    answer = service.call("ScheduleKeyDeletion", values)
    due = START + (days or 30) * DAY
    assert (answer.key_id, answer.key_state, answer.deletion_date, answer.pending_window_in_days) == (
        key.arn, KeyState.PENDING_DELETION, due, days or 30
    )
    found = service.call("DescribeKey", {"key_id": key.key_id}).key_metadata
    assert (found.key_state, found.enabled, found.deletion_date) == (KeyState.PENDING_DELETION, False, due)


def test_what_the_record_of_a_scheduled_deletion_shows(service: InProcess) -> None:
    """CloudTrail's members, the date in its words."""
    key = new_key(service)
    service.call("ScheduleKeyDeletion", {"key_id": key.key_id, "pending_window_in_days": 7})
    record = last_record(service)
    assert record["requestParameters"] == {"keyId": key.key_id, "pendingWindowInDays": 7}
    assert record["responseElements"]["keyId"] == key.arn
    assert record["responseElements"]["keyState"] == "PendingDeletion"
    assert record["responseElements"]["pendingWindowInDays"] == 7
    assert record["responseElements"]["deletionDate"] == "Sep 28, 2026, 2:13:20 PM"


@pytest.mark.parametrize("days", [-1, 0, 1, 6, 31, 365, 366, 2**40])
def test_waiting_periods_that_are_refused(service: InProcess, days: int) -> None:
    """Out of the shape's range, or out of the operation's."""
    key = new_key(service)
    refused(service, ValidationException, "ScheduleKeyDeletion", {"key_id": key.key_id, "pending_window_in_days": days})
    assert service.call("DescribeKey", {"key_id": key.key_id}).key_metadata.key_state is KeyState.ENABLED


# --- the end ------------------------------------------------------------------------------------------------


def test_the_end_of_a_key(tmp_path: Path) -> None:
    """Not a second early. Then the key, its aliases and the wrapped material are gone, from the files too."""
    with InProcess(tmp_path) as service:
        key, stays = new_key(service, description="doomed-description"), new_key(service)
        service.call("CreateAlias", {"alias_name": "alias/doomed", "target_key_id": key.key_id})
        blob, kept = encrypt(service, key.key_id), encrypt(service, stays.key_id)
        with service.catalog.read() as reader:
            found, other = reader.get_key(REGION, key.key_id), reader.get_key(REGION, stays.key_id)
        assert found is not None
        assert other is not None
        wrapped, untouched = found.materials[0].reference, other.materials[0].reference
        assert wrapped in database_bytes(tmp_path)
        service.call("ScheduleKeyDeletion", {"key_id": key.key_id, "pending_window_in_days": 7})
        worker = deletion_worker(service)
        service.clock.advance(7 * DAY - 1)
        assert worker.run_once() == 0
        service.clock.advance(1)
        opened = len(service.store._materials)
        assert worker.run_once() == 1
        assert len(service.store._materials) == opened - 1, "the unwrapped material is forgotten too"
        record = last_record(service)
        assert (record["eventName"], record["eventType"]) == ("DeleteKey", "AwsServiceEvent")
        assert record["userIdentity"] == {"accountId": HOME, "invokedBy": "AWS Internal"}
        assert record["resources"] == [{"accountId": HOME, "type": "AWS::KMS::Key", "ARN": key.arn}]
        assert not {"requestID", "serviceEventDetails", "errorCode"} & record.keys()
        assert worker.run_once() == 0
        assert [each["eventName"] for each in service.records()].count("DeleteKey") == 1
        content = database_bytes(tmp_path)
        assert wrapped not in content
        assert b"doomed-description" not in content
        assert untouched in content
        refused(service, AccessDeniedException, "Decrypt", {"ciphertext_blob": blob})
        refused(service, NotFoundException, "Decrypt", {"ciphertext_blob": blob, "key_id": key.arn})
        refused(service, NotFoundException, "DescribeKey", {"key_id": key.key_id})
        refused(service, NotFoundException, "CancelKeyDeletion", {"key_id": key.key_id})
        refused(service, NotFoundException, "Encrypt", {"key_id": "alias/doomed", "plaintext": b"x"})
        assert alias_arn("alias/doomed") not in str(service.call("ListAliases").aliases)
        assert service.call("Decrypt", {"ciphertext_blob": kept}).plaintext == b"attack at dawn"
        service.pipeline.settle()
        with service.catalog.read() as reader:
            assert reader.pending_intents(service.trail.position().chain) == []
    assert wrapped not in database_bytes(tmp_path)


def test_material_that_another_process_holds_is_out_of_reach(tmp_path: Path) -> None:
    """It had opened the key before; the key's end binds it at once."""
    with InProcess(tmp_path) as one, InProcess(tmp_path, one.clock) as two:
        key = new_key(one)
        blob = encrypt(one, key.key_id)
        assert two.call("Decrypt", {"ciphertext_blob": blob}, token=one.root_token).plaintext == b"attack at dawn"
        one.call("ScheduleKeyDeletion", {"key_id": key.key_id, "pending_window_in_days": 7})
        one.clock.advance(7 * DAY)
        assert deletion_worker(one).run_once() == 1
        with pytest.raises(AccessDeniedException):
            two.call("Decrypt", {"ciphertext_blob": blob}, token=one.root_token)


def test_rescue(tmp_path: Path) -> None:
    """A cancelled deletion leaves the key disabled, without a date, and no worker touches it; it works again."""
    with InProcess(tmp_path) as service:
        key = new_key(service)
        blob = encrypt(service, key.key_id)
        service.call("ScheduleKeyDeletion", {"key_id": key.key_id, "pending_window_in_days": 7})
        service.clock.advance(7 * DAY + 3600)  # overdue, but no worker came by yet
        assert service.call("CancelKeyDeletion", {"key_id": key.key_id}).key_id == key.arn
        assert last_record(service)["responseElements"] == {"keyId": key.arn}
        found = service.call("DescribeKey", {"key_id": key.key_id}).key_metadata
        assert (found.key_state, found.deletion_date) == (KeyState.DISABLED, None)
        service.clock.advance(365 * DAY)
        assert deletion_worker(service).run_once() == 0
        refused(service, DisabledException, "Decrypt", {"ciphertext_blob": blob})
        service.call("EnableKey", {"key_id": key.key_id})
        assert service.call("Decrypt", {"ciphertext_blob": blob}).plaintext == b"attack at dawn"
        service.call("ScheduleKeyDeletion", {"key_id": key.key_id, "pending_window_in_days": 7})
        found = service.call("DescribeKey", {"key_id": key.key_id}).key_metadata
        assert found.deletion_date == service.clock() + 7 * DAY


def test_two_workers_on_one_catalog(tmp_path: Path) -> None:
    """Each key ends once and leaves one record, whoever comes first; a key rescued in between stays."""
    with InProcess(tmp_path) as one, InProcess(tmp_path, one.clock) as two:
        keys = [new_key(one) for _ in range(4)]
        for key in keys:
            one.call("ScheduleKeyDeletion", {"key_id": key.key_id, "pending_window_in_days": 7})
        one.clock.advance(8 * DAY)
        first, second = deletion_worker(one), deletion_worker(two)
        # The second has made its list when the first does its work.
        with two.services.catalog.read() as reader:
            due = reader.due_deletions(two.services.clock(), 100)
        one.call("CancelKeyDeletion", {"key_id": keys[0].key_id})
        assert first.run_once() == 3
        assert [second._end(region, key_id) for region, key_id in due] == [False] * 4
        assert second.run_once() == 0
        deleted = [record for record in one.records() if record["eventName"] == "DeleteKey"]
        assert len(deleted) == 3
        assert {record["resources"][0]["ARN"] for record in deleted} == {key.arn for key in keys[1:]}


def test_a_key_that_got_another_date_meanwhile(tmp_path: Path) -> None:
    """What counts is the date when the worker's turn comes, not when it made its list."""
    with InProcess(tmp_path) as service:
        key = new_key(service)
        service.call("ScheduleKeyDeletion", {"key_id": key.key_id, "pending_window_in_days": 7})
        service.clock.advance(7 * DAY)
        service.call("CancelKeyDeletion", {"key_id": key.key_id})
        service.call("ScheduleKeyDeletion", {"key_id": key.key_id, "pending_window_in_days": 30})
        worker = deletion_worker(service)
        assert worker._end(REGION, key.key_id) is False
        assert worker._end(REGION, "absent") is False
        assert service.call("DescribeKey", {"key_id": key.key_id}).key_metadata.key_state is KeyState.PENDING_DELETION


def test_a_deletion_whose_record_can_not_be_written(tmp_path: Path) -> None:
    """The worker fails, the intent stays and the record comes with the next start."""
    clock = FakeClock(START)
    with InProcess(tmp_path, clock) as service:
        key = new_key(service)
        service.call("ScheduleKeyDeletion", {"key_id": key.key_id, "pending_window_in_days": 7})
        clock.advance(7 * DAY)
        worker = deletion_worker(service)
        service.pipeline.settle()
        service.trail.close()
        with pytest.raises(AuditUnavailable):
            worker.run_once()
        with service.catalog.read() as reader:
            pending = reader.pending_intents(service.trail.position().chain)
        assert [b'"eventName":"DeleteKey"' in intent.record for intent in pending] == [True]
    with InProcess(tmp_path, clock) as service:
        assert recover_intents(service.services, service.trail, service.audit_folder) == 1
        assert recover_intents(service.services, service.trail, service.audit_folder) == 0
        deleted = [record for record in service.records() if record["eventName"] == "DeleteKey"]
        assert [record["resources"][0]["ARN"] for record in deleted] == [key.arn]


def test_who_may_end_a_key(service: InProcess) -> None:
    """Scheduling, cancelling and switching are permissions of their own."""
    key = new_key(service)
    actions = ("ScheduleKeyDeletion", "CancelKeyDeletion", "EnableKey", "DisableKey")
    tokens = {
        action: service.new_user(f"only-{action}", policies={"p": identity_policy(f"kms:{action}", resource=key.arn)})
        for action in actions
    }
    for operation in actions:
        for action, token in tokens.items():
            values = {"key_id": key.key_id}
            if action == operation:
                service.call(operation, values, token=token)
            else:
                refused(service, AccessDeniedException, operation, values, token=token)


def test_destroying_twice_is_no_error(service: InProcess) -> None:
    """A worker that died after the key store's part can do it again."""
    domain = Domain(HOME, REGION)
    reference = service.store.generate(KeySpec.SYMMETRIC_DEFAULT, domain, service.ids.uuid())
    for _ in range(2):
        service.store.destroy(reference)
        service.store.forget(service.ids.uuid())
