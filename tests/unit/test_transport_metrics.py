"""What Prometheus and probes are told, over a real socket."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from prometheus_client.parser import text_string_to_metric_families

from kagitori_server.model.errors import every_error
from kagitori_server.transports.metrics import listener as listener_module
from kagitori_server.transports.metrics.listener import CONNECTIONS_MAX, HEAD_BYTES_MAX, MetricsListener
from kagitori_server.transports.metrics.measures import Measures


def make(position: Callable[[], float] = lambda: 42) -> Measures:
    """Measures of two operations."""
    return Measures(["Encrypt", "Decrypt"], in_flight=lambda: 3, audit_position=position)


def samples(measures: Measures) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Value by name and labels, as Prometheus parses them."""
    text = measures.exposition().decode()
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def labels(**given: str) -> frozenset[tuple[str, str]]:
    """Labels as keys."""
    return frozenset(given.items())


def test_calls_are_counted_by_operation_and_code() -> None:
    """With the time that they took."""
    measures = make()
    measures.observed("Encrypt", None, 0.0015)
    measures.observed("Encrypt", None, 0.004)
    measures.observed("Encrypt", "AccessDeniedException", 0.5)
    found = samples(measures)
    assert found["kagitori_calls_total", labels(operation="Encrypt", code="OK")] == 2
    assert found["kagitori_calls_total", labels(operation="Encrypt", code="AccessDeniedException")] == 1
    assert found["kagitori_call_seconds_count", labels(operation="Encrypt")] == 3
    assert math.isclose(found["kagitori_call_seconds_sum", labels(operation="Encrypt")], 0.5055)
    assert found["kagitori_call_seconds_bucket", labels(operation="Encrypt", le="0.002")] == 1


def test_what_is_asked_for_when_it_is_read() -> None:
    """Calls in flight and the trail's length."""
    position = iter([1.0, 5.0])
    measures = make(lambda: next(position))
    assert samples(measures)["kagitori_audit_records_total", labels()] == 1
    assert samples(measures)["kagitori_audit_records_total", labels()] == 5
    assert samples(make())["kagitori_calls_in_flight", labels()] == 3


def test_labels_are_bounded() -> None:
    """Names that nobody declared share one label."""
    measures = make()
    for number in range(1_000):
        measures.observed(f"Operation{number}", f"Error{number}", 0.1)
    found = samples(measures)
    assert found["kagitori_calls_total", labels(operation="Other", code="Other")] == 1_000
    assert len([name for name, _ in found if name == "kagitori_calls_total"]) == 1


@pytest.mark.parametrize("code", [error.code() for error in every_error()])
def test_every_error_has_a_label(code: str) -> None:
    """Each class of the vocabulary by its own name."""
    measures = make()
    measures.observed("Decrypt", code, 0.1)
    assert samples(measures)["kagitori_calls_total", labels(operation="Decrypt", code=code)] == 1


def test_instances_are_independent() -> None:
    """Nothing is registered for the whole process."""
    first, second = make(), make()
    first.observed("Encrypt", None, 0.1)
    assert ("kagitori_calls_total", labels(operation="Encrypt", code="OK")) not in samples(second)


@asynccontextmanager
async def listening(ready: bool = True) -> AsyncIterator[str]:
    """The address of a listener on a free port."""
    listener = MetricsListener("127.0.0.1:0", make(), lambda: ready)
    await listener.start()
    try:
        yield listener.address
    finally:
        await listener.stop()


async def exchanged(address: str, sent: bytes) -> bytes:
    """All that comes back for `sent`."""
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        writer.write(sent)
        await writer.drain()
        return await reader.read()
    except ConnectionError:
        return b""
    finally:
        writer.close()


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("request_line", "ready", "status", "content"),
    [
        (b"GET /healthz HTTP/1.1", False, b"200 OK", b"ok\n"),
        (b"GET /readyz HTTP/1.1", True, b"200 OK", b"ready\n"),
        (b"GET /readyz HTTP/1.1", False, b"503 Service Unavailable", b"not ready\n"),
        (b"GET /readyz?verbose HTTP/1.0", True, b"200 OK", b"ready\n"),
        (b"HEAD /healthz HTTP/1.1", True, b"200 OK", b""),
        (b"GET / HTTP/1.1", True, b"404 Not Found", b"not found\n"),
        (b"GET /metrics/../etc HTTP/1.1", True, b"404 Not Found", b"not found\n"),
        (b"POST /metrics HTTP/1.1", True, b"405 Method Not Allowed", b"only GET and HEAD\n"),
        (b"nonsense", True, b"405 Method Not Allowed", b"only GET and HEAD\n"),
    ],
)
async def test_answers(request_line: bytes, ready: bool, status: bytes, content: bytes) -> None:
    """Three paths, two methods."""
    async with listening(ready) as address:
        answer = await exchanged(address, request_line + b"\r\nHost: x\r\n\r\n")
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 " + status + b"\r\n")
    assert body == content


@pytest.mark.asyncio
async def test_metrics() -> None:
    """The text that Prometheus reads."""
    async with listening() as address:
        answer = await exchanged(address, b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"Content-Type: text/plain; version=" in head
    assert f"Content-Length: {len(body)}".encode() in head
    assert b"kagitori_calls_in_flight 3.0" in body


@pytest.mark.asyncio
async def test_head_that_does_not_end() -> None:
    """Too much is cut off without an answer."""
    async with listening() as address:
        assert await exchanged(address, b"GET /metrics HTTP/1.1\r\nX: " + b"y" * (4 * HEAD_BYTES_MAX)) == b""


@pytest.mark.asyncio
async def test_slow_callers_are_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever sends nothing doesn't hold a place for long."""
    monkeypatch.setattr(listener_module, "SECONDS_MAX", 0.3)
    async with listening() as address:
        host, _, port = address.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        assert await reader.read() == b""
        writer.close()


@pytest.mark.asyncio
async def test_places_are_bounded() -> None:
    """Who comes when all places are taken is turned away; a place that is given up is free again."""
    async with listening() as address:
        host, _, port = address.rpartition(":")
        idle = [await asyncio.open_connection(host, int(port)) for _ in range(CONNECTIONS_MAX)]
        assert await exchanged(address, b"GET /healthz HTTP/1.1\r\n\r\n") == b""
        for reader, writer in idle:
            writer.write_eof()
            assert await reader.read() == b""
            writer.close()
        assert (await exchanged(address, b"GET /healthz HTTP/1.1\r\n\r\n")).endswith(b"ok\n")


@pytest.mark.asyncio
async def test_stopping_ends_connections() -> None:
    """Idle callers don't outlive the listener."""
    async with listening() as address:
        host, _, port = address.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        await exchanged(address, b"GET /healthz HTTP/1.1\r\n\r\n")
    assert await reader.read() == b""
    writer.close()


@pytest.mark.asyncio
async def test_nothing_is_heard_after_stopping() -> None:
    """The port is closed."""
    listener = MetricsListener("127.0.0.1:0", make(), lambda: True)
    await listener.start()
    await listener.stop()
    with pytest.raises(ConnectionRefusedError):
        await exchanged(listener.address, b"")


@pytest.mark.asyncio
async def test_ipv6() -> None:
    """An address in brackets."""
    listener = MetricsListener("[::1]:0", make(), lambda: True)
    await listener.start()
    assert listener.address.startswith("[::1]:")
    await listener.stop()


@pytest.mark.parametrize("address", ["", "127.0.0.1", ":9464", "127.0.0.1:", "127.0.0.1:x", "127.0.0.1:65536"])
def test_addresses_that_are_none(address: str) -> None:
    """Told at the start."""
    with pytest.raises(ValueError, match="HOST:PORT"):
        MetricsListener(address, make(), lambda: True)
