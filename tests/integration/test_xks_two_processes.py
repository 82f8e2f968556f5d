"""A key store of one deployment over the external key store proxy of another, in another process, over TLS."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.keystore_parts import HOME, KEY, OTHER_ACCOUNT, OTHER_KEY, OTHER_REGION, Workshop
from tests.support.xks import Proxy, opened, running_proxy

from kagitori_keystore.base import CiphertextInvalid, MaterialCorrupt, MaterialRef, RequestRefused
from kagitori_keystore.ciphertext import parse
from kagitori_keystore.xks import (
    ExternalKeyUnknown,
    ExternalKeyUnusable,
    ProxyFault,
    ProxyLost,
    XksKeyStore,
    external_key_id,
)

CONTEXT = b"canonical context"


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """One for all tests here."""
    with running_proxy(tmp_path_factory.mktemp("proxy") / "data") as running:
        yield running


@pytest.fixture
def shop(tmp_path: Path) -> Workshop:
    """The deployment whose keys are external."""
    return Workshop(tmp_path)


@pytest.fixture
def store(proxy: Proxy, shop: Workshop) -> Iterator[XksKeyStore]:
    """Its key store."""
    found = opened(proxy.settings(), proxy.secret, shop)
    yield found
    found.close()


@pytest.mark.parametrize("size", [1, 2, 16, 1024, 4096])
@pytest.mark.parametrize("context", [b"", CONTEXT, bytes(8192)], ids=["empty", "short", "longest"])
def test_round_trips(store: XksKeyStore, size: int, context: bytes) -> None:
    """Every size that AWS Encrypt takes, under every length of context, comes back."""
    ref = store.adopt(HOME, KEY, "ext-1")
    blob = store.encrypt(HOME, KEY, ref, bytes(size), context)
    parsed = parse(blob)
    assert (parsed.key_id, parsed.material_id) == (KEY, ref.material_id)
    assert store.decrypt(HOME, KEY, ref, parsed, context) == bytes(size)


def test_data_keys(store: XksKeyStore) -> None:
    """Data keys are fresh and come back from their blobs."""
    ref = store.adopt(HOME, KEY, "ext-1")
    plaintext, blob = store.generate_data_key(HOME, KEY, ref, 32, CONTEXT)
    assert store.decrypt(HOME, KEY, ref, parse(blob), CONTEXT) == plaintext
    bare = store.generate_data_key_without_plaintext(HOME, KEY, ref, 64, CONTEXT)
    assert len(store.decrypt(HOME, KEY, ref, parse(bare), CONTEXT)) == 64
    with pytest.raises(RequestRefused):
        store.generate_data_key(HOME, KEY, ref, 1025, CONTEXT)


def test_tells_how_the_proxy_is(store: XksKeyStore) -> None:
    """GetHealthStatus is understood."""
    store.health()
    status = store.status()
    assert (status.proxy_vendor, status.fleet_size) == ("Kagitori", 1)
    assert [manager.status for manager in status.managers] == ["ACTIVE"]


def test_a_changed_blob_does_not_open(store: XksKeyStore) -> None:
    """Each byte of a blob matters, and so does the context."""
    ref = store.adopt(HOME, KEY, "ext-1")
    blob = store.encrypt(HOME, KEY, ref, b"data", CONTEXT)
    for at in range(len(blob)):
        changed = blob[:at] + bytes((blob[at] ^ 1,)) + blob[at + 1 :]
        with pytest.raises(CiphertextInvalid):
            store.decrypt(HOME, KEY, ref, parse(changed), CONTEXT)
    with pytest.raises(CiphertextInvalid):
        store.decrypt(HOME, KEY, ref, parse(blob), CONTEXT + b"x")


def test_a_material_is_of_one_key_and_domain(store: XksKeyStore) -> None:
    """Under another key, account, Region or external key nothing opens."""
    ref = store.adopt(HOME, KEY, "ext-1")
    blob = parse(store.encrypt(HOME, KEY, ref, b"data", CONTEXT))
    for domain in (OTHER_ACCOUNT, OTHER_REGION):
        with pytest.raises((MaterialCorrupt, Exception)) as caught:
            store.decrypt(domain, KEY, ref, blob, CONTEXT)
        assert type(caught.value).__module__.startswith("kagitori_keystore")
    with pytest.raises(CiphertextInvalid):
        store.decrypt(HOME, OTHER_KEY, ref, blob, CONTEXT)
    other = store.adopt(HOME, KEY, "ext-2")
    with pytest.raises(CiphertextInvalid):
        store.decrypt(HOME, KEY, other, blob, CONTEXT)
    moved = ref.reference.replace(b"ext-1", b"ext-2")
    with pytest.raises(MaterialCorrupt):
        store.encrypt(HOME, KEY, MaterialRef(ref.kind, moved, ref.material_id), b"data", CONTEXT)
    assert external_key_id(ref) == "ext-1"


def test_adopts_usable_keys_alone(proxy: Proxy, store: XksKeyStore) -> None:
    """Unknown, disabled, asymmetric and unspeakable external keys are refused for what they are."""
    for unknown in ("nobody", "gone", proxy.keys["ext-1"]):
        with pytest.raises(ExternalKeyUnknown):
            store.adopt(HOME, KEY, unknown)
    with pytest.raises(ExternalKeyUnusable) as caught:
        store.adopt(HOME, KEY, "rsa")
    assert caught.value.fault is ProxyFault.KEY_USAGE
    with pytest.raises(RequestRefused):
        store.adopt(HOME, KEY, "../ext-1")
    with pytest.raises(RequestRefused):
        store.generate(next(iter(store.describe().key_specs)), HOME, KEY)


def test_a_disabled_key_serves_nobody(proxy: Proxy, store: XksKeyStore) -> None:
    """InvalidStateException, and DISABLED in the key's metadata."""
    ref = store.adopt(HOME, KEY, "ext-2")
    blob = parse(store.encrypt(HOME, KEY, ref, b"data", CONTEXT))
    proxy.call("DisableKey", key_id=proxy.keys["ext-2"])
    try:
        for use in (
            lambda: store.encrypt(HOME, KEY, ref, b"data", CONTEXT),
            lambda: store.decrypt(HOME, KEY, ref, blob, CONTEXT),
            lambda: store.adopt(HOME, KEY, "ext-2"),
        ):
            with pytest.raises(ExternalKeyUnusable) as caught:
                use()
            assert caught.value.fault is ProxyFault.KEY_DISABLED
        assert not store.key_metadata(HOME, KEY, ref).enabled
    finally:
        proxy.call("EnableKey", key_id=proxy.keys["ext-2"])


def test_old_materials_decrypt_after_rotation(proxy: Proxy, store: XksKeyStore) -> None:
    """The ciphertext metadata names the material."""
    ref = store.adopt(HOME, KEY, "ext-1")
    before = parse(store.encrypt(HOME, KEY, ref, b"before", CONTEXT))
    proxy.call("RotateKeyOnDemand", key_id=proxy.keys["ext-1"])
    after = parse(store.encrypt(HOME, KEY, ref, b"after", CONTEXT))
    assert store.decrypt(HOME, KEY, ref, before, CONTEXT) == b"before"
    assert store.decrypt(HOME, KEY, ref, after, CONTEXT) == b"after"


def test_who_signs_is_who_is_asked(proxy: Proxy, shop: Workshop) -> None:
    """Another user without permission is refused, and the health status is told nevertheless."""
    access_key_id, secret = proxy.user("nobody-in-particular", None)
    store = opened(proxy.settings(access_key_id=access_key_id), secret, shop)
    with pytest.raises(ExternalKeyUnusable) as caught:
        store.adopt(HOME, KEY, "ext-1")
    assert caught.value.fault is ProxyFault.ACCESS_DENIED
    store.health()
    store.close()


def test_an_access_key_ends_at_once(proxy: Proxy, shop: Workshop) -> None:
    """Switched off, on again and deleted: the next call knows."""
    access_key_id, secret = proxy.user("leaver")
    store = opened(proxy.settings(access_key_id=access_key_id), secret, shop)
    ref = store.adopt(HOME, KEY, "ext-1")
    proxy.call("UpdateAccessKey", access_key_id=access_key_id, status="ACCESS_KEY_STATUS_INACTIVE")
    with pytest.raises(ProxyLost) as caught:
        store.encrypt(HOME, KEY, ref, b"data", CONTEXT)
    assert caught.value.fault is ProxyFault.CREDENTIALS_REFUSED
    proxy.call("UpdateAccessKey", access_key_id=access_key_id, status="ACCESS_KEY_STATUS_ACTIVE")
    store.encrypt(HOME, KEY, ref, b"data", CONTEXT)
    proxy.call("DeleteAccessKey", access_key_id=access_key_id)
    for use in (lambda: store.encrypt(HOME, KEY, ref, b"data", CONTEXT), store.health):
        with pytest.raises(ProxyLost):
            use()
    store.close()


def test_clocks_may_differ_by_five_minutes(proxy: Proxy, shop: Workshop) -> None:
    """Not by six, either way."""
    for skew in (-280.0, 280.0):
        store = opened(proxy.settings(), proxy.secret, shop, skew=skew)
        store.health()
        store.close()
    for skew in (-360.0, 360.0):
        store = opened(proxy.settings(), proxy.secret, shop, skew=skew)
        with pytest.raises(ProxyLost) as caught:
            store.health()
        assert caught.value.fault is ProxyFault.CREDENTIALS_REFUSED
        store.close()


def test_a_wrong_path_or_secret_or_authority(proxy: Proxy, shop: Workshop) -> None:
    """Each is told from the others."""
    for settings, secret, fault in (
        (proxy.settings(uri_path="/elsewhere/kms/xks/v1"), proxy.secret, ProxyFault.PATH_REFUSED),
        (proxy.settings(), "A" * 43, ProxyFault.CREDENTIALS_REFUSED),
        (proxy.settings(access_key_id="AKIAAAAAAAAAAAAAAAAA"), proxy.secret, ProxyFault.CREDENTIALS_REFUSED),
        (proxy.settings(ca_file=None), proxy.secret, ProxyFault.TLS_REFUSED),
    ):
        store = opened(settings, secret, shop)
        with pytest.raises(ProxyLost) as caught:
            store.health()
        assert caught.value.fault is fault
        store.close()
