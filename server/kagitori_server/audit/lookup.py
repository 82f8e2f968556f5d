"""Finding records again: CloudTrail's LookupEvents over all chains of a root, newest first.

Asks the index where there is one, else reads the segments from the end, while writers append to them; what is found
is the same. Blocks on file I/O: callers in an event loop use a thread. What a caller may see is decided before; here
that is one account or all.

The order is this: of one chain's records, those that were written later come first, whatever their times say. Of
several chains, the record with the later time is next. As long as no clock is set back, this is the order of times.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import math
import re
import sqlite3
from collections.abc import Generator, Iterator, Set
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from json.encoder import encode_basestring_ascii as quoted
from pathlib import Path
from typing import NamedTuple

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
from kagitori_server.audit.index_file import Step, account_word, word
from kagitori_server.audit.indexing import Indexes
from kagitori_server.audit.matching import (
    Filter,
    LookupEvent,
    attributes,
    lookup_event,
    needle,
    parse_record,
)
from kagitori_server.model.errors import ValidationException

MAX_RESULTS = 50
MAX_TOKEN_CHARACTERS = 32 * 1024

DEFAULT_SCAN_BYTES = 64 * 1024 * 1024
"""What one call reads at most before it answers with what it has and a token to go on from."""

_LATEST_SECOND = 253402300799
"""The last second of the year 9999, where dates of four-digit years end."""

_TOKEN = re.compile(r"1;([0-9a-f]{32});([0-9.,]+)")
_PLACE = re.compile(r"(0|[1-9][0-9]{0,2})\.([1-9][0-9]{0,7})\.(0|[1-9][0-9]{0,12})")
_EVENT_ID = re.compile(rb'"eventID":"([^"\\]{1,64})"')


@dataclass(frozen=True, slots=True)
class LookupQuery:
    """One call of LookupEvents.

    `account_id` None means all accounts. Times are epoch seconds, both ends included, None for no bound. A record has
    to fit `attribute` and all `filters`. A `next_token` goes with the same account, times, attribute and filters as
    the call that returned it; not so `not_before`, a bound that moves.
    """

    account_id: str | None
    start_time: float | None = None
    end_time: float | None = None
    attribute: Filter | None = None
    max_results: int = MAX_RESULTS
    next_token: str | None = None
    filters: tuple[Filter, ...] = ()
    not_before: float | None = None


class LookupPage(NamedTuple):
    """Events newest first. There may be none although a `next_token` says that there is more to search."""

    events: tuple[LookupEvent, ...]
    next_token: str | None


def lookup_events(
    root: Path, query: LookupQuery, scan_bytes: int = DEFAULT_SCAN_BYTES, indexes: Indexes | None = None
) -> LookupPage:
    """One page of the records that fit. Raises ValidationException for bad bounds, values and tokens.

    What is appended after the first page is on no later one.
    """
    wanted = _Wanted(query)
    budget = _Budget(scan_bytes)
    walks = [_Walk(root, chain, cursor, wanted, budget, indexes) for chain, cursor in _starts(root, query)]
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
    return LookupPage(tuple(events), _make_token(query, places) if places else None)


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


class _Budget:
    """The bytes of lines that don't fit which a call may still read."""

    def __init__(self, scan_bytes: int) -> None:
        self._left = scan_bytes

    @property
    def spent(self) -> bool:
        return self._left <= 0

    def take(self, size: int) -> None:
        self._left -= size


class _Wanted:
    """A query made ready for lines: first text that must occur, then the members of the record."""

    def __init__(self, query: LookupQuery) -> None:
        """Raises ValidationException if the query is not acceptable."""
        if not 1 <= query.max_results <= MAX_RESULTS:
            raise ValidationException(f"MaxResults must be between 1 and {MAX_RESULTS}.")
        start = _bound(query.start_time, 0)
        end = _bound(query.end_time, _LATEST_SECOND)
        if start > end:
            raise ValidationException("StartTime must not be after EndTime.")
        # Records keep whole seconds.
        self.oldest = second_text(start if query.not_before is None else max(int(start), math.ceil(query.not_before)))
        self.newest = second_text(end)
        self._account = query.account_id
        filters = (*query.filters, *(() if query.attribute is None else (query.attribute,)))
        self._filters = frozenset(filters)
        self._needles = [needle(*wanted) for wanted in self._filters]
        self.words: list[str] | None = None
        """What the index is asked for; None if it can't be asked."""
        if query.account_id is not None:
            self._needles.append(f'"recipientAccountId":{quoted(query.account_id)}'.encode("ascii"))
            account = query.account_id
            self.words = [word(account, wanted) for wanted in self._filters] or [account_word(account)]

    def match(self, line: bytes) -> LookupEvent | None:
        """The line's event if it fits."""
        if not self.oldest <= event_time(line) <= self.newest or not all(text in line for text in self._needles):
            return None
        record = parse_record(line)
        if record is None or self._account not in (None, record.get("recipientAccountId")):
            return None
        return lookup_event(record, line) if self._filters <= attributes(record) else None


class _Walk:
    """The search of one chain from its end, halted at each record that fits.

    `cursor` is where a later call has to go on: behind the record found and not taken, else before what was read.
    """

    def __init__(
        self, root: Path, chain: int, cursor: Cursor, wanted: _Wanted, budget: _Budget, indexes: Indexes | None
    ) -> None:
        self.chain = chain
        self.cursor = cursor
        self.found: tuple[LookupEvent, LineAt] | None = None
        self.exhausted = False
        self._dir = root / chain_name(chain)
        self._wanted = wanted
        self._budget = budget
        self._steps = self._search(indexes, cursor)

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

    def _search(self, indexes: Indexes | None, place: Cursor) -> Generator[Step, None, None]:
        """All lines before a place that may fit, newest first: by the index, and one by one where there is none."""
        words = self._wanted.words
        files = [] if indexes is None or words is None else indexes.usable(self._dir.name)
        for first, path in files:
            reader = indexes.open(path) if indexes is not None and Cursor(first, 0) < place else None
            if indexes is None or words is None or reader is None:
                continue
            with closing(reader):
                if reader.end < place:
                    yield from self._scan(place, reader.end)
                    place = reader.end
                try:
                    for step in reader.search(words, place, self._wanted.oldest, self._wanted.newest):
                        yield step
                        place = step.place
                except sqlite3.Error as error:
                    indexes.doubt(path, error)
                    yield from self._scan(place, reader.start)
                place = reader.start
        yield from self._scan(place, BEGINNING)

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
    starts = _read_token(query, query.next_token)
    if not {number for number, _ in starts} <= set(present):
        raise _bad_token()
    return starts


def _make_token(query: LookupQuery, places: list[tuple[int, Cursor]]) -> str:
    """Base64 of `1;<hash of the query>;<chain>.<segment>.<offset>,...`; without exhausted chains."""
    listed = ",".join(f"{chain}.{cursor.segment}.{cursor.offset}" for chain, cursor in places)
    text = f"1;{_fingerprint(query)};{listed}"
    return base64.urlsafe_b64encode(text.encode("ascii")).decode("ascii")


def _read_token(query: LookupQuery, token: str) -> list[tuple[int, Cursor]]:
    """The places of a token. A made-up one can only skip records: it shows nothing the query doesn't."""
    if len(token) > MAX_TOKEN_CHARACTERS:
        raise _bad_token()
    try:
        text = base64.b64decode(token.encode("ascii"), altchars=b"-_", validate=True).decode("ascii")
    except (ValueError, binascii.Error):
        raise _bad_token() from None
    whole = _TOKEN.fullmatch(text)
    if whole is None or whole.group(1) != _fingerprint(query):
        raise _bad_token()
    places = [_PLACE.fullmatch(place) for place in whole.group(2).split(",")]
    numbers = [tuple(map(int, place.groups())) for place in places if place is not None]
    chains = [chain for chain, _, _ in numbers]
    if None in places or chains != sorted(set(chains)):
        raise _bad_token()
    return [(chain, Cursor(segment, offset)) for chain, segment, offset in numbers]


def _fingerprint(query: LookupQuery) -> str:
    """What must not change from page to page."""
    fixed = [query.account_id, query.start_time, query.end_time, query.attribute, *sorted(query.filters)]
    return hashlib.sha256(json.dumps(fixed).encode("ascii")).hexdigest()[:32]


def _bad_token() -> ValidationException:
    return ValidationException("The NextToken is not one that this query returned.")


def _bound(moment: float | None, default: float) -> float:
    if moment is None:
        return default
    if not (math.isfinite(moment) and 0 <= moment <= _LATEST_SECOND):
        raise ValidationException("A time of the range is out of bounds.")
    return moment


def second_text(moment: float) -> str:
    """An epoch time as records write it, held within the years that they can write."""
    second = int(min(max(moment, 0), _LATEST_SECOND))
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
