"""SQLite's files: private, and without what was deleted."""

from __future__ import annotations

import sqlite3
import stat
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from tests.support.catalogs import ACCOUNT, REGION, Place, a_key, a_token, key_id_of

from kagitori_server.model.errors import DependencyTimeoutException
from kagitori_server.model.keys import MaterialState, MaterialVersion
from kagitori_server.storage import CatalogUnusableError

SECRET = b"wrapped material that must go \x00\x01\x02" * 8


@dataclass(frozen=True)
class Domain:
    account: str = ACCOUNT
    region: str = REGION


@pytest.fixture
def here(tmp_path: Path) -> Place:
    return Place("sqlite", str(tmp_path / "catalog.db"))


def files(here: Place) -> list[Path]:
    return sorted(Path(here.location).parent.iterdir())


def holders(here: Place, secret: bytes) -> list[str]:
    return [path.name for path in files(here) if secret in path.read_bytes()]


def test_every_file_is_its_owners_alone(here: Place) -> None:
    here.with_account()
    names = [path.name for path in files(here)]
    assert names == [f"catalog.db{end}" for end in ("", "-shm", "-turnstile", "-wal", "-writer")]
    for path in files(here):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    here.close()


def test_the_database_is_set_as_promised(here: Place) -> None:
    catalog = here.with_account()
    with catalog.write() as writer:
        found = {
            name: writer._connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys", "secure_delete", "trusted_schema")
        }
    assert found == {
        "journal_mode": "wal",
        "synchronous": 2,
        "foreign_keys": 1,
        "secure_delete": 1,
        "trusted_schema": 0,
    }
    here.close()


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o666, 0o620])
def test_a_file_open_to_others_is_refused(here: Place, mode: int) -> None:
    here.with_account()
    here.close()
    Path(here.location).chmod(mode)
    with pytest.raises(CatalogUnusableError, match="0600"):
        Place("sqlite", here.location).open()


def test_what_can_not_be_a_catalog_is_refused(tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.write_text("this is no database, but long enough to have a header " * 10)
    text.chmod(0o600)
    for path in (text, tmp_path, tmp_path / "none" / "catalog.db"):
        with pytest.raises(CatalogUnusableError):
            Place("sqlite", str(path)).open()


def test_a_deleted_keys_material_is_gone_from_every_file(here: Place) -> None:
    catalog = here.with_account()
    key = replace(a_key(), materials=(MaterialVersion("0" * 64, SECRET, 1.0, MaterialState.CURRENT),))
    with catalog.write() as writer:
        writer.insert_key(key)
        writer.insert_key(a_key(2))
    assert holders(here, SECRET) == ["catalog.db-wal"]
    with catalog.write() as writer:
        writer.delete_key(REGION, key_id_of(1))
    assert holders(here, SECRET) == []
    with catalog.read() as reader:
        assert reader.get_key(REGION, key_id_of(2)) == a_key(2)
    here.close()


def test_a_replaced_key_encryption_key_is_gone_from_every_file(here: Place) -> None:
    shelf = here.with_account().kek_shelf
    shelf.put_if_absent(Domain(), SECRET)
    with shelf.replacing() as replacement:
        replacement.replace(Domain(), SECRET, b"new")
    assert holders(here, SECRET) == []
    here.close()


def test_a_reader_in_the_way_puts_it_off_to_the_next_chance(here: Place) -> None:
    catalog = here.with_account()
    key = replace(a_key(), materials=(MaterialVersion("0" * 64, SECRET, 1.0, MaterialState.CURRENT),))
    with catalog.write() as writer:
        writer.insert_key(key)
    with catalog.read():
        with catalog.write() as writer:
            writer.delete_key(REGION, key_id_of(1))
        assert holders(here, SECRET) != []
    catalog.health()
    assert holders(here, SECRET) == []
    here.close()


def test_what_a_killed_process_left_is_removed_by_the_next(here: Place) -> None:
    catalog = here.with_account()
    key = replace(a_key(), materials=(MaterialVersion("0" * 64, SECRET, 1.0, MaterialState.CURRENT),))
    with catalog.write() as writer:
        writer.insert_key(key)
    # As if it had been killed right after the commit.
    with catalog._database.writing() as connection:
        connection.exec_driver_sql("DELETE FROM keys")
    assert holders(here, SECRET) != []
    here.open().health()
    assert holders(here, SECRET) == []
    here.close()


def test_a_token_is_kept_as_its_digest(here: Place) -> None:
    catalog = here.with_account()
    with catalog.write() as writer:
        writer.insert_token(a_token())
    assert holders(here, a_token().digest) != []
    here.close()


def test_a_database_locked_by_a_stranger_is_refused_in_time(here: Place) -> None:
    here.with_account()
    here.close()
    stranger = sqlite3.connect(here.location, isolation_level=None)
    stranger.execute("BEGIN EXCLUSIVE")
    try:
        with pytest.raises(DependencyTimeoutException):
            Place("sqlite", here.location).open()
    finally:
        stranger.execute("ROLLBACK")
        stranger.close()


def test_health_waits_for_no_writer(here: Place) -> None:
    catalog, others = here.with_account(), here.open()
    with catalog.write() as writer:
        assert others.health().latency_seconds < 1.0
        assert others.health().version == writer.version - 1
    here.close()
