"""Followers of the trail: each on a thread of its own, and none keeps the process from ending."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
import threading
import time

import pytest

from kagitori_server.followers import Follower, Followers, OneThread


class Working:
    """Works until it's told to stop; one that hangs doesn't hear that before it's let go."""

    def __init__(self, *, hangs: bool = False) -> None:
        self.rounds = 0
        self.began, self.stopped, self.let = threading.Event(), threading.Event(), threading.Event()
        self._awaited = self.let if hangs else self.stopped

    def run_once(self) -> None:
        self.rounds += 1
        self.began.set()
        assert self._awaited.wait(30)

    def stop(self) -> None:
        self.stopped.set()


def test_one_that_hangs_is_left_behind(caplog: pytest.LogCaptureFixture) -> None:
    """And said to be; the others end in their time, and nobody waits for longer than was said."""
    good, hanging, idle = Working(), Working(hangs=True), Working()
    followers = Followers([
        Follower("hanging at a directory", hanging, 60.0), Follower("counting", good, 60.0),
    ])
    never_started = Followers([Follower("idle", idle, 60.0)])

    async def run() -> None:
        tasks = followers.start()
        for each in (good, hanging):
            assert await asyncio.to_thread(each.began.wait, 30)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(run())
    began = time.monotonic()
    with caplog.at_level(logging.WARNING):
        assert followers.close(0.5) == {"hanging at a directory"}
        assert never_started.close(0.5) == frozenset()
    assert 0.4 < time.monotonic() - began < 5
    assert [record.getMessage() for record in caplog.records] == [
        "hanging at a directory: it was still under way at the end, and is gone on with after the next start"
    ]
    hanging.let.set()
    assert followers.close(10) == frozenset()
    assert (good.rounds, hanging.rounds, idle.rounds) == (1, 1, 0)


def test_a_thread_does_one_thing_after_the_other() -> None:
    """Gives what came of it, or raises it, and passes over what was cancelled."""
    thread, let, done = OneThread("a thread"), threading.Event(), list[int]()
    first = thread.submit(let.wait, 30)
    second, third = thread.submit(done.append, 2), thread.submit(divmod, 7, 0)
    assert second.cancel()
    let.set()
    assert first.result(10)
    with pytest.raises(ZeroDivisionError):
        third.result(10)
    assert thread.submit(divmod, 7, 2).result(10) == (3, 1)
    assert not thread.ended(0)
    thread.ask_to_end()
    assert thread.ended(10)
    assert done == []


def test_the_process_ends_without_one_that_hangs() -> None:
    program = (
        "import time\nfrom kagitori_server.followers import do_in_time\n"
        "do_in_time('x', lambda: time.sleep(120), 0.2)\nprint('over')"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert ended.stdout == "over\n"
