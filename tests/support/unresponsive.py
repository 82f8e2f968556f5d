"""Servers over TCP that nobody gets an answer of: one whose answers have no end, and one that accepts nobody."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def dripping(head: bytes, tls: ssl.SSLContext | None = None) -> Iterator[int]:
    """The port of a server that says `head` at the first bytes of a request, and then a byte every 50 ms, until the
    end."""
    ending = threading.Event()

    def drip(connection: socket.socket) -> None:
        with contextlib.ExitStack() as opened:
            opened.enter_context(contextlib.suppress(OSError))
            taken_up = opened.enter_context(connection)
            if tls is not None:
                taken_up = opened.enter_context(tls.wrap_socket(connection, server_side=True))
            taken_up.recv(65_536)
            taken_up.sendall(head)
            while not ending.wait(0.05):
                taken_up.sendall(b"x")

    def serve(listening: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=drip, args=(listening.accept()[0],), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=serve, args=(listening,), daemon=True).start()
        try:
            yield listening.getsockname()[1]
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            ending.set()


@contextlib.contextmanager
def deaf_addresses(number: int) -> Iterator[list[Any]]:
    """What `getaddrinfo` says of a name with so many addresses at which connecting never ends."""
    with contextlib.ExitStack() as opened:
        deaf = opened.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        address = deaf.getsockname()
        for _ in range(4):
            # Beyond the backlog nobody is answered.
            filling = opened.enter_context(socket.socket())
            filling.setblocking(False)
            filling.connect_ex(address)
        yield [(socket.AF_INET, socket.SOCK_STREAM, 0, "", address)] * number
