"""Who may be connected to a listener when many want to be."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable
from functools import partial
from typing import Protocol


class Connection(Protocol):
    """One that has been made."""

    @property
    def idle(self) -> bool:
        """Whether no request is being answered."""

    def abort(self) -> None:
        """Ends it, whatever is on its way."""


class Places:
    """At most so many connections. Whoever comes when all places are taken gets that of the one that has been there
    longest without sending a whole request, TLS's handshake included; else that of one that nothing is asked on. So
    whoever keeps many open keeps nobody else out."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._unheard: dict[socket.socket, Callable[[], None]] = {}
        """Oldest first, with what ends them."""
        self._heard: dict[socket.socket, Connection] = {}

    def take(self, accepted: socket.socket) -> bool:
        """A place for a connection that was just accepted; False for none."""
        if len(self._unheard) + len(self._heard) >= self._most and not self._make_room():
            return False
        self._unheard[accepted] = partial(_hang_up, accepted)
        return True

    def made(self, accepted: socket.socket, connection: Connection) -> None:
        """TLS has agreed."""
        if accepted in self._unheard:
            self._unheard[accepted] = connection.abort
        else:
            connection.abort()

    def heard(self, accepted: socket.socket, connection: Connection) -> None:
        """A whole request has come."""
        if self._unheard.pop(accepted, None) is not None:
            self._heard[accepted] = connection

    def leave(self, accepted: socket.socket) -> None:
        """The connection has ended."""
        self._unheard.pop(accepted, None)
        self._heard.pop(accepted, None)

    def _make_room(self) -> bool:
        if self._unheard:
            self._unheard.pop(next(iter(self._unheard)))()
            return True
        found = next((accepted for accepted, connection in self._heard.items() if connection.idle), None)
        if found is None:
            return False
        self._heard.pop(found).abort()
        return True


def _hang_up(accepted: socket.socket) -> None:
    # The client may have gone.
    with contextlib.suppress(OSError):
        accepted.shutdown(socket.SHUT_RDWR)
