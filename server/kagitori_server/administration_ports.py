"""The audit trail's files as AdminService's operations want them (`operations.administration.ports.AuditPort`)."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from kagitori_server.audit.indexing import Indexes
from kagitori_server.audit.lookup import LookupPage, LookupQuery, lookup_events
from kagitori_server.audit.matching import Filter, LookupKey, context_pair
from kagitori_server.audit.portions import Follower, Following
from kagitori_server.audit.trail import Position, Trail
from kagitori_server.audit.verify import ExpectedHead, Problem, VerifyReport, verify
from kagitori_server.model.errors import ThrottlingException, ValidationException
from kagitori_server.operations.administration.ports import EventFilter, EventQuery, FoundDelivery, FoundPortion
from kagitori_server.operations.streams import Stream
from kagitori_server.transparency.checking import TreeProblem, check_trees

_RETRY_SECONDS = 5.0


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
    """Look-up, streams and verification over the folder that this process's trail is in."""

    def __init__(
        self, root: Path, trail: Trail, indexes: Indexes | None = None, *, streams: int = 4,
        rest: Callable[[], None] = lambda: None, check_delivered: Callable[[], FoundDelivery | None] = lambda: None,
    ) -> None:
        """`streams` run at once; `rest` is called again and again while they read, so that they don't slow calls."""
        self._root = root
        self._trail = trail
        self._indexes = indexes
        self._follower = Follower(root, trail.position, indexes, rest)
        self._streams = _Places(streams)
        self._check_delivered = check_delivered

    def lookup(self, query: EventQuery) -> LookupPage:
        """One page of records, newest first. Raises ValidationException for bad bounds, values and tokens."""
        return lookup_events(self._root, _asked(query), indexes=self._indexes)

    def tail(self, query: EventQuery, backlog: int, request_id: str) -> Stream[FoundPortion]:
        """See AuditPort."""
        return self._stream(Following(_asked(query), from_now=True, backlog=backlog, request_id=request_id))

    def export(self, query: EventQuery) -> Stream[FoundPortion]:
        """See AuditPort."""
        return self._stream(Following(_asked(query)))

    def _stream(self, asked: Following) -> Stream[FoundPortion]:
        with self._streams.taken():
            self._follower.check(asked)
            return Stream(lambda stopped: self._follower.portions(asked, stopped), self._streams.give_back)

    def verify(self) -> VerifyReport:
        """Reads every chain and checks every link, that this process's own chain ends no earlier than it wrote, and
        that trees and published checkpoints are those of their chains."""
        position = self._trail.position()
        expected = {position.chain: ExpectedHead(position.seq, position.head)} if position.seq else None
        return with_trees(verify(self._root, expected_heads=expected), check_trees(self._root))

    def check_delivered(self) -> FoundDelivery | None:
        """Checks what was delivered, where anything is. Raises DependencyTimeoutException."""
        return self._check_delivered()

    def positions(self) -> Sequence[Position]:
        """How far this process's chain has come."""
        return (self._trail.position(),)


class _Places:
    """So many things at once. Thread-safe."""

    def __init__(self, most: int) -> None:
        self._free = threading.BoundedSemaphore(most)

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Takes a place, which is kept unless the body raises. Raises ThrottlingException if none is free."""
        if not self._free.acquire(blocking=False):
            raise ThrottlingException("As many streams of audit records run as may.", retry_after=_RETRY_SECONDS)
        try:
            yield
        except BaseException:
            self._free.release()
            raise

    def give_back(self) -> None:
        """Lets go of a place."""
        self._free.release()


def _asked(query: EventQuery) -> LookupQuery:
    return LookupQuery(
        account_id=query.account,
        start_time=query.start_time,
        end_time=query.end_time,
        attribute=None if query.attribute is None else _filter(query.attribute),
        max_results=query.max_results,
        next_token=query.next_token,
        filters=tuple(map(_filter, query.filters)),
        not_before=query.not_before,
    )


def _filter(wanted: EventFilter) -> Filter:
    name, value, context_key = wanted
    key = LookupKey(name)
    if (key is LookupKey.ENCRYPTION_CONTEXT) is (context_key is None):
        raise ValidationException("ContextKey goes with EncryptionContext, and with nothing else.")
    return key, value if context_key is None else context_pair(context_key, value)
