"""When the trail's writer takes it that many are calling."""

from __future__ import annotations

from kagitori_server.audit.crowd import Crowd

RATE = 1_000.0


class Ticks:
    """A clock that moves when told."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def _after(writes: int, seconds: float, *, appends: int, shared: bool) -> Crowd:
    clock = Ticks()
    crowd = Crowd(RATE, clock)
    for _ in range(writes):
        clock.now += seconds
        crowd.written(appends, shared=shared)
    return crowd


def test_nobody_is_no_crowd() -> None:
    assert not Crowd(RATE, Ticks()).present


def test_a_lone_caller_is_no_crowd_however_fast() -> None:
    assert not _after(1_000, 0.0001, appends=1, shared=False).present


def test_slow_callers_are_no_crowd_even_if_they_meet() -> None:
    assert not _after(1_000, 0.1, appends=2, shared=True).present


def test_many_fast_callers_are_one() -> None:
    assert _after(100, 0.001, appends=4, shared=True).present


def test_it_takes_more_than_one_write_to_see_it() -> None:
    assert not _after(2, 0.001, appends=4, shared=True).present


def test_a_crowd_that_leaves_is_forgotten() -> None:
    clock = Ticks()
    crowd = Crowd(RATE, clock)
    for _ in range(100):
        clock.now += 0.001
        crowd.written(4, shared=True)
    assert crowd.present
    for _ in range(30):
        clock.now += 0.001
        crowd.written(1, shared=False)
    assert not crowd.present
