"""The proxy with client certificates: of the right authority and name, or no TLS at all."""

from __future__ import annotations

import contextlib
import http.client
import ssl
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.xks import Proxy, running_proxy

from kagitori_server.bootstrap.certificates import issue_client_certificate, load_authority, prepare

NAME = "cks.kms.us-east-1.amazonaws.com"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a CA for clients."""
    folder = tmp_path_factory.mktemp("clients") / "tls"
    prepare(folder, (), time.time)
    return folder


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory, authority: Path) -> Iterator[Proxy]:
    """Demands certificates."""
    settings = (
        "--set", f"xks_proxy.client_ca_file={authority / 'ca.crt'}", "--set", f"xks_proxy.client_name={NAME}",
    )
    with running_proxy(tmp_path_factory.mktemp("proxy") / "data", *settings) as running:
        yield running


def answered(proxy: Proxy, certificate: Path | None) -> int | None:
    """The status of a ping, None where the connection is refused."""
    context = ssl.create_default_context(cafile=str(proxy.ca_file))
    if certificate is not None:
        context.load_cert_chain(certificate.with_suffix(".crt"), certificate.with_suffix(".key"))
    port = int(proxy.endpoint.rpartition(":")[2])
    connection = http.client.HTTPSConnection("localhost", port, timeout=20, context=context)
    with contextlib.closing(connection), contextlib.suppress(OSError, http.client.HTTPException):
        connection.request("GET", "/ping")
        return connection.getresponse().status
    return None


def issued(authority: Path, name: str, place: Path) -> Path:
    """A client certificate, as files at `place`."""
    made = issue_client_certificate(load_authority(authority), time.time, days=1, common_name=name)
    place.with_suffix(".crt").write_bytes(made.certificate)
    place.with_suffix(".key").write_bytes(made.key)
    return place


def test_who_may_connect(proxy: Proxy, authority: Path, tmp_path: Path) -> None:
    """The name that is configured, from the authority that is configured."""
    assert answered(proxy, issued(authority, NAME, tmp_path / "right")) == 200
    assert answered(proxy, None) is None
    assert answered(proxy, issued(authority, "cks.kms.eu-west-1.amazonaws.com", tmp_path / "name")) is None
    other = tmp_path / "other"
    prepare(other, (), time.time)
    assert answered(proxy, issued(other, NAME, tmp_path / "authority")) is None
