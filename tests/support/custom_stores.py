"""Custom key stores of a service in this process: made, connected, waited for."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from tests.support.client_certificates import certificate
from tests.support.inprocess import InProcess
from tests.support.token_double import CLUSTER, PIN

from kagitori_server.custom_stores import Timing
from kagitori_server.model.custom_key_stores import ConnectionState

ANCHOR = certificate(common_name="customer CA").decode()
FAST = Timing(look=0.05, retry=0.0, attempt=60.0, threads=2, waiting=2)


def made(service: InProcess, name: str = "hsm", cluster: str = CLUSTER, password: str = PIN) -> str:
    """A new custom key store's id."""
    values = {
        "custom_key_store_name": name, "cloud_hsm_cluster_id": cluster, "trust_anchor_certificate": ANCHOR,
        "key_store_password": password,
    }
    store_id: str = service.call("CreateCustomKeyStore", values).custom_key_store_id
    return store_id


def entry(service: InProcess, store_id: str) -> Any:
    """What DescribeCustomKeyStores tells of it."""
    (found,) = service.call("DescribeCustomKeyStores", {"custom_key_store_id": store_id}).custom_key_stores
    return found


def until(condition: Callable[[], bool]) -> None:
    """Waits for what happens in the background."""
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end, "it didn't happen"
        time.sleep(0.01)


def settled(service: InProcess, store_id: str) -> ConnectionState:
    """Its state once it isn't on the way to one."""
    waiting = (ConnectionState.CONNECTING, ConnectionState.DISCONNECTING)
    until(lambda: entry(service, store_id).connection_state not in waiting)
    state: ConnectionState = entry(service, store_id).connection_state
    return state


def act(service: InProcess, operation: str, store_id: str) -> ConnectionState:
    """Connects or disconnects it; returns its state afterwards."""
    service.call(operation, {"custom_key_store_id": store_id})
    return settled(service, store_id)


def connected(service: InProcess, **how: Any) -> str:
    """A connected store's id."""
    store_id = made(service, **how)
    assert act(service, "ConnectCustomKeyStore", store_id) is ConnectionState.CONNECTED
    return store_id


def in_store(store_id: str, **values: Any) -> dict[str, Any]:
    """Members of CreateKey."""
    return {"custom_key_store_id": store_id, "origin": "AWS_CLOUDHSM", **values}
