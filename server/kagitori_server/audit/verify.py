"""Proof that a log is what was written: every link recomputed, reading each byte once in constant memory.

A chain vouches for all lines but its newest, so a verifier that must notice a cut-off or altered end has to
be told a head that was noted elsewhere. What can't be told apart from a crash, an unfinished last line, is
reported by itself and is no problem. A log may be verified while it is being written: what comes later is not
looked at, but then `head` may be a line that is not yet durable (note heads from `Trail.position()` instead). And while
segments are pruned or archived.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple, TypeVar

from kagitori_server.audit.chain import (
    ARCHIVE_NAME,
    LOCK_NAME,
    PRUNED_NAME,
    RawLine,
    archived_numbers,
    chain_name,
    chain_names,
    genesis,
    line_hash,
    parse_line,
    read_lines,
    segment_name,
    segment_number,
    segment_numbers,
    segment_path,
)
from kagitori_server.audit.pruned import Statements, StatementsDamagedError, attested, read_statements

MAX_PROBLEMS_PER_CHAIN = 1000
"""Problems described for one chain; all are counted."""

_LINES_PER_PROGRESS = 10_000
_LOOKS = 3
_Found = TypeVar("_Found")


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

    `torn_bytes` is the length of an unfinished last line. Records up to `pruned_seq` were removed because their time
    was over, as statements and a record say. `problem_count` may exceed the problems described.
    """

    chain: str
    segments: int
    records: int
    first_seq: int
    last_seq: int
    head: str
    torn_bytes: int
    pruned_seq: int
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
    return look_again(root, lambda: _verify(root, progress, expected), _is_settled)


def _is_settled(report: VerifyReport) -> bool:
    """Whether a report is as good as one of another look. What is wrong within a segment is: that comes of no pruning,
    and the next look may find the segment gone."""
    within = (problem.line is not None and problem.line > 1 for chain in report.chains for problem in chain.problems)
    return report.sound or any(within)


def look_again(root: Path, look: Callable[[], _Found], settled: Callable[[_Found], bool]) -> _Found:
    """What `look` finds in a trail. What isn't settled is looked at again, at most twice, if segments were pruned or
    archived meanwhile: then it may be that just what was read before and what was read afterwards don't go together.
    """
    for looks_left in reversed(range(_LOOKS)):
        before = _kept(root)
        found = look()
        if settled(found) or not looks_left or _kept(root) == before:
            break
    return found


def _kept(root: Path) -> list[tuple[str, int, list[int], list[int]]]:
    """What changes when segments are pruned or archived, of each chain: how long its statements are, which segments are
    in the archive, and the oldest that there are."""
    found = []
    for name in chain_names(root):
        folder = root / name
        try:
            stated = (folder / PRUNED_NAME).stat().st_size
        except FileNotFoundError:
            stated = 0
        found.append((name, stated, archived_numbers(folder), segment_numbers(folder)[:1]))
    return found


def _verify(
    root: Path, progress: Callable[[Progress], None] | None, expected: Mapping[str, ExpectedHead]
) -> VerifyReport:
    names = chain_names(root)
    numbers = [int(name.removeprefix("chain-")) for name in names]
    absent = {chain_name(number) for number in range(max(numbers, default=-1) + 1)}.union(expected)
    problems = [
        Problem(name, None, None, "the chain is missing") for name in sorted(absent.difference(names))
    ]
    reports: dict[str, ChainReport] = {}
    wanted: dict[str, tuple[str, ...]] = {}
    named: set[tuple[str, str]] = set()
    for name in names:
        before = sum(report.records for report in reports.values())
        verification = _Verification(root / name, progress, expected.get(name), before)
        reports[name] = verification.run()
        wanted[name] = verification.statements_pruned()
        named.update(verification.attested)
    for name, hashes in wanted.items():
        if hashes and named.isdisjoint((name, each) for each in hashes):
            problem = Problem(name, PRUNED_NAME, None, "no record in the trail says that segments were pruned")
            report = reports[name]
            reports[name] = replace(
                report, problem_count=report.problem_count + 1, problems=(*report.problems, problem)
            )
    return VerifyReport(tuple(reports.values()), tuple(problems))


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
        self._statements = Statements((), ())
        self._pruned = self._pruned_seq = 0
        self.attested: list[tuple[str, str]] = []
        """Chains and hashes of statements that the records read name."""
        self._problems: list[Problem] = []
        self._problem_count = 0

    def run(self) -> ChainReport:
        numbers = self._check_names()
        self._begin_behind_pruned(numbers)
        for number in numbers:
            self._segment = segment_name(number)
            try:
                self._read_segment(number, last=number == numbers[-1])
            except FileNotFoundError:
                self._pass_over(number)
            except (gzip.BadGzipFile, EOFError, zlib.error):
                self._report(None, "the archived segment can't be read")
        self._check_expected_reached()
        return ChainReport(
            chain=self._dir.name,
            segments=len(numbers),
            records=self._records,
            first_seq=self._first,
            last_seq=self._seq,
            head=self._head,
            torn_bytes=self._torn,
            pruned_seq=self._pruned_seq,
            problem_count=self._problem_count,
            problems=tuple(self._problems),
        )

    def statements_pruned(self) -> tuple[str, ...]:
        """The hashes of statements of which one has to be named by a record that is kept; none if nothing is
        pruned."""
        return self._statements.hashes[self._pruned - 1 :] if self._pruned else ()

    def _begin_behind_pruned(self, numbers: list[int]) -> None:
        """Goes on from what the statements say of the segments that were pruned."""
        try:
            self._statements = read_statements(self._dir)
        except StatementsDamagedError as error:
            self._report(None, str(error), PRUNED_NAME)
        missing = numbers[0] - 1 if numbers else 0
        self._take_as_pruned(min(missing, self._statements.segments))
        for before, number in zip([self._pruned, *numbers], numbers, strict=False):
            if number > before + 1:
                absent = _span(segment_name(before + 1), segment_name(number - 1))
                self._report(None, f"missing before this segment: {absent}", segment_name(number))

    def _take_as_pruned(self, segments: int) -> None:
        self._pruned = segments
        if segments:
            statement = self._statements.stated[segments - 1]
            self._seq, self._head = statement.last_seq, statement.last_hash
            self._pruned_seq = statement.last_seq

    def _pass_over(self, number: int) -> None:
        """A segment went away while the chain was read: pruned just now, or it is missing."""
        if not self._records:
            try:
                self._statements = read_statements(self._dir)
            except StatementsDamagedError as error:
                self._report(None, str(error), PRUNED_NAME)
            if number <= self._statements.segments:
                self._take_as_pruned(number)
                return
        self._report(None, "the segment is missing")

    def _check_names(self) -> list[int]:
        """The numbers of the segments there are, ascending; reports strangers."""
        numbers = set(archived_numbers(self._dir))
        for name in sorted(entry.name for entry in self._dir.iterdir()):
            number = segment_number(name)
            if number is not None:
                numbers.add(number)
            elif name not in (LOCK_NAME, ARCHIVE_NAME, PRUNED_NAME):
                self._report(None, "the file does not belong to a chain", name)
        return sorted(numbers)

    def _read_segment(self, number: int, *, last: bool) -> None:
        self._tell()
        offset = 0
        for raw in read_lines(segment_path(self._dir, number)):
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
        self.attested += attested(raw.data)
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


def report_lines(report: VerifyReport) -> Iterator[str]:
    """What a report says, in lines for people; the last one says whether the trail is sound."""
    for chain in report.chains:
        span = f", {chain.first_seq} to {chain.last_seq}" if chain.records else ""
        pruned = f"; pruned up to record {chain.pruned_seq}" if chain.pruned_seq else ""
        torn = f"; {chain.torn_bytes} bytes of an unfinished record at the end" if chain.torn_bytes else ""
        yield f"{chain.chain}: {chain.records} records{span}, in {chain.segments} segments{pruned}{torn}"
        yield f"  head {chain.head}"
        for problem in chain.problems:
            yield f"  PROBLEM {_place(problem)}{problem.description}"
        if chain.problem_count > len(chain.problems):
            yield f"  and {chain.problem_count - len(chain.problems)} more"
    for problem in report.problems:
        yield f"PROBLEM {problem.chain}: {problem.description}"
    if len(report.chains) > 1:
        yield f"{sum(chain.records for chain in report.chains)} records in {len(report.chains)} chains"
    yield "The trail is sound." if report.sound else "The trail has problems."


def _place(problem: Problem) -> str:
    """Where it is, for a line of text; empty if it's about the chain as a whole."""
    if problem.segment is None:
        return ""
    return f"{problem.segment}: " if problem.line is None else f"{problem.segment}, line {problem.line}: "
