"""Custom key stores on SoftHSM2 in several server processes, and in tokens that aren't the one they were."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import grpc
import pytest
from tests.support.client_certificates import certificate
from tests.support.server_process import ServerProcess
from tests.support.tokens import PIN, Token, fresh_token, worker_of
from tests.support.whole_server import Caller

from kagitori.kms.v1 import resources_pb2

CLUSTERS = ("cluster-aaaaaaaaaaa", "cluster-bbbbbbbbbbb")
CONNECTED = resources_pb2.CONNECTION_STATE_CONNECTED
DISCONNECTED = resources_pb2.CONNECTION_STATE_DISCONNECTED
SETTLED = (CONNECTED, DISCONNECTED, resources_pb2.CONNECTION_STATE_FAILED)
ROTATIONS = 4


@dataclass
class Deployment:
    """Two server processes on one data directory, and the token `CLUSTERS[0]`."""

    token: Token
    other: Token
    data: Path
    one: Caller
    two: Caller

    def made(self, name: str, cluster: str) -> str:
        """A custom key store's id."""
        return str(self.one(
            "CreateCustomKeyStore", custom_key_store_name=name, cloud_hsm_cluster_id=cluster,
            trust_anchor_certificate=certificate(common_name="customer CA").decode(), key_store_password=PIN.decode(),
        ).custom_key_store_id)

    def act(self, operation: str, store_id: str) -> Any:
        """Connects or disconnects; the store as it is then."""
        self.one(operation, custom_key_store_id=store_id)
        end = time.monotonic() + 60
        while True:
            found = self.one("DescribeCustomKeyStores", custom_key_store_id=store_id).custom_key_stores[0]
            if found.connection_state in SETTLED:
                return found
            assert time.monotonic() < end
            time.sleep(0.02)


def _section(cluster: str, token: Token, more: str = "") -> str:
    settings = token.settings
    return (
        f'[hsm.{cluster}]\nmodule = "{settings.module}"\ntoken_label = "{settings.token_label}"\n'
        f'softhsm_conf = "{settings.softhsm_conf}"\ndeadline_seconds = 20\n{more}\n'
    )


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """`CLUSTERS[1]` says that it is a copy of the first and isn't."""
    place = tmp_path_factory.mktemp("deployment")
    token, other = fresh_token(), fresh_token(name="another")
    configuration = place / "kagitori.toml"
    configuration.write_text(
        _section(CLUSTERS[0], token) + _section(CLUSTERS[1], other, f'copy_of = "{CLUSTERS[0]}"')
    )
    with (
        ServerProcess(place / "data", "--config", str(configuration)) as first,
        ServerProcess(place / "data", "--config", str(configuration)) as second,
        first.channel() as one, second.channel() as two,
    ):
        yield Deployment(token, other, place / "data", Caller(one), Caller(two))


def test_a_pin_rotates_under_two_processes(deployment: Deployment) -> None:
    """One connects again and again, and so changes the PIN, while both use the key: by one worker, which is theirs.

    Calls fail as those of a store that isn't connected, or is just lost, and every ciphertext opens in the end.
    """
    store_id = deployment.made("hsm", CLUSTERS[0])
    assert deployment.act("ConnectCustomKeyStore", store_id).connection_state == CONNECTED
    key = deployment.one(
        "CreateKey", custom_key_store_id=store_id, origin=resources_pb2.ORIGIN_AWS_CLOUDHSM
    ).key_metadata.key_id
    stop, blobs, odd = threading.Event(), list[bytes](), list[str]()

    def use(caller: Caller) -> None:
        while not stop.is_set():
            try:
                blobs.append(caller("Encrypt", key_id=key, plaintext=b"kept").ciphertext_blob)
            except grpc.RpcError as failed:
                error: Any = failed
                if error.code() not in (grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.UNAVAILABLE):
                    odd.append(f"{error.code()} {error.details()}")

    threads = [threading.Thread(target=use, args=(caller,)) for caller in (deployment.one, deployment.two)]
    for thread in threads:
        thread.start()
    for _ in range(ROTATIONS):
        time.sleep(0.3)
        assert deployment.act("DisconnectCustomKeyStore", store_id).connection_state == DISCONNECTED
        assert deployment.act("ConnectCustomKeyStore", store_id).connection_state == CONNECTED
    time.sleep(0.3)
    stop.set()
    for thread in threads:
        thread.join()
    assert not odd
    assert len(blobs) > ROTATIONS
    for caller in (deployment.one, deployment.two):
        _until_served(caller, key)
        for blob in blobs[:: max(1, len(blobs) // 50)]:
            assert caller("Decrypt", ciphertext_blob=blob).plaintext == b"kept"
    met = replace(deployment.token, settings=replace(deployment.token.settings, runtime_dir=deployment.data / "run"))
    assert worker_of(met)
    assert len(list((deployment.data / "run").glob("*.socket"))) == 1


def _until_served(caller: Caller, key: str) -> None:
    end = time.monotonic() + 30
    while True:
        try:
            caller("Encrypt", key_id=key, plaintext=b"x")
        except grpc.RpcError:
            assert time.monotonic() < end
            time.sleep(0.1)
        else:
            return


def test_a_copy_with_another_serial_number(deployment: Deployment) -> None:
    """It fails to connect, for what it is, and its PIN stays what it was."""
    (store_id,) = (
        entry.custom_key_store_id for entry in deployment.one("DescribeCustomKeyStores").custom_key_stores
    )
    deployment.act("DisconnectCustomKeyStore", store_id)
    deployment.one(
        "UpdateCustomKeyStore", custom_key_store_id=store_id, cloud_hsm_cluster_id=CLUSTERS[1],
        key_store_password=PIN.decode(),
    )
    found = deployment.act("ConnectCustomKeyStore", store_id)
    assert found.connection_state == resources_pb2.CONNECTION_STATE_FAILED
    assert found.connection_error_code == resources_pb2.CONNECTION_ERROR_CODE_CLUSTER_NOT_FOUND
    store = deployment.other.open()
    store.health()
    store.close()
