"""What SimulatePolicy is refused for, who may call it, and what is durable by when."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.inprocess import ALLOW_ALL, HOME, START, InProcess
from tests.support.kms_calls import (
    ABSENT_ID,
    DAY,
    OTHER,
    delegating,
    identity_policy,
    key_arn,
    new_key,
    root,
    statement,
    user_arn,
)
from tests.support.simulations import Result, identity_change, key_change

from kagitori_server.model.errors import (
    AccessDeniedException,
    InvalidArnException,
    InvalidGrantIdException,
    KmsError,
    LimitExceededException,
    MalformedPolicyDocumentException,
    NoSuchEntityException,
    NotFoundException,
    ThrottlingException,
    ValidationException,
)


@pytest.fixture
def service(tmp_path: Path) -> Iterator[InProcess]:
    with InProcess(tmp_path) as opened:
        yield opened


@pytest.fixture(scope="module")
def lasting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InProcess]:
    """With a user and one key, for tests that change nothing."""
    with InProcess(tmp_path_factory.mktemp("lasting")) as opened:
        opened.new_user("alice")
        new_key(opened)
        yield opened


@pytest.mark.parametrize(
    ("values", "error"),
    [
        ({}, ValidationException),
        (
            {"key_disabling": {"key_id": ABSENT_ID}, "grant_revocation": {"key_id": ABSENT_ID, "grant_id": "g"}},
            ValidationException,
        ),
        ({"key_disabling": {"key_id": ABSENT_ID}}, NotFoundException),
        ({"key_disabling": {"key_id": key_arn(ABSENT_ID)}}, NotFoundException),
        ({"key_disabling": {"key_id": key_arn(ABSENT_ID, OTHER)}}, AccessDeniedException),
        ({"key_disabling": {"key_id": "alias/app"}}, InvalidArnException),
        ({"key_policy": {"key_id": "KEY", "policy": "{"}}, MalformedPolicyDocumentException),
        ({"key_policy": {"key_id": "KEY", "policy": delegating(statement(user_arn("x"), "kms:*"))}},
         MalformedPolicyDocumentException),
        ({"key_policy": {"key_id": "KEY", "policy": delegating() + " " * 40_000}}, LimitExceededException),
        ({"key_policy": {"key_id": "KEY"}}, ValidationException),
        ({"grant_revocation": {"key_id": "KEY", "grant_id": "g"}}, InvalidGrantIdException),
        ({"grant_revocation": {"key_id": "KEY", "grant_id": "a" * 64}}, NotFoundException),
        (identity_change("absent", ALLOW_ALL), NoSuchEntityException),
        (identity_change("alice", None), NoSuchEntityException),
        (identity_change("alice", "{}"), MalformedPolicyDocumentException),
        (identity_change("alice", ALLOW_ALL + " " * 200_000), ValidationException),
        ({"identity_policy": {"principal_arn": root(HOME), "policy_name": "p"}}, ValidationException),
        ({"key_disabling": {"key_id": "KEY"}, "start_time": START + 10, "end_time": START + 10}, ValidationException),
        ({"key_disabling": {"key_id": "KEY"}, "start_time": START + DAY}, ValidationException),
        ({"key_disabling": {"key_id": "KEY"}, "end_time": -1.0}, ValidationException),
    ],
)
def test_refusals(lasting: InProcess, values: dict[str, Any], error: type[KmsError]) -> None:
    service, [entry] = lasting, lasting.call("ListKeys").keys
    key = entry.key_arn
    values = {
        name: {member: key if each == "KEY" else each for member, each in value.items()}
        if isinstance(value, dict) else value
        for name, value in values.items()
    }
    with pytest.raises(error) as caught:
        service.call("SimulatePolicy", values)
    assert type(caught.value) is error
    record = service.records()[-1]
    assert record["eventName"] == "SimulatePolicy"
    assert record["errorCode"] == ("AccessDenied" if error is AccessDeniedException else error.code())
    assert service.simulations.running == 0


def test_the_permission_is_asked_on_what_would_change(service: InProcess) -> None:
    key, other = new_key(service).arn, new_key(service).arn
    service.new_user("alice")
    allowed = [key, user_arn("alice")]
    token = service.new_user("auditor", policies={"p": identity_policy("kagitori:SimulatePolicy", resource=allowed)})
    for change in (
        {"key_disabling": {"key_id": key}}, {"key_disabling": {"key_id": key.rpartition("/")[2]}},
        identity_change("alice", ALLOW_ALL),
    ):
        Result(service.call("SimulatePolicy", change, token=token))
    for change in (
        {"key_disabling": {"key_id": other}}, {"key_disabling": {"key_id": ABSENT_ID}},
        identity_change("auditor", ALLOW_ALL), identity_change("absent", ALLOW_ALL),
    ):
        with pytest.raises(AccessDeniedException) as refused:
            service.call("SimulatePolicy", change, token=token)
        assert "kagitori:SimulatePolicy on resource: arn:" in (refused.value.message or "")
    for resource, decision in (
        (key, "ALLOWED"), (user_arn("alice"), "ALLOWED"), (other, "IMPLICIT_DENY"), (user_arn("x"), "IMPLICIT_DENY"),
    ):
        asked = {"principal_arn": user_arn("auditor"), "action": "kagitori:SimulatePolicy", "resource_arn": resource}
        assert service.call("ExplainAccess", asked).decision == decision


def test_the_record_is_there_before_the_first_message(service: InProcess) -> None:
    key = new_key(service).arn
    stream = service.call("SimulatePolicy", key_change(key, delegating()))
    record = service.records()[-1]
    assert (record["eventName"], record["resources"][0]["ARN"]) == ("SimulatePolicy", key)
    assert record["requestParameters"]["keyPolicy"] == {"keyId": key, "policy": delegating()}
    stream.close()
    assert stream.pull() is None


def test_no_record_no_answer(service: InProcess) -> None:
    key = new_key(service).arn
    service.trail.close()
    with pytest.raises(KmsError):
        service.call("SimulatePolicy", {"key_disabling": {"key_id": key}})
    assert service.simulations.running == 0


def test_as_many_as_may_run_at_once(service: InProcess) -> None:
    change = {"key_disabling": {"key_id": new_key(service).arn}}
    first, second = (service.call("SimulatePolicy", change) for _ in range(2))
    with pytest.raises(ThrottlingException):
        service.call("SimulatePolicy", change)
    assert first.pull().progress is not None
    first.close()
    third = service.call("SimulatePolicy", change)
    for stream in (second, third):
        Result(stream)
    assert service.simulations.running == 0
