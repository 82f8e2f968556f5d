"""What every call gets on its way: credentials, Region, a deadline, another try where that is harmless.

The interceptors here make a failed call raise the client's own errors, so the generated stubs can be used as
they are, with their types.
"""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar, cast

import grpc
from grpc import aio

from kagitori_client.credentials import BearerToken, TokenFile
from kagitori_client.errors import ConnectionFailed
from kagitori_client.status import Failure, failure

if TYPE_CHECKING:
    # These two exist in gRPC's type stubs only.
    from grpc import _CallFuture, _CallIterator

DEFAULT_TIMEOUT = 10.0
"""Seconds a call may take, tries and pauses included."""
LONGEST_TIMEOUT = 86_400.0
"""gRPC takes much longer ones for ones that are over."""

STREAM_SILENCE = 60.0
"""Seconds to wait for each message of a stream; the service sends some that only say how far it came."""

REGION = "kagitori-region"
RECEIPT_WANTED = ("kagitori-receipt", "true")
"""Metadata of a call that wants proof that it was recorded."""
RECEIPT = "kagitori-receipt-bin"
"""Trailing metadata that brings the proof, with the answer or the refusal."""
_AUTHORIZATION = "authorization"
_READS = ("Describe", "Explain", "Get", "Lint", "List", "Lookup", "Verify")
_PREFIX = "/kagitori.kms.v1."

_Request = TypeVar("_Request")
_Response = TypeVar("_Response")
_Metadata = tuple[tuple[str, str | bytes], ...]
TakeReceipt = Callable[[str, bytes | None], None]
"""Is told the path of each call that was answered or refused, and the receipt that came with it, if one did."""


def is_repeatable(method: str) -> bool:
    """True for calls that change nothing: all of CryptoService, and what only reads.

    CreateKey and its like are never repeated by the client: the first try may have happened.
    """
    service, _, name = method.removeprefix(_PREFIX).partition("/")
    return service == "CryptoService" or name.startswith(_READS)


@dataclass(frozen=True, slots=True)
class Retries:
    """How often and how fast repeatable calls are tried again.

    The pause before try n is a random part of `first_pause` x 2^n seconds, at most `longest_pause`, and at
    least what the service asked for. `attempts` = 1 turns it off.
    """

    attempts: int = 4
    first_pause: float = 0.1
    longest_pause: float = 2.0
    draw: Callable[[], float] = field(default=random.random, repr=False)

    def pause(self, tried: int, failed: Failure, method: str) -> float | None:
        """Seconds to wait after `tried` tries; None: give up."""
        if tried >= self.attempts or not is_repeatable(method):
            return None
        overloaded = failed.code is grpc.StatusCode.RESOURCE_EXHAUSTED and failed.retry_after is not None
        if not overloaded and failed.code is not grpc.StatusCode.UNAVAILABLE:
            return None
        jitter: float = self.draw() * min(self.longest_pause, self.first_pause * 2.0 ** (tried - 1))
        return (failed.retry_after or 0.0) + jitter


@dataclass(frozen=True, slots=True)
class CallPolicy:
    """The constants of a client's calls."""

    endpoint: str
    token: BearerToken | TokenFile | None
    region: str | None
    timeout: float = DEFAULT_TIMEOUT
    retries: Retries = Retries()
    clock: Callable[[], float] = field(default=time.monotonic, repr=False)
    receipts: TakeReceipt | None = field(default=None, repr=False)
    """Who gets the receipts of all calls; None: no receipts are wanted."""
    silence: float = STREAM_SILENCE
    """Seconds to wait for each message of a stream, unless the call was given a deadline."""

    def metadata(self, given: _Metadata) -> _Metadata:
        """The call's metadata; a Region given with the call goes before the client's."""
        added: list[tuple[str, str | bytes]] = list(given)
        if self.token is not None:
            added.append((_AUTHORIZATION, f"Bearer {self.token.reveal()}"))
        if self.region is not None and not any(name == REGION for name, _ in given):
            added.append((REGION, self.region))
        if self.receipts is not None and RECEIPT_WANTED not in added:
            added.append(RECEIPT_WANTED)
        return tuple(added)

    def take_receipt(self, method: str, trailing: Iterable[tuple[str, str | bytes]] | None) -> None:
        """Hands on the receipt of a call that has ended, if receipts are wanted."""
        if self.receipts is not None:
            self.receipts(method, receipt_in(trailing))

    def failure(self, error: grpc.RpcError | aio.AioRpcError, timeout: float) -> Failure:
        """What a failed call means."""
        if not isinstance(error, (grpc.Call, aio.AioRpcError)):
            # gRPC promises that its errors are calls as well.
            raise error
        trailing = tuple((name, value) for name, value in error.trailing_metadata() or ())
        return failure(error.code(), error.details(), trailing, endpoint=self.endpoint, timeout=timeout)

    def silent(self) -> ConnectionFailed:
        """What it means that no message came for so long."""
        return ConnectionFailed(f"{self.endpoint} said nothing for {self.silence:g} s")


def receipt_in(trailing: Iterable[tuple[str, str | bytes]] | None) -> bytes | None:
    """The receipt in the trailing metadata of a call; None if there is none."""
    for name, value in trailing or ():
        if name == RECEIPT and isinstance(value, bytes):
            return value
    return None


@dataclass(frozen=True)
class _Details(grpc.ClientCallDetails):
    method: str
    timeout: float | None
    metadata: _Metadata | None
    credentials: grpc.CallCredentials | None
    wait_for_ready: bool | None
    compression: grpc.Compression | None


def _outgoing(policy: CallPolicy, details: grpc.ClientCallDetails, timeout: float | None) -> _Details:
    return _Details(
        method=details.method,
        timeout=timeout,
        metadata=policy.metadata(tuple(details.metadata or ())),
        credentials=details.credentials,
        wait_for_ready=details.wait_for_ready,
        compression=details.compression,
    )


class SyncCalls(grpc.UnaryUnaryClientInterceptor):
    """For synchronous channels. A call waits for its answer, also where it was started by `future`."""

    def __init__(self, policy: CallPolicy, sleep: Callable[[float], None] = time.sleep) -> None:
        self._policy = policy
        self._sleep = sleep

    def intercept_unary_unary(
        self,
        continuation: Callable[[grpc.ClientCallDetails, _Request], _CallFuture[_Response]],
        client_call_details: grpc.ClientCallDetails,
        request: _Request,
    ) -> _CallFuture[_Response]:
        """Makes the call; raises KagitoriError if it fails."""
        policy = self._policy
        timeout = policy.timeout if client_call_details.timeout is None else client_call_details.timeout
        end = policy.clock() + timeout
        tried = 0
        while True:
            left = max(0.0, end - policy.clock())
            call = continuation(_outgoing(policy, client_call_details, left), request)
            error = call.exception()
            if error is None:
                policy.take_receipt(client_call_details.method, call.trailing_metadata())
                return call
            if not isinstance(error, grpc.RpcError):
                raise error
            tried += 1
            failed = policy.failure(error, timeout)
            pause = policy.retries.pause(tried, failed, client_call_details.method)
            if pause is None or policy.clock() + pause >= end:
                policy.take_receipt(client_call_details.method, call.trailing_metadata())
                # Not chained: gRPC's error repeats the whole state of the call.
                raise failed.error from None
            self._sleep(pause)


class SyncStreams(grpc.UnaryStreamClientInterceptor):
    """For answers that are streams: metadata and errors as elsewhere, no other try, and instead of a deadline a limit
    to the silence between messages."""

    def __init__(self, policy: CallPolicy) -> None:
        self._policy = policy

    def intercept_unary_stream(
        self,
        continuation: Callable[[grpc.ClientCallDetails, _Request], _CallIterator[_Response]],
        client_call_details: grpc.ClientCallDetails,
        request: _Request,
    ) -> _CallIterator[_Response]:
        """Starts the call; iterating raises KagitoriError if it fails."""
        timeout = client_call_details.timeout
        call = continuation(_outgoing(self._policy, client_call_details, timeout), request)
        # gRPC hands on what it gets; of a call's abilities this iterator has iterating and closing.
        return cast("_CallIterator[_Response]", self._answers(call, timeout))

    def _answers(self, call: _CallIterator[_Response], timeout: float | None) -> Iterator[_Response]:
        late = threading.Event()
        try:
            while True:
                with _watched(call, late, None if timeout is not None else self._policy.silence):
                    message = next(call, None)
                if message is None:
                    return
                yield message
        except grpc.RpcError as error:
            if late.is_set():
                raise self._policy.silent() from None
            raise self._policy.failure(error, self._policy.timeout if timeout is None else timeout).error from None
        finally:
            call.cancel()


@contextmanager
def _watched(call: _CallIterator[_Response], late: threading.Event, seconds: float | None) -> Iterator[None]:
    """Cancels the call, and sets `late`, if the block lasts longer."""
    if seconds is None:
        yield
        return

    def give_up() -> None:
        late.set()
        call.cancel()

    timer = threading.Timer(seconds, give_up)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _outgoing_async(
    policy: CallPolicy, details: aio.ClientCallDetails, timeout: float | None
) -> aio.ClientCallDetails:
    return aio.ClientCallDetails(
        method=details.method,
        timeout=timeout,
        metadata=aio.Metadata(*policy.metadata(tuple(details.metadata or ()))),
        credentials=details.credentials,
        wait_for_ready=details.wait_for_ready,
    )


class AsyncCalls(aio.UnaryUnaryClientInterceptor):
    """For asyncio channels."""

    def __init__(self, policy: CallPolicy, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        self._policy = policy
        self._sleep = sleep

    async def intercept_unary_unary(
        self,
        continuation: Callable[
            [aio.ClientCallDetails, _Request], Awaitable[aio.UnaryUnaryCall[_Request, _Response]]
        ],
        client_call_details: aio.ClientCallDetails,
        request: _Request,
    ) -> _Response | aio.UnaryUnaryCall[_Request, _Response]:
        """Makes the call; raises KagitoriError if it fails."""
        policy = self._policy
        timeout = policy.timeout if client_call_details.timeout is None else client_call_details.timeout
        end = policy.clock() + timeout
        # In asyncio's interceptors the method is bytes, whatever its type says.
        method = str(client_call_details.method, "ascii") if isinstance(
            client_call_details.method, bytes
        ) else client_call_details.method
        tried = 0
        while True:
            left = max(0.0, end - policy.clock())
            call = await continuation(_outgoing_async(policy, client_call_details, left), request)
            try:
                await call
            except aio.AioRpcError as error:
                tried += 1
                failed = policy.failure(error, timeout)
                pause = policy.retries.pause(tried, failed, method)
                if pause is None or policy.clock() + pause >= end:
                    policy.take_receipt(method, tuple(error.trailing_metadata() or ()))
                    # Not chained: gRPC's error repeats the whole state of the call.
                    raise failed.error from None
            else:
                policy.take_receipt(method, tuple(await call.trailing_metadata()))
                return call
            await self._sleep(pause)


class AsyncStreams(aio.UnaryStreamClientInterceptor):
    """For answers that are streams, as SyncStreams."""

    def __init__(self, policy: CallPolicy) -> None:
        self._policy = policy

    async def intercept_unary_stream(
        self,
        continuation: Callable[
            [aio.ClientCallDetails, _Request], Awaitable[aio.UnaryStreamCall[_Request, _Response]]
        ],
        client_call_details: aio.ClientCallDetails,
        request: _Request,
    ) -> AsyncIterator[_Response]:
        """Starts the call; iterating raises KagitoriError if it fails."""
        timeout = client_call_details.timeout
        details = _outgoing_async(self._policy, client_call_details, timeout)
        return self._answers(await continuation(details, request), timeout)

    async def _answers(
        self, call: aio.UnaryStreamCall[_Request, _Response], limit: float | None
    ) -> AsyncIterator[_Response]:
        messages = aiter(call)
        try:
            while True:
                try:
                    async with asyncio.timeout(self._policy.silence if limit is None else None):
                        message = await anext(messages)
                except StopAsyncIteration:
                    return
                except TimeoutError:
                    raise self._policy.silent() from None
                yield message
        except aio.AioRpcError as error:
            raise self._policy.failure(error, self._policy.timeout if limit is None else limit).error from None
        finally:
            call.cancel()
