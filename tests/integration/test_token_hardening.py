"""What keys in a token can't do, what others can't plant there, and what a worker keeps from others."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.support.failing_modules import FailingToken, Function, failing
from tests.support.keystore_parts import HOME, KEY
from tests.support.tokens import LABEL, PIN, Token, fresh_token, kill_worker, worker_of

from kagitori_keystore.algorithms import KeySpec
from kagitori_keystore.base import SessionLost, StoreLost
from kagitori_keystore.ciphertext import parse
from kagitori_keystore.pkcs11.client import WorkerClient
from kagitori_keystore.pkcs11.references import decode
from kagitori_keystore.pkcs11.settings import ConnectRefused
from kagitori_keystore.pkcs11.store import Pkcs11KeyStore

AES = KeySpec.SYMMETRIC_DEFAULT
SPECS = (AES, KeySpec.HMAC_256, KeySpec.RSA_2048, KeySpec.ECC_NIST_P256, KeySpec.ECC_NIST_EDWARDS25519)

_PLANT = """
import hashlib, hmac, os, pkcs11
from pkcs11 import Attribute, KeyType, ObjectClass
token = pkcs11.lib(os.environ["MODULE"]).get_token(token_label=os.environ["LABEL"])
number, name = 0, b""
while not name or name[0] >= int(os.environ["BELOW"]):
    number += 1
    value = number.to_bytes(32)
    name = hmac.digest(value, b"kagitori pkcs11 binding key v1\\0", "sha256")[:16]
pin = os.environ.get("PIN")
named = bytes.fromhex(os.environ["ID"]) or name
with token.open(rw=True, **({"user_pin": pin} if pin else {})) as session:
    common = {
        Attribute.CLASS: ObjectClass.SECRET_KEY, Attribute.TOKEN: True, Attribute.PRIVATE: bool(pin),
        Attribute.VALUE: value, Attribute.ID: named, Attribute.SENSITIVE: False, Attribute.EXTRACTABLE: True,
    }
    session.create_object({
        **common, Attribute.KEY_TYPE: KeyType.AES if os.environ["ID"] else KeyType.GENERIC_SECRET,
        Attribute.LABEL: "kagitori planted" if os.environ["ID"] else "kagitori-binding",
        Attribute.SIGN: not os.environ["ID"], Attribute.VERIFY: not os.environ["ID"],
        Attribute.ENCRYPT: bool(os.environ["ID"]), Attribute.DECRYPT: bool(os.environ["ID"]),
    })
print(name.hex())
"""
_LOOK = """
import os, pkcs11
from pkcs11 import Attribute, ObjectClass
token = pkcs11.lib(os.environ["MODULE"]).get_token(token_label=os.environ["LABEL"])
with token.open(user_pin=os.environ["PIN"]) as session:
    keys = [
        key for kind in (ObjectClass.SECRET_KEY, ObjectClass.PRIVATE_KEY)
        for key in list(session.get_objects({Attribute.CLASS: kind}))
    ]
    for key in keys:
        assert [key[name] for name in (
            Attribute.SENSITIVE, Attribute.ALWAYS_SENSITIVE, Attribute.EXTRACTABLE, Attribute.NEVER_EXTRACTABLE,
            Attribute.PRIVATE, Attribute.LOCAL, Attribute.UNWRAP,
        )] == [True, True, False, True, True, True, False], key
        if key.object_class is ObjectClass.SECRET_KEY:
            assert not key[Attribute.WRAP] and not key[Attribute.DERIVE]
        name = {"RSA": Attribute.PRIVATE_EXPONENT}.get(key.key_type.name, Attribute.VALUE)
        try:
            key[name]
        except pkcs11.PKCS11Error:
            continue
        raise SystemExit(f"{key} shows its value")
    print(len(keys))
"""


def run(program: str, token: Token, **given: str) -> str:
    """Another program of this machine that uses the token."""
    environment = {
        **os.environ, "SOFTHSM2_CONF": str(token.settings.softhsm_conf), "MODULE": token.settings.module,
        "LABEL": LABEL, **given,
    }
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, env=environment, stdout=subprocess.PIPE, text=True
    )
    return done.stdout.strip()


@pytest.fixture
def token() -> Token:
    return fresh_token()


@pytest.fixture
def behind(token: Token) -> Iterator[FailingToken]:
    """A module that lies on order."""
    found = failing(token)
    yield found
    found.recover()


def works(store: Pkcs11KeyStore, ref_owner: str = KEY) -> None:
    """A key is made and used."""
    ref = store.generate(AES, HOME, ref_owner)
    blob = store.encrypt(HOME, ref_owner, ref, b"data", b"")
    assert store.decrypt(HOME, ref_owner, ref, parse(blob), b"") == b"data"


def test_no_key_leaves_the_token_or_takes_others_out(token: Token) -> None:
    """Of each family and the binding key: by their attributes, and nobody reads a value with the PIN either."""
    store = token.open()
    for spec in SPECS:
        store.generate(spec, HOME, KEY)
    assert run(_LOOK, token, PIN=PIN.decode()) == str(len(SPECS) + 1)
    store.close()


@pytest.mark.parametrize("pin", ["", PIN.decode()], ids=["without the PIN", "extractable"])
def test_a_binding_key_whose_value_others_know_is_not_used(token: Token, pin: str) -> None:
    """Whoever reaches the token can make public objects there, and so a key under a name that would come first."""
    first = token.open()
    old = first.generate(AES, HOME, KEY)
    first.close()
    kill_worker(token)
    below = decode(old.reference).binder_id[0]
    planted = run(_PLANT, token, BELOW=str(max(below, 1)), ID="", PIN=pin)
    store = token.open()
    new = store.generate(AES, HOME, KEY)
    assert decode(new.reference).binder_id == decode(old.reference).binder_id
    assert decode(new.reference).binder_id.hex() != planted
    store.encrypt(HOME, KEY, old, b"data", b"")
    store.close()


def test_an_object_that_others_plant_does_not_stand_beside_a_key(token: Token) -> None:
    """One of the same id, made without the PIN: the key is used and destroyed as if it weren't there."""
    store = token.open()
    ref = store.generate(AES, HOME, KEY)
    blob = store.encrypt(HOME, KEY, ref, b"data", b"")
    store.close()
    kill_worker(token)
    run(_PLANT, token, BELOW="256", ID=decode(ref.reference).object_id.hex())
    again = token.open()
    assert again.decrypt(HOME, KEY, ref, parse(blob), b"") == b"data"
    before = token.key_files()
    again.destroy(ref)
    assert len(before - token.key_files()) == 1
    again.close()


@pytest.mark.parametrize(
    ("spec", "lie"),
    [(AES, "extractable"), (AES, "legible"), (AES, "visible"), (KeySpec.HMAC_256, "extractable"),
     (KeySpec.ECC_NIST_P256, "extractable"), (KeySpec.ECC_NIST_P256, "garbled"),
     (KeySpec.ECC_NIST_EDWARDS25519, "garbled")],
)
def test_keys_that_are_not_as_asked_are_not_kept(behind: FailingToken, spec: KeySpec, lie: str) -> None:
    """A token that makes them so is refused with, and holds nothing of them."""
    store = behind.token.open()
    works(store)
    before = behind.token.key_files()
    behind.fail(Function.GET_ATTRIBUTE_VALUE, lie)
    with pytest.raises(StoreLost, match="the token made a"):
        store.generate(spec, HOME, KEY)
    behind.recover()
    assert behind.token.key_files() == before
    works(store)
    store.close()


def test_a_token_without_hard_binding_keys_is_refused(behind: FailingToken) -> None:
    """It isn't connected at all."""
    behind.fail(Function.GET_ATTRIBUTE_VALUE, "extractable")
    with pytest.raises(ConnectRefused):
        behind.token.open()
    assert not behind.token.key_files()


def test_modules_in_the_current_folder_are_not_run(
    token: Token, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the process that is told the PIN, wherever the server was started."""
    for name in ("json.py", "pkcs11.py", "resource.py"):
        (tmp_path / name).write_text(f"open({str(tmp_path / 'was-run')!r}, 'w').close()\n")
    parts = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(str(Path(part).absolute()) for part in parts if part))
    monkeypatch.chdir(tmp_path)
    store = token.open()
    works(store)
    store.close()
    assert not (tmp_path / "was-run").exists()


def test_a_worker_leaves_no_dumps_and_shows_its_memory_to_nobody() -> None:
    """PR_GET_DUMPABLE (3) of a process that has done as workers do first."""
    program = (
        "import ctypes, resource; from kagitori_keystore.pkcs11 import worker; worker._harden();"
        "print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0), resource.getrlimit(resource.RLIMIT_CORE))"
    )
    done = subprocess.run([sys.executable, "-c", program], check=True, stdout=subprocess.PIPE, text=True)
    assert done.stdout == "0 (0, 0)\n"


def workers_begin_with(statement: str, token: Token, monkeypatch: pytest.MonkeyPatch) -> None:
    """Has the workers that are started run this before all else."""
    program = f"{statement}; from kagitori_keystore.pkcs11 import worker; worker.main()"
    shim = token.place / "python"
    shim.write_text(f"#!/bin/sh\nexec {sys.executable} -P -c '{program}'\n")
    shim.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(shim))


def test_a_worker_does_that_first(token: Token, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that a server has started, whatever the server's own limits are."""
    hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
    raised = f"import resource; resource.setrlimit(resource.RLIMIT_CORE, ({hard}, {hard}))"
    workers_begin_with(raised, token, monkeypatch)
    store = token.open()
    works(store)
    limits = Path(f"/proc/{worker_of(token)}/limits").read_text().splitlines()
    assert [line.split()[4:6] for line in limits if line.startswith("Max core file size")] == [["0", "0"]]
    store.close()


@pytest.mark.parametrize("unlimited", [False, True])
def test_a_worker_locks_its_memory_where_it_may_lock_all(unlimited: bool) -> None:
    """Under a limit it locks nothing, for a later allocation could fail; where the system refuses, it says so."""
    limit = "(resource.RLIM_INFINITY,) * 2" if unlimited else "(8 << 20, 8 << 20)"
    program = (
        "import resource; from kagitori_keystore.pkcs11 import worker;"
        f"resource.getrlimit = lambda _: {limit}; worker._harden();"
        "print(next(line for line in open('/proc/self/status') if line.startswith('VmLck')).split()[1])"
    )
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", program], check=True, capture_output=True, text=True)
    assert (int(done.stdout) > 0) is (unlimited and not done.stderr)
    assert done.stderr in ("", "a token's worker could not lock its memory\n" if unlimited else "")


def test_a_worker_of_another_user_is_told_nothing(token: Token, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever listens there would get a proof of the PIN to guess it by, and then all plaintexts."""
    store = token.open()
    works(store)
    client = WorkerClient(replace(token.settings, start_seconds=1.0), PIN)
    ours = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: ours + 1)
    with pytest.raises(SessionLost):
        client.hello()
    monkeypatch.undo()
    client.hello()
    client.close()
    store.close()


def test_a_worker_serves_its_own_user_alone(token: Token, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever else reaches its socket, and were it with the PIN."""
    workers_begin_with("import os; ours = os.geteuid(); os.geteuid = lambda: ours + 1", token, monkeypatch)
    with pytest.raises(StoreLost):
        token.open(start_seconds=2.0)
    monkeypatch.undo()
    store = token.open()
    works(store)
    store.close()


@pytest.mark.parametrize("part", ["modulus", "public-exponent"])
def test_rsa_keys_of_another_size_or_exponent_are_not_kept(behind: FailingToken, part: str) -> None:
    """A token that makes weaker ones than asked."""
    store = behind.token.open()
    works(store)
    before = behind.token.key_files()
    behind.fail(Function.GET_ATTRIBUTE_VALUE, part)
    with pytest.raises(StoreLost, match="the token made another RSA key than asked"):
        store.generate(KeySpec.RSA_2048, HOME, KEY)
    behind.recover()
    assert behind.token.key_files() == before
    works(store)
    store.close()


def test_what_a_module_answers_against_all_rules_costs_one_call(
    behind: FailingToken, capfd: pytest.CaptureFixture[str]
) -> None:
    """The worker goes on, and its report of what happened shows no text that the module gave."""
    store = behind.token.open()
    ref = store.generate(AES, HOME, KEY)
    kill_worker(behind.token)
    works(store)
    worker = worker_of(behind.token)
    behind.fail(Function.GET_ATTRIBUTE_VALUE, "kind")
    with pytest.raises(StoreLost, match=r"^the token failed$"):
        store.encrypt(HOME, KEY, ref, b"data", b"")
    behind.recover()
    store.encrypt(HOME, KEY, ref, b"data", b"")
    assert worker_of(behind.token) == worker
    said = capfd.readouterr().err
    assert "a token's worker failed at CHECK: " in said
    assert "2147483647" not in said
    store.close()
