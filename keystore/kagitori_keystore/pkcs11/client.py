"""Calls on a token's worker: connections that are kept and shared, deadlines, and what to do when a worker is gone."""

from __future__ import annotations

import math
import os
import socket
import threading
import time
from dataclasses import dataclass

from kagitori_keystore.base import KeyStoreError, RequestRefused, SessionLost, StoreLost, TooSlow
from kagitori_keystore.pkcs11.meeting import Meeting, Peer
from kagitori_keystore.pkcs11.settings import ConnectFault, ConnectRefused, Found, TokenSettings
from kagitori_keystore.pkcs11.starting import decode_found
from kagitori_keystore.pkcs11.wire import (
    FIELDS,
    HELLO_FIELDS,
    HELLO_SECONDS,
    Disconnected,
    Malformed,
    Op,
    be_patient,
    decode_answer,
    encode_request,
    peer_of,
    proof_of,
    receive,
    send,
)
from kagitori_keystore.secret import Guarded

CONNECTIONS = 8
"""For each process: more calls at once wait for one. A token's own work is what takes the time, not ours."""
GRACE_SECONDS = 0.5
"""How much longer than its deadline a call is waited for: by then a worker that lives has said that it is too slow."""
_BACK_OFF = (0.0, 0.0, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
"""Seconds between starts of workers, by how many of them did not live for `_LIVED_SECONDS`."""
_LIVED_SECONDS = 10.0
_PAUSE_SECONDS = 0.01
_PATIENCE_STEP_SECONDS = 0.1
"""In which steps a connection's patience is set: most calls then need no system call for it."""


@dataclass(frozen=True, slots=True)
class Hello:
    """What a worker says of its token."""

    serial: bytes
    found: Found
    capabilities: str
    schemes: str


class _Connection:
    """A connection that was let in, and who is at its other end."""

    __slots__ = ("_patience", "hello", "peer", "socket")

    def __init__(self, connection: socket.socket, peer: Peer, hello: Hello) -> None:
        self.socket = connection
        self.peer = peer
        self.hello = hello
        self._patience = 0.0
        connection.settimeout(None)  # the kernel keeps the time from here on: Python would ask it before each step

    def wait_at_most(self, seconds: float) -> None:
        """Bounds each step of the exchange that follows, by a little more than that."""
        patience = math.ceil(seconds / _PATIENCE_STEP_SECONDS) * _PATIENCE_STEP_SECONDS
        if patience != self._patience:
            be_patient(self.socket, patience)
            self._patience = patience

    def close(self) -> None:
        self.socket.close()
        self.peer.close()


class WorkerClient(Guarded):
    """Calls on the worker of one token. Thread-safe."""

    __slots__ = (
        "_closed", "_dead", "_deaths", "_failure", "_idle", "_lock", "_meeting", "_pin", "_places", "_short_lives",
        "_start_seconds", "_tried",
    )  # fmt: skip

    def __init__(self, settings: TokenSettings, pin: bytes) -> None:
        self._meeting = Meeting(settings)
        self._pin = pin
        self._start_seconds = settings.start_seconds
        self._idle: list[_Connection] = []  # appending to a list and taking from its end are atomic
        self._places = threading.BoundedSemaphore(CONNECTIONS)
        self._lock = threading.Lock()
        self._deaths = threading.Lock()
        self._dead = 0
        self._failure: ConnectRefused | None = None
        self._tried = -_LIVED_SECONDS
        self._short_lives = 0
        self._closed = False

    def hello(self) -> Hello:
        """Connects. Raises `ConnectRefused`."""
        connection = self._open(self._start_seconds)
        self._put_back(connection)
        return connection.hello

    def call(self, op: Op, seconds: float, *fields: bytes) -> list[bytes]:
        """The fields of the answer. Raises any `KeyStoreError`, `TooSlow` not later than shortly after `seconds`."""
        until = time.monotonic() + seconds
        if not self._places.acquire(blocking=False) and not self._places.acquire(timeout=seconds):
            raise TooSlow("the token was busy for too long")
        try:
            while True:
                connection = self._take(until - time.monotonic())
                answer = self._call(connection, op, max(until - time.monotonic(), 0.001), fields)
                if answer is not None:
                    return answer
        finally:
            self._places.release()

    def change_pin(self, seconds: float, new: bytes) -> None:
        """Sets another user PIN."""
        self.call(Op.CHANGE_PIN, seconds, new)
        self._pin = new

    def close(self) -> None:
        """Lets the worker go: the last one to leave ends it."""
        self._closed = True
        self._drop_idle()

    def _call(self, connection: _Connection, op: Op, seconds: float, fields: tuple[bytes, ...]) -> list[bytes] | None:
        """The answer; None if the worker had gone away while nobody was talking to it, and so has heard nothing."""
        connection.wait_at_most(seconds + GRACE_SECONDS)
        heard = False
        try:
            send(connection.socket, encode_request(op, max(1, int(seconds * 1000)), fields))
            heard = True
            answer = decode_answer(receive(connection.socket), FIELDS[op][1])
        except TimeoutError:
            # Not even "too slow" came back: the module is stuck, and its process is of no more use to anyone.
            connection.peer.kill()
            self._bury(connection)
            raise TooSlow("the token gave no answer in time") from None
        except (Disconnected, Malformed):
            if not heard:
                connection.close()
                return None
            self._bury(connection)
            raise SessionLost("the token's worker ended") from None
        except KeyStoreError:
            self._put_back(connection)
            raise
        self._put_back(connection)
        return answer

    def _bury(self, connection: _Connection) -> None:
        """Closes a connection whose worker died under it, and counts the death once."""
        with self._deaths:
            if connection.peer.process != self._dead:
                self._dead = connection.peer.process
                self._short_lives += 1
                self._tried = time.monotonic()
        connection.close()

    def _take(self, seconds: float) -> _Connection:
        try:
            return self._idle.pop()
        except IndexError:
            return self._open(seconds)

    def _put_back(self, connection: _Connection) -> None:
        self._idle.append(connection)
        if self._closed:
            self._drop_idle()

    def _drop_idle(self) -> None:
        while True:
            try:
                self._idle.pop().close()
            except IndexError:
                return

    def _open(self, seconds: float) -> _Connection:
        if self._closed:
            raise StoreLost("the key store is closed")
        until = time.monotonic() + seconds
        if not self._lock.acquire(timeout=max(seconds, 0.0)):
            raise TooSlow("the token's worker is being started")
        try:
            self._hold_back(until)
            self._tried = time.monotonic()
            connection = self._connect(until)
        except ConnectRefused as refused:
            self._failure = refused
            self._short_lives += 1
            raise
        finally:
            self._lock.release()
        self._failure = None
        return connection

    def _hold_back(self, until: float) -> None:
        """Waits as long as the last failures advise; what cannot succeed is not tried again."""
        if self._failure is not None and self._failure.fault.lasting:
            raise ConnectRefused(self._failure.fault)
        since = time.monotonic() - self._tried
        if since > _LIVED_SECONDS:
            self._short_lives = 0
        pause = _BACK_OFF[min(self._short_lives, len(_BACK_OFF) - 1)] - since
        if pause <= 0:
            return
        if time.monotonic() + pause > until:
            raise ConnectRefused(self._failure.fault if self._failure else ConnectFault.WORKER_FAILED)
        time.sleep(pause)

    def _connect(self, until: float) -> _Connection:
        while True:
            try:
                return self._greeted(self._meeting.connect(self._pin, until - time.monotonic()))
            except SessionLost:
                # A worker whose last client has just left may have taken the connection with it.
                if time.monotonic() + _PAUSE_SECONDS > until:
                    raise
            time.sleep(_PAUSE_SECONDS)

    def _greeted(self, connection: socket.socket) -> _Connection:
        try:
            connection.settimeout(HELLO_SECONDS)
            process, user = peer_of(connection)
            if user != os.geteuid():
                raise PermissionError
            peer = Peer(process)
        except OSError:
            connection.close()
            raise SessionLost("the token's worker ended") from None
        try:
            send(connection, proof_of(self._pin, receive(connection)))
            serial, found, capabilities, schemes = decode_answer(receive(connection), HELLO_FIELDS)
            known = decode_found(found)
        except RequestRefused:
            failure: KeyStoreError = ConnectRefused(ConnectFault.PIN_REFUSED)
        except TimeoutError:
            peer.kill()
            failure = TooSlow("the token's worker gave no answer in time")
        except (Disconnected, Malformed, ValueError, KeyStoreError):
            failure = SessionLost("the token's worker ended")
        else:
            self._meeting.known = known
            return _Connection(connection, peer, Hello(serial, known, capabilities.decode(), schemes.decode()))
        connection.close()
        peer.close()
        raise failure
