"""The schema that migrations make is the schema the code asks for."""

from __future__ import annotations

import pytest
import sqlalchemy
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from tests.support.catalogs import ACCOUNT, LATEST_REVISION, ROOT_ARN, Place, a_root

from kagitori_server.model.principals import Account
from kagitori_server.storage import CatalogUnusableError, schema

pytest_plugins = ["tests.support.catalog_fixtures"]


@pytest.fixture(autouse=True)
def _from_nothing(place: Place) -> None:
    """No copy of a catalog: the tables are made here."""
    assert place.location


def test_migrations_from_nothing_make_what_the_code_asks_for(place: Place) -> None:
    catalog = place.open()
    with catalog.read() as reader:
        context = MigrationContext.configure(reader._connection, opts={"compare_server_default": True})
        assert compare_metadata(context, schema.metadata) == []
        found = sqlalchemy.inspect(reader._connection)
        for table in schema.metadata.sorted_tables:
            named = {c.name for c in table.constraints if isinstance(c, sqlalchemy.CheckConstraint)}
            assert {check["name"] for check in found.get_check_constraints(table.name)} == named


def test_text_is_ordered_by_code_point_in_every_column(place: Place) -> None:
    if place.kind == "sqlite":
        query = "SELECT name FROM sqlite_master WHERE sql LIKE '%COLLATE%'"
    else:
        query = (
            "SELECT table_name, column_name FROM information_schema.columns"
            " WHERE table_schema = 'public' AND data_type = 'character varying'"
            " AND collation_name IS DISTINCT FROM 'C' AND table_name <> 'alembic_version'"
        )
    with place.open().read() as reader:
        assert reader._connection.execute(sqlalchemy.text(query)).all() == []


def test_opening_again_changes_nothing(place: Place) -> None:
    first = place.with_account()
    again = place.open()
    assert first.schema_revision == again.schema_revision == LATEST_REVISION
    with again.read() as reader:
        assert reader.version == 1
        assert reader.get_account(ACCOUNT) == Account(ACCOUNT, "default", 1.5)
        assert reader.get_principal(ROOT_ARN) == a_root(ACCOUNT)


def test_a_catalog_of_a_newer_program_is_refused(place: Place) -> None:
    catalog = place.open()
    with catalog._database.writing() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(CatalogUnusableError, match="'9999' is unknown"):
        place.open()
    with catalog.write() as writer:
        assert writer.version == 1


@pytest.mark.parametrize(
    "location",
    ["mysql://host/name", "sqlite://", "sqlite:///x.db?mode=ro", "postgresql+asyncpg://host/name", "http://", "://"],
)
def test_other_databases_are_refused(location: str) -> None:
    with pytest.raises(CatalogUnusableError):
        Place("none", location).open()
