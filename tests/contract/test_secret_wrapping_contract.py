"""What every store with the ability SECRET_WRAPPING owes. A new store is one more row of `STORES`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Protocol

import pytest
from tests.support.keystore_contract import flips, refused
from tests.support.keystore_parts import HOME, OTHER_ACCOUNT, OTHER_REGION, Workshop

from kagitori_keystore.base import Capability, Domain, ErrorKind, KeyStore, SecretWrapping

LABEL = "access-key/AKIAEXAMPLE"
SECRET = b"the secret of an access key, 40 letters."


class Wrapping(KeyStore, SecretWrapping, Protocol):
    """A store with the ability."""


STORES: dict[str, Callable[[Path], Wrapping]] = {"software": lambda place: Workshop(place).store}


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Wrapping]:
    opened = STORES[request.param](tmp_path)
    yield opened
    opened.close()


def test_the_ability_is_told(store: Wrapping) -> None:
    assert Capability.SECRET_WRAPPING in store.describe().capabilities


@pytest.mark.parametrize("size", [1, 2, 40, 1024])
def test_secrets_come_back(store: Wrapping, size: int) -> None:
    for domain in (HOME, OTHER_ACCOUNT, OTHER_REGION):
        for label in ("a", LABEL, "x" * 255):
            wrapped = store.wrap_secret(domain, label, bytes(size))
            assert len(wrapped) <= size + 41
            assert store.unwrap_secret(domain, label, wrapped) == bytes(size)


def test_nothing_is_wrapped_alike_and_nothing_shows(store: Wrapping) -> None:
    wrapped = {store.wrap_secret(HOME, LABEL, SECRET) for _ in range(50)}
    assert len(wrapped) == 50
    assert not any(SECRET in each for each in wrapped)


@pytest.mark.parametrize("size", [0, 1025])
def test_sizes_are_bounded(store: Wrapping, size: int) -> None:
    refused({ErrorKind.CALLER}, lambda: store.wrap_secret(HOME, LABEL, bytes(size)))


@pytest.mark.parametrize("label", ["", "x" * 256, "ä"])
def test_labels_are_bounded(store: Wrapping, label: str) -> None:
    refused({ErrorKind.CALLER}, lambda: store.wrap_secret(HOME, label, SECRET))
    wrapped = store.wrap_secret(HOME, LABEL, SECRET)
    refused({ErrorKind.CALLER}, lambda: store.unwrap_secret(HOME, label, wrapped))


@pytest.mark.parametrize(
    ("domain", "label"),
    [
        (OTHER_ACCOUNT, LABEL), (OTHER_REGION, LABEL), (HOME, LABEL + "X"), (HOME, LABEL.lower()),
        # Where the Region ends and the label begins is part of what is bound.
        (Domain(HOME.account, HOME.region + "a"), LABEL[1:]), (Domain(HOME.account, HOME.region[:-2]), "-1" + LABEL),
    ],
)
def test_a_secret_opens_for_what_it_belongs_to_only(store: Wrapping, domain: Domain, label: str) -> None:
    store.wrap_secret(domain, label, SECRET)
    wrapped = store.wrap_secret(HOME, LABEL, SECRET)
    refused({ErrorKind.KEY}, lambda: store.unwrap_secret(domain, label, wrapped))
    assert store.unwrap_secret(HOME, LABEL, wrapped) == SECRET


def test_a_domain_without_keys_opens_nothing(store: Wrapping) -> None:
    wrapped = store.wrap_secret(HOME, LABEL, SECRET)
    refused({ErrorKind.KEY}, lambda: store.unwrap_secret(OTHER_ACCOUNT, LABEL, wrapped))


def test_every_flipped_bit_and_every_other_length_is_noticed(store: Wrapping) -> None:
    wrapped = store.wrap_secret(HOME, LABEL, SECRET)
    damaged = [*flips(wrapped), *(wrapped[:size] for size in range(len(wrapped))), wrapped + b"\x00", bytes(1066)]
    for each in damaged:
        error = refused({ErrorKind.KEY}, partial(store.unwrap_secret, HOME, LABEL, each))
        assert error.__cause__ is None
        assert error.__context__ is None or error.__suppress_context__
        assert SECRET.decode() not in str(error)


def test_a_closed_store_stays_closed(store: Wrapping) -> None:
    wrapped = store.wrap_secret(HOME, LABEL, SECRET)
    store.close()
    refused({ErrorKind.STORE_LOST}, lambda: store.wrap_secret(HOME, LABEL, SECRET))
    refused({ErrorKind.STORE_LOST}, lambda: store.unwrap_secret(HOME, LABEL, wrapped))
