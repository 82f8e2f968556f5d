"""Groups and managed policies: what they give, to whom, at once and in every process; and what is refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.identities import HOME_ARN, attach, new_managed, new_role, put_inline, statement
from tests.support.inprocess import HOME, START, InProcess

from kagitori_server.model.errors import (
    AccessDeniedException,
    DeleteConflictException,
    EntityAlreadyExistsException,
    LimitExceededException,
    MalformedPolicyDocumentException,
    NoSuchEntityException,
    ValidationException,
)

OTHER = "222222222222"
ALICE = f"{HOME_ARN}:user/alice"
TEAM = f"{HOME_ARN}:group/team"
A_TAG, A_RESERVED_TAG = ({"tag_key": key, "tag_value": ""} for key in ("x", "aws:x"))
LIST = statement("kagitori:ListUsers")


@pytest.fixture
def service(tmp_path: Path) -> Iterator[InProcess]:
    with InProcess(tmp_path) as opened:
        yield opened


def _team(service: InProcess, *users: str) -> None:
    service.call("CreateGroup", {"group_name": "team"})
    for user in users:
        service.call("AddUserToGroup", {"group_name": "team", "user_name": user})


def _may_list(service: InProcess, token: str) -> bool:
    try:
        service.call("ListUsers", {}, token=token)
    except AccessDeniedException:
        return False
    return True


def test_a_group_is_made_listed_and_removed(service: InProcess) -> None:
    made = service.call("CreateGroup", {"group_name": "Team", "path": "/a/"}).group
    assert made.arn == f"arn:aws:iam::{HOME}:group/a/Team"
    assert made.group_id.startswith("AGPA")
    assert (made.path, made.create_date) == ("/a/", START)
    service.call("CreateGroup", {"group_name": "beta"})
    assert service.call("ListGroups", {"path_prefix": "/a"}).groups == (made,)
    first = service.call("ListGroups", {"limit": 1})
    assert (first.groups, first.truncated) == ((made,), True)
    second = service.call("ListGroups", {"limit": 1, "marker": first.next_marker})
    assert [group.group_name for group in second.groups] == ["beta"]
    assert not second.truncated
    service.call("DeleteGroup", {"group_name": "Team"})
    assert [group.group_name for group in service.call("ListGroups").groups] == ["beta"]


def test_members_are_listed_from_either_side(service: InProcess) -> None:
    for name in ("alice", "bob", "carol"):
        service.new_user(name)
    _team(service, "bob", "alice", "alice")
    service.call("CreateGroup", {"group_name": "a-team"})
    service.call("AddUserToGroup", {"group_name": "a-team", "user_name": "alice"})
    page = service.call("ListUsers", {"group_name": "team", "limit": 1})
    assert [user.user_name for user in page.users] == ["alice"]
    page = service.call("ListUsers", {"group_name": "team", "limit": 1, "marker": page.next_marker})
    assert [user.user_name for user in page.users] == ["bob"]
    assert not page.truncated
    groups = service.call("ListGroupsForUser", {"user_name": "alice"}).groups
    assert [group.group_name for group in groups] == ["a-team", "team"]
    assert service.call("ListGroupsForUser", {"user_name": "carol"}).groups == ()


def test_a_group_policy_holds_for_members_only_and_at_once(service: InProcess) -> None:
    alice, bob = service.new_user("alice"), service.new_user("bob")
    _team(service, "alice")
    assert not _may_list(service, alice)
    put_inline(service, TEAM, LIST)
    assert _may_list(service, alice)
    assert not _may_list(service, bob)
    service.call("AddUserToGroup", {"group_name": "team", "user_name": "bob"})
    assert _may_list(service, bob)
    service.call("RemoveUserFromGroup", {"group_name": "team", "user_name": "alice"})
    assert not _may_list(service, alice)
    service.call("DeleteIdentityPolicy", {"principal_arn": TEAM, "policy_name": "inline"})
    assert not _may_list(service, bob)


def test_a_managed_policy_holds_through_user_role_and_group(service: InProcess) -> None:
    alice, bob = service.new_user("alice"), service.new_user("bob")
    role = new_role(service)
    session = service.new_token(role, "job")
    _team(service, "bob")
    policy = new_managed(service, LIST)
    for holder, token in ((ALICE, alice), (TEAM, bob), (role, session)):
        assert not _may_list(service, token)
        attach(service, holder, policy)
        attach(service, holder, policy)
        assert _may_list(service, token)
    assert service.call("GetManagedPolicy", {"policy_arn": policy}).policy.attachment_count == 3
    for holder, token in ((ALICE, alice), (TEAM, bob), (role, session)):
        service.call("DetachManagedPolicy", {"principal_arn": holder, "policy_arn": policy})
        assert not _may_list(service, token)


def test_a_deny_of_a_group_beats_the_users_own_allow(service: InProcess) -> None:
    alice = service.new_user("alice", policies={"mine": LIST})
    _team(service, "alice")
    put_inline(service, TEAM, statement("kagitori:List*", "Deny"))
    with pytest.raises(AccessDeniedException, match="explicit deny in an identity-based policy"):
        service.call("ListUsers", {}, token=alice)


def test_changes_count_in_another_process_at_once(service: InProcess, tmp_path: Path) -> None:
    alice = service.new_user("alice")
    _team(service, "alice")
    policy = new_managed(service, LIST)
    with InProcess(tmp_path, service.clock) as second:
        assert not _may_list(second, alice)
        put_inline(service, TEAM, LIST)
        assert _may_list(second, alice)
        service.call("DeleteIdentityPolicy", {"principal_arn": TEAM, "policy_name": "inline"})
        assert not _may_list(second, alice)
        attach(service, TEAM, policy)
        assert _may_list(second, alice)
        service.call("RemoveUserFromGroup", {"group_name": "team", "user_name": "alice"})
        assert not _may_list(second, alice)
        attach(service, ALICE, policy)
        assert _may_list(second, alice)
        boundary = new_managed(service, statement("kms:*"), "boundary")
        service.call("PutPermissionsBoundary", {"principal_arn": ALICE, "policy_arn": boundary})
        assert not _may_list(second, alice)
        service.call("DeletePermissionsBoundary", {"principal_arn": ALICE})
        assert _may_list(second, alice)


def test_managed_policies_are_described_and_listed(service: InProcess) -> None:
    document = ' {"Statement":\t{"Effect":"Deny",\n "Action":"*","Resource":"*"}}'
    values = {"policy_name": "P.1", "path": "/x/", "description": "d", "policy_document": document}
    made = service.call("CreateManagedPolicy", values).policy
    assert made.arn == f"arn:aws:iam::{HOME}:policy/x/P.1"
    assert made.policy_id.startswith("ANPA")
    assert (made.policy_document, made.description, made.attachment_count) == (document, "d", 0)
    assert service.call("GetManagedPolicy", {"policy_arn": made.arn}).policy == made
    new_managed(service, LIST, "other")
    service.new_user("alice")
    attach(service, ALICE, made.arn)
    for values, names in (
        ({}, ["P.1", "other"]), ({"path_prefix": "/x/"}, ["P.1"]), ({"principal_arn": ALICE}, ["P.1"]),
    ):
        listed = service.call("ListManagedPolicies", values).policies
        assert [policy.policy_name for policy in listed] == names
        assert all(policy.policy_document is None for policy in listed)


def test_what_is_in_use_stays(service: InProcess) -> None:
    service.new_user("alice")
    policy = new_managed(service, LIST)
    _team(service, "alice")
    refused: list[tuple[str, dict[str, Any]]] = [
        ("DeleteGroup", {"group_name": "team"}), ("DeleteUser", {"user_name": "alice"}),
    ]
    for token in service.call("ListTokens", {"principal_arn": ALICE}).tokens:
        service.call("RevokeToken", {"token_id": token.token_id})
    for operation, values in refused:
        with pytest.raises(DeleteConflictException):
            service.call(operation, values)
    service.call("RemoveUserFromGroup", {"group_name": "team", "user_name": "alice"})
    for holder, operation, values in ((TEAM, *refused[0]), (ALICE, *refused[1])):
        attach(service, holder, policy)
        with pytest.raises(DeleteConflictException):
            service.call(operation, values)
        with pytest.raises(DeleteConflictException):
            service.call("DeleteManagedPolicy", {"policy_arn": policy})
        service.call("DetachManagedPolicy", {"principal_arn": holder, "policy_arn": policy})
    put_inline(service, TEAM, LIST)
    with pytest.raises(DeleteConflictException):
        service.call("DeleteGroup", {"group_name": "team"})
    service.call("PutPermissionsBoundary", {"principal_arn": ALICE, "policy_arn": policy})
    with pytest.raises(DeleteConflictException):
        service.call("DeleteManagedPolicy", {"policy_arn": policy})
    service.call("DeleteUser", {"user_name": "alice"})
    service.call("DeleteManagedPolicy", {"policy_arn": policy})


@pytest.mark.parametrize(
    ("operation", "values"),
    [
        ("DeleteGroup", {"group_name": "none"}),
        ("DeleteGroup", {"group_name": "TEAM"}),
        ("AddUserToGroup", {"group_name": "none", "user_name": "alice"}),
        ("AddUserToGroup", {"group_name": "team", "user_name": "none"}),
        ("RemoveUserFromGroup", {"group_name": "team", "user_name": "alice"}),
        ("ListUsers", {"group_name": "none"}),
        ("ListGroupsForUser", {"user_name": "none"}),
        ("GetManagedPolicy", {"policy_arn": f"{HOME_ARN}:policy/none"}),
        ("DeleteManagedPolicy", {"policy_arn": f"{HOME_ARN}:policy/none"}),
        ("AttachManagedPolicy", {"principal_arn": ALICE, "policy_arn": f"{HOME_ARN}:policy/none"}),
        ("AttachManagedPolicy", {"principal_arn": f"{HOME_ARN}:user/none", "policy_arn": f"{HOME_ARN}:policy/managed"}),
        ("AttachManagedPolicy", {"principal_arn": ALICE, "policy_arn": f"arn:aws:iam::{OTHER}:policy/theirs"}),
        ("DetachManagedPolicy", {"principal_arn": ALICE, "policy_arn": f"{HOME_ARN}:policy/managed"}),
        ("PutPermissionsBoundary", {"principal_arn": ALICE, "policy_arn": f"arn:aws:iam::{OTHER}:policy/theirs"}),
        ("DeletePermissionsBoundary", {"principal_arn": ALICE}),
        ("GetIdentityPolicy", {"principal_arn": TEAM, "policy_name": "none"}),
        ("UntagPrincipal", {"principal_arn": f"{HOME_ARN}:user/none", "tag_keys": ["a"]}),
    ],
)
def test_what_is_not_there_is_refused(service: InProcess, operation: str, values: dict[str, Any]) -> None:
    other = service.new_account(OTHER)
    service.call("CreateManagedPolicy", {"policy_name": "theirs", "policy_document": LIST}, token=other)
    service.new_user("alice")
    _team(service)
    new_managed(service, LIST)
    with pytest.raises(NoSuchEntityException):
        service.call(operation, values)


@pytest.mark.parametrize(
    ("error", "operation", "values"),
    [
        (EntityAlreadyExistsException, "CreateGroup", {"group_name": "TEAM"}),
        (EntityAlreadyExistsException, "CreateManagedPolicy", {"policy_name": "MANAGED", "policy_document": LIST}),
        (ValidationException, "CreateGroup", {"group_name": "x", "path": "/aws-reserved/"}),
        (ValidationException, "CreateGroup", {"group_name": "x" * 129}),
        (ValidationException, "CreateManagedPolicy", {"policy_name": "x y", "policy_document": LIST}),
        (MalformedPolicyDocumentException, "CreateManagedPolicy", {"policy_name": "x", "policy_document": "{}"}),
        (
            LimitExceededException, "CreateManagedPolicy",
            {"policy_name": "x", "policy_document": statement("kms:*", Sid="a" * 6_144)},
        ),
        (
            LimitExceededException, "PutIdentityPolicy",
            {"principal_arn": TEAM, "policy_name": "x", "policy_document": statement("kms:*", Sid="a" * 5_120)},
        ),
        (
            ValidationException, "PutPermissionsBoundary",
            {"principal_arn": TEAM, "policy_arn": f"{HOME_ARN}:policy/p"},
        ),
        (ValidationException, "TagPrincipal", {"principal_arn": ALICE, "tags": []}),
        (ValidationException, "TagPrincipal", {"principal_arn": ALICE, "tags": [A_RESERVED_TAG]}),
        (ValidationException, "TagPrincipal", {"principal_arn": ALICE, "tags": [A_TAG] * 2}),
    ],
)
def test_what_cannot_be_is_refused(
    service: InProcess, error: type[Exception], operation: str, values: dict[str, Any]
) -> None:
    service.new_user("alice")
    _team(service)
    new_managed(service, LIST)
    with pytest.raises(error):
        service.call(operation, values)


def test_quotas(service: InProcess) -> None:
    service.new_user("alice")
    for number in range(10):
        service.call("CreateGroup", {"group_name": f"g{number}"})
        service.call("AddUserToGroup", {"group_name": f"g{number}", "user_name": "alice"})
        attach(service, ALICE, new_managed(service, LIST, f"p{number}"))
    _team(service)
    service.call("AddUserToGroup", {"group_name": "g0", "user_name": "alice"})
    attach(service, ALICE, f"{HOME_ARN}:policy/p0")
    with pytest.raises(LimitExceededException):
        service.call("AddUserToGroup", {"group_name": "team", "user_name": "alice"})
    eleventh = new_managed(service, LIST, "p10")
    with pytest.raises(LimitExceededException):
        attach(service, ALICE, eleventh)
    service.call("RemoveUserFromGroup", {"group_name": "g3", "user_name": "alice"})
    service.call("AddUserToGroup", {"group_name": "team", "user_name": "alice"})


def test_tags_are_added_changed_and_taken_away(service: InProcess) -> None:
    service.new_user("alice")
    service.call("TagPrincipal", {"principal_arn": ALICE, "tags": [{"tag_key": k, "tag_value": "1"} for k in "ab"]})
    service.call("TagPrincipal", {"principal_arn": ALICE, "tags": [{"tag_key": "b", "tag_value": "2"}]})
    service.call("UntagPrincipal", {"principal_arn": ALICE, "tag_keys": ["a", "absent"]})
    [tag] = service.call("GetUser", {"user_name": "alice"}).user.tags
    assert (tag.tag_key, tag.tag_value) == ("b", "2")
    many = [{"tag_key": f"k{number}", "tag_value": ""} for number in range(50)]
    with pytest.raises(LimitExceededException):
        service.call("TagPrincipal", {"principal_arn": ALICE, "tags": many})


def test_a_user_made_anew_inherits_nothing(service: InProcess) -> None:
    service.call("CreateUser", {"user_name": "alice"})
    _team(service, "alice")
    put_inline(service, TEAM, LIST)
    service.call("RemoveUserFromGroup", {"group_name": "team", "user_name": "alice"})
    service.call("DeleteUser", {"user_name": "alice"})
    assert not _may_list(service, service.new_user("alice"))
    assert service.call("ListUsers", {"group_name": "team"}).users == ()
