"""Reading a period forwards: which lines, how many, and what of a line tells two calls apart."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kagitori_server.audit.chain import format_line
from kagitori_server.audit.record import event_timestamp
from kagitori_server.audit.replay import Replay, occasion, without_context

DAY = 86_400
START = 1_790_000_000
PREV = "0" * 64


def line(seq: int, second: float, **members: object) -> bytes:
    """A record, as long as its members make it."""
    event = {"userIdentity": {}, "eventTime": event_timestamp(int(second)), **members, "requestID": "r", "eventID": "e"}
    return format_line(seq, PREV, json.dumps({**event, "readOnly": True}, separators=(",", ":")).encode()) + b"\n"


def chain(root: Path, number: int, *segments: bytes) -> None:
    folder = root / f"chain-{number:02d}"
    folder.mkdir(parents=True)
    for place, content in enumerate(segments, 1):
        (folder / f"{place:08d}.jsonl").write_bytes(content)


def read(replay: Replay) -> tuple[list[int], int, int]:
    """(numbers of the lines, lines read, damaged ones)"""
    blocks = list(replay.blocks())
    numbers = [int(found[7 : found.index(b",")]) for block in blocks for found in block.lines]
    return numbers, sum(block.read for block in blocks), sum(block.damaged for block in blocks)


def test_all_chains_are_read_forwards(tmp_path: Path) -> None:
    chain(tmp_path, 0, line(1, START) + line(2, START), line(3, START))
    chain(tmp_path, 3, line(1, START))
    replay = Replay(tmp_path, START, None, [])
    assert replay.total == 4
    assert read(replay) == ([1, 2, 3, 1], 4, 0)
    assert read(Replay(tmp_path / "absent", START, None, [])) == ([], 0, 0)


def test_segments_outside_the_period_are_skipped(tmp_path: Path) -> None:
    days = [START + number * DAY for number in range(5)]
    chain(tmp_path, 0, *(line(2 * number + 1, day) + line(2 * number + 2, day + 1) for number, day in enumerate(days)))
    # The segment before the first of the period may end within it.
    replay = Replay(tmp_path, days[2], days[3], [])
    assert (replay.total, read(replay)[0]) == (6, [3, 4, 5, 6, 7, 8])
    assert Replay(tmp_path, days[4] + DAY, None, []).total == 2
    assert read(Replay(tmp_path, 0, days[0] - DAY, [])) == ([], 0, 0)


def test_lines_must_hold_everything_wanted(tmp_path: Path) -> None:
    chain(tmp_path, 0, line(1, START, a="x", b="y") + line(2, START, a="x") + line(3, START, b="y"))
    assert read(Replay(tmp_path, START, None, [b'"a":"x"', b'"b":"y"'])) == ([1], 3, 0)


def test_what_is_written_later_is_not_read(tmp_path: Path) -> None:
    chain(tmp_path, 0, line(1, START))
    replay = Replay(tmp_path, START, None, [])
    with (tmp_path / "chain-00" / "00000001.jsonl").open("ab") as file:
        file.write(line(2, START))
    assert read(replay) == ([1], 1, 0)


@pytest.mark.parametrize("size", [100, 65_000, 65_536, 200_000, 524_000])
def test_lines_longer_than_a_block(tmp_path: Path, size: int) -> None:
    lines = [line(number, START, pad="x" * size) for number in range(1, 4)]
    chain(tmp_path, 0, b"".join(lines))
    assert read(Replay(tmp_path, START, None, [])) == ([1, 2, 3], 3, 0)


@pytest.mark.parametrize(
    "spoilt", [b"", b"x", line(1, START)[:-2], b"x" * 1_200_000, b"\0" * 70_000], ids=lambda spoilt: str(len(spoilt))
)
def test_damage_is_one_line_each(tmp_path: Path, spoilt: bytes) -> None:
    chain(tmp_path, 0, line(1, START) + spoilt + b"\n" + line(2, START) + b'{"seq":3,"prev":"unfinished')
    assert read(Replay(tmp_path, START, None, [b"eventTime", b'"readOnly":true}}'])) == ([1, 2], 3, 1)


def test_two_calls_are_the_same_but_for_time_and_ids() -> None:
    first = occasion(line(1, START, sourceIPAddress="10.0.0.1"))
    second = occasion(line(7, START + 5, sourceIPAddress="10.0.0.1").replace(b'"r"', b'"s"').replace(b'"e"', b'"f"'))
    other = occasion(line(7, START + 5, sourceIPAddress="10.0.0.2"))
    assert first is not None
    assert second is not None
    assert other is not None
    assert first.what == second.what != other.what
    assert (first.event_id, second.event_id) == ("e", "f")
    assert (first.when, second.when) == ("2026-09-21T14:13:20Z", "2026-09-21T14:13:25Z")


@pytest.mark.parametrize("data", [b"", b"{}", b'{"seq":1,"prev":"x","event":{}}', b'"event":{,"eventTime":"'])
def test_lines_that_tell_of_no_call(data: bytes) -> None:
    assert occasion(data) is None


HOSTILE = [
    'a","requestID":"', '"eventTime":"2020', '{"encryptionContext":{', "}", '\\"', "\\", '","readOnly":', "\u9375",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_what_callers_choose_is_taken_for_nothing_else(text: str) -> None:
    """As names and as values of an encryption context, and as anything else."""
    for pairs in ({text: "x"}, {"x": text}, {text: text, "requestID": "x", "encryptionContext": "y"}):
        shown = {"keyId": text, "encryptionContext": pairs, "more": {"x": 1}}
        told = line(1, START, userAgent=text, requestParameters=shown, responseElements=None)
        found = occasion(told)
        assert found is not None
        assert (found.event_id, found.when) == ("e", "2026-09-21T14:13:20Z")
        short = without_context(found.what)
        bare = occasion(told.replace(json.dumps(pairs, separators=(",", ":")).encode(), b"{}"))
        assert bare is not None
        assert short == without_context(bare.what)
        assert json.dumps(text).encode() in short
        assert b'"more":{"x":1}' in short


def test_a_call_without_encryption_context_stays_whole() -> None:
    for shown in (None, {}, {"constraints": {"encryptionContextSubset": {"a": "1"}}}, {"encryptionContext": {"a": 1}}):
        found = occasion(line(1, START, userAgent='"encryptionContext":{"a":"b"}', requestParameters=shown))
        assert found is not None
        assert without_context(found.what) == found.what
