"""Answers that are streams, from the dispatcher over a real socket: order, ends, failures, callers who go away."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Generator
from typing import Any

import grpc
import pytest
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status
from grpc import aio
from tests.support.transport import ScriptedPipeline, serving, until

from kagitori.kms.v1 import decisions_pb2
from kagitori_server.model.errors import KMSInternalException, NotFoundException
from kagitori_server.operations.shapes.simulation import SimulatePolicyResponse, SimulationProgress
from kagitori_server.operations.streams import Stream

PATH = "/kagitori.kms.v1.AdminService/SimulatePolicy"
REQUEST = decisions_pb2.SimulatePolicyRequest(
    key_disabling=decisions_pb2.ProposedKeyDisabling(key_id="k")
).SerializeToString()


def message(number: int) -> SimulatePolicyResponse:
    return SimulatePolicyResponse(
        progress=SimulationProgress(records_read=number, records_total=9, finished=False, calls_decided=0)
    )


class Counting:
    """Makes streams of numbers, and counts those that were let go of."""

    def __init__(self, make: Callable[[Callable[[], bool]], Generator[SimulatePolicyResponse, None, None]]) -> None:
        self.released = 0
        self._make = make

    def release(self) -> None:
        """A stream was let go of."""
        self.released += 1

    async def work(self, _request: Any) -> Stream[SimulatePolicyResponse]:
        """What the pipeline answers."""
        return Stream(self._make, self.release)


def numbers(count: int, then: Exception | None = None) -> Any:
    def produce(_stopped: Callable[[], bool]) -> Generator[SimulatePolicyResponse, None, None]:
        for number in range(count):
            yield message(number)
        if then is not None:
            raise then

    return produce


def endless(stopped: Callable[[], bool]) -> Generator[SimulatePolicyResponse, None, None]:
    """A message, and then one that isn't made before it's stopped."""
    yield message(0)
    while not stopped():
        threading.Event().wait(0.005)


def started(channel: aio.Channel, body: bytes = REQUEST) -> Any:
    """A call, begun."""
    begin: Any = channel.unary_stream(PATH)
    return begin(body, timeout=10)


def read(bodies: list[bytes]) -> list[int]:
    return [decisions_pb2.SimulatePolicyResponse.FromString(body).progress.records_read for body in bodies]


@pytest.mark.asyncio
async def test_messages_come_in_order_and_end() -> None:
    source = Counting(numbers(50))
    async with serving(ScriptedPipeline(source.work)) as host, aio.insecure_channel(host.addresses[0]) as channel:
        call = started(channel)
        assert read([body async for body in call]) == list(range(50))
        assert await call.code() is grpc.StatusCode.OK
        assert dict(await call.trailing_metadata())["kagitori-request-id"] == "request-1"
    assert source.released == 1


@pytest.mark.asyncio
async def test_an_answer_without_messages() -> None:
    source = Counting(numbers(0))
    async with serving(ScriptedPipeline(source.work)) as host, aio.insecure_channel(host.addresses[0]) as channel:
        assert [body async for body in started(channel)] == []
    assert source.released == 1


@pytest.mark.parametrize(
    ("problem", "code", "reason"),
    [
        (NotFoundException("gone"), grpc.StatusCode.NOT_FOUND, "NOT_FOUND"),
        (KMSInternalException("x"), grpc.StatusCode.INTERNAL, "KMS_INTERNAL"),
        (ZeroDivisionError("secret"), grpc.StatusCode.INTERNAL, "KMS_INTERNAL"),
    ],
)
@pytest.mark.asyncio
async def test_what_goes_wrong_on_the_way_ends_the_stream(
    problem: Exception, code: grpc.StatusCode, reason: str
) -> None:
    source = Counting(numbers(2, problem))
    async with serving(ScriptedPipeline(source.work)) as host, aio.insecure_channel(host.addresses[0]) as channel:
        call = started(channel)
        assert read([await call.read(), await call.read()]) == [0, 1]
        with pytest.raises(aio.AioRpcError) as caught:
            await call.read()
    trailers = dict(caught.value.trailing_metadata())
    info = ErrorInfo()
    assert Status.FromString(trailers["grpc-status-details-bin"]).details[0].Unpack(info)
    assert (caught.value.code(), info.reason) == (code, reason)
    assert "secret" not in str(caught.value)
    assert source.released == 1


@pytest.mark.asyncio
async def test_a_refusal_is_no_message() -> None:
    async def refuse(_request: Any) -> Any:
        raise NotFoundException("gone")

    async with serving(ScriptedPipeline(refuse)) as host, aio.insecure_channel(host.addresses[0]) as channel:
        for body in (REQUEST, b"\xff\xff"):
            with pytest.raises(aio.AioRpcError) as caught:
                await started(channel, body).read()
            assert "grpc-status-details-bin" in dict(caught.value.trailing_metadata())


@pytest.mark.asyncio
async def test_a_caller_who_goes_away_ends_the_work() -> None:
    source = Counting(endless)
    async with serving(ScriptedPipeline(source.work)) as host, aio.insecure_channel(host.addresses[0]) as channel:
        call = started(channel)
        assert read([await call.read()]) == [0]
        assert source.released == 0
        call.cancel()
        await until(lambda: source.released == 1)


@pytest.mark.asyncio
async def test_a_caller_who_goes_away_while_the_call_is_admitted() -> None:
    """The call is worked to its end, so that its record is written, and its stream is let go of unread."""
    source, goes_on = Counting(endless), asyncio.Event()

    async def slow(request: Any) -> Stream[SimulatePolicyResponse]:
        await goes_on.wait()
        return await source.work(request)

    pipeline = ScriptedPipeline(slow)
    async with serving(pipeline) as host, aio.insecure_channel(host.addresses[0]) as channel:
        call = started(channel)
        await until(lambda: len(pipeline.requests) == 1)
        call.cancel()
        await asyncio.sleep(0.05)
        goes_on.set()
        await until(lambda: source.released == 1)
    assert pipeline.finished == 1


@pytest.mark.asyncio
async def test_streams_count_as_calls_that_are_worked_on() -> None:
    source = Counting(endless)
    pipeline = ScriptedPipeline(source.work)
    async with serving(pipeline, most_in_flight=1) as host, aio.insecure_channel(host.addresses[0]) as channel:
        call = started(channel)
        await call.read()
        with pytest.raises(aio.AioRpcError) as caught:
            await started(channel).read()
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        call.cancel()
        await until(lambda: source.released == 1)


@pytest.mark.asyncio
async def test_a_server_that_stops_ends_its_streams() -> None:
    source = Counting(endless)
    async with serving(ScriptedPipeline(source.work)) as host:
        channel = aio.insecure_channel(host.addresses[0])
        call = started(channel)
        await call.read()
        await host.stop(0.05)
        await until(lambda: source.released == 1)
        await channel.close()


def test_a_stream_by_itself() -> None:
    """Let go of once: at its end, when it's closed, when it fails, and not while it's worked on."""
    for make, pulls in ((numbers(2), 3), (numbers(1, ValueError()), 2), (numbers(9), 1)):
        source = Counting(make)
        stream = Stream(make, source.release)
        for _ in range(pulls):
            with contextlib.suppress(ValueError):
                stream.pull()
        stream.close()
        stream.close()
        assert (stream.pull(), source.released) == (None, 1)


def test_a_stream_that_is_closed_while_it_is_worked_on() -> None:
    source, entered = Counting(numbers(0)), threading.Event()

    def produce(stopped: Callable[[], bool]) -> Generator[SimulatePolicyResponse, None, None]:
        entered.set()
        while not stopped():
            threading.Event().wait(0.001)
        assert source.released == 0
        yield message(0)

    stream = Stream(produce, source.release)
    worker = threading.Thread(target=stream.pull)
    worker.start()
    entered.wait()
    stream.close()
    worker.join(10)
    assert not worker.is_alive()
    assert source.released == 1
