"""Hermetic PKCS#11 tokens: SoftHSM's, each a copy of one that is made once, and stores on them."""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

from kagitori_keystore.pkcs11.settings import TokenSettings
from kagitori_keystore.pkcs11.store import Pkcs11KeyStore, open_token
from kagitori_keystore.pkcs11.wire import peer_of

PIN = b"1234-the-user"
SO_PIN = "12345678-the-officer"
LABEL = "kagitori-test"
MODULE = "/usr/lib/softhsm/libsofthsm2.so"


class MemoryCounter:
    """`UseCounter` in memory, shared by whoever is given it."""

    def __init__(self) -> None:
        self.reserved: Counter[str] = Counter()
        self._lock = threading.Lock()

    def reserve(self, material_id: str, count: int) -> int:
        with self._lock:
            first = self.reserved[material_id]
            self.reserved[material_id] += count
            return first


@functools.cache
def _tokens() -> Path:
    """Where this process's tokens lie, until it ends: in memory if possible, for SoftHSM writes each key to disk."""
    memory = Path("/dev/shm")  # noqa: S108 - the folder in it is made by mkdtemp
    place = tempfile.mkdtemp(prefix="kagitori-tokens-", dir=memory if os.access(memory, os.W_OK) else None)
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    return Path(place)


@functools.cache
def _ready(name: str = "ready") -> Path:
    """A folder with an initialised token, made once in a process. Under another name it is another token."""
    place = _tokens() / name
    subprocess.run(
        [sys.executable, "softhsm/init_token.py", "--directory", str(place), "--label", LABEL],
        check=True, capture_output=True,
        env={**os.environ, "KAGITORI_TOKEN_PIN": PIN.decode(), "KAGITORI_TOKEN_SO_PIN": SO_PIN},
    )  # fmt: skip
    return place


@dataclass(frozen=True)
class Token:
    """A token of its own below `place`."""

    place: Path
    settings: TokenSettings

    @property
    def folder(self) -> Path:
        """Where SoftHSM keeps the token's files."""
        return next((self.place / "tokens").iterdir())

    def key_files(self) -> set[Path]:
        """The files of the token's objects."""
        return set(self.folder.glob("*.object")) - {self.folder / "token.object"}

    def open(self, counter: MemoryCounter | None = None, pin: bytes = PIN, **changed: object) -> Pkcs11KeyStore:
        """A store on the token, as another process would open it: it shares the worker and nothing else."""
        return open_token(replace(self.settings, **changed), pin, counter or MemoryCounter())  # type: ignore[arg-type]  # replace checks the names


def fresh_token(deadline: float = 20.0, *, name: str = "ready") -> Token:
    """A copy of the ready token, in a place of its own. `name`: of another one, with another serial number."""
    place = Path(tempfile.mkdtemp(dir=_tokens()))
    shutil.copytree(_ready(name) / "tokens", place / "tokens")
    configuration = place / "softhsm2.conf"
    template = Path("softhsm/softhsm2.conf.template").read_text()
    configuration.write_text(template.replace("@DIRECTORY@", str(place)))
    return Token(place, TokenSettings(MODULE, None, LABEL, deadline, place / "run", str(configuration)))


def run_softhsm(token: Token, *arguments: str) -> str:
    """Runs `softhsm2-util` on the token's store."""
    done = subprocess.run(
        ["softhsm2-util", *arguments], check=True, capture_output=True, text=True,
        env={**os.environ, "SOFTHSM2_CONF": str(token.place / "softhsm2.conf")},
    )  # fmt: skip
    return done.stdout


def worker_of(token: Token) -> int:
    """The process id of the token's worker, asked of its socket."""
    runtime = token.settings.runtime_dir
    folder = os.open(runtime, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(f"/proc/self/fd/{folder}/{next(runtime.glob('*.socket')).name}")
            return peer_of(connection)[0]
    finally:
        os.close(folder)


def kill_worker(token: Token) -> None:
    """Ends the token's worker by SIGKILL, if there is one, and waits for its end."""
    with contextlib.suppress(ConnectionError, ProcessLookupError):
        worker = worker_of(token)
        os.kill(worker, signal.SIGKILL)
        gone(worker)


def gone(process: int, seconds: float = 10.0) -> bool:
    """Whether a process ends within the time."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if not Path(f"/proc/{process}").exists():
            return True
        time.sleep(0.01)
    return False


_PLANT = """
import os, pkcs11
from pkcs11 import Attribute, KeyType, MechanismFlag
token = pkcs11.lib(os.environ["MODULE"]).get_token(token_label=os.environ["LABEL"])
with token.open(rw=True, user_pin=os.environ["PIN"]) as session:
    session.generate_key(
        KeyType.GENERIC_SECRET, 256, id=bytes.fromhex(os.environ["ID"]), label="kagitori HMAC_256 planted", store=True,
        capabilities=MechanismFlag.SIGN | MechanismFlag.VERIFY, template={Attribute.PRIVATE: False},
    )
"""


def plant_keys(token: Token, count: int) -> None:
    """Puts keys with our kind of label and unlike ids into a token that no worker has open.

    SoftHSM takes minutes to make 10,000. One that isn't private has its id legible in its file, which is copied.
    """
    settings, first = token.settings, b"\xa5" * 16
    before = token.key_files()
    environment = {
        **os.environ, "SOFTHSM2_CONF": str(settings.softhsm_conf), "MODULE": settings.module, "LABEL": LABEL,
        "PIN": PIN.decode(), "ID": first.hex(),
    }
    subprocess.run([sys.executable, "-c", _PLANT], check=True, env=environment)
    (made,) = token.key_files() - before
    content = made.read_bytes()
    assert content.count(first) == 1
    for number in range(1, count):
        name = f"00000000-0000-0000-0000-{number:012}.object"
        (token.folder / name).write_bytes(content.replace(first, number.to_bytes(16)))
