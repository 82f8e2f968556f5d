"""The records of an account in the order in which they came, in portions: what came since, or all of a period.

A portion says how to go on behind it, as places in all chains: what was read up to there has been given, whatever
connection or process asks next. Of this process's own chain only what is durable is given, of others whole lines.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from kagitori_server.audit.asked import MAX_RESULTS, LookupQuery, Wanted, fingerprint, make_token, read_token
from kagitori_server.audit.backwards import Cursor, chain_backwards, chain_end, event_time
from kagitori_server.audit.chain import chain_name, chain_names, parse_line
from kagitori_server.audit.forwards import chain_forwards
from kagitori_server.audit.indexing import Indexes
from kagitori_server.audit.lookup import LookupPage, lookup_events
from kagitori_server.audit.matching import LookupEvent
from kagitori_server.audit.trail import Position

MOST_EVENTS = 100
MOST_BYTES = 256 * 1024
"""Of the records of a portion; a single one may be longer."""
BYTES_BETWEEN = 8 * 1024 * 1024
"""After reading so much without finding that many, a portion is given all the same, and says how far it came."""

_FIRST = Cursor(1, 0)


class Portion(NamedTuple):
    """Records, oldest first, and the token to go on with behind them; `complete` if nothing comes behind."""

    events: tuple[LookupEvent, ...]
    resume_token: str
    complete: bool


@dataclass(frozen=True, slots=True)
class Following:
    """One call of TailEvents or ExportEvents.

    Times and filters are those of `query`, whose token is one of a portion. With `from_now`, what is there already is
    passed over but for the newest `backlog` records; a token goes before that. The record of `request_id` is left out.
    """

    query: LookupQuery
    from_now: bool = False
    backlog: int = 0
    request_id: str | None = None


class _Page(NamedTuple):
    """Records that were looked up: the token of their page, None for the newest, and how many they were."""

    token: str | None
    records: int


class Follower:
    """Reads the trail of a root forwards. Thread-safe; everything blocks."""

    def __init__(
        self, root: Path, position: Callable[[], Position], indexes: Indexes | None, rest: Callable[[], None]
    ) -> None:
        """`position` tells how far this process's own chain is durable; `rest` is called after each block read."""
        self._root = root
        self._position = position
        self._indexes = indexes
        self._rest = rest

    def check(self, asked: Following) -> None:
        """Raises ValidationException for bad bounds, values and tokens."""
        Wanted(asked.query)
        self._starts(asked, {})

    def portions(self, asked: Following, stopped: Callable[[], bool]) -> Generator[Portion, None, None]:
        """The records up to what is there now, in portions; at least one. Raises as `check` does, OSError."""
        wanted = Wanted(asked.query)
        ends = {chain: self._end(chain) for chain in self._chains()}
        starts = self._starts(asked, ends)
        mark = _mark(asked)
        if asked.from_now and asked.query.next_token is None and asked.backlog:
            yield from self._backlog(asked, ends, make_token(mark, sorted(ends.items())), stopped)
        places = dict(starts)
        reading = _Reading(self._root, places, ends, self._rest)
        events: list[LookupEvent] = []
        size = read = 0
        for line in reading.lines(lambda chain, place: self._narrowed(chain, place, wanted)):
            read += len(line)
            event = wanted.match(line)
            if event is not None and not _own(event, asked.request_id):
                events.append(event)
                size += len(event.cloud_trail_event)
            if len(events) >= MOST_EVENTS or size >= MOST_BYTES or read >= BYTES_BETWEEN:
                yield Portion(tuple(events), make_token(mark, sorted(places.items())), complete=False)
                events, size, read = [], 0, 0
            if stopped():
                return
        yield Portion(tuple(events), make_token(mark, sorted(places.items())), complete=True)

    def _chains(self) -> list[int]:
        return [int(name.removeprefix("chain-")) for name in chain_names(self._root)]

    def _end(self, chain: int) -> Cursor:
        """The place behind the last line that may be given."""
        folder = self._root / chain_name(chain)
        own = self._position()
        for line in chain_backwards(folder, chain_end(folder)):
            parsed = parse_line(line.data)
            if own.chain != folder.name or (parsed is not None and parsed.seq <= own.seq):
                return line.end
        return _FIRST

    def _starts(self, asked: Following, ends: dict[int, Cursor]) -> list[tuple[int, Cursor]]:
        token = asked.query.next_token
        if token is not None:
            known = dict(read_token(_mark(asked), token, self._chains()))
            # A chain that wasn't there then is read from its beginning.
            return [(chain, known.get(chain, _FIRST)) for chain in self._chains()]
        return sorted(ends.items()) if asked.from_now else [(chain, _FIRST) for chain in self._chains()]

    def _backlog(
        self, asked: Following, ends: dict[int, Cursor], token: str, stopped: Callable[[], bool]
    ) -> Iterator[Portion]:
        """The newest records before the ends, in portions. Looked up twice, as they are found newest first and given
        oldest first: just where each page begins is remembered."""
        pages: list[_Page] = []
        left, place = asked.backlog, _Page(None, 0)
        while left > 0 and not stopped():
            page = self._page(asked, ends, place.token, left)
            if page.events:
                pages.append(place._replace(records=len(page.events)))
            left -= sum(not _own(event, asked.request_id) for event in page.events)
            if page.next_token is None:
                break
            if not page.events:
                # Where what is looked for is rare, the look-up can take long: whoever waits is told that it goes on.
                yield Portion((), token, complete=False)
            place = _Page(page.next_token, 0)
        for place in reversed(pages):
            newest = self._again(asked, ends, place)
            events: list[LookupEvent] = []
            size = 0
            for event in reversed(newest):
                events.append(event)
                size += len(event.cloud_trail_event)
                if size >= MOST_BYTES:
                    yield Portion(tuple(events), token, complete=False)
                    events, size = [], 0
            if events:
                yield Portion(tuple(events), token, complete=False)
            if stopped():
                return

    def _again(self, asked: Following, ends: dict[int, Cursor], place: _Page) -> list[LookupEvent]:
        """The records of a page that was looked at before, newest first. The index may have changed since, and with it
        how far one look-up comes, but not what follows what."""
        found: list[LookupEvent] = []
        token, left = place.token, place.records
        while left > 0:
            page = self._page(asked, ends, token, left)
            found += [event for event in page.events if not _own(event, asked.request_id)]
            token, left = page.next_token, left - len(page.events)
            if token is None:
                break
        return found

    def _page(self, asked: Following, ends: dict[int, Cursor], token: str | None, most: int) -> LookupPage:
        """At most `most` records, newest first, before the ends or where a token says."""
        query = replace(asked.query, max_results=min(most, MAX_RESULTS), next_token=token)
        starts = sorted(ends.items()) if token is None else None
        return lookup_events(self._root, query, indexes=self._indexes, starts=starts)

    def _narrowed(self, chain: int, place: Cursor, wanted: Wanted) -> Cursor:
        """A place from which on a chain may be read instead, as the index has no such times before it."""
        if self._indexes is None:
            return place
        for first, path in reversed(self._indexes.usable(chain_name(chain))):
            if place < Cursor(first, 0):
                break
            reader = self._indexes.open(path)
            if reader is None:
                break
            with closing(reader):
                if reader.end < place:
                    continue
                found = reader.first_place(wanted.oldest, wanted.newest)
                if found is not None:
                    return max(found, place)
                place = Cursor(reader.end.segment + 1, 0) if reader.about.sealed else reader.end
        return place


class _Reading:
    """Several chains read forwards as one: the line with the earliest time of those that are next comes next."""

    def __init__(
        self, root: Path, places: dict[int, Cursor], ends: dict[int, Cursor], rest: Callable[[], None]
    ) -> None:
        """`places` are where to begin, and are moved behind each line that is given."""
        self._root = root
        self._places = places
        self._ends = ends
        self._rest = rest

    def lines(self, narrowed: Callable[[int, Cursor], Cursor]) -> Iterator[bytes]:
        """All lines; places are right for those given so far."""
        for chain, place in self._places.items():
            self._places[chain] = narrowed(chain, place)
        chains = {chain: self._chain(chain) for chain in self._places}
        heads: list[tuple[str, int, bytes, Cursor]] = []
        for chain, lines in chains.items():
            self._next(heads, chain, lines)
        while heads:
            _, chain, line, end = heapq.heappop(heads)
            self._places[chain] = end
            yield line
            self._next(heads, chain, chains[chain])

    def _next(
        self, heads: list[tuple[str, int, bytes, Cursor]], chain: int, lines: Iterator[tuple[bytes, Cursor]]
    ) -> None:
        found = next(lines, None)
        if found is not None:
            heapq.heappush(heads, (event_time(found[0]), chain, *found))
        elif chain in self._ends:
            self._places[chain] = max(self._places[chain], self._ends[chain])

    def _chain(self, chain: int) -> Iterator[tuple[bytes, Cursor]]:
        """Lines and the places behind them."""
        stop = self._ends.get(chain, _FIRST)
        for stretch in chain_forwards(self._root / chain_name(chain), self._places[chain], stop):
            offset = stretch.end.offset - sum(len(line) + 1 for line in stretch.lines)
            for line in stretch.lines:
                offset += len(line) + 1
                yield line, Cursor(stretch.end.segment, offset)
            self._rest()


def _own(event: LookupEvent, request_id: str | None) -> bool:
    # Callers may name such a member in parameters, which stand before the record's own.
    own = event.cloud_trail_event.rpartition('"requestID":"')[2]
    return request_id is not None and own.startswith(f'{request_id}"')


def _mark(asked: Following) -> str:
    query = asked.query
    kind = "tail" if asked.from_now else "export"
    return fingerprint(kind, query.account_id, query.start_time, query.end_time, *sorted(query.filters))
