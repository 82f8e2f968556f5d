"""The libcrypto that serves ML-KEM-512: what it computes, which libraries are refused, threads and memory."""

from __future__ import annotations

import copy
import gc
import os
import pickle
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import pytest
from tests.support.fips203 import encapsulate
from tests.support.ml_kem_512 import carried, libcrypto
from tests.support.published_vectors import records

from kagitori_keystore.software.libcrypto import LibCrypto, LibCryptoUnusable

SEED = bytes(range(64))


def test_the_peer_of_the_tests_computes_what_was_published() -> None:
    """It is what the library is held against elsewhere."""
    for _, case in islice(records("asymmetric", "MLKEM", "kat_MLKEM_512.rsp", last="ss"), 20):
        given = {name: bytes.fromhex(case[name]) for name in ("pk", "msg", "ct", "ss")}
        assert encapsulate(given["pk"], given["msg"]) == (given["ss"], given["ct"])


def test_every_published_vector() -> None:
    """Public keys from seeds, secrets, secrets of implicit rejection: all thousand."""
    done = 0
    for _, case in records("asymmetric", "MLKEM", "kat_MLKEM_512.rsp", last="ss"):
        given = {name: bytes.fromhex(case[name]) for name in ("d", "z", "pk", "ct", "ss", "ct_n", "ss_n")}
        key = libcrypto().open_ml_kem_512(given["d"] + given["z"])
        assert key.public_bytes() == given["pk"]
        assert key.decapsulate(given["ct"]) == given["ss"]
        assert key.decapsulate(given["ct_n"]) == given["ss_n"]
        done += 1
    assert done == 1000


def test_both_directions_with_a_peer_that_is_not_openssl() -> None:
    for _ in range(20):
        key = libcrypto().open_ml_kem_512(os.urandom(64))
        secret, ciphertext = encapsulate(key.public_bytes())
        assert key.decapsulate(ciphertext) == secret
        assert key.decapsulate(key.encapsulate()[1]) != secret


def test_encapsulations_are_fresh() -> None:
    key = libcrypto().open_ml_kem_512(SEED)
    made = [key.encapsulate() for _ in range(50)]
    assert len({secret for secret, _ in made}) == len({ciphertext for _, ciphertext in made}) == 50
    assert all(key.decapsulate(ciphertext) == secret for secret, ciphertext in made)


@pytest.mark.parametrize("size", [0, 1, 767, 769, 1088, 1568])
def test_ciphertexts_of_another_length_are_refused(size: int) -> None:
    """Before the library sees them: it would read beyond a shorter one."""
    with pytest.raises(ValueError, match=r"^a ciphertext has 768 bytes$"):
        libcrypto().open_ml_kem_512(SEED).decapsulate(bytes(size))


@pytest.mark.parametrize("size", [0, 32, 63, 65, 1632])
def test_seeds_of_another_length_are_refused(size: int) -> None:
    with pytest.raises(ValueError, match=r"^a seed has 64 bytes$"):
        libcrypto().open_ml_kem_512(bytes(size))


def test_opened_keys_show_nothing_and_keep_their_seed_to_themselves() -> None:
    """The buffer of the seed may be overwritten at once."""
    seed = bytearray(SEED)
    key = libcrypto().open_ml_kem_512(seed)
    seed[:] = bytes(64)
    assert key.public_bytes() == libcrypto().open_ml_kem_512(SEED).public_bytes()
    assert repr(key) == str(key) == "<MlKem512, contents withheld>"
    assert not hasattr(key, "__dict__")
    refusals: list[Callable[[], object]] = [
        lambda: pickle.dumps(key), lambda: copy.copy(key), lambda: copy.deepcopy(key), lambda: key == key,
        lambda: {key},
    ]
    for refusal in refusals:
        with pytest.raises(TypeError, match=r"^secrets are not "):
            refusal()


def test_keys_outlive_what_opened_them() -> None:
    """The context goes with the last key."""
    library = LibCrypto(carried())
    key = library.open_ml_kem_512(SEED)
    assert library.version.startswith("3.")
    del library
    gc.collect()
    secret, ciphertext = key.encapsulate()
    assert key.decapsulate(ciphertext) == secret


def refusal(name: str) -> str:
    with pytest.raises(LibCryptoUnusable) as caught:
        LibCrypto(name)
    assert caught.value.__cause__ is None
    return str(caught.value)


def test_what_is_no_library_is_refused(tmp_path: Path) -> None:
    text, empty = tmp_path / "text.so", tmp_path / "empty.so"
    text.write_text("no library")
    empty.touch()
    for path in (text, empty, tmp_path, tmp_path / "nowhere.so"):
        assert refusal(str(path)) == f"{path} can't be loaded as a library"
    assert refusal("libm.so.6") == "libm.so.6 is no libcrypto of OpenSSL"


def test_an_older_library_is_refused(tmp_path: Path) -> None:
    """One that says so of itself: all that is looked at before anything else of it is used."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("there is no C compiler")
    for number, version in ((0x30000130, "3.0.19"), (0x30400000, "3.4.0"), (0x20000000, "2.0.0")):
        source, library = tmp_path / "old.c", tmp_path / f"{version}.so"
        source.write_text(f"unsigned long OpenSSL_version_num(void) {{ return {number}UL; }}\n")
        subprocess.run([compiler, "-shared", "-fPIC", "-o", library, source], check=True, timeout=60)
        assert refusal(str(library)) == f"{library} is of version {version}; ML-KEM-512 needs OpenSSL 3.5 or newer"
    source.write_text("unsigned long OpenSSL_version_num(void) { return 0x30500000UL; }\n")
    subprocess.run([compiler, "-shared", "-fPIC", "-o", tmp_path / "hollow.so", source], check=True, timeout=60)
    assert refusal(str(tmp_path / "hollow.so")) == f"{tmp_path / 'hollow.so'} is no libcrypto of OpenSSL"


def test_the_machines_configuration_of_openssl_has_no_say(tmp_path: Path) -> None:
    """One by which the library's shared context would find no algorithm at all, as on machines set to FIPS alone."""
    settings = tmp_path / "openssl.cnf"
    settings.write_text("openssl_conf = init\n[init]\nalg_section = evp\n[evp]\ndefault_properties = fips=yes\n")
    program = (
        "import sys; from kagitori_keystore.software.libcrypto import LibCrypto;"
        "key = LibCrypto(sys.argv[1]).open_ml_kem_512(bytes(range(64)));"
        "secret, ciphertext = key.encapsulate();"
        "print(key.public_bytes().hex(), key.decapsulate(ciphertext) == secret)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, carried()], env={**os.environ, "OPENSSL_CONF": str(settings)}, check=True,
        stdout=subprocess.PIPE, text=True, timeout=60,
    )
    assert done.stdout.split() == [libcrypto().open_ml_kem_512(SEED).public_bytes().hex(), "True"]


def test_eight_threads_use_one_key_at_once() -> None:
    """And open and drop others meanwhile."""
    key = libcrypto().open_ml_kem_512(SEED)
    public = key.public_bytes()

    def work(number: int) -> int:
        own = libcrypto().open_ml_kem_512(bytes((number,)) * 64)
        for _ in range(250):
            secret, ciphertext = key.encapsulate()
            assert key.decapsulate(ciphertext) == secret != own.decapsulate(ciphertext)
            assert key.public_bytes() == public
            own = libcrypto().open_ml_kem_512(bytes((number,)) * 64)
        return number

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(work, range(8))) == list(range(8))


def resident() -> int:
    """Bytes of this process in memory now: the most there ever were, of `getrusage`, may be from an earlier test."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def test_nothing_leaks_over_twenty_thousand_operations() -> None:
    """A key of OpenSSL has some 10 KiB: one that was kept in each round would be 50 MiB."""

    def rounds(count: int) -> None:
        for _ in range(count):
            key = libcrypto().open_ml_kem_512(SEED)
            key.decapsulate(key.encapsulate()[1])
            key.public_bytes()

    rounds(200)
    before = resident()
    rounds(5_000)
    assert resident() - before < 4 << 20


def test_a_forked_process_draws_other_encapsulations() -> None:
    """OpenSSL sees that it was forked. The service doesn't fork while it serves, whoever uses the store may."""
    key = libcrypto().open_ml_kem_512(SEED)
    key.encapsulate()
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writing, key.encapsulate()[0])
        os._exit(0)
    secret = key.encapsulate()[0]
    assert os.waitpid(child, 0)[1] == 0
    assert secret != os.read(reading, 32)
    os.close(reading)
    os.close(writing)
