"""Encryption for external key store proxies by the software store: bounds, binding, and no way around to blobs."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.keystore_parts import HOME, KEY, OTHER_KEY, OTHER_REGION, Workshop

from kagitori_keystore.algorithms import KeySpec
from kagitori_keystore.base import CiphertextInvalid, MaterialCorrupt, MaterialUnknown, RequestRefused
from kagitori_keystore.capabilities import ProxyEncryption
from kagitori_keystore.ciphertext import encode_header, parse
from kagitori_keystore.software import SoftwareKeyStore

SPEC = KeySpec.SYMMETRIC_DEFAULT


@pytest.fixture
def store(tmp_path: Path) -> SoftwareKeyStore:
    """A store with nothing in it."""
    return Workshop(tmp_path).store


@pytest.mark.parametrize("size", [1, 16, 4096, 4300])
@pytest.mark.parametrize("context", [b"", b"context", bytes(8216)], ids=["empty", "short", "longest"])
def test_round_trips(store: SoftwareKeyStore, size: int, context: bytes) -> None:
    """The ciphertext is as long as the plaintext, with a tag behind it."""
    assert isinstance(store, ProxyEncryption)
    ref = store.generate(SPEC, HOME, KEY)
    nonce, sealed = store.seal_for_proxy(HOME, KEY, ref, bytes(size), context)
    assert (len(nonce), len(sealed)) == (store.proxy_nonce_bytes(), size + 16)
    assert store.open_for_proxy(HOME, KEY, ref, nonce, sealed, context) == bytes(size)


def test_bounds(store: SoftwareKeyStore) -> None:
    """1 to 4,300 bytes, 8,216 of context, symmetric keys."""
    ref = store.generate(SPEC, HOME, KEY)
    for data, context in ((b"", b""), (bytes(4301), b""), (b"x", bytes(8217))):
        with pytest.raises(RequestRefused):
            store.seal_for_proxy(HOME, KEY, ref, data, context)
        with pytest.raises(RequestRefused):
            store.open_for_proxy(HOME, KEY, ref, bytes(24), data + bytes(16), context)
    mac = store.generate(KeySpec.HMAC_256, HOME, KEY)
    with pytest.raises(RequestRefused):
        store.seal_for_proxy(HOME, KEY, mac, b"x", b"")


def test_everything_is_bound(store: SoftwareKeyStore) -> None:
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
    for wrong in (b"", bytes(12), nonce + b"x"):
        with pytest.raises(CiphertextInvalid):
            store.open_for_proxy(HOME, KEY, ref, wrong, sealed, b"context")
    with pytest.raises(CiphertextInvalid):
        store.open_for_proxy(HOME, KEY, ref, nonce, sealed, b"contexts")
    with pytest.raises(CiphertextInvalid):
        store.open_for_proxy(HOME, KEY, other, nonce, sealed, b"context")
    for domain, key in ((OTHER_REGION, KEY), (HOME, OTHER_KEY)):
        with pytest.raises((MaterialCorrupt, MaterialUnknown)):
            store.open_for_proxy(domain, key, ref, nonce, sealed, b"context")


def test_blobs_and_this_are_worlds_apart(store: SoftwareKeyStore) -> None:
    """Neither opens the other's, though the key is the same."""
    ref = store.generate(SPEC, HOME, KEY)
    nonce, sealed = store.seal_for_proxy(HOME, KEY, ref, b"data", b"context")
    blob = parse(encode_header(ref.kind, KEY, ref.material_id) + nonce + sealed)
    with pytest.raises(CiphertextInvalid):
        store.decrypt(HOME, KEY, ref, blob, b"context")
    made = parse(store.encrypt(HOME, KEY, ref, b"data", b"context"))
    with pytest.raises(CiphertextInvalid):
        store.open_for_proxy(HOME, KEY, ref, made.nonce, made.sealed, b"context")
