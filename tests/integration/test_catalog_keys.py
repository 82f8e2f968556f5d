"""Keys in the catalog: what goes in comes out, and what can't be is refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from tests.support.catalogs import (
    ACCOUNT,
    OTHER_ACCOUNT,
    OTHER_REGION,
    REGION,
    Place,
    a_key,
    a_material,
    a_root,
    key_id_of,
)

from kagitori_server.model.errors import AlreadyExistsException, NotFoundException
from kagitori_server.model.keys import Alias, KeySpec, KeyState, KeyUsage, MaterialState, Origin, Tag
from kagitori_server.model.principals import Account
from kagitori_server.storage import Writer

pytest_plugins = ["tests.support.catalog_fixtures"]

ID = key_id_of(1)


def an_alias(name: str, number: int = 1, region: str = REGION, account: str = ACCOUNT) -> Alias:
    return Alias(account, region, f"alias/{name}", key_id_of(number), 10.5, 11.25)


@pytest.mark.parametrize(
    "key",
    [
        a_key(),
        a_key(materials=3),
        replace(a_key(), materials=(), state=KeyState.PENDING_IMPORT, origin=Origin.EXTERNAL),
        replace(
            a_key(),
            spec=KeySpec.ML_DSA_65,
            usage=KeyUsage.SIGN_VERIFY,
            key_id="mrk-" + "0" * 32,
            primary_region=OTHER_REGION,
            family_regions=(REGION,),
            tags=(),
            description="",
            store_id="cks-1234",
            policy_bindings={},
        ),
        replace(a_key(), state=KeyState.PENDING_DELETION, deletion_date=1700000000.1),
    ],
    ids=["plain", "rotated", "awaits import", "multi-Region", "pending deletion"],
)
def test_a_key_comes_back_as_it_was(place: Place, key: object) -> None:
    catalog = place.with_account()
    assert isinstance(key, type(a_key()))
    with catalog.write() as writer:
        writer.insert_key(key)
        assert writer.get_key(key.region, key.key_id) == key
    with place.open().read() as reader:
        assert reader.get_key(key.region, key.key_id) == key
        assert reader.get_key(OTHER_REGION, key.key_id) is None


def test_each_change_changes_what_it_names_and_nothing_else(place: Place) -> None:
    catalog = place.with_account()
    key = a_key()
    changes: list[tuple[Callable[[Writer], None], dict[str, object]]] = [
        (lambda w: w.set_key_state(REGION, ID, KeyState.DISABLED), {"state": KeyState.DISABLED}),
        (
            lambda w: w.set_key_state(REGION, ID, KeyState.PENDING_DELETION, 99.5),
            {"state": KeyState.PENDING_DELETION, "deletion_date": 99.5},
        ),
        (
            lambda w: w.set_key_state(REGION, ID, KeyState.ENABLED),
            {"state": KeyState.ENABLED, "deletion_date": None},
        ),
        (lambda w: w.set_key_description(REGION, ID, "new"), {"description": "new"}),
        (
            lambda w: w.set_key_policy(REGION, ID, "{ }", {"arn": "AIDA"}),
            {"policy": "{ }", "policy_bindings": {"arn": "AIDA"}},
        ),
        (
            lambda w: w.replace_tags(REGION, ID, [Tag("b", "2"), Tag("B", "1")]),
            {"tags": (Tag("B", "1"), Tag("b", "2"))},
        ),
        (lambda w: w.replace_tags(REGION, ID, []), {"tags": ()}),
        (
            lambda w: w.add_material(REGION, ID, a_material(7)),
            {"materials": (a_material(0, MaterialState.NON_CURRENT), a_material(7))},
        ),
        (lambda w: w.insert_alias(an_alias("a")), {"aliases": ("alias/a",)}),
        (lambda w: w.delete_alias(ACCOUNT, REGION, "alias/a"), {"aliases": ()}),
    ]
    with catalog.write() as writer:
        writer.insert_key(key)
        writer.insert_key(a_key(2))
    for change, fields in changes:
        key = replace(key, **fields)  # type: ignore[arg-type]  # a table of fields of several types
        with catalog.write() as writer:
            change(writer)
        with catalog.read() as reader:
            assert reader.get_key(REGION, ID) == key
            assert reader.get_key(REGION, key_id_of(2)) == a_key(2)


MISSING = key_id_of(99)


@pytest.mark.parametrize(
    "change",
    [
        lambda w: w.set_key_state(REGION, MISSING, KeyState.DISABLED),
        lambda w: w.set_key_state(OTHER_REGION, ID, KeyState.DISABLED),
        lambda w: w.set_key_description(REGION, MISSING, ""),
        lambda w: w.set_key_policy(REGION, MISSING, "{}", {}),
        lambda w: w.replace_tags(REGION, MISSING, []),
        lambda w: w.add_material(REGION, MISSING, a_material(1)),
        lambda w: w.delete_key(REGION, MISSING),
        lambda w: w.delete_key(OTHER_REGION, ID),
        lambda w: w.insert_alias(an_alias("new", 99)),
        lambda w: w.insert_alias(an_alias("new", 1, region=OTHER_REGION)),
        lambda w: w.insert_alias(an_alias("new", 1, account=OTHER_ACCOUNT)),
        lambda w: w.repoint_alias(ACCOUNT, REGION, "alias/none", ID, 1.0),
        lambda w: w.repoint_alias(ACCOUNT, REGION, "alias/a", MISSING, 1.0),
        lambda w: w.repoint_alias(ACCOUNT, REGION, "alias/a", key_id_of(5), 1.0),
        lambda w: w.delete_alias(ACCOUNT, REGION, "alias/none"),
        lambda w: w.delete_alias(ACCOUNT, OTHER_REGION, "alias/a"),
        lambda w: w.delete_alias(OTHER_ACCOUNT, REGION, "alias/a"),
    ],
)
def test_what_is_not_there_is_refused(place: Place, change: Callable[[Writer], None]) -> None:
    catalog = place.with_account()
    with catalog.write() as writer:
        writer.insert_account(Account(OTHER_ACCOUNT, "other", 1.0), a_root(OTHER_ACCOUNT))
        writer.insert_key(a_key())
        writer.insert_key(a_key(5, account=OTHER_ACCOUNT))
        writer.insert_alias(an_alias("a"))
    with pytest.raises(NotFoundException), catalog.write() as writer:
        change(writer)


@pytest.mark.parametrize(
    "change",
    [
        lambda w: w.insert_key(a_key()),
        lambda w: w.insert_key(a_key(account=OTHER_ACCOUNT)),
        lambda w: w.insert_alias(an_alias("a")),
        lambda w: w.insert_alias(an_alias("a", 2)),
        lambda w: w.add_material(REGION, ID, a_material(0)),
    ],
)
def test_what_is_there_is_not_made_again(place: Place, change: Callable[[Writer], None]) -> None:
    catalog = place.with_account()
    with catalog.write() as writer:
        writer.insert_key(a_key())
        writer.insert_key(a_key(2))
        writer.insert_alias(an_alias("a"))
    with pytest.raises(AlreadyExistsException), catalog.write() as writer:
        change(writer)


def test_a_deleted_key_takes_everything_along_and_no_more(place: Place) -> None:
    catalog = place.with_account()
    with catalog.write() as writer:
        writer.insert_key(a_key())
        writer.insert_key(a_key(2))
        writer.insert_key(a_key(region=OTHER_REGION))
        for alias in (an_alias("a"), an_alias("b"), an_alias("c", 2), an_alias("a", region=OTHER_REGION)):
            writer.insert_alias(alias)
    with catalog.write() as writer:
        writer.delete_key(REGION, ID)
    with catalog.read() as reader:
        assert reader.get_key(REGION, ID) is None
        assert reader.key_regions(ID) == (OTHER_REGION,)
        assert reader.list_aliases(ACCOUNT, REGION) == [an_alias("c", 2)]
        assert reader.list_aliases(ACCOUNT, OTHER_REGION) == [an_alias("a", region=OTHER_REGION)]
        assert reader.get_key(REGION, key_id_of(2)) == replace(a_key(2), aliases=("alias/c",))
    with catalog.write() as writer:
        writer.insert_key(a_key())
        assert writer.get_key(REGION, ID) == a_key()


def test_an_alias_moves(place: Place) -> None:
    catalog = place.with_account()
    with catalog.write() as writer:
        writer.insert_key(a_key())
        writer.insert_key(a_key(2))
        writer.insert_alias(an_alias("a"))
        writer.repoint_alias(ACCOUNT, REGION, "alias/a", key_id_of(2), 12.125)
    with catalog.read() as reader:
        assert reader.get_alias(ACCOUNT, REGION, "alias/a") == replace(
            an_alias("a", 2), updated=12.125
        )
        first, second = reader.get_key(REGION, ID), reader.get_key(REGION, key_id_of(2))
        assert first is not None
        assert first.aliases == ()
        assert second is not None
        assert second.aliases == ("alias/a",)


def test_listings_go_by_code_point_from_page_to_page(place: Place) -> None:
    catalog = place.with_account()
    names = ["Zebra", "_x", "a", "a/b", "aB", "ab", "b", "z-1", "z1"]
    with catalog.write() as writer:
        for number in range(1, 8):
            writer.insert_key(a_key(number))
        writer.insert_key(a_key(3, region=OTHER_REGION))
        for number, name in enumerate(names):
            writer.insert_alias(an_alias(name, number % 2 + 1))
    with catalog.read() as reader:
        pages = []
        after = ""
        while page := reader.list_keys(ACCOUNT, REGION, after, 3):
            pages.append(page)
            after = page[-1][0]
        assert [len(page) for page in pages] == [3, 3, 1]
        assert [entry for page in pages for entry in page] == [
            (key_id_of(number), a_key(number).arn) for number in range(1, 8)
        ]
        assert reader.list_keys(OTHER_ACCOUNT, REGION) == []
        assert reader.count_keys(ACCOUNT, REGION) == 7
        assert reader.count_keys(ACCOUNT, OTHER_REGION) == 1
        expected = sorted(f"alias/{name}" for name in names)
        assert [alias.name for alias in reader.list_aliases(ACCOUNT, REGION)] == expected
        assert [
            alias.name for alias in reader.list_aliases(ACCOUNT, REGION, None, "alias/a", 2)
        ] == expected[expected.index("alias/a") + 1 :][:2]
        mine = reader.list_aliases(ACCOUNT, REGION, ID)
        assert [alias.name for alias in mine] == sorted(f"alias/{name}" for name in names[::2])


def test_due_deletions_come_longest_overdue_first(place: Place) -> None:
    catalog = place.with_account()
    with catalog.write() as writer:
        for number in range(1, 6):
            writer.insert_key(a_key(number))
        for number, date in ((1, 30.0), (2, 10.0), (3, 20.0), (4, 20.000001)):
            writer.set_key_state(REGION, key_id_of(number), KeyState.PENDING_DELETION, date)
    with catalog.read() as reader:
        assert reader.due_deletions(20.0, 10) == [(REGION, key_id_of(2)), (REGION, key_id_of(3))]
        assert reader.due_deletions(20.0, 1) == [(REGION, key_id_of(2))]
        assert reader.due_deletions(9.9, 10) == []
