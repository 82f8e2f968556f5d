"""Finding records again: CloudTrail's LookupEvents over all chains of a root, newest first.

Asks the index where there is one, else reads the segments from the end, while writers append to them; what is found
is the same. Blocks on file I/O: callers in an event loop use a thread. What a caller may see is decided before; here
that is one account or all.

The order is this: of one chain's records, those that were written later come first, whatever their times say. Of
several chains, the record with the later time is next. As long as no clock is set back, this is the order of times.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Generator, Iterator, Sequence, Set
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from kagitori_server.audit.asked import LookupQuery, Wanted, fingerprint, make_token, read_token, second_text
from kagitori_server.audit.backwards import (
    BEGINNING,
    CLOCK_SLACK_SECONDS,
    Cursor,
    LineAt,
    chain_backwards,
    chain_end,
    event_time,
)
from kagitori_server.audit.chain import chain_name, chain_names
from kagitori_server.audit.index_file import Step
from kagitori_server.audit.indexing import Indexes
from kagitori_server.audit.matching import LookupEvent, parse_record

__all__ = ["DEFAULT_SCAN_BYTES", "LookupPage", "LookupQuery", "contains", "lookup_events", "second_text"]

DEFAULT_SCAN_BYTES = 64 * 1024 * 1024
"""What one call reads at most before it answers with what it has and a token to go on from."""

_EVENT_ID = re.compile(rb'"eventID":"([^"\\]{1,64})"')


class LookupPage(NamedTuple):
    """Events newest first. There may be none although a `next_token` says that there is more to search."""

    events: tuple[LookupEvent, ...]
    next_token: str | None


def lookup_events(
    root: Path, query: LookupQuery, scan_bytes: int = DEFAULT_SCAN_BYTES, indexes: Indexes | None = None,
    starts: list[tuple[int, Cursor]] | None = None,
) -> LookupPage:
    """One page of the records that fit. Raises ValidationException for bad bounds, values and tokens.

    What is appended after the first page is on no later one. `starts` are places in the chains to look back from
    instead of their ends.
    """
    wanted = Wanted(query)
    budget = _Budget(scan_bytes)
    walks = [_Walk(root, chain, cursor, wanted, budget, indexes) for chain, cursor in starts or _starts(root, query)]
    events: list[LookupEvent] = []
    try:
        while len(events) < query.max_results:
            for walk in walks:
                walk.advance()
            # Out of budget, some walk stopped early, and might hold newer records than the others have found.
            found = [walk for walk in walks if walk.found is not None]
            if budget.spent or not found:
                break
            events.append(max(found, key=_Walk.found_time).take())
    finally:
        for walk in walks:
            walk.close()
    places = [(walk.chain, walk.cursor) for walk in walks if not walk.exhausted]
    return LookupPage(tuple(events), make_token(_fingerprint(query), places) if places else None)


def contains(root: Path, chain: str, event_ids: Set[str], since: float) -> frozenset[str]:
    """Which of these event ids a chain holds, looking from its end back to the epoch second `since`.

    Meant for recovery after a crash: was the outcome of an intent recorded? Reads on for a few minutes' worth
    of records before `since`, in case the clock was stepped. An unknown chain contains nothing.
    """
    if not event_ids or chain not in chain_names(root):
        return frozenset()
    oldest = second_text(since - CLOCK_SLACK_SECONDS)
    found: set[str] = set()
    for line in chain_backwards(root / chain, chain_end(root / chain)):
        when = event_time(line.data)
        if (when and when < oldest) or len(found) == len(event_ids):
            break
        # Callers may choose names in parameters, so what looks like the id is only a reason to parse.
        if any(text.decode("ascii", "replace") in event_ids for text in _EVENT_ID.findall(line.data)):
            record = parse_record(line.data) or {}
            found.update({str(record.get("eventID"))} & event_ids)
    return frozenset(found)


class Sought(NamedTuple):
    """What the index is asked for: words that lines have (None: it can't be asked), and between which times."""

    words: Sequence[str] | None
    oldest: str
    newest: str


def search_back(
    chain_dir: Path, place: Cursor, sought: Sought, indexes: Indexes | None,
    scan: Callable[[Cursor, Cursor], Iterator[Step]],
) -> Generator[Step, None, None]:
    """All lines before a place that may be what is sought, newest first: by the index, and where there is none by
    `scan`, which is given two places and goes from the first back to the second. Raises OSError."""
    words = sought.words
    files = [] if indexes is None or words is None else indexes.usable(chain_dir.name)
    for first, path in files:
        reader = indexes.open(path) if indexes is not None and Cursor(first, 0) < place else None
        if indexes is None or words is None or reader is None:
            continue
        with closing(reader):
            if reader.end < place:
                yield from scan(place, reader.end)
                place = reader.end
            try:
                for step in reader.search(words, place, sought.oldest, sought.newest):
                    yield step
                    place = step.place
            except sqlite3.Error as error:
                indexes.doubt(path, error)
                yield from scan(place, reader.start)
            place = reader.start
    yield from scan(place, BEGINNING)


class _Budget:
    """The bytes of lines that don't fit which a call may still read."""

    def __init__(self, scan_bytes: int) -> None:
        self._left = scan_bytes

    @property
    def spent(self) -> bool:
        return self._left <= 0

    def take(self, size: int) -> None:
        self._left -= size


class _Walk:
    """The search of one chain from its end, halted at each record that fits.

    `cursor` is where a later call has to go on: behind the record found and not taken, else before what was read.
    """

    def __init__(
        self, root: Path, chain: int, cursor: Cursor, wanted: Wanted, budget: _Budget, indexes: Indexes | None
    ) -> None:
        self.chain = chain
        self.cursor = cursor
        self.found: tuple[LookupEvent, LineAt] | None = None
        self.exhausted = False
        self._dir = root / chain_name(chain)
        self._wanted = wanted
        self._budget = budget
        self._steps = search_back(
            self._dir, cursor, Sought(wanted.words, wanted.oldest, wanted.newest), indexes, self._scan
        )

    def close(self) -> None:
        """Gives files back."""
        self._steps.close()

    def advance(self) -> None:
        """Unless one is held, reads on to the next that fits, the end of the chain or of the budget."""
        while self.found is None and not self.exhausted and not self._budget.spent:
            step = next(self._steps, None)
            if step is None:
                self.exhausted = True
                return
            event = self._wanted.match(step.line.data) if step.line is not None else None
            if event is not None and step.line is not None:
                # Free: what is held but not taken is read again by the next call, which must get further.
                self.found = event, step.line
                self.cursor = step.line.end
                return
            self._budget.take(step.cost)
            self.cursor = step.place

    def _scan(self, before: Cursor, stop: Cursor) -> Iterator[Step]:
        for line in chain_backwards(self._dir, before, stop):
            yield Step(line, line.start, len(line.data))

    def found_time(self) -> float:
        """When the record held happened."""
        return self._held()[0].event_time

    def take(self) -> LookupEvent:
        """Hands out the record held; the search is to go on before it."""
        event, line = self._held()
        self.found = None
        self.cursor = line.start
        return event

    def _held(self) -> tuple[LookupEvent, LineAt]:
        if self.found is None:
            raise RuntimeError("no record is held")
        return self.found


def _starts(root: Path, query: LookupQuery) -> list[tuple[int, Cursor]]:
    """Where to begin in each chain: at its end, or where the token says."""
    present = [int(name.removeprefix("chain-")) for name in chain_names(root)]
    if query.next_token is None:
        return [(number, chain_end(root / chain_name(number))) for number in present]
    return read_token(_fingerprint(query), query.next_token, present)


def _fingerprint(query: LookupQuery) -> str:
    return fingerprint(query.account_id, query.start_time, query.end_time, query.attribute, *sorted(query.filters))
