"""Groups, managed policies, trust, sessions and access keys in the catalog, and which views are told of changes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from tests.support.catalogs import ACCOUNT, OTHER_ACCOUNT, Place, a_role, a_root, a_token, a_user

from kagitori_server.model.errors import (
    DeleteConflictException,
    EntityAlreadyExistsException,
    NoSuchEntityException,
)
from kagitori_server.model.principals import (
    AccessKeyRecord,
    Account,
    AssumedSession,
    GroupRecord,
    ManagedPolicyRecord,
    PolicyHome,
    PolicyText,
    TrustPolicy,
)
from kagitori_server.storage import Writer

pytest_plugins = ["tests.support.catalog_fixtures"]

ALICE, BOB, ROLE = a_user(), a_user("bob"), replace(a_role(), policies={})
TRUST = TrustPolicy('{"Statement":\r\n []}', {"arn:aws:iam::000000000000:root": ACCOUNT})
SESSION = AssumedSession('{"é": "\\u0000"}', {"team": "ä", "a": ""}, "me")


def a_group(name: str = "team") -> GroupRecord:
    return GroupRecord(ACCOUNT, name, "/g/", f"AGPA{name.upper()}", f"arn:aws:iam::{ACCOUNT}:group/g/{name}", 7.5)


def a_policy(name: str = "use") -> ManagedPolicyRecord:
    arn = f"arn:aws:iam::{ACCOUNT}:policy/{name}"
    return ManagedPolicyRecord(ACCOUNT, name, "/", f"ANPA{name.upper()}", arn, 8.5, "d", f'{{"{name}":\t1}}')


def an_access_key(number: int = 1, principal_arn: str = ALICE.arn) -> AccessKeyRecord:
    return AccessKeyRecord(
        access_key_id=f"AKIA{number:016}", entry_id=f"key-{number:04}", principal_arn=principal_arn, account=ACCOUNT,
        region="us-east-1", wrapped_secret=bytes(range(256)), active=True, created=9.5,
    )


def a_session_key(number: int = 9, expires: float = 20.0) -> AccessKeyRecord:
    return replace(
        an_access_key(number, ROLE.arn), entry_id=f"token-{number:04}", expires=expires, session_name="s",
        session_token_digest=number.to_bytes(32, "big"), session=SESSION,
    )


def fill(writer: Writer) -> None:
    for principal in (ALICE, BOB, ROLE):
        writer.insert_principal(principal)
    for group in (a_group(), a_group("other")):
        writer.insert_group(group)
    for policy in (a_policy(), a_policy("bound")):
        writer.insert_managed_policy(policy)
    writer.add_member(a_group().arn, ALICE.arn)


def filled(place: Place) -> None:
    with place.with_account().write() as writer:
        fill(writer)


def test_everything_comes_back_as_it_was(place: Place) -> None:
    filled(place)
    with place.open().write() as writer:
        writer.set_trust_policy(ROLE.arn, TRUST)
        writer.insert_access_key(an_access_key())
        writer.insert_access_key(a_session_key())
        writer.insert_token(replace(a_token(9, ROLE.arn), session_name="s", session=SESSION))
        writer.put_group_policy(a_group().arn, "p", '{"g":\t1}')
    with place.open().read() as reader:
        group = replace(a_group(), policies={"p": '{"g":\t1}'})
        assert reader.get_group(group.arn) == reader.find_group(ACCOUNT, "TEAM") == group
        assert reader.list_groups(ACCOUNT) == [a_group("other"), group]
        assert reader.list_groups(ACCOUNT, "other") == [group]
        assert reader.groups_of(ALICE.arn) == [group]
        assert reader.users_in(group.arn) == [ALICE]
        assert reader.count_groups(ACCOUNT) == reader.count_managed_policies(ACCOUNT) == 2
        assert reader.get_managed_policy(a_policy().arn) == a_policy()
        assert reader.list_managed_policies(ACCOUNT) == [a_policy("bound"), a_policy()]
        assert reader.get_access_key(an_access_key().access_key_id) == an_access_key()
        assert reader.get_access_key(a_session_key().access_key_id) == a_session_key()
        assert reader.list_access_keys(ACCOUNT) == reader.list_access_keys(ACCOUNT, ALICE.arn) == [an_access_key()]
        assert reader.list_access_keys(ACCOUNT, BOB.arn) == []
        token = reader.get_token("token-0009")
        assert token is not None
        assert token.session == SESSION
        assert reader.count_tokens(ROLE.arn) == 0
        assert reader.count_sessions(ROLE.arn) == 1
        assert reader.get_principal(ROLE.arn) == replace(ROLE, trust=TRUST)


def test_a_record_holds_what_its_groups_and_managed_policies_say(place: Place) -> None:
    filled(place)
    use, bound, team = a_policy(), a_policy("bound"), a_group()
    with place.open().write() as writer:
        writer.put_group_policy(team.arn, "p", "{}")
        for holder in (team.arn, ALICE.arn, ROLE.arn):
            writer.attach_policy(holder, use.arn)
        writer.put_boundary(ALICE.arn, use.arn)
        writer.put_boundary(ALICE.arn, bound.arn)
    of_use = PolicyText(use.arn, PolicyHome.MANAGED, use.document)
    of_group = PolicyText(f"{team.arn}/p", PolicyHome.GROUP, "{}")
    boundary = PolicyText(bound.arn, PolicyHome.MANAGED, bound.document)
    with place.open().read() as reader:
        assert reader.get_principal(ALICE.arn) == replace(ALICE, inherited=(of_group, of_use), boundary=boundary)
        assert reader.get_principal(ROLE.arn) == replace(ROLE, inherited=(of_use,))
        assert reader.get_principal(BOB.arn) == BOB
        assert reader.users_in(team.arn) == [replace(ALICE, boundary=boundary)]
        found = reader.get_managed_policy(use.arn)
        assert found is not None
        assert found.attachments == 3
        assert [policy.name for policy in reader.list_managed_policies(ACCOUNT, team.arn)] == ["use"]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda w: w.put_group_policy(a_group().arn, "p", "{}"), {ALICE.arn}),
        (lambda w: w.attach_policy(a_group().arn, a_policy().arn), {ALICE.arn}),
        (lambda w: w.put_group_policy(a_group("other").arn, "p", "{}"), set()),
        (lambda w: w.add_member(a_group("other").arn, BOB.arn), {BOB.arn}),
        (lambda w: w.remove_member(a_group().arn, ALICE.arn), {ALICE.arn}),
        (lambda w: w.attach_policy(BOB.arn, a_policy().arn), {BOB.arn}),
        (lambda w: w.put_boundary(ROLE.arn, a_policy().arn), {ROLE.arn}),
        (lambda w: w.set_principal_tags(BOB.arn, {}), {BOB.arn}),
        (lambda w: w.set_trust_policy(ROLE.arn, TRUST), {ROLE.arn}),
        (lambda w: w.delete_managed_policy(a_policy().arn), set()),
    ],
)
def test_views_drop_just_whom_a_change_affects(
    place: Place, change: Callable[[Writer], None], told: set[str]
) -> None:
    filled(place)
    other = place.open()
    before = {each.arn: other.view.principal(each.arn) for each in (ALICE, BOB, ROLE)}
    with place.open().write() as writer:
        change(writer)
    other.view.prove_blocking()
    again = {arn for arn, record in before.items() if other.view.principal(arn) is not record}
    assert again == told


def test_a_view_hears_of_access_keys(place: Place) -> None:
    filled(place)
    catalog, other = place.open(), place.open()
    key = an_access_key()
    assert other.view.access_key(key.access_key_id) is None
    with catalog.write() as writer:
        writer.insert_access_key(key)
    other.view.prove_blocking()
    assert other.view.access_key(key.access_key_id) == key
    with catalog.write() as writer:
        writer.set_access_key_active(key.access_key_id, active=False)
    other.view.prove_blocking()
    assert other.view.access_key(key.access_key_id) == replace(key, active=False)
    with catalog.write() as writer:
        writer.delete_access_key(key.access_key_id)
    other.view.prove_blocking()
    assert other.view.access_key(key.access_key_id) is None
    assert other.view.access_key("x" * 10_000) is None


def test_sessions_end_with_their_time_their_token_or_their_role(place: Place) -> None:
    filled(place)
    with place.open().write() as writer:
        for number in (9, 11, 13):
            writer.insert_token(replace(a_token(number, ROLE.arn), session=SESSION))
            writer.insert_access_key(a_session_key(number, 5.5 + number))
        writer.clear_expired(ROLE.arn, 14.5)
        assert writer.count_sessions(ROLE.arn) == 2
        assert writer.get_access_key(a_session_key(9).access_key_id) is None
        writer.delete_token("token-0011")
        assert writer.get_access_key(a_session_key(11).access_key_id) is None
        assert writer.get_access_key(a_session_key(13).access_key_id) is not None
        with pytest.raises(DeleteConflictException):
            writer.delete_principal(ROLE.arn)
        writer.end_sessions(ROLE.arn)
        writer.delete_principal(ROLE.arn)


@pytest.mark.parametrize(
    "change",
    [
        lambda w: w.insert_group(a_group()),
        lambda w: w.insert_group(replace(a_group("TEAM"), arn="arn:x", group_id="AGPAX")),
        lambda w: w.insert_group(replace(a_group("new"), group_id=a_group().group_id)),
        lambda w: w.insert_managed_policy(replace(a_policy("USE"), arn="arn:x", policy_id="ANPAX")),
        lambda w: w.insert_managed_policy(replace(a_policy("new"), policy_id=a_policy().policy_id)),
        lambda w: (
            w.insert_access_key(an_access_key()), w.insert_access_key(replace(an_access_key(2), entry_id="key-0001")),
        ),
    ],
)
def test_what_is_taken_is_refused(place: Place, change: Callable[[Writer], object]) -> None:
    filled(place)
    with pytest.raises(EntityAlreadyExistsException), place.open().write() as writer:
        change(writer)


@pytest.mark.parametrize(
    "change",
    [
        lambda w: w.insert_group(replace(a_group("x"), account=OTHER_ACCOUNT)),
        lambda w: w.delete_group("arn:x"),
        lambda w: w.put_group_policy("arn:x", "p", "{}"),
        lambda w: w.delete_group_policy(a_group().arn, "p"),
        lambda w: w.add_member("arn:x", ALICE.arn),
        lambda w: w.add_member(a_group().arn, "arn:x"),
        lambda w: w.remove_member(a_group().arn, BOB.arn),
        lambda w: w.delete_managed_policy("arn:x"),
        lambda w: w.attach_policy(ALICE.arn, "arn:x"),
        lambda w: w.attach_policy("arn:x", a_policy().arn),
        lambda w: w.detach_policy(ALICE.arn, a_policy().arn),
        lambda w: w.put_boundary("arn:x", a_policy().arn),
        lambda w: w.put_boundary(ALICE.arn, "arn:x"),
        lambda w: w.delete_boundary(ALICE.arn),
        lambda w: w.set_principal_tags("arn:x", {}),
        lambda w: w.set_trust_policy("arn:x", TRUST),
        lambda w: w.insert_access_key(an_access_key(1, "arn:x")),
        lambda w: w.set_access_key_active("AKIAX", active=True),
        lambda w: w.delete_access_key("AKIAX"),
    ],
)
def test_what_is_not_there_is_refused(place: Place, change: Callable[[Writer], object]) -> None:
    filled(place)
    with pytest.raises(NoSuchEntityException), place.open().write() as writer:
        change(writer)


@pytest.mark.parametrize(
    "change",
    [
        lambda w: w.delete_group(a_group().arn),
        lambda w: w.delete_principal(ALICE.arn),
        lambda w: (w.attach_policy(BOB.arn, a_policy().arn), w.delete_principal(BOB.arn)),
        lambda w: (w.attach_policy(a_group("other").arn, a_policy().arn), w.delete_group(a_group("other").arn)),
        lambda w: (w.put_group_policy(a_group("other").arn, "p", "{}"), w.delete_group(a_group("other").arn)),
        lambda w: (w.put_boundary(BOB.arn, a_policy().arn), w.delete_managed_policy(a_policy().arn)),
        lambda w: (w.insert_access_key(an_access_key(1, BOB.arn)), w.delete_principal(BOB.arn)),
    ],
)
def test_what_others_depend_on_stays(place: Place, change: Callable[[Writer], object]) -> None:
    filled(place)
    with pytest.raises(DeleteConflictException), place.open().write() as writer:
        change(writer)


def test_an_account_with_groups_or_policies_stays(place: Place) -> None:
    catalog = place.with_account()
    with catalog.write() as writer:
        writer.insert_account(Account(OTHER_ACCOUNT, "other", 2.0), a_root(OTHER_ACCOUNT))
        writer.insert_group(replace(a_group(), account=OTHER_ACCOUNT))
        with pytest.raises(DeleteConflictException):
            writer.delete_account(OTHER_ACCOUNT)
        writer.delete_group(a_group().arn)
        writer.insert_managed_policy(replace(a_policy(), account=OTHER_ACCOUNT))
        with pytest.raises(DeleteConflictException):
            writer.delete_account(OTHER_ACCOUNT)
        writer.delete_managed_policy(a_policy().arn)
        writer.delete_account(OTHER_ACCOUNT)
