"""AssumeRole and what its sessions may do: whom a trust policy admits, session policies, tags, ends."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.identities import HOME_ARN, assume, new_managed, new_role, put_inline, statement, trust
from tests.support.inprocess import HOME, START, InProcess

from kagitori_server.model.errors import (
    AccessDeniedException,
    ExpiredTokenException,
    LimitExceededException,
    MalformedPolicyDocumentException,
    NoSuchEntityException,
    UnrecognizedClientException,
    ValidationException,
)

OTHER = "222222222222"
ALICE = f"{HOME_ARN}:user/alice"
WORKER = f"{HOME_ARN}:role/worker"
ROOT = f"{HOME_ARN}:root"
ASSUME = statement("sts:*")
LIST = statement("kagitori:ListUsers")


@pytest.fixture
def service(tmp_path: Path) -> Iterator[InProcess]:
    with InProcess(tmp_path) as opened:
        yield opened


def test_a_session_is_who_it_says(service: InProcess) -> None:
    alice = service.new_user("alice")
    role = new_role(service, trust_policy=trust(ALICE), path="/ops/")
    got = assume(service, role, alice, "build-7")
    assert got.assumed_role_arn == f"arn:aws:sts::{HOME}:assumed-role/worker/build-7"
    assert got.credentials.expiration == START + 3600
    assert got.credentials.access_key_id.startswith("ASIA")
    assert len(got.credentials.access_key_id) == 20
    assert got.credentials.session_token != got.token
    who = service.call("GetCallerIdentity", token=got.token)
    assert (who.arn, who.user_id, who.account_id) == (got.assumed_role_arn, got.assumed_role_id, HOME)
    assert got.assumed_role_id == f"{service.call('GetRole', {'role_name': 'worker'}).role.role_id}:build-7"


@pytest.mark.parametrize(
    ("trust_policy", "identity", "admitted"),
    [
        (trust(ALICE), None, True),
        (trust("*"), None, True),
        (trust(ROOT), None, False),
        (trust(ROOT), ASSUME, True),
        (trust(HOME), ASSUME, True),
        (trust(ROOT), statement("sts:AssumeRole", Resource=WORKER), True),
        (trust(ROOT), statement("sts:AssumeRole", Resource=f"{HOME_ARN}:role/other"), False),
        (trust(f"{HOME_ARN}:user/bob"), ASSUME, False),
        (trust(ALICE), statement("sts:AssumeRole", "Deny"), False),
        (trust(ALICE, effect="Deny"), ASSUME, False),
        (trust(ALICE, "sts:TagSession"), ASSUME, False),
        (None, ASSUME, False),
        (trust(ALICE, Condition={"StringLike": {"sts:RoleSessionName": "s?"}}), None, True),
        (trust(ALICE, Condition={"StringEquals": {"sts:RoleSessionName": "${aws:username}"}}), None, False),
        (trust(ALICE, Condition={"StringEquals": {"sts:ExternalId": "x"}}), None, False),
        (trust("*", Condition={"StringEquals": {"aws:PrincipalTag/team": "blue"}}), None, True),
        (trust("*", Condition={"StringEquals": {"aws:PrincipalTag/team": "red"}}), None, False),
    ],
)
def test_the_trust_policy_decides(
    service: InProcess, trust_policy: str | None, identity: str | None, admitted: bool
) -> None:
    alice = service.new_user("alice", policies={} if identity is None else {"p": identity})
    service.call("TagPrincipal", {"principal_arn": ALICE, "tags": [{"tag_key": "team", "tag_value": "blue"}]})
    service.new_user("bob")
    role = new_role(service, trust_policy=trust_policy)
    if admitted:
        assert assume(service, role, alice).token.startswith("kgt_")
        return
    with pytest.raises(AccessDeniedException) as refused:
        assume(service, role, alice)
    with pytest.raises(AccessDeniedException) as absent:
        assume(service, f"{HOME_ARN}:role/none", alice)
    assert refused.value.message.replace("worker", "none") == absent.value.message
    assert service.records()[-1]["errorCode"] == "AccessDenied"


def test_a_tag_without_a_value_is_a_tag(service: InProcess) -> None:
    """Also for whom the trust policy admits only as long as the session has no such tag."""
    alice = service.new_user("alice")
    denied = {"Effect": "Deny", "Principal": "*", "Action": "*", "Condition": {"StringLike": {"aws:RequestTag/a": "*"}}}
    without = {"Effect": "Allow", "Principal": "*", "Action": "*", "Condition": {"Null": {"aws:RequestTag/b": "true"}}}
    role = new_role(service, trust_policy=json.dumps({"Version": "2012-10-17", "Statement": [denied, without]}))
    assert assume(service, role, alice, tags=[{"tag_key": "c", "tag_value": ""}]).token
    for name in ("a", "b"):
        with pytest.raises(AccessDeniedException):
            assume(service, role, alice, tags=[{"tag_key": name, "tag_value": ""}])


def test_across_accounts_both_sides_have_to_allow(service: InProcess) -> None:
    root = service.new_account(OTHER)
    foreign = service.call("CreateUser", {"account_id": OTHER, "user_name": "eve"}).user.arn
    eve = service.new_token(foreign)
    named = new_role(service, trust_policy=trust(foreign))
    account = new_role(service, "second", trust(OTHER))
    unnamed = new_role(service, "third", trust(ROOT))
    for role in (named, account, unnamed):
        with pytest.raises(AccessDeniedException):
            assume(service, role, eve)
    put_inline(service, foreign, ASSUME)
    for role in (named, account):
        got = assume(service, role, eve)
        assert service.call("GetCallerIdentity", token=got.token).account_id == HOME
    with pytest.raises(AccessDeniedException):
        assume(service, unnamed, eve)
    with pytest.raises(AccessDeniedException, match="root"):
        assume(service, account, root)
    assumed = [record for record in service.records() if record["eventName"] == "AssumeRole"]
    told = [record["recipientAccountId"] for record in assumed if "errorCode" not in record]
    assert told[-2:] == [OTHER, HOME]


def test_root_users_cannot_assume_roles(service: InProcess) -> None:
    role = new_role(service, trust_policy=trust(ROOT))
    with pytest.raises(AccessDeniedException, match="root"):
        assume(service, role, None)


def test_someone_made_anew_under_a_trusted_name_is_not_trusted(service: InProcess) -> None:
    service.call("CreateUser", {"user_name": "alice"})
    role = new_role(service, trust_policy=trust(ALICE))
    service.call("DeleteUser", {"user_name": "alice"})
    alice = service.new_user("alice")
    with pytest.raises(AccessDeniedException):
        assume(service, role, alice)
    service.call("UpdateAssumeRolePolicy", {"role_name": "worker", "policy_document": trust(ALICE)})
    assume(service, role, alice)
    assert service.call("GetRole", {"role_name": "worker"}).role.assume_role_policy_document == trust(ALICE)


@pytest.mark.parametrize(
    ("document", "error"),
    [
        (trust(f"{HOME_ARN}:user/nobody"), MalformedPolicyDocumentException),
        (trust("arn:aws:iam"), MalformedPolicyDocumentException),
        (trust(f"{HOME_ARN}:user/al*"), MalformedPolicyDocumentException),
        (trust(ROOT, Resource="*"), MalformedPolicyDocumentException),
        (statement("sts:AssumeRole"), MalformedPolicyDocumentException),
        ('{"Statement": {"Effect": "Allow", "Principal": "*"}}', MalformedPolicyDocumentException),
        ('{"Statement": {"Effect": "Allow", "NotPrincipal": {"AWS": "*"}, "Action": "*"}}',
         MalformedPolicyDocumentException),
        ("{}", MalformedPolicyDocumentException),
        ("", ValidationException),
        (trust(ROOT, Sid="a" * 2_048), LimitExceededException),
    ],
)
def test_trust_policies_that_would_not_be_enforced_are_refused(
    service: InProcess, document: str, error: type[Exception]
) -> None:
    with pytest.raises(error):
        new_role(service, trust_policy=document)
    new_role(service)
    with pytest.raises(error):
        service.call("UpdateAssumeRolePolicy", {"role_name": "worker", "policy_document": document})
    assert service.call("GetRole", {"role_name": "worker"}).role.assume_role_policy_document is None


def test_sessions_end(service: InProcess, tmp_path: Path) -> None:
    alice = service.new_user("alice")
    role = new_role(service, trust_policy=trust(ALICE), max_session_duration=7200)
    short, long = (assume(service, role, alice, duration_seconds=seconds) for seconds in (900, 7200))
    assert long.credentials.expiration == START + 7200
    service.clock.advance(899)
    service.call("GetCallerIdentity", token=short.token)
    service.clock.advance(1)
    with pytest.raises(ExpiredTokenException):
        service.call("GetCallerIdentity", token=short.token)
    with InProcess(tmp_path, service.clock) as second, pytest.raises(ExpiredTokenException):
        second.call("GetCallerIdentity", token=short.token)
    service.call("GetCallerIdentity", token=long.token)
    assume(service, role, alice)
    with service.catalog.read() as reader:
        assert reader.count_sessions(role) == 2, "what has expired was cleared away"
        assert reader.get_access_key(short.credentials.access_key_id) is None


def test_a_deleted_role_takes_its_sessions_along(service: InProcess, tmp_path: Path) -> None:
    alice = service.new_user("alice")
    role = new_role(service, trust_policy=trust(ALICE))
    got = assume(service, role, alice)
    with InProcess(tmp_path, service.clock) as second:
        second.call("GetCallerIdentity", token=got.token)
        service.call("DeleteRole", {"role_name": "worker"})
        for each in (service, second):
            with pytest.raises(UnrecognizedClientException):
                each.call("GetCallerIdentity", token=got.token)
        new_role(service, trust_policy=trust(ALICE))
        with pytest.raises(UnrecognizedClientException):
            second.call("GetCallerIdentity", token=got.token)
        assert second.catalog.view.access_key(got.credentials.access_key_id) is None


def test_a_revoked_session_ends_with_its_access_key(service: InProcess) -> None:
    alice = service.new_user("alice")
    role = new_role(service, trust_policy=trust(ALICE))
    got = assume(service, role, alice)
    [token] = service.call("ListTokens", {"principal_arn": role}).tokens
    assert (token.session_name, token.expiration) == ("s1", START + 3600)
    service.call("RevokeToken", {"token_id": token.token_id})
    with pytest.raises(UnrecognizedClientException):
        service.call("GetCallerIdentity", token=got.token)
    with service.catalog.read() as reader:
        assert reader.get_access_key(got.credentials.access_key_id) is None


@pytest.mark.parametrize(
    ("error", "more"),
    [
        (ValidationException, {"duration_seconds": 899}),
        (ValidationException, {"duration_seconds": 3601}),
        (ValidationException, {"duration_seconds": 43_201}),
        (ValidationException, {"session": "x"}),
        (ValidationException, {"session": "a b"}),
        (ValidationException, {"session": "Root"}),
        (ValidationException, {"source_identity": "a"}),
        (ValidationException, {"policy": statement("kms:*", Sid="a" * 2_048)}),
        (MalformedPolicyDocumentException, {"policy": "{}"}),
        (MalformedPolicyDocumentException, {"policy": trust("*")}),
        (ValidationException, {"tags": [{"tag_key": "aws:x", "tag_value": ""}]}),
        (ValidationException, {"tags": [{"tag_key": "x", "tag_value": ""}] * 2}),
        (ValidationException, {"tags": [{"tag_key": f"{n}", "tag_value": ""} for n in range(51)]}),
    ],
)
def test_what_cannot_be_of_a_session_is_refused(
    service: InProcess, error: type[Exception], more: dict[str, Any]
) -> None:
    alice = service.new_user("alice")
    role = new_role(service, trust_policy=trust(ALICE))
    with pytest.raises(error):
        assume(service, role, alice, **more)
    with service.catalog.read() as reader:
        assert reader.count_sessions(role) == 0


@pytest.mark.parametrize("more", [{"tags": [{"tag_key": "a", "tag_value": "b"}]}, {"source_identity": "me"}])
def test_tags_and_source_identity_need_permissions_of_their_own(service: InProcess, more: dict[str, Any]) -> None:
    alice = service.new_user("alice")
    role = new_role(service, trust_policy=trust(ALICE, "sts:AssumeRole"))
    with pytest.raises(AccessDeniedException):
        assume(service, role, alice, **more)
    service.call("UpdateAssumeRolePolicy", {"role_name": "worker", "policy_document": trust(ALICE)})
    assume(service, role, alice, **more)


def test_a_session_policy_is_a_limit(service: InProcess) -> None:
    alice = service.new_user("alice")
    role = new_role(service, trust_policy=trust(ALICE), inline=statement("kagitori:List*"))
    free, bound = assume(service, role, alice).token, assume(service, role, alice, policy=LIST).token
    for token in (free, bound):
        service.call("ListUsers", {}, token=token)
    service.call("ListRoles", {}, token=free)
    with pytest.raises(AccessDeniedException, match="no session policy allows"):
        service.call("ListRoles", {}, token=bound)
    wide = assume(service, role, alice, policy=statement("*")).token
    with pytest.raises(AccessDeniedException, match="no identity-based policy allows"):
        service.call("GetRole", {"role_name": "worker"}, token=wide)
    denied = assume(service, role, alice, policy=statement("*", "Deny")).token
    with pytest.raises(AccessDeniedException, match="explicit deny in a session policy"):
        service.call("ListUsers", {}, token=denied)


def _key_for(service: InProcess, principal: str) -> str:
    """A key whose policy lets the home account manage it and `principal` describe it."""
    statements = [
        {"Effect": "Allow", "Principal": {"AWS": ROOT}, "Action": ["kms:*"], "Resource": "*"},
        {"Effect": "Allow", "Principal": {"AWS": principal}, "Action": "kms:DescribeKey", "Resource": "*"},
    ]
    document = json.dumps({"Version": "2012-10-17", "Statement": statements})
    arn: str = service.call("CreateKey", {"policy": document}).key_metadata.arn
    return arn


def test_a_key_policy_that_names_the_role_is_limited_by_the_session_policy(service: InProcess) -> None:
    """Cases 11 to 14 of the worked examples."""
    alice = service.new_user("alice")
    role = new_role(service, trust_policy=trust(ALICE))
    free, bound = assume(service, role, alice).token, assume(service, role, alice, policy=LIST).token
    of_role = {"key_id": _key_for(service, role)}
    of_session = {"key_id": _key_for(service, f"arn:aws:sts::{HOME}:assumed-role/worker/s1")}
    service.call("DescribeKey", of_role, token=free)
    with pytest.raises(AccessDeniedException, match="no session policy allows"):
        service.call("DescribeKey", of_role, token=bound)
    service.call("DescribeKey", of_session, token=bound)
    other = assume(service, role, alice, "s2").token
    with pytest.raises(AccessDeniedException):
        service.call("DescribeKey", of_session, token=other)


def test_a_boundary_limits_what_is_delegated_not_what_names_the_user(service: InProcess) -> None:
    """Cases 15 and 16 of the worked examples."""
    alice = service.new_user("alice", policies={"p": statement("kms:DescribeKey")})
    direct, delegated = {"key_id": _key_for(service, ALICE)}, {"key_id": _key_for(service, ROOT)}
    boundary = new_managed(service, LIST)
    service.call("DescribeKey", delegated, token=alice)
    service.call("PutPermissionsBoundary", {"principal_arn": ALICE, "policy_arn": boundary})
    assert service.call("GetUser", {"user_name": "alice"}).user.permissions_boundary == boundary
    service.call("DescribeKey", direct, token=alice)
    with pytest.raises(AccessDeniedException, match="no permissions boundary allows"):
        service.call("DescribeKey", delegated, token=alice)
    with pytest.raises(AccessDeniedException, match="no identity-based policy allows"):
        service.call("ListUsers", {}, token=alice)  # a boundary gives nothing
    denying = new_managed(service, statement("kms:*", "Deny"), "denying")
    service.call("PutPermissionsBoundary", {"principal_arn": ALICE, "policy_arn": denying})
    with pytest.raises(AccessDeniedException, match="explicit deny in a permissions boundary"):
        service.call("DescribeKey", direct, token=alice)


def test_a_boundary_holds_for_sessions_and_for_assuming(service: InProcess) -> None:
    alice = service.new_user("alice")
    role = new_role(service, trust_policy=trust(ALICE), inline=statement("kagitori:List*"))
    session = assume(service, role, alice).token
    service.call("PutPermissionsBoundary", {"principal_arn": role, "policy_arn": new_managed(service, LIST)})
    service.call("ListUsers", {}, token=session)
    with pytest.raises(AccessDeniedException, match="no permissions boundary allows"):
        service.call("ListRoles", {}, token=session)
    second = new_role(service, "second", trust(role))
    with pytest.raises(AccessDeniedException):
        assume(service, second, session)


def test_a_chain_keeps_its_source_identity_and_its_hour(service: InProcess) -> None:
    alice = service.new_user("alice")
    first = new_role(service, "first", trust(ALICE), max_session_duration=43_200)
    second = new_role(service, "second", trust(first), max_session_duration=43_200)
    outer = assume(service, first, alice, source_identity="alice.a", duration_seconds=43_200).token
    with pytest.raises(ValidationException, match="chaining"):
        assume(service, second, outer, duration_seconds=3_601)
    with pytest.raises(AccessDeniedException, match="source identity"):
        assume(service, second, outer, source_identity="mallory")
    inner = assume(service, second, outer).token
    service.call("GetCallerIdentity", token=inner)
    context = service.records()[-1]["userIdentity"]["sessionContext"]
    assert context["sourceIdentity"] == "alice.a"
    assert context["sessionIssuer"]["arn"] == second


def test_session_tags_hide_the_roles(service: InProcess) -> None:
    alice = service.new_user("alice")
    tags = [{"tag_key": "team", "tag_value": "red"}, {"tag_key": "site", "tag_value": "x"}]
    role = new_role(service, "first", trust(ALICE), tags=tags)
    blue = statement("sts:AssumeRole", Principal={"AWS": role},
                     Condition={"StringEquals": {"aws:PrincipalTag/team": "blue", "aws:PrincipalTag/site": "x"}})
    second = new_role(service, "second", blue)
    with pytest.raises(AccessDeniedException):
        assume(service, second, assume(service, role, alice).token)
    tagged = assume(service, role, alice, tags=[{"tag_key": "team", "tag_value": "blue"}]).token
    assume(service, second, tagged)


def test_no_secret_of_a_session_is_kept_or_recorded(service: InProcess, tmp_path: Path) -> None:
    alice = service.new_user("alice")
    role = new_role(service, trust_policy=trust(ALICE))
    got = assume(service, role, alice, policy=LIST)
    record = service.records()[-1]
    assert record["requestParameters"]["roleSessionName"] == "s1"
    assert record["responseElements"]["assumedRoleArn"] == got.assumed_role_arn
    assert record["additionalEventData"]["accessKeyId"] == got.credentials.access_key_id
    kept = b"".join(path.read_bytes() for path in tmp_path.glob("kagitori.db*")) + service.audit_text().encode()
    for secret in (got.token, got.credentials.session_token, got.credentials.secret_access_key):
        assert secret not in repr(got)
        assert secret.encode() not in kept


def test_the_roles_maximum_is_told_and_bounded(service: InProcess) -> None:
    new_role(service, max_session_duration=43_200)
    assert service.call("GetRole", {"role_name": "worker"}).role.max_session_duration == 43_200
    with pytest.raises(NoSuchEntityException):
        service.call("UpdateAssumeRolePolicy", {"role_name": "none", "policy_document": trust(ROOT)})


def test_a_grant_to_a_role_is_limited_by_the_session_policy(service: InProcess) -> None:
    """A grant counts as a statement that names its grantee in the same way."""
    alice = service.new_user("alice")
    role = new_role(service, trust_policy=trust(ALICE))
    key = {"key_id": service.call("CreateKey", {}, token=service.new_user("maker", policies={"p": statement("*")}))
           .key_metadata.arn}
    free, bound = assume(service, role, alice).token, assume(service, role, alice, policy=LIST).token
    service.call("CreateGrant", {**key, "grantee_principal": role, "operations": ["DescribeKey"]})
    service.call("DescribeKey", key, token=free)
    with pytest.raises(AccessDeniedException):
        service.call("DescribeKey", key, token=bound)
    of_session = f"arn:aws:sts::{HOME}:assumed-role/worker/s1"
    service.call("CreateGrant", {**key, "grantee_principal": of_session, "operations": ["DescribeKey"]})
    service.call("DescribeKey", key, token=bound)


@pytest.mark.parametrize(
    ("condition", "admitted"),
    [
        (None, False),
        ({}, True),
        ({"StringEquals": {"sts:SourceIdentity": "alice.a"}}, True),
        ({"StringEquals": {"sts:SourceIdentity": "bob"}}, False),
    ],
)
def test_a_role_has_a_say_in_the_source_identity_that_a_chain_brings(
    service: InProcess, condition: dict[str, Any] | None, admitted: bool
) -> None:
    """Else whoever lets callers of one role say who they are would speak for all roles that trust it."""
    alice = service.new_user("alice")
    first = new_role(service, "first", trust(ALICE))
    principal = {"Effect": "Allow", "Principal": {"AWS": first}}
    statements: list[dict[str, Any]] = [{**principal, "Action": "sts:AssumeRole"}]
    if condition is not None:
        statements.append({**principal, "Action": "sts:SetSourceIdentity", "Condition": condition})
    policy = json.dumps({"Version": "2012-10-17", "Statement": statements})
    second = new_role(service, "second", policy)
    assume(service, second, assume(service, first, alice).token)
    named = assume(service, first, alice, source_identity="alice.a").token
    if admitted:
        assert assume(service, second, named).token
        return
    with pytest.raises(AccessDeniedException, match="sts:SetSourceIdentity"):
        assume(service, second, named)
