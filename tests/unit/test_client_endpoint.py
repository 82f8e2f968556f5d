"""Endpoints: the three forms, and everything that is none of them."""

from __future__ import annotations

import pytest

from kagitori_client.client import Connection
from kagitori_client.credentials import BearerToken
from kagitori_client.endpoint import Security, parse_endpoint
from kagitori_client.errors import ConfigurationError

TOKEN = BearerToken("kgt_" + "A" * 43)


@pytest.mark.parametrize(
    ("text", "target", "security"),
    [
        ("https://kms.example.org:7443", "kms.example.org:7443", Security.TLS),
        ("https://kms.example.org:7443/", "kms.example.org:7443", Security.TLS),
        ("https://[2001:db8::1]:7443", "[2001:db8::1]:7443", Security.TLS),
        ("http://127.0.0.1:7443", "127.0.0.1:7443", Security.LOOPBACK),
        ("http://127.8.9.1:7443", "127.8.9.1:7443", Security.LOOPBACK),
        ("http://localhost:7443", "localhost:7443", Security.LOOPBACK),
        ("http://[::1]:7443", "[::1]:7443", Security.LOOPBACK),
        ("unix:///run/kagitori/kms.sock", "unix:///run/kagitori/kms.sock", Security.SOCKET),
        ("unix:///" + "a" * 106, "unix:///" + "a" * 106, Security.SOCKET),
    ],
)
def test_forms(text: str, target: str, security: Security) -> None:
    endpoint = parse_endpoint(text)
    assert (endpoint.target, endpoint.security, endpoint.text) == (target, security, text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "kms.example.org:7443",
        "unix:///" + "a" * 107,
        "https://kms.example.org",
        "https://:7443",
        "https://kms.example.org:0",
        "https://kms.example.org:70000",
        "https://kms.example.org:port",
        "https://kms.example.org:7443/path",
        "https://kms.example.org:7443?x=1",
        "https://kms.example.org:7443#x",
        "https://user@kms.example.org:7443",
        "https://user:secret@kms.example.org:7443",
        "https://[2001:db8::1:7443",
        "grpc://kms.example.org:7443",
        "file:///run/kms.sock",
        "unix://run/kms.sock",
        "unix:run/kms.sock",
        "unix://",
        "http://kms.example.org:7443",
        "http://10.0.0.1:7443",
        "http://0.0.0.0:7443",
        "http://localhost.example.org:7443",
        "http://[2001:db8::1]:7443",
    ],
)
def test_refused(text: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        parse_endpoint(text)
    assert refused.value.hint
    assert "secret" not in str(refused.value)


def test_one_identity_and_only_where_it_makes_sense() -> None:
    tls, socket = parse_endpoint("https://h:1"), parse_endpoint("unix:///s")
    with pytest.raises(ConfigurationError, match="come together"):
        Connection(tls, certificate=b"c")
    with pytest.raises(ConfigurationError, match="come together"):
        Connection(tls, private_key=b"k")
    with pytest.raises(ConfigurationError, match="one identity"):
        Connection(tls, certificate=b"c", private_key=b"k", token=TOKEN)
    with pytest.raises(ConfigurationError, match="https"):
        Connection(socket, certificate=b"c", private_key=b"k")


def test_repr_shows_no_secret() -> None:
    shown = repr(Connection(parse_endpoint("https://h:1"), token=TOKEN)) + repr(TOKEN) + str(TOKEN)
    assert TOKEN.reveal() not in shown
    assert "kgt_" not in shown
