"""`python -m benchmarks.soak_tokens --minutes M`: random uses of keys in a SoftHSM token, while workers are killed.

Two stores share a token and its worker, as two processes of a server do. Threads make keys of several
kinds, use and destroy them; every few seconds the worker is killed. A call may fail as lost or too slow, and only so.
In the end each key that was made and not destroyed has to work, what was encrypted has to open, what was signed has to
verify, and what was destroyed has to be gone. Exit status 1 if any of it doesn't hold.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from kagitori_keystore.algorithms import KeySpec, MessageForm, SigningAlgorithm
from kagitori_keystore.base import Domain, ErrorKind, KeyStoreError, MaterialRef
from kagitori_keystore.ciphertext import parse
from kagitori_keystore.pkcs11.settings import TokenSettings
from kagitori_keystore.pkcs11.store import Pkcs11KeyStore, open_token

PIN = b"soak-test-pin"
HOME, KEY = Domain("000000000000", "us-east-1"), "1234abcd-12ab-34cd-56ef-1234567890ab"
SPECS = (KeySpec.SYMMETRIC_DEFAULT, KeySpec.HMAC_256, KeySpec.ECC_NIST_P256, KeySpec.ECC_NIST_EDWARDS25519)
SIGNING = {
    KeySpec.ECC_NIST_P256: SigningAlgorithm.ECDSA_SHA_256,
    KeySpec.ECC_NIST_EDWARDS25519: SigningAlgorithm.ED25519_SHA_512,
}
MESSAGE, CONTEXT = b"the message of this soak", b"context"
KEYS_MAX = 300
EXPECTED = (ErrorKind.SESSION_LOST, ErrorKind.STORE_LOST, ErrorKind.TOO_SLOW)
THREADS = 4


class Count:
    """Starts every material at nothing."""

    def reserve(self, material_id: str, count: int) -> int:
        return 0


@dataclass
class Made:
    """A key, and what was made with it."""

    spec: KeySpec
    ref: MaterialRef
    products: list[bytes] = field(default_factory=list)


class Soak:
    """What has been done so far."""

    def __init__(self, stores: list[Pkcs11KeyStore], seed: int) -> None:
        self.stores = stores
        self.keys: list[Made] = []
        self.gone: list[Made] = []
        self.unsure: list[Made] = []
        """Keys whose destruction failed: they may be there or not."""
        self.done: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.stop = threading.Event()
        self._lock = threading.Lock()
        self._seed = seed

    def work(self, number: int) -> None:
        """One thread's uses until the end."""
        chance = random.Random(self._seed + number)
        while not self.stop.is_set():
            store = chance.choice(self.stores)
            action = chance.choices((self._make, self._use, self._destroy), (2, 40, 1))[0]
            try:
                action(store, chance)
            except KeyStoreError as error:
                self.done[f"failed as {error.kind.value}"] += 1
                if error.kind not in EXPECTED:
                    self.wrong.append(f"{action.__name__}: {type(error).__name__}: {error}")

    def _make(self, store: Pkcs11KeyStore, chance: random.Random) -> None:
        if len(self.keys) >= KEYS_MAX:
            return
        spec = chance.choice(SPECS)
        made = Made(spec, store.generate(spec, HOME, KEY))
        with self._lock:
            self.keys.append(made)
        self.done["made"] += 1

    def _use(self, store: Pkcs11KeyStore, chance: random.Random) -> None:
        with self._lock:
            made = chance.choice(self.keys) if self.keys else None
        if made is None:
            return
        if made.products and chance.random() < 0.5:
            check(store, made, chance.choice(made.products))
            self.done["checked"] += 1
        else:
            made.products = [*made.products[-3:], produce(store, made)]
            self.done["used"] += 1

    def _destroy(self, store: Pkcs11KeyStore, chance: random.Random) -> None:
        with self._lock:
            if len(self.keys) < KEYS_MAX // 2:
                return
            made = self.keys.pop(chance.randrange(len(self.keys)))
        time.sleep(0.5)  # whoever uses it now may do so
        try:
            store.destroy(made.ref)
        except KeyStoreError:
            self.unsure.append(made)
            raise
        self.gone.append(made)
        self.done["destroyed"] += 1

    def judge(self, store: Pkcs11KeyStore) -> None:
        """Every key as it has to be, by a store that knows none of them."""
        for made in self.keys:
            try:
                for product in (*made.products, produce(store, made)):
                    check(store, made, product)
            except (KeyStoreError, AssertionError) as error:
                self.wrong.append(f"{made.spec.name} {made.ref.material_id}: {type(error).__name__}: {error}")
        for made in self.gone:
            with contextlib.suppress(KeyStoreError):
                produce(store, made)
                self.wrong.append(f"{made.spec.name} {made.ref.material_id} was destroyed, and works")
        known = {made.ref.reference for made in (*self.keys, *self.unsure)}
        self.done["objects left in the token"] = sum(1 for _ in store.objects())
        self.done["of which keys"] = len(known)


def produce(store: Pkcs11KeyStore, made: Made) -> bytes:
    """Something that the key alone can make."""
    if made.spec is KeySpec.SYMMETRIC_DEFAULT:
        return store.encrypt(HOME, KEY, made.ref, MESSAGE, CONTEXT)
    if made.spec is KeySpec.HMAC_256:
        return store.generate_mac(HOME, KEY, made.ref, MESSAGE)
    return store.sign(HOME, KEY, made.ref, SIGNING[made.spec], MessageForm.RAW, MESSAGE)


def check(store: Pkcs11KeyStore, made: Made, product: bytes) -> None:
    """Raises `AssertionError` if it is not the key's."""
    if made.spec is KeySpec.SYMMETRIC_DEFAULT:
        held = store.decrypt(HOME, KEY, made.ref, parse(product), CONTEXT) == MESSAGE
    elif made.spec is KeySpec.HMAC_256:
        held = store.verify_mac(HOME, KEY, made.ref, MESSAGE, product)
    else:
        held = store.verify(HOME, KEY, made.ref, SIGNING[made.spec], MessageForm.RAW, MESSAGE, product)
    if not held:
        raise AssertionError("a key does not know what it made")


def workers() -> list[int]:
    """Processes of tokens that this program's stores have started."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                words = (entry / "cmdline").read_bytes().split(b"\x00")
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                if b"kagitori_keystore.pkcs11.worker" in words and parent == os.getpid():
                    found.append(int(entry.name))
    return found


def kill_some(soak: Soak, every: float) -> None:
    """Ends workers until the end."""
    while not soak.stop.wait(every):
        for process in workers():
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
                soak.done["workers killed"] += 1


def main() -> None:
    """Soaks, judges, prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--kill-every", type=float, default=6.0, metavar="SECONDS")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        environment = {**os.environ, "KAGITORI_TOKEN_PIN": PIN.decode(), "KAGITORI_TOKEN_SO_PIN": "soak-test-so-pin"}
        made = json.loads(subprocess.run(
            [sys.executable, "softhsm/init_token.py", "--directory", name, "--label", "soak"],
            env=environment, check=True, capture_output=True,
        ).stdout)  # fmt: skip
        place = Path(name) / "run"
        settings = TokenSettings(made["module"], made["token_serial"], None, 20.0, place, made["softhsm_conf"])
        sys.exit(soaked(settings, options.minutes * 60, options.kill_every, options.seed))


def soaked(settings: TokenSettings, seconds: float, kill_every: float, seed: int) -> int:
    """The exit status."""
    soak = Soak([open_token(settings, PIN, Count()) for _ in range(2)], seed)
    tasks: list[Callable[[], None]] = [lambda: kill_some(soak, kill_every)]
    threads = [threading.Thread(target=task) for task in tasks]
    threads += [threading.Thread(target=soak.work, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    time.sleep(seconds)
    soak.stop.set()
    for thread in threads:
        thread.join()
    for store in soak.stores:
        store.close()
    judge = open_token(settings, PIN, Count())
    soak.judge(judge)
    judge.close()
    for what, count in sorted(soak.done.items()):
        print(f"{count:8} {what}")
    print(f"{len(soak.wrong):8} wrong")
    for line in soak.wrong[:20]:
        print(f"         {line}")
    return 1 if soak.wrong else 0


if __name__ == "__main__":
    main()
