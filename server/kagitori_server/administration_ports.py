"""The audit trail's files as AdminService's operations want them (`operations.administration.ports.AuditPort`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from kagitori_server.audit.lookup import LookupPage, LookupQuery, lookup_events
from kagitori_server.audit.matching import LookupKey
from kagitori_server.audit.trail import Position, Trail
from kagitori_server.audit.verify import ExpectedHead, VerifyReport, verify
from kagitori_server.operations.administration.ports import EventQuery, FoundDelivery


class AuditFiles:
    """Look-up and verification over the folder that this process's trail is in."""

    def __init__(
        self, root: Path, trail: Trail, check_delivered: Callable[[], FoundDelivery | None] = lambda: None
    ) -> None:
        self._root = root
        self._trail = trail
        self._check_delivered = check_delivered

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
        """Reads every chain and checks every link, and that this process's own chain ends no earlier than it wrote."""
        position = self._trail.position()
        expected = {position.chain: ExpectedHead(position.seq, position.head)} if position.seq else None
        return verify(self._root, expected_heads=expected)

    def check_delivered(self) -> FoundDelivery | None:
        """Checks what was delivered, where anything is. Raises DependencyTimeoutException."""
        return self._check_delivered()

    def positions(self) -> Sequence[Position]:
        """How far this process's chain has come."""
        return (self._trail.position(),)
