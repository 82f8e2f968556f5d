"""The writers' mark: unchanged and even only while nobody writes."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from kagitori_server.storage.catalog import open_catalog
from kagitori_server.storage.write_mark import WriteMark


@pytest.fixture
def descriptor(tmp_path: Path) -> int:
    return os.open(tmp_path / "mark", os.O_RDWR | os.O_CREAT, 0o600)


def test_it_is_odd_during_a_turn_and_new_after_it(descriptor: int) -> None:
    mark = WriteMark(descriptor)
    seen = {mark.read()}
    for _ in range(3):
        mark.begin()
        assert mark.read() % 2 == 1
        mark.end()
        assert mark.read() % 2 == 0
        assert mark.read() not in seen
        seen.add(mark.read())


def test_a_writer_that_died_is_passed_over(descriptor: int) -> None:
    """Its odd number stays until the next turn, which still ends with a number nobody has seen."""
    mark = WriteMark(descriptor)
    before = mark.read()
    mark.begin()
    died = mark.read()
    mark.begin()
    assert mark.read() % 2 == 1
    assert mark.read() != died
    mark.end()
    assert mark.read() % 2 == 0
    assert mark.read() != before


def test_another_process_sees_it(tmp_path: Path) -> None:
    path = tmp_path / "mark"
    mark = WriteMark(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    program = (
        "import os, sys; from kagitori_server.storage.write_mark import WriteMark;"
        "m = WriteMark(os.open(sys.argv[1], os.O_RDWR)); m.begin(); m.end()"
    )
    subprocess.run([sys.executable, "-c", program, str(path)], check=True)
    assert mark.read() == 2


def test_it_wraps_around(descriptor: int) -> None:
    os.pwrite(descriptor, b"\xfe" + b"\xff" * 7, 0)
    mark = WriteMark(descriptor)
    mark.begin()
    mark.end()
    assert mark.read() == 0


def test_a_closed_mark_tells_nothing(descriptor: int) -> None:
    mark = WriteMark(descriptor)
    mark.begin()
    mark.close()
    assert mark.read() == 0


def test_a_foreign_writer_is_noticed_within_a_second(tmp_path: Path) -> None:
    """Somebody with the sqlite3 tool knows no mark; the database is asked once a second all the same."""
    now = 0.0
    catalog = open_catalog(tmp_path / "catalog.db", monotonic=lambda: now or time.monotonic())
    try:
        now = 1_000.0
        catalog.view.prove_blocking()
        before = catalog.view.version
        with sqlite3.connect(tmp_path / "catalog.db") as foreign:
            foreign.execute("UPDATE catalog_clock SET version = version + 1")
        foreign.close()
        now += 1.01
        catalog.view.prove_blocking()
        assert catalog.view.version == before + 1
    finally:
        now = 0.0
        catalog.close()
