"""The barrier: an answer counts for who asked before the question was put, and for nobody else."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator

import pytest

from kagitori_server.model.errors import DependencyTimeoutException
from kagitori_server.storage.barrier import Barrier


class Work:
    """Work whose runs begin and end when the test says so."""

    def __init__(self) -> None:
        self.began = 0
        self.failure: Exception | None = None
        self._begun = threading.Semaphore(0)
        self._permits = threading.Semaphore(0)

    def __call__(self) -> None:
        self.began += 1
        self._begun.release()
        assert self._permits.acquire(timeout=10)
        if self.failure is not None:
            raise self.failure

    def wait_for_a_run(self) -> None:
        assert self._begun.acquire(timeout=10)

    def let_go(self, runs: int = 1) -> None:
        self._permits.release(runs)


@pytest.fixture
def work() -> Work:
    return Work()


@pytest.fixture
def barrier(work: Work) -> Iterator[Barrier]:
    barrier = Barrier(work, 5.0, "test")
    yield barrier
    work.let_go(100)
    barrier.close()


class Caller(threading.Thread):
    """One who waits, and what became of it."""

    def __init__(self, barrier: Barrier) -> None:
        super().__init__()
        self._barrier = barrier
        self.passed = False
        self.refusal: DependencyTimeoutException | None = None
        self.start()

    def run(self) -> None:
        try:
            self._barrier.passed_blocking()
        except DependencyTimeoutException as refusal:
            self.refusal = refusal
        else:
            self.passed = True


def somebody_waits(barrier: Barrier) -> None:
    while barrier._next is None:
        time.sleep(0.001)


def test_who_arrives_during_a_run_waits_for_the_next(work: Work, barrier: Barrier) -> None:
    early = Caller(barrier)
    work.wait_for_a_run()
    late = Caller(barrier)
    somebody_waits(barrier)
    work.let_go()
    early.join()
    assert early.passed
    work.wait_for_a_run()
    assert not late.passed
    work.let_go()
    late.join()
    assert late.passed
    assert work.began == 2


def test_the_same_holds_on_an_event_loop(work: Work, barrier: Barrier) -> None:
    async def main() -> None:
        early = asyncio.create_task(barrier.passed())
        await asyncio.to_thread(work.wait_for_a_run)
        late = [asyncio.create_task(barrier.passed()) for _ in range(50)]
        await asyncio.sleep(0)
        work.let_go()
        await early
        await asyncio.to_thread(work.wait_for_a_run)
        assert not any(task.done() for task in late)
        work.let_go()
        await asyncio.gather(*late)

    asyncio.run(main())
    assert work.began == 2


@pytest.mark.parametrize("failure", [DependencyTimeoutException("slow"), RuntimeError("a secret")])
def test_a_failed_run_refuses_its_callers_and_no_others(
    work: Work, barrier: Barrier, failure: Exception
) -> None:
    work.failure = failure
    early = Caller(barrier)
    work.wait_for_a_run()
    late = Caller(barrier)
    somebody_waits(barrier)
    work.let_go()
    early.join()
    assert early.refusal is not None
    assert "secret" not in str(early.refusal)
    work.wait_for_a_run()
    work.failure = None
    work.let_go()
    late.join()
    assert late.passed


def test_who_waits_too_long_is_refused_and_the_others_are_not(work: Work) -> None:
    barrier = Barrier(work, 0.1, "test")

    async def main() -> None:
        async with asyncio.timeout(2.0):
            began = time.monotonic()
            with pytest.raises(DependencyTimeoutException):
                await barrier.passed()
            assert 0.05 < time.monotonic() - began < 1.0

    asyncio.run(main())
    with pytest.raises(DependencyTimeoutException):
        barrier.passed_blocking()
    work.let_go(10)
    barrier.passed_blocking()
    barrier.close()


def test_a_cancelled_caller_takes_nobody_along(work: Work, barrier: Barrier) -> None:
    async def main() -> None:
        first = asyncio.create_task(barrier.passed())
        await asyncio.to_thread(work.wait_for_a_run)
        gone, stays = (asyncio.create_task(barrier.passed()) for _ in range(2))
        await asyncio.sleep(0)
        gone.cancel()
        first.cancel()
        work.let_go(2)
        await stays
        for task in (gone, first):
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(main())


def test_a_closed_barrier_refuses(work: Work) -> None:
    barrier = Barrier(work, 5.0, "test")
    running = Caller(barrier)
    work.wait_for_a_run()
    left = Caller(barrier)
    somebody_waits(barrier)
    closer = threading.Thread(target=barrier.close)
    closer.start()
    left.join()
    assert left.refusal is not None
    work.let_go()
    running.join()
    closer.join()
    assert running.passed
    with pytest.raises(DependencyTimeoutException):
        barrier.passed_blocking()
