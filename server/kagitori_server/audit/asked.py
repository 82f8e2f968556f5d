"""What is asked of the trail: which records, and where an earlier answer ended."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import math
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from json.encoder import encode_basestring_ascii as quoted

from kagitori_server.audit.backwards import Cursor, event_time
from kagitori_server.audit.index_file import account_word, word
from kagitori_server.audit.matching import Filter, LookupEvent, attributes, lookup_event, needle, parse_record
from kagitori_server.model.errors import ValidationException

MAX_RESULTS = 50
MAX_TOKEN_CHARACTERS = 32 * 1024

_LATEST_SECOND = 253402300799
"""The last second of the year 9999, where dates of four-digit years end."""

_TOKEN = re.compile(r"1;([0-9a-f]{32});([0-9.,]+)")
_PLACE = re.compile(r"(0|[1-9][0-9]{0,2})\.([1-9][0-9]{0,7})\.(0|[1-9][0-9]{0,12})")


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


class Wanted:
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


def make_token(fingerprint: str, places: Iterable[tuple[int, Cursor]]) -> str:
    """Base64 of `1;<fingerprint>;<chain>.<segment>.<offset>,...`, in the order of the chains."""
    listed = ",".join(f"{chain}.{cursor.segment}.{cursor.offset}" for chain, cursor in places)
    return base64.urlsafe_b64encode(f"1;{fingerprint};{listed}".encode("ascii")).decode("ascii")


def read_token(fingerprint: str, token: str, chains: Collection[int]) -> list[tuple[int, Cursor]]:
    """The places of a token, in some of `chains`. Raises ValidationException for what `make_token` didn't make of this
    fingerprint. A made-up one can only skip records: it shows nothing that the query doesn't.
    """
    if len(token) > MAX_TOKEN_CHARACTERS:
        raise _bad_token()
    try:
        text = base64.b64decode(token.encode("ascii"), altchars=b"-_", validate=True).decode("ascii")
    except (ValueError, binascii.Error):
        raise _bad_token() from None
    whole = _TOKEN.fullmatch(text)
    if whole is None or whole.group(1) != fingerprint:
        raise _bad_token()
    places = [_PLACE.fullmatch(place) for place in whole.group(2).split(",")]
    numbers = [tuple(map(int, place.groups())) for place in places if place is not None]
    named = [chain for chain, _, _ in numbers]
    if None in places or named != sorted(set(named)) or not set(named) <= set(chains):
        raise _bad_token()
    return [(chain, Cursor(segment, offset)) for chain, segment, offset in numbers]


def fingerprint(*fixed: object) -> str:
    """Of what must not change from one call to the next: JSON members."""
    return hashlib.sha256(json.dumps(fixed).encode("ascii")).hexdigest()[:32]


def _bad_token() -> ValidationException:
    return ValidationException("The token is not one that this query returned.")


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
