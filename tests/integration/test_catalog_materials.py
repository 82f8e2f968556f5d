"""Versions of material in the catalog: they come, wait, rotate, expire, are emptied and dropped."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from tests.support.catalogs import OTHER_REGION, REGION, Place, a_key, a_material, key_id_of

from kagitori_server.model.errors import AlreadyExistsException, NotFoundException
from kagitori_server.model.keys import Key, KeyState, MaterialState, MaterialVersion, Origin, RotationType
from kagitori_server.storage import Writer
from kagitori_server.storage.catalog import Catalog

pytest_plugins = ["tests.support.catalog_fixtures"]

ID = key_id_of(1)
CURRENT, OLD = MaterialState.CURRENT, MaterialState.NON_CURRENT
READY = MaterialState.PENDING_ROTATION
INCOMPLETE = MaterialState.PENDING_MULTI_REGION_IMPORT_AND_ROTATION


def an_imported_key(number: int = 1) -> Key:
    return replace(a_key(number), origin=Origin.EXTERNAL, materials=(a_material(0),))


def read(catalog: Catalog, number: int = 1) -> tuple[MaterialVersion, ...]:
    with catalog.read() as reader:
        key = reader.get_key(REGION, key_id_of(number))
    assert key is not None
    return key.materials


def test_the_life_of_versions(place: Place) -> None:
    """Each change is of one version, and survives the process."""
    catalog, key = place.with_account(), an_imported_key()
    first = key.materials[0]
    second = replace(a_material(1, READY), expires=50.25, description="the next")
    with catalog.write() as writer:
        writer.insert_key(key)
        writer.add_material(REGION, ID, second)
        assert writer.get_key(REGION, ID) == replace(key, materials=(first, second))
    assert read(place.open()) == (first, second)
    with catalog.write() as writer:
        writer.set_material_state(REGION, ID, second.material_id, INCOMPLETE)
        writer.put_material(REGION, ID, first.material_id, b"again", 99.5, "the first")
    first = replace(first, reference=b"again", expires=99.5, description="the first")
    assert read(catalog) == (first, replace(second, state=INCOMPLETE))
    with catalog.write() as writer:
        writer.make_material_current(REGION, ID, second.material_id, 20.5, RotationType.ON_DEMAND)
    second = replace(second, state=CURRENT, rotated=20.5, rotation_type=RotationType.ON_DEMAND)
    assert read(catalog) == (replace(first, state=OLD), second)
    with catalog.write() as writer:
        writer.empty_material(REGION, ID, first.material_id)
    gone = replace(first, state=OLD, reference=b"", expires=None)
    assert not gone.present
    assert read(place.open()) == (gone, second)
    with catalog.write() as writer:
        writer.drop_material(REGION, ID, gone.material_id)
        writer.add_material(REGION, ID, first)
    assert read(place.open()) == (replace(second, state=OLD), first)


ABSENT = "f" * 64


@pytest.mark.parametrize("change", [
    lambda w: w.set_material_state(REGION, ID, ABSENT, READY),
    lambda w: w.put_material(REGION, ID, ABSENT, b"x", None, None),
    lambda w: w.empty_material(REGION, ID, ABSENT),
    lambda w: w.drop_material(REGION, ID, ABSENT),
    lambda w: w.make_material_current(REGION, ID, ABSENT, 1.0, RotationType.ON_DEMAND),
    lambda w: w.empty_material(OTHER_REGION, ID, a_material(0).material_id),
    lambda w: w.add_material(OTHER_REGION, ID, a_material(1)),
    lambda w: w.set_rotation(OTHER_REGION, ID, 90, 1.0),
    lambda w: w.set_primary_region(ID, OTHER_REGION),
])
def test_what_is_not_there_is_not_changed(place: Place, change: Callable[[Writer], None]) -> None:
    catalog, key = place.with_account(), an_imported_key()
    with catalog.write() as writer:
        writer.insert_key(key)
    with pytest.raises(NotFoundException), catalog.write() as writer:
        change(writer)
    assert read(catalog) == key.materials


def test_a_version_is_added_once(place: Place) -> None:
    catalog, key = place.with_account(), an_imported_key()
    with catalog.write() as writer:
        writer.insert_key(key)
    with pytest.raises(AlreadyExistsException), catalog.write() as writer:
        writer.add_material(REGION, ID, a_material(0))
    assert read(catalog) == key.materials


def test_what_expires_is_found_in_its_order(place: Place) -> None:
    """Not before its moment; whatever the state of its key; not what is gone."""
    catalog = place.with_account()
    ends = {1: 30.0, 2: 10.0, 3: 20.5, 4: None}
    with catalog.write() as writer:
        for number, end in ends.items():
            state = KeyState.PENDING_DELETION if number == 2 else KeyState.ENABLED
            versions = (replace(a_material(0), expires=end),)
            writer.insert_key(replace(an_imported_key(number), materials=versions, state=state, deletion_date=None))
        writer.add_material(REGION, ID, replace(a_material(1, READY), expires=15.0))
    places = {
        10.0: (REGION, key_id_of(2), a_material(0).material_id), 15.0: (REGION, ID, a_material(1).material_id),
        20.5: (REGION, key_id_of(3), a_material(0).material_id), 30.0: (REGION, ID, a_material(0).material_id),
    }
    with catalog.read() as reader:
        for now in (9.9, 10.0, 20.4, 20.5, 100.0):
            assert reader.due_expirations(now, 10) == [found for end, found in places.items() if end <= now]
        assert reader.due_expirations(100.0, 2) == list(places.values())[:2]
    with catalog.write() as writer:
        for region, key_id, material_id in places.values():
            writer.empty_material(region, key_id, material_id)
    with catalog.read() as reader:
        assert reader.due_expirations(1e12, 10) == []


def test_a_key_as_of_a_moment() -> None:
    """What has expired is not there; only what ever was current makes the key wait for its import."""
    key = replace(an_imported_key(), materials=(
        replace(a_material(0, OLD), expires=30.0), replace(a_material(1), expires=20.0),
        replace(a_material(2, READY), expires=10.0),
    ))
    assert key.as_of(9.9) is key
    assert (key.valid_to, key.awaits_import) == (20.0, False)
    waiting = key.as_of(10.0)
    assert [version.present for version in waiting.materials] == [True, True, False]
    assert (waiting.state, waiting.valid_to) == (KeyState.ENABLED, 20.0)
    current = key.as_of(20.0)
    assert [version.present for version in current.materials] == [True, False, False]
    assert (current.state, current.valid_to) == (KeyState.PENDING_IMPORT, 30.0)
    assert key.as_of(1e12).as_of(1e12) == key.as_of(1e12)
    for state, later in (
        (KeyState.DISABLED, KeyState.PENDING_IMPORT), (KeyState.PENDING_DELETION, KeyState.PENDING_DELETION),
        (KeyState.PENDING_REPLICA_DELETION, KeyState.PENDING_REPLICA_DELETION),
    ):
        assert replace(key, state=state).as_of(20.0).state is later
    assert a_key().as_of(1e12) == a_key()
