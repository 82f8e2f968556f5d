"""Operations of AdminService are decided on the ARN of the entity that they are about, as in AWS IAM: a policy reaches
exactly what it names."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from tests.support.entity_calls import (
    BY_ID,
    CASES,
    CREATING,
    PATH,
    Case,
    fresh,
    group_case,
    new_caller,
    new_user,
    numbers,
    refusal,
)
from tests.support.identities import HOME_ARN, assume, new_role, trust
from tests.support.inprocess import ALLOW_ALL, HOME, REGION, InProcess
from tests.support.kms_calls import OTHER, identity_policy, root

from kagitori_server.model.call import Evidence
from kagitori_server.model.errors import (
    AccessDeniedException,
)
from kagitori_server.model.principals import Caller, CredentialKind
from kagitori_server.operations.admin_rows import ROLE, USER, permission
from kagitori_server.operations.admin_table import ADMIN
from kagitori_server.operations.context import Context
from kagitori_server.operations.identity_resources import identity_resource
from kagitori_server.operations.row import Operation, Resource
from kagitori_server.operations.table import TABLE

operations = pytest.mark.parametrize("operation", CASES)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InProcess]:
    with InProcess(tmp_path_factory.mktemp("resources")) as opened:
        opened.new_account(OTHER)
        yield opened


def test_every_operation_about_one_entity_is_asked_here() -> None:
    on_entities = {row.name for row in ADMIN if any(each.on is Resource.ENTITY for each in row.permissions)}
    assert on_entities == {*CASES, "ListUsers"}


@operations
def test_a_policy_that_names_the_entity_permits(service: InProcess, operation: str) -> None:
    case = CASES[operation](service)
    token = new_caller(service, one=identity_policy(f"kagitori:{operation}", resource=case.arn))
    service.call(operation, case.values, token=token)


@operations
def test_a_deny_on_the_entity_is_heeded(service: InProcess, operation: str) -> None:
    case = CASES[operation](service)
    deny = identity_policy(f"kagitori:{operation}", resource=case.arn, effect="Deny")
    token = new_caller(service, all=ALLOW_ALL, deny=deny)
    for _ in range(2):
        with pytest.raises(AccessDeniedException, match="with an explicit deny in an identity-based policy"):
            service.call(operation, case.values, token=token)
    assert service.records()[-1]["errorCode"] == "AccessDenied"
    service.call(operation, CASES[operation](service).values, token=token)
    service.call(operation, case.values)


@operations
def test_policies_on_other_resources_permit_nothing(service: InProcess, operation: str) -> None:
    case = CASES[operation](service)
    others = [
        case.arn[:-1], f"{case.arn}x", case.arn.replace(PATH, "/"), case.arn.replace(PATH, "/other/"),
        case.arn.replace(HOME, OTHER), root(HOME), f"arn:aws:kagitori:{REGION}:{HOME}:*",
        f"{HOME_ARN}:mfa{PATH}*",
    ]
    if {"group_name", "user_name"} <= case.values.keys():
        others.append(f"{HOME_ARN}:user{PATH}{case.values['user_name']}")
    token = new_caller(service, others=identity_policy("kagitori:*", resource=others))
    with pytest.raises(AccessDeniedException, match="because no identity-based policy allows"):
        service.call(operation, case.values, token=token)
    service.call(operation, case.values)


@operations
def test_a_refusal_says_no_more_than_the_request(service: InProcess, operation: str) -> None:
    case = CASES[operation](service)
    token = new_caller(service)
    _, message = refusal(service, operation, case.values, token)
    assert f"kagitori:{operation} on resource: " in message
    assert case.named in message
    if operation not in CREATING:
        owner = case.arn.rpartition("/")[2]
        assert PATH not in message
        assert operation not in BY_ID or owner not in message


def test_a_created_entity_has_no_path_unless_one_is_given(service: InProcess) -> None:
    name = fresh()
    token = new_caller(service, p=identity_policy("kagitori:CreateUser", resource=f"{HOME_ARN}:user/{name}"))
    with pytest.raises(AccessDeniedException, match=re.escape(f"{HOME_ARN}:user{PATH}{name}")):
        service.call("CreateUser", {"user_name": name, "path": PATH}, token=token)
    assert service.call("CreateUser", {"user_name": name}, token=token).user.arn == f"{HOME_ARN}:user/{name}"


def test_tokens_of_sessions_belong_to_the_role(service: InProcess) -> None:
    role = new_role(service, fresh(), trust_policy=trust(f"{HOME_ARN}:root"))
    caller = service.new_user(f"caller-{next(numbers)}", policies={"a": identity_policy("sts:*")})
    assume(service, role, caller)
    [token] = service.call("ListTokens", {"principal_arn": role}).tokens
    deny = identity_policy("kagitori:RevokeToken", resource=role, effect="Deny")
    with pytest.raises(AccessDeniedException, match="explicit deny"):
        service.call("RevokeToken", {"token_id": token.token_id}, token=new_caller(service, all=ALLOW_ALL, d=deny))
    able = new_caller(service, p=identity_policy("kagitori:RevokeToken", resource=role))
    service.call("RevokeToken", {"token_id": token.token_id}, token=able)


def test_administrators_of_the_home_account_heed_denies_on_other_accounts_entities(service: InProcess) -> None:
    name = fresh()
    arn = service.call("CreateRole", {"account_id": OTHER, "role_name": name, "path": PATH}).role.arn
    values = {"account_id": OTHER, "role_name": name}
    deny = identity_policy("kagitori:DeleteRole", resource=arn, effect="Deny")
    with pytest.raises(AccessDeniedException, match="explicit deny"):
        service.call("DeleteRole", values, token=new_caller(service, all=ALLOW_ALL, d=deny))
    at_home = identity_policy("kagitori:DeleteRole", resource=arn.replace(OTHER, HOME))
    with pytest.raises(AccessDeniedException):
        service.call("DeleteRole", values, token=new_caller(service, p=at_home))
    service.call("DeleteRole", values, token=new_caller(service, p=identity_policy("kagitori:*", resource=arn)))


def test_conditions_on_the_account_of_the_resource_hold_across_accounts(service: InProcess) -> None:
    """A Deny of everything outside the home account keeps its administrator there."""
    statements = [
        {"Effect": "Allow", "Action": "*", "Resource": "*"},
        {"Effect": "Deny", "Action": "kagitori:*", "Resource": "*",
         "Condition": {"StringNotEquals": {"aws:ResourceAccount": HOME}}},
    ]
    token = new_caller(service, p=json.dumps({"Version": "2012-10-17", "Statement": statements}))
    name = fresh()
    for account in (HOME, OTHER):
        service.call("CreateUser", {"account_id": account, "user_name": name, "path": PATH})
    for operation, values in (
        ("GetUser", {"user_name": name}), ("GetUser", {"user_name": "nobody"}), ("ListUsers", {}),
        ("CreateRole", {"role_name": name}), ("RevokeToken", {"token_id": "tok-1"}),
    ):
        with pytest.raises(AccessDeniedException, match="explicit deny"):
            service.call(operation, {"account_id": OTHER, **values}, token=token)
    with pytest.raises(AccessDeniedException, match="explicit deny"):
        service.call("CreateToken", {"principal_arn": f"arn:aws:iam::{OTHER}:user{PATH}{name}"}, token=token)
    service.call("GetUser", {"user_name": name}, token=token)
    service.call("ListUsers", {}, token=token)
    service.call("CreateToken", {"principal_arn": f"{HOME_ARN}:user{PATH}{name}"}, token=token)


def test_lists_of_another_account_are_decided_on_that_account(service: InProcess) -> None:
    able = new_caller(service, p=identity_policy("kagitori:ListUsers", resource=f"arn:aws:kagitori:*:{OTHER}:*"))
    service.call("ListUsers", {"account_id": OTHER}, token=able)
    with pytest.raises(AccessDeniedException):
        service.call("ListUsers", {}, token=able)


def _listed(service: InProcess, operation: str) -> Case:
    if operation == "ListUsers":
        return group_case()(service)
    _, arn = new_user(service)
    return Case({"principal_arn": arn}, arn, arn, "principal_arn")


@pytest.mark.parametrize(
    "operation", ["ListUsers", "ListTokens", "ListCertificates", "ListAccessKeys", "ListManagedPolicies"]
)
def test_lists_of_one_entity_are_decided_on_it_and_others_on_the_account(service: InProcess, operation: str) -> None:
    case, other = (_listed(service, operation) for _ in range(2))
    action = f"kagitori:{operation}"
    able = new_caller(service, p=identity_policy(action, resource=case.arn))
    service.call(operation, case.values, token=able)
    for values in (other.values, {}, case.about(fresh() if operation == "ListUsers" else f"{case.arn}x")):
        with pytest.raises(AccessDeniedException, match="no identity-based policy"):
            service.call(operation, values, token=able)
    denied = new_caller(service, all=ALLOW_ALL, d=identity_policy(action, resource=case.arn, effect="Deny"))
    with pytest.raises(AccessDeniedException, match="explicit deny"):
        service.call(operation, case.values, token=denied)
    for values in (other.values, {}):
        service.call(operation, values, token=denied)


def _context(service: InProcess, row: Operation, request: Any) -> Context:
    record = service.catalog.view.principal(root(HOME))
    assert record is not None
    caller = Caller(
        kind=record.kind, account=HOME, arn=record.arn, user_id=HOME, record=record,
        credential_kind=CredentialKind.TOKEN, credential_id="",
    )
    return Context(
        operation=row, caller=caller, request=request, evidence=Evidence(), account=HOME, region=REGION,
        services=service.services, now=service.clock(), lookup=service.catalog.view,
    )


@pytest.mark.parametrize(("operation", "entity", "member"), [("DeleteUser", USER, "user_name"),
                                                             ("DeleteRole", ROLE, "role_name")])
def test_within_a_transaction_its_own_state_counts(
    service: InProcess, operation: str, entity: Any, member: str
) -> None:
    case = CASES[operation](service)
    row = TABLE[operation]
    assert isinstance(row, Operation)
    request = row.request.build({member: case.named})
    context = _context(service, row, request)
    asked = permission(operation, entity)
    assert identity_resource(context, asked, request).arn == case.arn
    with service.catalog.write() as writer:
        writer.delete_principal(case.arn)
        assert identity_resource(context, asked, request).arn == case.arn
        context.writer_or_none = writer
        found = identity_resource(context, asked, request)
    assert found.arn == found.unknown_arn == case.arn.replace(PATH, "/")


def test_an_entity_that_changed_before_the_transaction_is_decided_on_anew(service: InProcess) -> None:
    """Admitted to delete a role, the caller waits for its turn; the role that has the name by then isn't the one."""
    case = CASES["DeleteRole"](service)
    token = new_caller(service, p=identity_policy("kagitori:DeleteRole", resource=case.arn))
    other = case.arn.replace(PATH, "/ops/")
    with ThreadPoolExecutor(1) as threads:
        with service.catalog.write() as writer:
            role = writer.get_principal(case.arn)
            assert role is not None
            writer.delete_principal(role.arn)
            writer.insert_principal(replace(role, path="/ops/", arn=other, principal_id=f"{role.principal_id[:-1]}#"))
            call = threads.submit(service.call, "DeleteRole", case.values, token=token)
            with pytest.raises(TimeoutError):
                call.result(timeout=0.5)
        with pytest.raises(AccessDeniedException, match=f"role {case.named} because no identity-based policy"):
            call.result(timeout=30)
    assert service.call("GetRole", case.values).role.arn == other


def test_a_row_that_names_no_entity_is_a_fault(service: InProcess) -> None:
    row = TABLE["GetUser"]
    assert isinstance(row, Operation)
    request = row.request.build({"user_name": "alice"})
    with pytest.raises(RuntimeError):
        identity_resource(_context(service, row, request), permission("GetUser", Resource.ENTITY), request)
