"""A server whose root key lives in a SoftHSM2 token: starts, restarts, moves there and back, tokens that are away."""

from __future__ import annotations

import shutil
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import grpc
import pytest
from tests.support.client_certificates import certificate
from tests.support.operated import OperatedServer, Stubs, command
from tests.support.tokens import PIN, Token, fresh_token, kill_worker

from kagitori.kms.v1 import (
    credentials_pb2,
    cryptography_pb2,
    custom_key_stores_pb2,
    keys_pb2,
    operation_pb2,
    principals_pb2,
    resources_pb2,
)
from kagitori_keystore.base import RootKeyRefused
from kagitori_keystore.rootkey.token_uses import FILE_NAME, TokenUses

CLUSTER = "cluster-aaaaaaaaaaa"


@dataclass
class Place:
    """A data directory, a token, and the file of its PIN."""

    folder: Path
    token: Token = field(default_factory=fresh_token)

    def __post_init__(self) -> None:
        self.pin = self.folder / "pin"
        self.pin.touch(mode=0o600)
        self.pin.write_bytes(PIN + b"\n")

    @property
    def data(self) -> Path:
        """Where the server keeps everything."""
        return self.folder / "data"

    def settings(self, provider: str = "pkcs11", **more: str) -> tuple[str, ...]:
        """The flags of a server."""
        found = self.token.settings
        given = {
            "provider": provider, "module": found.module, "token_label": found.token_label or "",
            "pin_file": str(self.pin), "softhsm_conf": found.softhsm_conf or "", "deadline_seconds": "20", **more,
        }
        sets = [flag for name, value in given.items() for flag in ("--set", f"root_key.{name}={value}")]
        return (*sets, "--log-level", "warning")

    def refusal(self, *settings: str) -> str:
        """The one line with which a server doesn't start."""
        done = command("--data-dir", self.data, "--grpc-listen", "127.0.0.1:0", *settings, cwd=self.folder)
        assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (1, "", 1), done
        assert PIN.decode() not in done.stderr
        return done.stderr


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """A fresh one; no worker outlives the test."""
    found = Place(tmp_path)
    yield found
    kill_worker(_met_in(found))


def _met_in(place: Place) -> Token:
    """The token as the server's process meets its worker."""
    return replace(place.token, settings=replace(place.token.settings, runtime_dir=place.data / "run"))


def _key(stubs: Stubs) -> str:
    return str(stubs.keys.CreateKey(keys_pb2.CreateKeyRequest()).key_metadata.key_id)


def _sealed(stubs: Stubs) -> bytes:
    request = cryptography_pb2.EncryptRequest(key_id=_key(stubs), plaintext=b"kept")
    return bytes(stubs.crypto.Encrypt(request).ciphertext_blob)


def _opened(stubs: Stubs, blob: bytes) -> bytes:
    return bytes(stubs.crypto.Decrypt(cryptography_pb2.DecryptRequest(ciphertext_blob=blob)).plaintext)


def _rotate(stubs: Stubs) -> Any:
    return stubs.admin.RotateRootKey(operation_pb2.RotateRootKeyRequest())


def _is_well(stubs: Stubs) -> bool:
    health = stubs.admin.ListKeyStoreHealth(operation_pb2.ListKeyStoreHealthRequest())
    return bool({each.key_store_id: each for each in health.key_stores}["software"].healthy)


def test_starts_restarts_and_rotations(place: Place) -> None:
    """The key is made by the command, or the first start; every version is another key in the token."""
    made = command("root-key", "--data-dir", place.data, *place.settings(), cwd=place.folder)
    assert (made.returncode, made.stderr) == (0, "")
    assert made.stdout.startswith("pkcs11: version ")
    version = made.stdout.split()[-1]
    objects = len(place.token.key_files())
    with OperatedServer(place.data, *place.settings()) as server, server.stubs() as root:
        status = root.admin.GetServerStatus(operation_pb2.GetServerStatusRequest())
        assert (status.root_key_provider, status.root_key_id) == ("pkcs11", version)
        blob = _sealed(root)
        assert _is_well(root)
        assert _rotate(root).previous_root_key_id == version
        assert len(place.token.key_files()) == objects + 1
        assert server.terminate() == 0
        assert server.log == ""
    with OperatedServer(place.data, *place.settings()) as server, server.stubs() as root:
        assert _opened(root, blob) == b"kept"
        _rotate(root)
        assert _opened(root, blob) == b"kept"
        server.kill()
    with OperatedServer(place.data, *place.settings()) as server, server.stubs() as root:
        assert _opened(root, blob) == b"kept"
    again = command("root-key", "--data-dir", place.data, *place.settings(), cwd=place.folder)
    assert again.returncode == 0
    for path in (place.data / "root-key").iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    for path in place.data.rglob("*"):
        assert not path.is_file() or PIN not in path.read_bytes()


def test_from_a_file_to_a_token_and_back(place: Place) -> None:
    """As docs/root-key.md says. Without the previous provider nothing is lost, for the server doesn't start."""
    with OperatedServer(place.data, *place.settings("file")) as server, server.stubs() as root:
        blob = _sealed(root)
        assert server.terminate() == 0
    assert "root_key.previous_provider" in place.refusal(*place.settings())
    with (
        OperatedServer(place.data, *place.settings(previous_provider="file")) as server, server.stubs() as root,
    ):
        assert _opened(root, blob) == b"kept"
        later = _sealed(root)
        assert _rotate(root).rewrapped_count == 1
        _rotate(root)
        assert _opened(root, blob) == b"kept"
        assert server.terminate() == 0
        assert server.log == ""
    (place.data / "root-key" / "root-key").unlink()
    with OperatedServer(place.data, *place.settings()) as server, server.stubs() as root:
        assert (_opened(root, blob), _opened(root, later)) == (b"kept", b"kept")
        assert server.terminate() == 0
    back = place.settings("file", previous_provider="pkcs11")
    with OperatedServer(place.data, *back) as server, server.stubs() as root:
        _rotate(root)
        assert server.terminate() == 0
    shutil.rmtree(place.token.place / "tokens")
    with OperatedServer(place.data, *place.settings("file")) as server, server.stubs() as root:
        assert (_opened(root, blob), _opened(root, later)) == (b"kept", b"kept")


def test_a_pin_that_is_refused_is_not_tried_again(place: Place) -> None:
    """Until its file changes: a server that is started again and again must not lock the token."""
    place.pin.write_bytes(b"a-wrong-pin\n")
    assert "the token refuses the PIN in" in place.refusal(*place.settings())
    assert "isn't tried again before that file changes" in place.refusal(*place.settings())
    place.pin.write_bytes(PIN)
    with OperatedServer(place.data, *place.settings()) as server, server.stubs() as root:
        _sealed(root)
        assert server.terminate() == 0
    place.pin.chmod(0o640)
    assert "can be read by others" in place.refusal(*place.settings())


def test_what_is_missing_is_told(place: Place) -> None:
    """The module, the token, another token under the name of the right one; and all is well when it is back."""
    with OperatedServer(place.data, *place.settings()) as server, server.stubs() as root:
        blob = _sealed(root)
        assert server.terminate() == 0
    tokens, away = place.token.place / "tokens", place.token.place / "away"
    assert "module" in place.refusal(*place.settings(module="/nonexistent.so"))
    assert "there is no such token" in place.refusal(*place.settings(token_label="another"))
    tokens.rename(away)
    tokens.mkdir()
    assert f"label {place.token.settings.token_label}" in place.refusal(*place.settings())
    tokens.rmdir()
    shutil.copytree(fresh_token().place / "tokens", tokens)  # of the same serial number and PIN, without the key
    assert "does not have the key" in place.refusal(*place.settings())
    shutil.rmtree(tokens)
    away.rename(tokens)
    with OperatedServer(place.data, *place.settings()) as server, server.stubs() as root:
        assert _opened(root, blob) == b"kept"


def test_a_token_that_goes_away_while_the_server_runs(place: Place) -> None:
    """What was opened goes on, what needs the root key is told to be unavailable, and works when the token is back."""
    tokens, away = place.token.place / "tokens", place.token.place / "away"
    with OperatedServer(place.data, *place.settings()) as server, server.stubs() as root:
        blob = _sealed(root)
        tokens.rename(away)
        kill_worker(_met_in(place))
        assert _opened(root, blob) == b"kept"
        _sealed(root)
        assert not _is_well(root)
        for use in (lambda: _rotate(root), lambda: _new_account(root, "111122223333")):
            with pytest.raises(grpc.RpcError) as failed:
                use()
            error: Any = failed.value
            assert error.code() is grpc.StatusCode.UNAVAILABLE
        away.rename(tokens)
        while not _is_well(root):
            pass
        _new_account(root, "111122223334")
        _rotate(root)
        assert _opened(root, blob) == b"kept"
        assert server.terminate() == 0


def _new_account(stubs: Stubs, account: str) -> None:
    """An account with an access key for its root user, which is kept wrapped under the account's new key."""
    stubs.admin.CreateAccount(principals_pb2.CreateAccountRequest(account_id=account, name="another"))
    made = principals_pb2.CreateUserRequest(account_id=account, user_name="user")
    arn = stubs.admin.CreateUser(made).user.arn
    stubs.admin.CreateAccessKey(credentials_pb2.CreateAccessKeyRequest(principal_arn=arn))


def test_a_custom_key_store_does_not_change_the_pin_of_the_root_key(place: Place) -> None:
    """Its section has to leave the PIN alone; otherwise connecting fails before anything was changed."""
    connected = custom_key_stores_pb2
    for change_pin, state in (("true", "FAILED"), ("false", "CONNECTED")):
        settings = place.token.settings
        configuration = place.folder / "kagitori.toml"
        configuration.write_text(
            f'[hsm.{CLUSTER}]\nmodule = "{settings.module}"\ntoken_label = "{settings.token_label}"\n'
            f'softhsm_conf = "{settings.softhsm_conf}"\nchange_pin = {change_pin}\n'
        )
        arguments = (*place.settings(), "--config", str(configuration))
        with OperatedServer(place.data, *arguments) as server, server.stubs() as root:
            store_id = root.keys.CreateCustomKeyStore(connected.CreateCustomKeyStoreRequest(
                custom_key_store_name=state, cloud_hsm_cluster_id=CLUSTER, key_store_password=PIN.decode(),
                trust_anchor_certificate=certificate(common_name="customer CA").decode(),
            )).custom_key_store_id
            root.keys.ConnectCustomKeyStore(connected.ConnectCustomKeyStoreRequest(custom_key_store_id=store_id))
            asked = connected.DescribeCustomKeyStoresRequest(custom_key_store_id=store_id)
            while "ING" in (found := _state(root.keys.DescribeCustomKeyStores(asked))):
                pass
            assert found == state
            root.keys.DisconnectCustomKeyStore(
                connected.DisconnectCustomKeyStoreRequest(custom_key_store_id=store_id)
            )
            while _state(root.keys.DescribeCustomKeyStores(asked)) != "DISCONNECTED":
                pass
            root.keys.DeleteCustomKeyStore(connected.DeleteCustomKeyStoreRequest(custom_key_store_id=store_id))
            assert server.terminate() == 0


def _state(answer: Any) -> str:
    name: str = resources_pb2.ConnectionState.Name(answer.custom_key_stores[0].connection_state)
    return name.removeprefix("CONNECTION_STATE_")


def test_uses_are_counted_over_restarts(tmp_path: Path) -> None:
    """Of each version by itself; a file that makes no sense stops the root key."""
    first, second = TokenUses(tmp_path / "root"), TokenUses(tmp_path / "root")
    assert [first.reserve("aa", 4096), second.reserve("aa", 4096), first.reserve("bb", 4096)] == [0, 4096, 0]
    for number in range(200):
        first.reserve(str(number), 1)
    assert second.reserve("aa", 1) == 0, "kept are those in use last"
    for content in (b"", b"{", b"[]", b'{"aa": -1}', b'{"aa": true}', b'{"aa": 1.5}'):
        (tmp_path / "root" / FILE_NAME).write_bytes(content)
        with pytest.raises(RootKeyRefused):
            first.reserve("aa", 1)
