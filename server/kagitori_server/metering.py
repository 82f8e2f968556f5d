"""Counts what the service was used for by following its audit trail.

Each record counts exactly once, whatever crashes: counts are added in the transaction that moves the chain's
checkpoint, and only if nobody has moved it meanwhile. Every process follows its own chain as far as that is durable,
and the chains whose process is gone; a chain of another process that runs is left to that one, for only it knows how
far its records are durable.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from kagitori_server.audit.backwards import Cursor, chain_end
from kagitori_server.audit.chain import chain_names
from kagitori_server.audit.following import Reach, beginning, moment, number_of, reach, wanted
from kagitori_server.audit.forwards import chain_forwards
from kagitori_server.audit.metered import Mark, Metered, mark, read_mark, used
from kagitori_server.audit.trail import Trail
from kagitori_server.model.errors import DependencyTimeoutException
from kagitori_server.model.keys import KeySpec
from kagitori_server.model.usage import (
    SECONDS_PER_HOUR,
    KeyLastUsageTrackingOperation,
    Price,
    UsageType,
    requests_for_pair,
    requests_with,
)
from kagitori_server.model.usage_records import FollowedChain, LastUse, RequestCount
from kagitori_server.storage.catalog import Catalog
from kagitori_server.storage.reader import Reader

_log = logging.getLogger(__name__)

FREE_ERRORS = frozenset({
    # Nobody pays for what he wasn't let in to,
    "AccessDenied",
    # for what was turned away because it came too fast,
    "ThrottlingException",
    # or for what the service failed to do.
    "DependencyTimeoutException", "KMSInternalException", "KeyUnavailableException",
})
"""Calls that ended so aren't charged. Nor are those of callers who couldn't prove who they are."""

CHUNK_BYTES = 8 * 1024 * 1024
"""How much of a chain is counted in one transaction, some eight thousand records."""

_TRACKED = frozenset(operation.value for operation in KeyLastUsageTrackingOperation)
_MARKS_KEPT = 20_000
_SPECS_KEPT = 100_000


class _Found:
    """What a part of a chain tells, before it's written down."""

    def __init__(self) -> None:
        self.requests: Counter[tuple[bytes, Mark]] = Counter()
        self.latest: dict[Mark, bytes] = {}
        self.damaged = 0

    def add(self, lines: list[bytes]) -> None:
        """Takes note of records."""
        requests, latest = self.requests, self.latest
        for line in lines:
            found = mark(line)
            if found is None:
                self.damaged += 1
            else:
                requests[found] += 1
                latest[found[1]] = line


class Meter:
    """The follower of a process. Thread-safe; everything blocks.

    `rest` is called again and again while `run_once` reads, so that it doesn't slow calls.
    """

    def __init__(
        self, catalog: Catalog, audit_root: Path, trail: Trail, prices: Mapping[str, Price],
        monotonic: Callable[[], float], rest: Callable[[], None],
    ) -> None:
        self._catalog = catalog
        self._root = audit_root
        self._trail = trail
        self._prices = prices
        self._monotonic = monotonic
        self._rest = rest
        self._lock = threading.Lock()
        self._stopping = False
        self._specs: dict[str, KeySpec] = {}
        self._read_mark = lru_cache(maxsize=_MARKS_KEPT)(read_mark)

    def run_once(self) -> None:
        """Counts what there is by now, with rests. Raises KmsError when the catalog fails, OSError."""
        for goal in self._goals():
            while self._step(goal, self._rest) and not self._stopping:
                self._rest()

    def stop(self) -> None:
        """Lets `run_once` end soon; what it leaves is counted another time."""
        self._stopping = True

    def catch_up(self, seconds: float) -> None:
        """Counts what there is by now without rests, for a caller who waits.

        Raises DependencyTimeoutException when there was more than could be counted in that time, KmsError, OSError.
        """
        deadline = self._monotonic() + seconds
        for goal in self._goals():
            while self._step(goal, None):
                if self._monotonic() > deadline:
                    raise DependencyTimeoutException("The audit trail is still being counted; try again later.")

    def counted(self, chain: str) -> int:
        """The number of the last record of a chain that was counted."""
        with self._catalog.read() as reader:
            known = self._known(reader, chain)
        return 0 if known is None else known.seq

    def _goals(self) -> list[Reach]:
        own = self._trail.position()
        others = [chain for chain in chain_names(self._root) if chain != own.chain and self._more(chain)]
        goals = [reach(self._root, chain, own) for chain in (own.chain, *others)]
        return [goal for goal in goals if goal is not None]

    def _more(self, chain: str) -> bool:
        """Whether a chain has more than was counted."""
        with self._catalog.read() as reader:
            known = self._known(reader, chain)
        return known is not None and Cursor(known.segment, known.offset) != chain_end(self._root / chain)

    def _step(self, goal: Reach, rest: Callable[[], None] | None) -> bool:
        """Counts a part of a chain. Returns whether there may be more."""
        with self._lock:
            with self._catalog.read() as reader:
                known = self._known(reader, goal.chain)
            if known is None or (goal.seq is not None and known.seq >= goal.seq):
                return False
            found = _Found()
            reached = self._read(goal, known, found, rest)
            if reached == known:
                return False
            with self._catalog.read() as reader:
                counts, uses = self._settled(reader, found)
            with self._catalog.write() as writer:
                if writer.follow_chain(known, reached):
                    writer.add_requests(counts)
                    writer.note_last_uses(uses)
            if found.damaged:
                _log.error("%d lines of audit chain %s can't be read and were not counted", found.damaged, goal.chain)
            return True

    def _known(self, reader: Reader, chain: str) -> FollowedChain | None:
        """The checkpoint of a chain; None while it has no record."""
        start = _start(self._root / chain)
        return None if start is None else reader.followed_chain(start.chain_id) or start

    def _read(
        self, goal: Reach, known: FollowedChain, found: _Found, rest: Callable[[], None] | None
    ) -> FollowedChain:
        reached, size = known, 0
        start = Cursor(known.segment, known.offset)
        for stretch in chain_forwards(self._root / goal.chain, start, goal.stop):
            part, done = wanted(stretch, reached.seq, goal.seq)
            found.add(part.lines)
            if part.lines or not done:
                seq = number_of(part.lines[-1]) if part.lines else 0
                reached = replace(
                    reached, segment=part.end.segment, offset=part.end.offset, seq=max(seq, reached.seq)
                )
            size += sum(map(len, part.lines))
            if done or size > CHUNK_BYTES:
                break
            if rest is not None:
                rest()
        return reached

    def _settled(self, reader: Reader, found: _Found) -> tuple[list[RequestCount], list[LastUse]]:
        """The rows to write: what the marks mean."""
        specs = _Specs(reader, self._specs)
        counts: Counter[tuple[str, int, str, str, str]] = Counter()
        for (hour, what), quantity in found.requests.items():
            record = self._read_mark(what)
            kind = None if record is None else self._kind(record, specs)
            if record is not None and kind is not None:
                key = record.keys[-1] if record.keys else ""
                counts[record.account, _hour_number(hour), record.region, key, kind.value] += quantity
        uses: dict[str, LastUse] = {}
        # In the order of the chain: times are whole seconds.
        for what, line in sorted(found.latest.items(), key=lambda item: number_of(item[1])):
            record = self._read_mark(what)
            if record is not None and record.operation in _TRACKED and not record.error:
                for use in _uses(record, line):
                    before = uses.get(use.key_arn)
                    if before is None or before.moment <= use.moment:
                        uses[use.key_arn] = use
        return [RequestCount(*group, quantity) for group, quantity in counts.items()], list(uses.values())

    def _kind(self, record: Metered, specs: _Specs) -> UsageType | None:
        """As what the call is charged; None for calls that aren't."""
        price = self._prices.get(record.operation)
        if price is None or not record.charged or record.error in FREE_ERRORS:
            return None
        match price:
            case Price.MANAGEMENT:
                return UsageType.SYMMETRIC
            case Price.BY_KEY:
                return requests_with(tuple(spec for arn in record.keys if (spec := specs.of(arn)) is not None))
            case Price.BY_PAIR:
                return requests_for_pair(record.pair)


class _Specs:
    """The specs of keys by their ARNs. No key changes its spec, and no key id comes back with another."""

    def __init__(self, reader: Reader, known: dict[str, KeySpec]) -> None:
        self._reader = reader
        self._known = known

    def of(self, arn: str) -> KeySpec | None:
        """The spec; None for a key that the catalog never had."""
        spec = self._known.get(arn)
        if spec is None:
            parts = arn.split(":", 5)
            key_id = parts[5].removeprefix("key/") if len(parts) == 6 else ""
            spec = self._reader.spec_of(parts[3], key_id) if key_id else None
            if spec is not None:
                if len(self._known) >= _SPECS_KEPT:
                    self._known.clear()
                self._known[arn] = spec
        return spec


def _start(folder: Path) -> FollowedChain | None:
    """The checkpoint before the first line of a chain; None if there is no line yet."""
    found = beginning(folder)
    return None if found is None else FollowedChain(found.chain_id, folder.name, 1, 0, 0, found.began)


def _uses(record: Metered, line: bytes) -> list[LastUse]:
    """What a successful cryptographic call means for the keys of the account whose record it is."""
    own = [arn for arn in record.keys if arn.split(":", 5)[4] == record.account]
    told = used(line) if own else None
    if told is None:
        return []
    when = moment(told.time)
    return [LastUse(arn, when, record.operation, told.event_id, told.request_id) for arn in own]


@lru_cache(maxsize=1024)
def _hour_number(hour: bytes) -> int:
    return int(moment(hour.decode("ascii") + ":00:00Z")) // SECONDS_PER_HOUR
