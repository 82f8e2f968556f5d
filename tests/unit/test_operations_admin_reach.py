"""Whom AdminService serves: by permission, by account, and with a record of every call."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.inprocess import ALLOW_ALL, HOME, InProcess
from tests.support.simulations import simulate

from kagitori_server.model.arn import root_arn
from kagitori_server.model.errors import AccessDeniedException, KmsError, NoSuchEntityException, ValidationException
from kagitori_server.operations.admin_table import ADMIN
from kagitori_server.workers import DeletionWorker

TENANT = "111111111111"
OTHER = "222222222222"
HOME_ONLY = {
    "CreateAccount": {"name": "x"},
    "DeleteAccount": {"account_id": OTHER},
    "GetServerStatus": {},
    "ListKeyStoreHealth": {},
    "CheckCustomKeyStore": {"custom_key_store_id": "cks-none"},
    "RotateRootKey": {},
    "VerifyAuditTrail": {},
    "DescribeTrail": {},
    "GetTrailStatus": {},
}


def _inside(account: str) -> dict[str, dict[str, Any]]:
    """Calls about what is in an account, by the name of the operation."""
    user = f"arn:aws:iam::{account}:user/alice"
    policy = {"principal_arn": user, "policy_name": "p"}
    managed = f"arn:aws:iam::{account}:policy/m"
    attachment = {"principal_arn": user, "policy_arn": managed}
    group, member = ({"account_id": account, "group_name": "team", **more} for more in ({}, {"user_name": "alice"}))
    access_key = {"account_id": account, "access_key_id": "AKIA" + "A" * 16}
    budget = {"account_id": account, "budget_name": "b"}
    trust = json.dumps({"Statement": {"Effect": "Deny", "Principal": "*", "Action": "sts:AssumeRole"}})
    return {
        "ListUsers": {"account_id": account},
        "ListRoles": {"account_id": account},
        "ListTokens": {"account_id": account},
        "ListCertificates": {"account_id": account},
        "LookupEvents": {"account_id": account},
        "TailEvents": {"account_id": account},
        "ExportEvents": {"account_id": account},
        "GetInclusionProof": {"account_id": account, "event_id": "none"},
        "GetUsage": {"account_id": account, "start_time": 0.0, "end_time": 31 * 86_400.0},
        "GetUser": {"account_id": account, "user_name": "alice"},
        "ExplainAccess": {"principal_arn": user, "action": "kms:ListKeys", "resource_arn": "*"},
        "SimulatePolicy": {"account_id": account, "identity_policy": {**policy, "policy_document": ALLOW_ALL}},
        "GetRole": {"account_id": account, "role_name": "worker"},
        "PutIdentityPolicy": {**policy, "policy_document": ALLOW_ALL},
        "GetIdentityPolicy": policy,
        "ListIdentityPolicies": {"principal_arn": user},
        "DeleteIdentityPolicy": policy,
        "CreateToken": {"principal_arn": user},
        "RegisterCertificate": {"principal_arn": user, "uri_san": "spiffe://a/b"},
        "DeregisterCertificate": {"account_id": account, "certificate_id": "crt-1"},
        "RevokeToken": {"account_id": account, "token_id": "tok-1"},
        "CreateGroup": group,
        "ListGroups": {"account_id": account},
        "AddUserToGroup": member,
        "ListGroupsForUser": {"account_id": account, "user_name": "alice"},
        "RemoveUserFromGroup": member,
        "DeleteGroup": group,
        "UpdateAssumeRolePolicy": {"account_id": account, "role_name": "worker", "policy_document": trust},
        "TagPrincipal": {"principal_arn": user, "tags": [{"tag_key": "a", "tag_value": "b"}]},
        "UntagPrincipal": {"principal_arn": user, "tag_keys": ["a"]},
        "CreateManagedPolicy": {"account_id": account, "policy_name": "m", "policy_document": ALLOW_ALL},
        "GetManagedPolicy": {"policy_arn": managed},
        "ListManagedPolicies": {"account_id": account},
        "AttachManagedPolicy": attachment,
        "DetachManagedPolicy": attachment,
        "PutPermissionsBoundary": attachment,
        "DeletePermissionsBoundary": {"principal_arn": user},
        "DeleteManagedPolicy": {"policy_arn": managed},
        "CreateAccessKey": {"principal_arn": user},
        "ListAccessKeys": {"account_id": account},
        "UpdateAccessKey": {**access_key, "status": "Inactive"},
        "DeleteAccessKey": access_key,
        "PutBudget": {**budget, "key_arn": "*", "principal_arn": "*", "on_exceed": "REFUSE",
                      "limits": [{"window": "DAY", "count": 1}]},
        "GetBudget": budget,
        "ListBudgets": {"account_id": account},
        "DeleteBudget": budget,
        "ListFreezes": {"account_id": account},
        "LiftFreeze": {**budget, "freeze_id": "frz-1"},
        "CreateOidcProvider": {
            "account_id": account, "issuer_url": "https://issuer.example", "audiences": ["kagitori"],
            "role_arn": f"arn:aws:iam::{account}:role/worker",
        },
        "ListOidcProviders": {"account_id": account},
        "DeleteOidcProvider": {"oidc_provider_arn": f"arn:aws:iam::{account}:oidc-provider/issuer.example"},
        "DeleteUser": {"account_id": account, "user_name": "alice"},
        "DeleteRole": {"account_id": account, "role_name": "worker"},
        "CreateUser": {"account_id": account, "user_name": "bob"},
        "CreateRole": {"account_id": account, "role_name": "bob"},
    }


@pytest.fixture
def service(tmp_path: Path) -> Iterator[InProcess]:
    with InProcess(tmp_path) as opened:
        yield opened


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[InProcess, str]]:
    """A service with a user in a second account, and a token of a third account's root."""
    with InProcess(tmp_path_factory.mktemp("two")) as opened:
        root = opened.new_account(OTHER)
        opened.call("CreateUser", {"user_name": "alice"}, token=root)
        opened.call("CreateRole", {"role_name": "worker"}, token=root)
        yield opened, opened.new_account(TENANT)


def test_every_operation_is_asked_here() -> None:
    asked = {
        *HOME_ONLY, *_inside(TENANT), "GetCallerIdentity", "ListAccounts", "AssumeRole", "LintPolicy",
        "ListAuditPublicKeys", "GetTreeHead", "GetConsistencyProof",
    }
    assert asked == {row.name for row in ADMIN}


@pytest.mark.parametrize("operation", HOME_ONLY)
def test_what_is_for_the_home_account_is_refused_to_others(two: tuple[InProcess, str], operation: str) -> None:
    service, tenant = two
    with pytest.raises(AccessDeniedException):
        service.call(operation, HOME_ONLY[operation], token=tenant)
    record = service.records()[-1]
    assert (record["eventName"], record["errorCode"]) == (operation, "AccessDenied")
    assert record["recipientAccountId"] == TENANT


@pytest.mark.parametrize("operation", _inside(OTHER))
@pytest.mark.parametrize("account", [OTHER, HOME, "999999999999"])
def test_another_account_is_out_of_reach_whether_or_not_it_exists(
    two: tuple[InProcess, str], operation: str, account: str
) -> None:
    service, tenant = two
    with pytest.raises(AccessDeniedException) as refused:
        service.call(operation, _inside(account)[operation], token=tenant)
    assert "in another account" in refused.value.message
    assert service.records()[-1]["errorCode"] == "AccessDenied"


@pytest.mark.parametrize("operation", ["ListTokens", "ListCertificates"])
def test_a_foreign_principal_is_out_of_reach_of_lists(two: tuple[InProcess, str], operation: str) -> None:
    service, tenant = two
    foreign = root_arn("aws", OTHER)
    with pytest.raises(AccessDeniedException):
        service.call(operation, {"principal_arn": foreign}, token=tenant)
    with pytest.raises(NoSuchEntityException):
        service.call(operation, {"account_id": TENANT, "principal_arn": foreign}, token=tenant)


def test_ids_of_another_account_are_as_good_as_unknown(service: InProcess) -> None:
    tenant, other = service.new_account(TENANT), service.new_account(OTHER)
    [token] = service.call("ListTokens", {}, token=other).tokens
    certificate = service.call(
        "RegisterCertificate", {"principal_arn": root_arn("aws", OTHER), "uri_san": "spiffe://a/b"}, token=other
    ).certificate_id
    for values in ({}, {"account_id": TENANT}):
        for by in (tenant, service.root_token):
            with pytest.raises(NoSuchEntityException):
                service.call("RevokeToken", {"token_id": token.token_id, **values}, token=by)
            with pytest.raises(NoSuchEntityException):
                service.call("DeregisterCertificate", {"certificate_id": certificate, **values}, token=by)
    service.call("GetCallerIdentity", token=other)
    assert len(service.call("ListCertificates", {}, token=other).certificates) == 1


def test_administrators_of_the_home_account_reach_into_others(service: InProcess) -> None:
    tenant = service.new_account(OTHER)
    admin = service.new_user("admin", policies={"all": ALLOW_ALL})
    _freeze_somebody(service, tenant)
    service.call("CreateUser", {"account_id": OTHER, "user_name": "alice"}, token=admin)
    service.call("CreateRole", {"account_id": OTHER, "role_name": "worker"}, token=admin)
    ids: dict[str, dict[str, str]] = {}
    for operation, values in _inside(OTHER).items():
        answer = service.call(operation, {**values, **ids.get(operation, {})}, token=admin)
        if operation == "LookupEvents":
            ids["GetInclusionProof"] = {"event_id": answer.events[0].event_id}
        if operation == "ListFreezes":
            ids["LiftFreeze"] = {"freeze_id": answer.freezes[0].freeze_id}
        if operation == "CreateToken":
            assert service.call("GetCallerIdentity", token=answer.token).account_id == OTHER
            ids["RevokeToken"] = {"token_id": answer.token_id}
        if operation == "CreateAccessKey":
            ids["UpdateAccessKey"] = ids["DeleteAccessKey"] = {"access_key_id": answer.access_key.access_key_id}
        if operation == "RegisterCertificate":
            ids["DeregisterCertificate"] = {"certificate_id": answer.certificate_id}
    assert service.call("ListUsers", {}).users[0].user_name == "admin", "nothing was made at home"
    # All of them can be simulated: what a policy less would refuse is each of them.
    change = {"principal_arn": f"arn:aws:iam::{HOME}:user/admin", "policy_name": "all"}
    result = simulate(service, identity_policy=change)
    assert {found.action for found in result.findings} == {f"kagitori:{operation}" for operation in _inside(OTHER)}
    assert result.undecided == []
    by_admin = [record for record in service.records() if record["userIdentity"].get("userName") == "admin"]
    assert {record["recipientAccountId"] for record in by_admin} == {HOME}


def _freeze_somebody(service: InProcess, token: str) -> None:
    """The account's root user, by the budget of `_inside`."""
    terms = {**_inside(OTHER)["PutBudget"], "on_exceed": "FREEZE"}
    key_id = service.call("CreateKey", token=token).key_metadata.key_id
    service.call("PutBudget", terms, token=token)
    service.call("Encrypt", {"key_id": key_id, "plaintext": b"x"}, token=token)
    with pytest.raises(AccessDeniedException, match="frozen"):
        service.call("Encrypt", {"key_id": key_id, "plaintext": b"x"}, token=token)


@pytest.mark.parametrize("operation", [*HOME_ONLY, *_inside(HOME), "ListAccounts"])
def test_without_a_policy_nothing_is_permitted(two: tuple[InProcess, str], operation: str) -> None:
    service, _ = two
    name = f"nobody-{operation}"
    token = service.new_user(name)
    values = HOME_ONLY.get(operation, _inside(HOME).get(operation, {}))
    with pytest.raises(AccessDeniedException) as refused:
        service.call(operation, values, token=token)
    assert f"kagitori:{operation}" in refused.value.message


def test_a_policy_permits_the_operations_it_names(service: InProcess) -> None:
    document = json.dumps(
        {"Statement": {"Effect": "Allow", "Action": ["kagitori:List*", "kagitori:CreateUser"], "Resource": "*"}}
    )
    token = service.new_user("lister", policies={"list": document})
    service.call("ListUsers", {}, token=token)
    service.call("CreateUser", {"user_name": "x"}, token=token)
    for operation in ("CreateRole", "GetUser", "LookupEvents"):
        with pytest.raises(AccessDeniedException):
            service.call(operation, _inside(HOME)[operation], token=token)


@pytest.mark.parametrize("account", ["", "1", "11111111111x", "1111111111111", "\u0661" * 12])
def test_what_is_no_account_is_refused(two: tuple[InProcess, str], account: str) -> None:
    service, tenant = two
    for operation, values in _inside(TENANT).items():
        if "account_id" in values:
            with pytest.raises(ValidationException):
                service.call(operation, {**values, "account_id": account}, token=tenant)


def test_every_call_leaves_exactly_one_record(service: InProcess) -> None:
    tenant = service.new_account(TENANT)
    calls = {**HOME_ONLY, **_inside(HOME), "GetCallerIdentity": {}, "ListAccounts": {}}
    for by in (service.root_token, tenant):
        for operation, values in calls.items():
            before = len(service.records())
            code = None
            try:
                service.call(operation, values, token=by)
            except AccessDeniedException:
                code = "AccessDenied"
            except KmsError as error:
                code = error.code()
            added = service.records()[before:]
            assert [record["eventName"] for record in added] == [operation]
            assert added[0].get("errorCode") == code
            assert added[0]["eventSource"] == "kagitori.amazonaws.com"
    text = service.audit_text()
    for secret in (service.root_token, tenant):
        assert secret.removeprefix("kgt_") not in text
    assert "kgt_" not in text
    assert service.call("VerifyAuditTrail").chains[0].problems == ()


def test_a_deny_on_a_principals_arn_is_heeded(service: InProcess) -> None:
    """Credentials and policies of a principal are decided on its ARN, so a Deny there stops an administrator."""
    everything = {"Effect": "Allow", "Action": "kagitori:*", "Resource": "*"}
    but_admin = {"Effect": "Deny", "Action": "kagitori:*", "Resource": "arn:aws:iam::*:user/admin"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [everything, but_admin]})
    token = service.new_user("helper", policies={"most": policy})
    admin = service.call("CreateUser", {"user_name": "admin"}).user.arn
    other = service.call("CreateUser", {"user_name": "other"}).user.arn
    for operation, values in (
        ("CreateToken", {}),
        ("RegisterCertificate", {"uri_san": "spiffe://a/b"}),
        ("PutIdentityPolicy", {"policy_name": "p", "policy_document": ALLOW_ALL}),
        ("ListIdentityPolicies", {}),
    ):
        service.call(operation, {"principal_arn": other, **values}, token=token)
        with pytest.raises(AccessDeniedException, match="explicit deny"):
            service.call(operation, {"principal_arn": admin, **values}, token=token)


def test_an_account_id_can_be_used_again(service: InProcess, tmp_path: Path) -> None:
    """Keys of an account made under the id of a deleted one still open after a restart."""
    worker = DeletionWorker(service.services, service.events)
    service.call("CreateAccount", {"account_id": TENANT, "name": "first"})
    made = service.call("CreateToken", {"principal_arn": root_arn("aws", TENANT)})
    key_id = service.call("CreateKey", {}, token=made.token).key_metadata.key_id
    service.call("ScheduleKeyDeletion", {"key_id": key_id, "pending_window_in_days": 7}, token=made.token)
    service.clock.advance(8 * 86_400)
    assert worker.run_once() == 1
    service.call("RevokeToken", {"account_id": TENANT, "token_id": made.token_id})
    service.call("DeleteAccount", {"account_id": TENANT})
    token = service.new_account(TENANT)
    key_id = service.call("CreateKey", {}, token=token).key_metadata.key_id
    sealed = service.call("Encrypt", {"key_id": key_id, "plaintext": b"kept"}, token=token).ciphertext_blob
    with InProcess(tmp_path, service.clock) as restarted:
        assert restarted.call("Decrypt", {"ciphertext_blob": sealed}, token=token).plaintext == b"kept"
