"""Fixtures of places for catalogs. A test module names this one in `pytest_plugins` and never imports it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.catalogs import Place
from tests.support.postgres import PostgresCluster


@pytest.fixture(scope="session")
def postgres_cluster() -> Iterator[PostgresCluster]:
    """One server for the session."""
    cluster = PostgresCluster()
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.remove()


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """A place of each kind, empty."""
    if request.param == "sqlite":
        location = str(tmp_path / "catalog.db")
    else:
        location = request.getfixturevalue("postgres_cluster").new_database()
    here = Place(request.param, location)
    yield here
    here.close()
