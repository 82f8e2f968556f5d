"""`softhsm/init_token.py`: what it makes, what it keeps secret, what it refuses."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

from tests.support.tokens import MemoryCounter

from kagitori_keystore.pkcs11.settings import TokenSettings
from kagitori_keystore.pkcs11.store import open_token


def initialise(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "softhsm/init_token.py", *arguments],
        capture_output=True, text=True, env={**os.environ, **environment}, check=False,
    )  # fmt: skip


def settings_of(printed: str, place: Path) -> TokenSettings:
    made = json.loads(printed)
    return TokenSettings(made["module"], made["token_serial"], None, 20.0, place / "run", made["softhsm_conf"])


def test_a_token_with_random_pins(tmp_path: Path) -> None:
    """Ready for a store; the PINs lie in private files and are shown nowhere."""
    place = tmp_path / "hsm"
    done = initialise("--directory", str(place))
    assert done.returncode == 0, done.stderr
    pins = [(place / name).read_text().strip() for name in ("pin", "so-pin")]
    assert len({*pins}) == 2
    for name, pin in zip(("pin", "so-pin"), pins, strict=True):
        assert stat.S_IMODE((place / name).stat().st_mode) == 0o600
        assert len(pin) >= 20
        assert pin not in done.stdout + done.stderr
    assert all(stat.S_IMODE(path.stat().st_mode) & 0o077 == 0 for path in place.rglob("*"))
    store = open_token(settings_of(done.stdout, place), pins[0].encode(), MemoryCounter())
    store.health()
    store.close()


def test_pins_of_files_and_of_the_environment(tmp_path: Path) -> None:
    """A file given by name wins."""
    place, file = tmp_path / "hsm", tmp_path / "given"
    file.write_text("the PIN of the file\n")
    done = initialise(
        "--directory", str(place), "--pin-file", str(file),
        KAGITORI_TOKEN_PIN="not this one", KAGITORI_TOKEN_SO_PIN="the officer's",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert not (place / "pin").exists()
    assert not (place / "so-pin").exists()
    open_token(settings_of(done.stdout, place), b"the PIN of the file", MemoryCounter()).close()


def test_what_is_refused(tmp_path: Path) -> None:
    """The same label twice, labels out of bounds, a PIN that the token does not take."""
    place = tmp_path / "hsm"
    assert initialise("--directory", str(place), "--label", "one").returncode == 0
    assert "already" in initialise("--directory", str(place), "--label", "one").stderr
    assert initialise("--directory", str(place), "--label", "two").returncode == 0
    for label in ("", "x" * 33):
        assert "32 bytes" in initialise("--directory", str(tmp_path / "other"), "--label", label).stderr
    short = initialise("--directory", str(tmp_path / "short"), KAGITORI_TOKEN_PIN="123", KAGITORI_TOKEN_SO_PIN="1234")
    assert short.returncode != 0
