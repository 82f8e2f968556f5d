"""HTTPS to one proxy: blocking, from any thread, over connections that are kept, each call within its deadline.

The deadline is for the call as a whole. `http.client` knows timeouts of single reads alone, with which a peer that
sends a byte now and then is waited for without end; so its sockets are wrapped in `_Deadlined`, which gives each read
and write only what is left, and bounds how much is read. The look-up of the host's name is the one step that the
operating system bounds by itself.
"""

from __future__ import annotations

import http.client
import io
import socket
import ssl
import threading
from collections.abc import Callable, Mapping
from typing import NamedTuple

from kagitori_keystore.base import RequestRefused
from kagitori_keystore.xks import wire
from kagitori_keystore.xks.errors import ProxyFault, ProxyLost, ProxyTooSlow
from kagitori_keystore.xks.settings import XksSettings

_ANSWER_MAX_BYTES = wire.MESSAGE_MAX_BYTES + 16_384
"""Of an answer, its head with it."""


class Answer(NamedTuple):
    """A whole answer of the proxy, of whatever status."""

    status: int
    media_type: str
    body: bytes

    def __repr__(self) -> str:
        """Without the body, which may be a plaintext."""
        return f"Answer({self.status}, {len(self.body)} bytes)"


class Connections:
    """Calls to one proxy. Thread-safe; at most `idle_connections` wait for the next call."""

    def __init__(self, settings: XksSettings, monotonic: Callable[[], float]) -> None:
        """Raises `RequestRefused` for a file of authorities that can't be read."""
        self._settings = settings
        self._monotonic = monotonic
        self._tls = _tls_context(settings)
        self._idle: list[tuple[float, _Connection]] = []
        self._lock = threading.Lock()
        self._closed = False

    def post(self, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """The answer to a POST. Raises `ProxyLost` or `ProxyTooSlow`.

        A call that meets a network timeout is made once more, as AWS KMS does; so is one that met the end of a
        connection which had been kept.
        """
        kept = self._take()
        try:
            return self._try(kept or _Connection(self._settings, self._tls), path, headers, body)
        except ProxyTooSlow:
            pass
        except ProxyLost as failure:
            if kept is None or failure.fault is not ProxyFault.UNREACHABLE:
                raise
        return self._try(_Connection(self._settings, self._tls), path, headers, body)

    def check_open(self) -> None:
        """Raises `ProxyLost` after `close`."""
        if self._closed:
            raise ProxyLost(ProxyFault.UNREACHABLE)

    def close(self) -> None:
        """Ends the connections that wait, and each that is in use when its call is done."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for _, connection in idle:
            connection.close()

    def _try(self, connection: _Connection, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        done = False
        try:
            answer, done = connection.post(path, headers, body, self._left)
        except TimeoutError:
            raise ProxyTooSlow(ProxyFault.TIMED_OUT) from None
        except ssl.SSLCertVerificationError:
            raise ProxyLost(ProxyFault.TLS_REFUSED) from None
        except ssl.SSLError:
            # Once TLS stands, an error of it is a broken connection like any other.
            fault = ProxyFault.UNREACHABLE if connection.stands else ProxyFault.TLS_REFUSED
            raise ProxyLost(fault) from None
        except http.client.RemoteDisconnected:
            raise ProxyLost(ProxyFault.UNREACHABLE) from None
        except (http.client.HTTPException, ValueError):
            # No cause: it quotes the answer.
            raise ProxyLost(ProxyFault.MALFORMED_ANSWER) from None
        except OSError:
            raise ProxyLost(ProxyFault.UNREACHABLE) from None
        finally:
            if done:
                self._give_back(connection)
            else:
                connection.close()
        return answer

    def _left(self) -> Callable[[], float]:
        """Starts a deadline; what it returns tells the seconds left. Raises TimeoutError when there are none."""
        end = self._monotonic() + self._settings.deadline_seconds

        def left() -> float:
            seconds = end - self._monotonic()
            if seconds <= 0:
                raise TimeoutError
            return seconds

        return left

    def _take(self) -> _Connection | None:
        oldest = self._monotonic() - self._settings.idle_seconds
        self.check_open()
        with self._lock:
            stale = [connection for since, connection in self._idle if since < oldest]
            self._idle = [(since, connection) for since, connection in self._idle if since >= oldest]
            taken = self._idle.pop()[1] if self._idle else None
        for connection in stale:
            connection.close()
        return taken

    def _give_back(self, connection: _Connection) -> None:
        with self._lock:
            if not self._closed and len(self._idle) < self._settings.idle_connections:
                self._idle.append((self._monotonic(), connection))
                return
        connection.close()


class _Connection:
    """One connection, opened at its first call; of one thread at a time."""

    def __init__(self, settings: XksSettings, tls: ssl.SSLContext) -> None:
        self._http = http.client.HTTPConnection(settings.host, settings.port)
        self._tls = tls
        self._socket: _Deadlined | None = None

    @property
    def stands(self) -> bool:
        """Whether TLS was agreed on."""
        return self._socket is not None

    def post(
        self, path: str, headers: Mapping[str, str], body: bytes, start: Callable[[], Callable[[], float]]
    ) -> tuple[Answer, bool]:
        """(answer, whether another call may follow on the same connection). Raises as `http.client` does."""
        left = start()
        if self._socket is None:
            self._socket = self._connect(left)
            self._http.sock = self._socket
        self._socket.begin(left)
        self._http.putrequest("POST", path, skip_host=True, skip_accept_encoding=True)
        for name, value in headers.items():
            self._http.putheader(name, value)
        self._http.putheader("Content-Length", str(len(body)))
        self._http.endheaders(body)
        response = self._http.getresponse()
        found = response.read(wire.MESSAGE_MAX_BYTES + 1)
        if len(found) > wire.MESSAGE_MAX_BYTES:
            raise http.client.HTTPException("the answer is too long")
        if not response.isclosed() and response.read(1):
            raise http.client.HTTPException("the answer is too long")
        media_type = response.headers.get_content_type()
        whole = response.length in (0, None) and not response.will_close
        return Answer(response.status, media_type, found), whole

    def close(self) -> None:
        """Ends the connection at once."""
        self._http.close()
        if self._socket is not None:
            self._socket.close()

    def _connect(self, left: Callable[[], float]) -> _Deadlined:
        host = self._http.host
        plain = _reached(host, self._http.port, left)
        try:
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            plain.settimeout(left())
            return _Deadlined(self._tls.wrap_socket(plain, server_hostname=host))
        except BaseException:
            plain.close()
            raise


def _reached(host: str, port: int, left: Callable[[], float]) -> socket.socket:
    """A connection to the first address of a host that takes one. Raises OSError; TimeoutError when no time is left.

    `socket.create_connection` gives each address the whole of the time.
    """
    failure = OSError("the host has no address")
    for family, kind, protocol, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        try:
            plain = socket.socket(family, kind, protocol)
        except OSError as error:  # names have IPv6 addresses on machines that have no IPv6, too
            failure = error
            continue
        try:
            plain.settimeout(left())
            plain.connect(address)
        except OSError as error:
            plain.close()
            failure = error
        else:
            return plain
    raise failure


class _Deadlined:
    """As much of a socket as `http.client` uses, within the deadline and the bound of the call that began."""

    def __init__(self, connected: ssl.SSLSocket) -> None:
        self._socket = connected
        self._left: Callable[[], float] = lambda: 0.0
        self._allowance = 0

    def begin(self, left: Callable[[], float]) -> None:
        """A call begins."""
        self._left = left
        self._allowance = _ANSWER_MAX_BYTES

    def sendall(self, data: bytes) -> None:
        """Sends everything. Raises TimeoutError."""
        self._socket.settimeout(self._left())
        self._socket.sendall(data)

    def receive_into(self, buffer: memoryview) -> int:
        """What is there, at most a buffer full. Raises TimeoutError, and HTTPException past the bound."""
        if self._allowance <= 0:
            raise http.client.HTTPException("the answer is too long")
        self._socket.settimeout(self._left())
        count = self._socket.recv_into(buffer)
        self._allowance -= count
        return count

    def makefile(self, mode: str) -> io.BufferedReader:
        """A reader for one answer."""
        return io.BufferedReader(_Reader(self, mode))

    def close(self) -> None:
        """Ends the connection."""
        self._socket.close()


class _Reader(io.RawIOBase):
    def __init__(self, source: _Deadlined, mode: str) -> None:
        if mode != "rb":
            raise ValueError("only for reading")
        super().__init__()
        self._source = source

    def readable(self) -> bool:
        """True: for BufferedReader."""
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]  # typeshed: any buffer
        """As RawIOBase says."""
        return self._source.receive_into(memoryview(buffer))


def _tls_context(settings: XksSettings) -> ssl.SSLContext:
    """Verifies host and chain; TLS 1.2 or later, as the API demands."""
    try:
        cafile = None if settings.ca_file is None else str(settings.ca_file)
        context = ssl.create_default_context(cafile=cafile)
    except (OSError, ssl.SSLError):
        raise RequestRefused("the file of authorities for the proxy can't be read") from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    return context
