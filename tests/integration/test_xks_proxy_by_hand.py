"""The proxy against requests made from the specification by foreign code alone."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.xks import PATH, Proxy, running_proxy
from tests.support.xks_requests import METADATA, ByHand, b64, decrypt_body, encrypt_body

ENCRYPT, DECRYPT, ABOUT = (f"{PATH}/keys/ext-1/{action}" for action in ("encrypt", "decrypt", "metadata"))
HEALTH = f"{PATH}/health"
ABOUT_BODY = json.dumps({"requestMetadata": METADATA}).encode()


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """One for all tests here."""
    with running_proxy(tmp_path_factory.mktemp("proxy") / "data") as running:
        yield running


@pytest.fixture
def hand(proxy: Proxy) -> Iterator[ByHand]:
    """Signs as the user who may."""
    found = ByHand(proxy.endpoint, proxy.ca_file, proxy.access_key_id, proxy.secret)
    yield found
    found.close()


def records(proxy: Proxy) -> list[dict[str, Any]]:
    """The audit records, oldest first."""
    paths = sorted((proxy.server.data / "audit").rglob("*.jsonl"))
    return [json.loads(line)["event"] for path in paths for line in path.read_text().splitlines() if line]


@pytest.mark.parametrize("size", [1, 12, 4096, 4300])
@pytest.mark.parametrize("aad", [None, b"project=nile,department=marketing", bytes(8192)], ids=["no", "some", "most"])
def test_encrypts_and_decrypts(hand: ByHand, size: int, aad: bytes | None) -> None:
    """Up to the sizes that a proxy has to take, with the fields and the integrity value of the specification."""
    plaintext = bytes(size)
    sealed = hand.send(ENCRYPT, encrypt_body(plaintext, aad))
    assert sealed.status == 200
    assert set(sealed.found) == {
        "authenticationTag", "ciphertext", "ciphertextMetadata", "initializationVector", "ciphertextDataIntegrityValue",
    }
    parts = {name: base64.b64decode(value, validate=True) for name, value in sealed.found.items()}
    assert len(parts["ciphertext"]) == size
    assert len(parts["initializationVector"]) in (12, 16)
    assert len(parts["authenticationTag"]) == 16
    assert len(parts["ciphertextMetadata"]) <= 20
    value = hashlib.sha256(
        (aad or b"") + parts["ciphertextMetadata"] + parts["initializationVector"] + parts["ciphertext"]
        + parts["authenticationTag"]
    ).digest()
    assert parts["ciphertextDataIntegrityValue"] == value
    opened = hand.send(DECRYPT, decrypt_body(sealed.found, aad))
    assert (opened.status, opened.found) == (200, {"plaintext": b64(plaintext)})


def test_without_an_integrity_algorithm_no_value(hand: ByHand) -> None:
    """The field is there when it is asked for."""
    sealed = hand.send(ENCRYPT, encrypt_body(ciphertextDataIntegrityValueAlgorithm=None))
    assert "ciphertextDataIntegrityValue" not in sealed.found


def test_key_metadata(hand: ByHand) -> None:
    """As the specification's example answers."""
    answer = hand.send(ABOUT, ABOUT_BODY)
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.found == {"keySpec": "AES_256", "keyUsage": ["ENCRYPT", "DECRYPT"], "keyStatus": "ENABLED"}
    about_rsa = hand.send(f"{PATH}/keys/rsa/metadata", ABOUT_BODY)
    assert about_rsa.found["keySpec"] == "RSA_2048"


def test_health_status(hand: ByHand) -> None:
    """Every field there, at least one key manager."""
    body = json.dumps({"requestMetadata": {"kmsRequestId": "x", "kmsOperation": "KmsHealthCheck"}}).encode()
    answer = hand.send(HEALTH, body)
    assert answer.status == 200
    assert set(answer.found) == {
        "xksProxyFleetSize", "xksProxyVendor", "xksProxyModel", "ekmVendor", "ekmFleetDetails",
    }
    assert answer.found["ekmFleetDetails"][0]["healthStatus"] == "ACTIVE"


def test_records_tell_who_asked_for_what(proxy: Proxy, hand: ByHand) -> None:
    """A proxied call is recorded as Encrypt of the access key's user, with what the client noted, and no payload."""
    hand.send(ENCRYPT, encrypt_body(b"not to be seen"))
    hand.send(f"{PATH}/keys/nobody/encrypt", encrypt_body())
    done, unknown = records(proxy)[-2:]
    assert done["eventName"] == "Encrypt"
    assert done["userIdentity"]["accessKeyId"] == proxy.access_key_id
    assert done["userIdentity"]["userName"] == "proxy-user"
    assert done["resources"][0]["ARN"].endswith(proxy.keys["ext-1"])
    assert METADATA["kmsRequestId"] in json.dumps(done["additionalEventData"])
    assert done["tlsDetails"]["tlsVersion"] == "TLSv1.3"
    assert b64(b"not to be seen") not in json.dumps(done)
    assert (unknown["eventName"], unknown["errorCode"]) == ("Encrypt", "NotFoundException")


@pytest.mark.parametrize(
    ("field", "at"),
    [("ciphertext", 0), ("ciphertextMetadata", 0), ("ciphertextMetadata", 5), ("ciphertextMetadata", 19),
     ("initializationVector", 0), ("initializationVector", 15), ("authenticationTag", 15)],
)
def test_altered_ciphertexts(hand: ByHand, field: str, at: int) -> None:
    """Whatever is altered, the answer is the same."""
    sealed = hand.send(ENCRYPT, encrypt_body()).found
    data = bytearray(base64.b64decode(sealed[field]))
    data[at] ^= 1
    answer = hand.send(DECRYPT, decrypt_body(sealed | {field: b64(bytes(data))}))
    assert (answer.status, answer.error) == (400, "InvalidCiphertextException")


def test_the_additional_data_belongs_to_a_ciphertext(hand: ByHand) -> None:
    """Other data, none, and the metadata in its place (the specification's example of a mistake) do not open it."""
    sealed = hand.send(ENCRYPT, encrypt_body(aad=None)).found
    for body in (
        decrypt_body(sealed, b"other"),
        decrypt_body(sealed, base64.b64decode(sealed["ciphertextMetadata"]), ciphertextMetadata=None),
        decrypt_body(sealed, None, ciphertextMetadata=None),
        decrypt_body(sealed, None, initializationVector=b64(bytes(12))),
    ):
        answer = hand.send(DECRYPT, body)
        assert (answer.status, answer.error) == (400, "InvalidCiphertextException")
    assert hand.send(f"{PATH}/keys/ext-2/decrypt", decrypt_body(sealed, None)).status == 400
    assert hand.send(DECRYPT, decrypt_body(sealed, None)).status == 200


@pytest.mark.parametrize(
    "changed",
    [
        {"plaintext": None}, {"plaintext": ""}, {"plaintext": "a"}, {"plaintext": "YQ"}, {"plaintext": "YR=="},
        {"plaintext": b64(bytes(4301))}, {"plaintext": 7}, {"encryptionAlgorithm": None},
        {"encryptionAlgorithm": "AES_CBC"}, {"additionalAuthenticatedData": b64(bytes(8193))},
        {"additionalAuthenticatedData": []}, {"ciphertextDataIntegrityValueAlgorithm": "SHA_1"},
        {"requestMetadata": None}, {"requestMetadata": "x"},
        {"requestMetadata": {**METADATA, "kmsRequestId": ""}},
        {"requestMetadata": {**METADATA, "awsPrincipalArn": "a" * 2049}},
    ],
    ids=range(16),
)
def test_malformed_members(hand: ByHand, changed: dict[str, Any]) -> None:
    """400 ValidationException."""
    answer = hand.send(ENCRYPT, encrypt_body(**changed))
    assert (answer.status, answer.error) == (400, "ValidationException")


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"null", b'"x"', b"\xff", b"[" * 60_000, b'{"a":' * 9 + b"1" + b"}" * 9, b'{"a":1,"a":2}',
     b'{"a":NaN}', b'{"a":1e999}', b'{"a":' + b"9" * 5000 + b"}", b'{"requestMetadata":{}}'],
    ids=range(13),
)
def test_malformed_bodies(hand: ByHand, body: bytes) -> None:
    """400 ValidationException, at every URI that takes a body."""
    for path in (ENCRYPT, DECRYPT, ABOUT, HEALTH):
        answer = hand.send(path, body)
        assert (answer.status, answer.error) == (400, "ValidationException")


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "HEAD", "OPTIONS"])
def test_post_alone(hand: ByHand, method: str) -> None:
    """405 at the URIs of the API."""
    for path in (ENCRYPT, DECRYPT, ABOUT, HEALTH):
        answer = hand.send(path, b"", method=method)
        assert answer.status == 405
        assert answer.headers["allow"] == "POST"


@pytest.mark.parametrize(
    "path",
    ["/", PATH, f"{PATH}/", f"{PATH}/keys", f"{PATH}/keys/ext-1", f"{PATH}/keys/ext-1/sign", f"{PATH}/health/x",
     f"{PATH}/keys/{'k' * 129}/encrypt", f"{PATH}/keys/a%2Fb/encrypt", f"{PATH}/keys//encrypt", "/kms/xks/v1/health",
     "/example/kms/xks/v2/health", f"{PATH}/keys/ext-1/../ext-1/encrypt"],
)
def test_other_paths(hand: ByHand, path: str) -> None:
    """404 InvalidUriPathException."""
    answer = hand.send(path, encrypt_body())
    assert (answer.status, answer.error) == (404, "InvalidUriPathException")


def test_curl(proxy: Proxy) -> None:
    """The specification wants that curl can be used to find out what is wrong (appendix D)."""
    command = [
        "curl", "--silent", "--show-error", "--cacert", str(proxy.ca_file), "--header", "Content-Type:application/json",
        "--aws-sigv4", "aws:amz:us-east-1:kms-xks-proxy", "--user", f"{proxy.access_key_id}:{proxy.secret}",
        "--data-binary", ABOUT_BODY.decode(), f"{proxy.endpoint}{ABOUT}",
    ]
    answer = json.loads(subprocess.run(command, capture_output=True, check=True, text=True).stdout)
    assert answer["keySpec"] == "AES_256"


def test_load_balancers(hand: ByHand) -> None:
    """GET /ping needs no signature."""
    assert hand.send("/ping", b"", {"Host": hand.host}, method="GET").status == 200


def test_altered_requests(hand: ByHand) -> None:
    """401, whatever of a signed request is altered, left out or added where it has to be signed."""
    body = encrypt_body()
    good = hand.signed(ENCRYPT, body)
    assert hand.send(ENCRYPT, body, good).status == 200
    authorization = good["Authorization"]
    bad: list[tuple[str, bytes, dict[str, str]]] = [
        (ENCRYPT, encrypt_body(b"Hello World?"), good),
        (ENCRYPT.replace("ext-1", "ext-2"), body, good),
        (DECRYPT, body, good),
        (ENCRYPT, body, good | {"Host": "proxy.example"}),
        (ENCRYPT, body, good | {"X-Amz-Date": "20200101T000000Z"}),
        (ENCRYPT, body, good | {"X-Amz-Date": "yesterday"}),
        (ENCRYPT, body, good | {"X-Amz-Security-Token": "token"}),
        (ENCRYPT, body, good | {"X-Amz-Content-Sha256": "UNSIGNED-PAYLOAD"}),
        (ENCRYPT, body, {name: value for name, value in good.items() if name != "Authorization"}),
        (ENCRYPT, body, {name: value for name, value in good.items() if name != "X-Amz-Date"}),
    ]
    for old, new in (
        ("us-east-2", "us-east-1"), ("kms-xks-proxy", "kms"), ("aws4_request", "aws5_request"),
        ("AWS4-HMAC-SHA256", "AWS4-HMAC-SHA1"), ("host;x-amz-date", "x-amz-date"), ("host;x-amz-date", "host"),
        ("host;x-amz-date", "x-amz-date;host"), ("host;x-amz-date", "host;x-amz-date;x-amz-other"),
        ("Signature=", "Signature=0"), ("Signature=", "Signatur="), (", Signature", ", A=b, Signature"),
        ("Credential=", "Credential=A"), (authorization, "Bearer x"), (authorization, ""), (authorization, "x" * 9000),
    ):
        assert old in authorization
        bad.append((ENCRYPT, body, good | {"Authorization": authorization.replace(old, new)}))
    digit = authorization[-1]
    bad.append((ENCRYPT, body, good | {"Authorization": authorization[:-1] + ("0" if digit != "0" else "1")}))
    for path, sent, headers in bad:
        answer = hand.send(path, sent, headers)
        assert (answer.status, answer.error) == (401, "AuthenticationFailedException"), headers
        assert answer.found["errorMessage"] == "The request could not be authenticated."


def test_old_requests_and_other_services(hand: ByHand) -> None:
    """Five minutes, and signatures for this service alone; the Region in the scope is the client's own matter."""
    body = encrypt_body()
    for headers in (
        hand.signed(ENCRYPT, body, age=310), hand.signed(ENCRYPT, body, age=-310),
        hand.signed(ENCRYPT, body, service="kms"),
    ):
        assert hand.send(ENCRYPT, body, headers).status == 401
    assert hand.send(ENCRYPT, body, hand.signed(ENCRYPT, body, age=280, region="eu-north-1")).status == 200


def test_who_is_not_authenticated_learns_no_names(proxy: Proxy) -> None:
    """Offered or not, disabled or not: 401."""
    stranger = ByHand(proxy.endpoint, proxy.ca_file, "AKIAAAAAAAAAAAAAAAAA", "x" * 43)
    for path in (ENCRYPT, f"{PATH}/keys/nobody/encrypt", f"{PATH}/keys/gone/metadata", HEALTH):
        assert stranger.send(path, b"nonsense").status == 401
    stranger.close()


def test_bodies_are_bounded(hand: ByHand) -> None:
    """A body of more than 64 KiB is not read to its end."""
    body = encrypt_body(filler="x" * 65_536)
    headers = hand.signed(ENCRYPT, body)
    answer = hand.send(ENCRYPT, body, headers)
    assert (answer.status, answer.error) == (400, "ValidationException")
    assert answer.headers["connection"] == "close"


def test_slow_heads_are_given_up(proxy: Proxy) -> None:
    """Who sends half a head is disconnected after some seconds."""
    context = ssl.create_default_context(cafile=str(proxy.ca_file))
    port = int(proxy.endpoint.rpartition(":")[2])
    with (
        socket.create_connection(("127.0.0.1", port), timeout=20) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as connection,
    ):
        connection.sendall(b"POST /example HTTP/1.1\r\nHost: localhost\r\n")
        with contextlib.suppress(ConnectionResetError, ssl.SSLError):
            assert connection.recv(1) == b""


def test_bodies_that_trickle_take_nobodys_place(tmp_path: Path) -> None:
    """A request counts among those in flight when its body has come."""
    with running_proxy(tmp_path / "data", "--set", "limits.calls_in_flight=2") as few, contextlib.ExitStack() as held:
        context = ssl.create_default_context(cafile=str(few.ca_file))
        port = int(few.endpoint.rpartition(":")[2])
        trickling = []
        for _ in range(4):
            plain = held.enter_context(socket.create_connection(("127.0.0.1", port), timeout=20))
            trickling.append(held.enter_context(context.wrap_socket(plain, server_hostname="localhost")))
        found = ByHand(few.endpoint, few.ca_file, few.access_key_id, few.secret)
        held.callback(found.close)
        body = encrypt_body()
        head = "".join(f"{name}: {value}\r\n" for name, value in found.signed(ENCRYPT, body).items())
        head = f"POST {ENCRYPT} HTTP/1.1\r\n{head}Content-Length: {len(body)}\r\n\r\n"
        for number, connection in enumerate(trickling):
            connection.sendall(head.encode() + body[: 20 * number])
        for part in body[60:64]:
            trickling[-1].sendall(bytes([part]))
            assert found.send(ENCRYPT, body).status == 200
        # One whose body does come is answered.
        trickling[0].sendall(body)
        assert trickling[0].recv(15) == b"HTTP/1.1 200 OK"


def test_signatures_that_do_not_hold_are_not_all_recorded(tmp_path: Path) -> None:
    """Beyond so many they are refused alike and counted; whoever signs right from the same address goes on."""
    settings = ("throttling.failures_of_source=0.001", "throttling.failures_burst_seconds=3000")
    arguments = [word for setting in settings for word in ("--set", setting)]
    with running_proxy(tmp_path / "data", *arguments) as strict, contextlib.ExitStack() as used:
        wrong, right = (
            ByHand(strict.endpoint, strict.ca_file, strict.access_key_id, secret)
            for secret in ("guessed", strict.secret)
        )
        for hand in (wrong, right):
            used.callback(hand.close)
        answers = {(answer.status, json.dumps(answer.found)) for _ in range(8)
                   if (answer := wrong.send(ENCRYPT, encrypt_body()))}
        assert [status for status, _ in answers] == [401]
        unknown = [record for record in records(strict) if record["userIdentity"]["type"] == "Unknown"]
        assert len(unknown) == 3
        assert right.send(ENCRYPT, encrypt_body()).status == 200
        assert records(strict)[-1]["eventName"] == "Encrypt"
