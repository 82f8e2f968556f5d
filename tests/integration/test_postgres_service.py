"""The service on PostgreSQL: the way of a key, two processes, a database that goes away and comes back."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import grpc
import psycopg
import pytest
from tests.support.operated import OperatedServer, Stubs, command, refused
from tests.support.postgres import PostgresCluster

from kagitori.kms.v1 import cryptography_pb2, keys_pb2, operation_pb2
from kagitori_server.audit.verify import verify

PASSWORD = "marked p%40ss:word/with?everything"
AWAY = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}
SECONDS_UNTIL_REFUSED = 17.0


class Deployment(NamedTuple):
    """Two servers on one database and one data directory."""

    cluster: PostgresCluster
    settings: tuple[str, ...]
    first: OperatedServer
    second: OperatedServer


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """The role of the URL needs a password, which is in a file."""
    folder = tmp_path_factory.mktemp("service")
    cluster = PostgresCluster()
    try:
        cluster.start()
        settings = _with_password(cluster, folder)
        with (
            OperatedServer(folder / "data", *settings) as first,
            OperatedServer(folder / "data", *settings) as second,
        ):
            yield Deployment(cluster, settings, first, second)
    finally:
        cluster.remove()


def _with_password(cluster: PostgresCluster, folder: Path) -> tuple[str, ...]:
    url = cluster.new_database()
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"CREATE ROLE kagitori LOGIN PASSWORD '{PASSWORD}'".encode())
        connection.execute(f"ALTER DATABASE {connection.info.dbname} OWNER TO kagitori".encode())
        (access,) = connection.execute("SHOW hba_file").fetchone() or ("",)
        Path(access).write_text("local all kagitori scram-sha-256\nlocal all all trust\n")
        connection.execute("SELECT pg_reload_conf()")
    file = folder / "password"
    file.touch(mode=0o600)
    file.write_text(PASSWORD + "\n")
    url = url.replace("postgres@", "kagitori@")
    return ("--set", f"catalog.url={url}", "--set", f"catalog.password_file={file}", "--log-level", "error",
            "--grpc-plaintext-listen", "127.0.0.1:0")


def _encrypt(stubs: Stubs, key: str, plaintext: bytes = b"x") -> bytes:
    answer = stubs.crypto.Encrypt(cryptography_pb2.EncryptRequest(key_id=key, plaintext=plaintext))
    return bytes(answer.ciphertext_blob)


def _decrypt(stubs: Stubs, blob: bytes) -> bytes:
    return bytes(stubs.crypto.Decrypt(cryptography_pb2.DecryptRequest(ciphertext_blob=blob)).plaintext)


def test_way_of_a_key_across_both(deployment: Deployment) -> None:
    """Made at one, used, disabled and enabled at the other, by a user that the first one made."""
    with deployment.first.stubs() as one, deployment.second.stubs() as two:
        assert one.admin.GetServerStatus(operation_pb2.GetServerStatusRequest()).catalog_kind == "postgresql"
        assert not (deployment.first.data / "kagitori.db").exists()
        key = one.keys.CreateKey(keys_pb2.CreateKeyRequest()).key_metadata.arn
        one.keys.CreateAlias(keys_pb2.CreateAliasRequest(alias_name="alias/app", target_key_id=key))
        assert _decrypt(two, _encrypt(one, "alias/app", b"hello")) == b"hello"
        token = one.make_token(one.make_user("app")).token
        with deployment.second.stubs(token) as app:
            blob = _encrypt(app, key)
            for _ in range(3):
                one.keys.DisableKey(keys_pb2.DisableKeyRequest(key_id=key))
                assert refused(lambda: _decrypt(app, blob))[1] == "DISABLED"
                assert refused(lambda: _encrypt(two, key))[1] == "DISABLED"
                two.keys.EnableKey(keys_pb2.EnableKeyRequest(key_id=key))
                assert _decrypt(one, blob) == b"x"
        two.admin.RotateRootKey(operation_pb2.RotateRootKeyRequest())
        assert _decrypt(one, blob) == b"x"
        one.keys.ScheduleKeyDeletion(keys_pb2.ScheduleKeyDeletionRequest(key_id=key, pending_window_in_days=7))
        assert refused(lambda: _decrypt(two, blob))[1] == "KMS_INVALID_STATE"
        two.keys.CancelKeyDeletion(keys_pb2.CancelKeyDeletionRequest(key_id=key))


@pytest.mark.parametrize(
    ("text", "mode"),
    [("wrong-marked", 0o600), (PASSWORD, 0o644), ("", 0o600), ("marked\udcff", 0o600)],
    ids=["wrong", "open", "empty", "no-text"],
)
def test_password_file(deployment: Deployment, tmp_path: Path, text: str, mode: int) -> None:
    """A wrong password, or one that others may read: exit status 1, and no password in what is said."""
    file = tmp_path / "password"
    file.write_bytes(text.encode(errors="surrogateescape"))
    file.chmod(mode)
    done = command(
        "--data-dir", tmp_path / "data", "--grpc-listen", "127.0.0.1:0", *deployment.settings,
        "--set", f"catalog.password_file={file}", cwd=tmp_path,
    )
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (1, "", 1), done
    assert "marked" not in done.stderr


def test_another_data_directory_has_not_the_root_key(deployment: Deployment, tmp_path: Path) -> None:
    """A second machine without a copy of the root key is refused, instead of failing call by call."""
    done = command(
        "--data-dir", tmp_path / "data", "--grpc-listen", "127.0.0.1:0", *deployment.settings, cwd=tmp_path
    )
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
    assert "root key" in done.stderr


def test_database_goes_away_and_comes_back(deployment: Deployment) -> None:
    """Calls are refused in time, nothing is answered from memory, the servers live; SIGTERM works meanwhile."""
    with deployment.first.stubs() as one, deployment.second.stubs() as two:
        key = one.keys.CreateKey(keys_pb2.CreateKeyRequest()).key_metadata.arn
        blob = _encrypt(two, key)
        assert _decrypt(one, blob) == b"x"
        deployment.cluster.stop()
        for call in (
            lambda: _decrypt(one, blob),
            lambda: _encrypt(two, key),
            lambda: one.keys.DisableKey(keys_pb2.DisableKeyRequest(key_id=key)),
            lambda: two.keys.ListKeys(keys_pb2.ListKeysRequest()),
            one.whoami,
        ):
            began = time.monotonic()
            code, reason = refused(call)
            assert code in AWAY
            assert reason == "DEPENDENCY_TIMEOUT"
            assert time.monotonic() - began < SECONDS_UNTIL_REFUSED
        assert deployment.second.terminate() == 0
        assert deployment.first.process.poll() is None
        deployment.cluster.start()
        end = time.monotonic() + 20
        while True:
            try:
                assert _decrypt(one, blob) == b"x"
            except grpc.RpcError:
                assert time.monotonic() < end
                time.sleep(0.1)
            else:
                break
        one.keys.DisableKey(keys_pb2.DisableKeyRequest(key_id=key))
    assert deployment.first.terminate() == 0
    assert "marked" not in deployment.first.log + deployment.second.log
    with OperatedServer(deployment.first.data, *deployment.settings) as again, again.stubs() as root:
        assert refused(lambda: _decrypt(root, blob))[1] == "DISABLED"
        assert again.terminate() == 0
    assert verify(deployment.first.data / "audit").sound
