"""Encryption for external key store proxies, over each store that has it: bounds, binding, no way around to blobs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import pytest
from tests.support.keystore_parts import HOME, KEY, OTHER_KEY, OTHER_REGION, Workshop
from tests.support.tokens import MemoryCounter, fresh_token

from kagitori_keystore.algorithms import KeySpec
from kagitori_keystore.base import (
    Capability,
    CiphertextInvalid,
    MaterialCorrupt,
    MaterialUnknown,
    RequestRefused,
    StoreLost,
    SymmetricKeyStore,
)
from kagitori_keystore.capabilities import ProxyEncryption
from kagitori_keystore.ciphertext import encode_header, parse
from kagitori_keystore.pkcs11.counting import BLOCK
from kagitori_keystore.pkcs11.settings import USES_MAX

SPEC = KeySpec.SYMMETRIC_DEFAULT


class Store(SymmetricKeyStore, ProxyEncryption, Protocol):
    """What is needed of a store here."""


def software(place: Path) -> Store:
    """The software store."""
    return Workshop(place).store


def softhsm(_: Path) -> Store:
    """A token of SoftHSM."""
    return fresh_token().open()


STORES: dict[str, Callable[[Path], Store]] = {"software": software, "softhsm": softhsm}


@pytest.fixture(scope="module", params=STORES)
def store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """A store of each kind that seals for proxies."""
    found = STORES[request.param](tmp_path_factory.mktemp(request.param))
    yield found
    found.close()


@pytest.mark.parametrize("size", [1, 16, 4096, 4300])
@pytest.mark.parametrize("context", [b"", b"context", bytes(8216)], ids=["empty", "short", "longest"])
def test_round_trips(store: Store, size: int, context: bytes) -> None:
    """The ciphertext is as long as the plaintext, with a tag behind it."""
    assert Capability.PROXY_ENCRYPTION in store.describe().capabilities
    ref = store.generate(SPEC, HOME, KEY)
    nonce, sealed = store.seal_for_proxy(HOME, KEY, ref, bytes(size), context)
    assert (len(nonce), len(sealed)) == (store.proxy_nonce_bytes(), size + 16)
    assert store.open_for_proxy(HOME, KEY, ref, nonce, sealed, context) == bytes(size)


def test_bounds(store: Store) -> None:
    """1 to 4,300 bytes, 8,216 of context, symmetric keys."""
    ref = store.generate(SPEC, HOME, KEY)
    for data, context in ((b"", b""), (bytes(4301), b""), (b"x", bytes(8217))):
        with pytest.raises(RequestRefused):
            store.seal_for_proxy(HOME, KEY, ref, data, context)
        with pytest.raises(RequestRefused):
            store.open_for_proxy(HOME, KEY, ref, bytes(store.proxy_nonce_bytes()), data + bytes(16), context)
    mac = store.generate(KeySpec.HMAC_256, HOME, KEY)
    with pytest.raises(RequestRefused):
        store.seal_for_proxy(HOME, KEY, mac, b"x", b"")


def test_everything_is_bound(store: Store) -> None:
    """Nonce, ciphertext, tag, context, key, domain and material."""
    ref, other = (store.generate(SPEC, HOME, KEY) for _ in range(2))
    nonce, sealed = store.seal_for_proxy(HOME, KEY, ref, b"data", b"context")
    for at in range(len(nonce)):
        changed = nonce[:at] + bytes((nonce[at] ^ 1,)) + nonce[at + 1 :]
        with pytest.raises(CiphertextInvalid):
            store.open_for_proxy(HOME, KEY, ref, changed, sealed, b"context")
    for at in range(len(sealed)):
        changed = sealed[:at] + bytes((sealed[at] ^ 1,)) + sealed[at + 1 :]
        with pytest.raises(CiphertextInvalid):
            store.open_for_proxy(HOME, KEY, ref, nonce, changed, b"context")
    for wrong in (b"", bytes(len(nonce)), nonce[:-1], nonce + b"x", nonce + bytes(4)):
        with pytest.raises(CiphertextInvalid):
            store.open_for_proxy(HOME, KEY, ref, wrong, sealed, b"context")
    with pytest.raises(CiphertextInvalid):
        store.open_for_proxy(HOME, KEY, ref, nonce, sealed, b"contexts")
    with pytest.raises(CiphertextInvalid):
        store.open_for_proxy(HOME, KEY, other, nonce, sealed, b"context")
    for domain, key in ((OTHER_REGION, KEY), (HOME, OTHER_KEY)):
        with pytest.raises((MaterialCorrupt, MaterialUnknown)):
            store.open_for_proxy(domain, key, ref, nonce, sealed, b"context")


def test_blobs_and_this_are_worlds_apart(store: Store) -> None:
    """Neither opens the other's, though the key is the same."""
    ref = store.generate(SPEC, HOME, KEY)
    nonce, sealed = store.seal_for_proxy(HOME, KEY, ref, b"data", b"context")
    blob = parse(encode_header(ref.kind, KEY, ref.material_id) + nonce + sealed)
    with pytest.raises(CiphertextInvalid):
        store.decrypt(HOME, KEY, ref, blob, b"context")
    made = parse(store.encrypt(HOME, KEY, ref, b"data", b"context"))
    with pytest.raises(CiphertextInvalid):
        store.open_for_proxy(HOME, KEY, ref, made.nonce, made.sealed, b"context")


def test_what_a_token_seals_is_counted() -> None:
    """Random nonces of 96 bits: it is one use of the key like an encryption, and refused beyond 2^32 of both."""
    counter = MemoryCounter()
    store = fresh_token().open(counter)
    ref = store.generate(SPEC, HOME, KEY)
    nonce, sealed = store.seal_for_proxy(HOME, KEY, ref, b"data", b"")
    assert counter.reserved == {ref.material_id: BLOCK}
    for _ in range(BLOCK // 2 - 1):
        store._uses.take(ref.material_id)
        store._uses.take(ref.material_id)
    store.encrypt(HOME, KEY, ref, b"data", b"")
    assert counter.reserved == {ref.material_id: BLOCK}
    counter.reserved[ref.material_id] = USES_MAX - BLOCK
    for _ in range(BLOCK - 1):
        store._uses.take(ref.material_id)
    assert counter.reserved == {ref.material_id: USES_MAX}, "with the use that made the check value, 2^32"
    with pytest.raises(RequestRefused):
        store.seal_for_proxy(HOME, KEY, ref, b"data", b"")
    assert store.open_for_proxy(HOME, KEY, ref, nonce, sealed, b"") == b"data"
    store.close()
    with pytest.raises(StoreLost):
        store.seal_for_proxy(HOME, KEY, ref, b"data", b"")
