"""ExplainAccess answers what the call itself would be answered, and LintPolicy what is wrong with a document."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from tests.support.inprocess import ALLOW_ALL, HOME, REGION, InProcess
from tests.support.kms_calls import ABSENT_ID, OTHER, alias_arn, identity_policy, key_arn, new_key, root, user_arn

from kagitori_server.model.errors import (
    AccessDeniedException,
    InvalidArnException,
    InvalidGrantTokenException,
    KmsError,
    NoSuchEntityException,
    NotFoundException,
    ValidationException,
)

ROLE = f"arn:aws:iam::{HOME}:role/worker"
SESSION = f"arn:aws:sts::{HOME}:assumed-role/worker/s1"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InProcess]:
    with InProcess(tmp_path_factory.mktemp("decisions")) as opened:
        opened.call("CreateRole", {"role_name": "worker"})
        opened.new_account(OTHER)
        yield opened


@pytest.fixture(scope="module")
def key(service: InProcess) -> str:
    arn: str = new_key(service, tags=[{"tag_key": "Team", "tag_value": "x"}]).arn
    service.call("CreateAlias", {"alias_name": "alias/explained", "target_key_id": arn})
    return arn


def _explain(service: InProcess, principal: str | None, action: str, resource: str, **more: Any) -> Any:
    values = {"action": action, "resource_arn": resource, **more}
    if principal is not None:
        values["principal_arn"] = principal
    return service.call("ExplainAccess", values)


def _conditioned(name: str, condition: dict[str, Any], service: InProcess) -> str:
    statement = {"Effect": "Allow", "Action": "kms:*", "Resource": "*", "Condition": condition}
    return service.new_user(name, policies={"p": json.dumps({"Version": "2012-10-17", "Statement": [statement]})})


def test_an_identity_policy_decides(service: InProcess, key: str) -> None:
    token = service.new_user("reader", policies={"use": identity_policy("kms:DescribeKey")})
    answer = _explain(service, user_arn("reader"), "kms:describekey", key)
    assert answer.decision == "ALLOWED"
    by = answer.decided_by
    assert (by.source, by.policy, by.index) == ("IDENTITY_POLICY", "use", 0)
    assert [each.matches for each in answer.evaluations] == [True, True]
    refused = _explain(service, user_arn("reader"), "kms:Encrypt", key)
    assert (refused.decision, refused.decided_by) == ("IMPLICIT_DENY", None)
    assert refused.evaluations[-1].explanation == "action does not match"
    with pytest.raises(AccessDeniedException) as denied:
        service.call("Encrypt", {"key_id": key, "plaintext": b"x"}, token=token)
    assert refused.explanation == denied.value.message


def test_a_deny_decides(service: InProcess, key: str) -> None:
    service.new_user("denied", policies={"all": ALLOW_ALL, "no": identity_policy("kms:Encrypt", effect="Deny")})
    answer = _explain(service, user_arn("denied"), "kms:Encrypt", key)
    assert (answer.decision, answer.decided_by.policy) == ("EXPLICIT_DENY", "no")


def test_a_grant_decides_as_far_as_the_encryption_context_fits(service: InProcess, key: str) -> None:
    service.new_user("grantee")
    granted = service.call("CreateGrant", {
        "key_id": key, "grantee_principal": user_arn("grantee"), "operations": ["Decrypt"],
        "constraints": {"encryption_context_subset": {"a": "1"}},
    })
    answer = _explain(
        service, user_arn("grantee"), "kms:Decrypt", key, encryption_context={"a": "1"},
        grant_tokens=[granted.grant_token],
    )
    assert (answer.decision, answer.decided_by.source, answer.decided_by.policy) == (
        "ALLOWED", "GRANT", granted.grant_id
    )
    refused = _explain(service, user_arn("grantee"), "kms:Decrypt", key)
    assert refused.decision == "IMPLICIT_DENY"
    assert refused.evaluations[-1].explanation == "constraint does not match"
    with pytest.raises(InvalidGrantTokenException):
        _explain(service, user_arn("grantee"), "kms:Decrypt", key, grant_tokens=["x"])


@pytest.mark.parametrize(
    ("number", "condition", "values", "decision"),
    [
        (0, {"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}, {}, "IMPLICIT_DENY"),
        (1, {"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}, {"AWS:sourceip": ["10.1.1.1"]}, "ALLOWED"),
        (2, {"StringEquals": {"aws:ResourceTag/Team": "x"}}, {}, "ALLOWED"),
        (3, {"StringEquals": {"aws:ResourceTag/Team": "x"}}, {"aws:ResourceTag/Team": ["y"]}, "IMPLICIT_DENY"),
        (4, {"Bool": {"aws:SecureTransport": "false"}}, {}, "IMPLICIT_DENY"),
        (5, {"StringEquals": {"kms:RequestAlias": "alias/explained"}}, {}, "IMPLICIT_DENY"),
    ],
)
def test_given_values_come_before_those_of_key_and_principal(
    service: InProcess, key: str, number: int, condition: dict[str, Any], values: dict[str, list[str]], decision: str
) -> None:
    _conditioned(f"conditioned{number}", condition, service)
    given = {name: {"values": each} for name, each in values.items()}
    answer = _explain(service, user_arn(f"conditioned{number}"), "kms:Encrypt", key, condition_values=given)
    assert answer.decision == decision
    assert answer.condition_values["aws:resourcetag/team"].values == tuple(values.get("aws:ResourceTag/Team", ["x"]))
    assert ("aws:sourceip" in answer.condition_values) == ("AWS:sourceip" in values)


def test_an_alias_is_the_way_the_key_was_named(service: InProcess, key: str) -> None:
    _conditioned("byalias", {"StringEquals": {"kms:RequestAlias": "alias/explained"}}, service)
    assert _explain(service, user_arn("byalias"), "kms:Encrypt", alias_arn("alias/explained")).decision == "ALLOWED"


@pytest.mark.parametrize("principal", [ROLE, SESSION, root(HOME), None])
def test_every_kind_of_principal(service: InProcess, key: str, principal: str | None) -> None:
    answer = _explain(service, principal, "kms:ListKeys", "*")
    assert answer.decision == ("IMPLICIT_DENY" if principal in (ROLE, SESSION) else "ALLOWED")
    assert (f"{SESSION} is not" in answer.explanation) == (principal == SESSION)
    assert _explain(service, principal, "kms:CreateKey", "*").decision == answer.decision


def test_the_home_account_explains_another_accounts_principal(service: InProcess, key: str) -> None:
    service.new_user("tenant", account=OTHER, policies={"all": ALLOW_ALL})
    assert _explain(service, user_arn("tenant", OTHER), "kms:ListKeys", "*").decision == "ALLOWED"
    # The key is of the caller's account, which isn't the one that is asked about.
    with pytest.raises(AccessDeniedException):
        _explain(service, user_arn("tenant", OTHER), "kms:Encrypt", key)


def test_other_accounts_learn_nothing(service: InProcess, key: str) -> None:
    token = service.new_token(root(OTHER))
    values = {"action": "kms:Encrypt", "resource_arn": key}
    messages = []
    for resource in (key, key_arn(ABSENT_ID)):
        with pytest.raises(AccessDeniedException) as refused:
            service.call("ExplainAccess", {**values, "resource_arn": resource}, token=token)
        messages.append((refused.value.message or "").replace(resource, ""))
    assert messages[0] == messages[1]
    with pytest.raises(AccessDeniedException):
        service.call("ExplainAccess", {**values, "principal_arn": root(HOME)}, token=token)
    with pytest.raises(AccessDeniedException):
        service.call("ExplainAccess", values, token=service.new_user("nobody"))


@pytest.mark.parametrize(
    ("principal", "action", "resource", "error"),
    [
        (user_arn("absent"), "kms:Encrypt", "*", NoSuchEntityException),
        (f"arn:aws:sts::{HOME}:assumed-role/absent/s1", "kms:ListKeys", "*", NoSuchEntityException),
        (None, "kms:Encrypt", key_arn(ABSENT_ID), NotFoundException),
        (None, "kms:Encrypt", "alias/explained", InvalidArnException),
        (None, "kms:Encrypt", "*", ValidationException),
        (None, "kms:Unknown", "*", ValidationException),
        (None, "Encrypt", "*", ValidationException),
        ("arn:aws:iam::1:user/x", "kms:Encrypt", "*", ValidationException),
    ],
)
def test_refusals(
    service: InProcess, principal: str | None, action: str, resource: str, error: type[KmsError]
) -> None:
    with pytest.raises(error):
        _explain(service, principal, action, resource)


def _lint(service: InProcess, kind: str, document: str) -> list[tuple[str, str, str]]:
    answer = service.call("LintPolicy", {"policy_kind": kind, "policy_document": document})
    return [(each.severity, each.code, each.pointer) for each in answer.findings]


def test_lint(service: InProcess) -> None:
    assert _lint(service, "IDENTITY_POLICY", identity_policy("kms:Encrypt")) == []
    assert _lint(service, "IDENTITY_POLICY", identity_policy("kms:Encrpt")) == [
        ("WARNING", "UNKNOWN_ACTION", "/Statement/0")
    ]
    assert _lint(service, "IDENTITY_POLICY", "{") == [("ERROR", "MALFORMED_POLICY_DOCUMENT", "")]
    own = {"Effect": "Allow", "Principal": {"AWS": root(HOME)}, "Action": "kms:*", "Resource": "*"}
    assert _lint(service, "KEY_POLICY", json.dumps({"Statement": [own]})) == []
    other = {**own, "Action": "kms:Encrypt"}
    assert _lint(service, "KEY_POLICY", json.dumps({"Statement": [other]})) == [("WARNING", "NOBODY_ADMINISTERS", "")]
    absent = {**own, "Principal": {"AWS": user_arn("absent")}}
    assert [each[0] for each in _lint(service, "KEY_POLICY", json.dumps({"Statement": [absent]}))] == ["ERROR"]
    with pytest.raises(KmsError):
        _lint(service, "TRUST_POLICY", "{}")


def test_the_record_shows_what_was_asked(service: InProcess, key: str) -> None:
    _explain(service, None, "kms:Encrypt", key, condition_values={"aws:SourceIp": {"values": ["10.0.0.1"]}})
    record = service.records()[-1]
    assert record["eventName"] == "ExplainAccess"
    assert record["requestParameters"]["resourceArn"] == key
    assert record["requestParameters"]["conditionValues"] == {"aws:SourceIp": {"values": ["10.0.0.1"]}}
    assert record["awsRegion"] == REGION
