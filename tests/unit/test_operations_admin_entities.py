"""Users and roles: made, described, listed and deleted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.inprocess import ALLOW_ALL, HOME, START, InProcess

from kagitori_server.model.errors import (
    DeleteConflictException,
    EntityAlreadyExistsException,
    InvalidMarkerException,
    LimitExceededException,
    NoSuchEntityException,
    SerializationException,
    ValidationException,
)
from kagitori_server.model.principals import PrincipalKind
from kagitori_server.operations.administration import entities
from kagitori_server.operations.shapes.keys import TagShape

both_kinds = pytest.mark.parametrize("kind", ["user", "role"])


@pytest.fixture
def service(tmp_path: Path) -> Iterator[InProcess]:
    with InProcess(tmp_path) as opened:
        yield opened


@pytest.fixture(scope="module")
def refusing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InProcess]:
    """One service for all tests in which nothing is ever done."""
    with InProcess(tmp_path_factory.mktemp("refusing")) as opened:
        yield opened


def _do(service: InProcess, verb: str, kind: str, name: str, **more: Any) -> Any:
    return service.call(f"{verb}{kind.capitalize()}", {f"{kind}_name": name, **more})


def _names(service: InProcess, kind: str, **values: Any) -> list[str]:
    listed = service.call(f"List{kind.capitalize()}s", values)
    return [getattr(item, f"{kind}_name") for item in getattr(listed, f"{kind}s")]


@both_kinds
def test_one_is_made_and_described(service: InProcess, kind: str) -> None:
    tags = [{"tag_key": "team", "tag_value": "ä"}, {"tag_key": "empty", "tag_value": ""}]
    made = getattr(_do(service, "Create", kind, "Al.ice+=,@-_9", path="/a/b/", tags=tags), kind)
    assert made.arn == f"arn:aws:iam::{HOME}:{kind}/a/b/Al.ice+=,@-_9"
    assert made.path == "/a/b/"
    assert getattr(made, f"{kind}_id").startswith({"user": "AIDA", "role": "AROA"}[kind])
    assert made.create_date == START
    expected = (TagShape(tag_key="empty", tag_value=""), TagShape(tag_key="team", tag_value="ä"))
    assert made.tags == expected
    assert getattr(_do(service, "Get", kind, "Al.ice+=,@-_9"), kind) == made
    record = service.records()[-2]
    assert record["requestParameters"][f"{kind}Name"] == "Al.ice+=,@-_9"
    assert record["responseElements"][kind]["arn"] == made.arn


@both_kinds
def test_the_path_is_a_slash_when_absent(service: InProcess, kind: str) -> None:
    made = getattr(_do(service, "Create", kind, "x"), kind)
    assert (made.path, made.arn) == ("/", f"arn:aws:iam::{HOME}:{kind}/x")


@both_kinds
@pytest.mark.parametrize("name", ["", "a" * 65, "a b", "a/b", "a:b", "ä", "a*", "a?", "a\n", "\u0661"])
def test_bad_names_are_refused(refusing: InProcess, kind: str, name: str) -> None:
    for verb in ("Create", "Get", "Delete"):
        with pytest.raises(ValidationException):
            _do(refusing, verb, kind, name)


@both_kinds
@pytest.mark.parametrize("path", ["", "a", "/a", "a/", "//", "/a b/", "/ä/", "/\x7f/", f"/{'a' * 511}/"])
def test_bad_paths_are_refused(refusing: InProcess, kind: str, path: str) -> None:
    with pytest.raises(ValidationException):
        _do(refusing, "Create", kind, "x", path=path)


@both_kinds
def test_the_longest_names_are_kept(service: InProcess, kind: str) -> None:
    name, path = "n" * 64, f"/{'p' * 510}/"
    made = getattr(_do(service, "Create", kind, name, path=path), kind)
    assert getattr(_do(service, "Get", kind, name), kind) == made
    service.call("ListIdentityPolicies", {"principal_arn": made.arn})


@both_kinds
@pytest.mark.parametrize("path", ["/aws-reserved/", "/aws-service-role/x/", "/AWS-Reserved/"])
def test_reserved_paths_are_refused(refusing: InProcess, kind: str, path: str) -> None:
    with pytest.raises(ValidationException):
        _do(refusing, "Create", kind, "x", path=path)


@pytest.mark.parametrize(
    ("kind", "name"),
    [("user", "root"), ("user", "Root"), ("role", "AWSServiceRoleForX"), ("role", "awsservicerole")],
)
def test_reserved_names_are_refused(refusing: InProcess, kind: str, name: str) -> None:
    with pytest.raises(ValidationException):
        _do(refusing, "Create", kind, name)


@both_kinds
@pytest.mark.parametrize(
    "tags",
    [
        [{"tag_key": "aws:x", "tag_value": ""}],
        [{"tag_key": "AWS:x", "tag_value": ""}],
        [{"tag_key": "a", "tag_value": "1"}, {"tag_key": "a", "tag_value": "1"}],
        [{"tag_key": f"k{number}", "tag_value": ""} for number in range(51)],
        [{"tag_key": "", "tag_value": ""}],
        [{"tag_key": "k" * 129, "tag_value": ""}],
        [{"tag_key": "k", "tag_value": "v" * 257}],
        [{"tag_key": "k"}],
    ],
)
def test_bad_tags_are_refused(refusing: InProcess, kind: str, tags: list[dict[str, str]]) -> None:
    with pytest.raises(ValidationException):
        _do(refusing, "Create", kind, "x", tags=tags)


@both_kinds
def test_fifty_of_the_longest_tags_are_kept(service: InProcess, kind: str) -> None:
    tags = [{"tag_key": f"{number:02}" + "k" * 126, "tag_value": "v" * 256} for number in range(50)]
    assert len(getattr(_do(service, "Create", kind, "x", tags=tags), kind).tags) == 50


@both_kinds
def test_names_are_unique_whatever_their_case_and_path(service: InProcess, kind: str) -> None:
    _do(service, "Create", kind, "Alice", path="/a/")
    for name, path in (("Alice", "/a/"), ("Alice", "/b/"), ("aLICE", "/")):
        with pytest.raises(EntityAlreadyExistsException):
            _do(service, "Create", kind, name, path=path)


def test_a_user_and_a_role_may_share_a_name(service: InProcess) -> None:
    _do(service, "Create", "user", "same")
    _do(service, "Create", "role", "same")


@both_kinds
def test_names_are_found_by_their_exact_case(service: InProcess, kind: str) -> None:
    _do(service, "Create", kind, "Alice")
    for name in ("alice", "nobody"):
        for verb in ("Get", "Delete"):
            with pytest.raises(NoSuchEntityException):
                _do(service, verb, kind, name)


@both_kinds
def test_a_new_one_of_an_old_name_is_another_one(service: InProcess, kind: str) -> None:
    old = getattr(_do(service, "Create", kind, "x"), kind)
    _do(service, "Delete", kind, "x")
    new = getattr(_do(service, "Create", kind, "x"), kind)
    assert new.arn == old.arn
    assert getattr(new, f"{kind}_id") != getattr(old, f"{kind}_id")


@both_kinds
def test_lists_are_paged_in_the_order_of_names_without_tags(service: InProcess, kind: str) -> None:
    tags = [{"tag_key": "a", "tag_value": "b"}]
    for name in ("c", "a", "B"):
        _do(service, "Create", kind, name, tags=tags)
    first = service.call(f"List{kind.capitalize()}s", {"limit": 2})
    assert [getattr(item, f"{kind}_name") for item in getattr(first, f"{kind}s")] == ["B", "a"]
    assert all(item.tags == () for item in getattr(first, f"{kind}s"))
    assert first.truncated
    assert _names(service, kind, limit=2, marker=first.next_marker) == ["c"]
    other = "ListRoles" if kind == "user" else "ListUsers"
    with pytest.raises(InvalidMarkerException):
        service.call(other, {"marker": first.next_marker})


@both_kinds
def test_lists_select_by_path(service: InProcess, kind: str) -> None:
    for name, path in (("a", "/x/"), ("b", "/y/"), ("c", "/x/y/")):
        _do(service, "Create", kind, name, path=path)
    assert _names(service, kind, path_prefix="/x/") == ["a", "c"]
    assert _names(service, kind, path_prefix="/x") == ["a", "c"]
    assert _names(service, kind, path_prefix="/z/") == []
    page = service.call(f"List{kind.capitalize()}s", {"path_prefix": "/x/", "limit": 2})
    assert page.truncated
    assert _names(service, kind, path_prefix="/x/", limit=2, marker=page.next_marker) == ["c"]
    with pytest.raises(ValidationException):
        _names(service, kind, path_prefix="x/")


def test_roles_keep_a_description_and_have_the_usual_session(service: InProcess) -> None:
    role = _do(service, "Create", "role", "x", description="what for", max_session_duration=3600).role
    assert (role.description, role.max_session_duration) == ("what for", 3600)
    assert role.assume_role_policy_document is None
    assert _do(service, "Create", "role", "y").role.description is None


@pytest.mark.parametrize(
    "more", [{"description": "d" * 1001}, {"max_session_duration": 3599}, {"max_session_duration": 43201}]
)
def test_bad_members_of_roles_are_refused(refusing: InProcess, more: dict[str, Any]) -> None:
    with pytest.raises(ValidationException):
        _do(refusing, "Create", "role", "x", **more)


@both_kinds
def test_one_with_policies_tokens_or_certificates_stays(service: InProcess, kind: str) -> None:
    arn = getattr(_do(service, "Create", kind, "x"), kind).arn
    session = {"session_name": "it"} if kind == "role" else {}
    policy = {"principal_arn": arn, "policy_name": "p"}
    service.call("PutIdentityPolicy", {**policy, "policy_document": ALLOW_ALL})
    token = service.call("CreateToken", {"principal_arn": arn, **session}).token_id
    certificate = service.call(
        "RegisterCertificate", {"principal_arn": arn, "uri_san": "spiffe://a/b", **session}
    ).certificate_id
    for operation, values in (
        ("DeleteIdentityPolicy", policy),
        ("RevokeToken", {"token_id": token}),
        ("DeregisterCertificate", {"certificate_id": certificate}),
    ):
        with pytest.raises(DeleteConflictException):
            _do(service, "Delete", kind, "x")
        service.call(operation, values)
    _do(service, "Delete", kind, "x")


@both_kinds
def test_expired_tokens_keep_nobody(service: InProcess, kind: str) -> None:
    arn = getattr(_do(service, "Create", kind, "x"), kind).arn
    session = {"session_name": "it"} if kind == "role" else {}
    service.call("CreateToken", {"principal_arn": arn, "duration_seconds": 900, **session})
    with pytest.raises(DeleteConflictException):
        _do(service, "Delete", kind, "x")
    service.clock.advance(900)
    _do(service, "Delete", kind, "x")


@both_kinds
def test_there_is_a_most_per_account(service: InProcess, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(entities.ENTITIES_MAX, PrincipalKind(kind), 2)
    _do(service, "Create", kind, "a")
    _do(service, "Create", kind, "b")
    with pytest.raises(LimitExceededException):
        _do(service, "Create", kind, "c")


def test_nobody_is_made_in_an_account_that_is_not_there(service: InProcess) -> None:
    with pytest.raises(NoSuchEntityException):
        _do(service, "Create", "user", "x", account_id="999999999999")


def test_members_that_are_not_there_are_refused(service: InProcess) -> None:
    with pytest.raises(SerializationException):
        _do(service, "Create", "user", "x", permissions_boundary="arn:aws:iam::000000000000:policy/p")
