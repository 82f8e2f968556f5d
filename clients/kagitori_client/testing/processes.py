"""Processes of servers for tests: started alone, or forked from one that has loaded the server already."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Protocol

_FORK_SECONDS = 60.0
_ID_BYTES = 32


class ServerProcess(Protocol):
    """What there is of `subprocess.Popen`."""

    pid: int

    @property
    def stdin(self) -> IO[bytes] | None: ...
    @property
    def stdout(self) -> IO[bytes] | None: ...
    def poll(self) -> int | None:
        """The exit status, None while it runs."""
        ...

    def wait(self, timeout: float | None = None) -> int:
        """The exit status. Raises subprocess.TimeoutExpired."""
        ...

    def kill(self) -> None:
        """SIGKILL."""
        ...


class Forked:
    """A process that a nursery has forked; `ServerProcess`."""

    def __init__(self, pid: int, stdin: IO[bytes], stdout: IO[bytes], report: int) -> None:
        self.pid = pid
        self.stdin: IO[bytes] | None = stdin
        self.stdout: IO[bytes] | None = stdout
        self._report = report
        self._status: int | None = None

    def poll(self) -> int | None:
        """The exit status, None while it runs."""
        with suppress(subprocess.TimeoutExpired):
            return self.wait(0)
        return None

    def wait(self, timeout: float | None = None) -> int:
        """The exit status, -1 if the nursery is gone and nobody knows. Raises subprocess.TimeoutExpired."""
        if self._status is None:
            poll = select.poll()
            poll.register(self._report, select.POLLIN)
            if not poll.poll(None if timeout is None else timeout * 1_000):
                raise subprocess.TimeoutExpired("kagitori-server", timeout or 0.0)
            told = os.read(self._report, _ID_BYTES)
            os.close(self._report)
            self._status = int(told) if told else -1
        return self._status

    def kill(self) -> None:
        """SIGKILL."""
        if self.poll() is None:  # until its end is told its number is nobody else's
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)


class Nursery:
    """Forks servers from a process that has loaded them once. Thread-safe. For Python that has the server."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        """Doesn't wait until it is ready; requests do."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "kagitori_server.nursery"],
                stdin=theirs.fileno(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=dict(environment),
            )
        ours.settimeout(_FORK_SECONDS)
        self._requests = ours
        self._lock = threading.Lock()

    def fork(
        self, arguments: Sequence[str], said: IO[bytes], environment: Mapping[str, str], *,
        folder: Path | None = None, umask: int | None = None,
    ) -> Forked:
        """`kagitori-server` with these arguments, its standard error in `said`. Raises OSError.

        It works in `folder`, this process's own without it, and with this file mode mask, or the nursery's.
        """
        request = json.dumps({
            "arguments": [*arguments], "environment": {**environment}, "folder": str(folder or Path.cwd()),
            "umask": umask,
        })
        inward, stdin = os.pipe()
        stdout, outward = os.pipe()
        report, told = os.pipe()
        try:
            with self._lock:
                socket.send_fds(self._requests, [request.encode()], [inward, outward, said.fileno(), told])
                answer = self._requests.recv(_ID_BYTES)
            if not answer:
                raise ConnectionResetError("the nursery has ended")
        except OSError:
            self._requests.close()  # an answer that comes late would be taken for the next request's
            for descriptor in (stdin, stdout, report):
                os.close(descriptor)
            raise
        finally:
            for descriptor in (inward, outward, told):
                os.close(descriptor)
        return Forked(int(answer), os.fdopen(stdin, "wb", buffering=0), os.fdopen(stdout, "rb"), report)

    def close(self) -> None:
        """Ends the nursery; what it has forked goes on."""
        self._requests.close()
        try:
            self._process.wait(_FORK_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
