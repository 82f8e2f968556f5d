"""Custom key stores in the catalog: every column comes back, their keys show their state, views hear of changes."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.support.catalogs import ACCOUNT, OTHER_REGION, REGION, Place, a_key

from kagitori_server.model.custom_key_stores import (
    ConnectionErrorCode,
    ConnectionState,
    CustomKeyStore,
    CustomKeyStoreType,
    DoomedMaterial,
    XksProxy,
)
from kagitori_server.model.errors import CustomKeyStoreNameInUseException, CustomKeyStoreNotFoundException
from kagitori_server.model.keys import KeyState, Origin

pytest_plugins = ["tests.support.catalog_fixtures"]

TOKEN = CustomKeyStore(
    account=ACCOUNT, region=REGION, store_id="cks-1", name="hsm", kind=CustomKeyStoreType.AWS_CLOUDHSM, created=1.5,
    state=ConnectionState.FAILED, changed=2.5, wrapped_secret=b"wrapped", new_secret=b"new",
    error=ConnectionErrorCode.USER_LOCKED_OUT, worker="w", revision=3, cluster_id="cluster-abcdefghijk",
    trust_anchor="PEM",
)
PROXY = CustomKeyStore(
    account=ACCOUNT, region=REGION, store_id="cks-2", name="a proxy", kind=CustomKeyStoreType.EXTERNAL_KEY_STORE,
    created=1.5, state=ConnectionState.CONNECTED, changed=2.5, wrapped_secret=b"wrapped",
    proxy=XksProxy("https://xks.example", "/kms/xks/v1", "A" * 20),
)


def test_every_column_comes_back(place: Place) -> None:
    with place.with_account().write() as writer:
        writer.put_custom_key_store(TOKEN)
        writer.put_custom_key_store(PROXY)
        with pytest.raises(CustomKeyStoreNameInUseException):
            writer.put_custom_key_store(replace(PROXY, store_id="cks-3", name="hsm"))
        writer.put_custom_key_store(replace(PROXY, store_id="cks-3", name="hsm", region=OTHER_REGION))
    with place.open().read() as reader:
        assert reader.custom_key_store("cks-1") == TOKEN
        assert reader.find_custom_key_store(ACCOUNT, REGION, "a proxy") == PROXY
        assert reader.list_custom_key_stores(ACCOUNT, REGION) == [PROXY, TOKEN]
        assert [store.store_id for store in reader.all_custom_key_stores()] == ["cks-1", "cks-2", "cks-3"]
        assert reader.count_custom_key_stores(ACCOUNT, REGION) == 2
        assert reader.custom_key_store("cks-4") is None
    with place.open().write() as writer:
        writer.delete_custom_key_store("cks-2")
        with pytest.raises(CustomKeyStoreNotFoundException):
            writer.delete_custom_key_store("cks-2")


def test_secrets_leave_no_trace(place: Place) -> None:
    """A secret that was replaced is scrubbed from the database's files."""
    catalog = place.with_account()
    for changed, scrubbed in (
        (TOKEN, False), (replace(TOKEN, name="x"), False),
        (replace(TOKEN, wrapped_secret=b"new", new_secret=None), True),
    ):
        with catalog.write() as writer:
            writer.put_custom_key_store(changed)
            assert writer.scrub is scrubbed


@pytest.mark.parametrize(
    ("stored", "shown"),
    [
        (KeyState.ENABLED, KeyState.UNAVAILABLE), (KeyState.DISABLED, KeyState.UNAVAILABLE),
        (KeyState.PENDING_DELETION, KeyState.PENDING_DELETION),
    ],
)
def test_keys_show_the_state_of_their_store(place: Place, stored: KeyState, shown: KeyState) -> None:
    """In every process, as soon as it changes."""
    catalog, other = place.with_account(), place.open()
    connected = replace(TOKEN, state=ConnectionState.CONNECTED, error=None)
    key = replace(a_key(), store_id="cks-1", origin=Origin.AWS_CLOUDHSM, state=stored, xks_key_id="ext")
    with catalog.write() as writer:
        writer.put_custom_key_store(connected)
        writer.insert_key(key)
        assert writer.get_key(REGION, key.key_id) == replace(key, custom_store=connected)
        assert writer.has_xks_key("cks-1", "ext")
        assert writer.count_keys_in_store("cks-1") == 1
        assert [found[0] for found in writer.materials_in_store("cks-1")] == [key.arn]
    for state, expected in (
        (ConnectionState.DISCONNECTED, shown), (ConnectionState.CONNECTED, stored), (ConnectionState.CONNECTING, shown),
    ):
        with catalog.write() as writer:
            writer.put_custom_key_store(replace(connected, state=state))
        for view in (catalog.view, other.view):
            view.prove_blocking()
            found = view.key(REGION, key.key_id)
            assert found is not None
            assert found.state is expected
            store = view.custom_key_store("cks-1")
            assert store is not None
            assert store.state is state


def test_what_is_to_go_and_what_was_used(place: Place) -> None:
    catalog = place.with_account()
    doomed = DoomedMaterial("cks-1", "ab" * 32, b"reference")
    with catalog.write() as writer:
        writer.put_custom_key_store(TOKEN)
        assert writer.reserve_uses("ab" * 32, 100) == 0
        assert writer.reserve_uses("ab" * 32, 50) == 100
        assert writer.reserve_uses("cd" * 32, 50) == 0
    with place.open().write() as writer:
        assert writer.reserve_uses("ab" * 32, 1) == 150
        writer.doom_material(doomed)
        assert writer.doomed_materials("cks-1") == [doomed]
        assert writer.reserve_uses("ab" * 32, 1) == 0
        writer.forget_doomed(doomed)
        assert writer.doomed_materials("cks-1") == []
        writer.doom_material(doomed)
        writer.delete_custom_key_store("cks-1")
        assert writer.doomed_materials("cks-1") == []
