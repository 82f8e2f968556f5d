"""SimulatePolicy over a real socket: streams that are cancelled, that are refused, that run beside other calls."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status
from tests.support.kms_calls import delegating, statement
from tests.support.whole_server import Caller, WholeServer

from kagitori.kms.v1 import decisions_pb2
from kagitori_client import BearerToken, Connection, KmsClient, parse_endpoint

RECORDS = 20_000
SETTINGS: dict[str, dict[str, Any]] = {
    "listen": {"grpc": "127.0.0.1:0"}, "limits": {"simulations": 1, "shutdown_seconds": 1.0},
    "log": {"level": "error"},
}
# It asks for the time, so that each call has to be decided by itself: a simulation that takes a while.
TIMELY = {
    **statement("*", "kms:Encrypt", effect="Deny"), "Condition": {"NumericGreaterThan": {"aws:EpochTime": "1"}},
}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[WholeServer]:
    with WholeServer(tmp_path / "data", SETTINGS) as opened:
        yield opened


@pytest.fixture
def root(server: WholeServer) -> Iterator[Caller]:
    with server.tls() as channel:
        yield Caller(channel, server.root_token)


@pytest.fixture
def change(server: WholeServer, root: Caller) -> dict[str, Any]:
    """Of a key that was used very often: the record of one call is written down as that of many."""
    key: str = root("CreateKey").key_metadata.arn
    root("Encrypt", key_id=key, plaintext=b"x")
    [segment] = server.data.audit.rglob("*.jsonl")
    [line] = [line for line in segment.read_bytes().splitlines(keepends=True) if b'"Encrypt"' in line]
    chain = server.data.audit / "chain-90"
    chain.mkdir()
    (chain / "00000001.jsonl").write_bytes(line * RECORDS)
    return {"key_policy": {"key_id": key, "policy": delegating(TIMELY)}}


def _reason(failed: pytest.ExceptionInfo[grpc.RpcError]) -> tuple[grpc.StatusCode, str]:
    error: Any = failed.value
    info = ErrorInfo()
    status = Status.FromString(dict(error.trailing_metadata())["grpc-status-details-bin"])
    assert status.details[0].Unpack(info)
    assert info.metadata["requestId"] == dict(error.trailing_metadata())["kagitori-request-id"]
    return error.code(), info.reason


def test_everything_is_counted_and_the_stream_is_ended(server: WholeServer, root: Caller, change: Any) -> None:
    stream = root.start("SimulatePolicy", **change)
    messages = list(stream)
    assert dict(stream.trailing_metadata())["kagitori-request-id"]
    [found] = [message.finding for message in messages if message.HasField("finding")]
    assert (found.calls, found.after) == (RECORDS + 1, decisions_pb2.DECISION_EXPLICIT_DENY)
    progress = [message.progress for message in messages if message.HasField("progress")]
    assert [each.finished for each in progress] == [False] * (len(progress) - 1) + [True]
    assert [each.records_read for each in progress] == sorted(each.records_read for each in progress)


def test_a_caller_who_goes_away_ends_the_work(server: WholeServer, root: Caller, change: Any) -> None:
    stream = root.start("SimulatePolicy", **change)
    assert not next(stream).progress.finished
    with pytest.raises(grpc.RpcError) as busy:
        root("SimulatePolicy", **change)
    assert _reason(busy) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "THROTTLING")
    stream.cancel()
    deadline = time.monotonic() + 2
    while True:
        try:
            again = root.start("SimulatePolicy", **change)
            next(again)
            break
        except grpc.RpcError:
            assert time.monotonic() < deadline, "the place of a cancelled simulation was not given back"
            time.sleep(0.02)
    again.cancel()
    records = [
        json.loads(line)["event"] for path in (server.data.audit / "chain-00").iterdir() if path.suffix == ".jsonl"
        for line in path.read_bytes().splitlines()
    ]
    # Cancelled or not: begun is begun.
    assert [record.get("errorCode") for record in records if record["eventName"] == "SimulatePolicy"][:2] == [
        None, "ThrottlingException"
    ]


def test_other_calls_are_answered_meanwhile(server: WholeServer, root: Caller, change: Any) -> None:
    stream = root.start("SimulatePolicy", **change)
    next(stream)
    key = change["key_policy"]["key_id"]
    slowest = 0.0
    for _ in range(50):
        began = time.monotonic()
        root("Encrypt", key_id=key, plaintext=b"x")
        slowest = max(slowest, time.monotonic() - began)
    assert any(message.HasField("progress") for message in stream)
    assert slowest < 1.0


def test_refusals_leave_no_message(server: WholeServer, root: Caller) -> None:
    for members, code, reason in (
        ({}, grpc.StatusCode.INVALID_ARGUMENT, "VALIDATION"),
        ({"key_disabling": {}}, grpc.StatusCode.INVALID_ARGUMENT, "VALIDATION"),
        ({"key_disabling": {"key_id": "00000000-0000-4000-8000-00000000dead"}}, grpc.StatusCode.NOT_FOUND, "NOT_FOUND"),
    ):
        with pytest.raises(grpc.RpcError) as refused:
            root("SimulatePolicy", **members)
        assert _reason(refused) == (code, reason)
    with server.tls() as channel, pytest.raises(grpc.RpcError) as refused:
        Caller(channel)("SimulatePolicy")
    assert _reason(refused) == (grpc.StatusCode.UNAUTHENTICATED, "MISSING_AUTHENTICATION_TOKEN")


def test_by_the_client(server: WholeServer, root: Caller, change: Any) -> None:
    """The stub of the Python client iterates, and raises what the service refuses."""
    connection = Connection(
        parse_endpoint(f"https://{server.addresses.grpc}"), token=BearerToken(server.root_token), roots=server.authority
    )
    with KmsClient(connection) as client:
        request = decisions_pb2.SimulatePolicyRequest(**change)
        messages = list(client.admin.SimulatePolicy(request))
    assert messages[-1].progress.finished
