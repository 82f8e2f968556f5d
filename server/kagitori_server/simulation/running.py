"""Runs simulations: what `operations.administration.ports.SimulationPort` is.

A simulation shares its process with calls that have to be answered at once, and Python lets one thread run at a time:
so it works in slices much shorter than the interpreter's own and rests as long after each.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterator
from json.encoder import encode_basestring_ascii as quoted
from pathlib import Path
from typing import NamedTuple

from kagitori_server.audit.identity import INTERNAL
from kagitori_server.audit.lookup import second_text
from kagitori_server.audit.matching import parse_record
from kagitori_server.audit.replay import Occasion, Replay, occasion, without_context
from kagitori_server.model.errors import ThrottlingException
from kagitori_server.model.principals import GroupRecord, PrincipalKind
from kagitori_server.operations.administration.changes import Change, HolderChange, KeyChange
from kagitori_server.operations.context import Context
from kagitori_server.operations.neighbour_table import NEIGHBOURS
from kagitori_server.operations.row import Operation, Table
from kagitori_server.operations.shapes.simulation import SimulatePolicyResponse, SimulationProgress
from kagitori_server.operations.streams import Stream
from kagitori_server.simulation.judging import Judge, Verdict
from kagitori_server.simulation.recorded import Reason, RecordedCall, Undecidable, read_call
from kagitori_server.simulation.sessions import LONGEST_SECONDS, PastSessions
from kagitori_server.simulation.tally import Tally, epoch

SLICE_SECONDS = 0.0005
"""Work between two rests."""
PROGRESS_SECONDS = 0.5
"""Between two messages of progress."""
_ASSUME_ROLE = b'"eventName":"AssumeRole"'
_ASSUMED = b'"type":"AssumedRole"'
_RETRY_SECONDS = 10.0
_KNOWN = 10_000
_KNOWN_BYTES = 4_096
"""Of a call that is remembered; longer ones are read each time, so that memory stays bounded."""


class Simulations:
    """Hands out simulations, at most `most` at once. Thread-safe."""

    def __init__(
        self, root: Path, table: Table, *, most: int, monotonic: Callable[[], float],
        pause: Callable[[float], None],
    ) -> None:
        """`root` is the folder of the trail. `pause` sleeps."""
        self._root = root
        self._rows = {
            (f"{row.service}.amazonaws.com", row.name): row
            for row in (*table.values(), *NEIGHBOURS.values()) if isinstance(row, Operation)
        }
        self._assuming = [row for (_, name), row in self._rows.items() if name == "AssumeRole"]
        self._monotonic = monotonic
        self._pause = pause
        self._most = most
        self._running = 0
        self._lock = threading.Lock()

    @property
    def running(self) -> int:
        """How many there are now."""
        return self._running

    def start(
        self, context: Context, change: Change, start: float, end: float | None
    ) -> Stream[SimulatePolicyResponse]:
        """See SimulationPort."""
        with self._lock:
            if self._running >= self._most:
                raise ThrottlingException(
                    f"{self._running} simulations are running, as many as may.", retry_after=_RETRY_SECONDS
                )
            self._running += 1
        return Stream(
            lambda stopped: self._run(context, change, start, end, stopped), self._ended
        )

    def _ended(self) -> None:
        with self._lock:
            self._running -= 1

    def _run(
        self, context: Context, change: Change, start: float, end: float | None, stopped: Callable[[], bool]
    ) -> Generator[SimulatePolicyResponse, None, None]:
        replay = Replay(self._root, start, end, _needles(context.account, change))
        pace = _Pace(self._monotonic, self._pause)
        needles = [_of_account(context.account), _ASSUME_ROLE]
        past = PastSessions(self._assuming, lambda: _lines_of(
            Replay(self._root, max(0.0, start - LONGEST_SECONDS), end, needles), pace, stopped
        ))
        judge = Judge(context.services, self._rows, context.lookup, change, past)
        period = (second_text(start), None if end is None else second_text(end))
        tally = Tally()
        reading = _Reading(judge, tally, context.account, period)
        read = 0

        def progress(*, finished: bool = False) -> SimulatePolicyResponse:
            total = read if finished else max(read, replay.total)
            return SimulatePolicyResponse(progress=SimulationProgress(
                records_read=read, records_total=total, finished=finished, calls_decided=tally.decided
            ))

        yield progress()
        told = self._monotonic()
        for block in replay.blocks():
            for _ in _read_if_wanted(past, block.lines):
                if self._monotonic() - told >= PROGRESS_SECONDS:
                    yield progress()
                    told = self._monotonic()
            for line in block.lines:
                reading.take(line)
                pace.step()
            pace.step()
            if stopped():
                return
            read += block.read
            if block.damaged:
                tally.add_undecided(Reason.DAMAGED, "", calls=block.damaged)
            if tally.full:
                yield from tally.take_findings()
            if self._monotonic() - told >= PROGRESS_SECONDS:
                yield progress()
                told = self._monotonic()
        yield from tally.take_findings()
        yield from tally.undecided()
        yield progress(finished=True)


def _lines_of(replay: Replay, pace: _Pace, stopped: Callable[[], bool]) -> Iterator[list[bytes]]:
    for block in replay.blocks():
        pace.step()
        if stopped():
            return
        yield block.lines


def _read_if_wanted(past: PastSessions, lines: list[bytes]) -> Iterator[None]:
    """Before a call of these is decided by them: it can take long, and whoever waits is told that it goes on."""
    if any(_ASSUMED in line for line in lines):
        yield from past.read()


class _Outcome(NamedTuple):
    """What became of a call; with `call` where that depends on when it was made."""

    verdicts: tuple[Verdict, ...] = ()
    undecided: tuple[Reason, str] | None = None
    call: RecordedCall | None = None
    paired: bool = False
    """Whether it may depend on the encryption context."""


_NOTHING = _Outcome()
_PAIRED = _Outcome(paired=True)


class _Reading:
    """Takes lines to verdicts. Remembers those of calls that are made again and again."""

    def __init__(self, judge: Judge, tally: Tally, account: str, period: tuple[str, str | None]) -> None:
        self._judge = judge
        self._tally = tally
        self._account = account
        self._since, self._until = period
        self._known: dict[bytes, _Outcome] = {}
        self._alike: dict[_Outcome, _Outcome] = {}

    def take(self, line: bytes) -> None:
        """Counts what a line tells, if it's a call of the period."""
        seen = occasion(line)
        if seen is None or seen.when < self._since or (self._until is not None and seen.when >= self._until):
            return
        try:
            epoch(seen.when)
        except ValueError:
            self._tally.add_undecided(Reason.DAMAGED, "")
            return
        short = without_context(seen.what)
        outcome = self._known.get(short)
        if outcome is _PAIRED:
            outcome = self._known.get(seen.what)
        if outcome is None:
            outcome = self._read(line, seen)
            if outcome.paired and short != seen.what:
                self._keep(short, _PAIRED)
                self._keep(seen.what, outcome)
            else:
                self._keep(short, outcome)
        elif outcome.call is not None:
            outcome = self._decide(outcome.call, seen)
        if outcome.undecided is not None:
            self._tally.add_undecided(outcome.undecided[0], seen.event_id, outcome.undecided[1])
        elif outcome.verdicts:
            self._tally.add(outcome.verdicts, seen.when, seen.event_id)

    def _keep(self, what: bytes, outcome: _Outcome) -> None:
        if len(what) > _KNOWN_BYTES:
            return
        if len(self._known) >= _KNOWN:
            self._known.clear()
            self._alike.clear()
        if outcome.call is None and outcome is not _PAIRED:
            # Few are different: what is kept weighs little on the collector of garbage, which stops every thread.
            outcome = self._alike.setdefault(outcome, outcome)
        self._known[what] = outcome

    def _read(self, line: bytes, seen: Occasion) -> _Outcome:
        record = parse_record(line)
        if record is None:
            return _Outcome(undecided=(Reason.DAMAGED, ""))
        if record.get("recipientAccountId") != self._account or record.get("sourceIPAddress") == INTERNAL:
            return _NOTHING
        return self._decide(read_call(record), seen)

    def _decide(self, call: RecordedCall, seen: Occasion) -> _Outcome:
        verdicts: tuple[Verdict, ...] = ()
        undecided = None
        try:
            verdicts = self._judge.judge(call, epoch(seen.when))
        except Undecidable as problem:
            undecided = problem.reason, problem.detail
        watch = self._judge.watch
        # What isn't asked at this time may be at another.
        return _Outcome(verdicts, undecided, call if watch.timely else None, watch.paired or watch.timely)


class _Pace:
    """Rests as long as was worked, a slice at a time."""

    def __init__(self, monotonic: Callable[[], float], pause: Callable[[float], None]) -> None:
        self._monotonic = monotonic
        self._pause = pause
        self._began = monotonic()

    def step(self) -> None:
        """To be called often."""
        worked = self._monotonic() - self._began
        if worked >= SLICE_SECONDS:
            self._pause(worked)
            self._began = self._monotonic()


def _needles(account: str, change: Change) -> list[bytes]:
    """What a line must hold for its call to be concerned."""
    needles = [_of_account(account)]
    if isinstance(change, KeyChange):
        needles.append(f'"ARN":{quoted(change.now.arn)}'.encode("ascii"))
    elif isinstance(change, HolderChange) and not isinstance(change.now, GroupRecord):
        text = quoted(change.now.principal_id)
        # Behind a role's id the session's name follows.
        text = text[:-1] + ":" if change.now.kind is PrincipalKind.ROLE else text
        needles.append(f'"principalId":{text}'.encode("ascii"))
    return needles


def _of_account(account: str) -> bytes:
    return f'"recipientAccountId":{quoted(account)}'.encode("ascii")
