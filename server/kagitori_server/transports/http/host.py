"""Hosts an ASGI application: uvicorn in the event loop of the calls, with bounds on slow clients and on connections."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from kagitori_server.model.call import TlsFacts
from kagitori_server.transports.http.messages import Application

HEAD_SECONDS = 5.0
"""Time from a connection, or from the first byte of another request on it, to the end of the request's head."""
HEAD_BYTES_MAX = 16_384
IDLE_SECONDS = 60
"""How long a connection waits for its next request."""
CONNECTIONS_MAX = 1_024
STOP_SECONDS = 5

_BACKLOG = 256


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

    def __init__(self, address: str, tls: HttpTls | None, application: Application) -> None:
        host, _, port = address.rpartition(":")
        self._host, self._port = host.strip("[]"), int(port)
        self._tls = tls
        self._application = application
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
            self._application, http=_protocol(self._tls.client_name if self._tls else ""), ws="none",
            lifespan="off", interface="asgi3", log_config=None, access_log=False, proxy_headers=False,
            server_header=False, backlog=_BACKLOG, timeout_keep_alive=IDLE_SECONDS,
            timeout_graceful_shutdown=STOP_SECONDS, h11_max_incomplete_event_size=HEAD_BYTES_MAX,
            ssl_context_factory=None if context is None else lambda *_: context,
        )
        self._server = _Server(config)
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


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.up = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.up.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals belong to the process's own way of ending."""
        yield


def _protocol(client_name: str) -> type[asyncio.Protocol]:
    """The protocol of a connection: uvicorn's, with a time for the head, a bound on connections and a look at who
    the client's certificate names."""

    class Protocol(H11Protocol):
        _waiting: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's
            super().connection_made(transport)
            tls: ssl.SSLObject | None = transport.get_extra_info("ssl_object")
            if len(self.connections) > CONNECTIONS_MAX or (client_name and (tls is None or _name(tls) != client_name)):
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

        def connection_lost(self, exc: Exception | None) -> None:
            self._wait_no_more()
            super().connection_lost(exc)

        def _wait(self) -> None:
            if self._waiting is None:
                self._waiting = self.loop.call_later(HEAD_SECONDS, self.transport.abort)

        def _wait_no_more(self) -> None:
            if self._waiting is not None:
                self._waiting.cancel()
                self._waiting = None

    return Protocol


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
