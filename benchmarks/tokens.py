"""`python -m benchmarks.tokens`: keys in a SoftHSM token through the key store, against loops of `python-pkcs11` alone.

Both use the same module, in one process of its own each: the store's worker, and for the loops this program run once
more. Callers are threads; in the loops each has its own session, as `python-pkcs11` advises. What the store adds is
the way to the worker and back, the checks, and the processes that wake each other.

Options: --rounds N (default 5), --seconds S for each measurement (default 2).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from kagitori_keystore.algorithms import KeySpec, MessageForm, SigningAlgorithm
from kagitori_keystore.base import Domain
from kagitori_keystore.pkcs11.settings import TokenSettings
from kagitori_keystore.pkcs11.store import Pkcs11KeyStore, open_token

CALLERS = (1, 50)
PIN = "benchmark-pin"
HOME, KEY = Domain("000000000000", "us-east-1"), "1234abcd-12ab-34cd-56ef-1234567890ab"
DIGEST, PLAINTEXT, CONTEXT = bytes(32), bytes(1024), b"context"
NAMES = {"encrypt": "Encrypt 1 KiB", "ecdsa": "ECDSA P-256 sign", "rsa": "RSA-2048 PKCS#1 sign"}
Work = Callable[[], object]


class Count:
    """Starts every material at nothing: a benchmark ends before 2^32."""

    def reserve(self, material_id: str, count: int) -> int:
        return 0


def rate(works: list[Work], seconds: float) -> float:
    """Calls per second of that many threads."""
    done = [0] * len(works)
    start = threading.Barrier(len(works) + 1)
    stop = threading.Event()

    def call(number: int) -> None:
        works[number]()  # opens what is opened once
        start.wait()
        while not stop.is_set():
            works[number]()
            done[number] += 1

    threads = [threading.Thread(target=call, args=(number,)) for number in range(len(works))]
    for thread in threads:
        thread.start()
    start.wait()
    started = time.perf_counter()
    time.sleep(seconds)
    stop.set()
    elapsed = time.perf_counter() - started
    for thread in threads:
        thread.join()
    return sum(done) / elapsed


def through_the_store(store: Pkcs11KeyStore) -> dict[str, Work]:
    """The three uses of keys made in the token."""
    aes, ec, rsa = (
        store.generate(spec, HOME, KEY) for spec in (KeySpec.SYMMETRIC_DEFAULT, KeySpec.ECC_NIST_P256, KeySpec.RSA_2048)
    )
    form = MessageForm.DIGEST
    return {
        "encrypt": lambda: store.encrypt(HOME, KEY, aes, PLAINTEXT, CONTEXT),
        "ecdsa": lambda: store.sign(HOME, KEY, ec, SigningAlgorithm.ECDSA_SHA_256, form, DIGEST),
        "rsa": lambda: store.sign(HOME, KEY, rsa, SigningAlgorithm.RSASSA_PKCS1_V1_5_SHA_256, form, DIGEST),
    }


def straight(module: str, seconds: float) -> dict[str, dict[int, float]]:
    """The same by `python-pkcs11` alone, in this process; only the locking is the store's, without it SoftHSM dies."""
    from pkcs11 import Attribute, GCMParams, KeyType, Mechanism, ObjectClass
    from pkcs11.util.ec import encode_named_curve_parameters

    from kagitori_keystore.pkcs11.loading import Module

    loaded = Module(module, None)
    token = loaded.library.get_token(token_label="benchmark")
    anchor = token.open(rw=True, user_pin=PIN)
    names = {name: f"{name} of {os.getpid()}" for name in ("aes", "ec", "rsa")}  # each round makes its own
    anchor.generate_key(KeyType.AES, 256, label=names["aes"], store=True)
    anchor.generate_keypair(KeyType.RSA, 2048, label=names["rsa"], store=True)
    anchor.create_domain_parameters(
        KeyType.EC, {Attribute.EC_PARAMS: encode_named_curve_parameters("secp256r1")}, local=True
    ).generate_keypair(label=names["ec"], store=True)
    info = bytes.fromhex("3031300d060960864801650304020105000420") + DIGEST

    def works(callers: int) -> dict[str, list[Work]]:
        made: dict[str, list[Work]] = {name: [] for name in NAMES}
        for _ in range(callers):
            session = token.open(rw=True)
            private = ObjectClass.PRIVATE_KEY
            aes = session.get_key(label=names["aes"], object_class=ObjectClass.SECRET_KEY)
            ec, rsa = (session.get_key(label=names[name], object_class=private) for name in ("ec", "rsa"))
            made["encrypt"].append(_encryption(session, aes, Mechanism.AES_GCM, GCMParams))
            made["ecdsa"].append(_signature(ec, DIGEST, Mechanism.ECDSA))
            made["rsa"].append(_signature(rsa, info, Mechanism.RSA_PKCS))
        return made

    results: dict[str, dict[int, float]] = {name: {} for name in NAMES}
    for callers in CALLERS:
        for name, each in works(callers).items():
            results[name][callers] = rate(each, seconds)
    anchor.close()  # not before: its end logs out all others
    return results


def _encryption(session: object, key: object, mechanism: object, parameters: Callable[..., object]) -> Work:
    return lambda: key.encrypt(  # type: ignore[attr-defined]  # python-pkcs11 makes the classes of keys at run time
        PLAINTEXT,
        mechanism=mechanism,
        mechanism_param=parameters(session.generate_random(96), CONTEXT, 128),  # type: ignore[attr-defined]  # as above
    )


def _signature(key: object, message: bytes, mechanism: object) -> Work:
    return lambda: key.sign(message, mechanism=mechanism)  # type: ignore[attr-defined]  # as above


def main() -> None:
    """Measures in rounds, one after the other, and prints medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--straight", metavar="MODULE", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.straight:
        print(json.dumps(straight(options.straight, options.seconds)))
        return
    with tempfile.TemporaryDirectory() as name:
        environment = {**os.environ, "KAGITORI_TOKEN_PIN": PIN, "KAGITORI_TOKEN_SO_PIN": "benchmark-so-pin"}
        made = subprocess.run(
            [sys.executable, "softhsm/init_token.py", "--directory", name, "--label", "benchmark"],
            env=environment, check=True, capture_output=True,
        )  # fmt: skip
        report(json.loads(made.stdout), Path(name), options.rounds, options.seconds)


def report(made: dict[str, str], place: Path, rounds: int, seconds: float) -> None:
    """Prints what each use gives per second, and the ratio."""
    settings = TokenSettings(made["module"], made["token_serial"], None, 60.0, place / "run", made["softhsm_conf"])
    store = open_token(settings, PIN.encode(), Count())
    works = through_the_store(store)
    ours: dict[tuple[str, int], list[float]] = {(name, callers): [] for name in NAMES for callers in CALLERS}
    theirs: dict[tuple[str, int], list[float]] = {key: [] for key in ours}
    for _ in range(rounds):
        alone = subprocess.run(
            [sys.executable, "-m", "benchmarks.tokens", "--seconds", str(seconds), "--straight", made["module"]],
            env={**os.environ, "SOFTHSM2_CONF": made["softhsm_conf"]}, check=True, capture_output=True,
        )  # fmt: skip
        for name, callers in ours:
            ours[name, callers].append(rate([works[name]] * callers, seconds))
            theirs[name, callers].append(json.loads(alone.stdout)[name][str(callers)])
    store.close()
    print(f"{os.cpu_count()} cores, {rounds} rounds of {seconds} s, medians of calls per second\n")
    for name, callers in ours:
        through, straightly = statistics.median(ours[name, callers]), statistics.median(theirs[name, callers])
        print(
            f"{NAMES[name]:22} {callers:2} callers: store {through:7.0f}/s,"
            f" python-pkcs11 alone {straightly:7.0f}/s = {through / straightly:4.2f}"
        )


if __name__ == "__main__":
    main()
