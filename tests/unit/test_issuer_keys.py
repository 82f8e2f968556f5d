"""Keys that are fetched from an issuer: over real HTTP and HTTPS, kept, renewed, and given up when they are too old."""

from __future__ import annotations

import json
import socket
import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.inprocess import START, InProcess
from tests.support.issuer import AUDIENCE, Issuer, SigningKey, compact
from tests.support.unresponsive import deaf_addresses

from kagitori_server.bootstrap.certificates import prepare
from kagitori_server.federation.fetching import FetchFailed, HttpsFetcher, fetchable
from kagitori_server.federation.issuer_keys import KeyAges
from kagitori_server.federation.keys import KeySetRefused, read_key_set
from kagitori_server.model.errors import DependencyTimeoutException, UnrecognizedClientException

ROLE = "arn:aws:iam::000000000000:role/workloads"
AGES = KeyAges(refresh=300, maximum=3_600, between_fetches=60, between_failures=5, wait=10)


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    with Issuer(now=START) as opened:
        yield opened


@pytest.fixture
def service(tmp_path: Path, issuer: Issuer) -> Iterator[InProcess]:
    """A service that fetches the issuer's keys."""
    with InProcess(tmp_path, ages=AGES, fetch_seconds=2) as opened:
        trust = json.dumps({"Version": "2012-10-17", "Statement": [{
            "Effect": "Allow", "Action": "sts:AssumeRoleWithWebIdentity",
            "Principal": {"Federated": f"arn:aws:iam::000000000000:oidc-provider/{issuer.name}"},
        }]})
        opened.call("CreateRole", {"role_name": "workloads", "assume_role_policy_document": trust})
        opened.call("CreateOidcProvider", {"issuer_url": issuer.url, "audiences": [AUDIENCE], "role_arn": ROLE})
        yield opened


def call(service: InProcess, token: str) -> None:
    service.call("GetCallerIdentity", {}, token=token)


def call_for(service: InProcess, token: str, seconds: float) -> None:
    """Calls again and again, until it is refused."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        call(service, token)
        time.sleep(0.02)


def unavailable(service: InProcess, token: str) -> None:
    with pytest.raises(DependencyTimeoutException):
        call(service, token)


def lasting(issuer: Issuer) -> str:
    return issuer.token(exp=int(START) + 100_000)


def test_keys_are_fetched_once(service: InProcess, issuer: Issuer) -> None:
    """By the first call; the next ones find them, whatever they do."""
    for name in ("a1", "b2", "c3"):
        call(service, issuer.token(sub=name))
    assert issuer.asked == ["/.well-known/openid-configuration", "/keys"]


def test_an_unknown_key_is_asked_for_once_a_minute(service: InProcess, issuer: Issuer) -> None:
    """A key that the issuer begins to use is known at once; made-up ids cost one fetch a minute."""
    call(service, issuer.token())
    fresh = SigningKey(key_id="key-2")
    issuer.publish(issuer.signing, fresh)
    service.clock.advance(60)
    call(service, compact(issuer.header(kid="key-2"), issuer.claims(), fresh))
    for number in range(5):
        with pytest.raises(UnrecognizedClientException):
            call(service, compact(issuer.header(kid=f"made-up-{number}"), issuer.claims(), fresh))
    assert issuer.asked.count("/keys") == 2
    service.clock.advance(60)
    for number in range(5):
        with pytest.raises(UnrecognizedClientException):
            call(service, compact(issuer.header(kid=f"made-up-{number}"), issuer.claims(), fresh))
    assert issuer.asked.count("/keys") == 3


def test_keys_are_renewed_in_the_background(service: InProcess, issuer: Issuer) -> None:
    """The call that finds them old doesn't wait; a key that was withdrawn is then refused, a token of it that was
    accepted before too."""
    token = lasting(issuer)
    call(service, token)
    service.clock.advance(301)
    issuer.publish(SigningKey(key_id="key-2"))
    issuer.open.clear()
    call(service, token)
    issuer.open.set()
    with pytest.raises(UnrecognizedClientException):
        call_for(service, token, seconds=20)
    assert issuer.asked.count("/keys") == 2


def test_an_issuer_that_is_down(service: InProcess, issuer: Issuer) -> None:
    """Its keys serve as long as they may, then nothing is accepted; when it's back, all is well again."""
    token = lasting(issuer)
    call(service, token)
    issuer.status = 503
    for seconds, fetches in ((301, 1), (3_298, 1)):
        service.clock.advance(seconds)
        call(service, token)
        assert issuer.asked.count("/keys") == fetches
    service.clock.advance(2)
    unavailable(service, token)
    unavailable(service, lasting(issuer))
    issuer.status = 200
    service.clock.advance(60)
    call(service, token)


def test_an_issuer_that_is_down_from_the_start(service: InProcess, issuer: Issuer) -> None:
    """Asked every few seconds, not by each call."""
    issuer.status = 500
    for _ in range(5):
        unavailable(service, issuer.token())
    assert len(issuer.asked) == 1
    issuer.status = 200
    service.clock.advance(5)
    call(service, issuer.token())


def test_an_issuer_that_is_gone(service: InProcess, issuer: Issuer) -> None:
    issuer.close()
    unavailable(service, issuer.token())


@pytest.mark.parametrize("path", ["/.well-known/openid-configuration", "/keys"])
@pytest.mark.parametrize(
    "answer",
    [b"", b"nonsense", b"[]", b"{}", b'{"keys": []}', b'{"keys": 1}', b'{"keys": [1]}', b"\xff\xfe", b"[" * 60_000,
     b" " * 65_537, b'{"keys": [' + b'{"kty":"oct"},' * 100 + b'{"kty":"oct"}]}', b'{"keys": [], "keys": []}',
     b'{"keys": [{"kty": "RSA", "n": "AQAB", "e": "AQAB", "d": "AQAB"}]}',
     b'{"keys": [{"kty": "EC", "crv": "P-256"}]}'],
    ids=["empty", "nonsense", "list", "object", "none", "number", "no key", "binary", "deep", "huge", "many", "twice",
         "private", "half"],
)
def test_garbage(service: InProcess, issuer: Issuer, path: str, answer: bytes) -> None:
    issuer.answers[path] = answer
    unavailable(service, issuer.token())


@pytest.mark.parametrize(
    "members",
    [{"issuer": "https://issuer.example"}, {"issuer": None}, {"jwks_uri": None}, {"jwks_uri": "file:///etc/passwd"},
     {"jwks_uri": "http://192.0.2.1/keys"}, {"jwks_uri": "https://user@127.0.0.1/keys"}, {"jwks_uri": "/keys"},
     {"jwks_uri": "https://127.0.0.1:0/keys"}, {"jwks_uri": "https://127.0.0.1/a b"}, {"jwks_uri": "x" * 3_000}],
    ids=repr,
)
def test_discovery_that_leads_astray(service: InProcess, issuer: Issuer, members: dict[str, object]) -> None:
    issuer.discover(**members)
    unavailable(service, issuer.token())
    assert "/keys" not in issuer.asked


@pytest.mark.parametrize("status", [301, 302, 307, 308, 204, 206, 401, 404, 500])
def test_other_answers(service: InProcess, issuer: Issuer, status: int) -> None:
    """Redirects too: keys come from where the issuer says that they are."""
    issuer.status, issuer.headers = status, {"Location": f"{issuer.url}/keys"}
    unavailable(service, issuer.token())
    assert len(issuer.asked) == 1


def test_a_slow_issuer(service: InProcess, issuer: Issuer) -> None:
    """A whole fetch has one deadline, though every byte comes in time."""
    issuer.pause = 0.05
    began = time.monotonic()
    unavailable(service, issuer.token())
    assert time.monotonic() - began < 5


def test_an_answer_that_is_cut(service: InProcess, issuer: Issuer) -> None:
    issuer.headers = {"Content-Length": "9999"}
    unavailable(service, issuer.token())


def test_writes_wait_for_nothing(service: InProcess, issuer: Issuer) -> None:
    """A write by a new token has its keys fetched first, outside the thread that writes."""
    with pytest.raises(Exception, match="not authorized to perform: kms:CreateKey"):
        service.call("CreateKey", {}, token=issuer.token())
    issuer.asked.clear()
    with pytest.raises(Exception, match="not authorized"):
        service.call("CreateKey", {}, token=issuer.token(sub="another"))
    assert issuer.asked == []


def test_nothing_of_a_token_is_logged(
    service: InProcess, issuer: Issuer, caplog: pytest.LogCaptureFixture
) -> None:
    """The log says why it was refused, for an issuer that is trusted; of others, nothing at all."""
    caplog.set_level("DEBUG")
    call(service, issuer.token())
    token = issuer.token(aud="other")
    strange = issuer.token(iss="https://issuer.example")
    for each in (token, strange):
        with pytest.raises(UnrecognizedClientException):
            call(service, each)
    assert "it is for another audience" in caplog.text
    assert "issuer.example" not in caplog.text
    assert not any(part in caplog.text for part in (*token.split("."), *strange.split(".")))


def test_https(tmp_path: Path) -> None:
    """A certificate has to be trusted and to be for that host."""
    local = prepare(tmp_path, ("127.0.0.1",), time.time)
    with Issuer(tmp_path / "server.crt", tmp_path / "server.key", now=START) as issuer:
        trusting = ssl.create_default_context(cadata=local.authority.pem.decode())
        assert json.loads(HttpsFetcher(trusting, 5)(issuer.url)) == json.loads(issuer.answers["/keys"])
        with pytest.raises(FetchFailed, match="SSLCertVerificationError"):
            HttpsFetcher(ssl.create_default_context(), 5)(issuer.url)
    with (
        Issuer(tmp_path / "server.crt", tmp_path / "server.key", now=START, host="127.0.0.2") as other,
        pytest.raises(FetchFailed, match="SSLCertVerificationError"),
    ):
        HttpsFetcher(trusting, 5)(other.url)


def test_a_handshake_that_never_comes(tmp_path: Path, issuer: Issuer) -> None:
    """TLS with who speaks none, or nothing."""
    began = time.monotonic()
    with pytest.raises(FetchFailed):
        HttpsFetcher(ssl.create_default_context(), 0.5)(issuer.url.replace("http:", "https:"))
    assert time.monotonic() - began < 3


def test_a_name_of_many_addresses_that_never_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """All of them together get no more time than one."""
    with deaf_addresses(20) as found:
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
        fetch, began = HttpsFetcher(ssl.create_default_context(), 0.4), time.monotonic()
        with pytest.raises(FetchFailed, match="took too long"):
            fetch("https://issuer.example")
        assert time.monotonic() - began < 4


def test_addresses_of_a_kind_that_the_machine_lacks_are_passed_over(
    issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name may have an IPv6 address first where the kernel has no IPv6. No kernel has the family 63."""
    address = ("127.0.0.1", int(issuer.url.rpartition(":")[2]))
    found = [(family, socket.SOCK_STREAM, 0, "", address) for family in (63, socket.AF_INET)]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    assert HttpsFetcher(ssl.create_default_context(), 5)(issuer.url)


@pytest.mark.parametrize(
    ("url", "plain", "good"),
    [
        ("https://issuer.example", False, True), ("https://issuer.example:8443/realms/a?b=c", False, True),
        ("http://127.0.0.1:8080", True, True), ("http://localhost/x", True, True),
        ("http://127.0.0.1:8080", False, False), ("http://192.0.2.1", True, False),
        ("http://localhost.example", True, False),
        ("HTTPS://issuer.example", False, False), ("https://", False, False), ("https:///x", False, False),
        ("https://a:b@issuer.example", False, False), ("https://issuer.example:99999", False, False),
        ("https://issuer.example/#x", False, False), ("https://issuer.example/\n", False, False),
        ("ftp://issuer.example", True, False), ("https://[::1]/", True, False),
        ("https://issuer.example\\@evil", False, False),
    ],
)
def test_addresses(url: str, plain: bool, good: bool) -> None:
    assert (fetchable(url, plain=plain) is not None) is good


def _set(*keys: object) -> str:
    return json.dumps({"keys": list(keys)})


EC, RSA = SigningKey("ES256"), SigningKey("RS256")


@pytest.mark.parametrize(
    "jwk",
    [
        EC.jwk(use="enc"), EC.jwk(key_ops=["sign"]), EC.jwk(key_ops="verify"), EC.jwk(alg="ES384"), EC.jwk(alg="HS256"),
        EC.jwk(alg=1), {**EC.jwk(), "crv": "secp256k1"}, {"kty": "oct", "k": "AAAA"}, {"kty": "XYZ"},
        SigningKey("RS256", bits=1024).jwk(), RSA.jwk(e="B" * 8), {**EC.jwk(), "crv": 7},
    ],
    ids=lambda jwk: f"{jwk.get('kty')} {jwk.get('alg')} {jwk.get('use')} {jwk.get('key_ops')}",
)
def test_keys_that_are_left_out(jwk: dict[str, Any]) -> None:
    """A set of such keys alone is refused; beside others they are overlooked."""
    with pytest.raises(KeySetRefused):
        read_key_set(_set(jwk))
    assert len(read_key_set(_set(jwk, EC.jwk())).keys) == 1


@pytest.mark.parametrize(
    "jwk",
    [
        EC.jwk(d="AAAA"), RSA.jwk(p="AAAA"), EC.jwk(x="AAAA"), EC.jwk(x=1), EC.jwk(y=None), EC.jwk(kid=1),
        {**EC.jwk(), "kty": 1}, RSA.jwk(n="ä"), RSA.jwk(n="!!"), {}, [], "key", None, EC.jwk(x=EC.jwk()["y"]),
    ],
    ids=range(14),
)
def test_key_sets_that_are_refused(jwk: object) -> None:
    """As a whole, and without a word of them in the message."""
    with pytest.raises(KeySetRefused) as caught:
        read_key_set(_set(EC.jwk(), jwk))
    assert caught.value.__cause__ is None
    assert not any(str(value) in str(caught.value) for value in EC.jwk().values() if len(str(value)) > 20)


def test_two_keys_of_one_id() -> None:
    """Told apart by what they sign; if that doesn't do it, neither is used."""
    assert read_key_set(_set(EC.jwk(), RSA.jwk())).find("key-1", "RS256") is not None
    assert read_key_set(_set(EC.jwk(), SigningKey().jwk())).find("key-1", "ES256") is None
