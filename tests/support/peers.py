"""Third-party software for tests, in the environments that tests/install-peers made.

Paths of its programs, and scripts of tests/peers run by its Python or Node.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[2]
SCRIPTS = _ROOT / "tests" / "peers"
_SECONDS = 120


def peers() -> Path:
    """Where the software is. Fails the test where it isn't: it's part of what `make test` installs."""
    found = Path(os.environ.get("KAGITORI_PEERS", _ROOT / ".peers"))
    if not (found / ".installed").exists():
        pytest.fail(f"{found} lacks the software that tests run against the service: run tests/install-peers")
    return found


def program(name: str, environment: str = "main") -> str:
    """The path of a program, such as `aws`."""
    return str(peers() / environment / "bin" / name)


def run_program(
    arguments: Sequence[str], environment: Mapping[str, str], *, given: bytes | None = None, status: int = 0,
    seconds: float = _SECONDS, folder: Path | None = None,
) -> subprocess.CompletedProcess[bytes]:
    """Run a program with nothing in its environment but what is given, and expect its exit status."""
    done = subprocess.run(
        arguments, env={"PATH": f"{peers() / 'main' / 'bin'}:{os.environ['PATH']}", **environment}, input=given,
        capture_output=True, timeout=seconds, check=False, cwd=folder,
    )
    if done.returncode != status:
        pytest.fail(
            f"{Path(arguments[0]).name} ended with {done.returncode} instead of {status}:\n"
            f"{done.stdout.decode(errors='replace')}\n{done.stderr.decode(errors='replace')}"
        )
    return done


def run_script(name: str, environment: Mapping[str, str], *arguments: str) -> subprocess.CompletedProcess[bytes]:
    """Run a script of tests/peers by the environment's Python, or by Node where it ends in `.cjs`."""
    interpreter = program("node" if name.endswith(".cjs") else "python")
    more = {"NODE_PATH": str(peers() / "node" / "node_modules")} if name.endswith(".cjs") else {}
    return run_program([interpreter, str(SCRIPTS / name), *arguments], {**environment, **more})
