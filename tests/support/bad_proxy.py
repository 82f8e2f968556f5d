"""A proxy over TLS that misbehaves as it is told: for tests of what its client does then."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from kagitori_server.bootstrap.certificates import prepare

Behaviour = Callable[[ssl.SSLSocket], None]
"""What is done with a connection once a request was read on it."""


def answering(status: int, body: bytes, media_type: str = "application/json", extra: str = "") -> Behaviour:
    """An answer; `extra` are more header lines, each with its end."""
    head = f"HTTP/1.1 {status} X\r\nContent-Type: {media_type}\r\nContent-Length: {len(body)}\r\n{extra}\r\n"
    return raw(head.encode() + body)


def saying(status: int, **members: object) -> Behaviour:
    """An answer that is a JSON object."""
    return answering(status, json.dumps(members).encode())


def raw(data: bytes) -> Behaviour:
    """These bytes."""
    return lambda connection: connection.sendall(data)


def silent(seconds: float) -> Behaviour:
    """Nothing, for a while."""
    return lambda _: time.sleep(seconds)


def dripping(data: bytes, seconds: float) -> Behaviour:
    """A byte now and then."""

    def drip(connection: ssl.SSLSocket) -> None:
        for at in range(len(data)):
            connection.sendall(data[at : at + 1])
            time.sleep(seconds)

    return drip


def closing(connection: ssl.SSLSocket) -> None:
    """The connection's end."""
    connection.close()


class BadProxy:
    """Listens on a free port; each request meets the next of `behaviours`, the last one for good."""

    def __init__(self, folder: Path, *behaviours: Behaviour) -> None:
        self.folder = folder
        prepare(folder, (), time.time)
        self.requests: list[bytes] = []
        self.connections = 0
        self._behaviours = list(behaviours)
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(folder / "server.crt", folder / "server.key")
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.endpoint = f"https://localhost:{self._listening.getsockname()[1]}"
        self._threads: list[threading.Thread] = []
        self._stopped = False

    @property
    def ca_file(self) -> Path:
        """The authority of its certificate."""
        return self.folder / "ca.crt"

    def __enter__(self) -> BadProxy:
        self._start(self._accept)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopped = True
        with contextlib.suppress(OSError), socket.create_connection(self._listening.getsockname()):
            pass
        for thread in self._threads:
            thread.join(10)
        self._listening.close()

    def _start(self, target: Callable[[], None]) -> None:
        thread = threading.Thread(target=target, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._stopped:
            plain, _ = self._listening.accept()
            if self._stopped:
                plain.close()
                return
            self.connections += 1
            self._start(lambda taken=plain: self._serve(taken))  # type: ignore[misc]  # a default binds it now

    def _serve(self, plain: socket.socket) -> None:
        with contextlib.suppress(OSError), plain:
            plain.settimeout(5)
            with self._context.wrap_socket(plain, server_side=True) as connection:
                while self._request(connection):
                    behaviour = self._behaviours.pop(0) if len(self._behaviours) > 1 else self._behaviours[0]
                    behaviour(connection)

    def _request(self, connection: ssl.SSLSocket) -> bool:
        """Reads a request; False at the end of the connection."""
        data = b""
        while b"\r\n\r\n" not in data:
            more = connection.recv(65_536)
            if not more:
                return False
            data += more
        head, _, body = data.partition(b"\r\n\r\n")
        length = int(next(line.split(b":")[1] for line in head.split(b"\r\n") if line.startswith(b"Content-Length")))
        while len(body) < length:
            body += connection.recv(65_536)
        self.requests.append(head + b"\r\n\r\n" + body)
        return True
