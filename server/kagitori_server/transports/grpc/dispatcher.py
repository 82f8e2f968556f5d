"""One dispatcher: (method path, metadata, peer, request bytes) -> (status with details, response bytes), or the bytes
of many responses and then the status.

It knows neither the library nor the socket that a call came by; whoever hosts it calls `dispatch` in the event
loop.
"""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import closing
from functools import partial
from typing import Any, NamedTuple, Protocol

from grpc import StatusCode

from kagitori_server.model.arn import shortened
from kagitori_server.model.call import Call
from kagitori_server.model.errors import (
    KmsError,
    KMSInternalException,
    ThrottlingException,
    UnknownOperationException,
    ValidationException,
)
from kagitori_server.operations.row import Table
from kagitori_server.operations.streams import Stream
from kagitori_server.transports.grpc.contract import Method, methods, services
from kagitori_server.transports.grpc.peer import Metadata, Peer, read_metadata
from kagitori_server.transports.grpc.status import DETAILS_KEY, failure

MOST_IN_FLIGHT = 1_024
"""Calls that are worked on at once, by default; more are refused at once rather than kept waiting."""
REQUEST_ID_KEY = "kagitori-request-id"
RECEIPT_KEY = "kagitori-receipt-bin"

_RETRY_SECONDS = 0.1
_log = logging.getLogger(__name__)


class Pipeline(Protocol):
    """What takes calls to their answers."""

    @property
    def table(self) -> Table:
        """The operations that are served."""

    async def handle(self, call: Call) -> Any:
        """The answer, an instance of the row's response class. Raises KmsError and nothing else."""


class Answer(NamedTuple):
    """What goes back over the wire."""

    code: StatusCode
    message: str
    body: bytes
    """May hold a plaintext."""
    trailers: tuple[tuple[str, str | bytes], ...]

    def __repr__(self) -> str:
        """Without the body: asyncio's debug mode writes the results of tasks to the log."""
        return f"Answer({self.code}, {len(self.body)} bytes)"


class Dispatcher:
    """Takes calls from a host to the pipeline and the answers back.

    A call that its caller gives up is still worked to its end: its audit record and what it commits don't depend on
    anybody waiting for them.
    """

    def __init__(
        self, pipeline: Pipeline, request_ids: Callable[[], str], most_in_flight: int = MOST_IN_FLIGHT
    ) -> None:
        """Raises ContractMismatch when the pipeline's table doesn't fit the contract."""
        self._handle = pipeline.handle
        self._methods: Mapping[str, Method] = methods(pipeline.table)
        self._request_ids = request_ids
        self.most_in_flight = most_in_flight
        self.streaming = frozenset(where for where, method in self._methods.items() if method.streams)
        """The paths whose answers are streams: `stream` takes these, `dispatch` all others."""
        self.services = services(self._methods)
        """What health and reflection tell of."""
        self._running: set[asyncio.Task[Any]] = set()
        self._attached = 0

    @property
    def in_flight(self) -> int:
        """How many calls are worked on now."""
        return len(self._running) + self._attached

    async def dispatch(self, path: str, metadata: Metadata, peer: Peer, body: bytes) -> Answer:
        """Answer one call. Raises nothing but CancelledError, when the host cancels it."""
        request_id = self._request_ids()
        method = self._methods.get(path)
        if self.in_flight >= self.most_in_flight:
            return _busy(request_id)
        if method is None:
            return await self._unknown(path, request_id, metadata, peer)
        # The work is a task of its own, and what is waited for is a future beside it: cancelling the one who waits
        # ends the waiting alone. (asyncio.shield does the same with twice the callbacks.)
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[Answer] = loop.create_future()
        task = loop.create_task(self._answer(method, request_id, metadata, peer, body))
        self._running.add(task)
        task.add_done_callback(partial(self._done, waiter))
        return await waiter

    async def _unknown(self, path: str, request_id: str, metadata: Metadata, peer: Peer) -> Answer:
        """The refusal of a path that isn't served. It is recorded if the caller brought anything to prove who it is;
        strangers who try paths can't fill the trail."""
        sent = read_metadata(metadata, peer)
        # With a slash in front it is no name of a row, whatever stands behind.
        call = Call(shortened("/" + path.removeprefix("/")), request_id, sent.evidence, sent.region, dict)
        if not sent.evidence.offered:
            unknown = UnknownOperationException(f"{call.operation} is not an operation of this service.")
            return refusal(unknown, request_id)
        self._attached += 1
        try:
            await self._handle(call)
        except KmsError as error:
            return refusal(error, request_id)
        except Exception as bug:  # noqa: BLE001 - as in _answer
            return _internal(call.operation, request_id, bug)
        finally:
            self._attached -= 1
        return refusal(KMSInternalException("An internal error occurred."), request_id)

    async def stream(
        self, path: str, metadata: Metadata, peer: Peer, body: bytes
    ) -> AsyncGenerator[bytes | Answer, None]:
        """Answer one call whose answer is a stream: the bodies of its messages, then how it ended.

        The call's record is durable before the first message. The host closes the generator when its caller has
        gone; the work stops then.
        """
        request_id, method = self._request_ids(), self._methods[path]
        if self.in_flight >= self.most_in_flight:
            yield _busy(request_id)
            return
        self._attached += 1
        call = self._call(method, request_id, metadata, peer, body)
        try:
            opened = await self._opened(call)
            with closing(opened):
                loop = asyncio.get_running_loop()
                # In the loop's own threads: whoever hands out streams bounds how many there are.
                while (item := await loop.run_in_executor(None, opened.pull)) is not None:
                    yield method.encode(item)
        except KmsError as error:
            yield refusal(error, request_id, call.receipt)
        except Exception as bug:  # noqa: BLE001 - whatever it is, the caller must get an answer that says nothing
            yield _internal(method.operation, request_id, bug)
        else:
            yield Answer(StatusCode.OK, "", b"", _trailers(request_id, call.receipt))
        finally:
            self._attached -= 1

    async def _opened(self, call: Call) -> Stream[Any]:
        """The stream that answers a call. Its record doesn't depend on anybody waiting for it, as in `dispatch`."""
        task = asyncio.get_running_loop().create_task(self._handle(call))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        try:
            stream: Stream[Any] = await asyncio.shield(task)
        except asyncio.CancelledError:
            task.add_done_callback(_close_unwanted)
            raise
        return stream

    def _done(self, waiter: asyncio.Future[Answer], task: asyncio.Task[Answer]) -> None:
        self._running.discard(task)
        if waiter.done():
            return
        if task.cancelled():
            # Nobody but a loop that is being closed cancels it.
            waiter.cancel()
        elif (problem := task.exception()) is not None:
            waiter.set_exception(problem)
        else:
            waiter.set_result(task.result())

    async def drained(self) -> None:
        """Return when no call is worked on any more that goes on without its caller."""
        while self._running:
            await asyncio.wait(self._running)

    def _call(self, method: Method, request_id: str, metadata: Metadata, peer: Peer, body: bytes) -> Call:
        sent = read_metadata(metadata, peer)
        decode: Callable[[], Mapping[str, Any]] = partial(method.decode, body)
        if sent.region_problem is not None:
            decode = partial(_refuse, sent.region_problem)
        return Call(
            method.operation, request_id, sent.evidence, sent.region, decode, len(body), sent.receipt_wanted
        )

    async def _answer(self, method: Method, request_id: str, metadata: Metadata, peer: Peer, body: bytes) -> Answer:
        call = self._call(method, request_id, metadata, peer, body)
        try:
            encoded = method.encode(await self._handle(call))
        except KmsError as error:
            return refusal(error, request_id, call.receipt)
        except Exception as bug:  # noqa: BLE001 - whatever it is, the caller must get an answer that says nothing
            return _internal(method.operation, request_id, bug)
        return Answer(StatusCode.OK, "", encoded, _trailers(request_id, call.receipt))


def refusal(error: KmsError, request_id: str, receipt: bytes | None = None) -> Answer:
    """The answer that tells of `error`."""
    told = failure(error, request_id)
    return Answer(told.code, told.message, b"", (*_trailers(request_id, receipt), (DETAILS_KEY, told.details)))


def _trailers(request_id: str, receipt: bytes | None) -> tuple[tuple[str, str | bytes], ...]:
    if receipt is None:
        return ((REQUEST_ID_KEY, request_id),)
    return ((REQUEST_ID_KEY, request_id), (RECEIPT_KEY, receipt))


def _busy(request_id: str) -> Answer:
    busy = ThrottlingException("The service is busy. Please try again.", retry_after=_RETRY_SECONDS)
    return refusal(busy, request_id)


def _internal(operation: str, request_id: str, bug: BaseException) -> Answer:
    _log_bug(operation, request_id, bug)
    return refusal(KMSInternalException("An internal error occurred."), request_id)


def _close_unwanted(task: asyncio.Task[Any]) -> None:
    """Closes the stream that a call was answered with whose caller had gone by then."""
    if not task.cancelled() and task.exception() is None:
        task.result().close()


def _refuse(problem: ValidationException) -> Mapping[str, Any]:
    raise problem


def _log_bug(operation: str, request_id: str, bug: BaseException) -> None:
    """Write where it happened and what kind it is; the text of an exception may quote the request."""
    frames = "".join(traceback.format_tb(bug.__traceback__))
    _log.error(
        "%s failed by a mistake of the service: %s\n%s",
        operation, type(bug).__qualname__, frames, extra={"operation": operation, "request_id": request_id},
    )
