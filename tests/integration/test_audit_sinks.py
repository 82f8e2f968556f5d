"""Sinks of audit records against real receivers: all records, in order, at least once, and in nobody's way."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import itertools
import json
import logging
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsPartialSuccess,
    ExportLogsServiceRequest,
    ExportLogsServiceResponse,
)
from tests.support.receivers import OK, Answer, Authority, HttpReceiver, Post, SyslogReceiver, until
from tests.support.unresponsive import deaf_addresses, dripping

from kagitori_server.audit.trail import Trail, open_trail
from kagitori_server.sinks import Follower, Pace, SinkRefused, SinkTerms, open_sink, stop_all
from kagitori_server.sinks.delivery import Batch, DeliveryFailed
from kagitori_server.sinks.syslog import Place, Syslog
from kagitori_server.sinks.webhook import DELIVERY, SIGNATURE

SECRET = b"a secret for webhooks"
TOKEN = "MARKED-token-of-a-sink"
FAST = Pace(look=0.02, look_around=0.1, first_wait=0.02, longest_wait=0.1)


def record(number: int, **more: Any) -> bytes:
    """An audit record, as far as sinks look at it."""
    event = {
        "eventVersion": "1.11", "eventTime": "2026-09-21T14:13:20Z", "eventName": "Encrypt",
        "requestParameters": {"keyId": "alias/a", "pad": "x" * 200}, "eventID": f"event-{number}", **more,
    }
    return json.dumps(event, separators=(",", ":")).encode()


class Scene:
    """A trail and the sinks that follow it."""

    def __init__(self, folder: Path, authority: Authority) -> None:
        self.folder = folder
        self.authority = authority
        self.trail: Trail = open_trail(folder / "audit")
        self.followers: list[Follower] = []
        self._numbers = itertools.count(1)
        self.appended: list[str] = []

    def append(self, count: int = 1, **more: Any) -> None:
        """So many new records."""
        for _ in range(count):
            number = next(self._numbers)
            self.trail.append_blocking(record(number, **more))
            self.appended.append(f"event-{number}")

    def follow(self, url: str, kind: str = "webhook", *, pace: Pace = FAST, **terms: Any) -> Follower:
        """A sink that follows from now on."""
        values: dict[str, Any] = {
            "name": "sink", "secret": SECRET if kind == "webhook" else None, "token": None,
            "authorities": self.authority.pem, "batch_records": 10, "seconds": 2.0, "from_beginning": True, **terms,
        }
        described = SinkTerms(kind=kind, url=url, **values)
        follower = open_sink(
            described, self.folder / "sinks", self.folder / "audit", self.trail, "0", time.time, pace=pace
        )
        self.followers.append(follower)
        follower.start()
        return follower

    def close(self) -> None:
        """Ends all."""
        stop_all(self.followers, 10)
        self.followers.clear()
        self.trail.close()

    def reopen(self) -> None:
        """As a restart."""
        self.close()
        self.trail = open_trail(self.folder / "audit")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def scene(tmp_path: Path, authority: Authority) -> Iterator[Scene]:
    made = Scene(tmp_path, authority)
    yield made
    made.close()


@pytest.fixture
def receiver(authority: Authority) -> Iterator[HttpReceiver]:
    with HttpReceiver(authority) as opened:
        yield opened


def taken(receiver: HttpReceiver) -> list[str]:
    """The ids of all records that were posted to a webhook, whatever it answered."""
    return [event["eventID"] for post in receiver.posts for event in json.loads(post.body)["records"]]


# --- webhooks -----------------------------------------------------------------------------------------------------


def test_all_records_arrive_in_order_and_signed(scene: Scene, receiver: HttpReceiver) -> None:
    """In batches of at most so many, each of which says where it belongs and proves where it comes from."""
    scene.append(25)
    follower = scene.follow(receiver.url, token=TOKEN)
    until(lambda: follower.status().lag == 0)
    scene.append(3)
    until(lambda: follower.status().delivered == 28)
    assert taken(receiver) == scene.appended
    sizes = [len(json.loads(post.body)["records"]) for post in receiver.posts]
    assert max(sizes) == 10
    first, expected = receiver.posts[0], 1
    for post in receiver.posts:
        batch = json.loads(post.body)
        chain_id = json.loads(first.body)["chain_id"]
        assert (batch["version"], batch["sink"], batch["chain"], batch["chain_id"]) == (1, "sink", "chain-00", chain_id)
        assert batch["first_seq"] == expected
        expected = batch["last_seq"] + 1
        assert len(batch["records"]) == expected - batch["first_seq"]
        found = re.fullmatch(r"t=([0-9]+),v1=([0-9a-f]{64})", post.headers[SIGNATURE])
        assert found
        assert abs(int(found[1]) - time.time()) < 60
        assert hmac.new(SECRET, f"{found[1]}.".encode() + post.body, hashlib.sha256).hexdigest() == found[2]
        assert post.headers[DELIVERY] == f"{chain_id[:32]}-{batch['first_seq']}-{batch['last_seq']}"
        assert (post.path, post.headers["Content-Type"]) == ("/audit?from=tests", "application/json")
        assert post.headers["Authorization"] == f"Bearer {TOKEN}"
    assert follower.status() == ("sink", "webhook", True, 28, 0, 0)


def test_a_restart_goes_on_where_it_was(scene: Scene, receiver: HttpReceiver) -> None:
    """What came meanwhile arrives, and nothing twice; also what another process left in a chain of its own."""
    scene.append(5)
    scene.follow(receiver.url)
    until(lambda: taken(receiver) == scene.appended)
    scene.close()
    other = open_trail(scene.folder / "audit")
    other.append_blocking(record(900))
    scene.trail = open_trail(scene.folder / "audit")
    assert scene.trail.position().chain == "chain-01"
    left = other.position().seq
    follower = scene.follow(receiver.url)
    scene.append(2)
    until(lambda: len(taken(receiver)) == 7)
    time.sleep(0.3)
    assert "event-900" not in taken(receiver), "the chain of a process that runs is its own to follow"
    other.close()
    until(lambda: "event-900" in taken(receiver))
    assert sorted(taken(receiver)) == sorted([*scene.appended, "event-900"])
    # Noted once the receiver has answered.
    until(lambda: follower.sent("chain-00") == left)
    until(lambda: follower.sent("chain-01") == scene.trail.position().seq)


def test_a_new_sink_begins_now_unless_told(scene: Scene, receiver: HttpReceiver) -> None:
    """With what comes after it was made, though it be before it starts."""
    scene.append(3)
    follower = scene.follow(receiver.url, from_beginning=False)
    scene.append(2)
    until(lambda: follower.status().delivered == 2)
    assert taken(receiver) == scene.appended[3:]
    # By then it isn't new any more: nothing is left out.
    stop_all(scene.followers, 10)
    scene.append(2)
    scene.follow(receiver.url, from_beginning=False)
    until(lambda: taken(receiver) == scene.appended[3:])


REFUSALS: dict[str, list[Answer | Callable[[Post], Answer | None]]] = {
    "unavailable": [(503, {}, b"busy"), (500, {}, b""), OK],
    "not so fast": [(429, {"Retry-After": "0"}, b""), OK],
    "forbidden for a while": [(403, {}, b""), OK],
    "redirect": [(307, {"Location": "/elsewhere"}, b""), (302, {"Location": "https://127.0.0.1:1/"}, b""), OK],
    "hangs up": [lambda _post: None, OK],
    "not modified": [(304, {}, b""), OK],
}


@pytest.mark.parametrize("answers", REFUSALS.values(), ids=REFUSALS)
def test_what_is_not_taken_is_sent_again(
    scene: Scene, receiver: HttpReceiver, answers: list[Answer | Callable[[Post], Answer | None]]
) -> None:
    """The same batch under the same name, until it is taken; no redirect is followed."""
    receiver.behaviour.answers = list(answers)
    scene.append(3)
    follower = scene.follow(receiver.url)
    until(lambda: follower.status().delivered == 3)
    assert len(receiver.posts) == len(answers)
    assert len({post.headers[DELIVERY] for post in receiver.posts}) == 1
    assert {post.path for post in receiver.posts} == {"/audit?from=tests"}
    assert follower.status().failures == len(answers) - 1


def test_batches_that_are_too_large_are_made_smaller(scene: Scene, receiver: HttpReceiver) -> None:
    """As far as single records."""

    def narrow(post: Post) -> Answer:
        return OK if len(json.loads(post.body)["records"]) <= 2 else (413, {}, b"")

    receiver.behaviour.answers = [narrow]
    scene.append(9)
    follower = scene.follow(receiver.url)
    until(lambda: follower.status().delivered == 9)
    assert [event for event in dict.fromkeys(taken(receiver))] == scene.appended  # noqa: C416 - the order counts


def test_receivers_that_are_not_what_they_should_be(scene: Scene, tmp_path: Path) -> None:
    """A certificate of somebody else; one for another name; no TLS at all; nobody."""
    stranger = Authority(tmp_path / "stranger")
    with HttpReceiver(stranger) as impostor, HttpReceiver(None) as plain:
        followers = [
            scene.follow(impostor.url, name="impostor"),
            scene.follow(plain.url.replace("http:", "https:"), name="plain"),
            scene.follow("https://127.0.0.1:1/", name="nobody"),
        ]
        scene.append(1)
        until(lambda: all(follower.status().failures > 2 for follower in followers))
        assert not any(follower.status().up or follower.status().delivered for follower in followers)
        assert (impostor.posts, plain.posts) == ([], [])
    with HttpReceiver(scene.authority) as right:
        named = scene.follow(right.url.replace("127.0.0.1", "127.0.0.2"), name="name")
        until(lambda: named.status().failures > 1)
        assert right.posts == []


def test_a_sink_that_hangs_is_in_nobodys_way(scene: Scene, receiver: HttpReceiver) -> None:
    """Records are appended as fast as ever, other sinks get them, and they arrive when it answers."""
    with HttpReceiver(scene.authority) as slow:
        slow.behaviour.answers = [lambda _post: time.sleep(4) or OK, OK]  # type: ignore[func-returns-value]
        hanging = scene.follow(slow.url, name="slow", seconds=1.0)
        scene.append(1)
        until(lambda: len(slow.posts) == 1)
        working = scene.follow(receiver.url, name="working", batch_records=500)
        began = time.monotonic()
        scene.append(500)
        until(lambda: taken(receiver) == scene.appended)
        assert time.monotonic() - began < 4
        assert hanging.status().lag >= 500
        until(lambda: hanging.status().lag == 0)
        assert set(taken(slow)) == set(scene.appended)
        assert working.status().failures == 0


@pytest.mark.parametrize("secured", [True, False])
@pytest.mark.parametrize("head", [b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"])
def test_a_receiver_that_never_comes_to_an_end_is_given_up(scene: Scene, head: bytes, *, secured: bool) -> None:
    """Though no single wait for it is long: a header without an end, a body that drips."""
    with dripping(head, scene.authority.context if secured else None) as port:
        follower = scene.follow(f"{'https' if secured else 'http'}://127.0.0.1:{port}/", seconds=0.4)
        scene.append(1)
        until(lambda: follower.status().failures > 1, 5)
    assert follower.status().delivered == 0


def test_one_process_at_a_time_follows_a_chain(scene: Scene, receiver: HttpReceiver) -> None:
    """Two followers of one sink, as those of two processes that look at the same left chain."""
    scene.append(20)
    first, second = scene.follow(receiver.url, batch_records=1), scene.follow(receiver.url, batch_records=1)
    until(lambda: first.status().delivered + second.status().delivered == 20)
    assert taken(receiver) == scene.appended


def test_a_damaged_place_means_from_the_beginning(scene: Scene, receiver: HttpReceiver) -> None:
    """Twice is better than never; and the chain's own identity counts, not its name."""
    scene.append(2)
    scene.follow(receiver.url)
    until(lambda: taken(receiver) == scene.appended)
    stop_all(scene.followers, 10)
    for content in (b"", b"{", b'{"chain_id": 1}', b'{"chain_id":"x","segment":9,"offset":9,"seq":9}', b"[]", b"\xff"):
        receiver.posts.clear()
        (scene.folder / "sinks" / "sink" / "chain-00.json").write_bytes(content)
        scene.follow(receiver.url)
        until(lambda: taken(receiver) == scene.appended)
        stop_all(scene.followers, 10)


# --- syslog -------------------------------------------------------------------------------------------------------

MESSAGE = re.compile(
    rb"<(1[01][0-9])>1 (2026-09-21T14:13:20Z) ([!-~]{1,255}) kagitori ([0-9]+) ([!-~]{1,32}) "
    rb'\[meta sequenceId="([0-9]+)"\] (\{.*\})'
)


@pytest.mark.parametrize("transport", ["tcp", "tls", "udp"])
def test_syslog(scene: Scene, transport: str) -> None:
    """RFC 5424 messages, framed by their length on streams; refusals are warnings of the facility for audits."""
    with SyslogReceiver(transport, scene.authority if transport == "tls" else None) as server:
        follower = scene.follow(server.url, "syslog")
        scene.append(12)
        scene.append(1, errorCode="AccessDenied", eventName="A name of\nmore than thirty-two characters")
        until(lambda: len(server.messages) == 13)
        found = [match for message in server.messages if (match := MESSAGE.fullmatch(message))]
        assert len(found) == 13
        assert [json.loads(match[7])["eventID"] for match in found] == scene.appended
        assert [int(match[6]) for match in found] == list(range(1, 14))
        assert [int(match[1]) for match in found] == [13 * 8 + 6] * 12 + [13 * 8 + 4]
        assert found[-1][5] == b"Anameofmorethanthirty-twocharact"
        until(lambda: follower.status().delivered == 13)


def test_syslog_servers_that_hang_up(scene: Scene) -> None:
    """Records that a closed connection hasn't taken for certain are sent again over a new one."""
    with SyslogReceiver("tcp") as server:
        server.hang_up_after = 1
        scene.follow(server.url, "syslog", batch_records=1)
        for _ in range(5):
            scene.append(1)
            time.sleep(0.1)
        until(lambda: len({message.rpartition(b'"eventID":')[2] for message in server.messages}) == 5)


@pytest.mark.parametrize("transport", ["tcp", "tls"])
def test_a_syslog_server_of_many_addresses_that_never_answer(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, transport: str
) -> None:
    """All of them together get no more time than one."""
    with deaf_addresses(20) as found:
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
        trusted = ssl.create_default_context(cadata=scene.authority.pem)
        syslog = Syslog(Place(transport, "syslog.example", 6514), trusted, 0.4, "host", 1)
        began = time.monotonic()
        with pytest.raises(DeliveryFailed, match="TimeoutError") as given_up:
            syslog.deliver(Batch("chain-00", "id", 1, [record(1)]))
        assert time.monotonic() - began < 4
        assert not given_up.value.too_large
        syslog.close()


@pytest.mark.parametrize("shakes_hands", [True, False])
def test_a_syslog_server_that_takes_for_ever_is_given_up(scene: Scene, *, shakes_hands: bool) -> None:
    """Though no single wait for it is long: it reads a little now and then, or drips in the TLS handshake."""
    ending = threading.Event()

    def dawdle(listening: socket.socket) -> None:
        connection, _ = listening.accept()
        with connection, contextlib.suppress(OSError):
            if shakes_hands:
                with scene.authority.context.wrap_socket(connection, server_side=True) as taken_up:
                    while not ending.wait(0.05):
                        taken_up.recv(16_384)
                return
            connection.sendall(b"\x16\x03\x03\x40\x00")
            while not ending.wait(0.05):
                connection.sendall(b"\x02")

    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
        thread = threading.Thread(target=dawdle, args=(listening,))
        thread.start()
        trusted = ssl.create_default_context(cadata=scene.authority.pem)
        place = Place("tls", "127.0.0.1", listening.getsockname()[1])
        syslog = Syslog(place, trusted, 1.0, "host", 1)
        records = [record(number, pad="x" * 500_000) for number in range(24)]
        began = time.monotonic()
        try:
            with pytest.raises(DeliveryFailed, match="TimeoutError") as given_up:
                syslog.deliver(Batch("chain-00", "id", 1, records))
        finally:
            ending.set()
            thread.join(10)
        assert 0.9 < time.monotonic() - began < 6
        # Fewer records may be taken in time; where there was no connection, they wouldn't.
        assert given_up.value.too_large == shakes_hands
        syslog.close()


def test_syslog_datagrams_hold_what_fits(scene: Scene) -> None:
    """Without parameters where they'd be too long, and it says so."""
    with SyslogReceiver("udp") as server:
        scene.follow(server.url, "syslog")
        scene.append(1, requestParameters={"policy": "x" * 30_000}, userAgent="agent")
        until(lambda: server.messages)
        match = MESSAGE.fullmatch(server.messages[0])
        assert match
        event = json.loads(match[7])
        assert event["kagitoriOmitted"] == ["requestParameters"]
        assert (event["eventID"], event["userAgent"]) == ("event-1", "agent")


def test_syslog_servers_of_somebody_else(scene: Scene, tmp_path: Path) -> None:
    """Nothing is sent to who can't prove to be the server."""
    with SyslogReceiver("tls", Authority(tmp_path / "stranger")) as server:
        follower = scene.follow(server.url, "syslog")
        scene.append(1)
        until(lambda: follower.status().failures > 1)
        assert server.messages == []


# --- OpenTelemetry ------------------------------------------------------------------------------------------------


def test_opentelemetry(scene: Scene, receiver: HttpReceiver, caplog: pytest.LogCaptureFixture) -> None:
    """Log records as a collector reads them; what it rejects isn't sent again, as the protocol says, but told."""
    partial = ExportLogsServiceResponse(partial_success=ExportLogsPartialSuccess(rejected_log_records=2))
    receiver.behaviour.answers = [(503, {}, b""), (200, {}, partial.SerializeToString()), OK]
    scene.append(3)
    with caplog.at_level(logging.ERROR):
        follower = scene.follow(receiver.url, "otlp", token=TOKEN)
        until(lambda: follower.status().delivered == 3)
    assert "rejected 2 records" in caplog.text
    scene.append(1, errorCode="AccessDenied")
    until(lambda: len(receiver.posts) == 3)
    requests = [ExportLogsServiceRequest.FromString(post.body) for post in receiver.posts]
    assert receiver.posts[0].body[:200] == receiver.posts[1].body[:200]
    assert {post.headers["Content-Type"] for post in receiver.posts} == {"application/x-protobuf"}
    [resource] = requests[1].resource_logs
    about = {each.key: each.value.string_value for each in resource.resource.attributes}
    assert (about["service.name"], len(about["service.instance.id"])) == ("kagitori", 64)
    [scope] = resource.scope_logs
    assert scope.scope.name == "kagitori.audit"
    assert [json.loads(each.body.string_value)["eventID"] for each in scope.log_records] == scene.appended[:3]
    one = scope.log_records[0]
    attributes = {each.key: each.value for each in one.attributes}
    assert (attributes["event.id"].string_value, attributes["kagitori.seq"].int_value) == ("event-1", 1)
    assert (one.event_name, one.severity_text, one.time_unix_nano) == ("Encrypt", "INFO", 1_790_000_000 * 10**9)
    refused = requests[2].resource_logs[0].scope_logs[0].log_records[0]
    assert (refused.severity_text, refused.severity_number) == ("WARN", 13)


# --- descriptions -------------------------------------------------------------------------------------------------

BAD: list[tuple[dict[str, Any], str]] = [
    ({"url": "https://user@host/"}, "without a user"), ({"url": "https:///x"}, "https://host"),
    ({"url": "ftp://host/"}, "https://host"), ({"url": "http://siem.example/"}, "loopback"),
    ({"url": "https://host/\u00e4"}, "ASCII"), ({"url": "https://host/#x"}, "https://host"),
    ({"secret": None}, "secret"), ({"secret": b"short"}, "secret"), ({"authorities": "no certificate"}, "PEM"),
    ({"kind": "syslog", "url": "tcp://host"}, "tcp://host:port"),
    ({"kind": "syslog", "url": "tcp://host:99999"}, "tcp://host:port"),
    ({"kind": "syslog", "url": "https://host:1"}, "tcp://host:port"),
    ({"kind": "syslog", "url": "udp://host:1/path"}, "tcp://host:port"),
]


@pytest.mark.parametrize(("terms", "told"), BAD)
def test_what_can_not_be_a_sink_is_refused(scene: Scene, terms: dict[str, Any], told: str) -> None:
    """In words that hold no secret."""
    with pytest.raises(SinkRefused, match=told) as caught:
        scene.follow(**{"url": "https://host/", **terms})
    assert SECRET.decode() not in str(caught.value)
    assert SECRET.decode() not in repr(SinkTerms("n", "webhook", "u", SECRET, TOKEN, None, 1, 1.0, True))
