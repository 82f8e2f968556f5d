"""Keys by their tags in the catalog: of one account and Region, in order, in pages."""

from __future__ import annotations

from dataclasses import replace

from tests.support.catalogs import ACCOUNT, OTHER_ACCOUNT, OTHER_REGION, REGION, Place, a_key, a_root, key_id_of

from kagitori_server.model.keys import Key, Tag
from kagitori_server.model.principals import Account
from kagitori_server.storage import Catalog

pytest_plugins = ["tests.support.catalog_fixtures"]


def tagged(number: int, region: str = REGION, account: str = ACCOUNT, **tags: str) -> Key:
    """A key with these tags."""
    key = a_key(number, account=account, region=region)
    return replace(key, tags=tuple(Tag(name, value) for name, value in sorted(tags.items())))


def filled(place: Place) -> Catalog:
    """Three keys with tags, one without, one elsewhere, one of somebody else."""
    catalog = place.with_account()
    with catalog.write() as writer:
        writer.insert_account(Account(OTHER_ACCOUNT, "other", 1.5), a_root(OTHER_ACCOUNT))
        for key in (
            tagged(1, team="red", env=""), tagged(2), tagged(3, team="blue", Team="x"), tagged(4, team="red", é="é"),
            tagged(5, OTHER_REGION, far="y"), tagged(6, account=OTHER_ACCOUNT, team="theirs"),
        ):
            writer.insert_key(key)
    return catalog


def test_tagged_keys(place: Place) -> None:
    """With all of their tags; after an id, so many."""
    with filled(place).read() as reader:
        found = reader.tagged_keys(ACCOUNT, REGION, "", 10)
        assert [key_id for key_id, _, _ in found] == [key_id_of(number) for number in (1, 3, 4)]
        assert found[0][1:] == (tagged(1).arn, (Tag("env", ""), Tag("team", "red")))
        assert found[1][2] == (Tag("Team", "x"), Tag("team", "blue"))
        assert reader.tagged_keys(ACCOUNT, REGION, "", 2) == found[:2]
        assert reader.tagged_keys(ACCOUNT, REGION, found[1][0], 2) == found[2:]
        assert [each[0] for each in reader.tagged_keys(OTHER_ACCOUNT, REGION, "", 9)] == [key_id_of(6)]
        assert reader.tagged_keys(OTHER_ACCOUNT, OTHER_REGION, "", 9) == []


def test_names_and_values(place: Place) -> None:
    """Each once, by code point; an empty value is one."""
    with filled(place).read() as reader:
        assert reader.tag_keys(ACCOUNT, REGION, "", 10) == ["Team", "env", "team", "é"]
        assert reader.tag_keys(ACCOUNT, REGION, "Team", 2) == ["env", "team"]
        assert reader.tag_values(ACCOUNT, REGION, "team", None, 10) == ["blue", "red"]
        assert reader.tag_values(ACCOUNT, REGION, "team", "blue", 10) == ["red"]
        assert reader.tag_values(ACCOUNT, REGION, "env", None, 10) == [""]
        assert reader.tag_values(ACCOUNT, REGION, "env", "", 10) == []
        assert reader.tag_values(ACCOUNT, REGION, "TEAM", None, 10) == []
