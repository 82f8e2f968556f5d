"""PostgreSQL stops, hangs, comes back: the catalog refuses in time, and goes on afterwards."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator

import pytest
from tests.support.catalogs import REGION, Place, a_key, key_id_of
from tests.support.postgres import PostgresCluster

from kagitori_server.model.errors import DependencyTimeoutException, KmsError
from kagitori_server.storage import Catalog, CatalogOptions

pytest_plugins = ["tests.support.catalog_fixtures"]

OPTIONS = CatalogOptions(prove_seconds=0.5, write_wait_seconds=1.0, statement_seconds=1.0)
PATIENT = CatalogOptions(prove_seconds=30.0)
"""Where nothing is broken, however busy the machine is."""


@pytest.fixture
def cluster() -> Iterator[PostgresCluster]:
    """A server of our own, since we break it."""
    cluster = PostgresCluster()
    cluster.start()
    yield cluster
    cluster.remove()


@pytest.fixture
def here(cluster: PostgresCluster) -> Iterator[Place]:
    here = Place("postgresql", cluster.new_database())
    yield here
    here.close()


def with_key(here: Place, options: CatalogOptions = OPTIONS) -> Catalog:
    catalog = here.with_account(options)
    with catalog.write() as writer:
        writer.insert_key(a_key())
    catalog.view.prove_blocking()
    catalog.view.key(REGION, key_id_of(1))
    return catalog


def assert_refused_in(seconds: float, call: Callable[[], object]) -> None:
    began = time.monotonic()
    with pytest.raises(DependencyTimeoutException) as refused:
        call()
    assert time.monotonic() - began < seconds
    assert "socket" not in refused.value.message
    assert refused.value.__cause__ is None


def test_a_stopped_server_proves_nothing_and_a_restarted_one_does(
    cluster: PostgresCluster, here: Place
) -> None:
    catalog = with_key(here)
    cluster.stop()
    for _ in range(3):
        assert catalog.view.prove_now() is False
        assert_refused_in(OPTIONS.prove_seconds + 1.0, lambda: asyncio.run(catalog.view.prove()))
        assert_refused_in(OPTIONS.prove_seconds + 1.0, catalog.view.prove_blocking)
        assert_refused_in(4.0, catalog.health)
        assert_refused_in(4.0, lambda: catalog.write().__enter__())
        assert_refused_in(4.0, lambda: catalog.view.key(REGION, key_id_of(2)))
    cluster.start()
    catalog.view.prove_blocking()
    assert catalog.view.kept.key(REGION, key_id_of(1)) == a_key()
    with catalog.write() as writer:
        writer.set_key_description(REGION, key_id_of(1), "after")
    key = catalog.view.key(REGION, key_id_of(1))
    assert key is not None
    assert key.description == "after"
    assert catalog.health().latency_seconds < 1.0


def test_a_server_that_hangs_is_refused_at_the_deadline(cluster: PostgresCluster, here: Place) -> None:
    catalog = with_key(here)
    cluster.freeze()
    try:
        for _ in range(3):
            assert_refused_in(OPTIONS.prove_seconds + 1.0, lambda: asyncio.run(catalog.view.prove()))
            assert_refused_in(OPTIONS.prove_seconds + 1.0, catalog.view.prove_blocking)
    finally:
        cluster.thaw()
    for attempt in range(20):
        try:
            catalog.view.prove_blocking()
        except KmsError:
            assert attempt < 19
            time.sleep(0.1)
        else:
            break


def test_a_catalog_can_be_closed_while_the_server_hangs(cluster: PostgresCluster, here: Place) -> None:
    catalog = with_key(here)
    cluster.freeze()
    try:
        assert_refused_in(OPTIONS.prove_seconds + 1.0, catalog.view.prove_blocking)
        began = time.monotonic()
        catalog.close()
        assert time.monotonic() - began < 3.0
        assert_refused_in(0.5, catalog.view.prove_blocking)
    finally:
        cluster.thaw()


def test_changes_made_while_away_are_seen_before_anything_is_proven(
    cluster: PostgresCluster, here: Place
) -> None:
    catalog = with_key(here)
    cluster.stop()
    assert_refused_in(1.0, catalog.view.prove_blocking)
    cluster.start()
    others = here.open(OPTIONS)
    with others.write() as writer:
        writer.set_key_description(REGION, key_id_of(1), "news")
    catalog.view.prove_blocking()
    key = catalog.view.key(REGION, key_id_of(1))
    assert key is not None
    assert key.description == "news"


def test_a_writer_that_stands_still_does_not_hold_others_for_ever(here: Place) -> None:
    one, two = with_key(here), here.open(OPTIONS)
    with one.write() as writer:
        assert_refused_in(4.0, lambda: two.write().__enter__())
        writer.set_key_description(REGION, key_id_of(1), "done")
    with two.write() as writer:
        key = writer.get_key(REGION, key_id_of(1))
        assert key is not None
        assert key.description == "done"


def test_a_commit_on_a_lost_connection_is_no_success(cluster: PostgresCluster, here: Place) -> None:
    catalog = with_key(here)

    def write() -> None:
        with catalog.write() as writer:
            writer.set_key_description(REGION, key_id_of(1), "lost")
            cluster.stop()

    assert_refused_in(3.0, write)
    cluster.start()
    catalog.view.prove_blocking()
    assert catalog.view.key(REGION, key_id_of(1)) == a_key()


def test_a_server_away_at_the_start_is_named(cluster: PostgresCluster, here: Place) -> None:
    cluster.stop()
    assert_refused_in(5.0, lambda: here.open(OPTIONS))


async def prove_together(catalog: Catalog, callers: int) -> int:
    before = catalog.view.version
    await asyncio.gather(*(catalog.view.prove() for _ in range(callers)))
    return catalog.view.version - before


def test_many_callers_share_a_query(here: Place) -> None:
    catalog, others = with_key(here, PATIENT), here.open(PATIENT)
    with others.write() as writer:
        writer.set_key_description(REGION, key_id_of(1), "news")
    assert asyncio.run(prove_together(catalog, 500)) == 1
