"""The verifier: each way to tamper with a log, told apart and placed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from kagitori_server.audit.chain import format_line, line_hash
from kagitori_server.audit.trail import TrailLimits, open_trail
from kagitori_server.audit.verify import (
    MAX_PROBLEMS_PER_CHAIN,
    ChainReport,
    ExpectedHead,
    Problem,
    Progress,
    VerifyReport,
    report_lines,
    verify,
)

RECORDS = 40


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """One chain of 40 records in several segments of some eight lines."""
    trail = open_trail(tmp_path, limits=TrailLimits(segment_bytes=1200))
    for number in range(RECORDS):
        trail.append_blocking(json.dumps({"n": number}).encode())
    trail.close()
    return tmp_path


def edit(root: Path, segment: int, change: Callable[[list[bytes]], list[bytes]]) -> None:
    """Rewrites the lines of a segment."""
    path = root / "chain-00" / f"{segment:08d}.jsonl"
    lines = path.read_bytes().splitlines()
    path.write_bytes(b"".join(line + b"\n" for line in change(lines)))


def described(report: VerifyReport) -> list[tuple[str | None, int | None, str]]:
    return [(item.segment, item.line, item.description) for chain in report.chains for item in chain.problems]


def test_an_untouched_log_is_sound(log: Path) -> None:
    seen: list[Progress] = []
    report = verify(log, seen.append)
    assert report.sound
    (chain,) = report.chains
    assert (chain.records, chain.first_seq, chain.last_seq) == (RECORDS, 1, RECORDS)
    assert (chain.torn_bytes, chain.problem_count) == (0, 0)
    assert [step.segment for step in seen] == [
        f"{number:08d}.jsonl" for number in range(1, chain.segments + 1)
    ]
    assert chain.segments >= 4


def test_no_log_at_all_is_sound_and_empty(tmp_path: Path) -> None:
    assert verify(tmp_path / "absent").sound
    trail = open_trail(tmp_path)
    trail.close()
    (chain,) = verify(tmp_path).chains
    assert (chain.records, chain.first_seq, chain.last_seq) == (0, 0, 0)


def altered(lines: list[bytes]) -> list[bytes]:
    return [*lines[:3], lines[3].replace(b'"n": ', b'"n": 9'), *lines[4:]]


def removed(lines: list[bytes]) -> list[bytes]:
    return lines[:3] + lines[4:]


def first_removed(lines: list[bytes]) -> list[bytes]:
    return lines[1:]


def last_removed(lines: list[bytes]) -> list[bytes]:
    return lines[:-1]


def duplicated(lines: list[bytes]) -> list[bytes]:
    return [*lines[:4], lines[3], *lines[4:]]


def repeated_later(lines: list[bytes]) -> list[bytes]:
    return [*lines[:5], lines[1], *lines[5:]]


def swapped(lines: list[bytes]) -> list[bytes]:
    return [*lines[:3], lines[4], lines[3], *lines[5:]]


def inserted(lines: list[bytes]) -> list[bytes]:
    number = int(lines[4].partition(b",")[0].partition(b":")[2])
    forged = format_line(number, line_hash(lines[3]), b'{"n":"forged"}')
    return [*lines[:4], forged, *lines[4:]]


def garbage(lines: list[bytes]) -> list[bytes]:
    return [*lines[:4], b"\x00\xffgarbage", *lines[4:]]


def blank(lines: list[bytes]) -> list[bytes]:
    return [*lines[:4], b"", *lines[4:]]


def overlong(lines: list[bytes]) -> list[bytes]:
    return [*lines[:4], b"{" + b"x" * 2_000_000 + b"}", *lines[4:]]


def spaced(lines: list[bytes]) -> list[bytes]:
    return [*lines[:4], lines[4] + b" ", *lines[5:]]


def emptied(lines: list[bytes]) -> list[bytes]:
    return []


@pytest.mark.parametrize(
    ("change", "segment", "line", "says"),
    [
        (altered, 2, 5, "was altered"),
        (removed, 2, 4, "lost or moved"),
        (first_removed, 2, 1, "lost or moved"),
        (first_removed, 1, 1, "follows record 0"),
        (last_removed, 2, None, "lost or moved"),
        (duplicated, 2, 5, "a copy of that line"),
        (repeated_later, 2, 6, "out of order"),
        (swapped, 2, 4, "lost or moved"),
        (swapped, 2, 5, "out of order"),
        (inserted, 2, 6, "inserted"),
        (garbage, 2, 5, "not a line"),
        (blank, 2, 5, "not a line"),
        (overlong, 2, 5, "not a line"),
        (spaced, 2, 5, "not a line"),
        (emptied, 2, None, "lost or moved"),
    ],
)
def test_each_kind_of_tampering_is_found_and_placed(
    log: Path, change: Callable[[list[bytes]], list[bytes]], segment: int, line: int | None, says: str
) -> None:
    edit(log, segment, change)
    report = verify(log)
    assert not report.sound
    where = (f"{segment:08d}.jsonl", line) if line is not None else (f"{segment + 1:08d}.jsonl", 1)
    assert any((item[0], item[1]) == where and says in item[2] for item in described(report)), described(
        report
    )
    # The damage is told once or twice, not for every record behind it.
    assert report.chains[0].problem_count <= 3
    assert report.chains[0].last_seq == RECORDS


@pytest.mark.parametrize("bit", range(0, 200 * 8, 7))
def test_a_single_flipped_bit_is_found(log: Path, bit: int) -> None:
    """Anywhere in the chain but in its newest line, which only a noted head protects."""
    path = log / "chain-00" / "00000002.jsonl"
    data = bytearray(path.read_bytes())
    data[bit // 8] ^= 1 << bit % 8
    path.write_bytes(data)
    assert not verify(log).sound


def test_missing_and_foreign_files_are_found(log: Path) -> None:
    chain = log / "chain-00"
    (chain / "00000003.jsonl").unlink()
    (chain / "00000002.jsonl.bak").touch()
    found = described(verify(log))
    assert ("00000004.jsonl", None, "missing before this segment: 00000003.jsonl") in found
    assert ("00000002.jsonl.bak", None, "the file does not belong to a chain") in found
    assert any(segment == "00000004.jsonl" and line == 1 for segment, line, _ in found)


def test_the_first_segment_missing_is_found(log: Path) -> None:
    (log / "chain-00" / "00000001.jsonl").unlink()
    assert ("00000002.jsonl", None, "missing before this segment: 00000001.jsonl") in described(verify(log))


def test_a_chain_can_not_stand_for_another(log: Path) -> None:
    """A renamed chain fails at its first record, and the gap in the chains' numbers is told."""
    (log / "chain-00").rename(log / "chain-01")
    report = verify(log)
    assert [problem.chain for problem in report.problems] == ["chain-00"]
    assert report.chains[0].problems[0].line == 1
    assert "not this chain's first" in report.chains[0].problems[0].description


def test_a_torn_tail_is_no_problem_but_told(log: Path) -> None:
    last = max((log / "chain-00").glob("*.jsonl"))
    with last.open("ab") as file:
        file.write(b'{"seq":41,"pr')
    report = verify(log)
    assert report.sound
    assert report.chains[0].torn_bytes == 13


def test_a_torn_line_before_another_segment_is_a_problem(log: Path) -> None:
    with (log / "chain-00" / "00000001.jsonl").open("ab") as file:
        file.write(b"{")
    assert any("within a line" in description for _, _, description in described(verify(log)))


def test_a_noted_head_protects_the_end(log: Path) -> None:
    """Without it a shortened or altered end can't be told from a shorter log."""
    (chain,) = verify(log).chains
    noted = {"chain-00": ExpectedHead(chain.last_seq, chain.head)}
    assert verify(log, expected_heads=noted).sound
    last = max((log / "chain-00").glob("*.jsonl"))
    original = last.read_bytes()

    last.write_bytes(original[: original[:-1].rfind(b"\n") + 1])
    assert verify(log).sound
    (problem,) = verify(log, expected_heads=noted).chains[0].problems
    assert "before the noted record 40" in problem.description

    last.write_bytes(original.replace(b'"n": 39', b'"n": 38'))
    assert verify(log).sound
    (problem,) = verify(log, expected_heads=noted).chains[0].problems
    assert "not the one that was noted" in problem.description


def test_a_noted_chain_must_exist(log: Path) -> None:
    report = verify(log, expected_heads={"chain-07": ExpectedHead(1, "0" * 64)})
    assert [(problem.chain, problem.description) for problem in report.problems] == [
        ("chain-07", "the chain is missing")
    ]


def test_an_event_that_is_not_json_is_found(log: Path) -> None:
    """Even in the newest line, whose bytes nothing else vouches for."""
    last = max((log / "chain-00").glob("*.jsonl"))
    last.write_bytes(last.read_bytes().replace(b'{"n": 39}', b'{"n": 39},"event":{}'))
    assert any("not JSON" in description for _, _, description in described(verify(log)))


def test_problems_are_counted_beyond_those_described(log: Path) -> None:
    edit(log, 1, lambda lines: [*lines, *[b"x"] * 1500])
    (chain,) = verify(log).chains
    assert chain.problem_count >= 1500
    assert len(chain.problems) == MAX_PROBLEMS_PER_CHAIN


def test_a_report_for_people() -> None:
    """Where a problem is, how many there are besides those that are told, and a last line that says it all."""
    whole = ChainReport("chain-00", 3, 20, 11, 30, "ab" * 32, 7, 10, 0, ())
    assert list(report_lines(VerifyReport((whole,), ()))) == [
        (
            "chain-00: 20 records, 11 to 30, in 3 segments; pruned up to record 10;"
            " 7 bytes of an unfinished record at the end"
        ),
        f"  head {'ab' * 32}",
        "The trail is sound.",
    ]
    problems = (
        Problem("chain-01", "00000001.jsonl", 4, "altered"), Problem("chain-01", "x", None, "a stranger"),
        Problem("chain-01", None, None, "cut off"),
    )
    empty = ChainReport("chain-01", 0, 0, 0, 0, "cd" * 32, 0, 0, 1_003, problems)
    lost = Problem("chain-02", None, None, "the chain is missing")
    assert list(report_lines(VerifyReport((whole, empty), (lost,))))[2:] == [
        "chain-01: 0 records, in 0 segments",
        f"  head {'cd' * 32}",
        "  PROBLEM 00000001.jsonl, line 4: altered",
        "  PROBLEM x: a stranger",
        "  PROBLEM cut off",
        "  and 1000 more",
        "PROBLEM chain-02: the chain is missing",
        "20 records in 2 chains",
        "The trail has problems.",
    ]
