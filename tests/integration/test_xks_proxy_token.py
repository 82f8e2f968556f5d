"""Keys that live in a token, offered as external keys: two deployments in two processes, SoftHSM2 behind the proxy."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from tests.support.client_certificates import certificate
from tests.support.keystore_parts import HOME, KEY, Workshop
from tests.support.tokens import PIN, Token, fresh_token, kill_worker
from tests.support.xks import Proxy, opened, running_proxy

from kagitori.kms.v1 import resources_pb2
from kagitori_keystore.base import CiphertextInvalid, KeyStoreError
from kagitori_keystore.ciphertext import parse
from kagitori_keystore.xks import ExternalKeyUnusable, ProxyFault, XksKeyStore

CLUSTER = "cluster-aaaaaaaaaaa"
CONTEXT = b"canonical context"


@dataclass
class Offering:
    """A proxy that offers `ext-1` from a token."""

    proxy: Proxy
    token: Token
    store_id: str

    def connection(self, operation: str, state: int) -> None:
        """Connects or disconnects the custom key store."""
        self.proxy.call(operation, custom_key_store_id=self.store_id)
        end = time.monotonic() + 60
        while self.described().connection_state != state:
            assert time.monotonic() < end
            time.sleep(0.05)

    def described(self) -> Any:
        """What is told of it."""
        return self.proxy.call("DescribeCustomKeyStores", custom_key_store_id=self.store_id).custom_key_stores[0]


@pytest.fixture(scope="module")
def offering(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Offering]:
    """The alias of an external key moved to a key in a token."""
    place, token = tmp_path_factory.mktemp("proxy"), fresh_token()
    settings = token.settings
    (place / "kagitori.toml").write_text(
        f'[hsm.{CLUSTER}]\nmodule = "{settings.module}"\ntoken_label = "{settings.token_label}"\n'
        f'softhsm_conf = "{settings.softhsm_conf}"\ndeadline_seconds = 20\n'
    )
    with running_proxy(place / "data", "--config", str(place / "kagitori.toml")) as proxy:
        made = proxy.call(
            "CreateCustomKeyStore", custom_key_store_name="hsm", cloud_hsm_cluster_id=CLUSTER,
            trust_anchor_certificate=certificate(common_name="customer CA").decode(), key_store_password=PIN.decode(),
        )
        found = Offering(proxy, token, made.custom_key_store_id)
        found.connection("ConnectCustomKeyStore", resources_pb2.CONNECTION_STATE_CONNECTED)
        key = proxy.call(
            "CreateKey", custom_key_store_id=found.store_id, origin=resources_pb2.ORIGIN_AWS_CLOUDHSM
        ).key_metadata.key_id
        proxy.call("UpdateAlias", alias_name="alias/external", target_key_id=key)
        proxy.keys["ext-1"] = key
        yield found


@pytest.fixture
def store(offering: Offering, tmp_path: Path) -> Iterator[XksKeyStore]:
    """The other deployment's key store."""
    found = opened(offering.proxy.settings(), offering.proxy.secret, Workshop(tmp_path))
    yield found
    found.close()


@pytest.mark.parametrize("size", [1, 16, 1024, 4096])
@pytest.mark.parametrize("context", [b"", CONTEXT, bytes(8192)], ids=["empty", "short", "longest"])
def test_round_trips(store: XksKeyStore, size: int, context: bytes) -> None:
    """Initialisation vectors are the token's nonces, 12 bytes; the metadata name the material alone."""
    ref = store.adopt(HOME, KEY, "ext-1")
    parsed = parse(store.encrypt(HOME, KEY, ref, bytes(size), context))
    assert tuple(parsed.nonce[:2]) == (12, 12)
    assert store.decrypt(HOME, KEY, ref, parsed, context) == bytes(size)


def test_a_changed_blob_does_not_open(store: XksKeyStore) -> None:
    """Each byte of it, as with keys of the service's own."""
    ref = store.adopt(HOME, KEY, "ext-1")
    blob = store.encrypt(HOME, KEY, ref, b"data", CONTEXT)
    for at in range(len(blob)):
        changed = blob[:at] + bytes((blob[at] ^ 1,)) + blob[at + 1 :]
        with pytest.raises(CiphertextInvalid):
            store.decrypt(HOME, KEY, ref, parse(changed), CONTEXT)
    with pytest.raises(CiphertextInvalid):
        store.decrypt(HOME, KEY, ref, parse(blob), CONTEXT + b"x")


def test_a_worker_that_dies(offering: Offering, store: XksKeyStore) -> None:
    """The proxy starts another: at most the call in flight fails."""
    ref = store.adopt(HOME, KEY, "ext-1")
    blob = parse(store.encrypt(HOME, KEY, ref, b"data", CONTEXT))
    kill_worker(_in_the_proxy(offering))
    try:
        store.encrypt(HOME, KEY, ref, b"data", CONTEXT)
    except KeyStoreError:
        store.encrypt(HOME, KEY, ref, b"data", CONTEXT)
    assert store.decrypt(HOME, KEY, ref, blob, CONTEXT) == b"data"


def test_a_token_that_is_not_connected(offering: Offering, store: XksKeyStore) -> None:
    """Its keys can't be used, the others can; the health status tells of both stores."""
    ref, other = store.adopt(HOME, KEY, "ext-1"), store.adopt(HOME, KEY, "ext-2")
    blob = parse(store.encrypt(HOME, KEY, ref, b"data", CONTEXT))
    managers = {manager.id: manager.status for manager in store.status().managers}
    assert managers == {"default": "ACTIVE", offering.store_id: "ACTIVE"}
    offering.connection("DisconnectCustomKeyStore", resources_pb2.CONNECTION_STATE_DISCONNECTED)
    try:
        with pytest.raises(ExternalKeyUnusable) as caught:
            store.decrypt(HOME, KEY, ref, blob, CONTEXT)
        assert caught.value.fault is ProxyFault.KEY_DISABLED
        store.encrypt(HOME, KEY, other, b"data", CONTEXT)
    finally:
        offering.connection("ConnectCustomKeyStore", resources_pb2.CONNECTION_STATE_CONNECTED)
    assert store.decrypt(HOME, KEY, ref, blob, CONTEXT) == b"data"


def _in_the_proxy(offering: Offering) -> Token:
    """The token as the proxy's process meets its worker."""
    settings = replace(offering.token.settings, runtime_dir=offering.proxy.server.data / "run")
    return replace(offering.token, settings=settings)
