"""What holds for all tests."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator

import pytest


def pytest_configure() -> None:
    """Servers, workers and command lines are started some hundred times: an environment that forbids Python to keep
    compiled modules has each of them compile the whole service anew, a third of a second of processor time."""
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


@pytest.fixture(autouse=True)
def own_logging() -> Iterator[None]:
    """Commands of the server that are run inside this process send logs to a stderr that is the test's. Others that
    come later would have their own disturbed by complaints that it is closed."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
