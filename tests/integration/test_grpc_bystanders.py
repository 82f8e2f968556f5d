"""Health and reflection over real connections."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2
from tests.support.transport import ScriptedPipeline, make_dispatcher, plaintext_listener, serving, until

from kagitori_server.transports.grpc import bystanders
from kagitori_server.transports.grpc.contract import SERVICES
from kagitori_server.transports.grpc.host import GrpcHost

pytestmark = pytest.mark.asyncio

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
SERVICE_UNKNOWN = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
NAMES = ["", *(service.full_name for service in SERVICES)]
REFLECTIONS = ["grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection"]


def health(channel: aio.Channel) -> Any:
    """The stub that probes use."""
    return health_pb2_grpc.HealthStub(channel)


def reflection(channel: aio.Channel, service: str) -> Any:
    """An open stream of that version of reflection."""
    open_stream: Any = channel.stream_stream(
        f"/{service}/ServerReflectionInfo",
        request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
        response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
    )
    return open_stream()


async def asked(stream: Any, **question: Any) -> Any:
    """The answer to one question."""
    await stream.write(reflection_pb2.ServerReflectionRequest(**question))
    return await stream.read()


async def ended(stream: Any) -> grpc.StatusCode:
    """The status with which a stream ended without a message."""
    with pytest.raises(aio.AioRpcError) as caught:
        await stream.read()
    return caught.value.code()


@pytest.mark.parametrize("service", NAMES)
async def test_health_follows_the_owner(service: str) -> None:
    """Not serving until told, as a whole and for each service."""
    host = GrpcHost(make_dispatcher(ScriptedPipeline()), [plaintext_listener()])
    await host.start()
    async with aio.insecure_channel(host.addresses[0]) as channel:
        request = health_pb2.HealthCheckRequest(service=service)
        assert (await health(channel).Check(request)).status == NOT_SERVING
        host.set_serving(True)
        assert (await health(channel).Check(request)).status == SERVING
        host.set_serving(False)
        assert (await health(channel).Check(request)).status == NOT_SERVING
    await host.stop(0)


async def test_health_of_an_unknown_service() -> None:
    """As the protocol says: NOT_FOUND to Check, SERVICE_UNKNOWN to Watch."""
    request = health_pb2.HealthCheckRequest(service="no.such.Service")
    async with serving(ScriptedPipeline()) as host, aio.insecure_channel(host.addresses[0]) as channel:
        with pytest.raises(aio.AioRpcError) as caught:
            await health(channel).Check(request)
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND
        watch = health(channel).Watch(request)
        assert (await watch.read()).status == SERVICE_UNKNOWN
        watch.cancel()


async def test_watch_tells_each_change_once() -> None:
    """The present state at once, then what it becomes."""
    async with serving(ScriptedPipeline()) as host, aio.insecure_channel(host.addresses[0]) as channel:
        watch = health(channel).Watch(health_pb2.HealthCheckRequest())
        assert (await watch.read()).status == SERVING
        host.set_serving(True)
        host.set_serving(False)
        assert (await watch.read()).status == NOT_SERVING
        host.set_serving(True)
        assert (await watch.read()).status == SERVING
        watch.cancel()


async def test_streams_do_not_keep_the_server_from_stopping() -> None:
    """They are broken off when it does."""
    async with serving(ScriptedPipeline()) as host, aio.insecure_channel(host.addresses[0]) as channel:
        watch = health(channel).Watch(health_pb2.HealthCheckRequest())
        assert (await watch.read()).status == SERVING
        reflect = reflection(channel, REFLECTIONS[0])
        await asked(reflect, list_services="")
        async with asyncio.timeout(5):
            await host.stop(30)


async def test_streams_are_few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever opens many is refused, and there is room again when some end."""
    monkeypatch.setattr(bystanders, "STREAMS_MAX", 2)
    async with serving(ScriptedPipeline()) as host, aio.insecure_channel(host.addresses[0]) as channel:
        watches = [health(channel).Watch(health_pb2.HealthCheckRequest()) for _ in range(2)]
        for watch in watches:
            assert (await watch.read()).status == SERVING
        third = health(channel).Watch(health_pb2.HealthCheckRequest())
        assert await ended(third) is grpc.StatusCode.RESOURCE_EXHAUSTED
        watches.pop().cancel()
        await until(lambda: host.streams == 1)
        again = health(channel).Watch(health_pb2.HealthCheckRequest())
        assert (await again.read()).status == SERVING


@pytest.mark.parametrize("version", REFLECTIONS)
async def test_reflection(version: str) -> None:
    """Both versions list the services and give their files, with what they import."""
    async with serving(ScriptedPipeline()) as host, aio.insecure_channel(host.addresses[0]) as channel:
        stream = reflection(channel, version)
        listed = await asked(stream, list_services="")
        names = {service.name for service in listed.list_services_response.service}
        assert names >= {service.full_name for service in SERVICES} | {"grpc.health.v1.Health"}
        for name in sorted(names):
            answer = await asked(stream, file_containing_symbol=name)
            files = [
                FileDescriptorProto.FromString(file)
                for file in answer.file_descriptor_response.file_descriptor_proto
            ]
            known = {file.name for file in files}
            assert all(imported in known for file in files for imported in file.dependency)
            assert name in {f"{file.package}.{service.name}" for file in files for service in file.service}
        missing = await asked(stream, file_by_filename="/etc/passwd")
        assert missing.error_response.error_code == grpc.StatusCode.NOT_FOUND.value[0]
        await stream.done_writing()
        assert await stream.read() is aio.EOF
        assert await stream.code() is grpc.StatusCode.OK


async def test_reflection_ends_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream that is left open is closed by the server."""
    monkeypatch.setattr(bystanders, "REFLECTION_SECONDS", 0.1)
    async with serving(ScriptedPipeline()) as host, aio.insecure_channel(host.addresses[0]) as channel:
        stream = reflection(channel, REFLECTIONS[0])
        assert await ended(stream) is grpc.StatusCode.DEADLINE_EXCEEDED
