"""The root key in a file: made once, refused when others can reach it or a byte of it is wrong."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from kagitori_keystore.base import (
    ErrorKind,
    MaterialCorrupt,
    MaterialUnknown,
    RequestRefused,
    RootKeyRefused,
    StoreLost,
)
from kagitori_keystore.rootkey import RootKeyProvider, RootKeys, open_file_root
from kagitori_keystore.rootkey.file import FILE_NAME

SECRET = b"a key to be wrapped, 32 bytes..."


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "root"


def opened(place: Path) -> RootKeys:
    return open_file_root(place, os.urandom)


def unwrapped(root: RootKeyProvider, blob: bytes, aad: bytes = b"aad") -> bytes:
    with root.unwrap(blob, aad) as secret:
        return bytes(secret)


def test_first_start_makes_a_private_file(place: Path) -> None:
    """Directory 0700, file 0600, whatever the umask; nothing else lies there."""
    previous = os.umask(0)
    try:
        opened(place)
    finally:
        os.umask(previous)
    assert stat.S_IMODE(place.stat().st_mode) == 0o700
    assert stat.S_IMODE((place / FILE_NAME).stat().st_mode) == 0o600
    assert [entry.name for entry in place.iterdir()] == [FILE_NAME]


def test_later_starts_read_it(place: Path) -> None:
    """The file is not written again, and wraps of the first start open."""
    blob = opened(place).wrap(bytearray(SECRET), b"aad")
    before = (place / FILE_NAME).read_bytes()
    again = opened(place)
    assert unwrapped(again, blob) == SECRET
    assert (place / FILE_NAME).read_bytes() == before


def test_concurrent_first_starts_share_one_key(place: Path) -> None:
    """Eight processes starting at once end up with the same root key."""
    with ThreadPoolExecutor(8) as pool:
        roots = list(pool.map(lambda _: opened(place), range(8)))
    assert len({root.current_version() for root in roots}) == 1
    blob = roots[0].wrap(bytearray(SECRET), b"aad")
    assert all(unwrapped(root, blob) == SECRET for root in roots)


@pytest.mark.parametrize("mode", [0o601, 0o602, 0o604, 0o610, 0o620, 0o640, 0o644, 0o660, 0o666, 0o777])
def test_wider_file_modes_are_refused(place: Path, mode: int) -> None:
    """Any permission of group or others on the file."""
    opened(place)
    (place / FILE_NAME).chmod(mode)
    with pytest.raises(RootKeyRefused, match="open to group or others"):
        opened(place)


@pytest.mark.parametrize("mode", [0o701, 0o702, 0o704, 0o710, 0o720, 0o740, 0o750, 0o755, 0o777, 0o1777])
def test_wider_directory_modes_are_refused(place: Path, mode: int) -> None:
    """Any permission of group or others on the directory, before and after the file exists."""
    place.mkdir(mode=0o700)
    place.chmod(mode)
    with pytest.raises(RootKeyRefused, match="open to group or others"):
        opened(place)
    assert list(place.iterdir()) == []


@pytest.mark.parametrize("mode", [0o400, 0o600])
def test_narrower_modes_are_fine(place: Path, mode: int) -> None:
    """A read-only file is a usual way to hand out credentials."""
    opened(place)
    (place / FILE_NAME).chmod(mode)
    place.chmod(0o500 if mode == 0o400 else 0o700)
    try:
        opened(place)
    finally:
        place.chmod(0o700)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
@pytest.mark.parametrize("what", ["file", "directory"])
def test_foreign_owners_are_refused(place: Path, what: str) -> None:
    """The file and the directory must belong to the process's user."""
    opened(place)
    os.chown(place if what == "directory" else place / FILE_NAME, 65534, 65534)
    with pytest.raises(RootKeyRefused, match="another user"):
        opened(place)


def symlink_to_file(place: Path) -> None:
    (place / FILE_NAME).rename(place / "elsewhere")
    (place / FILE_NAME).symlink_to(place / "elsewhere")


def symlink_to_directory(place: Path) -> None:
    place.rename(place.with_name("elsewhere"))
    place.symlink_to(place.with_name("elsewhere"))


def pipe_for_file(place: Path) -> None:
    (place / FILE_NAME).unlink()
    os.mkfifo(place / FILE_NAME, 0o600)


def directory_for_file(place: Path) -> None:
    (place / FILE_NAME).unlink()
    (place / FILE_NAME).mkdir(0o700)


def file_for_directory(place: Path) -> None:
    (place / FILE_NAME).unlink()
    place.rmdir()
    place.touch(0o600)


@pytest.mark.parametrize(
    ("swap", "message"),
    [
        (symlink_to_file, "cannot be used"),
        (symlink_to_directory, "cannot be used"),
        (pipe_for_file, "something else"),
        (directory_for_file, "something else"),
        (file_for_directory, "cannot be used"),
    ],
)
def test_other_things_in_its_place_are_refused(
    place: Path, swap: Callable[[Path], None], message: str
) -> None:
    """No link is followed and nothing but a regular file in a directory is read."""
    opened(place)
    swap(place)
    with pytest.raises(RootKeyRefused, match=message) as caught:
        opened(place)
    assert caught.value.kind is ErrorKind.STORE_LOST


def test_replacement_is_durable(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The new content is on disk before it takes the old one's name, and the name before the call returns."""
    root = opened(place)
    steps: list[str] = []
    fsync, rename = os.fsync, os.rename

    def seen_fsync(descriptor: int) -> None:
        steps.append("directory" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
        fsync(descriptor)

    def seen_rename(source: str, target: str, *, src_dir_fd: int, dst_dir_fd: int) -> None:
        steps.append("rename")
        rename(source, target, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)

    monkeypatch.setattr(os, "fsync", seen_fsync)
    monkeypatch.setattr(os, "rename", seen_rename)
    root.add_version()
    assert steps == ["file", "rename", "directory"]


def test_missing_parent_is_refused(tmp_path: Path) -> None:
    """One directory is made, not a whole path that a typing mistake invented."""
    with pytest.raises(RootKeyRefused):
        opened(tmp_path / "not" / "there")


def test_every_damaged_byte_is_noticed(place: Path) -> None:
    """A flipped byte anywhere, any truncation, anything appended."""
    opened(place).add_version()
    file = place / FILE_NAME
    whole = file.read_bytes()
    forgeries = [whole[:at] + bytes((whole[at] ^ 0x40,)) + whole[at + 1 :] for at in range(len(whole))]
    forgeries += [whole[:size] for size in range(len(whole))]
    forgeries += [whole + b"\x00", whole + whole, bytes(70_000)]
    for forged in forgeries:
        file.write_bytes(forged)
        with pytest.raises(RootKeyRefused):
            opened(place)


def test_a_file_that_vanishes_is_told(place: Path) -> None:
    """A wrap made after the file is gone would be lost with this process, so it is refused."""
    root = opened(place)
    blob = root.wrap(bytearray(SECRET), b"aad")
    (place / FILE_NAME).unlink()
    with pytest.raises(RootKeyRefused):
        root.wrap(bytearray(SECRET), b"aad")
    assert unwrapped(root, blob) == SECRET


def test_wraps_are_bound(place: Path) -> None:
    """Every bit of a wrap, every length and the additional data count."""
    root = opened(place)
    blob = root.wrap(bytearray(SECRET), b"aad")
    assert unwrapped(root, blob) == SECRET
    assert SECRET not in blob
    for aad in (b"", b"aa", b"aad\x00", b"AAD"):
        with pytest.raises(MaterialCorrupt):
            root.unwrap(blob, aad)
    for at in range(len(blob)):
        for bit in range(8):
            forged = blob[:at] + bytes((blob[at] ^ (1 << bit),)) + blob[at + 1 :]
            with pytest.raises(MaterialUnknown if 1 <= at <= 16 else MaterialCorrupt):
                root.unwrap(forged, b"aad")
    for forged in [blob[:size] for size in range(len(blob))] + [blob + b"\x00", bytes(200)]:
        with pytest.raises((MaterialCorrupt, MaterialUnknown)):
            root.unwrap(forged, b"aad")


@pytest.mark.parametrize("size", [0, 65])
def test_wrapped_sizes_are_bounded(place: Path, size: int) -> None:
    """A root key wraps keys, nothing longer."""
    with pytest.raises(RequestRefused):
        opened(place).wrap(bytearray(size), b"aad")


def test_closed_root_key(place: Path) -> None:
    """After `close` every operation is refused; closing again is fine."""
    root = opened(place)
    blob = root.wrap(bytearray(SECRET), b"aad")
    root.close()
    root.close()
    calls: list[Callable[[], object]] = [
        lambda: root.wrap(bytearray(SECRET), b"aad"),
        lambda: root.unwrap(blob, b"aad"),
        root.current_version,
        root.versions,
        root.add_version,
        lambda: root.retire("00" * 16),
    ]
    for call in calls:
        with pytest.raises(StoreLost):
            call()
