"""Health (grpc.health.v1) and server reflection (v1 and v1alpha): served beside the operations, to anybody.

Neither touches the pipeline: they tell what anybody may know (whether the server serves, and the contract). Streams
of theirs are few at a time, reflection's end after a while, and the host can end them all.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import grpc
from google.protobuf.descriptor import ServiceDescriptor
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection, reflection_pb2

HEALTH = "grpc.health.v1.Health"
REFLECTION = "grpc.reflection.v1.ServerReflection"
"""Its messages are v1alpha's, byte for byte."""
REFLECTION_ALPHA = reflection.SERVICE_NAME

STREAMS_MAX = 64
"""Streams of these services at once."""
REFLECTION_SECONDS = 60.0
"""How long a reflection stream may last."""

_Status = health_pb2.HealthCheckResponse
Context = grpc.aio.ServicerContext[Any, Any]


class Bystanders:
    """The two services. Starts as NOT_SERVING; whoever owns the host says when that changes."""

    def __init__(self, services: Sequence[ServiceDescriptor]) -> None:
        """`services` are those that the server has beside these."""
        self._serving = False
        self._changed = asyncio.Event()
        self._ending = False
        self._streams: set[asyncio.Task[Any]] = set()
        listed = [service.full_name for service in services]
        self._names = frozenset({"", *listed})
        self._reflection = reflection.aio.ReflectionServicer((*listed, HEALTH, REFLECTION_ALPHA))

    @property
    def serving(self) -> bool:
        """What health says."""
        return self._serving

    @property
    def streams(self) -> int:
        """How many streams are open."""
        return len(self._streams)

    def set_serving(self, serving: bool) -> None:
        """Say from now on that the server serves, or doesn't, as a whole and for each of its services."""
        if serving is not self._serving:
            self._serving = serving
            self._changed.set()
            self._changed = asyncio.Event()

    def end_streams(self) -> None:
        """Break off the streams, which would otherwise keep a host from stopping."""
        self._ending = True
        for stream in tuple(self._streams):
            stream.cancel()

    def handlers(self) -> tuple[grpc.GenericRpcHandler, ...]:
        """The handlers of the services, for a server of grpc.aio."""
        reflect = grpc.stream_stream_rpc_method_handler(
            self._reflect,
            request_deserializer=reflection_pb2.ServerReflectionRequest.FromString,
            response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
        )
        health = {
            "Check": grpc.unary_unary_rpc_method_handler(
                self._check,
                request_deserializer=health_pb2.HealthCheckRequest.FromString,
                response_serializer=_Status.SerializeToString,
            ),
            "Watch": grpc.unary_stream_rpc_method_handler(
                self._watch,
                request_deserializer=health_pb2.HealthCheckRequest.FromString,
                response_serializer=_Status.SerializeToString,
            ),
        }
        return (
            grpc.method_handlers_generic_handler(HEALTH, health),
            grpc.method_handlers_generic_handler(REFLECTION, {"ServerReflectionInfo": reflect}),
            grpc.method_handlers_generic_handler(REFLECTION_ALPHA, {"ServerReflectionInfo": reflect}),
        )

    def _status(self, service: str) -> Any:
        if service not in self._names:
            return _Status.SERVICE_UNKNOWN
        return _Status.SERVING if self._serving else _Status.NOT_SERVING

    async def _check(self, request: Any, context: Context) -> Any:
        status = self._status(request.service)
        if status == _Status.SERVICE_UNKNOWN:
            await context.abort(grpc.StatusCode.NOT_FOUND, "No such service.")
        return _Status(status=status)

    async def _watch(self, request: Any, context: Context) -> None:
        async with self._stream(context):
            told = None
            while True:
                changed = self._changed
                status = self._status(request.service)
                if status != told:
                    await context.write(_Status(status=status))
                    told = status
                await changed.wait()

    async def _reflect(self, requests: AsyncIterator[Any], context: Context) -> None:
        async with self._stream(context):
            try:
                async with asyncio.timeout(REFLECTION_SECONDS):
                    async for answer in self._reflection.ServerReflectionInfo(requests, context):
                        await context.write(answer)
            except TimeoutError:
                await context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, "The stream lasted too long.")

    @asynccontextmanager
    async def _stream(self, context: Context) -> AsyncIterator[None]:
        """Count the current task among the streams that can be ended; refuse it when there are too many."""
        task = asyncio.current_task()
        if task is None or len(self._streams) >= STREAMS_MAX:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "Too many streams.")
            return
        self._streams.add(task)
        try:
            yield
        except asyncio.CancelledError:
            if not self._ending:
                raise
            # grpcio sends nothing for a handler that was cancelled, so the caller is told here.
            await context.abort(grpc.StatusCode.UNAVAILABLE, "The server is stopping.")
        finally:
            self._streams.discard(task)
