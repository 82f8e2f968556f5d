"""The rows of AdminService and the contract say the same."""

from __future__ import annotations

import dataclasses
import types
import typing
from typing import Any

import pytest
from google.protobuf.descriptor import Descriptor

from kagitori.kms.v1 import admin_service_pb2, crypto_service_pb2, key_service_pb2
from kagitori_server.operations.admin_table import ADMIN
from kagitori_server.operations.row import Answer, Cost, Operation
from kagitori_server.operations.table import TABLE

_RPCS = {rpc.name: rpc for rpc in admin_service_pb2.DESCRIPTOR.services_by_name["AdminService"].methods}
_HOME_ONLY = {
    "CreateAccount", "DeleteAccount", "RotateRootKey", "VerifyAuditTrail", "ListKeyStoreHealth", "GetServerStatus",
}
_SERVED = {
    "CreateAccount", "ListAccounts", "DeleteAccount",
    "CreateUser", "GetUser", "ListUsers", "DeleteUser",
    "CreateRole", "GetRole", "ListRoles", "DeleteRole",
    "PutIdentityPolicy", "GetIdentityPolicy", "ListIdentityPolicies", "DeleteIdentityPolicy",
    "CreateGroup", "ListGroups", "DeleteGroup", "AddUserToGroup", "RemoveUserFromGroup", "ListGroupsForUser",
    "UpdateAssumeRolePolicy", "TagPrincipal", "UntagPrincipal",
    "CreateManagedPolicy", "GetManagedPolicy", "ListManagedPolicies", "DeleteManagedPolicy",
    "AttachManagedPolicy", "DetachManagedPolicy", "PutPermissionsBoundary", "DeletePermissionsBoundary",
    "CreateAccessKey", "ListAccessKeys", "UpdateAccessKey", "DeleteAccessKey", "AssumeRole",
    "CreateToken", "ListTokens", "RevokeToken",
    "RegisterCertificate", "ListCertificates", "DeregisterCertificate",
    "GetCallerIdentity", "ExplainAccess", "LintPolicy", "LookupEvents", "VerifyAuditTrail",
    "GetUsage",
    "GetServerStatus", "ListKeyStoreHealth", "RotateRootKey",
}

rows = pytest.mark.parametrize("row", ADMIN, ids=lambda row: row.name)


def _structures(hint: Any) -> list[type[Any]]:
    """The dataclasses within a member's type."""
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return [hint]
    if typing.get_origin(hint) in (tuple, types.UnionType):
        return [found for argument in typing.get_args(hint) for found in _structures(argument)]
    return []


def _compare(shape: type[Any], message: Descriptor) -> None:
    """Every member is a field and every field a member, all the way down."""
    assert {field.name for field in dataclasses.fields(shape)} == set(message.fields_by_name), message.full_name
    for name, hint in typing.get_type_hints(shape).items():
        for structure in _structures(hint):
            inner = message.fields_by_name[name].message_type
            assert inner is not None
            _compare(structure, inner)


def test_all_operations_of_the_plan_are_served_and_no_others() -> None:
    assert {row.name for row in ADMIN} == _SERVED
    assert set(TABLE) & set(_RPCS) == _SERVED


def test_no_two_services_share_a_name() -> None:
    others = [
        *key_service_pb2.DESCRIPTOR.services_by_name["KeyService"].methods,
        *crypto_service_pb2.DESCRIPTOR.services_by_name["CryptoService"].methods,
    ]
    assert not _RPCS.keys() & {rpc.name for rpc in others}


@rows
def test_shapes_have_the_fields_of_the_contract(row: Operation) -> None:
    rpc = _RPCS[row.name]
    assert rpc.input_type is not None
    assert rpc.output_type is not None
    _compare(row.request.cls, rpc.input_type)
    _compare(row.response, rpc.output_type)


@rows
def test_what_a_record_shows_are_members(row: Operation) -> None:
    """Everything that is asked is shown but for grant tokens, which no record of any operation shows."""
    asked = {field.name for field in dataclasses.fields(row.request.cls)}
    assert set(row.audit.request_shown) == asked - {"grant_tokens"}
    answered = {field.name: field for field in dataclasses.fields(row.response)}
    assert set(row.audit.response_shown) <= set(answered)
    assert all(answered[name].repr for name in row.audit.response_shown), "a secret would be shown"
    assert bool(row.audit.response_shown) == (row.audit.answer is Answer.MEMBERS)


@rows
def test_security_columns(row: Operation) -> None:
    assert row.service == "kagitori"
    assert not row.grantable
    assert row.cross_account == (row.name == "AssumeRole")
    assert not row.keys
    assert not (row.writes and row.read_only)
    actions = [permission.action for permission in row.permissions]
    assert actions == ([] if row.name in ("GetCallerIdentity", "AssumeRole") else [f"kagitori:{row.name}"])
    assert row.cost is (Cost.INLINE if row.name == "GetCallerIdentity" else Cost.OFFLOAD)
    members = {field.name for field in dataclasses.fields(row.request.cls)}
    names_an_account = bool(members & {"account_id", "principal_arn", "policy_arn"}) and row.name not in _HOME_ONLY
    assert (row.account_member is not None) == names_an_account
