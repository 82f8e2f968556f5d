"""The contract over every store there is. A new store is one more row of `STORES`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.support.keystore_contract import CONTRACT, Check, StoreUnderTest
from tests.support.keystore_parts import Workshop
from tests.support.tokens import fresh_token

from kagitori_keystore.base import StoreKind, SymmetricKeyStore


def software(place: Path) -> StoreUnderTest:
    """The software store over a root key file."""
    shop = Workshop(place)

    def sever() -> SymmetricKeyStore:
        shop.root.close()
        shop.shelf.lost = True
        return shop.another_process()

    return StoreUnderTest(shop.store, StoreKind.SOFTWARE, sever, holds_material=False)


def softhsm(_: Path) -> StoreUnderTest:
    """A token of SoftHSM; severed, another worker finds it gone while it runs."""
    token = fresh_token()

    def sever() -> SymmetricKeyStore:
        another = token.open(runtime_dir=token.place / "another")
        token.folder.rename(token.place / "away")
        return another

    return StoreUnderTest(token.open(), StoreKind.PKCS11, sever, holds_material=True)


STORES: dict[str, Callable[[Path], StoreUnderTest]] = {"software": software, "softhsm": softhsm}


@pytest.fixture(params=STORES)
def under_test(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[StoreUnderTest]:
    under = STORES[request.param](tmp_path)
    yield under
    under.store.close()


@pytest.mark.parametrize("check", CONTRACT, ids=lambda check: check.__name__)
def test_store_keeps_its_promise(under_test: StoreUnderTest, check: Check) -> None:
    """Each store passes each check."""
    check(under_test)
