"""What a simulation has found: verdicts counted by what they have in common, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from kagitori_server.operations.shapes.decisions import Outcome, StatementReference
from kagitori_server.operations.shapes.simulation import (
    SimulatePolicyResponse,
    SimulationFinding,
    SimulationUndecided,
)
from kagitori_server.simulation.judging import Verdict
from kagitori_server.simulation.recorded import Reason

GROUPS = 10_000
"""Groups that are kept; beyond, those found so far are handed out, and may come again."""


def epoch(when: str) -> float:
    """Seconds since the epoch of a record's time. Raises ValueError."""
    return datetime.fromisoformat(when).timestamp()


@dataclass(slots=True)
class _Group:
    first: str
    last: str
    event_id: str
    statement: StatementReference | None
    calls: int = 0
    refused: int = 0


@dataclass(slots=True)
class _Undecided:
    calls: int = 0
    event_id: str = ""
    detail: str = ""


class Tally:
    """Counts. For one thread."""

    def __init__(self, groups: int = GROUPS) -> None:
        self._most = groups
        self._groups: dict[tuple[str, str, str, Outcome, Outcome], _Group] = {}
        self._undecided: dict[Reason, _Undecided] = {}
        self.decided = 0

    @property
    def full(self) -> bool:
        """Whether the findings should be taken before more are added."""
        return len(self._groups) >= self._most

    def add(self, verdicts: Sequence[Verdict], when: str, event_id: str) -> None:
        """A call that was decided."""
        self.decided += 1
        for verdict in verdicts:
            if verdict.turned:
                self._count(verdict, when, event_id)

    def _count(self, verdict: Verdict, when: str, event_id: str) -> None:
        place = (
            verdict.principal_arn, verdict.action, verdict.resource_arn, verdict.before, verdict.after
        )
        group = self._groups.get(place)
        if group is None:
            group = self._groups[place] = _Group(when, when, event_id, verdict.statement)
        elif when >= group.last:
            group.last, group.event_id, group.statement = when, event_id, verdict.statement
        group.first = min(group.first, when)
        group.calls += 1
        group.refused += verdict.refused

    def add_undecided(self, reason: Reason, event_id: str, detail: str = "", calls: int = 1) -> None:
        """Calls that can't be decided."""
        count = self._undecided.setdefault(reason, _Undecided())
        count.calls += calls
        count.event_id, count.detail = event_id, detail

    def take_findings(self) -> Iterator[SimulatePolicyResponse]:
        """What was found, those that would now be refused first, the most frequent before; they are forgotten."""
        groups, self._groups = self._groups, {}
        ordered = sorted(groups.items(), key=lambda item: (item[0][4] is Outcome.ALLOWED, -item[1].calls, item[0]))
        for (principal, action, resource, before, after), group in ordered:
            yield SimulatePolicyResponse(finding=SimulationFinding(
                principal_arn=principal,
                action=action,
                resource_arn=resource,
                before=before,
                after=after,
                calls=group.calls,
                first_seen=epoch(group.first),
                last_seen=epoch(group.last),
                event_id=group.event_id,
                statement=group.statement,
                refused_when_made=group.refused,
            ))

    def undecided(self) -> Iterator[SimulatePolicyResponse]:
        """What couldn't be decided, by reason."""
        for reason, count in sorted(self._undecided.items()):
            yield SimulatePolicyResponse(undecided=SimulationUndecided(
                reason=reason.value, calls=count.calls, event_id=count.event_id, detail=count.detail
            ))
