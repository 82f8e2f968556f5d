"""Proof that a log is what was written: every link recomputed, reading each byte once in constant memory.

A chain vouches for all lines but its newest, so a verifier that must notice a cut-off or altered end has to
be told a head that was noted elsewhere. What can't be told apart from a crash, an unfinished last line, is
reported by itself and is no problem. A log may be verified while it is being written: what comes later is not
looked at, but then `head` may be a line that is not yet durable (note heads from `Trail.position()` instead).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from kagitori_server.audit.chain import (
    LOCK_NAME,
    RawLine,
    chain_name,
    chain_names,
    genesis,
    line_hash,
    parse_line,
    read_lines,
    segment_name,
    segment_number,
)

MAX_PROBLEMS_PER_CHAIN = 1000
"""Problems described for one chain; all are counted."""

_LINES_PER_PROGRESS = 10_000


class Problem(NamedTuple):
    """One thing that is wrong; `line` counts from 1 within the segment, both None if they don't apply."""

    chain: str
    segment: str | None
    line: int | None
    description: str


class ExpectedHead(NamedTuple):
    """A line known from elsewhere (an earlier `Trail.position()`): it must still be there, with this hash."""

    seq: int
    head: str


class Progress(NamedTuple):
    """How far the verification has come: where it reads, and how many records it has read of all chains."""

    chain: str
    segment: str
    records: int


@dataclass(frozen=True, slots=True)
class ChainReport:
    """What one chain holds. `first_seq` and `last_seq` are 0 if it has no record; `head` is the hash to note.

    `torn_bytes` is the length of an unfinished last line. `problem_count` may exceed the problems described.
    """

    chain: str
    segments: int
    records: int
    first_seq: int
    last_seq: int
    head: str
    torn_bytes: int
    problem_count: int
    problems: tuple[Problem, ...]


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """All chains of a root, and problems that belong to none of them."""

    chains: tuple[ChainReport, ...]
    problems: tuple[Problem, ...]

    @property
    def sound(self) -> bool:
        """True if nothing at all is wrong."""
        return not self.problems and not any(chain.problem_count for chain in self.chains)


def verify(
    root: Path,
    progress: Callable[[Progress], None] | None = None,
    expected_heads: Mapping[str, ExpectedHead] | None = None,
) -> VerifyReport:
    """Recomputes every chain of a root. `expected_heads` names, by chain, what must be found on the way.

    Raises OSError if the files can't be read; everything else is in the report.
    """
    expected = dict(expected_heads or {})
    names = chain_names(root)
    numbers = [int(name.removeprefix("chain-")) for name in names]
    absent = {chain_name(number) for number in range(max(numbers, default=-1) + 1)}.union(expected)
    problems = [
        Problem(name, None, None, "the chain is missing") for name in sorted(absent.difference(names))
    ]
    reports: list[ChainReport] = []
    for name in names:
        before = sum(report.records for report in reports)
        reports.append(_Verification(root / name, progress, expected.get(name), before).run())
    return VerifyReport(tuple(reports), tuple(problems))


class _Verification:
    """The pass over one chain."""

    def __init__(
        self,
        chain_dir: Path,
        progress: Callable[[Progress], None] | None,
        expected: ExpectedHead | None,
        records_before: int,
    ) -> None:
        self._dir = chain_dir
        self._progress = progress
        self._expected = expected
        self._records_before = records_before
        self._segment = ""
        self._records = 0
        self._first = 0
        self._seq = 0
        self._head = genesis(chain_dir.name)
        self._torn = 0
        self._problems: list[Problem] = []
        self._problem_count = 0

    def run(self) -> ChainReport:
        numbers = self._check_names()
        for number in numbers:
            self._segment = segment_name(number)
            self._read_segment(last=number == numbers[-1])
        self._check_expected_reached()
        return ChainReport(
            chain=self._dir.name,
            segments=len(numbers),
            records=self._records,
            first_seq=self._first,
            last_seq=self._seq,
            head=self._head,
            torn_bytes=self._torn,
            problem_count=self._problem_count,
            problems=tuple(self._problems),
        )

    def _check_names(self) -> list[int]:
        """The numbers of the segments there are, ascending; reports gaps and strangers."""
        numbers = []
        for name in sorted(entry.name for entry in self._dir.iterdir()):
            number = segment_number(name)
            if number is not None:
                numbers.append(number)
            elif name != LOCK_NAME:
                self._report(None, "the file does not belong to a chain", name)
        for before, number in zip([0, *numbers], numbers, strict=False):
            if number > before + 1:
                absent = _span(segment_name(before + 1), segment_name(number - 1))
                self._report(None, f"missing before this segment: {absent}", segment_name(number))
        return numbers

    def _read_segment(self, *, last: bool) -> None:
        self._tell()
        offset = 0
        for raw in read_lines(self._dir / self._segment):
            if raw.complete:
                self._check_line(raw)
            elif last:
                self._torn = raw.end - offset
            else:
                self._report(raw.number, "the segment ends within a line, but another segment follows")
            offset = raw.end

    def _check_line(self, raw: RawLine) -> None:
        line = parse_line(raw.data)
        if line is None:
            self._report(raw.number, "not a line of a chain")
            return
        here = line_hash(raw.data)
        self._records += 1
        if self._records % _LINES_PER_PROGRESS == 0:
            self._tell()
        if not _is_json(line.event):
            self._report(raw.number, f"the event of record {line.seq} is not JSON")
        if line.seq <= self._seq:
            # Not followed: what comes next belongs to the line that had the number first, or is reported too.
            reason = "a copy of that line" if here == self._head else "inserted, repeated or out of order"
            self._report(raw.number, f"record {line.seq} stands behind record {self._seq}: {reason}")
            return
        if line.seq > self._seq + 1:
            lost = _span(str(self._seq + 1), str(line.seq - 1))
            self._report(raw.number, f"record {line.seq} follows record {self._seq}: lost or moved: {lost}")
        elif line.prev != self._head:
            why = f"record {self._seq} was altered" if self._seq else "it is not this chain's first"
            self._report(raw.number, f"record {line.seq} is not linked to what stands before it: {why}")
        self._first = self._first or line.seq
        self._seq, self._head = line.seq, here
        if self._expected is not None and line.seq == self._expected.seq and here != self._expected.head:
            self._report(raw.number, f"record {line.seq} is not the one that was noted")

    def _check_expected_reached(self) -> None:
        if self._expected is not None and self._seq < self._expected.seq:
            noted = self._expected.seq
            self._report(None, f"the chain ends with record {self._seq}, before the noted record {noted}")

    def _report(self, line: int | None, description: str, segment: str | None = None) -> None:
        self._problem_count += 1
        if len(self._problems) < MAX_PROBLEMS_PER_CHAIN:
            where = segment or self._segment or None
            self._problems.append(Problem(self._dir.name, where, line, description))

    def _tell(self) -> None:
        if self._progress is not None:
            self._progress(Progress(self._dir.name, self._segment, self._records_before + self._records))


def _span(first: str, last: str) -> str:
    return first if first == last else f"{first} to {last}"


def _is_json(event: bytes) -> bool:
    """Whether the event is one JSON object; the format of the line only promises braces at both ends."""
    try:
        json.loads(event)
    except (ValueError, RecursionError):
        return False
    return True
