"""LookupEvents and VerifyAuditTrail."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.inprocess import HOME, REGION, START, InProcess

from kagitori_server.model.errors import (
    AccessDeniedException,
    NoSuchEntityException,
    ThrottlingException,
    ValidationException,
)

TENANT = "111111111111"
DAY = 86_400


@pytest.fixture
def service(tmp_path: Path) -> Iterator[InProcess]:
    with InProcess(tmp_path) as opened:
        yield opened


@pytest.fixture(scope="module")
def refusing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InProcess]:
    """One service for all tests in which nothing is ever done."""
    with InProcess(tmp_path_factory.mktemp("refusing")) as opened:
        yield opened


def _names(service: InProcess, token: str | None = None, **values: Any) -> list[str]:
    return [event.event_name for event in service.call("LookupEvents", values, token=token).events]


def test_records_are_found_newest_first(service: InProcess) -> None:
    key = service.call("CreateKey").key_metadata.arn
    service.clock.advance(5)
    service.call("DescribeKey", {"key_id": key})
    first, second = service.call("LookupEvents").events
    assert (first.event_name, first.event_time, first.read_only) == ("DescribeKey", START + 5, True)
    assert (second.event_name, second.event_time, second.read_only) == ("CreateKey", START, False)
    assert second.event_source == "kms.amazonaws.com"
    assert second.username is None, "an account's root has no name"
    assert [(found.resource_type, found.resource_name) for found in second.resources] == [("AWS::KMS::Key", key)]
    record = json.loads(second.cloud_trail_event)
    assert (record["eventID"], record["awsRegion"]) == (second.event_id, REGION)
    [token] = service.call("ListTokens").tokens
    assert second.access_key_id == token.token_id


def test_users_and_sessions_are_named(service: InProcess) -> None:
    alice = service.new_user("alice")
    role = service.call("CreateRole", {"role_name": "worker"}).role.arn
    session = service.new_token(role, "job-1")
    for token in (alice, session):
        service.call("GetCallerIdentity", token=token)
    found = service.call("LookupEvents", {"max_results": 2}).events
    assert [event.username for event in found] == ["job-1", "alice"]


def test_an_account_sees_its_own_records_only(service: InProcess) -> None:
    """Also what the home account's administrators did in it, of which each account has a record."""
    tenant = service.new_account(TENANT)
    service.call("CreateKey", {}, token=tenant)
    service.call("CreateUser", {"account_id": TENANT, "user_name": "alice"})
    assert _names(service, tenant) == ["CreateUser", "CreateKey", "CreateToken"]
    assert _names(service, account_id=TENANT) == ["LookupEvents", "CreateUser", "CreateKey", "CreateToken"]
    assert "CreateKey" not in _names(service)
    recipients = {
        json.loads(event.cloud_trail_event)["recipientAccountId"] for event in service.call("LookupEvents").events
    }
    assert recipients == {HOME}


def test_pages_go_on_from_a_token(service: InProcess) -> None:
    for _ in range(5):
        service.call("GetCallerIdentity")
    service.call("CreateUser", {"user_name": "x"})
    first = service.call("LookupEvents", {"max_results": 4})
    last = service.call("LookupEvents", {"max_results": 4, "next_token": first.next_token})
    names = [event.event_name for event in (*first.events, *last.events)]
    assert names == ["CreateUser", *["GetCallerIdentity"] * 5]
    assert last.next_token is None
    for changed in ({"max_results": 4, "end_time": START}, {"account_id": TENANT}):
        with pytest.raises(ValidationException):
            service.call("LookupEvents", {**changed, "next_token": first.next_token})


def test_times_bound_on_both_ends(service: InProcess) -> None:
    for number in range(4):
        service.call("CreateUser", {"user_name": f"u{number}"})
        service.clock.advance(10)
    found = service.call("LookupEvents", {"start_time": START + 10, "end_time": START + 20}).events
    assert [event.event_time for event in found] == [START + 20, START + 10]


def test_nothing_older_than_90_days_is_shown_unasked(service: InProcess) -> None:
    service.call("CreateUser", {"user_name": "old"})
    service.clock.advance(1)
    service.call("CreateRole", {"role_name": "new"})
    service.clock.advance(90 * DAY)
    page = service.call("LookupEvents")
    assert ([event.event_name for event in page.events], page.next_token) == (["CreateRole"], None)
    assert _names(service, start_time=0.0) == ["LookupEvents", "CreateRole", "CreateUser"], "unless it is asked for"


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("EventName", "CreateUser", ["CreateUser"]),
        ("ReadOnly", "false", ["CreateToken", "CreateUser", "CreateKey"]),
        ("ReadOnly", "true", ["GetCallerIdentity"]),
        ("Username", "alice", ["GetCallerIdentity"]),
        ("EventSource", "kms.amazonaws.com", ["CreateKey"]),
        ("ResourceType", "AWS::KMS::Key", ["CreateKey"]),
        ("EventName", "createuser", []),
    ],
)
def test_an_attribute_selects(service: InProcess, key: str, value: str, expected: list[str]) -> None:
    service.call("CreateKey")
    alice = service.new_user("alice")
    service.call("GetCallerIdentity", token=alice)
    assert _names(service, lookup_attribute={"attribute_key": key, "attribute_value": value}) == expected


@pytest.mark.parametrize(
    "values",
    [
        {"max_results": 0},
        {"max_results": 51},
        {"next_token": ""},
        {"next_token": "x"},
        {"start_time": 2.0, "end_time": 1.0},
        {"start_time": -1.0},
        {"end_time": 1e300},
        {"lookup_attribute": {"attribute_key": "EventName"}},
        {"lookup_attribute": {"attribute_value": "x"}},
        {"lookup_attribute": {"attribute_key": "Nothing", "attribute_value": "x"}},
        {"lookup_attribute": {"attribute_key": "EventName", "attribute_value": ""}},
        {"lookup_attribute": {"attribute_key": "EventName", "attribute_value": "x" * 2001}},
        {"lookup_attribute": {"attribute_key": "ReadOnly", "attribute_value": "maybe"}},
        {"filters": [{"attribute_key": "Outcome", "attribute_value": "maybe"}]},
        {"filters": [{"attribute_key": "EncryptionContext", "attribute_value": "v"}]},
        {"filters": [{"attribute_key": "EventName", "attribute_value": "v", "context_key": "k"}]},
        {"filters": [{"attribute_key": "EventName", "attribute_value": "v"}] * 21},
    ],
)
def test_bad_members_are_refused(refusing: InProcess, values: dict[str, Any]) -> None:
    with pytest.raises(ValidationException):
        refusing.call("LookupEvents", values)


def _streamed(service: InProcess, operation: str, values: dict[str, Any], token: str | None = None) -> list[Any]:
    stream = service.call(operation, values, token=token)
    found = []
    while (message := stream.pull()) is not None:
        found.append(message)
    return found


def test_filters_are_all_to_be_met(service: InProcess) -> None:
    key = service.call("CreateKey").key_metadata.arn
    for number in range(4):
        context = {"tenant": f"t{number % 2}"}
        service.call("Encrypt", {"key_id": key, "plaintext": b"x", "encryption_context": context})
    pair = {"attribute_key": "EncryptionContext", "context_key": "tenant", "attribute_value": "t1"}
    named = {"attribute_key": "Key", "attribute_value": key}
    assert _names(service, filters=[pair, named]) == ["Encrypt", "Encrypt"]
    assert _names(service, filters=[named], lookup_attribute={
        "attribute_key": "EventName", "attribute_value": "CreateKey"
    }) == ["CreateKey"]
    assert _names(service, filters=[pair, {"attribute_key": "Outcome", "attribute_value": "failure"}]) == []


def test_streams_show_an_accounts_own_records(service: InProcess) -> None:
    tenant = service.new_account(TENANT)
    service.call("CreateKey", {}, token=tenant)
    service.call("CreateUser", {"user_name": "x"})
    for operation, values in (("TailEvents", {"backlog": 100}), ("ExportEvents", {})):
        messages = _streamed(service, operation, values, tenant)
        names = [event.event_name for message in messages for event in message.events]
        assert names[:2] == ["CreateToken", "CreateKey"]
        assert "CreateUser" not in names
    with pytest.raises(AccessDeniedException):
        service.call("ExportEvents", {"account_id": HOME}, token=tenant)


def test_as_many_streams_run_as_may(service: InProcess) -> None:
    open_streams = [service.call("TailEvents") for _ in range(4)]
    with pytest.raises(ThrottlingException):
        service.call("ExportEvents")
    open_streams.pop().close()
    with pytest.raises(ValidationException):
        service.call("TailEvents", {"resume_token": "x"})
    assert _streamed(service, "ExportEvents", {})[-1].complete
    for stream in open_streams:
        stream.close()


def test_a_sound_trail_is_described(service: InProcess) -> None:
    for _ in range(3):
        service.call("GetCallerIdentity")
    [chain] = service.call("VerifyAuditTrail").chains
    assert (chain.chain_name, chain.records, chain.first_sequence, chain.last_sequence) == ("chain-00", 3, 1, 3)
    last = service.audit_text().splitlines()[2]
    assert chain.head_hash == hashlib.sha256(last.encode()).digest()
    assert chain.problems == ()
    assert service.call("VerifyAuditTrail", {"chain_name": "chain-00"}).chains[0].records == 4


def test_a_changed_record_is_an_answer_not_an_error(service: InProcess) -> None:
    for _ in range(3):
        service.call("GetCallerIdentity")
    [segment] = service.audit_folder.rglob("*.jsonl")
    text = segment.read_text()
    segment.write_text(text.replace("GetCallerIdentity", "getCallerIdentity", 1))
    [chain] = service.call("VerifyAuditTrail").chains
    [problem] = chain.problems
    assert (problem.chain_name, problem.segment_file, problem.line) == ("chain-00", segment.name, 2)
    assert problem.description


def test_a_missing_chain_is_described(service: InProcess) -> None:
    shutil.copytree(service.audit_folder / "chain-00", service.audit_folder / "chain-02")
    chains = service.call("VerifyAuditTrail").chains
    assert [chain.chain_name for chain in chains] == ["chain-00", "chain-01", "chain-02"]
    assert (chains[1].records, chains[1].head_hash) == (0, bytes(32))
    assert (chains[1].problems[0].segment_file, chains[1].problems[0].line) == ("", 0)
    assert service.call("VerifyAuditTrail", {"chain_name": "chain-01"}).chains == (chains[1],)


def test_an_unknown_chain_is_not_found(refusing: InProcess) -> None:
    with pytest.raises(NoSuchEntityException):
        refusing.call("VerifyAuditTrail", {"chain_name": "chain-09"})
    for wrong in ("", "../x", "a" * 129):
        with pytest.raises(ValidationException):
            refusing.call("VerifyAuditTrail", {"chain_name": wrong})
