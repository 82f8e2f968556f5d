"""Processes of `kagitori-server` for tests, forked from one that has loaded it: all else of a start is as it always is.

Loading the server takes ten times as long as the rest of a start. Whatever the start itself is about (the program's
name, what it inherits, how it is hardened before it has loaded anything) is for `subprocess` all the same.
"""

from __future__ import annotations

import atexit
import os
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import IO

from kagitori_client.testing.processes import Nursery

IMPORT_ROOTS = os.pathsep.join(
    str(Path(__file__).parents[2] / name) for name in ("protos", "server", "keystore", "clients")
)
_SECONDS = 60
_STDERR = 2


@cache
def nursery() -> Nursery:
    """The one of this process, which ends with it."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("KAGITORI_")}
    made = Nursery({**kept, "PYTHONPATH": IMPORT_ROOTS})
    atexit.register(made.close)
    return made


class ForkedServer:
    """`kagitori-server` with these arguments; what there is of `subprocess.Popen` with text from standard output.

    Standard input is at its end, standard error goes where that of this process goes unless it is given.
    """

    def __init__(
        self, arguments: Sequence[str], environment: Mapping[str, str], *,
        stderr: IO[bytes] | None = None, folder: Path | None = None, umask: int | None = None,
    ) -> None:
        with open(_STDERR, "wb", buffering=0, closefd=False) as ours:
            self._forked = nursery().fork(arguments, stderr or ours, environment, folder=folder, umask=umask)
        assert self._forked.stdin is not None
        assert self._forked.stdout is not None
        self._forked.stdin.close()
        with self._forked.stdout as said:
            self.stdout: IO[str] | None = os.fdopen(os.dup(said.fileno()), encoding="utf-8")
        self.pid = self._forked.pid

    def poll(self) -> int | None:
        """The exit status, None while it runs."""
        return self._forked.poll()

    def wait(self, timeout: float | None = None) -> int:
        """The exit status, minus the number of the signal that killed it. Raises subprocess.TimeoutExpired."""
        return self._forked.wait(timeout)

    def send_signal(self, number: int) -> None:
        """Nothing if it has ended."""
        if self._forked.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL."""
        self._forked.kill()

    def __enter__(self) -> ForkedServer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.stdout is not None:
            self.stdout.close()
        self.wait()


@dataclass(frozen=True)
class Done:
    """What a command left."""

    returncode: int | None
    stdout: str
    stderr: str


def run_forked(arguments: Sequence[str], folder: Path, environment: Mapping[str, str]) -> Done:
    """Runs one command to its end in a folder, with this environment alone."""
    with tempfile.TemporaryFile("w+b") as said:
        with ForkedServer(arguments, environment, stderr=said, folder=folder) as process:
            assert process.stdout is not None
            out = process.stdout.read()
            try:
                status = process.wait(_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                raise
        said.seek(0)
        return Done(status, out, said.read().decode())
