"""Connections that are begun and not gone on with, in four ways, many at once."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.aws_endpoint import Endpoint, sign

WAYS = ("accepted", "agreed", "half a head", "half a body")
"""TCP without TLS's handshake; TLS without a request; and the beginnings of one."""


@contextmanager
def half_open(endpoint: Endpoint, number: int) -> Iterator[list[socket.socket]]:
    """So many connections, of each way a fourth. The other side may have ended some of them."""
    whole = sign(endpoint, "ListKeys", b'{"Limit": 5}').raw()
    sent = {"agreed": b"", "half a head": whole[:60], "half a body": whole[:-5]}
    context = ssl.create_default_context(cafile=str(endpoint.authority))
    held: list[socket.socket] = []
    try:
        for index in range(number):
            way = WAYS[index % len(WAYS)]
            try:
                plain = socket.create_connection(endpoint.address, 20)
                held.append(plain)
                if way != "accepted":
                    held[-1] = context.wrap_socket(plain, server_hostname=endpoint.address[0])
                    held[-1].sendall(sent[way])
            except OSError:
                continue  # its place was somebody else's already
        yield held
    finally:
        for connection in held:
            connection.close()


def slowest_call(endpoint: Endpoint, times: int) -> float:
    """Seconds of the slowest of so many calls, each by a client with a connection of its own."""
    taken = []
    for _ in range(times):
        client: Any = endpoint.client()
        began = time.monotonic()
        client.list_keys()
        taken.append(time.monotonic() - began)
        client.close()
    return max(taken)


def memory(pid: int) -> int:
    """Bytes that a process has in memory."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1_024 for line in lines if line.startswith("VmRSS:"))
