"""A token that is taken away, damaged, stuck or overfull, and a worker that dies: what callers get, and recovery."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest
from tests.support.failing_modules import FailingToken, Function, failing
from tests.support.keystore_contract import LOST, refused
from tests.support.keystore_parts import HOME, KEY
from tests.support.tokens import Token, fresh_token, gone, kill_worker, worker_of

from kagitori_keystore.algorithms import KeySpec, MessageForm, SigningAlgorithm
from kagitori_keystore.base import (
    CiphertextInvalid,
    ErrorKind,
    KeyStoreError,
    MaterialCorrupt,
    MaterialRef,
    RequestRefused,
    SessionLost,
    TooSlow,
)
from kagitori_keystore.ciphertext import parse
from kagitori_keystore.pkcs11.settings import ConnectFault, ConnectRefused
from kagitori_keystore.pkcs11.store import Pkcs11KeyStore

AES, MESSAGE, CONTEXT = KeySpec.SYMMETRIC_DEFAULT, b"a message", b"a context"


@pytest.fixture
def token() -> Token:
    return fresh_token()


@pytest.fixture
def store(token: Token) -> Iterator[Pkcs11KeyStore]:
    store = token.open()
    yield store
    store.close()


@pytest.fixture
def behind(token: Token) -> FailingToken:
    return failing(token)


@pytest.fixture
def failing_store(behind: FailingToken) -> Iterator[Pkcs11KeyStore]:
    store = behind.token.open(deadline_seconds=3.0)
    yield store
    store.close()


def until_served(call: Callable[[], object], seconds: float = 15.0) -> None:
    """Calls until it is served again; every failure before is a loss of the store."""
    until = time.monotonic() + seconds
    while True:
        try:
            call()
        except KeyStoreError as error:
            if error.kind not in LOST or time.monotonic() > until:
                raise
            time.sleep(0.05)
        else:
            return


def encrypt(store: Pkcs11KeyStore, ref: MaterialRef) -> bytes:
    return store.encrypt(HOME, KEY, ref, MESSAGE, CONTEXT)


def test_a_token_that_is_taken_away_is_lost_until_it_is_back(token: Token, store: Pkcs11KeyStore) -> None:
    """Every call says so, none says that the key or the ciphertext is at fault; afterwards all is as it was."""
    ref = store.generate(AES, HOME, KEY)
    blob = parse(encrypt(store, ref))
    folder = token.folder
    away = token.place / "away"
    folder.rename(away)
    for call in (
        partial(encrypt, store, ref),
        partial(store.decrypt, HOME, KEY, ref, blob, CONTEXT),
        partial(store.generate, AES, HOME, KEY),
        partial(store.destroy, ref),
        store.health,
        partial(store.random, 8),
    ):
        assert refused(LOST, call).kind is not ErrorKind.KEY
    away.rename(folder)
    until_served(partial(encrypt, store, ref))
    assert store.decrypt(HOME, KEY, ref, blob, CONTEXT) == MESSAGE


def test_a_truncated_token_file_is_told_and_healed_by_a_copy(token: Token) -> None:
    """SoftHSM truncates and rewrites token.object at each login: power lost at that moment loses it."""
    store = token.open()
    ref = store.generate(AES, HOME, KEY)
    file = token.folder / "token.object"
    copy = file.read_bytes()
    store.close()
    kill_worker(token)
    for damaged in (b"", copy[:100]):
        file.write_bytes(damaged)
        with pytest.raises(ConnectRefused) as caught:
            token.open()
        assert caught.value.fault in (ConnectFault.TOKEN_NOT_FOUND, ConnectFault.PIN_NOT_SET)
    file.write_bytes(copy)
    store = token.open()
    encrypt(store, ref)
    store.close()


@pytest.mark.parametrize("spec", [AES, KeySpec.HMAC_256, KeySpec.ECC_NIST_P256], ids=lambda spec: spec.name)
def test_a_flipped_bit_never_computes_with_another_key(token: Token, spec: KeySpec) -> None:
    """At every byte of the key's file: the key works as before, or the failure is told."""
    store = token.open()
    before = token.key_files()
    ref = store.generate(spec, HOME, KEY)
    (file,) = token.key_files() - before
    right = use(store, ref)
    store.close()
    content = file.read_bytes()
    outcomes = []
    store = token.open()
    for at in range(5, len(content), 53):
        damaged = bytearray(content)
        damaged[at] ^= 1 << (at % 8)
        file.write_bytes(damaged)
        kill_worker(token)
        outcomes.append(outcome(store, ref, right))
    file.write_bytes(content)
    kill_worker(token)
    until_served(lambda: use(store, ref))
    store.close()
    assert "told" in outcomes
    assert set(outcomes) <= {"unharmed", "told"}


def use(store: Pkcs11KeyStore, ref: MaterialRef) -> object:
    """Something that this key alone gives."""
    spec = KeySpec(next(spec for spec in KeySpec if spec.code == ref.reference[1]))
    if spec is AES:
        return store.decrypt(HOME, KEY, ref, parse(encrypt(store, ref)), CONTEXT)
    if spec is KeySpec.HMAC_256:
        return store.generate_mac(HOME, KEY, ref, MESSAGE)
    algorithm, form = SigningAlgorithm.ECDSA_SHA_256, MessageForm.RAW
    signature = store.sign(HOME, KEY, ref, algorithm, form, MESSAGE)
    return store.verify(HOME, KEY, ref, algorithm, form, MESSAGE, signature)


def outcome(store: Pkcs11KeyStore, ref: MaterialRef, right: object) -> str:
    """Uses a key that may be damaged, with time for a worker that has to be started again."""
    for _ in range(3):
        try:
            return "unharmed" if use(store, ref) == right else "another key"
        except SessionLost:
            continue
        except KeyStoreError as error:
            return "told" if error.kind in LOST | {ErrorKind.KEY} else repr(error)
    return "told"


def test_a_killed_worker_costs_the_calls_in_flight_alone(token: Token, store: Pkcs11KeyStore) -> None:
    """Amid the making of keys; every key whose call returned is there and works."""
    made: list[MaterialRef] = []
    stop = threading.Event()

    def make() -> None:
        while not stop.is_set():
            try:
                made.append(store.generate(AES, HOME, KEY))
            except KeyStoreError as error:
                if error.kind not in LOST:
                    raise

    with ThreadPoolExecutor(3) as pool:
        making = [pool.submit(make) for _ in range(3)]
        for _ in range(3):
            time.sleep(0.3)
            kill_worker(token)
            until_served(store.health)
        stop.set()
        for each in making:
            each.result()
    assert len(made) > 3
    for ref in made:
        assert use(store, ref) == MESSAGE


@pytest.mark.parametrize("action", ["crash", "exit"])
def test_a_module_that_ends_the_process_costs_its_calls_alone(
    behind: FailingToken, failing_store: Pkcs11KeyStore, action: str
) -> None:
    """SIGSEGV, or exit(5) as SoftHSM has it for what it did not expect."""
    ref = failing_store.generate(AES, HOME, KEY)
    mac = failing_store.generate(KeySpec.HMAC_256, HOME, KEY)
    encrypt(failing_store, ref)
    behind.fail(Function.ENCRYPT, action)
    for _ in range(2):
        refused({ErrorKind.SESSION_LOST}, partial(encrypt, failing_store, ref))
    assert failing_store.random(8)
    until_served(partial(failing_store.generate_mac, HOME, KEY, mac, MESSAGE))
    behind.recover()
    until_served(partial(encrypt, failing_store, ref))


def test_a_module_that_hangs_is_too_slow_and_replaced(behind: FailingToken, failing_store: Pkcs11KeyStore) -> None:
    """Within its deadline and a little; the next call gets another worker."""
    ref = failing_store.generate(AES, HOME, KEY)
    encrypt(failing_store, ref)
    worker = worker_of(behind.token)
    behind.fail(Function.ENCRYPT, "hang")
    started = time.monotonic()
    assert isinstance(refused({ErrorKind.TOO_SLOW}, partial(encrypt, failing_store, ref)), TooSlow)
    assert 2.9 < time.monotonic() - started < 6
    assert gone(worker)
    behind.recover()
    until_served(partial(encrypt, failing_store, ref))
    assert worker_of(behind.token) != worker


def stands_still(process: int) -> bool:
    """Whether every thread of a process is stopped."""
    tasks = Path(f"/proc/{process}/task").iterdir()
    return all(task.joinpath("stat").read_text().rpartition(")")[2].split()[0] == "T" for task in tasks)


def test_a_stopped_worker_is_too_slow_and_replaced(behind: FailingToken, failing_store: Pkcs11KeyStore) -> None:
    """As if the machine had swapped it out: nothing in it can say so."""
    ref = failing_store.generate(AES, HOME, KEY)
    worker = worker_of(behind.token)
    os.kill(worker, signal.SIGSTOP)
    until = time.monotonic() + 5
    while not stands_still(worker):  # the signal is on its way: on a busy machine, threads may still serve a call
        assert time.monotonic() < until
    refused({ErrorKind.TOO_SLOW}, partial(encrypt, failing_store, ref))
    assert gone(worker)
    until_served(partial(encrypt, failing_store, ref))


def test_a_module_that_hangs_at_the_login_is_too_slow(behind: FailingToken) -> None:
    """And does not keep who comes later from starting."""
    behind.fail(Function.LOGIN, "hang")
    with pytest.raises(ConnectRefused) as caught:
        behind.token.open(start_seconds=2.0)
    assert caught.value.fault is ConnectFault.TOO_SLOW
    behind.recover()
    behind.token.open().close()


@pytest.mark.parametrize(
    ("code", "kinds"),
    [
        ("0x30", LOST),  # CKR_DEVICE_ERROR
        ("0x31", LOST),  # CKR_DEVICE_MEMORY
        ("0x32", LOST),  # CKR_DEVICE_REMOVED
        ("0x101", LOST),  # CKR_USER_NOT_LOGGED_IN
        ("0xb3", LOST),  # CKR_SESSION_HANDLE_INVALID
        ("0x5", LOST),  # CKR_GENERAL_ERROR
        ("0x6", LOST),  # CKR_FUNCTION_FAILED
        ("0x80000123", LOST),  # a vendor's
        ("0x1b", LOST),  # CKR_ACTION_PROHIBITED, of which python-pkcs11 knows nothing
        ("0x70", {ErrorKind.CALLER}),  # CKR_MECHANISM_INVALID
        ("0x71", {ErrorKind.CALLER}),  # CKR_MECHANISM_PARAM_INVALID
        ("0x7", {ErrorKind.CALLER}),  # CKR_ARGUMENTS_BAD
    ],
)
def test_what_the_module_answers_decides_who_is_at_fault(
    behind: FailingToken, failing_store: Pkcs11KeyStore, code: str, kinds: set[ErrorKind]
) -> None:
    """And when the fault is over, the same store serves."""
    ref = failing_store.generate(AES, HOME, KEY)
    encrypt(failing_store, ref)
    behind.fail(Function.ENCRYPT_INIT, code)
    error = refused(kinds, partial(encrypt, failing_store, ref))
    assert not isinstance(error, CiphertextInvalid)
    behind.recover()
    until_served(partial(encrypt, failing_store, ref))


@pytest.mark.parametrize("code", ["0xb3", "0xb0", "0x82", "0x60"])
def test_one_dead_session_or_handle_is_replaced_unnoticed(
    behind: FailingToken, failing_store: Pkcs11KeyStore, code: str
) -> None:
    """SESSION_HANDLE_INVALID, SESSION_CLOSED, OBJECT_HANDLE_INVALID, KEY_HANDLE_INVALID: the key is found again."""
    mac = failing_store.generate(KeySpec.HMAC_256, HOME, KEY)
    aes = failing_store.generate(AES, HOME, KEY)
    encrypt(failing_store, aes)

    def heal() -> None:
        time.sleep(0.002)
        behind.recover()

    served = 0
    for _ in range(20):
        behind.fail(Function.ENCRYPT, code)
        healing = threading.Thread(target=heal)
        healing.start()
        try:
            encrypt(failing_store, aes)
            served += 1
        except KeyStoreError as error:
            if error.kind not in LOST | {ErrorKind.KEY}:  # as long as the order was still there at the second try
                raise
        healing.join()
    # The last fault may have ended the worker.
    until_served(partial(encrypt, failing_store, aes))
    failing_store.generate_mac(HOME, KEY, mac, MESSAGE)


def test_a_broken_decryption_is_not_blamed_on_the_ciphertext(
    behind: FailingToken, failing_store: Pkcs11KeyStore
) -> None:
    """GENERAL_ERROR is what SoftHSM says of a wrong tag: a known block tells the difference."""
    ref = failing_store.generate(AES, HOME, KEY)
    blob = parse(encrypt(failing_store, ref))
    behind.fail(Function.DECRYPT_INIT, "0x5")
    error = refused({ErrorKind.KEY}, partial(failing_store.decrypt, HOME, KEY, ref, blob, CONTEXT))
    assert isinstance(error, MaterialCorrupt)
    behind.recover()
    assert failing_store.decrypt(HOME, KEY, ref, blob, CONTEXT) == MESSAGE
    refused({ErrorKind.CALLER}, partial(failing_store.decrypt, HOME, KEY, ref, blob, b"another"))


def test_a_key_that_another_machine_destroyed_is_unknown(token: Token, store: Pkcs11KeyStore) -> None:
    """Whose handle this worker still holds."""
    ref, other = store.generate(AES, HOME, KEY), store.generate(AES, HOME, KEY)
    encrypt(store, ref)
    elsewhere = token.open(runtime_dir=token.place / "elsewhere")
    elsewhere.destroy(ref)
    elsewhere.close()
    refused({ErrorKind.KEY}, partial(encrypt, store, ref))
    encrypt(store, other)


def test_two_clients_of_one_token_share_a_worker_and_its_keys(token: Token) -> None:
    """As two server processes do; and one may leave."""
    first, second = token.open(), token.open()
    ref = first.generate(AES, HOME, KEY)
    blob = parse(encrypt(first, ref))
    assert second.decrypt(HOME, KEY, ref, blob, CONTEXT) == MESSAGE
    start = threading.Barrier(8)

    def work(number: int) -> None:
        mine = (first, second)[number % 2]
        start.wait()
        for _ in range(10):
            made = mine.generate(KeySpec.HMAC_256, HOME, KEY)
            mine.generate_mac(HOME, KEY, made, MESSAGE)
            assert mine.decrypt(HOME, KEY, ref, blob, CONTEXT) == MESSAGE
            mine.destroy(made)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    first.close()
    assert second.decrypt(HOME, KEY, ref, blob, CONTEXT) == MESSAGE
    second.destroy(ref)
    second.close()


def test_two_workers_on_one_token_see_each_others_keys(token: Token) -> None:
    """As two machines with one network HSM do; references of either serve both."""
    here = token.open()
    there = token.open(runtime_dir=token.place / "elsewhere")
    for mine, theirs in ((here, there), (there, here)):
        ref = mine.generate(AES, HOME, KEY)
        assert theirs.decrypt(HOME, KEY, ref, parse(encrypt(mine, ref)), CONTEXT) == MESSAGE
    here.close()
    there.close()


def test_a_token_full_of_objects_still_serves(token: Token, store: Pkcs11KeyStore) -> None:
    """A search of SoftHSM goes through all objects; keys in use are not searched for."""
    refs = [store.generate(KeySpec.HMAC_256, HOME, KEY) for _ in range(1100)]
    assert len({found.id for found in store.objects()}) == len(refs)
    assert {found.spec for found in store.objects()} == {KeySpec.HMAC_256}
    kill_worker(token)
    until_served(store.health)
    started = time.monotonic()
    store.generate_mac(HOME, KEY, refs[0], MESSAGE)
    first = time.monotonic() - started
    started = time.monotonic()
    for _ in range(50):
        store.generate_mac(HOME, KEY, refs[0], MESSAGE)
    assert (time.monotonic() - started) / 50 < first
    assert first < 5
    store.destroy(refs[0])
    refused({ErrorKind.KEY}, partial(store.generate_mac, HOME, KEY, refs[0], MESSAGE))


def test_slow_searches_are_told_in_time_and_the_worker_lives(token: Token) -> None:
    """Who waits for the catalogue longer than the deadline is told so; nobody is killed for being busy."""
    store = token.open(deadline_seconds=0.4)
    store.generate(KeySpec.HMAC_256, HOME, KEY)
    worker = worker_of(token)
    with ThreadPoolExecutor(2) as pool:
        # 12 times the deadline for making keys: this one holds the catalogue's lock meanwhile.
        long = pool.submit(store.generate, KeySpec.RSA_4096, HOME, KEY)
        time.sleep(0.05)
        outcomes = [pool.submit(store.health) for _ in range(3)]
        for each in outcomes:
            error = each.exception()
            assert error is None or isinstance(error, TooSlow)
        error = long.exception()
        assert error is None or isinstance(error, TooSlow)
    if error is None:
        assert worker_of(token) == worker
    store.close()


class SpentCounter:
    """A counter that has given out all uses of a material, or fails."""

    def __init__(self, first: int | None) -> None:
        self._first = first

    def reserve(self, material_id: str, count: int) -> int:
        assert len(material_id) == 64
        if self._first is None:
            raise ConnectionError("the database went away")
        self._first += count
        return self._first - count


def test_uses_are_counted_and_end(token: Token) -> None:
    """At 2^32 encryptions with random IVs; what can't be counted is not done; decryption goes on."""
    spent = token.open(SpentCounter(2**32 - 4096))  # type: ignore[arg-type]  # a UseCounter of another kind
    ref = spent.generate(AES, HOME, KEY)
    blob = parse(encrypt(spent, ref))
    spent.close()
    for counter, kind in ((SpentCounter(2**32 - 4095), ErrorKind.CALLER), (SpentCounter(None), ErrorKind.STORE_LOST)):
        store = token.open(counter)  # type: ignore[arg-type]  # a UseCounter of another kind
        for call in (
            partial(encrypt, store, ref),
            partial(store.generate_data_key, HOME, KEY, ref, 32, CONTEXT),
            partial(store.generate_data_key_without_plaintext, HOME, KEY, ref, 32, CONTEXT),
        ):
            error = refused({kind}, call)
            assert kind is not ErrorKind.CALLER or isinstance(error, RequestRefused)
        assert store.decrypt(HOME, KEY, ref, blob, CONTEXT) == MESSAGE
        store.close()
