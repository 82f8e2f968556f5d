"""A `kagitori-server` that starts in a third of the time: forked from a process that has loaded its modules.

What runs is the program itself, from its command line on, in a process of its own that can be killed. Imported in the
process that is forked, so it imports nothing else of the tests.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import TracebackType

import grpc

from kagitori_server.commands import run

READY_SECONDS = 60


class ForkedServer:
    """Starts the server on a data directory and waits until it listens. A context manager that ends it."""

    def __init__(self, data: Path, *arguments: str) -> None:
        self.data = data
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([__name__])
        receiving, sending = context.Pipe(duplex=False)
        command = ["--data-dir", str(data), "--grpc-listen", "127.0.0.1:0", "--log-level", "warning", *arguments]
        self.process: BaseProcess = context.Process(target=_become, args=(command, sending))
        self.process.start()
        sending.close()
        descriptor = receiving.fileno()
        self._said = os.fdopen(os.dup(descriptor), "r")
        receiving.close()
        self.address = ""
        for line in self._said:
            if line.startswith("Listening: grpc on "):
                self.address = line.rpartition(" ")[2].strip()
                break
        assert self.address, "the server ended before it listened"

    def channel(self) -> grpc.Channel:
        """A connection as the root user, over TLS with its token."""
        authority = (self.data / "tls" / "ca.crt").read_bytes()
        token = (self.data / "credentials" / "root.token").read_text().strip()
        credentials = grpc.composite_channel_credentials(
            grpc.ssl_channel_credentials(authority), grpc.access_token_call_credentials(token)
        )
        return grpc.secure_channel(self.address, credentials)

    def kill(self) -> None:
        """SIGKILL: no chance to tidy up."""
        self.process.kill()
        self._reap()

    def terminate(self) -> int | None:
        """SIGTERM, and the exit status."""
        self.process.terminate()
        return self._reap()

    def _reap(self) -> int | None:
        self.process.join(READY_SECONDS)
        self._said.close()
        return self.process.exitcode

    def __enter__(self) -> ForkedServer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.is_alive():
            self.kill()


def _become(arguments: list[str], sending: Connection) -> None:
    os.dup2(sending.fileno(), 1)
    sending.close()
    sys.stdout = os.fdopen(1, "w", closefd=False)
    sys.exit(run(arguments))
