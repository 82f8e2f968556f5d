"""The abilities beyond symmetric encryption, over every store and key spec. A new store is one more row of `STORES`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.support.keystore_abilities import AbleStore
from tests.support.keystore_ability_checks import Row, refused_as_request
from tests.support.keystore_parts import HOME, KEY, Workshop
from tests.support.keystore_public_key_checks import ROWS
from tests.support.tokens import fresh_token

from kagitori_keystore.algorithms import AsymmetricEncryptionAlgorithm, KeyFamily, KeySpec, SigningAlgorithm
from kagitori_keystore.base import Capability, StoreKind
from kagitori_keystore.capabilities import GeneralKeyStore


def software(place: Path) -> AbleStore:
    """The software store: everything."""
    made: list[Path] = []

    def fresh() -> GeneralKeyStore:
        made.append(place / str(len(made)))
        made[-1].mkdir()
        return Workshop(made[-1]).store

    return AbleStore(
        fresh(),
        StoreKind.SOFTWARE,
        fresh,
        frozenset(Capability),
        frozenset(KeySpec),
    )


def softhsm(_: Path) -> AbleStore:
    """A token of SoftHSM 2.6: it has no OAEP with SHA-256, and takes Ed25519ph for Ed25519 without a word."""
    def fresh() -> GeneralKeyStore:
        return fresh_token().open()

    return AbleStore(
        fresh(),
        StoreKind.PKCS11,
        fresh,
        frozenset(Capability)
        - {
            Capability.SECRET_WRAPPING,
            Capability.KEY_ENCAPSULATION,
            Capability.MATERIAL_IMPORT,
            Capability.MATERIAL_REPLICATION,
        },
        frozenset(spec for spec in KeySpec if spec.family not in (KeyFamily.ML_DSA, KeyFamily.ML_KEM)),
        refused=frozenset(
            {SigningAlgorithm.ED25519_PH_SHA_512, AsymmetricEncryptionAlgorithm.RSAES_OAEP_SHA_256}
        ),
    )


STORES: dict[str, Callable[[Path], AbleStore]] = {"software": software, "softhsm": softhsm}


@pytest.fixture(scope="module", params=STORES)
def under(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AbleStore]:
    able = STORES[request.param](tmp_path_factory.mktemp(request.param))
    yield able
    able.store.close()


def test_a_store_says_what_it_can(under: AbleStore) -> None:
    """The description is what the table of stores expects: skips below are of things the store denies having."""
    description = under.store.describe()
    assert description.capabilities == under.capabilities
    assert description.key_specs == under.key_specs
    assert description.lacking & {str(each) for each in (*SigningAlgorithm, *AsymmetricEncryptionAlgorithm)} >= {
        each.value for each in under.refused
    }


@pytest.mark.parametrize("spec", KeySpec, ids=lambda spec: spec.name)
def test_specs_that_a_store_denies_are_refused(under: AbleStore, spec: KeySpec) -> None:
    """A spec is made if the store says so, and refused otherwise."""
    if spec in under.key_specs:
        assert under.ref(spec).kind is under.kind
    else:
        refused_as_request(lambda: under.store.generate(spec, HOME, KEY))


@pytest.mark.parametrize(
    ("row", "spec"),
    [(row, spec) for row in ROWS for spec in row.specs],
    ids=lambda value: value.name if isinstance(value, KeySpec) else value.check.__name__,
)
def test_store_keeps_its_promise(under: AbleStore, row: Row, spec: KeySpec) -> None:
    """Each store passes each check of an ability it has, with each spec it makes."""
    if row.capability is not None and row.capability not in under.store.describe().capabilities:
        pytest.skip(f"a {under.kind.name} store has no {row.capability.name}")
    if spec not in under.store.describe().key_specs:
        pytest.skip(f"a {under.kind.name} store makes no {spec.name}")
    row.check(under, spec)
