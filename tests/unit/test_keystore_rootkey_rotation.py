"""Rotation of the root key: no crash at any step loses a ciphertext, and each step can be repeated."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.support.keystore_parts import HOME, KEY, OTHER_ACCOUNT, OTHER_REGION, MemoryShelf
from tests.support.tokens import fresh_token

from kagitori_keystore.algorithms import KeySpec
from kagitori_keystore.base import (
    Domain,
    MaterialCorrupt,
    MaterialRef,
    MaterialUnknown,
    RequestRefused,
    RootKeyRefused,
)
from kagitori_keystore.ciphertext import parse
from kagitori_keystore.rootkey import Argon2Cost, RootKeyProvider, open_file_root, open_passphrase_root
from kagitori_keystore.rootkey.pkcs11 import open_token_root
from kagitori_keystore.rootkey.versions import VERSIONS_MAX
from kagitori_keystore.software import SoftwareKeyStore

DOMAINS = (HOME, OTHER_ACCOUNT, OTHER_REGION)
SPEC = KeySpec.SYMMETRIC_DEFAULT
Opener = Callable[[], RootKeyProvider]


class House:
    """Three domains with a ciphertext each; `restart` is what a crash leaves behind."""

    def __init__(self, opener: Opener) -> None:
        self._opener = opener
        self.shelf = MemoryShelf()
        self.root = opener()
        self.store = self.restart()
        self.held: dict[Domain, tuple[MaterialRef, bytes]] = {}
        for domain in DOMAINS:
            ref = self.store.generate(SPEC, domain, KEY)
            self.held[domain] = ref, self.store.encrypt(domain, KEY, ref, b"precious", b"")

    def restart(self) -> SoftwareKeyStore:
        """A new process: root key read from its file, nothing cached."""
        self.root = self._opener()
        self.store = SoftwareKeyStore(self.root, self.shelf, os.urandom)
        return self.store

    def rewrap(self, *domains: Domain) -> None:
        for domain in domains:
            self.shelf.rows[domain] = self.store.rewrap_kek(domain, self.shelf.rows[domain])

    def left_behind(self) -> set[str]:
        """Versions still named on the shelf."""
        return {self.root.version_of(wrapped) for wrapped in self.shelf.rows.values()}

    def assert_nothing_lost(self) -> None:
        """A fresh process opens all ciphertexts and makes new ones, in old domains and in a new one."""
        store = self.restart()
        for domain, (ref, blob) in self.held.items():
            assert store.decrypt(domain, KEY, ref, parse(blob), b"") == b"precious"
            store.generate(SPEC, domain, KEY)
        unused = Domain(f"{len(self.shelf.rows):012d}", "new")
        ref = store.generate(SPEC, unused, KEY)
        self.held[unused] = ref, store.encrypt(unused, KEY, ref, b"precious", b"")


@pytest.fixture(params=["file", "passphrase", "token"])
def house(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[House]:
    place = tmp_path / "root"
    if request.param == "file":
        yield House(lambda: open_file_root(place, os.urandom))
    elif request.param == "passphrase":
        cost = Argon2Cost(memory_kib=8_192, iterations=1, lanes=1)
        yield House(lambda: open_passphrase_root(place, b"correct horse battery", os.urandom, cost))
    else:
        store = fresh_token().open()
        yield House(lambda: open_token_root(place, store))
        store.close()


def test_a_crash_after_any_step_loses_nothing(house: House) -> None:
    """The whole rotation with a restart after each step, then after each repeated step."""
    old = house.root.current_version()
    house.assert_nothing_lost()

    new = house.root.add_version()
    assert new != old
    house.assert_nothing_lost()
    assert house.root.versions() == (old, new)
    assert house.root.current_version() == new

    for domain in DOMAINS:
        house.rewrap(domain)
        house.assert_nothing_lost()
    house.rewrap(*house.shelf.rows)
    house.rewrap(*house.shelf.rows)
    assert house.left_behind() == {new}
    house.assert_nothing_lost()

    house.root.retire(old)
    house.assert_nothing_lost()
    house.root.retire(old)
    house.assert_nothing_lost()
    assert house.root.versions() == (new,)


def test_rewrapping_is_idempotent_and_changes_no_ciphertext(house: House) -> None:
    """A row under the current version comes back as it is; references stay as they were."""
    before = dict(house.shelf.rows)
    house.rewrap(*DOMAINS)
    assert house.shelf.rows == before
    house.root.add_version()
    house.rewrap(*DOMAINS)
    assert all(house.shelf.rows[domain] != before[domain] for domain in DOMAINS)
    house.assert_nothing_lost()


def test_rewrapping_keeps_the_binding(house: House) -> None:
    """A row of another domain cannot be laundered by a rotation."""
    house.root.add_version()
    with pytest.raises(MaterialCorrupt):
        house.store.rewrap_kek(HOME, house.shelf.rows[OTHER_ACCOUNT])


def test_retiring_too_early_is_seen_and_ends_what_was_left(house: House) -> None:
    """`version_of` shows the row left behind; retiring anyway makes it unknown, and only it."""
    old = house.root.current_version()
    house.root.add_version()
    house.rewrap(HOME, OTHER_REGION)
    assert old in house.left_behind()
    house.root.retire(old)
    store = house.restart()
    ref, blob = house.held[OTHER_ACCOUNT]
    with pytest.raises(MaterialUnknown):
        store.decrypt(OTHER_ACCOUNT, KEY, ref, parse(blob), b"")
    ref, blob = house.held[HOME]
    assert store.decrypt(HOME, KEY, ref, parse(blob), b"") == b"precious"


def test_the_current_version_cannot_be_retired(house: House) -> None:
    """Not even when it is the only one."""
    with pytest.raises(RequestRefused):
        house.root.retire(house.root.current_version())
    house.assert_nothing_lost()


@pytest.mark.parametrize("version", ["", "zz", "00" * 16])
def test_retiring_the_unknown_is_no_error(house: House, version: str) -> None:
    """The step may be repeated."""
    house.root.retire(version)
    house.assert_nothing_lost()


@pytest.mark.parametrize("step", ["open", "write", "fsync", "rename"])
@pytest.mark.parametrize("change", ["add", "retire"])
def test_a_crash_inside_a_step_keeps_the_old_file(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, change: str
) -> None:
    """The system fails at one call of the replacement: the file is whole, the step can be done again."""
    old = house.root.current_version()
    new = house.root.add_version()
    house.rewrap(*DOMAINS)
    before = {path: path.read_bytes() for path in (tmp_path / "root").iterdir()}
    real_open = os.open

    def failing(*_: object, **__: object) -> int:
        raise OSError(28, "No space left on device")

    def failing_open(path: str, flags: int, *rest: int, dir_fd: int | None = None) -> int:
        if flags & os.O_CREAT:
            raise OSError(28, "No space left on device")
        return real_open(path, flags, *rest, dir_fd=dir_fd)

    def attempt() -> None:
        if change == "add":
            house.root.add_version()
        else:
            house.root.retire(old)

    with monkeypatch.context() as patch:
        patch.setattr(os, step, failing_open if step == "open" else failing)
        with pytest.raises(RootKeyRefused, match="No space left"):
            attempt()
    assert {path: path.read_bytes() for path in before} == before
    assert house.root.versions() == (old, new)
    house.assert_nothing_lost()
    attempt()
    assert len(house.root.versions()) == (3 if change == "add" else 1)
    house.assert_nothing_lost()


def test_other_processes_follow(house: House) -> None:
    """A running process wraps under a version another one added, and opens what that one rewrapped."""
    running_root, running = house.root, house.store
    house.restart()
    old, new = running_root.current_version(), house.root.add_version()
    running.generate(SPEC, Domain("222222222222", "us-east-1"), KEY)
    assert running_root.version_of(house.shelf.rows[Domain("222222222222", "us-east-1")]) == new
    house.rewrap(*DOMAINS)
    house.root.retire(old)
    cold = SoftwareKeyStore(running_root, house.shelf, os.urandom)
    for domain in DOMAINS:
        ref, blob = house.held[domain]
        assert cold.decrypt(domain, KEY, ref, parse(blob), b"") == b"precious"


def test_a_running_process_opens_rows_of_a_version_it_never_saw(house: House) -> None:
    """The wrap names its version, the process looks it up in the file: nothing has to be restarted."""
    running_root = house.root
    house.restart()
    old = house.root.current_version()
    house.root.add_version()
    house.rewrap(*DOMAINS)
    house.root.retire(old)
    cold = SoftwareKeyStore(running_root, house.shelf, os.urandom)
    for domain in DOMAINS:
        ref, blob = house.held[domain]
        assert cold.decrypt(domain, KEY, ref, parse(blob), b"") == b"precious"


def test_concurrent_rotations_lose_no_version(house: House) -> None:
    """Two processes adding versions at once: all are kept, one is current."""
    roots = [house.root, house.restart() and house.root]
    with ThreadPoolExecutor(4) as pool:
        added = list(pool.map(lambda turn: roots[turn % 2].add_version(), range(10)))
    versions = house.root.versions()
    assert set(added) < set(versions)
    assert len(versions) == 11
    assert house.root.current_version() == versions[-1]
    house.assert_nothing_lost()


def test_versions_are_bounded(house: House) -> None:
    """The file has an end; the refusal changes nothing."""
    for _ in range(VERSIONS_MAX - 1):
        house.root.add_version()
    before = house.root.versions()
    with pytest.raises(RequestRefused, match="retire some"):
        house.root.add_version()
    assert house.root.versions() == before
    house.assert_nothing_lost()
