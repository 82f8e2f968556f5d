"""An HTTP server for three paths: `/metrics`, `/healthz` (it lives) and `/readyz` (it serves).

It runs in the event loop of the calls on purpose: when that is stuck, the probes fail. It tells nothing secret, but
numbers of use are nobody's business either, so it listens on loopback unless told otherwise.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable

from kagitori_server.transports.metrics.measures import MEDIA_TYPE, Measures

HEAD_BYTES_MAX = 8_192
"""Bytes of a request's head."""
SECONDS_MAX = 5.0
"""Time to send a request, and again to take the answer."""
CONNECTIONS_MAX = 32

_TEXT = "text/plain; charset=utf-8"
_log = logging.getLogger(__name__)

_Answer = tuple[str, str, bytes]
"""(status line's code and phrase, media type, body)"""


class MetricsListener:
    """Serves the probes and the metrics at `address`, `HOST:PORT`."""

    def __init__(self, address: str, measures: Measures, ready: Callable[[], bool]) -> None:
        """Raises ValueError for an address that isn't HOST:PORT."""
        host, _, port = address.rpartition(":")
        if not host or not port.isdecimal() or int(port) > 65_535:
            raise ValueError(f"{address!r} is not HOST:PORT")
        self._host, self._port = host.strip("[]"), int(port)
        self._measures = measures
        self._ready = ready
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self._address = ""

    @property
    def address(self) -> str:
        """Where it listens, with the port that it got. Empty before `start`."""
        return self._address

    async def start(self) -> None:
        """Listen. Raises OSError when the address can't be had."""
        self._server = await asyncio.start_server(self._connected, self._host, self._port, limit=HEAD_BYTES_MAX)
        host, port = self._server.sockets[0].getsockname()[:2]
        self._address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    async def stop(self) -> None:
        """Listen no more; answers under way are given up."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for connection in self._connections:
            connection.cancel()
        if self._connections:
            await asyncio.wait(self._connections)

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._connections) >= CONNECTIONS_MAX:
            writer.close()
            return
        connection = asyncio.create_task(self._serve(reader, writer))
        self._connections.add(connection)
        connection.add_done_callback(self._connections.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(SECONDS_MAX):
                head = await reader.readuntil(b"\r\n\r\n")
            status, media, body = await self._answer(head)
            bare = head.startswith(b"HEAD ")
            writer.write(_response(status, media, body, bare=bare))
            async with asyncio.timeout(SECONDS_MAX):
                await writer.drain()
        except (TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError):
            # A caller that doesn't speak HTTP in time gets no answer.
            _log.debug("a connection to the metrics listener was given up")
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def _answer(self, head: bytes) -> _Answer:
        method, _, rest = head.partition(b"\r\n")[0].partition(b" ")
        target = rest.partition(b" ")[0].partition(b"?")[0]
        if method not in (b"GET", b"HEAD"):
            return "405 Method Not Allowed", _TEXT, b"only GET and HEAD\n"
        if target == b"/metrics":
            # In a thread: writing some hundred lines takes as long as a hundred calls.
            return "200 OK", MEDIA_TYPE, await asyncio.to_thread(self._measures.exposition)
        if target == b"/healthz":
            return "200 OK", _TEXT, b"ok\n"
        if target == b"/readyz":
            ready = self._ready()
            return ("200 OK", _TEXT, b"ready\n") if ready else ("503 Service Unavailable", _TEXT, b"not ready\n")
        return "404 Not Found", _TEXT, b"not found\n"


def _response(status: str, media: str, body: bytes, *, bare: bool) -> bytes:
    head = (
        f"HTTP/1.1 {status}\r\nContent-Type: {media}\r\nContent-Length: {len(body)}\r\n"
        "Cache-Control: no-store\r\nConnection: close\r\n\r\n"
    )
    return head.encode() if bare else head.encode() + body
