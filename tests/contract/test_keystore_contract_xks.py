"""The contract of key stores over an external key store, behind a real proxy in another process.

Its keys are adopted, not made: the store under test adopts the same external key where the contract asks for a new
one. What the contract says of random bytes doesn't concern it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support import keystore_contract as contract
from tests.support.keystore_contract import CONTRACT, Check, StoreUnderTest
from tests.support.keystore_parts import HOME, KEY, Workshop
from tests.support.xks import Proxy, opened, running_proxy

from kagitori_keystore.algorithms import KeySpec
from kagitori_keystore.base import Capability, Domain, MaterialRef, RequestRefused, StoreKind, StoreLost
from kagitori_keystore.xks import XksKeyStore, XksSettings

NOT_ITS_OWN = (
    contract.describes_itself,  # of a store with random bytes; see below
    contract.random_bytes_are_fresh,
    contract.blobs_name_key_and_material,  # of constant size; tests/integration/test_xks_two_processes.py has its own
    contract.a_closed_store_stays_closed,  # asks for random bytes; see below
)


class Adopting(XksKeyStore):
    """Adopts an external key for every key."""

    __slots__ = ()

    def generate(  # type: ignore[override]  # what is refused there is done here
        self, _: KeySpec, domain: Domain, key_id: str
    ) -> MaterialRef:
        return self.adopt(domain, key_id, "ext-1")


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """One for all tests here."""
    with running_proxy(tmp_path_factory.mktemp("proxy") / "data") as running:
        yield running


def adopting(settings: XksSettings, secret: str, shop: Workshop) -> Adopting:
    plain = opened(settings, secret, shop)
    return Adopting(plain._client, plain._inner, plain._random, plain._request_ids)


@pytest.fixture
def under_test(proxy: Proxy, tmp_path: Path) -> Iterator[StoreUnderTest]:
    """A store, and one on the same ground whose proxy is gone."""
    shop = Workshop(tmp_path)
    gone = proxy.settings(uri_endpoint="https://localhost:1")
    under = StoreUnderTest(
        adopting(proxy.settings(), proxy.secret, shop), StoreKind.XKS, lambda: adopting(gone, proxy.secret, shop),
        holds_material=False,
    )
    yield under
    under.store.close()


@pytest.mark.parametrize(
    "check", [check for check in CONTRACT if check not in NOT_ITS_OWN], ids=lambda check: str(check.__name__)
)
def test_external_store_keeps_its_promise(under_test: StoreUnderTest, check: Check) -> None:
    """As every store."""
    check(under_test)


def test_describes_itself(under_test: StoreUnderTest) -> None:
    """Symmetric encryption, and nothing else."""
    description = under_test.store.describe()
    assert description.kind is StoreKind.XKS
    assert description.capabilities == {Capability.SYMMETRIC_ENCRYPTION}
    assert description.key_specs == {KeySpec.SYMMETRIC_DEFAULT}
    under_test.store.health()


def test_external_keys_are_not_passed_on(under_test: StoreUnderTest) -> None:
    """As external keys of others."""
    store: Any = under_test.store
    ref = store.generate(KeySpec.SYMMETRIC_DEFAULT, HOME, KEY)
    for call in (
        store.proxy_nonce_bytes, lambda: store.seal_for_proxy(HOME, KEY, ref, b"data", b""),
        lambda: store.open_for_proxy(HOME, KEY, ref, bytes(12), bytes(20), b""),
    ):
        with pytest.raises(RequestRefused, match="not passed on"):
            call()


def test_stays_closed(under_test: StoreUnderTest) -> None:
    """Whatever is asked."""
    ref = under_test.store.generate(KeySpec.SYMMETRIC_DEFAULT, HOME, KEY)
    blob = under_test.store.encrypt(HOME, KEY, ref, b"data", b"")
    for _ in range(2):
        under_test.store.close()
    calls = contract.calls_of(under_test, ref, blob)
    calls.append(lambda: under_test.store.destroy(ref))
    for call in calls:
        with pytest.raises(StoreLost):
            call()
    under_test.store.forget(KEY)
