"""Waiting in line: first come, first served; turn by turn between processes; never for ever."""

from __future__ import annotations

import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

from kagitori_server.storage.turns import FairLock, FileTurn


def test_the_lock_goes_to_who_waits_longest() -> None:
    lock = FairLock()
    assert lock.acquire(1.0)
    order: list[int] = []

    def wait(number: int) -> None:
        assert lock.acquire(10.0)
        order.append(number)
        lock.release()

    threads = []
    for number in range(5):
        thread = threading.Thread(target=wait, args=(number,))
        thread.start()
        threads.append(thread)
        while len(lock._line) <= number:
            time.sleep(0.001)
    lock.release()
    for thread in threads:
        thread.join()
    assert order == [0, 1, 2, 3, 4]
    assert lock.acquire(0.0)


def test_the_last_holder_can_not_barge_in() -> None:
    lock = FairLock()
    assert lock.acquire(1.0)
    waiter = threading.Thread(target=lambda: lock.acquire(10.0))
    waiter.start()
    while not lock._line:
        time.sleep(0.001)
    lock.release()
    assert not lock.acquire(0.01)
    waiter.join()


def test_who_gave_up_is_passed_over() -> None:
    lock = FairLock()
    assert lock.acquire(1.0)
    began = time.monotonic()
    assert not lock.acquire(0.05)
    assert 0.04 < time.monotonic() - began < 1.0
    assert not lock.acquire(0.0)
    lock.release()
    assert lock.acquire(0.0)


def test_two_turns_on_one_database_exclude_each_other(tmp_path: Path) -> None:
    one, two = (FileTurn(tmp_path / "db", time.monotonic) for _ in range(2))
    assert one.acquire(1.0)
    began = time.monotonic()
    assert not two.acquire(0.05)
    assert 0.04 < time.monotonic() - began < 1.0
    one.release()
    assert two.acquire(1.0)
    assert not one.acquire(0.0)
    two.release()
    for path in tmp_path.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    one.close()
    two.close()


def test_who_waits_comes_before_who_has_just_written(tmp_path: Path) -> None:
    one, two = (FileTurn(tmp_path / "db", time.monotonic) for _ in range(2))
    assert one.acquire(1.0)
    waiter = threading.Thread(target=lambda: two.acquire(10.0))
    waiter.start()
    time.sleep(0.05)
    one.release()
    assert not one.acquire(0.0)
    waiter.join()
    two.release()
    assert one.acquire(1.0)
    one.close()
    two.close()


def test_a_dead_process_holds_nothing(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from kagitori_server.storage.turns import FileTurn;"
        "turn = FileTurn(Path(sys.argv[1]), time.monotonic); print(turn.acquire(5.0), flush=True);"
        "time.sleep(60)"
    )
    environment = {"PYTHONPATH": ":".join(path for path in sys.path if path)}
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "db")], stdout=subprocess.PIPE, text=True, env=environment
    )
    turn = FileTurn(tmp_path / "db", time.monotonic)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "True\n"
        holder.stdout.close()
        assert not turn.acquire(0.0)
    finally:
        holder.kill()
        holder.wait()
    assert turn.acquire(1.0)
    turn.close()
