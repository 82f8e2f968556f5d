"""The cache of opened keys: bounds, second chance, drops and closing."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from kagitori_keystore.cache import HandleCache


def filled(capacity: int, *keys: str) -> HandleCache[str, int]:
    cache: HandleCache[str, int] = HandleCache(capacity)
    for value, key in enumerate(keys):
        cache.put(key, value, cache.drops)
    return cache


def test_keeps_at_most_its_capacity() -> None:
    """Unused entries go oldest first."""
    cache = filled(3, "a", "b", "c", "d", "e")
    assert len(cache) == 3
    assert [cache.get(key) for key in "abcde"] == [None, None, 2, 3, 4]


def test_used_entries_get_a_second_chance() -> None:
    """An entry that was hit outlives younger ones that were not; once."""
    cache = filled(3, "a", "b", "c")
    assert cache.get("a") == 0
    cache.put("d", 3, cache.drops)
    assert [cache.get(key) for key in "abcd"] == [0, None, 2, 3]


def test_all_used_still_evicts() -> None:
    """When everything was used, something goes all the same."""
    cache = filled(3, "a", "b", "c")
    for key in "abc":
        cache.get(key)
    cache.put("d", 3, cache.drops)
    assert len(cache) == 3
    assert cache.get("d") == 3


def test_replacing_keeps_the_size() -> None:
    """The same key twice is one entry, with the later value."""
    cache = filled(2, "a", "a", "b")
    assert (len(cache), cache.get("a"), cache.get("b")) == (2, 1, 2)


def test_a_drop_outruns_an_opening_in_progress() -> None:
    """What was being opened while something was dropped is not put back."""
    cache = filled(2, "a")
    seen = cache.drops
    cache.drop("a")
    cache.put("a", 9, seen)
    assert cache.get("a") is None
    cache.put("a", 9, cache.drops)
    assert cache.get("a") == 9


def test_dropping_what_is_not_there() -> None:
    """No error."""
    cache = filled(2, "a")
    cache.drop("b")
    assert cache.get("a") == 0


def test_closed_stays_empty() -> None:
    """After `close` nothing is found and nothing is kept."""
    cache = filled(2, "a")
    cache.close()
    cache.put("b", 1, cache.drops)
    assert (len(cache), cache.get("a"), cache.get("b")) == (0, None, None)


def test_capacity_is_checked() -> None:
    """A cache without room is a mistake of the configuration."""
    with pytest.raises(ValueError, match="at least one"):
        HandleCache(0)


def test_threads_share_it() -> None:
    """Concurrent hits, puts and drops neither fail nor exceed the capacity nor mix up values."""
    cache: HandleCache[int, int] = HandleCache(16)

    def work(worker: int) -> None:
        for turn in range(3000):
            key = (worker * 31 + turn * 7) % 64
            found = cache.get(key)
            assert found is None or found == key
            if found is None:
                cache.put(key, key, cache.drops)
            elif turn % 5 == 0:
                cache.drop(key)
            assert len(cache) <= 16

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
