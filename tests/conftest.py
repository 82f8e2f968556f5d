"""What holds for all tests."""

from __future__ import annotations

import os


def pytest_configure() -> None:
    """Servers, workers and command lines are started some hundred times: an environment that forbids Python to keep
    compiled modules has each of them compile the whole service anew, a third of a second of processor time."""
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
