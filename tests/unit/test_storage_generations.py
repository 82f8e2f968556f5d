"""The cache of the view: bounded, without stale entries, absent ones apart."""

from __future__ import annotations

import threading

from kagitori_server.storage.generations import MISSING, Generations, Records


def test_what_is_used_stays_and_the_rest_goes() -> None:
    cache: Generations[int, int] = Generations(10)
    for number in range(1_000):
        cache.put(number, number)
        assert len(cache) <= 10
        assert cache.get(number) == number
        if number:
            assert cache.get(0) in {0, MISSING} if number < 3 else True
    assert cache.get(0) is MISSING
    cache.put(-1, -1)
    for number in range(1_000):
        cache.put(number, number)
        assert cache.get(-1) == -1


def test_a_bound_of_one_holds_at_least_one() -> None:
    cache: Generations[int, int] = Generations(1)
    cache.put(1, 1)
    assert cache.get(1) == 1
    cache.put(2, 2)
    assert cache.get(2) == 2
    assert len(cache) <= 2


def test_dropped_entries_are_gone_from_both_generations() -> None:
    cache: Generations[int, int] = Generations(4)
    for number in range(4):
        cache.put(number, number)
    for number in range(4):
        cache.drop(number)
        assert cache.get(number) is MISSING
    cache.drop(99)
    cache.put(1, 1)
    cache.clear()
    assert cache.get(1) is MISSING


def test_a_drop_wins_over_a_lookup_beside_it() -> None:
    """Lookups move entries between the generations; a dropped one must never come back by that."""
    cache: Generations[int, int] = Generations(8)
    stop = threading.Event()

    def look() -> None:
        while not stop.is_set():
            for number in range(8):
                cache.get(number)

    lookers = [threading.Thread(target=look) for _ in range(2)]
    for looker in lookers:
        looker.start()
    try:
        for _ in range(3_000):
            for number in range(6):
                cache.put(number, number)
            for number in range(6):
                cache.drop(number)
                assert cache.get(number) is MISSING
    finally:
        stop.set()
        for looker in lookers:
            looker.join()
    assert len(cache) == 0


def load(records: Records[str, int], key: str, value: int | None) -> bool:
    return records.finish(key, records.begin(key), value)


def test_present_and_absent_records_are_told_apart() -> None:
    records: Records[str, int] = Records(10)
    assert records.get("a") is MISSING
    assert load(records, "a", None)
    assert records.get("a") is None
    records.drop("a")
    assert records.get("a") is MISSING
    assert load(records, "a", 1)
    assert records.get("a") == 1
    for number in range(1_000):
        assert load(records, f"none {number}", None)
    assert records.get("a") == 1
    assert len(records) <= 11


def test_what_changed_in_flight_is_not_kept() -> None:
    records: Records[str, int] = Records(10)
    first, second = records.begin("a"), records.begin("a")
    other = records.begin("b")
    records.drop("a")
    third = records.begin("a")
    assert not records.finish("a", first, 1)
    assert records.get("a") is MISSING
    assert not records.finish("a", second, None)
    assert records.finish("a", third, 2)
    assert records.finish("b", other, 3)
    assert (records.get("a"), records.get("b")) == (2, 3)
    lost = records.begin("c")
    records.clear()
    assert not records.finish("c", lost, 4)
    assert records.get("a") is MISSING


def test_an_abandoned_flight_leaves_nothing_behind() -> None:
    records: Records[str, int] = Records(10)
    records.abandon("a", records.begin("a"))
    records.drop("a")
    assert records.get("a") is MISSING
    assert records._flights == {}
