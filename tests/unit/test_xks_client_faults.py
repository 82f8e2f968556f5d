"""What the client of an external key store proxy makes of proxies that err, lie, stall or are not there."""

from __future__ import annotations

import base64
import contextlib
import json
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.support.bad_proxy import BadProxy, Behaviour, answering, closing, dripping, raw, saying, silent
from tests.support.keystore_parts import HOME, KEY, Workshop
from tests.support.xks import opened

from kagitori_keystore.base import CiphertextInvalid, ErrorKind, KeyStoreError, RequestRefused, StoreLost
from kagitori_keystore.xks import ProxyFault, ProxyLost, ProxyTooSlow, XksKeyStore, XksSettings, wire
from kagitori_keystore.xks.client import RequestMetadata, Sealed
from kagitori_keystore.xks.errors import STATUS

SECRET = "A" * 43
ACCESS_KEY = "AKIAAAAAAAAAAAAAAAAA"
FLEET = [{"id": "1", "model": "m", "healthStatus": "ACTIVE"}]
HEALTHY = {
    "xksProxyFleetSize": 1, "xksProxyVendor": "v", "xksProxyModel": "m", "ekmVendor": "e", "ekmFleetDetails": FLEET,
}
GOOD_KEY = {"keySpec": "AES_256", "keyUsage": ["ENCRYPT", "DECRYPT"], "keyStatus": "ENABLED"}
METADATA = RequestMetadata("Encrypt", "id", "arn:principal", "arn:key")
_NO_FAMILY = 63
"""An address family that no kernel has."""


def settings(endpoint: str, ca_file: Path, deadline: float = 5.0) -> XksSettings:
    return XksSettings(endpoint, "/kms/xks/v1", ACCESS_KEY, ca_file, deadline_seconds=deadline)


def failed(tmp_path: Path, behaviour: Behaviour, deadline: float = 5.0) -> tuple[KeyStoreError, BadProxy]:
    """How GetHealthStatus fails on a proxy that behaves so."""
    return failed_at(tmp_path, behaviour, XksKeyStore.health, deadline)


def failed_at(
    tmp_path: Path, behaviour: Behaviour, use: Callable[[XksKeyStore], object], deadline: float = 5.0
) -> tuple[KeyStoreError, BadProxy]:
    with BadProxy(tmp_path / "tls", behaviour) as bad:
        store = opened(settings(bad.endpoint, bad.ca_file, deadline), SECRET, Workshop(tmp_path))
        with pytest.raises(KeyStoreError) as caught:
            use(store)
        store.close()
    assert caught.value.__cause__ is None
    return caught.value, bad


@pytest.mark.parametrize(
    "behaviour",
    [
        raw(b"\x00\xff garbage\r\n\r\n"), answering(200, b"not json"), answering(200, b"[]"), answering(200, b"{}"),
        answering(200, json.dumps(HEALTHY).encode(), "text/html"), answering(200, b"\xff\xfe"),
        answering(200, b"{" * 30_000), answering(200, b" " * 70_000), raw(b"HTTP/1.1 200 X\r\n" + b"A: b\r\n" * 20_000),
        answering(204, b""), answering(301, b"{}", extra="Location: https://example.com/\r\n"),
        answering(500, b"oops", "text/plain"), saying(500, errorName="NoSuchException"),
        saying(200, errorName="InternalException"), saying(400, errorName="InternalException"),
        saying(400, errorName="InvalidCiphertextException"), saying(500, errorName=7), saying(503),
        saying(200, **HEALTHY | {"ekmFleetDetails": []}), saying(200, **HEALTHY | {"ekmFleetDetails": FLEET * 11}),
        saying(200, **HEALTHY | {"ekmFleetDetails": ["x"]}), saying(200, **HEALTHY | {"xksProxyFleetSize": True}),
        saying(200, **HEALTHY | {"xksProxyFleetSize": 1.5}), saying(200, **HEALTHY | {"ekmVendor": None}),
        saying(200, **HEALTHY | {"ekmFleetDetails": [FLEET[0] | {"healthStatus": "WELL"}]}),
    ],
    ids=range(25),
)
def test_answers_that_make_no_sense(tmp_path: Path, behaviour: Behaviour) -> None:
    """All are one kind of failure, and none of them is repeated in it."""
    error, bad = failed(tmp_path, behaviour)
    assert isinstance(error, ProxyLost)
    assert error.fault is ProxyFault.MALFORMED_ANSWER
    assert len(bad.requests) == 1


@pytest.mark.parametrize(
    ("name", "kind", "fault"),
    [
        ("ValidationException", ErrorKind.STORE_LOST, ProxyFault.REQUEST_REFUSED),
        ("InvalidStateException", ErrorKind.KEY, ProxyFault.KEY_DISABLED),
        ("InvalidKeyUsageException", ErrorKind.KEY, ProxyFault.KEY_USAGE),
        ("AuthenticationFailedException", ErrorKind.STORE_LOST, ProxyFault.CREDENTIALS_REFUSED),
        ("AccessDeniedException", ErrorKind.KEY, ProxyFault.ACCESS_DENIED),
        ("KeyNotFoundException", ErrorKind.KEY, ProxyFault.KEY_NOT_FOUND),
        ("InvalidUriPathException", ErrorKind.STORE_LOST, ProxyFault.PATH_REFUSED),
        ("ThrottlingException", ErrorKind.STORE_LOST, ProxyFault.THROTTLED),
        ("UnsupportedOperationException", ErrorKind.STORE_LOST, ProxyFault.UNSUPPORTED),
        ("DependencyTimeoutException", ErrorKind.TOO_SLOW, ProxyFault.DEPENDENCY_TIMED_OUT),
        ("InternalException", ErrorKind.STORE_LOST, ProxyFault.INTERNAL),
    ],
)
def test_every_error_of_the_specification(tmp_path: Path, name: str, kind: ErrorKind, fault: ProxyFault) -> None:
    """Each has a kind and a fault; the proxy's message is not passed on."""
    error, _ = failed(tmp_path, saying(STATUS[name], errorName=name, errorMessage="of the proxy"))
    assert (error.kind, getattr(error, "fault", None)) == (kind, fault)
    assert "of the proxy" not in str(error)


def test_invalid_ciphertext_is_for_decrypt(tmp_path: Path) -> None:
    """There it is the caller's fault."""
    behaviour = saying(400, errorName="InvalidCiphertextException")
    sealed = Sealed(bytes(12), b"", b"c", bytes(16))
    error, _ = failed_at(tmp_path, behaviour, lambda store: store._client.decrypt("k", METADATA, sealed, b"aad"))
    assert isinstance(error, CiphertextInvalid)


def sealed_answer(plaintext: bytes, aad: bytes, **changed: object) -> Behaviour:
    """An answer of Encrypt that is right but for what is changed; None leaves a member out."""
    iv, tag, ciphertext = bytes(12), bytes(16), bytes(len(plaintext))
    members: dict[str, object] = {
        "ciphertext": wire.encoded(ciphertext), "initializationVector": wire.encoded(iv),
        "authenticationTag": wire.encoded(tag),
        "ciphertextDataIntegrityValue": wire.encoded(wire.integrity_value(aad, b"", iv, ciphertext, tag)),
    }
    members |= changed
    return saying(200, **{name: value for name, value in members.items() if value is not None})


@pytest.mark.parametrize(
    "changed",
    [
        {"ciphertext": wire.encoded(bytes(5))}, {"ciphertext": None}, {"ciphertext": "!"},
        {"initializationVector": wire.encoded(bytes(13))}, {"initializationVector": wire.encoded(bytes(24))},
        {"authenticationTag": wire.encoded(bytes(12))}, {"ciphertextMetadata": wire.encoded(bytes(21))},
        {"ciphertextDataIntegrityValue": None}, {"ciphertextDataIntegrityValue": wire.encoded(bytes(32))},
        {"ciphertextMetadata": wire.encoded(b"unaccounted for")},
    ],
    ids=range(10),
)
def test_sealed_answers_are_held_against_the_specification(tmp_path: Path, changed: dict[str, object]) -> None:
    """Lengths, and the integrity value."""
    behaviour = sealed_answer(b"data", b"aad", **changed)
    error, _ = failed_at(
        tmp_path, behaviour, lambda store: store._client.encrypt("k", METADATA, b"data", b"aad")
    )
    assert isinstance(error, ProxyLost)
    assert error.fault is ProxyFault.MALFORMED_ANSWER


@pytest.mark.parametrize(
    ("changed", "fault"),
    [
        ({"keySpec": "AES_128"}, ProxyFault.KEY_USAGE), ({"keyUsage": ["ENCRYPT"]}, ProxyFault.KEY_USAGE),
        ({"keyStatus": "DISABLED"}, ProxyFault.KEY_DISABLED), ({"keyStatus": "OFF"}, ProxyFault.MALFORMED_ANSWER),
        ({"keyUsage": ["ENCRYPT", "DECRYPT"] * 6}, ProxyFault.MALFORMED_ANSWER),
        ({"keyUsage": "ENCRYPT"}, ProxyFault.MALFORMED_ANSWER), ({"keyUsage": [1]}, ProxyFault.MALFORMED_ANSWER),
    ],
    ids=range(7),
)
def test_keys_that_are_not_adopted(tmp_path: Path, changed: dict[str, object], fault: ProxyFault) -> None:
    """What AWS KMS refuses at CreateKey."""
    error, _ = failed_at(tmp_path, saying(200, **GOOD_KEY | changed), lambda store: store.adopt(HOME, KEY, "k"))
    assert getattr(error, "fault", None) is fault


def test_no_manager_is_available(tmp_path: Path) -> None:
    """The proxy is well, and nothing behind it."""
    behaviour = saying(200, **HEALTHY | {"ekmFleetDetails": [FLEET[0] | {"healthStatus": "UNAVAILABLE"}]})
    error, _ = failed(tmp_path, behaviour)
    assert getattr(error, "fault", None) is ProxyFault.MANAGER_UNAVAILABLE


@pytest.mark.parametrize("behaviour", [silent(2.0), dripping(b"HTTP/1.1 200 OK\r\n" + b"a" * 500, 0.05)], ids=[0, 1])
def test_slow_answers(tmp_path: Path, behaviour: Behaviour) -> None:
    """One more try, each within the deadline, bytes or no bytes."""
    began = time.monotonic()
    error, bad = failed(tmp_path, behaviour, 0.5)
    assert time.monotonic() - began < 8
    assert isinstance(error, ProxyTooSlow)
    assert error.fault is ProxyFault.TIMED_OUT
    assert (len(bad.requests), bad.connections) == (2, 2)


def test_a_second_try_may_succeed(tmp_path: Path) -> None:
    """After a network timeout the call is made once more."""
    with BadProxy(tmp_path / "tls", silent(1.5), saying(200, **HEALTHY)) as bad:
        store = opened(settings(bad.endpoint, bad.ca_file, 0.7), SECRET, Workshop(tmp_path))
        store.health()
        store.close()


def test_connections_are_kept_and_replaced(tmp_path: Path) -> None:
    """Calls share one connection; when the proxy has ended it, a call is made on a new one."""
    good = saying(200, **HEALTHY)
    with BadProxy(tmp_path / "tls", good, good, good, closing, good) as bad:
        store = opened(settings(bad.endpoint, bad.ca_file), SECRET, Workshop(tmp_path))
        for _ in range(3):
            store.health()
        assert bad.connections == 1
        store.health()
        assert (bad.connections, len(bad.requests)) == (2, 5)
        store.close()
        with pytest.raises(StoreLost):
            store.health()


def test_a_new_connection_that_breaks_is_not_tried_again(tmp_path: Path) -> None:
    """Only those that had been kept."""
    error, bad = failed(tmp_path, closing)
    assert getattr(error, "fault", None) is ProxyFault.UNREACHABLE
    assert len(bad.requests) == 1


def test_nobody_listens(tmp_path: Path) -> None:
    """Refused at once."""
    with BadProxy(tmp_path / "tls", closing) as bad:
        endpoint, ca_file = bad.endpoint, bad.ca_file
    store = opened(settings(endpoint, ca_file), SECRET, Workshop(tmp_path))
    with pytest.raises(ProxyLost) as caught:
        store.health()
    assert caught.value.fault is ProxyFault.UNREACHABLE


def test_nobody_answers_the_handshake(tmp_path: Path) -> None:
    """The deadline is for connecting, too."""
    with BadProxy(tmp_path / "tls", closing) as bad, socket.create_server(("127.0.0.1", 0)) as mute:
        endpoint = f"https://localhost:{mute.getsockname()[1]}"
        store = opened(settings(endpoint, bad.ca_file, 0.4), SECRET, Workshop(tmp_path))
        with pytest.raises(ProxyTooSlow):
            store.health()


def test_a_host_of_many_addresses_that_never_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of them together get no more time than one."""
    with BadProxy(tmp_path / "tls", closing) as bad:
        ca_file = bad.ca_file
    with contextlib.ExitStack() as held:
        deaf = held.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        address = deaf.getsockname()
        for _ in range(4):
            # Beyond the backlog nobody is answered.
            filling = held.enter_context(socket.socket())
            filling.setblocking(False)
            filling.connect_ex(address)
        store = opened(settings(f"https://localhost:{address[1]}", ca_file, 0.4), SECRET, Workshop(tmp_path))
        found = [(socket.AF_INET, socket.SOCK_STREAM, 0, "", address)] * 20
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
        began = time.monotonic()
        with pytest.raises(ProxyTooSlow):
            store.health()
        assert time.monotonic() - began < 4
        store.close()


def test_addresses_of_a_kind_that_the_machine_lacks_are_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name may have an IPv6 address first where the kernel has no IPv6."""
    with BadProxy(tmp_path / "tls", saying(200, **HEALTHY)) as bad:
        store = opened(settings(bad.endpoint, bad.ca_file), SECRET, Workshop(tmp_path))
        address = ("127.0.0.1", int(bad.endpoint.rpartition(":")[2]))
        found = [(family, socket.SOCK_STREAM, 0, "", address) for family in (_NO_FAMILY, socket.AF_INET)]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
        store.health()
        store.close()


def test_certificates_are_verified(tmp_path: Path) -> None:
    """Another authority's, and another host's, are refused before anything is sent."""
    good = saying(200, **HEALTHY)
    with BadProxy(tmp_path / "one", good) as one, BadProxy(tmp_path / "two", good) as two:
        for endpoint, ca_file in (
            (one.endpoint, two.ca_file), (one.endpoint.replace("localhost", "127.0.0.2"), one.ca_file),
        ):
            store = opened(settings(endpoint, ca_file), SECRET, Workshop(tmp_path))
            with pytest.raises(ProxyLost) as caught:
                store.health()
            assert caught.value.fault in (ProxyFault.TLS_REFUSED, ProxyFault.UNREACHABLE)
        assert not one.requests


def test_requests_are_those_of_the_specification(tmp_path: Path) -> None:
    """Method, path, headers and members; no plaintext in the clear that was not encrypted before."""
    key, sealed = saying(200, **GOOD_KEY), saying(500, errorName="InternalException")
    with BadProxy(tmp_path / "tls", key, sealed) as bad:
        store = opened(settings(bad.endpoint, bad.ca_file), SECRET, Workshop(tmp_path))
        ref = store.adopt(HOME, KEY, "my.key_1-x")
        with pytest.raises(ProxyLost):
            store.encrypt(HOME, KEY, ref, b"a plaintext", b"context")
        store.close()
    head, _, body = bad.requests[1].partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    assert lines[0] == "POST /kms/xks/v1/keys/my.key_1-x/encrypt HTTP/1.1"
    headers = dict(line.split(": ", 1) for line in lines[1:])
    assert headers["Content-Type"] == "application/json"
    assert headers["Host"] == bad.endpoint.removeprefix("https://")
    date = headers["X-Amz-Date"][:8]
    assert headers["Authorization"].startswith(
        f"AWS4-HMAC-SHA256 Credential={ACCESS_KEY}/{date}/us-east-1/kms-xks-proxy/aws4_request, "
        "SignedHeaders=host;x-amz-date, Signature="
    )
    members = json.loads(body)
    assert members["encryptionAlgorithm"] == "AES_GCM"
    assert members["ciphertextDataIntegrityValueAlgorithm"] == "SHA_256"
    assert members["requestMetadata"]["kmsOperation"] == "Encrypt"
    assert members["requestMetadata"]["kmsKeyArn"].endswith(f":key/{KEY}")
    assert len(base64.b64decode(members["plaintext"])) == len(b"a plaintext") + 40
    assert b"a plaintext" not in base64.b64decode(members["plaintext"])


@pytest.mark.parametrize(
    "changed",
    [
        {"uri_endpoint": "http://localhost"}, {"uri_endpoint": "https://local host"},
        {"uri_endpoint": "https://localhost:70000"}, {"uri_endpoint": "https://user@localhost"},
        {"uri_path": "/kms/xks/v2"}, {"uri_path": "/a?b/kms/xks/v1"}, {"uri_path": "/" + "a" * 120 + "/kms/xks/v1"},
        {"access_key_id": "AKIA"}, {"access_key_id": "akiaaaaaaaaaaaaaaaaa"}, {"deadline_seconds": 0.0},
        {"region": "US"}, {"idle_connections": 0},
    ],
    ids=str,
)
def test_settings_are_checked(changed: dict[str, object]) -> None:
    """As AWS's CreateCustomKeyStore does."""
    good: dict[str, object] = {
        "uri_endpoint": "https://localhost", "uri_path": "/kms/xks/v1", "access_key_id": ACCESS_KEY,
    }
    assert XksSettings(**good).port == 443  # type: ignore[arg-type]  # a table of mixed values
    with pytest.raises(RequestRefused):
        XksSettings(**good | changed)  # type: ignore[arg-type]  # as above


def test_secrets_and_authorities_are_checked(tmp_path: Path) -> None:
    """At opening, before anything is sent."""
    for secret in ("", "A" * 42, "A" * 65, "-" * 43):
        with pytest.raises(RequestRefused):
            opened(XksSettings("https://localhost", "/kms/xks/v1", ACCESS_KEY), secret, Workshop(tmp_path))
    with pytest.raises(RequestRefused):
        opened(settings("https://localhost", tmp_path / "nothing"), SECRET, Workshop(tmp_path))
    store = opened(XksSettings("https://localhost", "/kms/xks/v1", ACCESS_KEY), SECRET, Workshop(tmp_path))
    assert SECRET not in repr(store) + repr(store._client)
