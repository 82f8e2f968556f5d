"""SimulatePolicy: recorded calls decided again under a change, each way."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.support.inprocess import ALLOW_ALL, HOME, InProcess
from tests.support.kms_calls import (
    DAY,
    OTHER,
    delegating,
    encrypt,
    identity_policy,
    key_policy,
    new_key,
    root,
    statement,
    user_arn,
)
from tests.support.simulations import identity_change, key_change, simulate, used

from kagitori_server.audit.chain import format_line
from kagitori_server.model.call import Evidence
from kagitori_server.model.errors import AccessDeniedException
from kagitori_server.operations.shapes.decisions import Outcome
from kagitori_server.simulation import running
from kagitori_server.simulation.judging import Verdict
from kagitori_server.simulation.tally import Tally

USE = ("kms:Encrypt", "kms:Decrypt")


@pytest.fixture
def service(tmp_path: Path) -> Iterator[InProcess]:
    with InProcess(tmp_path) as opened:
        yield opened


def test_a_key_policy_that_leaves_callers_out(service: InProcess) -> None:
    alice = service.new_user("alice", policies={"use": identity_policy(*USE)})
    bob = service.new_user("bob")
    key = new_key(service).arn
    other = new_key(service).arn
    used(service, alice, key, 3)
    used(service, bob, key, 2)
    used(service, alice, other)
    blob = encrypt(service, key)
    service.clock.advance(60)
    service.call("Decrypt", {"ciphertext_blob": blob}, token=alice)
    result = simulate(service, **key_change(key, key_policy(statement(root(HOME), "kms:Encrypt"))))
    assert result.found == [
        ("alice", "kms:Decrypt", "ALLOWED", "IMPLICIT_DENY", 1),
    ]
    [finding] = result.findings
    assert (finding.resource_arn, finding.refused_when_made, finding.statement) == (key, 0, None)
    assert finding.first_seen == finding.last_seen == service.clock.now
    assert finding.event_id == service.records()[-2]["eventID"]
    assert result.undecided == []
    # CreateKey's own record names no key before it is there: Encrypt five times, and of root, and Decrypt.
    assert result.progress[-1].calls_decided == 7
    assert result.progress[-1].records_read == result.progress[-1].records_total


def test_a_key_policy_that_admits_and_denies(service: InProcess) -> None:
    alice, bob = service.new_user("alice", policies={"use": identity_policy(*USE)}), service.new_user("bob")
    key = new_key(service).arn
    used(service, alice, key, 2)
    used(service, bob, key, 3)
    policy = delegating(
        statement(user_arn("bob"), "kms:Encrypt"), statement(user_arn("alice"), "kms:Encrypt", effect="Deny")
    )
    result = simulate(service, **key_change(key, policy))
    assert result.found == [
        ("alice", "kms:Encrypt", "ALLOWED", "EXPLICIT_DENY", 2),
        ("bob", "kms:Encrypt", "IMPLICIT_DENY", "ALLOWED", 3),
    ]
    denied, admitted = result.findings
    assert (admitted.refused_when_made, denied.refused_when_made) == (3, 0)
    assert denied.statement is not None
    assert (denied.statement.source, denied.statement.policy, denied.statement.index) == ("KEY_POLICY", key, 2)
    # What it says comes true.
    service.call("PutKeyPolicy", {"key_id": key, "policy": policy})
    service.call("Encrypt", {"key_id": key, "plaintext": b"x"}, token=bob)
    with pytest.raises(AccessDeniedException):
        service.call("Encrypt", {"key_id": key, "plaintext": b"x"}, token=alice)
    assert simulate(service, **key_change(key, policy)).found == []


def test_decisions_are_compared_and_not_records(service: InProcess) -> None:
    """Alice was allowed then and isn't any more: a policy that leaves her out turns nothing."""
    alice = service.new_user("alice", policies={"use": identity_policy(*USE)})
    key = new_key(service).arn
    used(service, alice, key)
    service.call("DeleteIdentityPolicy", {"principal_arn": user_arn("alice"), "policy_name": "use"})
    assert simulate(service, **key_change(key, key_policy(statement(root(HOME), "kms:PutKeyPolicy")))).found == []
    admitting = delegating(statement(user_arn("alice"), "kms:*"))
    [finding] = simulate(service, **key_change(key, admitting)).findings
    assert (finding.before, finding.after, finding.refused_when_made) == ("IMPLICIT_DENY", "ALLOWED", 0)


def test_conditions_on_the_encryption_context(service: InProcess) -> None:
    alice = service.new_user("alice", policies={"use": identity_policy(*USE)})
    key = new_key(service).arn
    used(service, alice, key, 2, encryption_context={"Tenant": "t1"})
    used(service, alice, key, 3, encryption_context={"Tenant": "t2"})
    used(service, alice, key)
    allow = {
        **statement(root(HOME), "kms:*"),
        "Condition": {"StringEquals": {"kms:EncryptionContext:tenant": "t1"}},
    }
    result = simulate(service, **key_change(key, key_policy(allow)))
    assert result.found == [("alice", "kms:Encrypt", "ALLOWED", "IMPLICIT_DENY", 4)]


def test_conditions_on_time_are_asked_of_each_call(service: InProcess) -> None:
    alice = service.new_user("alice", policies={"use": identity_policy(*USE)})
    key = new_key(service).arn
    used(service, alice, key, 2)
    service.clock.advance(DAY)
    used(service, alice, key, 3)
    limit = int(service.clock.now) - 60
    deny = {
        **statement("*", "kms:Encrypt", effect="Deny"),
        "Condition": {"NumericLessThan": {"aws:EpochTime": str(limit)}},
    }
    result = simulate(service, **key_change(key, delegating(deny)))
    assert result.found == [("alice", "kms:Encrypt", "ALLOWED", "EXPLICIT_DENY", 2)]


def test_conditions_on_time_and_on_the_encryption_context(service: InProcess) -> None:
    """What a decision asks at one time needn't be what it asks at another."""
    alice = service.new_user("alice", policies={"use": identity_policy(*USE)})
    key = new_key(service).arn
    for tenant in ("t1", "t2"):
        used(service, alice, key, encryption_context={"tenant": tenant})
    service.clock.advance(DAY)
    limit = str(int(service.clock.now) - 60)
    for tenant in ("t1", "t1", "t2"):
        used(service, alice, key, encryption_context={"tenant": tenant})
    deny = {
        **statement("*", "kms:Encrypt", effect="Deny"),
        "Condition": {
            "NumericGreaterThan": {"aws:EpochTime": limit}, "StringEquals": {"kms:EncryptionContext:tenant": "t1"},
        },
    }
    result = simulate(service, **key_change(key, delegating(deny)))
    assert result.found == [("alice", "kms:Encrypt", "ALLOWED", "EXPLICIT_DENY", 2)]


@pytest.mark.parametrize(("address", "turned"), [("10.1.0.0/16", 0), ("10.2.0.0/16", 1)])
def test_conditions_on_where_calls_came_from(service: InProcess, address: str, turned: int) -> None:
    token = service.new_user("alice", policies={"use": identity_policy(*USE)})
    key = new_key(service).arn
    service.send("Encrypt", {"key_id": key, "plaintext": b"x"}, Evidence(token=token, source_ip="10.1.2.3"))
    deny = {
        **statement("*", "kms:Encrypt", effect="Deny"), "Condition": {"NotIpAddress": {"aws:SourceIp": address}},
    }
    assert len(simulate(service, **key_change(key, delegating(deny))).findings) == turned


def test_what_records_do_not_show_is_said(service: InProcess) -> None:
    """Tags of UntagResource are shown; what was encrypted isn't, and no policy can ask for it. The waiting period of a
    call that failed before it was read isn't either."""
    key = new_key(service).arn
    service.call("ScheduleKeyDeletion", {"key_id": key, "pending_window_in_days": 9})
    deny = {
        **statement("*", "kms:ScheduleKeyDeletion", effect="Deny"),
        "Condition": {"NumericLessThan": {"kms:ScheduleKeyDeletionPendingWindowInDays": "10"}},
    }
    result = simulate(service, **key_change(key, delegating(deny)))
    assert [(each.action, each.after) for each in result.findings] == [
        ("kms:ScheduleKeyDeletion", "EXPLICIT_DENY")
    ]


def test_an_identity_policy_less(service: InProcess) -> None:
    alice = service.new_user("alice", policies={"use": identity_policy("kms:Encrypt", "kms:ListKeys")})
    bob = service.new_user("bob", policies={"use": identity_policy("kms:Encrypt")})
    key = new_key(service).arn
    used(service, alice, key, 2)
    used(service, bob, key, 2)
    service.call("ListKeys", token=alice)
    result = simulate(service, **identity_change("alice", None))
    assert result.found == [
        ("alice", "kms:Encrypt", "ALLOWED", "IMPLICIT_DENY", 2),
        ("alice", "kms:ListKeys", "ALLOWED", "IMPLICIT_DENY", 1),
    ]
    assert result.findings[1].resource_arn == f"arn:aws:kms:us-east-1:{HOME}:*"


def test_calls_of_the_services_beside_kms(service: InProcess) -> None:
    """Are decided by their own rows: AdminService has a LookupEvents, too, which is another permission."""
    document = identity_policy("cloudtrail:LookupEvents", "kagitori:LookupEvents", resource="*")
    alice = service.new_user("alice", policies={"use": document})
    service.call("cloudtrail LookupEvents", {}, token=alice)
    service.call("LookupEvents", {}, token=alice)
    less = identity_policy("kagitori:LookupEvents", resource="*")
    assert simulate(service, **identity_change("alice", less)).found == [
        ("alice", "cloudtrail:LookupEvents", "ALLOWED", "IMPLICIT_DENY", 1),
    ]
    assert [found[1] for found in simulate(service, **identity_change("alice", None)).found] == [
        "cloudtrail:LookupEvents", "kagitori:LookupEvents",
    ]


def test_an_identity_policy_more(service: InProcess) -> None:
    alice = service.new_user("alice")
    key = new_key(service).arn
    used(service, alice, key, 2)
    with pytest.raises(AccessDeniedException):
        service.call("CreateUser", {"user_name": "carol", "path": "/a/"}, token=alice)
    with pytest.raises(AccessDeniedException):
        service.call("CreateAlias", {"alias_name": "alias/a", "target_key_id": key}, token=alice)
    result = simulate(service, **identity_change("alice", ALLOW_ALL))
    assert {(each.action, each.resource_arn.rpartition(":")[2]) for each in result.findings} == {
        ("kms:Encrypt", key.rpartition(":")[2]), ("kagitori:CreateUser", "user/a/carol"),
        ("kms:CreateAlias", "alias/a"),
    }
    assert {(each.after, each.refused_when_made) for each in result.findings} == {("ALLOWED", 1), ("ALLOWED", 2)}
    by = result.findings[0].statement
    assert by is not None
    assert (by.source, by.policy) == ("IDENTITY_POLICY", "use")


def test_a_policy_of_a_group_is_one_of_its_users(service: InProcess) -> None:
    alice, bob = service.new_user("alice"), service.new_user("bob")
    service.call("CreateGroup", {"group_name": "crew"})
    service.call("AddUserToGroup", {"group_name": "crew", "user_name": "alice"})
    key = new_key(service).arn
    used(service, alice, key, 2)
    used(service, bob, key, 2)
    group = f"arn:aws:iam::{HOME}:group/crew"
    change = {"principal_arn": group, "policy_name": "use", "policy_document": identity_policy("kms:Encrypt")}
    [finding] = simulate(service, identity_policy=change).findings
    assert (finding.principal_arn, finding.after) == (user_arn("alice"), "ALLOWED")
    assert finding.statement is not None
    assert finding.statement.policy == f"{group}/use"
    service.call("PutIdentityPolicy", change)
    assert simulate(service, identity_policy={"principal_arn": group, "policy_name": "use"}).found == [
        ("alice", "kms:Encrypt", "ALLOWED", "IMPLICIT_DENY", 2)
    ]


def _role(service: InProcess) -> tuple[str, str]:
    """A role that may use keys, and a user who may assume it: ARN and token."""
    alice = service.new_user("alice", policies={"assume": identity_policy("sts:*")})
    trust = json.dumps({"Statement": {"Effect": "Allow", "Principal": {"AWS": user_arn("alice")}, "Action": "sts:*"}})
    role = service.call("CreateRole", {"role_name": "worker", "assume_role_policy_document": trust}).role.arn
    service.call("PutIdentityPolicy", {
        "principal_arn": role, "policy_name": "use", "policy_document": identity_policy("kms:*"),
    })
    return role, alice


def test_sessions_are_decided_with_their_own_policy(service: InProcess) -> None:
    role, alice = _role(service)
    key = new_key(service).arn
    session = {"role_arn": role, "role_session_name": "s1", "policy": identity_policy("kms:Encrypt")}
    limited = service.call("AssumeRole", session, token=alice).token
    lasting = service.new_token(role, "s2")
    for token in (limited, lasting):
        used(service, token, key)
        with contextlib.suppress(AccessDeniedException):
            service.call("DescribeKey", {"key_id": key}, token=token)
    change = {"principal_arn": role, "policy_name": "use", "policy_document": identity_policy("kms:Decrypt")}
    assert sorted(simulate(service, identity_policy=change).found) == [
        ("s1", "kms:Encrypt", "ALLOWED", "IMPLICIT_DENY", 1),
        ("s2", "kms:DescribeKey", "ALLOWED", "IMPLICIT_DENY", 1),
        ("s2", "kms:Encrypt", "ALLOWED", "IMPLICIT_DENY", 1),
    ]
    for made in service.call("ListTokens", {"principal_arn": role}).tokens:
        service.call("RevokeToken", {"token_id": made.token_id})
    # Of the session that was assumed the trail still tells the policy; of the other it doesn't.
    result = simulate(service, identity_policy=change)
    assert result.found == [("s1", "kms:Encrypt", "ALLOWED", "IMPLICIT_DENY", 1)]
    assert result.reasons == {"SESSION_GONE": 2}


def test_progress_is_told_while_past_sessions_are_looked_for(
    service: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who waits gives up a stream that says nothing for a minute."""
    monkeypatch.setattr(running, "PROGRESS_SECONDS", 0.0)
    role, alice = _role(service)
    key = new_key(service).arn
    change = {"principal_arn": role, "policy_name": "use", "policy_document": identity_policy("kms:Decrypt")}
    without = simulate(service, identity_policy=change).progress
    assert [each.records_read > 0 for each in without] == [False, True, True]
    session = {"role_arn": role, "role_session_name": "s1"}
    used(service, service.call("AssumeRole", session, token=alice).token, key)
    found = simulate(service, identity_policy=change).progress
    assert [each.records_read > 0 for each in found] == [False, False, True, True]


def test_past_sessions_have_their_tags_and_source_identity(service: InProcess) -> None:
    role, alice = _role(service)
    key = new_key(service).arn
    asked = {
        "role_arn": role, "role_session_name": "s1", "duration_seconds": 900,
        "tags": [{"tag_key": "Team", "tag_value": "x"}], "source_identity": "alice",
    }
    used(service, service.call("AssumeRole", asked, token=alice).token, key)
    used(service, service.call("AssumeRole", {**asked, "tags": []}, token=alice).token, key, 2)
    service.clock.advance(1_000)
    # Clears away what has ended.
    service.call("AssumeRole", asked, token=alice)
    assert len(service.call("ListTokens", {"principal_arn": role}).tokens) <= 1
    only = {
        **statement(role, "kms:Encrypt"),
        "Condition": {"StringEquals": {"aws:PrincipalTag/Team": "x", "aws:SourceIdentity": "alice"}},
    }
    result = simulate(service, **key_change(key, key_policy(only, statement(root(HOME), "kms:PutKeyPolicy"))))
    assert (result.found, result.reasons) == ([("s1", "kms:Encrypt", "ALLOWED", "IMPLICIT_DENY", 2)], {})


def test_who_is_gone_and_what_is_not_simulated(service: InProcess) -> None:
    role, alice = _role(service)
    key = new_key(service).arn
    service.call("AssumeRole", {"role_arn": role, "role_session_name": "s1"}, token=alice)
    bob = service.new_user("bob", policies={"use": identity_policy(*USE)})
    used(service, bob, key, 2)
    service.call("DeleteIdentityPolicy", {"principal_arn": user_arn("bob"), "policy_name": "use"})
    [token] = service.call("ListTokens", {"principal_arn": user_arn("bob")}).tokens
    service.call("RevokeToken", {"token_id": token.token_id})
    service.call("DeleteUser", {"user_name": "bob"})
    closed = key_policy(statement(root(HOME), "kms:PutKeyPolicy"))
    assert simulate(service, **key_change(key, closed)).reasons == {"PRINCIPAL_GONE": 2}
    # The name alone is no principal.
    service.new_user("bob", policies={"use": identity_policy(*USE)})
    assert simulate(service, **key_change(key, closed)).reasons == {"PRINCIPAL_GONE": 2}
    result = simulate(service, **identity_change("alice", None, "assume"))
    assert (result.found, result.reasons) == ([], {"NOT_SIMULATED": 1})


def test_callers_of_other_accounts_are_counted_and_not_decided(service: InProcess) -> None:
    service.new_account(OTHER)
    tenant = service.new_user("tenant", account=OTHER, policies={"use": identity_policy("kms:*")})
    key = new_key(service).arn
    used(service, tenant, key)
    service.call("PutKeyPolicy", {"key_id": key, "policy": delegating(statement(root(OTHER), "kms:Encrypt"))})
    used(service, tenant, key, 3)
    result = simulate(service, **key_change(key, delegating()))
    assert (result.found, result.reasons) == ([], {"OTHER_ACCOUNT": 3})
    # To the caller's account its own records tell more.
    change = {"principal_arn": user_arn("tenant", OTHER), "policy_name": "use"}
    result = simulate(service, account_id=OTHER, identity_policy=change)
    assert result.found == [("tenant", "kms:Encrypt", "ALLOWED", "IMPLICIT_DENY", 3)]


def test_a_grant_less(service: InProcess) -> None:
    alice = service.new_user("alice")
    key = new_key(service).arn
    granted = {
        "key_id": key, "grantee_principal": user_arn("alice"), "operations": ["Encrypt"],
        "constraints": {"encryption_context_subset": {"a": "1"}},
    }
    first = service.call("CreateGrant", granted)
    second = service.call("CreateGrant", {**granted, "operations": ["Encrypt", "DescribeKey"], "name": "second"})
    used(service, alice, key, 2, encryption_context={"a": "1"})
    service.call("DescribeKey", {"key_id": key}, token=alice)
    gone = {"key_id": key, "grant_id": first.grant_id}
    assert simulate(service, grant_revocation=gone).found == []
    gone = {"key_id": key.rpartition("/")[2], "grant_id": second.grant_id}
    assert simulate(service, grant_revocation=gone).found == [
        ("alice", "kms:DescribeKey", "ALLOWED", "IMPLICIT_DENY", 1)
    ]
    service.call("RevokeGrant", {"key_id": key, "grant_id": first.grant_id})
    [_, finding] = sorted(simulate(service, grant_revocation=gone).findings, key=lambda each: each.action)
    assert (finding.action, finding.calls, finding.refused_when_made) == ("kms:Encrypt", 2, 0)


def test_a_key_disabled(service: InProcess) -> None:
    alice = service.new_user("alice", policies={"use": identity_policy("kms:*")})
    key = new_key(service).arn
    blob = encrypt(service, key)
    used(service, alice, key, 2)
    service.call("DescribeKey", {"key_id": key}, token=alice)
    service.call("ReEncrypt", {"ciphertext_blob": blob, "destination_key_id": new_key(service).arn}, token=alice)
    change = {"key_disabling": {"key_id": key}}
    assert sorted(simulate(service, **change).found) == [
        ("alice", "kms:Encrypt", "ALLOWED", "IMPLICIT_DENY", 2),
        ("alice", "kms:ReEncryptFrom", "ALLOWED", "IMPLICIT_DENY", 1),
        (f"arn:aws:iam::{HOME}:root", "kms:Encrypt", "ALLOWED", "IMPLICIT_DENY", 1),
    ]
    service.call("DisableKey", {"key_id": key})
    assert simulate(service, **change).found == []


def test_a_period(service: InProcess) -> None:
    alice = service.new_user("alice", policies={"use": identity_policy(*USE)})
    key = new_key(service).arn
    change = key_change(key, key_policy(statement(root(HOME), "kms:PutKeyPolicy")))
    began = service.clock.now
    for _ in range(3):
        used(service, alice, key)
        service.clock.advance(60)
    for start, end, calls in (
        (began, None, 3), (began + 60, None, 2), (began, began + 60, 1), (began + 60, began + 120, 1),
        (began + 200, began + 300, 0),
    ):
        result = simulate(service, **change, start_time=start, **({} if end is None else {"end_time": end}))
        assert [each.calls for each in result.findings] == [calls] * bool(calls), (start, end)
    service.clock.advance(90 * DAY)
    assert simulate(service, **change).findings == []
    assert simulate(service, **change, start_time=0.0).findings[0].calls == 3


def test_damage_is_counted_and_the_rest_is_read(service: InProcess) -> None:
    alice = service.new_user("alice", policies={"use": identity_policy(*USE)})
    key = new_key(service).arn
    used(service, alice, key, 3)
    [segment] = service.audit_folder.rglob("*.jsonl")
    line = segment.read_bytes().splitlines(keepends=True)[-1]
    spoilt = [b"x" * 300 + b"\n", line.replace(b'"userAgent":', b'"userAgent"'), b"\n", b'{"seq":1}\n', b"y" * 700_000]
    other = service.audit_folder / "chain-07"
    other.mkdir()
    (other / "00000001.jsonl").write_bytes(b"".join([line, *spoilt, b"\n", line, b'{"seq":99,"prev":"to']))
    result = simulate(service, **key_change(key, key_policy(statement(root(HOME), "kms:PutKeyPolicy"))))
    assert result.found == [("alice", "kms:Encrypt", "ALLOWED", "IMPLICIT_DENY", 5)]
    assert result.reasons == {"DAMAGED": 5}
    assert result.progress[-1].records_read == len(segment.read_bytes().splitlines()) + 7


def _garbled(event: dict[str, Any]) -> Iterator[bytes]:
    """A record with each of its members, at any depth, replaced by something else or taken out."""

    def variants(value: Any) -> Iterator[Any]:
        yield from (None, 1, "", "x", [], [1], {}, {"x": 1}, True)
        if isinstance(value, dict):
            for name, inner in value.items():
                rest = {each: other for each, other in value.items() if each != name}
                yield rest
                yield from ({**value, name: variant} for variant in variants(inner))
        if isinstance(value, list):
            for place, inner in enumerate(value):
                yield from ([*value[:place], variant, *value[place + 1 :]] for variant in variants(inner))

    for variant in variants(event):
        yield json.dumps(variant, separators=(",", ":")).encode()


def test_garbled_records_never_break_a_simulation(service: InProcess) -> None:
    """Whatever a line holds, the stream ends as it should, and calls that were told whole are found."""
    alice = service.new_user("alice", policies={"use": identity_policy("kms:*", "kagitori:*")})
    service.call("CreateGroup", {"group_name": "crew"})
    service.call("AddUserToGroup", {"group_name": "crew", "user_name": "alice"})
    key = new_key(service).arn
    used(service, alice, key, encryption_context={"a": "b"})
    grant = {"key_id": key, "grantee_principal": user_arn("alice"), "operations": ["Encrypt"]}
    made = service.call("CreateGrant", grant, token=alice)
    service.call("RetireGrant", {"grant_token": made.grant_token}, token=alice)
    service.call("ListTokens", {"principal_arn": user_arn("alice")}, token=alice)
    events = [event for event in service.records() if event["userIdentity"].get("userName") == "alice"]
    assert len(events) == 4
    lines = [
        format_line(number, "0" * 64, garbled) + b"\n"
        for event in events for number, garbled in enumerate(_garbled(event), 1)
    ]
    chain = service.audit_folder / "chain-07"
    chain.mkdir()
    (chain / "00000001.jsonl").write_bytes(b"".join(lines))
    deny = {
        **statement("*", "kms:*", effect="Deny"),
        "Condition": {
            "StringEquals": {"kms:EncryptionContext:a": "b"}, "NumericGreaterThan": {"aws:EpochTime": "1"},
            "IpAddress": {"aws:SourceIp": "0.0.0.0/0"}, "Bool": {"aws:SecureTransport": "false"},
        },
    }
    group = {"principal_arn": f"arn:aws:iam::{HOME}:group/crew", "policy_name": "no"}
    for change in (
        key_change(key, delegating(deny)), {"key_disabling": {"key_id": key}}, identity_change("alice", None),
        {"identity_policy": {**group, "policy_document": identity_policy("kms:*", effect="Deny")}},
    ):
        result = simulate(service, **change)
        assert result.progress[-1].records_read > len(lines)
    assert ("alice", "kms:Encrypt", "ALLOWED", "EXPLICIT_DENY") in {found[:4] for found in result.found}


def test_many_groups_are_handed_out_early() -> None:
    tally = Tally(groups=2)
    verdict = Verdict("a", "kms:Encrypt", "k", Outcome.ALLOWED, Outcome.IMPLICIT_DENY, None, refused=False)
    tally.add([verdict], "2026-01-01T00:00:00Z", "e1")
    assert not tally.full
    tally.add([replace(verdict, action="kms:Decrypt")] * 2, "2026-01-01T00:00:01Z", "e2")
    assert tally.full
    assert [each.finding.calls for each in tally.take_findings() if each.finding] == [2, 1]
    assert not tally.full
    tally.add([verdict], "2026-01-01T00:00:02Z", "e3")
    assert [each.finding.event_id for each in tally.take_findings() if each.finding] == ["e3"]
