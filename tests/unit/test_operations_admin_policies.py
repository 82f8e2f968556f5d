"""Inline identity policies of users and roles."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.inprocess import ALLOW_ALL, HOME, InProcess

from kagitori_server.model.errors import (
    AccessDeniedException,
    LimitExceededException,
    MalformedPolicyDocumentException,
    NoSuchEntityException,
    ValidationException,
)
from kagitori_server.policy.document import policy_size

ALICE = f"arn:aws:iam::{HOME}:user/alice"
WORKER = f"arn:aws:iam::{HOME}:role/worker"


@pytest.fixture
def service(tmp_path: Path) -> Iterator[InProcess]:
    with InProcess(tmp_path) as opened:
        opened.call("CreateUser", {"user_name": "alice"})
        opened.call("CreateRole", {"role_name": "worker"})
        yield opened


@pytest.fixture(scope="module")
def refusing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InProcess]:
    """One service for all tests in which nothing is ever done."""
    with InProcess(tmp_path_factory.mktemp("refusing")) as opened:
        opened.call("CreateUser", {"user_name": "alice"})
        opened.call("CreateRole", {"role_name": "worker"})
        yield opened


def _put(service: InProcess, arn: str, name: str, document: str) -> None:
    service.call("PutIdentityPolicy", {"principal_arn": arn, "policy_name": name, "policy_document": document})


def _get(service: InProcess, arn: str, name: str) -> str:
    answer = service.call("GetIdentityPolicy", {"principal_arn": arn, "policy_name": name})
    assert (answer.principal_arn, answer.policy_name) == (arn, name)
    document: str = answer.policy_document
    return document


def _sized(characters: int) -> str:
    """A document that counts as so many characters."""
    empty = json.dumps({"Statement": {"Effect": "Allow", "Action": "kms:Encrypt", "Resource": "*", "Sid": ""}})
    text = empty.replace('"Sid": ""', f'"Sid": "{"a" * (characters - policy_size(empty))}"')
    assert policy_size(text) == characters
    return text


@pytest.mark.parametrize("arn", [ALICE, WORKER])
def test_a_document_comes_back_byte_for_byte(service: InProcess, arn: str) -> None:
    document = "\r\n\t " + ALLOW_ALL.replace(":", " : ") + "\n\n"
    _put(service, arn, "P.o+l=i,c@y-_", document)
    assert _get(service, arn, "P.o+l=i,c@y-_") == document
    shown = service.records()[-2]["requestParameters"]
    assert shown == {"principalArn": arn, "policyName": "P.o+l=i,c@y-_", "policyDocument": document}


def test_a_policy_replaces_the_one_of_its_name(service: InProcess) -> None:
    _put(service, ALICE, "p", ALLOW_ALL)
    _put(service, ALICE, "p", ALLOW_ALL + " ")
    assert _get(service, ALICE, "p") == ALLOW_ALL + " "
    assert service.call("ListIdentityPolicies", {"principal_arn": ALICE}).policy_names == ("p",)


def test_a_policy_is_in_force_at_once_and_until_it_is_deleted(service: InProcess) -> None:
    token = service.new_token(ALICE)
    with pytest.raises(AccessDeniedException):
        service.call("CreateKey", {}, token=token)
    _put(service, ALICE, "p", ALLOW_ALL)
    service.call("CreateKey", {}, token=token)
    service.call("DeleteIdentityPolicy", {"principal_arn": ALICE, "policy_name": "p"})
    with pytest.raises(AccessDeniedException):
        service.call("CreateKey", {}, token=token)


@pytest.mark.parametrize(
    "document",
    [
        "{}",
        "not JSON",
        "[]",
        '{"Statement":[]}',
        '{"Statement":{"Effect":"Allow","Action":"*","Resource":"*","Principal":"*"}}',
        '{"Statement":{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"Bool":{"a":"b"}}}}',
        '{"Statement":{"Effect":"Allow","Action":"*","Resource":"x"}}',
        '{"Statement":{"Effect":"allow","Action":"*","Resource":"*"}}',
        '{"Statement":{"Effect":"Allow","Action":"*","Resource":"*"},"Statement":[]}',
    ],
)
def test_documents_that_would_not_be_enforced_are_refused(refusing: InProcess, document: str) -> None:
    for arn in (ALICE, WORKER):
        with pytest.raises(MalformedPolicyDocumentException):
            _put(refusing, arn, "p", document)
    assert refusing.call("ListIdentityPolicies", {"principal_arn": ALICE}).policy_names == ()


@pytest.mark.parametrize(("arn", "most"), [(ALICE, 2_048), (WORKER, 10_240)])
def test_all_documents_together_have_a_most_of_characters(service: InProcess, arn: str, most: int) -> None:
    with pytest.raises(LimitExceededException):
        _put(service, arn, "p", _sized(most + 1))
    _put(service, arn, "p", _sized(most - 500))
    _put(service, arn, "q", _sized(500) + " " * 5_000)
    with pytest.raises(LimitExceededException):
        _put(service, arn, "q", _sized(501))
    with pytest.raises(LimitExceededException):
        _put(service, arn, "r", _sized(100))
    _put(service, arn, "p", _sized(most - 600))
    _put(service, arn, "r", _sized(100))


def test_a_role_has_at_most_50_policies(service: InProcess) -> None:
    for number in range(50):
        _put(service, WORKER, f"p{number}", _sized(90))
    with pytest.raises(LimitExceededException):
        _put(service, WORKER, "p50", _sized(90))
    _put(service, WORKER, "p49", _sized(91))


@pytest.mark.parametrize(
    ("name", "document"),
    [
        ("", ALLOW_ALL),
        ("p" * 129, ALLOW_ALL),
        ("a b", ALLOW_ALL),
        ("ä", ALLOW_ALL),
        ("p", ""),
        ("p", " " * 131_073),
        ("p", ALLOW_ALL + "\u0100"),
        ("p", ALLOW_ALL + "\x0b"),
    ],
)
def test_bad_members_are_refused(refusing: InProcess, name: str, document: str) -> None:
    with pytest.raises(ValidationException):
        _put(refusing, ALICE, name, document)


@pytest.mark.parametrize(
    "arn",
    [
        "alice",
        f"arn:aws:iam::{HOME}:root",
        f"arn:aws:iam::{HOME}:policy/p",
        f"arn:aws:sts::{HOME}:assumed-role/worker/session",
        f"arn:aws:kms::{HOME}:user/alice",
        "arn:aws:iam::1:user/alice",
        f"arn:aws:iam::{HOME}:user/al ice",
        f"arn:aws:iam::{HOME}:user/",
        f"arn:aws:iam::{HOME}:user/{'a' * 2_048}",
    ],
)
def test_only_users_groups_and_roles_can_be_named(refusing: InProcess, arn: str) -> None:
    with pytest.raises(ValidationException):
        _put(refusing, arn, "p", ALLOW_ALL)
    for operation in ("GetIdentityPolicy", "DeleteIdentityPolicy"):
        with pytest.raises(ValidationException):
            refusing.call(operation, {"principal_arn": arn, "policy_name": "p"})
    with pytest.raises(ValidationException):
        refusing.call("ListIdentityPolicies", {"principal_arn": arn})


@pytest.mark.parametrize(
    "arn",
    [
        f"arn:aws:iam::{HOME}:user/Alice",
        f"arn:aws:iam::{HOME}:user/x/alice",
        f"arn:aws:iam::{HOME}:role/alice",
        f"arn:aws:iam::{HOME}:group/alice",
        f"arn:aws-cn:iam::{HOME}:user/alice",
        "arn:aws:iam::999999999999:user/alice",
    ],
)
def test_unknown_principals_are_not_found(refusing: InProcess, arn: str) -> None:
    with pytest.raises(NoSuchEntityException):
        _put(refusing, arn, "p", ALLOW_ALL)
    for operation in ("GetIdentityPolicy", "DeleteIdentityPolicy"):
        with pytest.raises(NoSuchEntityException):
            refusing.call(operation, {"principal_arn": arn, "policy_name": "p"})
    with pytest.raises(NoSuchEntityException):
        refusing.call("ListIdentityPolicies", {"principal_arn": arn})


def test_unknown_policies_are_not_found(service: InProcess) -> None:
    _put(service, ALICE, "p", ALLOW_ALL)
    for arn, name in ((ALICE, "q"), (ALICE, "P"), (WORKER, "p")):
        for operation in ("GetIdentityPolicy", "DeleteIdentityPolicy"):
            with pytest.raises(NoSuchEntityException):
                service.call(operation, {"principal_arn": arn, "policy_name": name})


def test_names_are_listed_in_pages(service: InProcess) -> None:
    for name in ("c", "a", "b"):
        _put(service, ALICE, name, ALLOW_ALL)
    first = service.call("ListIdentityPolicies", {"principal_arn": ALICE, "limit": 2})
    assert (first.policy_names, first.truncated) == (("a", "b"), True)
    last = service.call("ListIdentityPolicies", {"principal_arn": ALICE, "limit": 2, "marker": first.next_marker})
    assert (last.policy_names, last.truncated, last.next_marker) == (("c",), False, None)
