"""Whatever is sent to the proxy, it answers with a refusal that the specification knows, and goes on."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.xks import PATH, Proxy, running_proxy
from tests.support.xks_requests import METADATA, ByHand, b64, encrypt_body

from kagitori_keystore.xks.errors import STATUS

ACTIONS = st.sampled_from(["encrypt", "decrypt", "metadata"])
TOKENS = st.sampled_from(
    ["AES_GCM", "SHA_256", "", "A", "====", b64(b"x"), b64(bytes(12)), b64(bytes(16)), b64(bytes(20)), b64(bytes(5000))]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | TOKENS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
NAMES = st.sampled_from([
    "requestMetadata", "plaintext", "ciphertext", "ciphertextMetadata", "encryptionAlgorithm", "initializationVector",
    "authenticationTag", "additionalAuthenticatedData", "ciphertextDataIntegrityValueAlgorithm",
])
MEMBERS = st.dictionaries(NAMES | st.text(max_size=5), VALUES | st.just(METADATA), max_size=9)
FUZZ = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """One for all tests here."""
    with running_proxy(tmp_path_factory.mktemp("proxy") / "data") as running:
        yield running


@pytest.fixture(scope="module")
def hand(proxy: Proxy) -> Iterator[ByHand]:
    """Signs as the user who may."""
    found = ByHand(proxy.endpoint, proxy.ca_file, proxy.access_key_id, proxy.secret)
    yield found
    found.close()


@FUZZ
@given(action=ACTIONS, members=MEMBERS)
def test_members(hand: ByHand, action: str, members: dict[str, Any]) -> None:
    """Any members, of any type."""
    answer = hand.send(f"{PATH}/keys/ext-1/{action}", json.dumps(members).encode())
    assert answer.status in (200, 400)
    assert answer.status == 200 or STATUS[str(answer.error)] == 400


@FUZZ
@given(action=ACTIONS, changes=st.lists(st.tuples(st.integers(0, 400), st.binary(max_size=3)), min_size=1, max_size=4))
def test_bytes(hand: ByHand, action: str, changes: list[tuple[int, bytes]]) -> None:
    """A good body with some bytes changed, and signed as it then is."""
    body = bytearray(encrypt_body())
    for at, new in changes:
        body[at % len(body) : at % len(body) + 1] = new
    answer = hand.send(f"{PATH}/keys/ext-1/{action}", bytes(body))
    assert answer.status in (200, 400)


@FUZZ
@given(key=st.text("abz019.-_~%/+", max_size=140), end=st.text("adehilnorty/?#;%2F.", max_size=12))
def test_paths(hand: ByHand, key: str, end: str) -> None:
    """Any path of characters that HTTP lets through."""
    path = f"{PATH}/keys/{key}/{end}"
    answer = hand.send(path, encrypt_body(), hand.signed(f"{PATH}/health", b""))
    assert answer.status in (400, 401, 404, 405)


@FUZZ
@given(
    name=st.sampled_from(["Authorization", "Host", "X-Amz-Date", "Content-Type", "X-Amz-Security-Token", "Expect"]),
    value=st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=200),
)
def test_headers(hand: ByHand, name: str, value: str) -> None:
    """Any value of any header that matters."""
    body = encrypt_body()
    headers = hand.signed(f"{PATH}/keys/ext-1/encrypt", body) | {name: value.strip()}
    try:
        answer = hand.send(f"{PATH}/keys/ext-1/encrypt", body, headers)
    except ConnectionError:
        hand.close()
        return
    assert answer.status in (200, 400, 401)


@FUZZ
@given(data=st.binary(min_size=1, max_size=300))
def test_no_http_at_all(proxy: Proxy, data: bytes) -> None:
    """Any bytes after the handshake."""
    context = ssl.create_default_context(cafile=str(proxy.ca_file))
    port = int(proxy.endpoint.rpartition(":")[2])
    with (
        contextlib.suppress(OSError),
        socket.create_connection(("127.0.0.1", port), timeout=20) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as connection,
    ):
        connection.sendall(data + b"\r\n\r\n")
        assert b" 500 " not in connection.recv(4096)


def test_it_still_serves(hand: ByHand) -> None:
    """After all this."""
    assert hand.send(f"{PATH}/keys/ext-1/encrypt", encrypt_body()).status == 200
