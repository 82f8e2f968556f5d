"""HTTP connections with one deadline for all of an exchange, however slowly the other side speaks.

`http.client` knows timeouts of single waits alone, which a peer that sends a byte now and then never exceeds.
"""

from __future__ import annotations

import http.client
import ipaddress
import socket
import ssl
import threading


def is_loopback(host: str) -> bool:
    """Whether HTTP without TLS may be spoken with a host: its name is `localhost`, or an address of this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class Deadline:
    """Shuts the connections of an exchange when its time is over, so that no read or write outlasts it."""

    def __init__(self, seconds: float) -> None:
        self.passed = False
        self._timer = threading.Timer(seconds, self._end)
        self._timer.daemon = True
        self._lock = threading.Lock()
        self._connected: socket.socket | None = None

    def __enter__(self) -> Deadline:
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()

    def watch(self, connected: socket.socket) -> None:
        """From now on this is what is shut. Raises TimeoutError when the time is over."""
        with self._lock:
            self._connected = connected
            if self.passed:
                raise TimeoutError

    def _end(self) -> None:
        with self._lock:
            self.passed = True
            if self._connected is not None:
                _shut(self._connected)


def reached(host: str, port: int, seconds: float | None, deadline: Deadline | None) -> socket.socket:
    """Connected to the first address of the host that answers: a name may have any number that don't, and `seconds` is
    for each. What follows is to be watched anew if it's wrapped. Raises OSError."""
    failure: OSError = ConnectionError()
    for family, kind, protocol, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        try:
            plain = socket.socket(family, kind, protocol)
        except OSError as error:  # names have IPv6 addresses on machines that have no IPv6, too
            failure = error
            continue
        try:
            plain.settimeout(seconds)
            if deadline is not None:
                deadline.watch(plain)
            plain.connect(address)
        except OSError as error:
            plain.close()
            failure = error
            if deadline is not None and deadline.passed:
                break
        else:
            return plain
    raise failure


class TimedConnection(http.client.HTTPConnection):
    """A connection that a deadline watches from the first byte of the TLS handshake."""

    sock: socket.socket | None

    def __init__(self, host: str, port: int, trusted: ssl.SSLContext | None, seconds: float) -> None:
        """`trusted` None is for no TLS; `seconds` bounds connecting, and each single wait."""
        super().__init__(host, port, timeout=seconds)
        if trusted is not None:
            self.default_port = http.client.HTTPS_PORT
        self._trusted = trusted
        self._deadline: Deadline | None = None

    def within(self, deadline: Deadline) -> None:
        """What is asked from now on is to be answered by then. Raises TimeoutError when the time is over."""
        self._deadline = deadline
        if self.sock is not None:
            deadline.watch(self.sock)

    def connect(self) -> None:
        """TCP, and TLS where it is wanted."""
        secured = plain = self.sock = reached(self.host, self.port, self.timeout, self._deadline)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._trusted is not None:
            secured = self._trusted.wrap_socket(plain, server_hostname=self.host, do_handshake_on_connect=False)
            self.sock = secured
        if self._deadline is not None:
            self._deadline.watch(secured)
        if isinstance(secured, ssl.SSLSocket):
            secured.do_handshake()


def _shut(connected: socket.socket) -> None:
    try:
        # Not as an SSLSocket does it, which drops its TLS state under the thread that reads.
        socket.socket.shutdown(connected, socket.SHUT_RDWR)
    except OSError:
        return  # the other side was quicker
