"""The root key of a real server: passphrases, a root key that isn't the right one, rotation under load and under
SIGKILL."""

from __future__ import annotations

import itertools
import os
import random
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import pytest
from tests.support.operated import OperatedServer, Stubs, command

from kagitori.kms.v1 import cryptography_pb2, keys_pb2, operation_pb2
from kagitori_keystore.rootkey.file import open_file_root
from kagitori_server.audit.verify import verify
from kagitori_server.storage.catalog import open_catalog

REGIONS = ("us-east-1", "eu-central-1")
SETTINGS = ("--set", f"service.regions={','.join(REGIONS)}", "--log-level", "warning")
ROUNDS = 3


@dataclass
class Sealed:
    """What was encrypted, and must open for ever."""

    blobs: list[tuple[bytes, bytes, str]] = field(default_factory=list)

    def encrypt(self, stubs: Stubs, key: str, plaintext: bytes, region: str) -> None:
        """One more."""
        request = cryptography_pb2.EncryptRequest(key_id=key, plaintext=plaintext)
        blob = stubs.crypto.Encrypt(request, metadata=_in(region)).ciphertext_blob
        self.blobs.append((blob, plaintext, region))

    def check(self, stubs: Stubs) -> None:
        """Each opens to what it was."""
        for blob, plaintext, region in list(self.blobs):
            request = cryptography_pb2.DecryptRequest(ciphertext_blob=blob)
            assert stubs.crypto.Decrypt(request, metadata=_in(region)).plaintext == plaintext


def _in(region: str) -> tuple[tuple[str, str], ...]:
    return (("kagitori-region", region),)


def _make_key(stubs: Stubs, region: str) -> str:
    return str(stubs.keys.CreateKey(keys_pb2.CreateKeyRequest(), metadata=_in(region)).key_metadata.key_id)


def _wrapped(data: Path) -> dict[tuple[str, str], bytes]:
    """The key-encryption keys as the catalog keeps them."""
    catalog = open_catalog(data / "kagitori.db", monotonic=time.monotonic)
    try:
        return {(account, region): wrapped for account, region, wrapped in catalog.kek_shelf.all()}
    finally:
        catalog.close()


def _versions(data: Path) -> tuple[str, ...]:
    root_key = open_file_root(data / "root-key", os.urandom)
    try:
        return root_key.versions()
    finally:
        root_key.close()


def _rotate(stubs: Stubs) -> operation_pb2.RotateRootKeyResponse:
    answer = stubs.admin.RotateRootKey(operation_pb2.RotateRootKeyRequest())
    assert isinstance(answer, operation_pb2.RotateRootKeyResponse)
    return answer


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OperatedServer]:
    """A server for two Regions."""
    with OperatedServer(tmp_path_factory.mktemp("rotation") / "data", *SETTINGS) as server:
        yield server


def test_rotation_while_calls_run(running: OperatedServer) -> None:
    """No call fails, no ciphertext changes; wrapped keys do; the version before last is erased."""
    sealed = Sealed()
    stop = threading.Event()
    failures: list[BaseException] = []
    with running.stubs() as root:
        keys = {region: _make_key(root, region) for region in REGIONS}
        for region in REGIONS:
            sealed.encrypt(root, keys[region], b"before", region)

        def work(region: str) -> None:
            for number in itertools.count():
                if stop.is_set():
                    return
                try:
                    key = _make_key(root, region) if number % 4 == 0 else keys[region]
                    sealed.encrypt(root, key, f"{region} {number}".encode(), region)
                    Sealed(sealed.blobs[-1:]).check(root)
                except grpc.RpcError as error:
                    failures.append(error)
                    return

        threads = [threading.Thread(target=work, args=(region,), daemon=True) for region in REGIONS * 2]
        for thread in threads:
            thread.start()
        before = _wrapped(running.data)
        versions = _versions(running.data)
        assert set(before) == {("000000000000", region) for region in REGIONS}
        for _ in range(4):
            answer = _rotate(root)
            after = _wrapped(running.data)
            assert after.keys() == before.keys()
            assert all(after[domain] != before[domain] for domain in before)
            held = _versions(running.data)
            assert held == (versions[-1], held[-1]), "the last one and the current one are kept"
            assert held[-1] != versions[-1]
            status = root.admin.GetServerStatus(operation_pb2.GetServerStatusRequest())
            assert status.root_key_id == held[-1]
            assert answer.IsInitialized()
            before, versions = after, held
            time.sleep(0.1)
        stop.set()
        for thread in threads:
            thread.join(30)
        assert failures == []
        sealed.check(root)
    assert running.terminate() == 0
    # On a busy machine it may warn that housekeeping had to wait.
    assert '"error"' not in running.log
    with OperatedServer(running.data, *SETTINGS) as server, server.stubs() as root:
        sealed.check(root)


def test_killed_in_the_midst_of_rotations(tmp_path: Path) -> None:
    """Whenever it ends, everything opens afterwards."""
    chance = random.Random(29)
    sealed = Sealed()
    keys: dict[str, str] = {}
    data = tmp_path / "data"
    for _ in range(ROUNDS):
        with OperatedServer(data, *SETTINGS) as server, server.stubs() as root:
            sealed.check(root)
            keys = keys or {region: _make_key(root, region) for region in REGIONS}
            for region in REGIONS:
                sealed.encrypt(root, keys[region], b"kept", region)
            rotations: list[object] = []

            def rotate(stubs: Stubs = root, done: list[object] = rotations) -> None:
                try:
                    while True:
                        done.append(_rotate(stubs))
                except grpc.RpcError:
                    return

            thread = threading.Thread(target=rotate, daemon=True)
            thread.start()
            time.sleep(0.2 + chance.random() * 0.3)
            server.kill()
            thread.join(30)
            assert rotations
    with OperatedServer(data, *SETTINGS) as server, server.stubs() as root:
        sealed.check(root)
        _rotate(root)
        _rotate(root)
        assert len(_versions(data)) == 2
        sealed.check(root)
        assert server.terminate() == 0
    assert verify(data / "audit").sound


def test_passphrase(tmp_path: Path) -> None:
    """The right one opens it, with or without a final line break; what isn't right is told in one line."""
    data, file = tmp_path / "data", tmp_path / "passphrase"
    settings = (
        "--set", "root_key.provider=passphrase", "--set", f"root_key.passphrase_file={file}", "--log-level", "warning",
    )
    file.touch(mode=0o600)
    file.write_text("a marked passphrase\n")
    sealed = Sealed()
    with OperatedServer(data, *settings) as server, server.stubs() as root:
        sealed.encrypt(root, _make_key(root, REGIONS[0]), b"kept", REGIONS[0])
        _rotate(root)
        assert server.terminate() == 0
        assert server.log == ""
    serve = ("--data-dir", data, "--grpc-listen", "127.0.0.1:0", *settings)
    for text, mode, told in (
        ("another marked passphrase", 0o600, "the passphrase is wrong"),
        ("a marked passphrase ", 0o600, "the passphrase is wrong"),
        ("marked", 0o600, "12 to 1,024 bytes"),
        ("", 0o600, "12 to 1,024 bytes"),
        ("marked" * 200, 0o600, "12 to 1,024 bytes"),
        ("a marked passphrase", 0o640, "can be read by others"),
    ):
        file.write_text(text)
        file.chmod(mode)
        done = command(*serve, cwd=tmp_path)
        assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (1, "", 1), done
        assert told in done.stderr
        assert "marked" not in done.stderr
    file.chmod(0o600)
    file.write_text("a marked passphrase")
    for path in data.rglob("*"):
        assert not path.is_file() or b"marked passphrase" not in path.read_bytes()
    with OperatedServer(data, *settings) as server, server.stubs() as root:
        sealed.check(root)


def test_wrong_root_key_is_noticed_at_the_start(running: OperatedServer, tmp_path: Path) -> None:
    """A lost root key, or another provider: refused before any key is made under it."""
    if running.process.poll() is None:
        assert running.terminate() == 0
    data = running.data
    serve = ("--data-dir", data, "--grpc-listen", "127.0.0.1:0", *SETTINGS)
    passphrase = tmp_path / "passphrase"
    passphrase.touch(mode=0o600)
    passphrase.write_text("correct horse battery")
    done = command(
        *serve, "--set", "root_key.provider=passphrase", "--set", f"root_key.passphrase_file={passphrase}", cwd=tmp_path
    )
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
    assert "root_key.provider" in done.stderr
    (data / "root-key" / "root-key").rename(tmp_path / "kept")
    done = command(*serve, cwd=tmp_path)
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
    (tmp_path / "kept").rename(data / "root-key" / "root-key")
    with OperatedServer(data, *SETTINGS) as server, server.stubs() as root:
        _make_key(root, REGIONS[0])
        assert server.terminate() == 0
