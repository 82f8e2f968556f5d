"""Instances for tests with a token: a lost key store befalls the keys in it as it does others."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.client_certificates import certificate
from tests.support.tokens import PIN, fresh_token

from kagitori.kms.v1.cryptography_pb2 import EncryptRequest
from kagitori.kms.v1.custom_key_stores_pb2 import (
    ConnectCustomKeyStoreRequest,
    CreateCustomKeyStoreRequest,
    DescribeCustomKeyStoresRequest,
    DisconnectCustomKeyStoreRequest,
)
from kagitori.kms.v1.keys_pb2 import CreateKeyRequest
from kagitori.kms.v1.operation_pb2 import CheckCustomKeyStoreRequest, ListKeyStoreHealthRequest
from kagitori.kms.v1.resources_pb2 import ConnectionErrorCode, ConnectionState, Origin
from kagitori_client import KmsClient, Retries, ServiceError
from kagitori_client.testing import Service, running

CLUSTER = "cluster-aaaaaaaaaaa"


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    found = fresh_token().settings
    section = {
        "module": found.module, "token_label": found.token_label, "softhsm_conf": found.softhsm_conf,
        "deadline_seconds": 20.0,
    }
    config = tmp_path / "config.toml"
    lines = [f"{name} = {json.dumps(value)}" for name, value in section.items()]
    config.write_text("\n".join((f"[hsm.{CLUSTER}]", *lines, "")))
    with running(arguments=["--config", str(config)]) as started:
        yield started


@pytest.fixture
def once(service: Service) -> Iterator[KmsClient]:
    """Tries nothing twice."""
    with service.new_client(retries=Retries(attempts=1)) as client:
        yield client


def code(call: Callable[[], object]) -> str:
    """The exception that a call is refused with."""
    with pytest.raises(ServiceError) as refused:
        call()
    return refused.value.code


def settled(client: KmsClient, store_id: str) -> Any:
    """What is told of a store that isn't on its way to another state."""
    end = time.monotonic() + 60
    while True:
        (found,) = client.keys.DescribeCustomKeyStores(
            DescribeCustomKeyStoresRequest(custom_key_store_id=store_id)
        ).custom_key_stores
        if found.connection_state not in (
            ConnectionState.CONNECTION_STATE_CONNECTING, ConnectionState.CONNECTION_STATE_DISCONNECTING
        ):
            return found
        assert time.monotonic() < end
        time.sleep(0.05)


def health(client: KmsClient) -> dict[str, bool]:
    """Which key stores are well."""
    return {
        each.key_store_id: each.healthy
        for each in client.admin.ListKeyStoreHealth(ListKeyStoreHealthRequest()).key_stores
    }


def test_a_token_is_lost_and_found_again(service: Service, once: KmsClient) -> None:
    """Its keys can't be used or made, nor what it holds be checked; its health tells, it isn't connected. Afterwards
    all is as it was."""
    store_id = once.keys.CreateCustomKeyStore(
        CreateCustomKeyStoreRequest(
            custom_key_store_name="vault", cloud_hsm_cluster_id=CLUSTER, key_store_password=PIN.decode(),
            trust_anchor_certificate=certificate(common_name="customer CA").decode(),
        )
    ).custom_key_store_id
    connect = ConnectCustomKeyStoreRequest(custom_key_store_id=store_id)
    disconnect = DisconnectCustomKeyStoreRequest(custom_key_store_id=store_id)
    once.keys.ConnectCustomKeyStore(connect)
    assert settled(once, store_id).connection_state == ConnectionState.CONNECTION_STATE_CONNECTED
    create = CreateKeyRequest(custom_key_store_id=store_id, origin=Origin.ORIGIN_AWS_CLOUDHSM)
    key_id = once.keys.CreateKey(create).key_metadata.key_id
    other = once.keys.CreateKey(create).key_metadata.key_id
    encrypt = EncryptRequest(key_id=key_id, plaintext=b"x")
    check = CheckCustomKeyStoreRequest(custom_key_store_id=store_id)
    assert health(once) == {"software": True, store_id: True}
    with service.fault("key_store_loss", key_id=key_id):
        assert code(lambda: once.crypto.Encrypt(encrypt)) == "KeyUnavailableException"
        assert once.crypto.Encrypt(EncryptRequest(key_id=other, plaintext=b"x")).ciphertext_blob
        assert health(once)[store_id]
    with service.fault("key_store_loss"):
        assert code(lambda: once.crypto.Encrypt(encrypt)) == "KeyUnavailableException"
        assert code(lambda: once.keys.CreateKey(create)) == "KeyUnavailableException"
        assert code(lambda: once.admin.CheckCustomKeyStore(check)) == "KeyUnavailableException"
        assert health(once)[store_id] is False
        once.keys.DisconnectCustomKeyStore(disconnect)
        settled(once, store_id)
        once.keys.ConnectCustomKeyStore(connect)
        failed = settled(once, store_id)
        assert failed.connection_state == ConnectionState.CONNECTION_STATE_FAILED
        assert failed.connection_error_code == ConnectionErrorCode.CONNECTION_ERROR_CODE_NETWORK_ERRORS
    once.keys.DisconnectCustomKeyStore(disconnect)
    settled(once, store_id)
    once.keys.ConnectCustomKeyStore(connect)
    assert settled(once, store_id).connection_state == ConnectionState.CONNECTION_STATE_CONNECTED
    assert once.crypto.Encrypt(encrypt).ciphertext_blob
    found = once.admin.CheckCustomKeyStore(check)
    assert (found.object_count, found.orphaned_count, found.missing_count) == (2, 0, 0)
    assert health(once)[store_id]
