"""The parts of instances for tests that their processes don't show."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.support.keystore_parts import MemoryShelf

from kagitori_keystore.algorithms import KeySpec
from kagitori_keystore.base import Domain, ImportRefused
from kagitori_keystore.rootkey.file import open_file_root
from kagitori_keystore.software.planted import PlantedKeyStore
from kagitori_server.config import ConfigurationError
from kagitori_server.identifiers import system_identifiers
from kagitori_server.laboratory.clock import TimeMachine, VirtualClock
from kagitori_server.laboratory.memory import Memory, Remembered
from kagitori_server.laboratory.naming import FixedIdentifiers
from kagitori_server.laboratory.steps import Fixed

DOMAIN = Domain("000000000000", "us-east-1")
KEY, OTHER = "0b8f52c4-9d3e-4a57-8f0c-6f1d4c2f9a10", "0b8f52c4-9d3e-4a57-8f0c-6f1d4c2f9a11"
MATERIAL = bytes(range(32))


class Real:
    """A real clock that stands still unless told otherwise."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


def test_a_virtual_clock_runs_on_from_where_it_was_moved_to() -> None:
    """Forward only; each new offset is kept."""
    real, kept = Real(), list[float]()
    clock = VirtualClock(real, 50.0, kept.append)
    assert clock() == 1_050.0
    clock.move_to(2_000.0)
    real.now += 10
    assert clock() == 2_010.0
    clock.move_to(1_500.0)
    assert clock() == 2_010.0
    clock.start_at(100.0)
    assert clock() == 100.0
    assert kept == [1_000.0, -910.0]


def test_a_clock_isn_t_moved_before_there_is_anything_to_move() -> None:
    """It would pass what is due."""
    machine = TimeMachine(VirtualClock(Real(), 0.0, lambda _: None))
    assert machine.now() == 1_000.0
    with pytest.raises(RuntimeError):
        machine.move_to(2_000.0)


def test_what_an_instance_remembers(tmp_path: Path) -> None:
    """Until the next start, in a file that is its owner's alone."""
    memory = Memory(tmp_path / "development")
    assert memory.now == Remembered()
    memory.keep()
    memory.keep_clock(12.5)
    memory.keep_seed("ab")
    assert (tmp_path / "development").stat().st_mode & 0o777 == 0o600
    assert Memory(tmp_path / "development").now == Remembered(12.5, "ab")


@pytest.mark.parametrize(
    "written",
    [
        "", "[]", "7", "{", '{"seed": 7}', '{"clock_offset": "soon"}', '{"clock_offset": NaN}', '{"colour": 1}',
        '{"clock_offset": null}', "\udcff",
    ],
)
def test_a_damaged_memory_is_refused(tmp_path: Path, written: str) -> None:
    """Whatever is in the file."""
    (tmp_path / "development").write_text(written, errors="surrogateescape")
    with pytest.raises(ConfigurationError, match="is damaged"):
        Memory(tmp_path / "development")


def test_names_are_fixed_for_as_long_as_one_call_takes() -> None:
    """What isn't fixed is drawn, and afterwards everything is."""
    names = FixedIdentifiers(system_identifiers(os.urandom))
    given = names.identifiers()
    with names.giving(Fixed(uuid=KEY, secret="s")):
        assert (given.uuid(), given.uuid(), given.secret()) == (KEY, KEY, "s")
        assert given.unique_id("AIDA").startswith("AIDA")
    assert given.uuid() != KEY
    with pytest.raises(KeyError), names.giving(Fixed(uuid=KEY)):
        raise KeyError
    assert given.uuid() != KEY
    assert given.secret() != "s"


def test_a_planted_material_is_made_once_for_its_key(tmp_path: Path) -> None:
    """The same every time, under an id that is the same, too; another key's is drawn, as is the next."""
    root, shelf = open_file_root(tmp_path / "root-key", os.urandom), MemoryShelf()
    store = PlantedKeyStore(root, shelf, os.urandom)
    made = []
    for _ in range(2):
        store.plant(KEY, MATERIAL)
        made.append(store.generate(KeySpec.SYMMETRIC_DEFAULT, DOMAIN, KEY))
    drawn = store.generate(KeySpec.SYMMETRIC_DEFAULT, DOMAIN, KEY)
    store.plant(KEY, MATERIAL)
    others = store.generate(KeySpec.SYMMETRIC_DEFAULT, DOMAIN, OTHER)
    assert made[0].material_id == made[1].material_id
    assert len({made[0].material_id, drawn.material_id, others.material_id}) == 3
    with pytest.raises(ImportRefused) as refused:
        store.generate(KeySpec.RSA_2048, DOMAIN, KEY)
    assert refused.value.__suppress_context__ or refused.value.__context__ is None
    assert "planted" not in repr(store)
    store.close()
    root.close()
