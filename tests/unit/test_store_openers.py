"""Which proxies are asked at all."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from tests.support.keystore_parts import Workshop

from kagitori_server.config import ConfigurationError, XksConfig
from kagitori_server.custom_stores import ConnectFailed
from kagitori_server.model.custom_key_stores import (
    ConnectionErrorCode,
    ConnectionState,
    CustomKeyStore,
    CustomKeyStoreType,
    XksProxy,
)
from kagitori_server.model.errors import KmsError, XksProxyInvalidConfigurationException
from kagitori_server.store_openers import ProxyOpener

SECRET = b"A" * 43


def store(endpoint: str) -> CustomKeyStore:
    """An external key store."""
    return CustomKeyStore(
        account="000000000000", region="us-east-1", store_id="cks-1", name="outside",
        kind=CustomKeyStoreType.EXTERNAL_KEY_STORE, created=0.0, state=ConnectionState.DISCONNECTED, changed=0.0,
        wrapped_secret=b"", proxy=XksProxy(endpoint, "/kms/xks/v1", "A" * 20),
    )


def opener(place: Path, *hosts: str) -> ProxyOpener:
    """Of a service that uses proxies of these hosts; nothing listens at its port."""
    config = XksConfig(hosts=hosts, port=1, deadline_seconds=2.0)
    return ProxyOpener(config, "aws", Workshop(place).store, time.time)


@pytest.mark.parametrize("endpoint", ["https://127.0.0.1", "https://localhost.evil", "https://xlocalhost"])
@pytest.mark.parametrize("secret", [None, SECRET])
def test_other_hosts_are_not_asked(tmp_path: Path, endpoint: str, secret: bytes | None) -> None:
    """Neither when a store is made or changed, nor when it is connected."""
    guarded = opener(tmp_path, "localhost", "xks.example")
    with pytest.raises(XksProxyInvalidConfigurationException, match="no proxies of that host"):
        guarded.verify(store(endpoint), secret)
    with pytest.raises(ConnectFailed) as refused:
        guarded.open(store(endpoint), SECRET)
    assert refused.value.code is ConnectionErrorCode.XKS_PROXY_INVALID_CONFIGURATION


@pytest.mark.parametrize("hosts", [(), ("localhost",)])
def test_hosts_that_may_be_asked_are(tmp_path: Path, hosts: tuple[str, ...]) -> None:
    """In whichever letters they are written."""
    asking = opener(tmp_path, *hosts)
    for endpoint in ("https://localhost", "https://LocalHost"):
        with pytest.raises(KmsError) as unreachable:
            asking.verify(store(endpoint), SECRET)
        assert unreachable.value.code() == "XksProxyUriUnreachableException"
        with pytest.raises(ConnectFailed) as refused:
            asking.open(store(endpoint), SECRET)
        assert refused.value.code is ConnectionErrorCode.XKS_PROXY_NOT_REACHABLE


@pytest.mark.parametrize("host", ["", "https://xks.example", "xks.example:443", "XKS.example"])
def test_hosts_are_names(host: str) -> None:
    with pytest.raises(ConfigurationError, match=r"xks\.hosts"):
        XksConfig(hosts=(host,))
