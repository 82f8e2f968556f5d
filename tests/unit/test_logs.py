"""The service's own log: its form, and that what exceptions quote or meet never gets into it.

Each test runs a process of its own, since the log is set up once per process.
"""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from kagitori_server.config import LogConfig

ROOT = Path(__file__).parents[2]
PROGRAM = """
import logging, sys
from kagitori_server.config import LogConfig
from kagitori_server.logs import configure_logs

configure_logs(LogConfig(level=sys.argv[1], format=sys.argv[2]))
log = logging.getLogger("kagitori_server.some.module")

def inner(local_key):
    try:
        raise KeyError(local_key)
    except KeyError as error:
        raise ValueError(f"can't use {local_key}") from error

log.debug("details")
log.info("%d calls", 3)
try:
    inner("MARK" + "ED")
except ValueError:
    log.exception("a call failed")
log.warning("last\\nline")
"""


def _run(level: str, form: str, stderr: int = subprocess.PIPE) -> str:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(str(ROOT / name) for name in ("server", "keystore"))}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, level, form],
        stdout=subprocess.PIPE, stderr=stderr, text=True, env=environment, timeout=60, check=True,
    )
    assert done.stdout == ""
    return done.stderr or ""


def _on_terminal() -> str:
    """The same with a terminal for standard error."""
    outer, inner = pty.openpty()
    try:
        _run("info", "auto", inner)
        os.set_blocking(outer, False)
        return os.read(outer, 100_000).decode()
    finally:
        os.close(outer)
        os.close(inner)


@pytest.mark.parametrize("form", ["json", "auto"])
def test_json_is_one_object_per_line(form: str) -> None:
    """Where there is no terminal. Line breaks of a message don't break the line."""
    lines = [json.loads(line) for line in _run("info", form).splitlines()]
    assert [line["event"] for line in lines] == ["3 calls", "a call failed", "last\nline"]
    assert [line["level"] for line in lines] == ["info", "error", "warning"]
    assert all(line["logger"] == "kagitori_server.some.module" for line in lines)
    assert all(line["timestamp"].endswith("Z") for line in lines)


@pytest.mark.parametrize(("level", "count"), [("debug", 4), ("info", 3), ("warning", 2), ("error", 1)])
def test_level(level: str, count: int) -> None:
    """What is below it isn't written."""
    assert len(_run(level, "json").splitlines()) == count


@pytest.mark.parametrize("form", ["json", "text", "terminal"])
def test_exceptions_tell_kinds_and_places_alone(form: str) -> None:
    """Not their texts, and no values of variables, which hold keys and payloads in the code that handles them."""
    text = _on_terminal() if form == "terminal" else _run("info", form)
    assert "builtins.ValueError" in text
    assert "builtins.KeyError" in text
    assert "in inner" in text
    assert "MARKED" not in text
    assert "local_key =" not in text


def test_sections_form_is_checked() -> None:
    """No level or form that nobody knows."""
    for wrong in ({"level": "loud"}, {"level": "INFO"}, {"format": "xml"}):
        with pytest.raises(Exception, match="must be"):
            LogConfig(**wrong)
