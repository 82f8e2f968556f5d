"""Windows of the calendar, blocks of leases, and which budgets a key has."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kagitori_server.model.budgets import (
    NO_BUDGETS,
    AccountBudgets,
    Budget,
    BudgetLimit,
    BudgetWindow,
    OnExceed,
    block_size,
    window_bounds,
)

KEY = "arn:aws:kms:us-east-1:000000000000:key/1"
LENGTHS = {
    BudgetWindow.SECOND: (1, 1), BudgetWindow.MINUTE: (60, 60), BudgetWindow.HOUR: (3_600, 3_600),
    BudgetWindow.DAY: (86_400, 86_400), BudgetWindow.MONTH: (28 * 86_400, 31 * 86_400),
}


def _moment(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("window", "moment", "begin", "end"),
    [
        ("SECOND", "2026-11-24T10:00:00.999", "2026-11-24T10:00:00", "2026-11-24T10:00:01"),
        ("MINUTE", "2026-11-24T10:59:59.5", "2026-11-24T10:59:00", "2026-11-24T11:00:00"),
        ("HOUR", "2026-11-24T10:00:00", "2026-11-24T10:00:00", "2026-11-24T11:00:00"),
        ("DAY", "2026-12-31T23:59:59.9", "2026-12-31T00:00:00", "2027-01-01T00:00:00"),
        ("MONTH", "2026-12-31T23:59:59.9", "2026-12-01T00:00:00", "2027-01-01T00:00:00"),
        ("MONTH", "2028-02-29T12:00:00", "2028-02-01T00:00:00", "2028-03-01T00:00:00"),
        ("MONTH", "2026-11-01T00:00:00", "2026-11-01T00:00:00", "2026-12-01T00:00:00"),
    ],
)
def test_windows_of_the_calendar(window: str, moment: str, begin: str, end: str) -> None:
    assert window_bounds(BudgetWindow(window), _moment(moment)) == (_moment(begin), _moment(end))


@given(window=st.sampled_from(BudgetWindow), now=st.floats(0, 4_000_000_000))
def test_windows_lie_side_by_side(window: BudgetWindow, now: float) -> None:
    begin, end = window_bounds(window, now)
    shortest, longest = LENGTHS[window]
    assert begin <= now < end
    assert shortest <= end - begin <= longest
    assert window_bounds(window, end)[0] == end
    assert window_bounds(window, float(begin)) == (begin, end)


@given(window=st.sampled_from(BudgetWindow), remaining=st.integers(1, 10**12))
def test_blocks_are_a_small_part_of_what_remains(window: BudgetWindow, remaining: int) -> None:
    block = block_size(window, remaining)
    assert 1 <= block <= max(1, remaining // (2 if window is BudgetWindow.SECOND else 16))
    assert block <= 10_000


def _budget(key_arn: str, principal_arn: str = "*", **terms: object) -> Budget:
    values: dict[str, object] = {
        "account": "000000000000", "budget_id": key_arn, "name": "b", "arn": "", "key_arn": key_arn,
        "principal_arn": principal_arn, "context_key": None, "context_value": None, "operations": (),
        "limits": (BudgetLimit(BudgetWindow.DAY, 1),), "on_exceed": OnExceed.REFUSE, "created": 0.0, "updated": 0.0,
        **terms,
    }
    return Budget(**values)  # type: ignore[arg-type]  # the types are those of the fields


def test_budgets_of_a_key() -> None:
    mine, every, other = _budget(KEY), _budget("*"), _budget(KEY + "2")
    held = AccountBudgets((mine, every, other), freezes=False)
    assert held.on(KEY) == (mine, every)
    assert held.on(KEY + "2") == (every, other)
    assert held.on(KEY + "3") == (every,)
    assert NO_BUDGETS.on(KEY) == ()


@pytest.mark.parametrize(
    ("terms", "value"),
    [
        ({}, ""),
        ({"principal_arn": "p"}, ""),
        ({"principal_arn": "P"}, None),
        ({"operations": ("Decrypt",)}, ""),
        ({"operations": ("Encrypt",)}, None),
        ({"context_key": "k"}, "v"),
        ({"context_key": "K"}, None),
        ({"context_key": "k", "context_value": "v"}, "v"),
        ({"context_key": "k", "context_value": "V"}, None),
        ({"context_key": "k", "context_value": ""}, None),
    ],
)
def test_what_a_use_is_counted_under(terms: dict[str, object], value: str | None) -> None:
    assert _budget(KEY, **terms).counted_value("Decrypt", KEY, "p", {"k": "v"}) == value  # type: ignore[arg-type]
    assert _budget(KEY, **terms).counted_value("Decrypt", KEY + "2", "p", {"k": "v"}) is None  # type: ignore[arg-type]
