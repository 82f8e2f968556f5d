"""A small pipeline and a host around it, for tests of the gRPC transport over real sockets."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status
from grpc import aio

from kagitori.kms.v1 import cryptography_pb2
from kagitori_server.bootstrap.certificates import ServerTls, prepare
from kagitori_server.model.call import Call
from kagitori_server.model.keys import EncryptionAlgorithm
from kagitori_server.operations.row import BatchOperation, Table
from kagitori_server.operations.shapes.crypto import EncryptResponse
from kagitori_server.operations.table import TABLE
from kagitori_server.transports.grpc.dispatcher import Dispatcher
from kagitori_server.transports.grpc.host import GrpcHost
from kagitori_server.transports.grpc.listeners import Listener, ListenerKind, TlsFiles

ENCRYPT = "/kagitori.kms.v1.CryptoService/Encrypt"
CREATE_KEY = "/kagitori.kms.v1.KeyService/CreateKey"

REQUEST = cryptography_pb2.EncryptRequest(
    key_id="alias/app", plaintext=b"secret", encryption_context={"tenant": "t1"}
)

Work = Callable[[Any], Awaitable[Any]]


class ScriptedPipeline:
    """Decodes and checks every call as the real one does, then does what the test says; keeps what it was given."""

    table: Table = TABLE

    def __init__(self, work: Work | None = None) -> None:
        self.calls: list[Call] = []
        self.requests: list[Any] = []
        self.finished = 0
        self._work = work or encrypted

    async def handle(self, call: Call) -> Any:
        """The answer of the test's work."""
        self.calls.append(call)
        members = call.decode()
        row = self.table[call.operation]
        request = members if isinstance(row, BatchOperation) else row.request.build(members)
        self.requests.append(request)
        answer = await self._work(request)
        self.finished += 1
        return answer


async def encrypted(request: Any) -> EncryptResponse:
    """An answer to Encrypt that says what was asked."""
    return EncryptResponse(
        ciphertext_blob=request.plaintext[::-1],
        key_id=request.key_id,
        encryption_algorithm=EncryptionAlgorithm.SYMMETRIC_DEFAULT,
    )


def make_dispatcher(pipeline: ScriptedPipeline, most_in_flight: int = 1024) -> Dispatcher:
    """A dispatcher whose request ids count from `request-1`."""
    numbers = itertools.count(1)
    return Dispatcher(pipeline, lambda: f"request-{next(numbers)}", most_in_flight)


def local_tls(folder: Path) -> ServerTls:
    """Certificates of a server on this machine."""
    return prepare(folder, (), time.time)


def tls_files(tls: ServerTls) -> TlsFiles:
    """As listeners want them."""
    return TlsFiles(tls.server.certificate, tls.server.key, tls.authority.pem)


def plaintext_listener() -> Listener:
    """A free port of the loopback interface."""
    return Listener("127.0.0.1:0", ListenerKind.PLAINTEXT)


@asynccontextmanager
async def serving(
    pipeline: ScriptedPipeline, listeners: Sequence[Listener] | None = None, most_in_flight: int = 1024
) -> AsyncIterator[GrpcHost]:
    """A host on free ports, plaintext unless told."""
    host = GrpcHost(make_dispatcher(pipeline, most_in_flight), listeners or [plaintext_listener()])
    await host.start()
    host.set_serving(True)
    try:
        yield host
    finally:
        await host.stop(1.0)


def unary(channel: aio.Channel, path: str) -> aio.UnaryUnaryMultiCallable[bytes, bytes]:
    """An rpc of bytes."""
    return channel.unary_unary(path)


async def call(
    channel: aio.Channel, path: str = ENCRYPT, body: bytes | None = None, metadata: Any = ()
) -> tuple[bytes, dict[str, Any]]:
    """The answer's bytes and trailing metadata."""
    sent = REQUEST.SerializeToString() if body is None else body
    going = unary(channel, path)(sent, metadata=metadata, timeout=10)
    answer = await going
    return answer, dict(await going.trailing_metadata())


async def refused(channel: aio.Channel, **arguments: Any) -> tuple[grpc.StatusCode, ErrorInfo, Status]:
    """How a call was refused, having checked that the parts of the answer agree."""
    with pytest.raises(aio.AioRpcError) as caught:
        await call(channel, **arguments)
    trailers = dict(caught.value.trailing_metadata())
    status = Status.FromString(trailers["grpc-status-details-bin"])
    info = ErrorInfo()
    assert status.details[0].Unpack(info)
    assert status.code == caught.value.code().value[0]
    assert status.message == caught.value.details()
    assert info.metadata["requestId"] == trailers["kagitori-request-id"]
    return caught.value.code(), info, status


async def until(condition: Callable[[], bool], seconds: float = 5.0) -> None:
    """Wait until `condition` is true. Raises TimeoutError."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - conditions of other tasks, of libraries and of files alike
            await asyncio.sleep(0.005)
