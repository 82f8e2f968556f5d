"""Who gets in at a token and who does not, and that nobody learns the PIN on the way."""

from __future__ import annotations

import os
import resource
import shutil
import stat
import time
from dataclasses import replace
from pathlib import Path

import pytest
from tests.support.failing_modules import Function, failing
from tests.support.keystore_parts import HOME, KEY
from tests.support.tokens import LABEL, PIN, MemoryCounter, Token, fresh_token, gone, run_softhsm, worker_of

from kagitori_keystore.algorithms import KeySpec
from kagitori_keystore.base import ErrorKind, RequestRefused, StoreLost, TooSlow
from kagitori_keystore.pkcs11.client import WorkerClient
from kagitori_keystore.pkcs11.settings import ConnectFault, ConnectRefused, TokenSettings
from kagitori_keystore.pkcs11.store import open_token
from kagitori_keystore.pkcs11.wire import Op

WRONG = b"not the PIN"


@pytest.fixture
def token() -> Token:
    return fresh_token()


def fault_of(settings: TokenSettings, pin: bytes = PIN) -> ConnectFault:
    """Why a token is not opened."""
    with pytest.raises(ConnectRefused) as caught:
        open_token(settings, pin, MemoryCounter()).close()
    assert caught.value.kind is ErrorKind.STORE_LOST
    assert not pin or pin.decode("latin-1") not in str(caught.value)
    return caught.value.fault


def test_a_wrong_pin_is_refused_and_the_right_one_still_works(token: Token) -> None:
    """By the token when it is the first, by the worker when the token is in use already."""
    assert fault_of(token.settings, WRONG) is ConnectFault.PIN_REFUSED
    store = token.open()
    for wrong in (WRONG, b"", PIN + b"x", PIN[:-1]):
        assert fault_of(token.settings, wrong) is ConnectFault.PIN_REFUSED
    store.health()
    store.close()


def test_a_pin_that_is_no_text_is_refused(token: Token) -> None:
    """PKCS#11 PINs are UTF-8."""
    assert fault_of(token.settings, b"\xff\xfe1234") is ConnectFault.PIN_REFUSED


@pytest.mark.parametrize(
    ("code", "fault"),
    [
        ("0xa0", ConnectFault.PIN_REFUSED),
        ("0xa3", ConnectFault.PIN_REFUSED),
        ("0xa4", ConnectFault.PIN_LOCKED),
        ("0x102", ConnectFault.PIN_NOT_SET),
        ("0xe0", ConnectFault.TOKEN_NOT_FOUND),
        ("0x30", ConnectFault.MODULE_FAILED),
        ("0x80000001", ConnectFault.MODULE_FAILED),
    ],
)
def test_what_a_login_answers_decides_the_fault(token: Token, code: str, fault: ConnectFault) -> None:
    """PIN_INCORRECT, PIN_EXPIRED, PIN_LOCKED, USER_PIN_NOT_INITIALIZED, TOKEN_NOT_PRESENT, DEVICE_ERROR, a vendor's."""
    behind = failing(token)
    behind.fail(Function.LOGIN, code)
    assert fault_of(behind.token.settings) is fault


def test_a_pin_that_was_changed_elsewhere_is_tried_once(token: Token) -> None:
    """Three wrong logins lock most tokens: the store that lost its worker does not knock again and again."""
    store = token.open()
    process = worker_of(token)
    elsewhere = token.open(runtime_dir=token.place / "elsewhere")
    elsewhere.change_pin(b"another PIN")
    elsewhere.close()
    os.kill(process, 9)
    assert gone(process)
    for _ in range(3):
        with pytest.raises(ConnectRefused) as caught:
            store.random(8)
        assert caught.value.fault is ConnectFault.PIN_REFUSED
    assert not list(Path("/proc").glob(f"{process}/exe"))
    store.close()
    token.open(pin=b"another PIN").close()


def test_tokens_are_named_by_serial_number_or_label(token: Token) -> None:
    """Both have to fit, and to name one token."""
    serial = next(
        line.split(":")[1].strip()
        for line in run_softhsm(token, "--show-slots").splitlines()
        if line.strip().startswith("Serial number") and line.split(":")[1].strip()
    )
    by_serial = replace(token.settings, token_serial=serial, token_label=None)
    open_token(by_serial, PIN, MemoryCounter()).close()
    assert fault_of(replace(token.settings, token_label="another")) is ConnectFault.TOKEN_NOT_FOUND
    assert fault_of(replace(token.settings, token_serial=serial[:-1])) is ConnectFault.TOKEN_NOT_FOUND
    run_softhsm(token, "--init-token", "--free", "--label", LABEL, "--pin", "5678", "--so-pin", "5678")
    assert fault_of(token.settings) is ConnectFault.TOKEN_AMBIGUOUS
    open_token(by_serial, PIN, MemoryCounter()).close()


@pytest.mark.parametrize("module", ["/nowhere/module.so", "/usr/lib/x86_64-linux-gnu/libc.so.6", __file__])
def test_what_is_no_module_is_told(token: Token, module: str) -> None:
    """A missing file, a library that is no module, a file that is no library."""
    assert fault_of(replace(token.settings, module=module)) is ConnectFault.MODULE_FAILED


def test_a_missing_configuration_is_told(token: Token) -> None:
    """SoftHSM does not start without."""
    settings = replace(token.settings, softhsm_conf=str(token.place / "nowhere.conf"))
    assert fault_of(settings) is ConnectFault.MODULE_FAILED


def test_settings_that_name_nothing_are_refused(token: Token) -> None:
    """No module, no token, no time."""
    for wrong in (
        {"module": ""},
        {"token_label": None},
        {"token_label": ""},
        {"deadline_seconds": 0},
        {"deadline_seconds": -1},
        {"deadline_seconds": 601},
    ):
        with pytest.raises(RequestRefused):
            replace(token.settings, **wrong)


def test_a_folder_that_others_enter_is_refused(token: Token) -> None:
    """They could put a socket of their own there, and be shown keys."""
    runtime = token.settings.runtime_dir
    for mode in (0o755, 0o710, 0o701):
        runtime.mkdir(exist_ok=True)
        runtime.chmod(mode)
        assert fault_of(token.settings) is ConnectFault.WORKER_FAILED
    runtime.rmdir()
    runtime.symlink_to(token.place)
    assert fault_of(token.settings) is ConnectFault.WORKER_FAILED


def test_socket_and_folder_are_private_and_the_pin_is_nowhere(token: Token) -> None:
    """Not in the worker's arguments and environment, not in its files."""
    store = token.open()
    runtime = token.settings.runtime_dir
    assert stat.S_IMODE(runtime.stat().st_mode) == 0o700
    for path in runtime.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    worker = worker_of(token)
    for shown in ("cmdline", "environ"):
        assert PIN not in Path(f"/proc/{worker}/{shown}").read_bytes()
    assert PIN.decode() not in repr(store) + repr(token.settings)
    assert not any(PIN in path.read_bytes() for path in token.place.rglob("*") if path.is_file())
    store.close()


def test_a_folder_with_a_long_name_serves(token: Token) -> None:
    """The path of a socket has at most 107 bytes, that of a folder 4,095."""
    store = token.open(runtime_dir=token.place / ("long" * 30) / ("name" * 30))
    store.health()
    store.close()


def test_a_folder_that_goes_away_is_told(token: Token) -> None:
    """As a loss of the store, which is over when the folder is back."""
    store = token.open()
    worker = worker_of(token)
    shutil.rmtree(token.settings.runtime_dir)
    store.health()
    os.kill(worker, 9)
    assert gone(worker)
    with pytest.raises(StoreLost):
        store.health()
    token.settings.runtime_dir.mkdir(mode=0o700)
    time.sleep(0.2)
    store.health()
    store.close()


def test_a_server_with_many_open_files_connects(token: Token) -> None:
    """Descriptors beyond 1,024 are none that select(2) takes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 2048:
        pytest.skip(f"this machine allows {hard} open files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (2048, hard))
    opened = [os.open(os.devnull, os.O_RDONLY) for _ in range(1100)]
    try:
        store = token.open()
        for _ in range(2):
            store.health()
        store.close()
    finally:
        for descriptor in opened:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_the_worker_ends_with_its_last_client(token: Token) -> None:
    """And serves all before."""
    first, second = token.open(), token.open()
    worker = worker_of(token)
    first.close()
    second.health()
    assert worker_of(token) == worker
    second.close()
    assert gone(worker)


def test_a_changed_pin_is_asked_of_the_next_one(token: Token) -> None:
    """The token takes it, those who are connected stay, who comes later needs the new one."""
    first, second = token.open(), token.open()
    first.change_pin(b"a new PIN of the user")
    ref = second.generate(KeySpec.HMAC_256, HOME, KEY)
    assert fault_of(token.settings) is ConnectFault.PIN_REFUSED
    worker = worker_of(token)
    os.kill(worker, 9)
    assert gone(worker)
    with pytest.raises(StoreLost):
        second.health()
    second.close()
    assert first.generate_mac(HOME, KEY, ref, b"m")
    first.close()
    assert fault_of(token.settings) is ConnectFault.PIN_REFUSED
    token.open(pin=b"a new PIN of the user").close()


@pytest.mark.parametrize("pin", [b"", b"123", b"x" * 256, b"\xff\xff\xff\xff"])
def test_a_pin_that_the_token_does_not_take_changes_nothing(token: Token, pin: bytes) -> None:
    """Too short, too long, no text."""
    store = token.open()
    with pytest.raises(RequestRefused):
        store.change_pin(pin)
    store.close()
    token.open().close()


def test_a_call_whose_time_is_over_does_not_wait_for_a_worker_that_is_being_started(token: Token) -> None:
    """As one that has waited for its place for all of its time."""
    client = WorkerClient(token.settings, PIN)
    with client._lock, pytest.raises(TooSlow):
        client.call(Op.RANDOM, -0.5, b"\x00\x00\x00\x20")
    client.close()
