"""Grants in the catalog: what goes in comes out, listings are in order, and views learn of every change."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.support.catalogs import ACCOUNT, OTHER_REGION, REGION, Place, a_grant, a_key, a_user, key_id_of

from kagitori_server.model.errors import AlreadyExistsException, NotFoundException, ValidationException
from kagitori_server.model.grants import Constraint, ConstraintKind, Grant, GrantOperation, GrantToken
from kagitori_server.model.lookup import Lookup
from kagitori_server.storage import Catalog, Change, NotLoaded
from kagitori_server.storage.grant_writes import TOKENS_PER_GRANT

pytest_plugins = ["tests.support.catalog_fixtures"]

ID = key_id_of(1)
DIGEST = b"\x07" * 32


def with_grants(place: Place, *grants: Grant) -> Catalog:
    catalog = place.with_account()
    with catalog.write() as writer:
        writer.insert_key(a_key())
        writer.insert_key(a_key(2))
        for grant in grants:
            writer.insert_grant(grant)
    return catalog


@pytest.mark.parametrize(
    "grant",
    [
        a_grant(1),
        a_grant(2, retiring="AROARETIRER:session"),
        replace(a_grant(3), operations=frozenset(GrantOperation), name="n" * 256),
        replace(a_grant(4), constraint=Constraint(ConstraintKind.EQUALS, {f"{i}": "鍵" * 47 for i in range(8)})),
    ],
    ids=["plain", "constrained", "every operation", "largest constraint"],
)
def test_a_grant_comes_back_as_it_was(place: Place, grant: Grant) -> None:
    catalog = with_grants(place, grant)
    with catalog.read() as reader:
        assert reader.get_grant(REGION, ID, grant.grant_id) == grant
        assert reader.grants_to(REGION, ID, grant.grantee.unique_id) == (grant,)
        assert reader.count_grants(REGION, ID) == 1
        assert reader.get_grant(OTHER_REGION, ID, grant.grant_id) is None
        assert reader.get_grant(REGION, key_id_of(2), grant.grant_id) is None


def test_listings_are_in_order_and_of_whom_they_say(place: Place) -> None:
    grants = [
        a_grant(5, grantee="A", retiring="R"), a_grant(3, grantee="B", retiring="R"), a_grant(4, grantee="A"),
        a_grant(2, key=2, grantee="A", retiring="R"),
    ]
    five, three, four, elsewhere = grants
    with with_grants(place, *grants).read() as reader:
        assert reader.list_grants(REGION, ID) == [three, four, five]
        assert reader.list_grants(REGION, ID, after=three.grant_id, limit=1) == [four]
        assert reader.list_grants(REGION, ID, "A") == [four, five]
        assert reader.list_grants(REGION, ID, "A", after=four.grant_id) == [five]
        assert reader.grants_to(REGION, ID, "A") == (four, five)
        assert reader.list_retirable_grants(REGION, "R") == [three, five, elsewhere]
        assert reader.list_retirable_grants(REGION, "R", (ID, three.grant_id), 1) == [five]
        assert reader.list_retirable_grants(REGION, "R", (ID, five.grant_id)) == [elsewhere]
        assert reader.list_retirable_grants(OTHER_REGION, "R") == []
        assert reader.grants_named(REGION, ID, "grant/4") == (four,)
        assert reader.grants_named(REGION, ID, "grant/2") == ()
        assert (reader.count_grants(REGION, ID), reader.count_grants(REGION, key_id_of(2))) == (3, 1)


def test_what_cannot_be_is_refused(place: Place) -> None:
    catalog = with_grants(place, a_grant())
    with pytest.raises(AlreadyExistsException), catalog.write() as writer:
        writer.insert_grant(a_grant())
    with pytest.raises(NotFoundException), catalog.write() as writer:
        writer.insert_grant(a_grant(key=3))
    with pytest.raises(NotFoundException), catalog.write() as writer:
        writer.delete_grant(REGION, key_id_of(2), a_grant().grant_id)
    with pytest.raises(ValidationException), catalog.write() as writer:
        writer.insert_grant(replace(a_grant(2), name="n" * 257))


def test_tokens_name_their_grant_until_it_goes(place: Place) -> None:
    grant = a_grant()
    catalog = with_grants(place, grant)
    with catalog.write() as writer:
        writer.add_grant_token(grant, DIGEST, 1.5)
    with catalog.read() as reader:
        assert reader.find_grant_token(DIGEST) == GrantToken(REGION, ID, grant.grant_id)
        assert reader.find_grant_token(bytes(32)) is None
    with catalog.write() as writer:
        writer.delete_grant(REGION, ID, grant.grant_id)
        assert Change.of_grant_token(DIGEST) in writer.touched
    with catalog.read() as reader:
        assert reader.find_grant_token(DIGEST) is None


def test_the_oldest_token_makes_room_for_the_newest(place: Place) -> None:
    grant = a_grant()
    catalog = with_grants(place, grant)
    with catalog.write() as writer:
        for number in range(TOKENS_PER_GRANT + 2):
            writer.add_grant_token(grant, number.to_bytes(32, "big"), float(number))
    with catalog.read() as reader:
        found = [reader.find_grant_token(number.to_bytes(32, "big")) for number in range(TOKENS_PER_GRANT + 2)]
        assert found == [None, None] + [GrantToken(REGION, ID, grant.grant_id)] * TOKENS_PER_GRANT


def test_a_deleted_key_takes_its_grants_along(place: Place) -> None:
    catalog, grant, kept = with_grants(place, a_grant(), a_grant(2, key=2)), a_grant(), a_grant(2, key=2)
    other = place.open()
    with catalog.write() as writer:
        writer.add_grant_token(grant, DIGEST, 1.5)
    for view in (catalog.view, other.view):
        view.prove_blocking()
        assert view.grants(REGION, ID, grant.grantee.unique_id).records == (grant,)
        assert view.grant_token(DIGEST) is not None
    with catalog.write() as writer:
        writer.delete_key(REGION, ID)
    for view in (catalog.view, other.view):
        view.prove_blocking()
        assert view.grants(REGION, ID, grant.grantee.unique_id).records == ()
        assert view.grant_token(DIGEST) is None
        assert view.grants(REGION, key_id_of(2), grant.grantee.unique_id).records == (kept,)


def test_a_change_drops_the_grants_of_one_grantee_and_no_others(place: Place) -> None:
    one, two = a_grant(1, grantee="A"), a_grant(2, grantee="B")
    catalog = with_grants(place, one, two)
    other = place.open()
    other.view.prove_blocking()
    before = other.view.grants(REGION, ID, "A"), other.view.grants(REGION, ID, "B")
    assert (before[0].records, before[1].records) == ((one,), (two,))
    more = a_grant(3, grantee="A")
    with catalog.write() as writer:
        writer.insert_grant(more)
    other.view.prove_blocking()
    assert other.view.kept.grants(REGION, ID, "B") is before[1]
    with pytest.raises(NotLoaded):
        other.view.kept.grants(REGION, ID, "A")
    assert other.view.grants(REGION, ID, "A").records == (one, more)
    with catalog.write() as writer:
        writer.delete_grant(REGION, ID, one.grant_id)
        writer.delete_grant(REGION, ID, more.grant_id)
    other.view.prove_blocking()
    assert other.view.grants(REGION, ID, "A").records == ()
    assert other.view.kept.grants(REGION, ID, "A").records == ()


def test_many_grants_to_one_are_brought_up_to_date(place: Place) -> None:
    """A few changes to a large set are read alone, many make it be read anew; it's never other than the catalog's."""
    grants = [a_grant(number, grantee="A") for number in range(600)]
    catalog = with_grants(place, *grants, a_grant(9_000, grantee="B"))
    other = place.open()
    other.view.prove_blocking()
    first = other.view.grants(REGION, ID, "A")
    assert len(first.records) == 600
    few, many = range(1_000, 1_003), range(2_000, 2_250)
    for gone, made in ((grants[:2], few), (grants[2:3], ()), ((), many), (grants[3:400], range(3_000, 3_001))):
        with catalog.write() as writer:
            for grant in gone:
                writer.delete_grant(REGION, ID, grant.grant_id)
            for number in made:
                writer.insert_grant(a_grant(number, grantee="A"))
        other.view.prove_blocking()
        with catalog.read() as reader:
            stored = reader.grants_to(REGION, ID, "A")
            assert reader.grant_ids_to(REGION, ID, "A") == {grant.grant_id for grant in stored}
            assert reader.grant_ids_to(REGION, ID, "C") == frozenset()
        assert other.view.grants(REGION, ID, "A").records == stored
    assert len(first.records) == 600
    with catalog.write() as writer:
        for grant in stored:
            writer.delete_grant(REGION, ID, grant.grant_id)
    other.view.prove_blocking()
    assert other.view.grants(REGION, ID, "A").records == ()


@pytest.mark.parametrize("kept", [False, True])
def test_what_no_grantee_could_be_called_has_no_grants(place: Place, kept: bool) -> None:
    view = with_grants(place, a_grant()).view
    lookup: Lookup = view.kept if kept else view
    places = [("r" * 64, ID, "A"), (REGION, "k" * 65, "A"), (REGION, ID, "\x00"), (REGION, ID, "i" * 129)]
    for region, key_id, grantee in places:
        assert lookup.grants(region, key_id, grantee).records == ()
    assert lookup.grant_token(b"short") is None


def test_a_principal_may_go_while_grants_name_it(place: Place) -> None:
    """The grant stays, to nobody's use."""
    user = a_user()
    catalog = with_grants(place)
    with catalog.write() as writer:
        writer.insert_principal(user)
        writer.insert_grant(a_grant(grantee=user.principal_id, retiring=user.principal_id))
    with catalog.write() as writer:
        writer.delete_principal(user.arn)
    with catalog.read() as reader:
        assert reader.count_grants(REGION, ID) == 1
        assert reader.get_account(ACCOUNT) is not None
