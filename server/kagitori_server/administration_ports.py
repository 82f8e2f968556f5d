"""The audit trail's files as AdminService's operations want them (`operations.administration.ports.AuditPort`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from kagitori_server.audit.lookup import LookupPage, LookupQuery, lookup_events
from kagitori_server.audit.matching import LookupKey
from kagitori_server.audit.trail import Position, Trail
from kagitori_server.audit.verify import ExpectedHead, Problem, VerifyReport, verify
from kagitori_server.operations.administration.ports import EventQuery
from kagitori_server.transparency.checking import TreeProblem, check_trees


def with_trees(report: VerifyReport, found: Sequence[TreeProblem]) -> VerifyReport:
    """The report with what is wrong with trees added to their chains."""
    problems = [Problem(problem.chain, None, None, problem.description) for problem in found]
    chains = []
    for chain in report.chains:
        own = tuple(problem for problem in problems if problem.chain == chain.chain)
        chains.append(replace(chain, problem_count=chain.problem_count + len(own), problems=chain.problems + own))
    names = {chain.chain for chain in report.chains}
    others = tuple(problem for problem in problems if problem.chain not in names)
    return VerifyReport(tuple(chains), report.problems + others)


class AuditFiles:
    """Look-up and verification over the folder that this process's trail is in."""

    def __init__(self, root: Path, trail: Trail) -> None:
        self._root = root
        self._trail = trail

    def lookup(self, query: EventQuery) -> LookupPage:
        """One page of records, newest first. Raises ValidationException for bad bounds, values and tokens."""
        attribute = None
        if query.attribute is not None:
            name, value = query.attribute
            attribute = (LookupKey(name), value)
        return lookup_events(
            self._root,
            LookupQuery(
                account_id=query.account,
                start_time=query.start_time,
                end_time=query.end_time,
                attribute=attribute,
                max_results=query.max_results,
                next_token=query.next_token,
            ),
        )

    def verify(self) -> VerifyReport:
        """Reads every chain and checks every link, that this process's own chain ends no earlier than it wrote, and
        that trees and published checkpoints are those of their chains."""
        position = self._trail.position()
        expected = {position.chain: ExpectedHead(position.seq, position.head)} if position.seq else None
        return with_trees(verify(self._root, expected_heads=expected), check_trees(self._root))

    def positions(self) -> Sequence[Position]:
        """How far this process's chain has come."""
        return (self._trail.position(),)
