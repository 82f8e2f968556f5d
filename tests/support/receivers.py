"""Receivers of audit records: real servers in threads, over TLS where it's wanted, which can be told to fail."""

from __future__ import annotations

import http.server
import socket
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from kagitori_server.bootstrap.certificates import prepare

Answer = tuple[int, dict[str, str], bytes]
OK: Answer = (200, {}, b"")


class Authority:
    """A certificate authority, and a server certificate of it for loopback addresses."""

    def __init__(self, folder: Path) -> None:
        made = prepare(folder, ("localhost", "127.0.0.1"), time.time)
        self.pem = made.authority.pem.decode()
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        certificate, key = folder / "receiver.crt", folder / "receiver.key"
        certificate.write_bytes(made.server.certificate)
        key.write_bytes(made.server.key)
        self.context.load_cert_chain(certificate, key)


@dataclass
class Post:
    """A request that a receiver got."""

    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Behaviour:
    """What a receiver does; answers are taken in turn, the last again and again."""

    answers: list[Answer | Callable[[Post], Answer | None]] = field(default_factory=lambda: [OK])
    """None hangs up without an answer."""

    def next(self, post: Post) -> Answer | None:
        """The answer to a post."""
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return answer(post) if callable(answer) else answer


class HttpReceiver:
    """Takes POSTs. A context manager."""

    def __init__(self, authority: Authority | None, port: int = 0) -> None:
        self.posts: list[Post] = []
        self.behaviour = Behaviour()
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            timeout = 10

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                post = Post(self.path, dict(self.headers.items()), body)
                receiver.posts.append(post)
                answer = receiver.behaviour.next(post)
                if answer is None:
                    self.close_connection = True
                    return
                status, headers, content = answer
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name that is overridden
                """Silent."""

        class Server(http.server.ThreadingHTTPServer):
            allow_reuse_address = True
            daemon_threads = True

            def handle_error(self, request: Any, client_address: Any) -> None:
                """Callers hang up when it suits them."""

        self._server = Server(("127.0.0.1", port), Handler)
        if authority is not None:
            self._server.socket = authority.context.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        self.port = self._server.server_address[1]
        scheme = "http" if authority is None else "https"
        self.url = f"{scheme}://127.0.0.1:{self.port}/audit?from=tests"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    def __enter__(self) -> HttpReceiver:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class SyslogReceiver:
    """A syslog server that reads messages with octet counting, or datagrams. A context manager."""

    def __init__(self, transport: str, authority: Authority | None = None) -> None:
        self.messages: list[bytes] = []
        self.hang_up_after: int | None = None
        """Closes a connection after so many messages, the rest unread."""
        self._closing = threading.Event()
        self._transport = transport
        self._authority = authority
        kind = socket.SOCK_DGRAM if transport == "udp" else socket.SOCK_STREAM
        self._socket = socket.socket(socket.AF_INET, kind)
        self._socket.bind(("127.0.0.1", 0))
        self._socket.settimeout(0.1)
        if transport != "udp":
            self._socket.listen()
        self.url = f"{transport}://127.0.0.1:{self._socket.getsockname()[1]}"
        self._threads = [threading.Thread(target=self._datagrams if transport == "udp" else self._accept)]

    def _datagrams(self) -> None:
        while not self._closing.is_set():
            try:
                self.messages.append(self._socket.recv(65_536))
            except TimeoutError:
                continue

    def _accept(self) -> None:
        while not self._closing.is_set():
            try:
                connection, _ = self._socket.accept()
            except TimeoutError:
                continue
            thread = threading.Thread(target=self._read, args=(connection,))
            self._threads.append(thread)
            thread.start()

    def _read(self, connection: socket.socket) -> None:
        connection.settimeout(5)
        try:
            with self._wrapped(connection) as wrapped, wrapped.makefile("rb") as stream:
                count = 0
                while length := _length(stream):
                    self.messages.append(stream.read(length))
                    count += 1
                    if count == self.hang_up_after:
                        self.hang_up_after = None
                        return
        except OSError:
            return

    def _wrapped(self, connection: socket.socket) -> socket.socket:
        if self._authority is None:
            return connection
        return self._authority.context.wrap_socket(connection, server_side=True)

    def __enter__(self) -> SyslogReceiver:
        self._threads[0].start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.set()
        for thread in list(self._threads):
            thread.join(10)
        self._socket.close()


def _length(stream: Any) -> int:
    digits = b""
    while (letter := stream.read(1)) not in (b" ", b""):
        digits += letter
    return int(digits) if digits else 0


def until(condition: Callable[[], object], seconds: float = 10.0) -> None:
    """Waits for what happens in another thread."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it didn't happen"
        time.sleep(0.01)
