"""Look-ups: order, filters, pages and tokens over several chains, also growing ones; recovery's question."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from uuid import UUID

import pytest

from kagitori_server.audit.backwards import chain_backwards, chain_end
from kagitori_server.audit.identity import IdentityType, SessionFacts, render_identity
from kagitori_server.audit.lookup import LookupPage, LookupQuery, contains, lookup_events
from kagitori_server.audit.matching import LookupEvent, LookupKey
from kagitori_server.audit.record import ADMIN_SOURCE, CallFacts, Resource, render_record
from kagitori_server.audit.trail import Trail, TrailLimits, open_trail
from kagitori_server.model.errors import ValidationException

ACCOUNT = "111122223333"
OTHER = "444455556666"
START = 1_700_000_000
KEY = f"arn:aws:kms:us-east-1:{ACCOUNT}:key/1234abcd"
ALICE = render_identity(
    IdentityType.IAM_USER,
    principal_id="AIDAEXAMPLE",
    arn=f"arn:aws:iam::{ACCOUNT}:user/team/alice",
    account_id=ACCOUNT,
    access_key_id="AKIAALICE",
    user_name="alice",
)
JOB = render_identity(
    IdentityType.ASSUMED_ROLE,
    principal_id="AROAEXAMPLE:job",
    arn=f"arn:aws:sts::{ACCOUNT}:assumed-role/app/job",
    account_id=ACCOUNT,
    access_key_id="ASIAJOB",
    session=SessionFacts("Role", "AROAEXAMPLE", f"arn:aws:iam::{ACCOUNT}:role/app", ACCOUNT, "app", START),
)
ROOT = render_identity(
    IdentityType.ROOT, principal_id=ACCOUNT, arn=f"arn:aws:iam::{ACCOUNT}:root", account_id=ACCOUNT
)


def event_id(number: int) -> str:
    return str(UUID(int=number))


def facts(number: int) -> CallFacts:
    """Call `number`, one each ten seconds from START."""
    return CallFacts(
        event_id=event_id(number),
        request_id=str(UUID(int=number + 2**64)),
        event_time=START + 10 * number,
        event_name="Encrypt",
        region="us-east-1",
        user_identity=ALICE,
        source_ip="192.0.2.7",
        user_agent="test",
        read_only=True,
        recipient_account=ACCOUNT,
        request_parameters={"key_id": "alias/app", "encryption_context": {"n": str(number)}},
        resources=(Resource(ACCOUNT, KEY),),
    )


@pytest.fixture
def trails(tmp_path: Path) -> Iterator[list[Trail]]:
    """Three chains whose segments hold some four records each."""
    opened = [open_trail(tmp_path, limits=TrailLimits(segment_bytes=4000)) for _ in range(3)]
    yield opened
    for trail in opened:
        trail.close()


@pytest.fixture
def log(tmp_path: Path, trails: list[Trail]) -> Path:
    """Sixty calls, dealt out to the chains in turn."""
    for number in range(60):
        trails[number % 3].append_blocking(render_record(facts(number)))
    return tmp_path


def ids(page: LookupPage) -> list[int]:
    return [UUID(event.event_id).int for event in page.events]


def all_pages(root: Path, query: LookupQuery, scan_bytes: int = 10**9) -> list[list[int]]:
    """The events of every page."""
    pages = []
    while True:
        page = lookup_events(root, query, scan_bytes)
        pages.append(ids(page))
        if page.next_token is None:
            return pages
        query = replace(query, next_token=page.next_token)
        assert len(pages) < 1000


def flat(pages: list[list[int]]) -> list[int]:
    return [number for page in pages for number in page]


EVERYTHING = LookupQuery(ACCOUNT)


def test_newest_first_over_all_chains(log: Path) -> None:
    pages = all_pages(log, EVERYTHING)
    assert flat(pages) == list(range(59, -1, -1))
    assert len(pages[0]) == 50


@pytest.mark.parametrize("size", [1, 7, 20, 50])
def test_pages_join_without_gap_or_repetition(log: Path, size: int) -> None:
    pages = all_pages(log, replace(EVERYTHING, max_results=size))
    assert flat(pages) == list(range(59, -1, -1))
    assert all(len(page) <= size for page in pages)


def test_an_event_has_cloudtrails_members(log: Path) -> None:
    event = lookup_events(log, EVERYTHING).events[0]
    assert event == LookupEvent(
        event_id=event_id(59),
        event_name="Encrypt",
        read_only="true",
        access_key_id="AKIAALICE",
        event_time=START + 590.0,
        event_source="kms.amazonaws.com",
        username="alice",
        resources=(("AWS::KMS::Key", KEY),),
        cloud_trail_event=render_record(facts(59)).decode(),
    )


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        (None, None, range(60)),
        (100, None, range(10, 60)),
        (None, 100, range(11)),
        (100, 200, range(10, 21)),
        (100.5, 109.5, range(10, 11)),
        (101, 109, range(0)),
        (590, 590, range(59, 60)),
        (10_000, None, range(0)),
    ],
)
def test_time_ranges_include_their_ends(
    log: Path, start: float | None, end: float | None, expected: range
) -> None:
    """To the second, as records keep no more."""
    query = replace(
        EVERYTHING,
        start_time=None if start is None else START + start,
        end_time=None if end is None else START + end,
    )
    assert flat(all_pages(log, query)) == list(reversed(expected))


@pytest.fixture
def mixed(tmp_path: Path, trails: list[Trail]) -> Path:
    """Calls that differ from each other, one for each thing to look up."""
    variants = [
        facts(0),
        replace(facts(1), event_name="CreateKey", read_only=False),
        replace(facts(2), user_identity=JOB),
        replace(facts(3), user_identity=ROOT),
        replace(facts(4), event_source=ADMIN_SOURCE, event_name="CreateUser", resources=()),
        replace(facts(5), resources=(Resource(ACCOUNT, KEY), Resource(ACCOUNT, KEY + "2"))),
        replace(facts(6), recipient_account=OTHER),
        # Says in its context what others say in their members.
        replace(
            facts(7),
            request_parameters={
                "encryption_context": {
                    "eventID": event_id(0),
                    "eventName": "CreateKey",
                    "ARN": KEY + "2",
                    "recipientAccountId": OTHER,
                    "accessKeyId": "ASIAJOB",
                    "eventSource": ADMIN_SOURCE,
                    "eventTime": "2001-01-01T00:00:00Z",
                    "j": "job",
                }
            },
        ),
        replace(facts(8), resources=(Resource(ACCOUNT, "arn:aws:iam::1:user/x", "AWS::IAM::User"),)),
    ]
    for number, variant in enumerate(variants):
        trails[number % 3].append_blocking(render_record(variant))
    return tmp_path


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        (LookupKey.EVENT_ID, event_id(0), [0]),
        (LookupKey.EVENT_ID, event_id(6), []),
        (LookupKey.EVENT_NAME, "CreateKey", [1]),
        (LookupKey.EVENT_NAME, "Create", []),
        (LookupKey.READ_ONLY, "false", [1]),
        (LookupKey.READ_ONLY, "true", [8, 7, 5, 4, 3, 2, 0]),
        (LookupKey.USERNAME, "job", [2]),
        (LookupKey.USERNAME, "root", [3]),
        (LookupKey.USERNAME, "alice", [8, 7, 5, 4, 1, 0]),
        (LookupKey.RESOURCE_NAME, KEY + "2", [5]),
        (LookupKey.RESOURCE_NAME, KEY, [7, 5, 3, 2, 1, 0]),
        (LookupKey.RESOURCE_TYPE, "AWS::IAM::User", [8]),
        (LookupKey.EVENT_SOURCE, ADMIN_SOURCE, [4]),
        (LookupKey.ACCESS_KEY_ID, "ASIAJOB", [2]),
        (LookupKey.ACCESS_KEY_ID, 'x"', []),
        (LookupKey.REGION, "us-east-1", [8, 7, 5, 4, 3, 2, 1, 0]),
        (LookupKey.REGION, "us-east", []),
    ],
)
def test_each_attribute_finds_its_records_only(
    mixed: Path, key: LookupKey, value: str, expected: list[int]
) -> None:
    """Also not those whose caller chose a context that looks like the value."""
    assert flat(all_pages(mixed, replace(EVERYTHING, attribute=(key, value)))) == expected


def test_accounts_see_their_own(mixed: Path) -> None:
    assert flat(all_pages(mixed, LookupQuery(OTHER))) == [6]
    assert flat(all_pages(mixed, LookupQuery("000000000000"))) == []
    assert flat(all_pages(mixed, LookupQuery(None))) == list(range(8, -1, -1))


def test_a_bounded_scan_answers_in_part_and_goes_on(log: Path) -> None:
    """A rare record behind many others is found over several calls, each of which reads a few lines."""
    query = replace(EVERYTHING, attribute=(LookupKey.EVENT_ID, event_id(3)))
    pages = all_pages(log, query, scan_bytes=3000)
    assert flat(pages) == [3]
    assert len(pages) > 10
    assert flat(all_pages(log, EVERYTHING, scan_bytes=5000)) == list(range(59, -1, -1))
    assert flat(all_pages(log, query, scan_bytes=1)) == [3]
    assert flat(all_pages(log, EVERYTHING, scan_bytes=1)) == list(range(59, -1, -1))


def test_look_up_while_writers_append(log: Path, trails: list[Trail]) -> None:
    """Pages begun before stay as they were; a new look-up sees what came."""
    stop = threading.Event()

    def write(trail: Trail) -> None:
        number = 100
        while not stop.is_set():
            trail.append_blocking(render_record(facts(number)))
            number += 1

    first = lookup_events(log, replace(EVERYTHING, max_results=5))
    threads = [threading.Thread(target=write, args=(trail,)) for trail in trails]
    for thread in threads:
        thread.start()
    try:
        rest = all_pages(log, replace(EVERYTHING, max_results=5, next_token=first.next_token))
        for _ in range(20):
            found = [event.event_time for event in lookup_events(log, EVERYTHING).events]
            assert found == sorted(found, reverse=True)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert ids(first) + flat(rest) == list(range(59, -1, -1))
    assert ids(lookup_events(log, EVERYTHING))[0] >= 100


def test_torn_and_foreign_lines_are_passed_over(log: Path) -> None:
    segment = max((log / "chain-00").glob("*.jsonl"))
    lines = segment.read_bytes()
    segment.write_bytes(b"garbage\n" + lines + b"\n" + b"x" * 1_000_000 + b'\n{"seq":1}\n{"seq":21,"prev":"')
    assert flat(all_pages(log, EVERYTHING)) == list(range(59, -1, -1))


@pytest.mark.parametrize(
    "change",
    [
        {"max_results": 0},
        {"max_results": 51},
        {"start_time": -1.0},
        {"end_time": float("nan")},
        {"end_time": 1e18},
        {"start_time": 2.0, "end_time": 1.0},
        {"attribute": (LookupKey.USERNAME, "")},
        {"attribute": (LookupKey.USERNAME, "x" * 2001)},
        {"attribute": (LookupKey.READ_ONLY, "yes")},
    ],
)
def test_bad_queries_are_refused(log: Path, change: dict[str, object]) -> None:
    fields = {"account_id": ACCOUNT, **change}
    with pytest.raises(ValidationException):
        lookup_events(log, LookupQuery(**fields))  # type: ignore[arg-type]  # the table above fits the fields


def token(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode()


def test_bad_tokens_are_refused(log: Path) -> None:
    """Anything but a token of this very query, character by character."""
    query = replace(EVERYTHING, max_results=5)
    good = lookup_events(log, query).next_token
    assert good is not None
    version, fingerprint, places = base64.urlsafe_b64decode(good).decode().split(";")
    bad = [
        "",
        "x",
        "é",
        good[:-1],
        good + "=",
        good[1:],
        good + "A" * 40_000,
        token(""),
        token(f"2;{fingerprint};{places}"),
        token(f"1;{'0' * 32};{places}"),
        token(f"1;{fingerprint};"),
        token(f"1;{fingerprint};{places},"),
        token(f"1;{fingerprint};{places};"),
        token(f"1;{fingerprint};{places}\n"),
        token(f"1;{fingerprint};0.1"),
        token(f"1;{fingerprint};00.1.5"),
        token(f"1;{fingerprint};0.0.5"),
        token(f"1;{fingerprint};0.1.-5"),
        token(f"1;{fingerprint};1.1.5,0.1.5"),
        token(f"1;{fingerprint};0.1.5,0.1.5"),
        token(f"1;{fingerprint};99.1.5"),
        token(f"1;{fingerprint};0.1.{'9' * 20}"),
        token(f"1;{fingerprint};0.1.٣"),
    ]
    for wrong in bad:
        with pytest.raises(ValidationException):
            lookup_events(log, replace(query, next_token=wrong))
    assert version == "1"
    for changed in (
        {"account_id": OTHER},
        {"start_time": 5.0},
        {"end_time": 9.0},
        {"attribute": (LookupKey.USERNAME, "alice")},
    ):
        with pytest.raises(ValidationException):
            lookup_events(log, replace(query, next_token=good, **changed))


def test_a_made_up_place_shows_nothing_else(log: Path) -> None:
    """Places within a line or behind the end are taken as the line boundary before them."""
    good = lookup_events(log, replace(EVERYTHING, max_results=5)).next_token
    assert good is not None
    _, fingerprint, _ = base64.urlsafe_b64decode(good).decode().split(";")
    for place in ("0.1.1500", "0.1.999999", "0.77.5", "2.3.1"):
        page = lookup_events(log, replace(EVERYTHING, next_token=token(f"1;{fingerprint};{place}")))
        assert set(ids(page)) <= set(range(60))


def test_lines_come_back_whole_whatever_their_lengths(tmp_path: Path) -> None:
    """Around the block size of the backward reader."""
    trail = open_trail(tmp_path)
    sizes = [10, 65_400, 65_536, 65_430, 131_072, 1, 200_000, 65_535, 3]
    for size in sizes:
        trail.append_blocking(json.dumps({"pad": "x" * size}).encode())
    trail.close()
    chain = tmp_path / "chain-00"
    lines = (chain / "00000001.jsonl").read_bytes().splitlines()
    found = list(chain_backwards(chain, chain_end(chain)))
    assert [line.data for line in found] == lines[::-1]
    assert [line.end for line in found[1:]] == [line.start for line in found[:-1]]
    for line in found:
        assert next(chain_backwards(chain, line.end)).data == line.data


def test_recovery_asks_which_outcomes_are_recorded(log: Path, trails: list[Trail]) -> None:
    """Back to the time given (and a little further), in the chain given, by the record's own id."""
    asked = {event_id(number) for number in (0, 1, 57, 58, 99)}
    assert contains(log, "chain-00", asked, START) == {event_id(0), event_id(57)}
    assert contains(log, "chain-01", asked, START) == {event_id(1), event_id(58)}
    assert contains(log, "chain-00", asked, START + 10_000) == set()
    assert contains(log, "chain-00", asked, START + 590) == {event_id(57)}
    assert contains(log, "chain-07", asked, START) == set()
    assert contains(log, "../chain-00", asked, START) == set()
    assert contains(log, "chain-00", set(), START) == set()
    trails[0].append_blocking(b'{"no":"time"}')
    forged = replace(facts(61), request_parameters={"encryption_context": {"eventID": event_id(99)}})
    trails[0].append_blocking(render_record(forged))
    assert contains(log, "chain-00", {event_id(99), event_id(61)}, START) == {event_id(61)}
