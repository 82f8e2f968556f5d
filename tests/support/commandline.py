"""Runs the command `kagitori`, inside this process (fast) or as a process of its own (signals, memory)."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer

from kagitori_client.cli.app import build, run

PROGRAM = (sys.executable, "-c", "from kagitori_client.cli import main; main()")


@cache
def program() -> Callable[..., object]:
    """The command line, made once for all that is run inside this process."""
    return typer.main.get_command(build())


@dataclass(frozen=True)
class Result:
    """What a run left: exit code, stdout, stderr."""

    code: int
    out: bytes
    err: str

    @property
    def text(self) -> str:
        return self.out.decode()

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class CommandLine:
    """The command line in a folder and an environment of its own."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, environment: Mapping[str, str], folder: Path) -> None:
        self.environment = {**environment, "HOME": str(folder), "XDG_CONFIG_HOME": str(folder / "config")}
        self.folder = folder
        self._monkeypatch = monkeypatch

    def __call__(
        self, *arguments: str, stdin: bytes = b"", environment: Mapping[str, str] | None = None
    ) -> Result:
        """Runs one command inside this process."""
        out, err = _capture(), _capture()
        with self._monkeypatch.context() as patch, _kept_signals():
            for name in [n for n in os.environ if n.startswith("KAGITORI_")]:
                patch.delenv(name)
            for name, value in {**self.environment, **(environment or {})}.items():
                patch.setenv(name, value)
            patch.chdir(self.folder)
            patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
            patch.setattr(sys, "stdout", out)
            patch.setattr(sys, "stderr", err)
            with pytest.raises(SystemExit) as ended:
                run(list(arguments), program())
        out.flush()
        err.flush()
        code = ended.value.code
        assert isinstance(code, int)
        return Result(code, _content(out), _content(err).decode())

    def done(
        self, *arguments: str, stdin: bytes = b"", environment: Mapping[str, str] | None = None
    ) -> Result:
        """The same, for what must succeed."""
        result = self(*arguments, stdin=stdin, environment=environment)
        assert result.code == 0, result.err
        return result

    def json(self, *arguments: str) -> Any:
        """The JSON of a command that must succeed."""
        return self.done("--output", "json", *arguments).json

    def process(self, arguments: Sequence[str], **more: Any) -> subprocess.Popen[bytes]:
        """Starts one command as a process."""
        return subprocess.Popen([*PROGRAM, *arguments], env=self.environment, cwd=self.folder, **more)

    def files(self) -> set[str]:
        """Names of the files in the folder."""
        return {entry.name for entry in self.folder.iterdir() if entry.is_file()}


def _capture() -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True)


def _content(stream: io.TextIOWrapper) -> bytes:
    buffer = stream.buffer
    assert isinstance(buffer, io.BytesIO)
    return buffer.getvalue()


@contextmanager
def _kept_signals() -> Iterator[None]:
    kept = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)
