"""Fixtures of places for catalogs. A test module names this one in `pytest_plugins` and never imports it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.catalogs import Place
from tests.support.made_catalogs import put_catalog
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
    """A place of each kind, for itself."""
    kind: str = request.param
    if kind == "sqlite":
        path = tmp_path / "catalog.db"

        def make(with_catalog: bool) -> str:
            if with_catalog:
                put_catalog(path)
            return str(path)
    else:
        cluster: PostgresCluster = request.getfixturevalue("postgres_cluster")

        def make(with_catalog: bool) -> str:
            return cluster.new_database(with_catalog=with_catalog)

    here = Place(kind, make=make)
    yield here
    here.close()
