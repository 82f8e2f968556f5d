"""The AWS endpoint over a real socket with a pipeline that does what tests say: mistakes, crowds, callers that go."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import pytest
from tests.support.transport import ScriptedPipeline, Work, encrypted, until

from kagitori_keystore import sigv4
from kagitori_server.operations.table import TABLE
from kagitori_server.transports.awsjson.application import FORM_BYTES_MAX, Application
from kagitori_server.transports.awsjson.services import KMS, Routes
from kagitori_server.transports.http import host as hosting
from kagitori_server.transports.http.host import HttpHost, HttpListenRefused

pytestmark = pytest.mark.asyncio

BODY = b'{"KeyId":"alias/app","Plaintext":"c2VjcmV0"}'
SIGNATURE = "0" * 64
HEAD = "POST / HTTP/1.1\r\nHost: kms.example\r\n"


def request(body: bytes = BODY, operation: str = "Encrypt") -> bytes:
    """A request with a signature that is well formed."""
    moment = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    signed = ["content-type", "host", "x-amz-date", "x-amz-target"]
    authorization = sigv4.authorization("test", sigv4.Scope(moment[:8], "us-east-1", "kms"), signed, SIGNATURE)
    return (
        f"{HEAD}Content-Type: application/x-amz-json-1.1\r\nX-Amz-Date: {moment}\r\n"
        f"X-Amz-Target: TrentService.{operation}\r\nAuthorization: {authorization}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    ).encode() + body


@dataclass
class Running:
    """A host, its application and pipeline."""

    host: HttpHost
    application: Application
    pipeline: ScriptedPipeline

    async def opened(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection."""
        host, _, port = self.host.address.rpartition(":")
        return await asyncio.open_connection(host, int(port))

    async def send(self, data: bytes) -> str:
        """The answer to one request, with the connection closed after it."""
        reader, writer = await self.opened()
        writer.write(data.replace(b"\r\nHost:", b"\r\nConnection: close\r\nHost:", 1))
        answer = await asyncio.wait_for(reader.read(), 20)
        writer.close()
        return answer.decode()


@asynccontextmanager
async def running(work: Work | None = None, most_in_flight: int = 100) -> AsyncIterator[Running]:
    """Serves on loopback in the clear."""
    pipeline = ScriptedPipeline(work)
    application = Application(
        pipeline, Routes((KMS,), TABLE), lambda: "request-1", ("us-east-1",), most_in_flight
    )
    host = HttpHost("127.0.0.1:0", None, application, 5.0)
    await host.start()
    try:
        yield Running(host, application, pipeline)
    finally:
        await host.stop()


async def test_what_the_pipeline_is_given() -> None:
    """The row, members, Region, size, and who says it by what."""
    async with running(encrypted) as server:
        answer = await server.send(request())
        assert answer.startswith("HTTP/1.1 200 OK\r\n")
        assert "\r\nx-amzn-RequestId: request-1\r\n" in answer
        assert answer.endswith(
            '{"CiphertextBlob":"dGVyY2Vz","KeyId":"alias/app","EncryptionAlgorithm":"SYMMETRIC_DEFAULT"}'
        )
        (call,) = server.pipeline.calls
        assert (call.operation, call.region, call.size, call.request_id) == ("Encrypt", "us-east-1", 44, "request-1")
        assert call.evidence.source_ip == "127.0.0.1"
        assert call.evidence.tls is None
        assert call.evidence.signed is not None
        assert (call.evidence.signed.access_key_id, call.evidence.signed.signature) == ("test", SIGNATURE)
        assert "secret" not in repr(call)


@pytest.mark.parametrize("wrong", [ValueError("plaintext: c2VjcmV0"), TypeError("secret"), KeyError("secret")])
async def test_mistakes_tell_nothing(wrong: Exception, caplog: pytest.LogCaptureFixture) -> None:
    """Neither to the caller nor in the log, but where they happened."""

    async def work(_request: Any) -> Any:
        raise wrong

    async with running(work) as server:
        answer = await server.send(request())
    assert answer.startswith("HTTP/1.1 500 ")
    assert answer.endswith('{"__type":"KMSInternalException","message":"An internal error occurred."}')
    assert "Traceback" not in answer
    (record,) = [record for record in caplog.records if record.levelno >= logging.ERROR]
    text = logging.Formatter().format(record)
    assert type(wrong).__name__ in text
    assert "in work" in text
    assert "c2VjcmV0" not in text
    assert str(wrong) not in text


async def test_answers_of_another_class_are_mistakes() -> None:
    """They don't leave."""

    async def work(_request: Any) -> Any:
        return "secret"

    async with running(work) as server:
        answer = await server.send(request())
    assert answer.startswith("HTTP/1.1 500 ")
    assert "secret" not in answer


async def test_crowds_are_refused_at_once() -> None:
    """Who comes when enough are worked on isn't kept waiting."""
    go = asyncio.Event()

    async def work(asked: Any) -> Any:
        await go.wait()
        return await encrypted(asked)

    async with running(work, most_in_flight=2) as server:
        waiting = [asyncio.create_task(server.send(request())) for _ in range(2)]
        await until(lambda: server.application.in_flight == 2)
        answer = await server.send(request())
        assert answer.startswith("HTTP/1.1 400 ")
        assert '"__type":"ThrottlingException"' in answer
        assert "\r\nretry-after: 1\r\n" in answer
        assert (await server.send(b"GET /ping HTTP/1.1\r\nHost: h\r\n\r\n")).endswith("healthy")
        go.set()
        assert all(answer.startswith("HTTP/1.1 200 ") for answer in await asyncio.gather(*waiting))
        assert server.application.in_flight == 0


async def test_calls_go_on_without_their_callers() -> None:
    """What was admitted is done and recorded, whether or not anybody waits for it."""
    go = asyncio.Event()

    async def work(asked: Any) -> Any:
        await go.wait()
        return await encrypted(asked)

    async with running(work) as server:
        _, writer = await server.opened()
        writer.write(request())
        await until(lambda: len(server.pipeline.calls) == 1)
        writer.close()
        await writer.wait_closed()
        await asyncio.sleep(0.1)
        go.set()
        await until(lambda: server.pipeline.finished == 1)


async def test_the_end_waits_for_those_in_flight() -> None:
    """And takes no others."""

    async def work(asked: Any) -> Any:
        await asyncio.sleep(0.5)
        return await encrypted(asked)

    async with running(work) as server:
        waiting = asyncio.create_task(server.send(request()))
        await until(lambda: len(server.pipeline.calls) == 1)
        await server.host.stop()
        assert (await waiting).startswith("HTTP/1.1 200 ")
        with pytest.raises(ConnectionRefusedError):
            await server.opened()


async def test_answers_that_nobody_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection is given up after a while, when they don't fit into the buffers on the way."""
    monkeypatch.setattr(hosting, "STALL_SECONDS", 0.5)

    async def work(asked: Any) -> Any:
        return replace(await encrypted(asked), ciphertext_blob=bytes(40_000_000))

    async with running(work) as server:
        host, _, port = server.host.address.rpartition(":")
        with socket.create_connection((host, int(port))) as client:
            client.setblocking(False)
            await asyncio.get_running_loop().sock_sendall(client, request())
            await until(lambda: server.pipeline.finished == 1)
            await asyncio.sleep(1.5)
            received = 0
            with contextlib.suppress(ConnectionResetError):
                while data := await asyncio.get_running_loop().sock_recv(client, 1 << 20):
                    received += len(data)
        assert received < 40_000_000


async def test_an_address_that_is_taken() -> None:
    """Is told in words."""
    async with running() as server:
        with pytest.raises(HttpListenRefused, match=r"Can't listen on 127\.0\.0\.1:"):
            await HttpHost(server.host.address, None, server.application).start()


@pytest.mark.parametrize(("sent", "expected"), [
    (b"Action=GetCallerIdentity&Version=2011-06-15", "UnknownOperationException"), (b"", "UnknownOperationException"),
    (b"Action=A&Action=B", "SerializationException"), (b"&".join([b"a"] * 2_000), "SerializationException"),
    (b"Action=" + b"x" * FORM_BYTES_MAX, "RequestEntityTooLargeException"), (b"Action=%ff", "SerializationException"),
])
async def test_forms_for_services_that_are_not_there(sent: bytes, expected: str) -> None:
    """Are answered by the first service."""
    head = f"{HEAD}Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {len(sent)}\r\n\r\n"
    async with running() as server:
        answer = await server.send(head.encode() + sent)
        assert f'"__type":"{expected}"' in answer
        assert server.pipeline.calls == []
