"""Callers who can't prove who they are, over real sockets: how many are recorded, and who is not harmed."""

from __future__ import annotations

import http.client
import json
import ssl
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from tests.support.whole_server import Caller, WholeServer

RECORDED = 5
"""Failures of a source that are recorded."""
SETTINGS: dict[str, dict[str, Any]] = {
    "listen": {"grpc": "127.0.0.1:0", "metrics": "127.0.0.1:0"},
    "aws": {"listen": "127.0.0.1:0"},
    "log": {"level": "error"},
    "throttling": {"failures_of_source": 0.001, "failures_together": 0.0, "failures_burst_seconds": 1_000.0 * RECORDED},
}
NOBODYS = "kgt_" + "A" * 43
HERE, THERE = "127.0.0.1", "127.0.0.2"


class Place:
    """A running server, and calls from addresses of this machine."""

    def __init__(self, server: WholeServer) -> None:
        self.server = server

    def aws(self, key: tuple[str, str], source: str, operation: str = "ListKeys") -> tuple[int, str]:
        """Status and error of a signed request from that address."""
        host, _, port = str(self.server.addresses.aws).rpartition(":")
        request = AWSRequest("POST", f"https://{host}:{port}/", data=b"{}", headers={
            "Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": f"TrentService.{operation}",
        })
        SigV4Auth(Credentials(*key), "kms", "us-east-1").add_auth(request)
        trusted = ssl.create_default_context(cadata=self.server.authority.decode())
        connection = http.client.HTTPSConnection(host, int(port), context=trusted, source_address=(source, 0))
        connection.request("POST", "/", b"{}", dict(request.headers.items()))
        answer = connection.getresponse()
        found = json.loads(answer.read())
        connection.close()
        return answer.status, found.get("__type", "")

    def records(self) -> list[dict[str, Any]]:
        """Those of the trail, oldest first."""
        paths = sorted(self.server.data.audit.rglob("*.jsonl"))
        return [json.loads(line)["event"] for path in paths for line in path.read_text().splitlines() if line]

    def failures(self, source: str) -> list[dict[str, Any]]:
        """Records of calls from there that proved no caller."""
        return [
            record for record in self.records()
            if record["sourceIPAddress"] == source and record["userIdentity"]["type"] == "Unknown"
        ]

    def left_out(self) -> float:
        """As the metrics have it."""
        with urllib.request.urlopen(f"http://{self.server.addresses.metrics}/metrics", timeout=10) as answer:
            lines = answer.read().decode().splitlines()
        (number,) = [line.split()[1] for line in lines if line.startswith("kagitori_calls_left_out_total")]
        return float(number)

    def root_key(self) -> tuple[str, str]:
        """The root user's access key."""
        lines = dict(
            line.split(" = ") for line in self.server.data.aws_credentials.read_text().splitlines() if " = " in line
        )
        return lines["aws_access_key_id"], lines["aws_secret_access_key"]


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """A server that records five failures of each source."""
    with WholeServer(tmp_path / "data", SETTINGS) as server:
        yield Place(server)


def refusal(call: Callable[[], object]) -> tuple[grpc.StatusCode, str]:
    """How a call over gRPC is refused."""
    with pytest.raises(grpc.RpcError) as caught:
        call()
    error: Any = caught.value
    return error.code(), error.details()


def test_tokens_of_nobody_are_refused_alike_but_not_all_recorded(place: Place) -> None:
    with place.server.tls() as channel:
        root, nobody = Caller(channel, place.server.root_token), Caller(channel, NOBODYS)
        refusals = {refusal(lambda: nobody("ListKeys")) for _ in range(3 * RECORDED)}
        assert [code for code, _ in refusals] == [grpc.StatusCode.UNAUTHENTICATED]
        assert len(place.failures(HERE)) == RECORDED
        assert place.left_out() == 2 * RECORDED

        # Of the same address, whoever proves who it is goes on, whatever it does, and is recorded.
        key = root("CreateKey").key_metadata.key_id
        sealed = root("Encrypt", key_id=key, plaintext=b"x").ciphertext_blob
        assert root("Decrypt", ciphertext_blob=sealed).plaintext == b"x"
        assert [record["eventName"] for record in place.records()[-3:]] == ["CreateKey", "Encrypt", "Decrypt"]
        # What it is refused for is no failure to prove who it is.
        assert refusal(lambda: root("DescribeKey", key_id="nothing"))[0] is grpc.StatusCode.NOT_FOUND
        assert place.records()[-1]["errorCode"] == "NotFoundException"

        # Without any proof, and for what isn't served, it's the same.
        assert refusal(lambda: Caller(channel)("ListKeys"))[0] is grpc.StatusCode.UNAUTHENTICATED
        unknown: Any = channel.unary_unary("/kagitori.kms.v1.Nothing/Nothing")
        metadata = (("authorization", f"Bearer {NOBODYS}"),)
        assert refusal(lambda: unknown(b"", metadata=metadata, timeout=20))[0] is grpc.StatusCode.UNIMPLEMENTED
        assert len(place.failures(HERE)) == RECORDED
        assert place.left_out() == 2 * RECORDED + 2


def test_signatures_that_do_not_hold_are_refused_alike_but_not_all_recorded(place: Place) -> None:
    good, wrong = place.root_key(), (place.root_key()[0], "guessed")
    refusals = {place.aws(wrong, THERE) for _ in range(2 * RECORDED)}
    assert refusals == {(400, "InvalidSignatureException")}
    assert len(place.failures(THERE)) == RECORDED
    assert place.aws(("AKIANOBODY0000000000", "x"), THERE) == (400, "UnrecognizedClientException")
    assert place.aws(wrong, THERE, "Nothing") == (400, "UnknownOperationException")
    assert len(place.failures(THERE)) == RECORDED
    assert place.left_out() == RECORDED + 2

    assert place.aws(good, THERE) == (200, "")
    assert place.records()[-1]["eventName"] == "ListKeys"
    assert place.aws(good, THERE, "Nothing") == (400, "UnknownOperationException")
    assert place.records()[-1]["userIdentity"]["type"] == "Root"

    # Another address has not failed.
    assert place.aws(wrong, HERE) == (400, "InvalidSignatureException")
    assert len(place.failures(HERE)) == 1


def test_what_was_left_out_is_recorded_together(tmp_path: Path) -> None:
    settings = {**SETTINGS, "throttling": {
        "failures_of_source": 0.0, "failures_together": 0.001, "failures_burst_seconds": 3_000.0,
    }}
    with WholeServer(tmp_path / "data", settings) as server:
        place = Place(server)
        wrong = (place.root_key()[0], "guessed")
        for source in (HERE, THERE, THERE, HERE, THERE, THERE):
            assert place.aws(wrong, source)[0] == 400
        # All sources share three.
        assert (len(place.failures(HERE)), len(place.failures(THERE))) == (1, 2)
        assert place.aws(place.root_key(), THERE)[0] == 200
    told = [record for record in place.records() if record["eventName"] == "CallsLeftOut"]
    assert sum(record["serviceEventDetails"]["calls"] for record in told) == 3
    sources = [source for record in told for source in record["serviceEventDetails"]["sources"]]
    assert sum(source["calls"] for source in sources if source["source"] == HERE) == 1
    assert sum(source["calls"] for source in sources if source["source"] == THERE) == 2
    assert told[0]["eventType"] == "AwsServiceEvent"
    assert told[0]["recipientAccountId"] == "000000000000"
