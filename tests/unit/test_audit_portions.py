"""The trail forwards: what came since, everything of a period; nothing missed, nothing twice."""

from __future__ import annotations

import random
import threading
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from uuid import UUID

import pytest

from kagitori_server.audit import portions as reading
from kagitori_server.audit.asked import LookupQuery
from kagitori_server.audit.identity import IdentityType, render_identity
from kagitori_server.audit.indexing import Indexer, Indexes
from kagitori_server.audit.lookup import lookup_events
from kagitori_server.audit.matching import LookupKey
from kagitori_server.audit.portions import Follower, Following, Portion
from kagitori_server.audit.record import CallFacts, render_record
from kagitori_server.audit.trail import Trail, TrailLimits, open_trail
from kagitori_server.model.errors import ValidationException

ACCOUNT = "111122223333"
START = 1_700_000_000
IDENTITY = render_identity(
    IdentityType.ROOT, principal_id=ACCOUNT, arn=f"arn:aws:iam::{ACCOUNT}:root", account_id=ACCOUNT
)


def record(
    number: int, name: str = "Encrypt", moment: float | None = None, context: dict[str, str] | None = None
) -> bytes:
    return render_record(CallFacts(
        event_id=str(UUID(int=number)), request_id=f"r-{number}",
        event_time=START + number if moment is None else moment, event_name=name, region="us-east-1",
        user_identity=IDENTITY, source_ip="192.0.2.7", user_agent="test", read_only=True, recipient_account=ACCOUNT,
        request_parameters={"encryption_context": context or {"pad": "x" * 300}},
    ))


@pytest.fixture
def trails(tmp_path: Path) -> Iterator[list[Trail]]:
    opened = [open_trail(tmp_path, limits=TrailLimits(segment_bytes=10_000)) for _ in range(2)]
    yield opened
    for trail in opened:
        trail.close()


@pytest.fixture
def follower(tmp_path: Path, trails: list[Trail]) -> Follower:
    return Follower(tmp_path, trails[0].position, None, lambda: None)


ALL = LookupQuery(ACCOUNT)
TAIL = Following(ALL, from_now=True)


def portions(follower: Follower, asked: Following) -> list[Portion]:
    return list(follower.portions(asked, lambda: False))


def numbers(found: list[Portion]) -> list[int]:
    return [UUID(event.event_id).int for portion in found for event in portion.events]


def after(asked: Following, found: list[Portion]) -> Following:
    return replace(asked, query=replace(asked.query, next_token=found[-1].resume_token))


def test_a_tail_begins_now_and_goes_on_behind_each_answer(follower: Follower, trails: list[Trail]) -> None:
    """Records of several chains, in the order of their times; also of chains that come later."""
    for number in range(10):
        trails[number % 2].append_blocking(record(number))
    first = portions(follower, TAIL)
    assert (numbers(first), first[-1].complete) == ([], True)
    asked = after(TAIL, first)
    assert numbers(portions(follower, asked)) == []
    for number in range(10, 300):
        trails[number % 2].append_blocking(record(number))
    third = open_trail(follower._root)
    third.append_blocking(record(300))
    found = portions(follower, asked)
    assert numbers(found) == list(range(10, 301))
    assert max(len(portion.events) for portion in found) <= reading.MOST_EVENTS
    # A reader that lost its connection goes on behind any portion.
    for place, portion in enumerate(found):
        again = portions(follower, replace(asked, query=replace(ALL, next_token=portion.resume_token)))
        assert numbers(again) == numbers(found[place + 1 :])
    third.close()


def test_a_backlog_comes_first(follower: Follower, trails: list[Trail]) -> None:
    for number in range(250):
        trails[number % 2].append_blocking(record(number, "Decrypt" if number % 5 else "Sign"))
    assert numbers(portions(follower, replace(TAIL, backlog=120))) == list(range(130, 250))
    signs = replace(TAIL, query=replace(ALL, filters=((LookupKey.EVENT_NAME, "Sign"),)), backlog=3)
    found = portions(follower, signs)
    assert numbers(found) == [235, 240, 245]
    trails[0].append_blocking(record(250, "Sign"))
    trails[1].append_blocking(record(251, "Decrypt"))
    assert numbers(portions(follower, after(signs, found))) == [250]
    assert numbers(portions(follower, replace(TAIL, backlog=2, request_id="r-250"))) == [249, 251]


def test_a_backlog_that_is_looked_for_long_says_that_it_goes_on(
    follower: Follower, trails: list[Trail], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who waits gives up a stream that says nothing for a minute."""
    monkeypatch.setattr(reading, "lookup_events", partial(lookup_events, scan_bytes=20_000))
    for number in range(250):
        trails[0].append_blocking(record(number, "Sign" if number in (3, 240) else "Decrypt"))
    found = portions(follower, replace(TAIL, query=replace(ALL, filters=((LookupKey.EVENT_NAME, "Sign"),)), backlog=2))
    assert numbers(found) == [3, 240]
    assert sum(not portion.events for portion in found[:-1]) >= 5
    assert [portion.complete for portion in found] == [False] * (len(found) - 1) + [True]
    assert len({portion.resume_token for portion in found}) == 1


def test_a_long_backlog_is_not_held_in_memory(follower: Follower, trails: list[Trail]) -> None:
    """However long its records are: a page of it at a time."""
    for number in range(1, 241):
        trails[number % 2].append_blocking(record(number, context={"pad": "x" * 100_000}))
    seen: list[int] = []
    tracemalloc.start()
    try:
        for portion in follower.portions(replace(TAIL, backlog=230), lambda: False):
            seen += numbers([portion])
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert seen == list(range(11, 241))
    # All of it is 23 MB, a page 5.
    assert most < 14_000_000


def test_a_backlog_whose_reader_went_away_ends(follower: Follower, trails: list[Trail]) -> None:
    for number in range(300):
        trails[number % 2].append_blocking(record(number))
    stops = iter([False] * 7 + [True] * 9)
    found = list(follower.portions(replace(TAIL, backlog=300), lambda: next(stops)))
    assert 0 < len(numbers(found)) < 150


def test_nothing_is_missed_or_doubled_while_writers_append(follower: Follower, trails: list[Trail]) -> None:
    asked = after(TAIL, portions(follower, TAIL))
    counter = iter(range(10**6))
    lock = threading.Lock()

    def write(trail: Trail) -> None:
        for _ in range(200):
            with lock:
                number = next(counter)
            trail.append_blocking(record(number))

    threads = [threading.Thread(target=write, args=(trail,)) for trail in trails]
    for thread in threads:
        thread.start()
    seen: list[int] = []
    while any(thread.is_alive() for thread in threads):
        found = portions(follower, asked)
        seen += numbers(found)
        asked = after(asked, found)
    seen += numbers(portions(follower, asked))
    assert sorted(seen) == list(range(400))


def test_what_is_not_durable_is_not_given(tmp_path: Path, trails: list[Trail]) -> None:
    """The lines of a batch that was refused stand in the file until the chain is mended."""
    for number in range(3):
        trails[0].append_blocking(record(number))
    behind = trails[0].position()
    trails[0].append_blocking(record(3))
    follower = Follower(tmp_path, lambda: behind, None, lambda: None)
    found = portions(follower, Following(ALL))
    assert numbers(found) == [0, 1, 2]
    now = Follower(tmp_path, trails[0].position, None, lambda: None)
    assert numbers(portions(now, after(Following(ALL), found))) == [3]


def test_an_export_is_everything_of_a_period(tmp_path: Path, follower: Follower, trails: list[Trail]) -> None:
    """With an index, what is before the period is not read; clocks that were set back hide nothing."""
    chance = random.Random(3)
    moments = []
    moment = START
    for number in range(300):
        moment += chance.choice((0, 1, 10, -2_000 if number in (120, 200) else 1))
        moments.append(moment)
        chance.choice(trails).append_blocking(record(number, moment=moment))
    indexes = Indexes(tmp_path)
    for trail in trails:
        Indexer(tmp_path, trail, indexes, lambda: None, sealed_lines=40).run_once()
    indexed = Follower(tmp_path, trails[0].position, indexes, lambda: None)
    assert sorted(numbers(portions(follower, Following(ALL)))) == list(range(300))
    for _ in range(30):
        start, end = sorted(chance.choice(moments) for _ in range(2))
        expected = [number for number in range(300) if start <= moments[number] <= end]
        asked = Following(replace(ALL, start_time=start, end_time=end))
        found = portions(follower, asked)
        assert sorted(numbers(found)) == expected
        assert numbers(portions(indexed, asked)) == numbers(found)


def test_a_stream_that_nobody_wants_ends(follower: Follower, trails: list[Trail]) -> None:
    for number in range(250):
        trails[0].append_blocking(record(number))
    assert len(list(follower.portions(Following(ALL), lambda: True))) < 2


def test_tokens_go_with_what_they_came_of(follower: Follower, trails: list[Trail]) -> None:
    trails[0].append_blocking(record(0))
    token = portions(follower, TAIL)[-1].resume_token
    exported = portions(follower, Following(ALL))[-1].resume_token
    for asked in (
        Following(replace(ALL, next_token=token)), replace(TAIL, query=replace(ALL, next_token=exported)),
        replace(TAIL, query=replace(ALL, next_token=token, filters=((LookupKey.EVENT_NAME, "Sign"),))),
        replace(TAIL, query=LookupQuery("444455556666", next_token=token)),
        replace(TAIL, query=replace(ALL, next_token="x")),
        Following(replace(ALL, start_time=2.0, end_time=1.0)),
    ):
        with pytest.raises(ValidationException):
            follower.check(asked)


def test_a_backlog_of_long_records_comes_in_messages_that_clients_take(
    follower: Follower, trails: list[Trail]
) -> None:
    for number in range(1, 13):
        trails[0].append_blocking(record(number, context={"pad": "x" * 60_000}))
    *backlog, _ = portions(follower, replace(TAIL, backlog=12))
    assert numbers(backlog) == list(range(1, 13))
    assert all(
        sum(len(event.cloud_trail_event) for event in each.events) < reading.MOST_BYTES + 70_000 for each in backlog
    )


def test_nobody_hides_a_record_by_naming_the_request_that_asks(follower: Follower, trails: list[Trail]) -> None:
    trails[0].append_blocking(record(1, context={"requestID": "r-2"}))
    trails[0].append_blocking(record(2, "TailEvents"))
    assert numbers(portions(follower, replace(TAIL, backlog=5, request_id="r-2"))) == [1]
