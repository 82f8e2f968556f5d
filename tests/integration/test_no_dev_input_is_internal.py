"""Whatever is sent to DevService of an instance for tests: no failure of the service's own, and it goes on serving."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status
from grpc import StatusCode
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from tests.support.random_messages import Pool, almost, messages, plausible

from kagitori.kms.v1.keys_pb2 import CreateKeyRequest
from kagitori_server.bootstrap.data_directory import open_data_directory
from kagitori_server.config import load_config
from kagitori_server.development import DevelopmentServer
from kagitori_server.transports.grpc.contract import DEV_SERVICE, SERVICES, path
from kagitori_server.transports.grpc.dispatcher import Answer
from kagitori_server.transports.grpc.peer import Peer
from kagitori_server.transports.grpc.status import DETAILS_KEY

RPCS = {method.name: method for service in (*SERVICES, DEV_SERVICE) for method in service.methods}
FEW = settings(
    derandomize=True, deadline=None, database=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck),
)
FAULTLESS = (StatusCode.INTERNAL, StatusCode.UNKNOWN, StatusCode.UNAVAILABLE)
"""Codes of failures that are nobody's but the service's."""


class Instance:
    """A whole server for tests, called where its listeners would."""

    def __init__(self, folder: Path) -> None:
        self._server = DevelopmentServer(load_config(None, {}, {}), open_data_directory(folder), None)
        self._server.open()
        self._runner = asyncio.Runner()
        self.tokens = {
            "root": (folder / "credentials" / "root.token").read_text().strip(), "unknown": "kgt_" + "x" * 43,
        }
        key = self.call("CreateKey", CreateKeyRequest().SerializeToString()).key_metadata
        self.pool = Pool(
            texts=[key.key_id, key.arn, "us-east-1", "000000000000", "Encrypt", "BatchEncrypt", "GetClock"],
            blobs=[b"x"],
            sensible={
                "kind": [1, 2, 3, 4], "operation": [None, "Encrypt", "CreateKey", "BatchEncrypt", "GetClock"],
                "account_id": [None, "000000000000"], "region": [None, "us-east-1", "mars-1"],
                "key_id": [None, key.key_id, key.arn], "calls": [None, 1, 5], "delay_milliseconds": [None, 1, 60_000],
                "seconds": [0, 1, 86_400, 31_536_000], "limit": [None, 1, 50], "marker": [None],
                "fault_id": [None, "x"],
            },
        )

    def send(self, name: str, body: bytes, who: str) -> Answer:
        """The answer to a call."""
        metadata = (("authorization", f"Bearer {self.tokens[who]}"),)
        return self._runner.run(self._server._dispatcher.dispatch(path(RPCS[name]), metadata, Peer(), body))

    def call(self, name: str, body: bytes = b"") -> Any:
        """What the root user is answered."""
        answer = self.send(name, body, "root")
        assert answer.code is StatusCode.OK, answer.message
        return GetMessageClass(RPCS[name].output_type).FromString(answer.body)

    def close(self) -> None:
        """Ends it."""
        self._runner.run(self._server.stop())
        self._runner.close()


@pytest.fixture(scope="module")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    found = Instance(tmp_path_factory.mktemp("instance"))
    yield found
    found.close()


def _serialized(message: Message) -> bytes:
    return message.SerializeToString()


def _judge(name: str, answer: Answer, who: str) -> None:
    assert answer.code not in FAULTLESS, (name, answer.message)
    if answer.code is StatusCode.OK:
        assert who == "root"
        GetMessageClass(RPCS[name].output_type).FromString(answer.body)
        return
    info = ErrorInfo()
    assert Status.FromString(dict(answer.trailers)[DETAILS_KEY]).details[0].Unpack(info)
    assert (info.domain, bool(info.reason)) == ("kms.kagitori", True)


@pytest.mark.parametrize("name", sorted(method.name for method in DEV_SERVICE.methods))
def test_dev_rpcs(instance: Instance, name: str, caplog: pytest.LogCaptureFixture) -> None:
    """Well-formed and malformed messages, by root and by nobody we know; time has moved on, and faults are cleared."""
    wanted = RPCS[name].input_type
    likely, odd = (make(wanted, instance.pool).map(_serialized) for make in (plausible, messages))
    callers = st.sampled_from(["root", "root", "root", "unknown"])
    before = instance.call("GetClock").now.ToSeconds()

    @settings(FEW, max_examples=80)
    @given(body=likely, who=callers)
    def run_likely(body: bytes, who: str) -> None:
        _judge(name, instance.send(name, body, who), who)

    @settings(FEW, max_examples=40)
    @given(body=st.one_of(odd, almost(wanted, instance.pool)), who=callers)
    def run_odd(body: bytes, who: str) -> None:
        _judge(name, instance.send(name, body, who), who)

    run_likely()
    run_odd()
    instance.call("ClearFaults")
    assert instance.call("ListFaults").faults == []
    assert before <= instance.call("GetClock").now.ToSeconds() < 32_503_680_000
    instance.call("CreateKey")
    assert not [record for record in caplog.records if record.levelname in ("ERROR", "CRITICAL")]
