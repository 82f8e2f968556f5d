"""The root key under a passphrase: only the right one opens it, and every byte of the file counts."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from kagitori_keystore.base import RequestRefused, RootKeyRefused
from kagitori_keystore.rootkey import Argon2Cost, RootKeys, open_passphrase_root
from kagitori_keystore.rootkey.passphrase import FILE_NAME

PASSPHRASE = b"correct horse battery staple"
SECRET = b"a key to be wrapped, 32 bytes..."
CHEAP = Argon2Cost(memory_kib=8_192, iterations=1, lanes=1)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "root"


def opened(place: Path, passphrase: bytes = PASSPHRASE) -> RootKeys:
    return open_passphrase_root(place, passphrase, os.urandom, CHEAP)


def test_the_right_passphrase_opens_it_again(place: Path) -> None:
    """What was wrapped before a restart opens after it; the cost comes from the file."""
    root = opened(place)
    blob = root.wrap(bytearray(SECRET), b"aad")
    again = open_passphrase_root(place, PASSPHRASE, os.urandom)
    with again.unwrap(blob, b"aad") as secret:
        assert secret == SECRET
    assert again.current_version() == root.current_version()


@pytest.mark.parametrize(
    "passphrase",
    [PASSPHRASE[:-1], PASSPHRASE + b"\n", PASSPHRASE.upper(), b"\x00" + PASSPHRASE, PASSPHRASE + b"\x00"],
)
def test_other_passphrases_do_not(place: Path, passphrase: bytes) -> None:
    """A near miss is a miss, and the message tells nothing of either."""
    opened(place)
    before = (place / FILE_NAME).read_bytes()
    with pytest.raises(RootKeyRefused, match=r"^the passphrase is wrong$") as caught:
        opened(place, passphrase)
    assert caught.value.__cause__ is None
    assert (place / FILE_NAME).read_bytes() == before


@pytest.mark.parametrize("size", [0, 11, 1025])
def test_passphrase_length_is_bounded(place: Path, size: int) -> None:
    """Too short to be worth deriving from, or too long to be one; nothing is made."""
    with pytest.raises(RequestRefused):
        opened(place, b"x" * size)
    assert not place.exists()


def test_no_key_lies_in_the_file(place: Path) -> None:
    """None of the 32-byte strings drawn as root key versions is found in what is stored."""
    drawn: list[bytes] = []

    def source(size: int) -> bytes:
        drawn.append(os.urandom(size))
        return drawn[-1]

    open_passphrase_root(place, PASSPHRASE, source, CHEAP).add_version()
    content = (place / FILE_NAME).read_bytes()
    keys = [block for block in drawn if len(block) == 32]
    assert len(keys) == 2
    assert not any(key in content for key in keys)


def test_two_places_share_nothing(tmp_path: Path) -> None:
    """The same passphrase in another place has another salt and another key."""
    one, other = opened(tmp_path / "one"), opened(tmp_path / "other")
    assert one.current_version() != other.current_version()
    files = [(tmp_path / name / FILE_NAME).read_bytes() for name in ("one", "other")]
    assert files[0][20:36] != files[1][20:36]


def test_every_damaged_byte_is_noticed(place: Path) -> None:
    """A flipped bit in each byte, truncations, and anything appended; none of them exhausts the machine."""
    opened(place).add_version()
    file = place / FILE_NAME
    whole = file.read_bytes()
    forgeries = [whole[:at] + bytes((whole[at] ^ 0x01,)) + whole[at + 1 :] for at in range(len(whole))]
    forgeries += [whole[:size] for size in range(0, len(whole), 7)]
    forgeries += [whole + b"\x00", whole + whole]
    for forged in forgeries:
        file.write_bytes(forged)
        with pytest.raises(RootKeyRefused):
            opened(place)
    file.write_bytes(whole)
    opened(place)


def test_versions_of_two_files_do_not_mix(place: Path) -> None:
    """An older copy of the file put beside newer parts is noticed by the code over the whole."""
    root = opened(place)
    older = (place / FILE_NAME).read_bytes()
    root.add_version()
    newer = (place / FILE_NAME).read_bytes()
    spliced = older[:-32] + newer[len(older) - 32 :]
    (place / FILE_NAME).write_bytes(spliced)
    with pytest.raises(RootKeyRefused):
        opened(place)


def test_a_file_sealed_anew_is_noticed(tmp_path: Path) -> None:
    """Another salt under a running process is refused instead of read with the old derived key."""
    root = opened(tmp_path / "one")
    opened(tmp_path / "other")
    (tmp_path / "other" / FILE_NAME).rename(tmp_path / "one" / FILE_NAME)
    with pytest.raises(RootKeyRefused, match="sealed anew"):
        root.current_version()


@pytest.mark.parametrize(
    ("memory_kib", "iterations", "lanes"),
    [(8_191, 1, 1), (4_194_305, 1, 1), (8_192, 0, 1), (8_192, 65, 1), (8_192, 1, 0), (8_192, 1, 17)],
)
def test_cost_is_bounded(memory_kib: int, iterations: int, lanes: int) -> None:
    """Neither a cost that protects nothing nor one that stops the machine."""
    with pytest.raises(RequestRefused):
        Argon2Cost(memory_kib, iterations, lanes)


def test_default_cost_is_the_recommendation() -> None:
    """RFC 9106 section 4, second recommended option."""
    assert Argon2Cost() == Argon2Cost(memory_kib=64 * 1024, iterations=3, lanes=4)
