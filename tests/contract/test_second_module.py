"""The contract over NSS softokn, which shares no code with SoftHSM: what it has works, what it lacks is denied."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.keystore_abilities import AbleStore
from tests.support.keystore_ability_checks import Row, keys_do_what_their_spec_allows
from tests.support.keystore_public_key_checks import ROWS
from tests.support.tokens import PIN, MemoryCounter

from kagitori_keystore.algorithms import KeyFamily, KeySpec
from kagitori_keystore.base import Capability, StoreKind
from kagitori_keystore.pkcs11.settings import TokenSettings
from kagitori_keystore.pkcs11.store import Pkcs11KeyStore, open_token

MODULES = ("/usr/lib/x86_64-linux-gnu/libsoftokn3.so", "/usr/lib/aarch64-linux-gnu/libsoftokn3.so")
SPECS = frozenset(
    spec
    for spec in KeySpec
    if spec.family in (KeyFamily.HMAC, KeyFamily.RSA, KeyFamily.ECC_NIST) and spec is not KeySpec.RSA_4096
)


def softokn(place: Path) -> Pkcs11KeyStore:
    """A store on a fresh database of NSS."""
    (place / "db").mkdir(parents=True)
    (place / "pin").write_bytes(PIN + b"\n")
    database = f"sql:{place}/db"
    subprocess.run(["certutil", "-N", "-d", database, "-f", str(place / "pin")], check=True)
    parameters = f"configdir='{database}' certPrefix='' keyPrefix='' secmod='secmod.db' flags=''"
    module = next(path for path in MODULES if Path(path).exists())
    settings = TokenSettings(module, None, "NSS Certificate DB", 20.0, place / "run", None, parameters)
    return open_token(settings, PIN, MemoryCounter())


@pytest.fixture(scope="module")
def under(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AbleStore]:
    store = softokn(tmp_path_factory.mktemp("nss"))
    description = store.describe()
    yield AbleStore(
        store,
        StoreKind.PKCS11,
        lambda: softokn(tmp_path_factory.mktemp("nss")),
        description.capabilities,
        description.key_specs,
    )
    store.close()


def test_it_says_what_it_can(under: AbleStore) -> None:
    """By its list and by trial: it lists AES-GCM, and python-pkcs11 is not told the room that its tag needs."""
    assert under.key_specs == SPECS | {KeySpec.RSA_4096}
    assert under.capabilities == {
        Capability.PUBLIC_KEYS, Capability.SIGNING, Capability.ASYMMETRIC_ENCRYPTION, Capability.MACS,
        Capability.KEY_AGREEMENT, Capability.RANDOM_GENERATION,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("row", "spec"),
    [
        (row, spec)
        for row in ROWS
        for spec in row.specs
        if spec in SPECS
        and row.check is not keys_do_what_their_spec_allows  # which needs a symmetric key, too
        and row.capability not in (Capability.DATA_KEY_PAIRS, Capability.MATERIAL_REPLICATION)
    ],
    ids=lambda value: value.name if isinstance(value, KeySpec) else value.check.__name__,
)
def test_it_keeps_its_promise(under: AbleStore, row: Row, spec: KeySpec) -> None:
    """With every spec but the slowest, every check that is about this one key."""
    row.check(under, spec)
