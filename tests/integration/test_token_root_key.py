"""A root key whose versions are keys of a token: its file, its wraps, and what happens without the token."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from tests.support.keystore_contract import flips
from tests.support.keystore_parts import HOME, KEY, MemoryShelf
from tests.support.tokens import Token, fresh_token

from kagitori_keystore.algorithms import KeySpec
from kagitori_keystore.base import MaterialCorrupt, MaterialUnknown, RequestRefused, RootKeyRefused, StoreLost
from kagitori_keystore.pkcs11.store import Pkcs11KeyStore
from kagitori_keystore.rootkey.pkcs11 import FILE_NAME, TokenRootKeys, open_token_root
from kagitori_keystore.software import SoftwareKeyStore

SECRET, AAD = bytes(range(32)), b"whose key it is"


@pytest.fixture
def token() -> Token:
    return fresh_token()


@pytest.fixture
def store(token: Token) -> Iterator[Pkcs11KeyStore]:
    store = token.open()
    yield store
    store.close()


@pytest.fixture
def root(tmp_path: Path, store: Pkcs11KeyStore) -> TokenRootKeys:
    return open_token_root(tmp_path / "root", store)


def test_the_file_is_private_and_holds_no_key(tmp_path: Path, root: TokenRootKeys, token: Token) -> None:
    """And a later start reads it instead of making another key."""
    file = tmp_path / "root" / FILE_NAME
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    objects = len(token.key_files())
    store = token.open()
    again = open_token_root(tmp_path / "root", store)
    assert again.versions() == root.versions()
    assert len(token.key_files()) == objects
    with again.unwrap(root.wrap(bytearray(SECRET), AAD), AAD) as opened:
        assert bytes(opened) == SECRET
    store.close()


def test_wraps_are_bound(root: TokenRootKeys) -> None:
    """To every bit of theirs, and to the additional data."""
    blob = root.wrap(bytearray(SECRET), AAD)
    assert SECRET not in blob
    assert root.version_of(blob) == root.current_version()
    for aad in (b"", AAD[:-1], AAD + b"\x00"):
        with pytest.raises(MaterialCorrupt):
            root.unwrap(blob, aad)
    for forged in [*flips(blob)[::3], *(blob[:size] for size in range(0, len(blob), 7)), blob + b"\x00"]:
        with pytest.raises((MaterialCorrupt, MaterialUnknown)):
            root.unwrap(forged, AAD)
    for size in (0, 65):
        with pytest.raises(RequestRefused):
            root.wrap(bytearray(size), AAD)


def test_every_damaged_byte_of_the_file_is_noticed(tmp_path: Path, root: TokenRootKeys) -> None:
    """Flipped, cut off, added."""
    file = tmp_path / "root" / FILE_NAME
    content = file.read_bytes()
    wrong = [*flips(content)[::5], *(content[:size] for size in range(0, len(content), 9)), content + b"\x00"]
    for damaged in wrong:
        file.write_bytes(damaged)
        with pytest.raises(RootKeyRefused):
            root.current_version()
    file.unlink()
    with pytest.raises(RootKeyRefused, match="gone"):
        root.wrap(bytearray(SECRET), AAD)


def test_a_retired_version_is_destroyed_in_the_token(root: TokenRootKeys, token: Token) -> None:
    """What was wrapped under it is lost, as its retirement says."""
    blob = root.wrap(bytearray(SECRET), AAD)
    old = root.current_version()
    root.add_version()
    objects = len(token.key_files())
    root.retire(old)
    root.retire(old)
    assert len(token.key_files()) == objects - 1
    with pytest.raises(MaterialUnknown):
        root.unwrap(blob, AAD)


def test_another_token_does_not_open_it(tmp_path: Path, root: TokenRootKeys) -> None:
    """The file names keys that it does not have."""
    blob = root.wrap(bytearray(SECRET), AAD)
    store = fresh_token().open()
    other = open_token_root(tmp_path / "root", store)
    for call in (partial(other.wrap, bytearray(SECRET), AAD), partial(other.unwrap, blob, AAD)):
        with pytest.raises(RootKeyRefused):
            call()
    store.close()


def test_without_the_token_everything_is_lost_for_the_time(root: TokenRootKeys, token: Token) -> None:
    """A software store over it says so, and serves again when the token is back."""
    software = SoftwareKeyStore(root, MemoryShelf(), os.urandom)
    ref = software.generate(KeySpec.SYMMETRIC_DEFAULT, HOME, KEY)
    software.health()
    folder = token.folder
    folder.rename(token.place / "away")
    with pytest.raises(StoreLost):
        software.health()
    software.encrypt(HOME, KEY, ref, b"m", b"")  # its key-encryption key is open already
    (token.place / "away").rename(folder)
    software.health()
    software.close()


def test_a_closed_root_key_stays_closed(root: TokenRootKeys) -> None:
    """Every operation says so."""
    blob = root.wrap(bytearray(SECRET), AAD)
    for _ in range(2):
        root.close()
    calls = (
        partial(root.wrap, bytearray(SECRET), AAD), partial(root.unwrap, blob, AAD), root.current_version,
        root.versions, root.add_version, partial(root.retire, "00" * 16),
    )  # fmt: skip
    for call in calls:
        with pytest.raises(StoreLost):
            call()
