"""An external key store through a whole server: its proxy is another server, in another process, over TLS."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status
from tests.support.whole_server import Caller, WholeServer
from tests.support.xks import PATH, Proxy, running_proxy

from kagitori.kms.v1 import resources_pb2

EXTERNAL = resources_pb2.ORIGIN_EXTERNAL_KEY_STORE


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """The proxy."""
    with running_proxy(tmp_path_factory.mktemp("proxy") / "data") as running:
        yield running


@pytest.fixture
def root(proxy: Proxy, tmp_path: Path) -> Iterator[Caller]:
    """Root of a deployment that calls it."""
    settings: dict[str, dict[str, Any]] = {
        "listen": {"grpc": "127.0.0.1:0"},
        "xks": {
            "ca_file": str(proxy.ca_file), "port": int(proxy.endpoint.rpartition(":")[2]), "deadline_seconds": 10.0,
        },
    }
    with WholeServer(tmp_path / "data", settings) as server, server.tls() as channel:
        yield Caller(channel, server.root_token)


def described(proxy: Proxy, **changed: Any) -> dict[str, Any]:
    """Members of CreateCustomKeyStore."""
    return {
        "custom_key_store_name": "outside",
        "custom_key_store_type": resources_pb2.CUSTOM_KEY_STORE_TYPE_EXTERNAL_KEY_STORE,
        "xks_proxy_connectivity": resources_pb2.XKS_PROXY_CONNECTIVITY_PUBLIC_ENDPOINT,
        "xks_proxy_uri_endpoint": "https://localhost", "xks_proxy_uri_path": PATH,
        "xks_proxy_authentication_credential": {
            "access_key_id": proxy.access_key_id, "raw_secret_access_key": proxy.secret,
        },
        **changed,
    }


def entry(root: Caller, store_id: str) -> Any:
    """What DescribeCustomKeyStores tells of it."""
    return root("DescribeCustomKeyStores", custom_key_store_id=store_id).custom_key_stores[0]


def act(root: Caller, operation: str, store_id: str) -> int:
    """Connects or disconnects it; returns its state afterwards."""
    root(operation, custom_key_store_id=store_id)
    end = time.monotonic() + 60
    while True:
        state: int = entry(root, store_id).connection_state
        if state not in (resources_pb2.CONNECTION_STATE_CONNECTING, resources_pb2.CONNECTION_STATE_DISCONNECTING):
            return state
        assert time.monotonic() < end
        time.sleep(0.05)


def refused(root: Caller, operation: str, **values: Any) -> str:
    """The AWS name of the exception."""
    with pytest.raises(grpc.RpcError) as caught:
        root(operation, **values)
    error: Any = caught.value
    info = ErrorInfo()
    status = Status.FromString(dict(error.trailing_metadata())["grpc-status-details-bin"])
    assert status.details[0].Unpack(info)
    name: str = info.metadata["awsErrorType"]
    return name


def test_keys_of_an_external_key_store(root: Caller, proxy: Proxy) -> None:
    store_id = root("CreateCustomKeyStore", **described(proxy)).custom_key_store_id
    assert refused(root, "CreateCustomKeyStore", **described(proxy, custom_key_store_name="b")) == (
        "XksProxyUriInUseException"
    )
    assert act(root, "ConnectCustomKeyStore", store_id) == resources_pb2.CONNECTION_STATE_CONNECTED
    shown = entry(root, store_id).xks_proxy_configuration
    assert (shown.uri_endpoint, shown.uri_path, shown.access_key_id) == (
        "https://localhost", PATH, proxy.access_key_id
    )
    where = {"custom_key_store_id": store_id, "origin": EXTERNAL}
    key = root("CreateKey", **where, xks_key_id="ext-1").key_metadata
    assert (key.xks_key_configuration.id, key.custom_key_store_id) == ("ext-1", store_id)
    assert refused(root, "CreateKey", **where, xks_key_id="ext-1") == "XksKeyAlreadyInUseException"
    assert refused(root, "CreateKey", **where, xks_key_id="nowhere") == "XksKeyNotFoundException"
    assert refused(root, "CreateKey", **where, xks_key_id="rsa") == "XksKeyInvalidConfigurationException"
    assert refused(root, "CreateKey", **where) == "ValidationException"
    assert refused(root, "GenerateRandom", number_of_bytes=1, custom_key_store_id=store_id) == (
        "UnsupportedOperationException"
    )
    pair = {"key_id": key.key_id, "key_pair_spec": "DATA_KEY_PAIR_SPEC_ECC_NIST_P256"}
    assert refused(root, "GenerateDataKeyPair", **pair) == "UnsupportedOperationException"
    sealed = root("Encrypt", key_id=key.key_id, plaintext=b"attack at dawn", encryption_context={"a": "b"})
    opened = root("Decrypt", ciphertext_blob=sealed.ciphertext_blob, encryption_context={"a": "b"})
    assert opened.plaintext == b"attack at dawn"
    proxy.call("DisableKey", key_id=proxy.keys["ext-1"])
    values = {"ciphertext_blob": sealed.ciphertext_blob, "encryption_context": {"a": "b"}}
    assert refused(root, "Decrypt", **values) == "KMSInvalidStateException"
    proxy.call("EnableKey", key_id=proxy.keys["ext-1"])
    assert root("Decrypt", **values).plaintext == b"attack at dawn"
    act(root, "DisconnectCustomKeyStore", store_id)
    assert refused(root, "Decrypt", **values) == "KMSInvalidStateException"


def test_proxies_that_are_refused(root: Caller, proxy: Proxy) -> None:
    """When the key store is made, and when it's connected."""
    wrong = {"access_key_id": proxy.access_key_id, "raw_secret_access_key": "a" * 43}
    for name, changed in (
        ("XksProxyIncorrectAuthenticationCredentialException", {"xks_proxy_authentication_credential": wrong}),
        ("XksProxyInvalidConfigurationException", {"xks_proxy_uri_path": "/elsewhere/kms/xks/v1"}),
        ("XksProxyUriUnreachableException", {"xks_proxy_uri_endpoint": "https://nowhere.invalid"}),
        ("XksProxyVpcEndpointServiceNotFoundException", {
            "xks_proxy_connectivity": resources_pb2.XKS_PROXY_CONNECTIVITY_VPC_ENDPOINT_SERVICE,
            "xks_proxy_vpc_endpoint_service_name": "com.amazonaws.vpce.us-east-1.vpce-svc-0",
        }),
    ):
        assert refused(root, "CreateCustomKeyStore", **described(proxy, **changed)) == name
    access_key_id, secret = proxy.user("for-a-while")
    credential = {"access_key_id": access_key_id, "raw_secret_access_key": secret}
    store_id = root(
        "CreateCustomKeyStore", **described(proxy, xks_proxy_authentication_credential=credential)
    ).custom_key_store_id
    proxy.call("DeleteAccessKey", access_key_id=access_key_id)
    assert act(root, "ConnectCustomKeyStore", store_id) == resources_pb2.CONNECTION_STATE_FAILED
    found = entry(root, store_id).connection_error_code
    assert found == resources_pb2.CONNECTION_ERROR_CODE_INVALID_CREDENTIALS
    act(root, "DisconnectCustomKeyStore", store_id)
    new = {"access_key_id": proxy.access_key_id, "raw_secret_access_key": proxy.secret}
    root("UpdateCustomKeyStore", custom_key_store_id=store_id, xks_proxy_authentication_credential=new)
    assert act(root, "ConnectCustomKeyStore", store_id) == resources_pb2.CONNECTION_STATE_CONNECTED
    # While it's connected too: the next call is made with the new one.
    root("UpdateCustomKeyStore", custom_key_store_id=store_id, xks_proxy_authentication_credential=new)
    assert root(
        "CreateKey", custom_key_store_id=store_id, origin=EXTERNAL, xks_key_id="ext-2"
    ).key_metadata.xks_key_configuration.id == "ext-2"
