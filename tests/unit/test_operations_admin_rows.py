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
from kagitori_server.operations.row import Answer, Cost, Operation, Resource
from kagitori_server.operations.table import TABLE

_RPCS = {rpc.name: rpc for rpc in admin_service_pb2.DESCRIPTOR.services_by_name["AdminService"].methods}
_HOME_ONLY = {
    "CreateAccount", "DeleteAccount", "RotateRootKey", "VerifyAuditTrail", "ListKeyStoreHealth", "GetServerStatus",
    "CheckCustomKeyStore", "DescribeTrail", "GetTrailStatus",
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
    "CreateOidcProvider", "ListOidcProviders", "DeleteOidcProvider",
    "GetCallerIdentity", "ExplainAccess", "LintPolicy", "SimulatePolicy",
    "PutBudget", "GetBudget", "ListBudgets", "DeleteBudget", "ListFreezes", "LiftFreeze",
    "LookupEvents", "TailEvents", "ExportEvents", "VerifyAuditTrail", "DescribeTrail", "GetTrailStatus",
    "ListAuditPublicKeys", "GetTreeHead", "GetInclusionProof", "GetConsistencyProof", "GetUsage",
    "GetServerStatus", "ListKeyStoreHealth", "CheckCustomKeyStore", "RotateRootKey",
}
_NAMING = {
    "user_name", "role_name", "group_name", "policy_name", "principal_arn", "policy_arn", "token_id",
    "certificate_id", "access_key_id", "budget_name", "oidc_provider_arn", "role_arn",
}
_ON_ONE = (Resource.ENTITY, Resource.PRINCIPAL, Resource.POLICY, Resource.BUDGET, Resource.OIDC_PROVIDER)
_NARROWED = {
    "ListUsers": "group_name", "ListTokens": "principal_arn", "ListCertificates": "principal_arn",
    "ListAccessKeys": "principal_arn", "ListManagedPolicies": "principal_arn",
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


@rows
def test_what_names_one_entity_is_what_the_permission_is_asked_on(row: Operation) -> None:
    members = {field.name for field in dataclasses.fields(row.request.cls)}
    named = members & _NAMING if row.name not in _HOME_ONLY | {"AssumeRole"} else set()
    if row.name in _NARROWED:
        [whole, narrowed] = row.permissions
        assert (whole.on, narrowed.on in _ON_ONE) == (Resource.ACCOUNT, True)
        for given in (None, "x"):
            request = types.SimpleNamespace(**{_NARROWED[row.name]: given})
            needed = [permission for permission in row.permissions if permission.when and permission.when(request)]
            assert needed == [whole if given is None else narrowed]
        return
    assert all(permission.when is None for permission in row.permissions)
    assert [permission.on in _ON_ONE for permission in row.permissions] == [bool(named)] * len(row.permissions)
    for permission in row.permissions:
        assert (permission.entity is not None) == (permission.on is Resource.ENTITY)
        if permission.entity is not None:
            assert permission.entity.member in named
            assert (permission.entity.path_member is not None) == row.name.startswith("Create")


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
    """Everything that is asked is shown but for grant tokens, which no record of any operation shows, and key sets."""
    asked = {field.name for field in dataclasses.fields(row.request.cls)}
    assert set(row.audit.request_shown) == asked - {"grant_tokens", "jwks_document"}
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
    actions = {permission.action for permission in row.permissions}
    others: dict[str, set[str]] = {
        "GetCallerIdentity": set(), "AssumeRole": set(),
        "CreateOidcProvider": {"kagitori:CreateOidcProvider", "kagitori:CreateToken"},
    }
    assert actions == others.get(row.name, {f"kagitori:{row.name}"})
    costs = {"GetCallerIdentity": Cost.INLINE, "CheckCustomKeyStore": Cost.BY_KEY}
    assert row.cost is costs.get(row.name, Cost.OFFLOAD)
    members = {field.name for field in dataclasses.fields(row.request.cls)}
    naming = {"account_id", "principal_arn", "policy_arn", "oidc_provider_arn"}
    names_an_account = bool(members & naming) and row.name not in _HOME_ONLY
    assert (row.account_member is not None) == names_an_account
