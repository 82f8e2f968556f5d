"""Budgets, counts and freezes in the catalog, over both databases; and that no interleaving allows too much."""

from __future__ import annotations

import itertools
import threading
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.catalogs import ACCOUNT, OTHER_ACCOUNT, REGION, Place, a_key, a_root
from tests.support.inprocess import FakeClock
from tests.support.made_catalogs import put_catalog

from kagitori_server.limiting.leases import Leases, Use
from kagitori_server.model import budgets as model
from kagitori_server.model.budgets import AccountBudgets, Budget, BudgetLimit, BudgetWindow, Freeze, OnExceed
from kagitori_server.model.errors import NoSuchEntityException, ThrottlingException
from kagitori_server.model.keys import Key
from kagitori_server.model.principals import Account
from kagitori_server.storage import Catalog, budget_writes, schema
from kagitori_server.storage.budget_writes import Leased
from kagitori_server.storage.view import NotLoaded
from kagitori_server.storage.writer import Writer

pytest_plugins = ["tests.support.catalog_fixtures"]

NOON = 1_790_000_000.0
DAY, SECOND, MONTH = BudgetWindow.DAY, BudgetWindow.SECOND, BudgetWindow.MONTH
HOLDER = ("key", "principal")


def a_budget(number: int = 1, *, limits: tuple[tuple[BudgetWindow, int], ...] = ((DAY, 100),), **terms: Any) -> Budget:
    values: dict[str, Any] = {
        "account": ACCOUNT, "budget_id": f"budget-{number:04}", "name": f"b{number}", "arn": f"arn:b{number}",
        "key_arn": a_key().arn, "principal_arn": "*", "context_key": None, "context_value": None, "operations": (),
        "limits": tuple(BudgetLimit(window, count) for window, count in limits), "on_exceed": OnExceed.REFUSE,
        "created": 1.5, "updated": 2.5, **terms,
    }
    return Budget(**values)


def a_freeze(budget: Budget, number: int = 1, principal: str = "p") -> Freeze:
    key = a_key()
    return Freeze(
        freeze_id=f"frz-{number}", account=ACCOUNT, region=REGION, key_id=key.key_id, key_arn=key.arn,
        principal_arn=principal, budget_id=budget.budget_id, budget_name=budget.name, limit=budget.limits[0],
        created=9.5,
    )


def with_budget(place: Place, *budgets: Budget) -> Catalog:
    catalog = place.with_account()
    with catalog.write() as writer:
        writer.insert_key(a_key())
        for budget in budgets:
            writer.put_budget(budget)
    return catalog


def lease(catalog: Catalog, budget: Budget, now: float, wanted: int = 1, value: str = "") -> Leased:
    """Of the first limit."""
    window = budget.limits[0].window
    with catalog.write() as writer:
        made = writer.lease_uses(budget, HOLDER, value, {window: wanted}, now)
    assert made is not None
    return made.uses[window]


def test_a_budget_comes_back_as_it_was(place: Place) -> None:
    first = a_budget(
        1, limits=((MONTH, 10**12), (SECOND, 1)), context_key="鍵", context_value="", operations=("Decrypt", "Encrypt"),
        on_exceed=OnExceed.FREEZE, revision=7,
    )
    second = a_budget(2, key_arn="*")
    catalog = with_budget(place, second, first)
    with catalog.read() as reader:
        assert reader.find_budget(ACCOUNT, "b1") == first
        assert reader.list_budgets(ACCOUNT) == [first, second]
        assert reader.list_budgets(ACCOUNT, "b1") == [second]
        assert reader.list_budgets(ACCOUNT, limit=1) == [first]
        assert reader.count_budgets(ACCOUNT) == 2
        held = reader.account_budgets(ACCOUNT)
        assert isinstance(held, AccountBudgets)
        assert (held.budgets, held.freezes) == ((first, second), False)
        assert reader.account_budgets("1" * 12) is None
    with catalog.write() as writer:
        writer.put_budget(replace(first, principal_arn="p", revision=8))
        writer.delete_budget(second)
        with pytest.raises(NoSuchEntityException):
            writer.delete_budget(second)
    with catalog.read() as reader:
        assert [budget.principal_arn for budget in reader.list_budgets(ACCOUNT)] == ["p"]


def test_a_view_learns_of_budgets_and_freezes(place: Place) -> None:
    """In every process, before its next call."""
    budget = a_budget()
    here = with_budget(place)
    there = place.open()
    assert there.view.budgets(ACCOUNT).budgets == ()
    assert there.view.freeze(REGION, a_key().key_id, "p") is None
    with here.write() as writer:
        writer.put_budget(budget)
    there.view.prove_blocking()
    assert there.view.budgets(ACCOUNT).budgets == (budget,)
    freeze = a_freeze(budget)
    with here.write() as writer:
        assert writer.insert_freeze(freeze)
        assert not writer.insert_freeze(replace(freeze, freeze_id="frz-2"))
    there.view.prove_blocking()
    assert there.view.budgets(ACCOUNT).freezes
    assert there.view.freeze(REGION, a_key().key_id, "p") == freeze
    with here.write() as writer:
        writer.lift_freeze(freeze)
        with pytest.raises(NoSuchEntityException):
            writer.lift_freeze(freeze)
    there.view.prove_blocking()
    assert there.view.freeze(REGION, a_key().key_id, "p") is None
    [lifted] = there.view.budgets(ACCOUNT).budgets
    assert lifted == replace(budget, revision=budget.revision + 1)


def test_freezes_of_an_account(place: Place) -> None:
    budget = a_budget()
    catalog = with_budget(place, budget)
    made = [a_freeze(budget, number, f"p{number}") for number in range(1, 4)]
    with catalog.write() as writer:
        for freeze in made:
            writer.insert_freeze(freeze)
        writer.delete_budget(budget)
    with catalog.read() as reader:
        assert reader.list_freezes(ACCOUNT) == made
        assert reader.list_freezes(ACCOUNT, "frz-1", 1) == made[1:2]
        assert reader.get_freeze("frz-2") == made[1]
        held = reader.account_budgets(ACCOUNT)
        assert held is not None
        assert held.freezes
    with catalog.write() as writer:
        writer.delete_key(REGION, a_key().key_id)
    with catalog.read() as reader:
        assert reader.list_freezes(ACCOUNT) == []


def test_leases_shrink_and_end_with_the_limit(place: Place) -> None:
    budget = a_budget(limits=((DAY, 200),))
    catalog = with_budget(place, budget)
    taken = []
    while (leased := lease(catalog, budget, NOON)).count:
        taken.append(leased.count)
        assert leased.spent is (sum(taken) == 200)
    assert sum(taken) == 200
    assert taken == sorted(taken, reverse=True)
    assert taken[0] == 12
    _, end = model.window_bounds(DAY, NOON)
    assert lease(catalog, budget, end - 0.001) == Leased(end, 0, spent=True)
    assert lease(catalog, budget, float(end)).count == 12


def test_a_lease_is_as_large_as_wanted_or_all_there_is(place: Place) -> None:
    budget = a_budget(limits=((DAY, 100),))
    catalog = with_budget(place, budget)
    assert lease(catalog, budget, NOON, wanted=98).count == 98
    assert lease(catalog, budget, NOON, wanted=5) == Leased(model.window_bounds(DAY, NOON)[1], 2, spent=True)


def test_a_process_whose_clock_is_behind_counts_where_the_others_do(place: Place) -> None:
    """Else it would count a window anew that is over for everybody else, and then the new one again."""
    budget = a_budget(limits=((SECOND, 4),))
    catalog = with_budget(place, budget)
    assert lease(catalog, budget, NOON + 1, wanted=3) == Leased(int(NOON) + 2, 3, spent=False)
    assert lease(catalog, budget, NOON, wanted=3) == Leased(int(NOON) + 2, 1, spent=True)
    assert lease(catalog, budget, NOON + 1.5).count == 0
    assert lease(catalog, budget, NOON + 2).count == 2


def test_nothing_is_leased_of_a_budget_that_was_changed(place: Place) -> None:
    budget = a_budget()
    catalog = with_budget(place, budget)
    with catalog.write() as writer:
        writer.put_budget(replace(budget, revision=2))
    with catalog.write() as writer:
        assert writer.lease_uses(budget, HOLDER, "", {DAY: 1}, NOON) is None
        assert writer.lease_uses(a_budget(9), HOLDER, "", {DAY: 1}, NOON) is None


def test_too_many_values_are_counted_together(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """New ones; those known keep their own count. When values have had their time, there is room again."""
    monkeypatch.setattr(budget_writes, "VALUES_PER_HOLDER", 3)
    budget = a_budget(limits=((DAY, 2),), context_key="k")
    catalog = with_budget(place, budget)
    for value in "abc":
        assert lease(catalog, budget, NOON, value=value).count == 1
    with catalog.write() as writer:
        made = writer.lease_uses(budget, HOLDER, "d", {DAY: 1}, NOON)
        assert made is not None
        assert made.crowded
    assert lease(catalog, budget, NOON, value="e") == replace(made.uses[DAY], spent=True)
    assert lease(catalog, budget, NOON, value="f").count == 0
    assert lease(catalog, budget, NOON, value="a").count == 1
    with catalog.write() as writer:
        made = writer.lease_uses(budget, HOLDER, "g", {DAY: 1}, NOON + 2 * 86_400)
        assert made is not None
        assert not made.crowded


def test_old_counts_are_swept(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    budget = a_budget(limits=((SECOND, 9),), context_key="k")
    catalog = with_budget(place, budget)
    for value in "abc":
        lease(catalog, budget, NOON, value=value)
    monkeypatch.setattr(budget_writes, "_SWEEP_EVERY", 1)
    lease(catalog, budget, NOON + 86_400, value="d")
    assert _counts(catalog) == 4
    lease(catalog, budget, NOON + 86_402, value="d")
    assert _counts(catalog) == 1


def _counts(catalog: Catalog) -> int:
    with catalog.read() as reader:
        return reader._count(schema.budget_counts)


def test_an_account_takes_its_budgets_with_it(place: Place) -> None:
    catalog = place.with_account()
    account = OTHER_ACCOUNT
    with catalog.write() as writer:
        writer.insert_account(Account(account, "x", 1.0), a_root(account))
        writer.put_budget(a_budget(1, account=account))
    with catalog.write() as writer:
        writer.delete_account(account)
        assert writer.list_budgets(account) == []


# --- what processes give away ------------------------------------------------------------------------------------


class NoNews:
    """Freezes without a trail."""

    def announce(self, _writer: Writer, _freeze: Freeze, _key: Key) -> NoNews:
        """Says nothing."""
        return self

    def bring(self) -> None:
        """Says nothing."""


class Process:
    """What one process gives away; `take` is a call."""

    def __init__(self, catalog: Catalog, clock: FakeClock) -> None:
        self.catalog = catalog
        ids = itertools.count()
        self._leases = Leases(catalog, clock, lambda: f"{next(ids):08}", NoNews())

    def take(self, value: str = "", number: int = 1, principal: str = "p") -> bool:
        """Whether a call passes that uses the key so often."""
        key = a_key()
        while True:
            self.catalog.view.prove_blocking()
            if self.catalog.view.freeze(REGION, key.key_id, principal) is not None:
                return False
            uses = [
                Use(budget, key, principal, value)
                for budget in self.catalog.view.budgets(ACCOUNT).on(key.arn) for _ in range(number)
            ]
            try:
                self.counted = self._leases.count(uses)
            except NotLoaded as missing:
                missing.load()
            except ThrottlingException:
                return False
            else:
                return True

    def give_back(self) -> None:
        """The last call came to nothing."""
        self._leases.give_back(self.counted)


def test_most_calls_are_counted_in_memory(place: Place) -> None:
    budget = a_budget(limits=((DAY, 1000),))
    process = Process(with_budget(place, budget), FakeClock(NOON))
    before = process.catalog.view.version
    assert all(process.take() for _ in range(100))
    assert process.catalog.view.version - before <= 3


def test_what_is_given_back_is_used_by_the_next(place: Place) -> None:
    process = Process(with_budget(place, a_budget(limits=((DAY, 3),))), FakeClock(NOON))
    for _ in range(10):
        assert process.take()
        process.give_back()
    assert [process.take() for _ in range(4)] == [True, True, True, False]


def test_what_is_given_back_late_is_no_use_in_the_next_window(place: Place) -> None:
    clock = FakeClock(NOON)
    process = Process(with_budget(place, a_budget(limits=((SECOND, 2),))), clock)
    assert process.take()
    old = process.counted
    clock.advance(1)
    assert process.take()
    process._leases.give_back(old)
    assert [process.take() for _ in range(2)] == [True, False]


def test_values_beyond_the_bound_cost_no_transaction_each(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budget_writes, "VALUES_PER_HOLDER", 2)
    budget = a_budget(limits=((DAY, 1000),), context_key="k")
    process = Process(with_budget(place, budget), FakeClock(NOON))
    assert process.take("a")
    assert process.take("b")
    before = process.catalog.view.version
    assert all(process.take(f"new-{number}") for number in range(60))
    assert process.catalog.view.version - before <= 3


def test_a_freeze_is_in_force_everywhere_at_once(place: Place) -> None:
    """Also where permits of an earlier lease are left."""
    catalog = with_budget(place, a_budget(limits=((DAY, 40),), on_exceed=OnExceed.FREEZE))
    clock = FakeClock(NOON)
    one, two = Process(catalog, clock), Process(place.open(), clock)
    assert one.take()
    while two.take():
        pass
    assert not one.take()
    assert one.take(principal="other")
    [freeze] = _freezes(catalog)
    assert freeze.principal_arn == "p"
    with two.catalog.write() as writer:
        writer.lift_freeze(freeze)
    passed = sum(process.take() for _ in range(50) for process in (one, two))
    assert passed <= 40


def _freezes(catalog: Catalog) -> list[Freeze]:
    with catalog.read() as reader:
        return reader.list_freezes(ACCOUNT)


_STEPS = st.lists(
    st.tuples(
        st.sampled_from(["take", "take", "take", "take many", "fail", "restart", "tick", "skew"]), st.integers(0, 2)
    ),
    max_size=80,
)


@settings(max_examples=40, deadline=None)
@given(steps=_STEPS, second=st.integers(1, 6), day=st.integers(1, 40))
def test_no_interleaving_allows_more_than_the_limits(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int]], second: int, day: int
) -> None:
    """Three processes that take, fail, die and have clocks that differ by less than a window: for every window, what
    they allowed by their own clocks is never more than its limit, whatever the order."""
    path = tmp_path_factory.mktemp("leases") / "catalog.db"
    put_catalog(path)
    place = Place("sqlite", str(path))
    try:
        _interleave(place, steps, second, day)
    finally:
        place.close()


def _interleave(place: Place, steps: list[tuple[str, int]], second: int, day: int) -> None:
    limits = {DAY: day, SECOND: second}
    catalog = with_budget(place, a_budget(limits=tuple(limits.items())))
    clocks = [FakeClock(NOON) for _ in range(3)]
    processes = [Process(catalog, clock) for clock in clocks]
    allowed: dict[BudgetWindow, dict[int, int]] = {DAY: {}, SECOND: {}}
    for step, which in steps:
        if step == "restart":
            processes[which] = Process(catalog, clocks[which])
        elif step == "tick":
            for clock in clocks:
                clock.advance(0.5)
        elif step == "skew":
            clocks[which].advance(0.3)
        else:
            number = 3 if step == "take many" else 1
            if not processes[which].take(number=number):
                continue
            if step == "fail":
                processes[which].give_back()
                continue
            for window, counts in allowed.items():
                end = _counted_in(processes[which], window)
                counts[end] = counts.get(end, 0) + number
    for window, counts in allowed.items():
        assert all(count <= limits[window] for count in counts.values()), (window, counts)


def _counted_in(process: Process, window: BudgetWindow) -> int:
    """The window that the process counted its last call in: that of its clock, or of one that is before it."""
    ends = {int(end) for counted, end in process.counted.windows if counted.limit.window is window}
    assert len(ends) == 1
    return ends.pop()


def test_threads_of_several_processes_share_a_limit_to_the_last_use(place: Place) -> None:
    """Everybody goes on until refused: all of the limit is used, and no more."""
    catalog = with_budget(place, a_budget(limits=((DAY, 300), (MONTH, 1000))))
    clock = FakeClock(NOON)
    processes = [Process(catalog, clock), Process(place.open(), clock)]
    passed: list[int] = []

    def use_up(process: Process) -> None:
        count = 0
        while process.take():
            count += 1
        passed.append(count)

    threads = [threading.Thread(target=use_up, args=(process,)) for process in processes * 3]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(passed) == 6
    assert sum(passed) == 300
