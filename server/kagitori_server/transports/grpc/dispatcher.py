"""One dispatcher: (method path, metadata, peer, request bytes) -> (status with details, response bytes).

It knows neither the library nor the socket that a call came by; whoever hosts it calls `dispatch` in the event
loop.
"""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import Callable, Mapping
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
from kagitori_server.transports.grpc.contract import Method, methods
from kagitori_server.transports.grpc.peer import Metadata, Peer, read_metadata
from kagitori_server.transports.grpc.status import DETAILS_KEY, failure

MOST_IN_FLIGHT = 1_024
"""Calls that are worked on at once, by default; more are refused at once rather than kept waiting."""
REQUEST_ID_KEY = "kagitori-request-id"

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

    A call that its caller gives up is still worked to its end where that takes more than one go (`Method.detached`):
    its audit record and what it commits don't depend on anybody waiting for them.
    """

    def __init__(
        self, pipeline: Pipeline, request_ids: Callable[[], str], most_in_flight: int = MOST_IN_FLIGHT
    ) -> None:
        """Raises ContractMismatch when the pipeline's table doesn't fit the contract."""
        self._handle = pipeline.handle
        self._methods: Mapping[str, Method] = methods(pipeline.table)
        self._request_ids = request_ids
        self.most_in_flight = most_in_flight
        self._running: set[asyncio.Task[Answer]] = set()
        self._attached = 0

    @property
    def in_flight(self) -> int:
        """How many calls are worked on now."""
        return len(self._running) + self._attached

    async def dispatch(self, path: str, metadata: Metadata, peer: Peer, body: bytes) -> Answer:
        """Answer one call. Raises nothing but CancelledError, when the host cancels it."""
        request_id = self._request_ids()
        method = self._methods.get(path)
        if method is None:
            unknown = UnknownOperationException(f"{shortened(path)} is not an operation of this service.")
            return refusal(unknown, request_id)
        if self.in_flight >= self.most_in_flight:
            busy = ThrottlingException("The service is busy. Please try again.", retry_after=_RETRY_SECONDS)
            return refusal(busy, request_id)
        if not method.detached:
            self._attached += 1
            try:
                return await self._answer(method, request_id, metadata, peer, body)
            finally:
                self._attached -= 1
        # The work is a task of its own, and what is waited for is a future beside it: cancelling the one who waits
        # ends the waiting alone. (asyncio.shield does the same with twice the callbacks.)
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[Answer] = loop.create_future()
        task = loop.create_task(self._answer(method, request_id, metadata, peer, body))
        self._running.add(task)
        task.add_done_callback(partial(self._done, waiter))
        return await waiter

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

    async def _answer(self, method: Method, request_id: str, metadata: Metadata, peer: Peer, body: bytes) -> Answer:
        sent = read_metadata(metadata, peer)
        decode: Callable[[], Mapping[str, Any]] = partial(method.decode, body)
        if sent.region_problem is not None:
            decode = partial(_refuse, sent.region_problem)
        call = Call(method.operation, request_id, sent.evidence, sent.region, decode)
        try:
            encoded = method.encode(await self._handle(call))
        except KmsError as error:
            return refusal(error, request_id)
        except Exception as bug:  # noqa: BLE001 - whatever it is, the caller must get an answer that says nothing
            _log_bug(method.operation, request_id, bug)
            return refusal(KMSInternalException("An internal error occurred."), request_id)
        return Answer(StatusCode.OK, "", encoded, ((REQUEST_ID_KEY, request_id),))


def refusal(error: KmsError, request_id: str) -> Answer:
    """The answer that tells of `error`."""
    told = failure(error, request_id)
    return Answer(told.code, told.message, b"", ((REQUEST_ID_KEY, request_id), (DETAILS_KEY, told.details)))


def _refuse(problem: ValidationException) -> Mapping[str, Any]:
    raise problem


def _log_bug(operation: str, request_id: str, bug: BaseException) -> None:
    """Write where it happened and what kind it is; the text of an exception may quote the request."""
    frames = "".join(traceback.format_tb(bug.__traceback__))
    _log.error(
        "%s failed by a mistake of the service: %s\n%s",
        operation, type(bug).__qualname__, frames, extra={"operation": operation, "request_id": request_id},
    )
