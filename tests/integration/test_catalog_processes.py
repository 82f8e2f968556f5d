"""Several processes on one catalog: nothing lost, nothing late, nobody starved."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from tests.support.catalogs import REGION, Place, a_key, key_id_of

from kagitori_server.storage import Catalog, Intent

pytest_plugins = ["tests.support.catalog_fixtures"]

_WORKER = Path(__file__).parents[1] / "support" / "catalog_worker.py"
_WRITES = 40
_THREADS = 4


def start(place: Place, name: str, threads: int, writes: int) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    worker = subprocess.Popen(
        [sys.executable, str(_WORKER), place.location, name, str(threads), str(writes)],
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )
    assert worker.stdout is not None
    assert worker.stdout.readline() == "ready\n"
    return worker


def with_key(place: Place) -> Catalog:
    catalog = place.with_account()
    with catalog.write() as writer:
        writer.insert_key(a_key())
    return catalog


def intents(catalog: Catalog) -> list[Intent]:
    with catalog.read() as reader:
        return reader.pending_intents(limit=1_000_000)


def test_what_was_answered_outlives_a_killed_writer(place: Place) -> None:
    catalog = with_key(place)
    for round_ in range(3):
        worker = start(place, f"round{round_}", 2, 0)
        assert worker.stdout is not None
        answered = [worker.stdout.readline().strip() for _ in range(60)]
        worker.send_signal(signal.SIGKILL)
        answered += [line.strip() for line in worker.stdout if line.endswith("\n")]
        worker.stdout.close()
        worker.wait(10)
        # Nobody has to wait for what the dead one held.
        with catalog.write() as writer:
            writer.add_intent(f"after{round_}", "me", b"")
        catalog.view.prove_blocking()
        kept = [intent.event_id for intent in intents(catalog)]
        assert set(answered) <= set(kept)
        mine = [event_id for event_id in kept if event_id.startswith(f"round{round_}")]
        # A commit that was never answered may be there, at most one per thread.
        assert len(mine) - len(set(answered)) <= 2
        key = catalog.view.key(REGION, key_id_of(1))
        assert key is not None
        assert key.description == mine[-1]


def test_writers_of_two_processes_take_turns(place: Place) -> None:
    catalog = with_key(place)
    workers = [start(place, name, _THREADS, _WRITES) for name in ("one", "two")]
    longest = []
    for worker in workers:
        output, _ = worker.communicate(timeout=60)
        assert worker.returncode == 0
        lines = output.splitlines()
        assert len(lines) == _THREADS * _WRITES + 1
        longest.append(float(lines[-1]))
    kept = intents(catalog)
    assert len(kept) == 2 * _THREADS * _WRITES
    for name in {intent.chain for intent in kept}:
        mine = [intent.event_id for intent in kept if intent.chain == name]
        assert mine == [f"{name}-{number + 1}" for number in range(_WRITES)]
    # Eight writers in line: each waits for a handful of writes, never for all of the others' work.
    assert max(longest) < 5.0


def test_another_process_is_seen_at_the_next_proof(place: Place) -> None:
    catalog = with_key(place)
    worker = start(place, "far", 1, 50)
    assert worker.stdout is not None
    for _ in range(50):
        answered = int(worker.stdout.readline().strip().rsplit("-", 1)[1])
        catalog.view.prove_blocking()
        key = catalog.view.key(REGION, key_id_of(1))
        assert key is not None
        assert int(key.description.rsplit("-", 1)[1]) >= answered
    worker.communicate(timeout=30)
    assert worker.returncode == 0


def test_threads_read_while_others_write(place: Place) -> None:
    catalog = with_key(place)
    failures: list[BaseException] = []
    done = threading.Event()

    def look() -> None:
        try:
            seen = 0
            while not done.is_set():
                catalog.view.prove_blocking()
                key = catalog.view.key(REGION, key_id_of(1))
                assert key is not None
                number = int(key.description) if key.description.isdigit() else 0
                assert number >= seen
                seen = number
        except BaseException as error:
            failures.append(error)
            raise

    readers = [threading.Thread(target=look) for _ in range(3)]
    for reader in readers:
        reader.start()
    for number in range(100):
        with catalog.write() as writer:
            writer.set_key_description(REGION, key_id_of(1), str(number + 1))
        key = catalog.view.key(REGION, key_id_of(1))
        assert key is not None
        assert key.description == str(number + 1)
    done.set()
    for reader in readers:
        reader.join()
    assert failures == []


def test_a_snapshot_stays_as_it_was_while_others_write(place: Place) -> None:
    catalog, others = with_key(place), place.open()
    with catalog.read() as reader:
        first = reader.list_keys(a_key().account, REGION, "", 1)
        for number in range(2, 30):
            with others.write() as writer:
                writer.insert_key(a_key(number))
                if number == 20:
                    writer.delete_key(REGION, key_id_of(10))
        assert reader.list_keys(a_key().account, REGION, first[0][0], 100) == []
        assert reader.count_keys(a_key().account, REGION) == 1
    with catalog.read() as reader:
        seen: list[str] = []
        while page := reader.list_keys(a_key().account, REGION, seen[-1] if seen else "", 7):
            seen += [key_id for key_id, _ in page]
            with others.write() as writer:
                writer.insert_key(a_key(100 + len(seen)))
        assert seen == [key_id_of(number) for number in range(1, 30) if number != 10]


@pytest.mark.parametrize("count", [3])
def test_processes_that_open_an_empty_catalog_at_once_all_find_it_made(place: Place, count: int) -> None:
    code = (
        "import sys, time; from kagitori_server.storage import open_catalog;"
        "print(open_catalog(sys.argv[1], monotonic=time.monotonic).schema_revision)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    openers = [
        subprocess.Popen(
            [sys.executable, "-c", code, place.location], stdout=subprocess.PIPE, text=True, env=environment
        )
        for _ in range(count)
    ]
    answers = [opener.communicate(timeout=60)[0].strip() for opener in openers]
    assert answers == [place.open().schema_revision] * count
