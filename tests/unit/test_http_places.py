"""Places of a listener: who gives way to whom."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from kagitori_server.transports.http.places import Places


class Made:
    """A connection that notes its end."""

    def __init__(self) -> None:
        self.idle = True
        self.ended = False

    def abort(self) -> None:
        self.ended = True


@pytest.fixture
def pairs() -> Iterator[list[tuple[socket.socket, socket.socket]]]:
    """Connected sockets: the accepted one and the client's."""
    with ExitStack() as stack:
        found = [socket.socketpair() for _ in range(6)]
        for pair in found:
            for end in pair:
                stack.enter_context(end)
        yield found


def _is_open(client: socket.socket) -> bool:
    client.setblocking(False)
    try:
        return client.recv(1) != b""
    except BlockingIOError:
        return True


def test_the_oldest_without_a_request_gives_way(pairs: list[tuple[socket.socket, socket.socket]]) -> None:
    """Whether TLS has agreed or not; who was heard stays."""
    places, made = Places(3), [Made() for _ in range(6)]
    accepted = [pair[0] for pair in pairs]
    for number in range(3):
        assert places.take(accepted[number])
    places.made(accepted[0], made[0])
    places.heard(accepted[0], made[0])
    places.made(accepted[2], made[2])
    assert places.take(accepted[3])
    assert [_is_open(client) for _, client in pairs] == [True, False, True, True, True, True]
    assert places.take(accepted[4])
    assert (made[0].ended, made[2].ended) == (False, True)
    # Who was told to end while TLS agreed ends then.
    places.made(accepted[1], made[1])
    assert made[1].ended


def test_idle_ones_give_way_to_the_rest(pairs: list[tuple[socket.socket, socket.socket]]) -> None:
    """Where all have sent a request: the oldest that isn't being answered; nobody if all are."""
    places, made = Places(2), [Made() for _ in range(6)]
    accepted = [pair[0] for pair in pairs]
    for number in range(2):
        assert places.take(accepted[number])
        places.made(accepted[number], made[number])
        places.heard(accepted[number], made[number])
    made[0].idle = False
    assert places.take(accepted[2])
    assert (made[0].ended, made[1].ended) == (False, True)
    places.made(accepted[2], made[2])
    places.heard(accepted[2], made[2])
    made[2].idle = False
    assert not places.take(accepted[3])
    places.leave(accepted[0])
    assert places.take(accepted[3])
    places.leave(accepted[3])
    places.leave(accepted[3])
    assert places.take(accepted[4])


def test_a_client_that_has_gone_is_no_trouble(pairs: list[tuple[socket.socket, socket.socket]]) -> None:
    """Its socket may be closed already."""
    places = Places(1)
    assert places.take(pairs[0][0])
    pairs[0][0].close()
    assert places.take(pairs[1][0])
