"""Records of AdminService tell which entity a call was about, and ExplainAccess decides calls about one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from tests.support.entity_calls import (
    CASES,
    CREATING,
    DOCUMENT,
    PATH,
    fresh,
    new_caller,
    new_user,
    numbers,
    refusal,
)
from tests.support.identities import HOME_ARN, assume, new_role, trust
from tests.support.inprocess import HOME, InProcess
from tests.support.kms_calls import OTHER, identity_policy, root

from kagitori_server.model.errors import (
    AccessDeniedException,
    InvalidArnException,
    NoSuchEntityException,
    ValidationException,
)

operations = pytest.mark.parametrize("operation", CASES)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InProcess]:
    with InProcess(tmp_path_factory.mktemp("records")) as opened:
        opened.new_account(OTHER)
        yield opened


def recorded(service: InProcess) -> list[tuple[str, str, str]]:
    """What the last record says that the call was about."""
    return [(each["accountId"], each["type"], each["ARN"]) for each in service.records()[-1].get("resources", [])]


@operations
def test_records_tell_the_entity(service: InProcess, operation: str) -> None:
    case = CASES[operation](service)
    kind = case.arn.split(":", 5)[5].partition("/")[0]
    about = [(HOME, f"AWS::IAM::{'ManagedPolicy' if kind == 'policy' else kind.title()}", case.arn)]
    refusal(service, operation, case.values, new_caller(service))
    assert recorded(service) == about
    service.call(operation, case.values)
    assert recorded(service) == about
    if operation not in CREATING:
        with pytest.raises(NoSuchEntityException):
            service.call(operation, case.about(case.absent))
        assert recorded(service) == []


def test_records_tell_what_was_named_by_its_arn(service: InProcess) -> None:
    _, user = new_user(service)
    policy = service.call("CreateManagedPolicy", {"policy_name": fresh(), "policy_document": DOCUMENT}).policy.arn
    service.call("AttachManagedPolicy", {"principal_arn": user, "policy_arn": policy})
    assert recorded(service) == [(HOME, "AWS::IAM::User", user)]
    service.call("GetManagedPolicy", {"policy_arn": policy})
    assert recorded(service) == [(HOME, "AWS::IAM::ManagedPolicy", policy)]
    service.call("ListTokens", {"principal_arn": root(HOME)})
    assert recorded(service) == [(HOME, "AWS::IAM::User", root(HOME))]
    for operation, values in (("ListTokens", {}), ("ListUsers", {}), ("LintPolicy", {
        "policy_kind": "IDENTITY_POLICY", "policy_document": DOCUMENT,
    })):
        service.call(operation, values)
        assert recorded(service) == []
    role = new_role(service, fresh(), trust_policy=trust(f"{HOME_ARN}:root"))
    caller = new_caller(service, a=identity_policy("sts:*"))
    assume(service, role, caller)
    assert recorded(service) == [(HOME, "AWS::IAM::Role", role)]
    found = service.call("LookupEvents", {
        "lookup_attribute": {"attribute_key": "ResourceName", "attribute_value": role},
    }).events
    assert [event.event_name for event in found] == ["AssumeRole", "CreateRole"]


def test_records_of_refusals_do_not_tell_other_accounts_entities(service: InProcess) -> None:
    name = fresh()
    arn = service.call("CreateUser", {"account_id": OTHER, "user_name": name, "path": PATH}).user.arn
    values = {"account_id": OTHER, "user_name": name}
    refusal(service, "GetUser", values, new_caller(service))
    assert recorded(service) == []
    service.call("GetUser", values)
    assert recorded(service) == [(OTHER, "AWS::IAM::User", arn)]


def _explained(principal: str | None) -> dict[str, Any]:
    asked = {"action": "kms:ListKeys", "resource_arn": "*"}
    return asked if principal is None else {**asked, "principal_arn": principal}


def test_access_is_explained_to_who_may_ask_about_the_principal(service: InProcess) -> None:
    name = f"caller-{next(numbers)}"
    own = f"{HOME_ARN}:user/{name}"
    token = service.new_user(name, policies={"p": identity_policy("kagitori:ExplainAccess", resource=own)})
    for principal in (None, own):
        assert service.call("ExplainAccess", _explained(principal), token=token).decision == "IMPLICIT_DENY"
    _, other = new_user(service)
    for principal in (other, root(HOME)):
        with pytest.raises(AccessDeniedException):
            service.call("ExplainAccess", _explained(principal), token=token)


def test_a_session_asks_about_itself_by_its_role(service: InProcess) -> None:
    name = fresh()
    arn = f"{HOME_ARN}:role{PATH}{name}"
    inline = identity_policy("kagitori:ExplainAccess", resource=arn)
    new_role(service, name, path=PATH, inline=inline)
    token = service.new_token(arn, "s1")
    for principal in (None, arn, f"arn:aws:sts::{HOME}:assumed-role/{name}/s1"):
        assert service.call("ExplainAccess", _explained(principal), token=token).decision == "IMPLICIT_DENY"


@pytest.mark.parametrize(
    ("action", "entity"),
    [
        ("kagitori:DeleteRole", "role/eng/worker"), ("kagitori:DeleteGroup", "group/team"),
        ("kagitori:CreateToken", "user/eng/alice"), ("kagitori:CreateToken", "root"),
        ("kagitori:GetManagedPolicy", "policy/p"), ("kagitori:ListTokens", "user/a"),
    ],
)
def test_calls_about_entities_can_be_explained(service: InProcess, action: str, entity: str) -> None:
    name, arn = f"caller-{next(numbers)}", f"{HOME_ARN}:{entity}"
    service.new_user(name, policies={"p": identity_policy(action, resource=arn)})
    asked = {"principal_arn": f"{HOME_ARN}:user/{name}", "action": action.lower(), "resource_arn": arn}
    answer = service.call("ExplainAccess", asked)
    assert (answer.decision, answer.decided_by.policy) == ("ALLOWED", "p")
    assert f"{action} on resource: {arn}" in answer.explanation
    other = service.call("ExplainAccess", {**asked, "resource_arn": f"{HOME_ARN}:user/other"})
    assert other.decision == "IMPLICIT_DENY"
    assert other.evaluations[-1].explanation == "resource does not match"


def test_what_could_not_be_called_about_an_entity_is_not_explained(service: InProcess) -> None:
    def explain(principal: str, action: str, resource: str) -> Any:
        return service.call("ExplainAccess", {"principal_arn": principal, "action": action, "resource_arn": resource})

    alice = f"{HOME_ARN}:user/alice"
    for action, resource in (
        ("kms:Encrypt", alice), ("kms:ListKeys", alice), ("kagitori:LintPolicy", alice), ("kagitori:DeleteUser", "*"),
        ("kagitori:NoSuchThing", alice),
    ):
        with pytest.raises(ValidationException):
            explain(root(HOME), action, resource)
    for resource in (alice, f"arn:aws-cn:iam::{OTHER}:user/alice", f"arn:aws:iam::{OTHER}:mfa/x"):
        with pytest.raises(InvalidArnException):
            explain(root(OTHER), "kagitori:DeleteUser", resource)
    # The home account's administrators reach into others.
    assert explain(root(HOME), "kagitori:DeleteUser", f"arn:aws:iam::{OTHER}:user/alice").decision == "ALLOWED"
