"""A private PostgreSQL cluster for tests: own folder, Unix socket only, gone when the tests are.

The server refuses to run as root, so it runs as `postgres` then. Each test session (under pytest-xdist: each
worker) starts its own, with text ordered by a language's rules, so that what depends on order shows.
"""

from __future__ import annotations

import itertools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from kagitori_server.storage import open_catalog

_START_SECONDS = 30.0
_PORT = 5432
"""Names the socket; nothing listens on the network."""


class PostgresCluster:
    """A server that can be stopped, frozen and started again."""

    def __init__(self) -> None:
        self._binaries = _binaries()
        self._folder = Path(tempfile.mkdtemp(prefix="kagitori-pg-"))
        self._numbers = itertools.count(1)
        self._server: subprocess.Popen[bytes] | None = None
        self._ready: str | None = None
        self._as_user: list[str] = []
        if os.geteuid() == 0:
            user = pwd.getpwnam("postgres")
            os.chown(self._folder, user.pw_uid, user.pw_gid)
            self._as_user = [f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--init-groups"]
        self._data = self._folder / "data"
        self._run(
            "initdb",
            *("-D", str(self._data), "-U", "postgres", "-A", "trust", "--no-sync", "--encoding=UTF8"),
            *("--locale=C.UTF-8", "--locale-provider=icu", "--icu-locale=en-US"),
        )

    def start(self) -> None:
        """Returns when the server answers."""
        settings = {
            "listen_addresses": "",
            "unix_socket_directories": str(self._folder),
            "port": str(_PORT),
            "max_connections": "60",
            "shared_buffers": "32MB",
            # We stop servers and kill processes, but never the machine.
            "fsync": "off",
        }
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        with (self._folder / "log").open("ab") as log:
            # The server goes when the tests are killed.
            self._server = subprocess.Popen(
                [*self._setpriv("--pdeathsig=QUIT"), self._binary("postgres"), "-D", self._data, *options],
                stdout=log,
                stderr=log,
                cwd=self._folder,
            )
        end = time.monotonic() + _START_SECONDS
        while True:
            try:
                psycopg.connect(self._url("postgres"), connect_timeout=2).close()
            except psycopg.OperationalError:
                if time.monotonic() > end or self._server.poll() is not None:
                    log_text = (self._folder / "log").read_text(errors="replace")
                    pytest.fail(f"PostgreSQL did not start:\n{log_text[-2000:]}")
                time.sleep(0.05)
            else:
                return

    def stop(self) -> None:
        """At once, as if the machine had failed; committed transactions survive."""
        if self._server is not None:
            self._server.send_signal(signal.SIGQUIT)
            self._server.wait(_START_SECONDS)
            self._server = None

    def freeze(self) -> None:
        """Every process of the server stands still; its sockets stay open."""
        self._signal_all(signal.SIGSTOP)

    def thaw(self) -> None:
        """They go on."""
        self._signal_all(signal.SIGCONT)

    def new_database(self, *, with_catalog: bool = False) -> str:
        """The URL of a new database, empty or with a catalog in which nothing is yet, copied from one made once."""
        if with_catalog and self._ready is None:
            self._ready = f"kagitori{next(self._numbers)}"
            self._create(self._ready, "template0")
            open_catalog(self._url(self._ready), monotonic=time.monotonic).close()
        name = f"kagitori{next(self._numbers)}"
        self._create(name, self._ready if with_catalog and self._ready else "template0")
        return self._url(name)

    def _create(self, name: str, template: str) -> None:
        statement = sql.SQL("CREATE DATABASE {} TEMPLATE {}")
        with psycopg.connect(self._url("postgres"), autocommit=True) as connection:
            connection.execute(statement.format(sql.Identifier(name), sql.Identifier(template)))

    def remove(self) -> None:
        """Stops the server and deletes its files."""
        self.stop()
        shutil.rmtree(self._folder)

    def _url(self, database: str) -> str:
        return f"postgresql://postgres@/{database}?host={self._folder}&port={_PORT}"

    def _signal_all(self, number: signal.Signals) -> None:
        assert self._server is not None
        children = Path(f"/proc/{self._server.pid}/task/{self._server.pid}/children").read_text().split()
        for process in (self._server.pid, *map(int, children)):
            os.kill(process, number)

    def _setpriv(self, *more: str) -> list[str]:
        return ["setpriv", *self._as_user, *more]

    def _binary(self, name: str) -> str:
        return str(self._binaries / name)

    def _run(self, name: str, *arguments: str) -> None:
        prefix = self._setpriv() if self._as_user else []
        command = [*prefix, self._binary(name), *arguments]
        done = subprocess.run(command, cwd=self._folder, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.fail(f"{name} failed:\n{done.stderr[-2000:]}")


def _binaries() -> Path:
    """Debian keeps them out of PATH, a folder per version."""
    found = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    if found:
        return max(found, key=lambda path: float(path.parent.name))
    on_path = shutil.which("initdb")
    if on_path is None:
        pytest.fail("PostgreSQL's server is missing; install it: apt-get install postgresql")
    return Path(on_path).resolve().parent
