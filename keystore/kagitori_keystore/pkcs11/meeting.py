"""The folder in which the processes of a machine meet the worker of a token, and how a worker is started.

For each token there are two files: a socket (mode 0600), and a lock that the living worker holds. Who wants to talk
and finds no worker takes the lock, starts one and hands the lock over; it is free again when the worker is dead,
however it died. So there is one worker at most, and none is ever waited for in vain.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import queue
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import kagitori_keystore
from kagitori_keystore.pkcs11.settings import ConnectFault, ConnectRefused, Found, TokenSettings
from kagitori_keystore.pkcs11.starting import MESSAGE_MAX_BYTES, Start, decode_outcome, encode_start, readable_within


class Meeting:
    """The meeting place for one token. Thread-safe."""

    def __init__(self, settings: TokenSettings) -> None:
        """Makes the folder if it is not there. Raises `ConnectRefused` if others could enter it."""
        self._settings = replace(
            settings,
            module=os.path.realpath(settings.module),
            runtime_dir=settings.runtime_dir.absolute(),
            softhsm_conf=settings.softhsm_conf and os.path.realpath(settings.softhsm_conf),
        )
        settings = self._settings
        named = (settings.module, settings.token_serial, settings.token_label, settings.softhsm_conf)
        name = "token-" + hashlib.sha256(repr(named).encode()).hexdigest()[:24]
        self._socket, self._lock = name + ".socket", name + ".lock"
        _make_private(settings.runtime_dir)
        self.known: Found | None = None
        """What a worker has said of its token, for the next one."""

    def connect(self, pin: bytes, seconds: float) -> socket.socket:
        """A connection to the worker, which is started if there is none. Raises `ConnectRefused`."""
        try:
            return self._connect(pin, time.monotonic() + seconds)
        except OSError:  # the folder is gone, there are no more descriptors or processes
            raise ConnectRefused(ConnectFault.WORKER_FAILED) from None

    def _connect(self, pin: bytes, until: float) -> socket.socket:
        with self._folder() as folder:
            while time.monotonic() < until:
                connection = self._reach(folder)
                if connection is not None:
                    return connection
                lock = self._take_lock(folder)
                if lock is None:
                    time.sleep(0.01)  # another process starts the worker just now, or a dying one still has the lock
                    continue
                try:
                    self._start(pin, lock, until)
                finally:
                    os.close(lock)
        raise ConnectRefused(ConnectFault.TOO_SLOW)

    @contextmanager
    def _folder(self) -> Iterator[int]:
        folder = os.open(self._settings.runtime_dir, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            yield folder
        finally:
            os.close(folder)

    def _reach(self, folder: int) -> socket.socket | None:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.connect(f"/proc/self/fd/{folder}/{self._socket}")  # a socket's path has at most 107 bytes
        except (FileNotFoundError, ConnectionError):
            connection.close()
            return None
        return connection

    def _take_lock(self, folder: int) -> int | None:
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        lock = os.open(self._lock, flags, 0o600, dir_fd=folder)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            return None
        return lock

    def _start(self, pin: bytes, lock: int, until: float) -> None:
        settings = self._settings
        root = str(Path(kagitori_keystore.__file__).parent.parent)
        path = os.pathsep.join(part for part in (root, os.environ.get("PYTHONPATH")) if part)
        process = subprocess.Popen(
            # -P: what lies in the current folder must not stand in for a module, in a process that is told the PIN.
            [sys.executable, "-P", "-m", "kagitori_keystore.pkcs11.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": path},
            pass_fds=(lock,),
            start_new_session=True,
        )
        outcome: queue.SimpleQueue[ConnectFault | None] = queue.SimpleQueue()
        threading.Thread(
            target=_attend, args=(process, settings.start_seconds, outcome), name="pkcs11-worker", daemon=True
        ).start()
        try:
            if process.stdin is not None:
                with process.stdin:
                    process.stdin.write(encode_start(Start(settings, self._socket, lock, pin, self.known)))
        except OSError:
            raise ConnectRefused(ConnectFault.WORKER_FAILED) from None
        try:
            fault = outcome.get(timeout=max(0.001, until - time.monotonic()))
        except queue.Empty:
            raise ConnectRefused(ConnectFault.TOO_SLOW) from None  # it may be found ready by a later call
        if fault is not None:
            raise ConnectRefused(fault)


def _attend(process: subprocess.Popen[bytes], seconds: float, outcome: queue.SimpleQueue[ConnectFault | None]) -> None:
    """Hears what a worker has to say, ends one that says nothing, and takes note of its end: no zombie remains."""
    if process.stdout is not None:
        with process.stdout as says:
            if readable_within(says.fileno(), seconds):
                outcome.put(decode_outcome(os.read(says.fileno(), MESSAGE_MAX_BYTES)))
            else:
                process.kill()
                outcome.put(ConnectFault.TOO_SLOW)
    process.wait()


class Peer:
    """The process at the other end of a connection, which can be ended without hitting another one by its number."""

    __slots__ = ("_descriptor", "process")

    def __init__(self, process: int) -> None:
        """Raises `ProcessLookupError` if it has ended."""
        self.process = process
        self._descriptor = os.pidfd_open(process)

    def kill(self) -> None:
        """Ends it; nothing happens if it has ended."""
        try:
            signal.pidfd_send_signal(self._descriptor, signal.SIGKILL)
        except ProcessLookupError:
            return

    def close(self) -> None:
        """Lets go of it."""
        os.close(self._descriptor)


def _make_private(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.lstat()
    except OSError:
        raise ConnectRefused(ConnectFault.WORKER_FAILED) from None
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
        raise ConnectRefused(ConnectFault.WORKER_FAILED)
