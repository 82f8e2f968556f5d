"""`python -m kagitori_keystore.pkcs11.worker`: the one process of this machine that has a token's module loaded.

A PKCS#11 module is foreign code: it may crash, end the process or never come back. Here that costs the calls in
flight, and the server starts the next worker. A worker serves the processes of one user over a Unix socket; each
connection has a thread and a session of its own. It ends when its last client leaves, or when the token is lost.
"""

from __future__ import annotations

import ctypes
import hmac
import os
import resource
import secrets
import signal
import socket
import sys
import threading
import traceback
from contextlib import suppress
from pathlib import Path

from kagitori_keystore.base import KeyStoreError, RequestRefused, SessionLost
from kagitori_keystore.pkcs11.desk import Desk
from kagitori_keystore.pkcs11.handlers import handle
from kagitori_keystore.pkcs11.session import Deadline, TokenLogin
from kagitori_keystore.pkcs11.settings import ConnectFault, ConnectRefused, Found
from kagitori_keystore.pkcs11.starting import Start, decode_start, encode_found, encode_outcome, read_all
from kagitori_keystore.pkcs11.wire import (
    CHALLENGE_BYTES,
    HELLO_SECONDS,
    Disconnected,
    Malformed,
    Op,
    Status,
    decode_request,
    encode_answer,
    peer_of,
    proof_of,
    receive,
    send,
    status_of,
)

CONNECTIONS_MAX = 256
FIRST_CLIENT_SECONDS = 30.0
_PR_SET_DUMPABLE = 4
_MCL_ALL_ON_FAULT = 7
"""What is there and what will be, once it is used: not the whole stack of each thread."""


class Worker:
    """Serves a desk to the clients that connect."""

    def __init__(self, desk: Desk, login: TokenLogin, listener: socket.socket) -> None:
        self._desk = desk
        self._login = login
        self._listener = listener
        self._clients = 0
        self._lock = threading.Lock()
        self._waiting = threading.Timer(FIRST_CLIENT_SECONDS, self._end_if_alone)
        self._waiting.daemon = True

    def run(self) -> None:
        """Accepts until the process ends."""
        self._waiting.start()
        while True:
            connection, _ = self._listener.accept()
            with self._lock:
                self._clients += 1
                full = self._clients > CONNECTIONS_MAX
            if full:
                self._leave(connection)
            else:
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            if peer_of(connection)[1] == os.geteuid() and self._greet(connection):
                connection.settimeout(None)
                while True:
                    self._answer(connection, receive(connection))
        except (Disconnected, Malformed, TimeoutError):
            return  # the client is gone, or not one of ours
        finally:
            self._login.drop_session()
            self._leave(connection)

    def _greet(self, connection: socket.socket) -> bool:
        """Lets in who knows the PIN, and says what the token does."""
        connection.settimeout(HELLO_SECONDS)
        challenge = secrets.token_bytes(CHALLENGE_BYTES)
        send(connection, challenge)
        if not hmac.compare_digest(receive(connection), proof_of(self._desk.pin, challenge)):
            send(connection, encode_answer(Status.REFUSED, (ConnectFault.PIN_REFUSED.value.encode(),)))
            return False
        abilities = self._desk.abilities
        said = (
            self._desk.serial,
            encode_found(Found(abilities.specs, self._desk.oaep)),
            ",".join(sorted(capability.value for capability in abilities.capabilities)).encode(),
            ",".join(sorted(scheme.value for scheme in abilities.schemes)).encode(),
        )
        send(connection, encode_answer(Status.OK, said))
        return True

    def _answer(self, connection: socket.socket, body: bytes) -> None:
        op, seconds, fields = decode_request(body)
        try:
            answer = encode_answer(Status.OK, self._served(op, Deadline(seconds), fields))
        except KeyStoreError as error:
            answer = encode_answer(status_of(error), (str(error).encode("ascii", "replace"),))
        except Malformed:
            raise
        except Exception as bug:  # noqa: BLE001 - what a module gives is foreign: the caller hears that it failed
            _report(op, bug)
            answer = encode_answer(Status.STORE_LOST, (b"the token failed",))
        send(connection, answer)
        if self._desk.lost:
            os._exit(0)  # with all its handles; the lock goes with the process

    def _served(self, op: Op, deadline: Deadline, fields: list[bytes]) -> tuple[bytes, ...]:
        if self._desk.lost:
            raise SessionLost("the session with the token ended")
        return handle(self._desk, op, deadline, fields)

    def _leave(self, connection: socket.socket) -> None:
        connection.close()
        with self._lock:
            self._clients -= 1
            if self._clients == 0:
                os._exit(0)

    def _end_if_alone(self) -> None:
        with self._lock:
            if self._clients == 0:
                os._exit(0)


def _report(op: Op, bug: BaseException) -> None:
    """Writes where it happened and what kind it is; the text of an exception may quote a plaintext."""
    frames = "".join(traceback.format_tb(bug.__traceback__))
    sys.stderr.write(f"a token's worker failed at {op.name}: {type(bug).__qualname__}\n{frames}")


def _harden() -> None:
    """No core dumps, so that a module that crashes leaves no PIN and no keys on disk; no peeking by other processes of
    the user (prctl(2), PR_SET_DUMPABLE), and no swapping (mlockall(2)) if as much may be locked as is wanted. What the
    server has asked for itself doesn't hold for a program that it starts."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    libc = ctypes.CDLL(None)
    if libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0) != 0:
        sys.stderr.write("a token's worker could not be made undumpable\n")
    if resource.getrlimit(resource.RLIMIT_MEMLOCK)[0] == resource.RLIM_INFINITY and libc.mlockall(_MCL_ALL_ON_FAULT):
        sys.stderr.write("a token's worker could not lock its memory\n")


def main() -> None:
    """Starts as the process that spawned this one says, and tells it the outcome."""
    os.umask(0o077)
    _harden()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C at the terminal is for the server, which then leaves
    start = decode_start(read_all(sys.stdin.fileno()))
    if start.settings.softhsm_conf is not None:
        os.environ["SOFTHSM2_CONF"] = start.settings.softhsm_conf  # read by the module when it is initialised
    try:
        worker = _ready(start)
    except ConnectRefused as refused:
        _say(refused.fault)
    except RequestRefused:  # the PIN is not text
        _say(ConnectFault.PIN_REFUSED)
    else:
        _say(None)
        worker.run()


def _ready(start: Start) -> Worker:
    login = TokenLogin(start.settings, start.pin)
    desk = Desk(login, start.known)
    login.drop_session()
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    os.chdir(start.settings.runtime_dir)  # the path of a socket has at most 107 bytes
    address = Path(start.address)
    address.unlink(missing_ok=True)  # of a worker that is dead: the lock says so
    listener.bind(start.address)
    address.chmod(0o600)
    listener.listen(CONNECTIONS_MAX)
    return Worker(desk, login, listener)


def _say(fault: ConnectFault | None) -> None:
    with suppress(BrokenPipeError):  # who started this one has no more time; whoever comes next finds it ready
        os.write(sys.stdout.fileno(), encode_outcome(fault))
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in (sys.stdin.fileno(), sys.stdout.fileno()):
        os.dup2(nowhere, descriptor)


if __name__ == "__main__":
    main()
