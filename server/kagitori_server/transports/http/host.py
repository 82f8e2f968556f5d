"""Hosts an ASGI application: uvicorn in the event loop of the calls, with bounds on slow clients and on connections."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from math import ceil
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from kagitori_server.model.call import TlsFacts
from kagitori_server.transports.http.messages import HEAD_BYTES_MAX, Application
from kagitori_server.transports.http.places import Places

HEAD_SECONDS = 5.0
"""Time from a connection, or from the first byte of another request on it, to the end of the request's head."""
HANDSHAKE_SECONDS = 5.0
"""Time for TLS to agree."""
IDLE_SECONDS = 60
"""How long a connection waits for its next request."""
STALL_SECONDS = 20.0
"""How long a client may leave an answer unread that doesn't fit into the buffers on its way."""
CONNECTIONS_MAX = 1_024
"""Of a listener, those counted that TLS hasn't agreed on yet. `Places` says what becomes of one more."""

_BACKLOG = 256
_ACCEPT_AGAIN_SECONDS = 0.1


class HttpListenRefused(Exception):
    """The listener can't be had. The text is for the operator."""


@dataclass(frozen=True, slots=True)
class HttpTls:
    """Paths of PEM files; with a `client_ca` nobody connects without a certificate of it whose subject has the
    common name `client_name`."""

    certificate: str
    key: str
    client_ca: str = ""
    client_name: str = ""


class HttpHost:
    """Listens at `address`, `HOST:PORT`, once started; without `tls` in the clear."""

    def __init__(
        self, address: str, tls: HttpTls | None, application: Application, stop_seconds: float = 5.0
    ) -> None:
        """`stop_seconds` is how long `stop` waits for requests in flight."""
        host, _, port = address.rpartition(":")
        self._host, self._port = host.strip("[]"), int(port)
        self._tls = tls
        self._application = application
        self._stop_seconds = stop_seconds
        self._server: _Server | None = None
        self._serving: asyncio.Task[None] | None = None
        self._address = ""

    @property
    def address(self) -> str:
        """Where it listens, with the port that it got. Empty before `start`."""
        return self._address

    async def start(self) -> None:
        """Listens. Raises HttpListenRefused."""
        context = None if self._tls is None else _context(self._tls)
        try:
            family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
            listening = socket.create_server((self._host, self._port), family=family, backlog=_BACKLOG)
        except OSError as error:
            raise HttpListenRefused(f"Can't listen on {self._host}:{self._port}: {error.strerror}") from None
        listening.setblocking(False)
        host, port = listening.getsockname()[:2]
        self._address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        config = uvicorn.Config(
            self._application, http=_Connection, ws="none", lifespan="off", interface="asgi3", log_config=None,
            log_level="error", access_log=False, proxy_headers=False, server_header=False, backlog=_BACKLOG,
            timeout_keep_alive=IDLE_SECONDS, timeout_graceful_shutdown=ceil(self._stop_seconds),
            h11_max_incomplete_event_size=HEAD_BYTES_MAX,
        )
        self._server = _Server(config, context, self._tls.client_name if self._tls else "")
        self._serving = asyncio.create_task(self._server.serve([listening]))
        up = asyncio.create_task(self._server.up.wait())
        await asyncio.wait({up, self._serving}, return_when=asyncio.FIRST_COMPLETED)
        up.cancel()
        if self._serving.done():
            await self._serving

    async def stop(self) -> None:
        """Takes no more requests and finishes those in flight."""
        if self._server is not None and self._serving is not None:
            self._server.should_exit = True
            await self._serving


class _Connection(H11Protocol):
    """uvicorn's protocol of a connection, with a time for the head and for reading answers, and a look at who the
    client's certificate names."""

    client_name = ""
    places: Places | None = None
    accepted: socket.socket | None = None
    """Its own, as `places` knows it."""
    _waiting: asyncio.TimerHandle | None = None
    _stalled: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's
        super().connection_made(transport)
        if self.places is not None and self.accepted is not None:
            self.places.made(self.accepted, self)
        tls: ssl.SSLObject | None = transport.get_extra_info("ssl_object")
        if self.client_name and (tls is None or _name(tls) != self.client_name):
            transport.abort()
            return
        if tls is not None:
            cipher = tls.cipher()
            facts = TlsFacts(tls.version() or "", cipher[0] if cipher else "", None)
            self.app_state = {**self.app_state, "tls": facts}
        self._wait()

    def data_received(self, data: bytes) -> None:
        self._wait()
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:
            self._wait_no_more()
        if self.conn.their_state in (h11.DONE, h11.MUST_CLOSE):
            self._hear()

    def connection_lost(self, exc: Exception | None) -> None:
        self._wait_no_more()
        self._stalled_no_more()
        if self.places is not None and self.accepted is not None:
            self.places.leave(self.accepted)
        super().connection_lost(exc)

    def _hear(self) -> None:
        """A whole request has come."""
        if self.places is not None and self.accepted is not None:
            self.places.heard(self.accepted, self)

    @property
    def idle(self) -> bool:
        """Whether no request is being answered."""
        return self.cycle is None or self.cycle.response_complete

    def abort(self) -> None:
        """Ends the connection, whatever is on its way."""
        self.transport.abort()

    def shutdown(self) -> None:
        """Ends the connection at once if nothing is on its way, else after the answer."""
        if self.idle and not self.transport.get_write_buffer_size():
            # TLS would wait for the client to agree, who has nothing to hear and may not listen.
            self.transport.abort()
        else:
            super().shutdown()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stalled_no_more()
        self._stalled = self.loop.call_later(STALL_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        self._stalled_no_more()
        super().resume_writing()

    def _stalled_no_more(self) -> None:
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None

    def _wait(self) -> None:
        if self._waiting is None:
            self._waiting = self.loop.call_later(HEAD_SECONDS, self.transport.abort)

    def _wait_no_more(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None


class _Server(uvicorn.Server):
    """uvicorn's server with connections of our own accepting: counted and timed from the first moment on."""

    def __init__(self, config: uvicorn.Config, tls: ssl.SSLContext | None, client_name: str) -> None:
        super().__init__(config)
        self._client_name = client_name
        self.up = asyncio.Event()
        self._tls = tls
        self._accepting: list[asyncio.Task[None]] = []
        self._opening: set[asyncio.Task[None]] = set()
        self._places = Places(CONNECTIONS_MAX)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self.servers = []
        self._accepting = [asyncio.create_task(self._accept(listening)) for listening in sockets or ()]
        self.started = True
        self.up.set()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        ended = [*self._accepting, *self._opening]
        for task in ended:
            task.cancel()
        await asyncio.gather(*ended, return_exceptions=True)
        await super().shutdown(sockets)

    async def _accept(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, _ = await loop.sock_accept(listening)
            except OSError:
                # The client has gone, or there are no file descriptors left.
                await asyncio.sleep(_ACCEPT_AGAIN_SECONDS)
                continue
            if not self._places.take(connection):
                connection.close()
                continue
            task = loop.create_task(self._open(connection))
            self._opening.add(task)
            task.add_done_callback(self._opening.discard)

    async def _open(self, connection: socket.socket) -> None:
        try:
            connection.setblocking(False)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await asyncio.get_running_loop().connect_accepted_socket(
                partial(self._protocol, connection), connection, ssl=self._tls,
                ssl_handshake_timeout=None if self._tls is None else HANDSHAKE_SECONDS,
            )
        except OSError:
            # Among them TLS errors and timeouts. The client's affair.
            self._places.leave(connection)
            connection.close()

    def _protocol(self, accepted: socket.socket) -> asyncio.Protocol:
        connection = _Connection(self.config, self.server_state, {})
        connection.client_name = self._client_name
        connection.places, connection.accepted = self._places, accepted
        return connection

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals belong to the process's own way of ending."""
        yield


def _name(tls: ssl.SSLObject) -> str | None:
    certificate: Any = tls.getpeercert() or {}
    names = [value for part in certificate.get("subject", ()) for name, value in part if name == "commonName"]
    return names[0] if len(names) == 1 else None


def _context(tls: HttpTls) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(tls.certificate, tls.key)
        if tls.client_ca:
            context.load_verify_locations(tls.client_ca)
            context.verify_mode = ssl.CERT_REQUIRED
    except (OSError, ssl.SSLError):
        # No cause: it might quote the files.
        raise HttpListenRefused("The certificate, key or client CA of an HTTPS listener can't be used.") from None
    return context
