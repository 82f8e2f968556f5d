"""A real server for tests: `kagitori-server dev`, started once per session and stopped at its end."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.support.forked import IMPORT_ROOTS, ForkedServer

from kagitori_client import KmsClient, load_settings

__all__ = ["IMPORT_ROOTS", "DevServer", "devserver", "running_server"]

_ROOT = Path(__file__).parents[2]
_PATIENCE = 60


@dataclass(frozen=True)
class DevServer:
    """A running server: its addresses, the variables that make a client its administrator, its process."""

    addresses: Mapping[str, str]
    variables: Mapping[str, str]
    process: ForkedServer

    def environment(self, **more: str) -> dict[str, str]:
        """A whole environment for a client process, with nothing of the outside that could change it."""
        return {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": IMPORT_ROOTS,
            "HOME": "/nonexistent",
            **self.variables,
            **more,
        }

    def client(self, **more: str) -> KmsClient:
        """A client as administrator."""
        return KmsClient.from_settings(load_settings(environment=self.environment(**more)))


@contextmanager
def running_server(arguments: Sequence[str] = ()) -> Iterator[DevServer]:
    """Starts a server with a folder of its own and stops it as systemd would."""
    environment = {**os.environ, "PYTHONPATH": IMPORT_ROOTS}
    with ForkedServer(["dev", *arguments], environment, folder=_ROOT) as process:
        try:
            if process.stdout is None:
                raise RuntimeError("no stdout")
            line = process.stdout.readline()
            if not line:
                pytest.fail(f"the server ended with {process.wait(_PATIENCE)} before it was ready")
            ready = json.loads(line)
            yield DevServer(addresses=ready["addresses"], variables=ready["env"], process=process)
        finally:
            process.terminate()
            try:
                process.wait(_PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()


@pytest.fixture(scope="session")
def devserver() -> Iterator[DevServer]:
    """The session's server."""
    with running_server() as server:
        yield server
