"""Runs `kagitori-server` commands in processes that needn't load everything anew: forked from one that has.

Imported in that process, so it imports nothing that it doesn't need.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from kagitori_server.commands import run

_SECONDS = 60


@dataclass(frozen=True)
class Done:
    """What a command left."""

    returncode: int | None
    stdout: str
    stderr: str


def run_forked(arguments: Sequence[str], cwd: Path, environment: Mapping[str, str]) -> Done:
    """Runs one command to its end in a folder, with this environment alone."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    with tempfile.TemporaryDirectory() as folder:
        out, err = Path(folder, "out"), Path(folder, "err")
        child = context.Process(target=_become, args=(list(arguments), str(cwd), dict(environment), str(out), str(err)))
        child.start()
        child.join(_SECONDS)
        if child.is_alive():
            child.kill()
            child.join()
        return Done(child.exitcode, out.read_text(), err.read_text())


def _become(arguments: list[str], cwd: str, environment: dict[str, str], out: str, err: str) -> None:
    for target, path in ((1, out), (2, err)):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
        os.dup2(descriptor, target)
    sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", closefd=False)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    sys.exit(run(arguments))
