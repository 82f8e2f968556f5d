"""Accounts, users, roles and credentials in the catalog: what goes in comes out, what can't be is refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from tests.support.catalogs import (
    ACCOUNT,
    OTHER_ACCOUNT,
    REGION,
    ROOT_ARN,
    Place,
    a_certificate,
    a_key,
    a_role,
    a_root,
    a_token,
    a_user,
)

from kagitori_server.model.errors import (
    DeleteConflictException,
    EntityAlreadyExistsException,
    NoSuchEntityException,
    ValidationException,
)
from kagitori_server.model.principals import Account, PrincipalKind, PrincipalRecord
from kagitori_server.storage import Writer

pytest_plugins = ["tests.support.catalog_fixtures"]

USER, ROLE = a_user(), a_role()


def fill(writer: Writer) -> None:
    writer.insert_principal(USER)
    writer.insert_principal(ROLE)
    writer.insert_token(a_token(1, USER.arn))
    writer.insert_certificate(a_certificate(1, principal_arn=ROLE.arn))
    writer.insert_certificate(a_certificate(2, uri=False, principal_arn=ROLE.arn))


def test_everyone_comes_back_as_they_were(place: Place) -> None:
    catalog = place.with_account()
    with catalog.write() as writer:
        fill(writer)
        writer.insert_token(a_token(2))
        writer.put_principal_policy(USER.arn, "z", '{"b" : 1}')
        writer.put_principal_policy(USER.arn, "a", "{}")
        writer.put_principal_policy(USER.arn, "a", '{"c":\t2}')
    user = replace(USER, policies={"a": '{"c":\t2}', "z": '{"b" : 1}'})
    with place.open().read() as reader:
        assert reader.get_account(ACCOUNT) == Account(ACCOUNT, "default", 1.5)
        assert reader.get_principal(ROOT_ARN) == a_root(ACCOUNT)
        assert reader.get_principal(USER.arn) == user
        assert reader.get_principal(ROLE.arn) == ROLE
        assert reader.find_principal(ACCOUNT, PrincipalKind.USER, "ALICE") == user
        assert reader.find_principal(ACCOUNT, PrincipalKind.ROLE, "alice") is None
        assert reader.find_token(a_token(1).digest) == reader.get_token("token-0001") == a_token(1, USER.arn)
        assert reader.find_token(a_token(2).digest) == a_token(2)
        assert reader.find_token(bytes(32)) is None
        assert reader.list_tokens(ACCOUNT) == [a_token(1, USER.arn), a_token(2)]
        assert reader.list_tokens(ACCOUNT, after="token-0001") == [a_token(2)]
        assert reader.list_tokens(ACCOUNT, USER.arn) == [a_token(1, USER.arn)]
        assert reader.count_tokens(USER.arn) == 1
        by_uri, by_subject = (
            a_certificate(1, principal_arn=ROLE.arn),
            a_certificate(2, uri=False, principal_arn=ROLE.arn),
        )
        assert reader.find_certificate(uri_san=by_uri.uri_san) == by_uri
        assert reader.find_certificate(subject=by_subject.subject) == by_subject
        assert reader.find_certificate(uri_san=by_subject.subject) is None
        assert reader.get_certificate("cert-0001") == by_uri
        assert reader.list_certificates(ACCOUNT) == [by_uri, by_subject]
        assert reader.list_certificates(ACCOUNT, ROLE.arn, "cert-0001") == [by_subject]
        assert reader.list_certificates(ACCOUNT, USER.arn) == []


def test_principals_are_listed_by_kind_and_name(place: Place) -> None:
    catalog = place.with_account()
    names = ["Bob", "_ops", "alice", "bea", "carol"]
    with catalog.write() as writer:
        for name in names:
            writer.insert_principal(a_user(name))
        writer.insert_principal(ROLE)
        writer.insert_account(Account(OTHER_ACCOUNT, "other", 2.0), a_root(OTHER_ACCOUNT))
        writer.insert_principal(a_user("dave", OTHER_ACCOUNT))
    with catalog.read() as reader:
        users = reader.list_principals(ACCOUNT, PrincipalKind.USER)
        assert [user.name for user in users] == sorted(names)
        page = reader.list_principals(ACCOUNT, PrincipalKind.USER, "_ops", 2)
        assert [user.name for user in page] == ["alice", "bea"]
        assert reader.list_principals(ACCOUNT, PrincipalKind.ROLE) == [ROLE]
        assert reader.count_principals(ACCOUNT, PrincipalKind.USER) == 5
        assert [account.account for account in reader.list_accounts()] == [ACCOUNT, OTHER_ACCOUNT]
        assert [account.account for account in reader.list_accounts(ACCOUNT)] == [OTHER_ACCOUNT]


@pytest.mark.parametrize(
    "change",
    [
        lambda w: w.insert_account(Account(ACCOUNT, "again", 1.0), a_root(ACCOUNT)),
        lambda w: w.insert_principal(USER),
        lambda w: w.insert_principal(a_user("ALICE")),
        lambda w: w.insert_principal(replace(a_user("Alice"), path="/x/", principal_id="AIDAX", arn="arn:x")),
        lambda w: w.insert_principal(replace(a_user("bob"), principal_id=USER.principal_id)),
        lambda w: w.insert_principal(replace(a_user("bob"), arn=USER.arn)),
        lambda w: w.insert_principal(a_role("DEPLOYER")),
        lambda w: w.insert_token(a_token(1, USER.arn)),
        lambda w: w.insert_token(replace(a_token(1), token_id="other")),
        lambda w: w.insert_token(replace(a_token(2), token_id="token-0001")),
        lambda w: w.insert_certificate(a_certificate(1)),
        lambda w: w.insert_certificate(replace(a_certificate(1), certificate_id="other")),
        lambda w: w.insert_certificate(replace(a_certificate(2, uri=False), certificate_id="other")),
        lambda w: w.insert_certificate(replace(a_certificate(3), certificate_id="cert-0001")),
    ],
)
def test_what_is_taken_is_refused(place: Place, change: Callable[[Writer], None]) -> None:
    catalog = place.with_account()
    with catalog.write() as writer:
        fill(writer)
    with pytest.raises(EntityAlreadyExistsException), catalog.write() as writer:
        change(writer)


@pytest.mark.parametrize(
    "change",
    [
        lambda w: w.delete_account(OTHER_ACCOUNT),
        lambda w: w.insert_principal(a_user(account=OTHER_ACCOUNT)),
        lambda w: w.delete_principal("arn:aws:iam::000000000000:user/nobody"),
        lambda w: w.put_principal_policy("arn:nobody", "p", "{}"),
        lambda w: w.delete_principal_policy(ROLE.arn, "Use"),
        lambda w: w.delete_principal_policy(USER.arn, "use"),
        lambda w: w.insert_token(a_token(5, "arn:nobody")),
        lambda w: w.insert_token(a_token(5, USER.arn, OTHER_ACCOUNT)),
        lambda w: w.delete_token("token-0009"),
        lambda w: w.insert_certificate(a_certificate(5, principal_arn="arn:nobody")),
        lambda w: w.insert_certificate(a_certificate(5, account=OTHER_ACCOUNT)),
        lambda w: w.delete_certificate("cert-0009"),
    ],
)
def test_what_is_not_there_is_refused(place: Place, change: Callable[[Writer], None]) -> None:
    catalog = place.with_account()
    with catalog.write() as writer:
        fill(writer)
    with pytest.raises(NoSuchEntityException), catalog.write() as writer:
        change(writer)


@pytest.mark.parametrize(
    "change",
    [
        lambda w: w.insert_account(Account(OTHER_ACCOUNT, "x", 1.0), a_root(ACCOUNT)),
        lambda w: w.insert_account(Account(OTHER_ACCOUNT, "x", 1.0), a_user(account=OTHER_ACCOUNT)),
        lambda w: w.insert_principal(a_root(ACCOUNT)),
        lambda w: w.insert_token(replace(a_token(5), digest=bytes(31))),
        lambda w: w.insert_certificate(replace(a_certificate(5), uri_san=None)),
        lambda w: w.insert_certificate(replace(a_certificate(5), subject="CN=x")),
        lambda w: w.find_certificate(),
        lambda w: w.find_certificate(uri_san="a", subject="b"),
    ],
)
def test_a_callers_mistakes_are_named(place: Place, change: Callable[[Writer], None]) -> None:
    catalog = place.with_account()
    with pytest.raises(ValueError, match=r"\w"), catalog.write() as writer:
        change(writer)


def test_a_uri_that_is_none_is_refused(place: Place) -> None:
    catalog = place.with_account()
    with pytest.raises(ValidationException), catalog.write() as writer:
        writer.insert_certificate(replace(a_certificate(1), uri_san="spiffe://exämple.org/"))


def leave(writer: Writer, principal: PrincipalRecord) -> None:
    for name in principal.policies:
        writer.delete_principal_policy(principal.arn, name)
    for token in writer.list_tokens(principal.account, principal.arn):
        writer.delete_token(token.token_id)
    for certificate in writer.list_certificates(principal.account, principal.arn):
        writer.delete_certificate(certificate.certificate_id)


@pytest.mark.parametrize("principal", [USER, ROLE], ids=["user", "role"])
def test_a_principal_leaves_when_nothing_depends_on_it(place: Place, principal: PrincipalRecord) -> None:
    catalog = place.with_account()
    with catalog.write() as writer:
        fill(writer)
    with pytest.raises(DeleteConflictException), catalog.write() as writer:
        writer.delete_principal(principal.arn)
    with catalog.write() as writer:
        leave(writer, principal)
        writer.delete_principal(principal.arn)
    with catalog.read() as reader:
        assert reader.get_principal(principal.arn) is None
        assert reader.get_principal(ROOT_ARN) is not None
    with catalog.write() as writer:
        writer.insert_principal(replace(principal, principal_id="AIDANEW"))


@pytest.mark.parametrize(
    "holding",
    [
        lambda w: w.insert_principal(USER),
        lambda w: w.insert_key(a_key()),
        lambda w: w.insert_token(a_token(2)),
        lambda w: w.insert_certificate(a_certificate()),
    ],
    ids=["user", "key", "token", "certificate"],
)
def test_an_account_goes_when_it_is_empty(place: Place, holding: Callable[[Writer], None]) -> None:
    catalog = place.with_account()
    with catalog.write() as writer:
        holding(writer)
        writer.put_key_encryption_key(ACCOUNT, REGION, b"wrapped")
    with pytest.raises(DeleteConflictException), catalog.write() as writer:
        writer.delete_account(ACCOUNT)
    with pytest.raises(DeleteConflictException), catalog.write() as writer:
        writer.delete_principal(ROOT_ARN)
    with catalog.write() as writer:
        for principal in (a_root(ACCOUNT), USER):
            leave(writer, principal)
        if writer.get_principal(USER.arn):
            writer.delete_principal(USER.arn)
        for key_id, _ in writer.list_keys(ACCOUNT, REGION):
            writer.delete_key(REGION, key_id)
        writer.delete_account(ACCOUNT)
    with catalog.read() as reader:
        assert reader.list_accounts() == []
        assert reader.get_principal(ROOT_ARN) is None
        # Processes may hold it open, and an account of this id made later uses it.
        assert reader.key_encryption_key(ACCOUNT, REGION) == b"wrapped"
