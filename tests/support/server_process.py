"""A real `kagitori-server` process on a data directory that outlives it, for tests that kill it."""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType

import grpc
from tests.support.forked import ForkedServer

READY_SECONDS = 60


class ServerProcess:
    """Starts the server and waits until it listens, at so many addresses. A context manager that ends it.

    What it logs is in the file `log`, if one is given, and else on the test's standard error.
    """

    def __init__(self, data: Path, *arguments: str, listeners: int = 1, log: Path | None = None) -> None:
        self.data = data
        stderr = None if log is None else log.open("wb")
        self.process = ForkedServer(
            ["--data-dir", str(data), "--grpc-listen", "127.0.0.1:0", "--log-level", "warning", *arguments], os.environ,
            stderr=stderr,
        )
        if stderr is not None:
            stderr.close()
        assert self.process.stdout is not None
        self.addresses: dict[str, str] = {}
        for line in self.process.stdout:
            if line.startswith("Listening: "):
                kind, _, address = line.removeprefix("Listening: ").strip().partition(" on ")
                self.addresses[kind] = address
                if len(self.addresses) == listeners:
                    break
        assert self.addresses, "the server ended before it listened"

    def channel(self, token: str | None = None) -> grpc.Channel:
        """A connection over TLS as whom a token proves, the root user without."""
        authority = (self.data / "tls" / "ca.crt").read_bytes()
        token = token or (self.data / "credentials" / "root.token").read_text().strip()
        credentials = grpc.composite_channel_credentials(
            grpc.ssl_channel_credentials(authority), grpc.access_token_call_credentials(token)
        )
        return grpc.secure_channel(self.addresses["grpc"], credentials)

    def kill(self) -> None:
        """SIGKILL: no chance to tidy up."""
        self.process.kill()
        self._reap()

    def terminate(self) -> int:
        """SIGTERM, and the exit status."""
        self.process.terminate()
        return self._reap()

    def _reap(self) -> int:
        status = self.process.wait(READY_SECONDS)
        if self.process.stdout is not None:
            self.process.stdout.close()
        return status

    def __enter__(self) -> ServerProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.kill()
