"""GetUsage: adds up what was used, by hours, for showback or billing."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from operator import attrgetter
from typing import NamedTuple

from kagitori_server.model.errors import ValidationException
from kagitori_server.model.usage import SECONDS_PER_HOUR, UsageType, hours_end, hours_of_rotation, month_around
from kagitori_server.operations.administration.pages import DEFAULT_PAGE
from kagitori_server.operations.administration.reach import is_home
from kagitori_server.operations.administration.usage_lists import Sum
from kagitori_server.operations.context import Context
from kagitori_server.operations.paging import cut, decode_marker, encode_marker
from kagitori_server.operations.shapes.usage import GetUsageRequest, GetUsageResponse, UsageDimension, UsageItem
from kagitori_server.storage.reader import Reader

_LISTING = "GetUsage"
_PATIENCE_SECONDS = 8.0
"""How long a call waits for the trail to be counted: less than clients wait for an answer."""
_LONGEST_HOURS = 366 * 24
_LATEST_HOUR = 253_402_300_800 // SECONDS_PER_HOUR
"""The end of the year 9999."""


class _Group(NamedTuple):
    """What a sum is of, in the order of the list; empty for what it isn't grouped by."""

    usage_type: str
    account: str
    region: str
    key_arn: str
    unit: str


def get_usage(context: Context, request: GetUsageRequest) -> GetUsageResponse:
    """Sums of requests and of the hours of keys, this moment's included; the hours to come aren't.

    Raises ValidationException for times that make no sense or aren't known so exactly any more,
    DependencyTimeoutException while the trail holds more than can be counted in time.
    """
    first, end = _hours(request.start_time, request.end_time)
    _check_known(first, end, context.now)
    after = decode_marker(_LISTING, request.marker)
    wanted = frozenset(request.group_by)
    # The managing account without naming one asks for all; others have been refused all but their own.
    everyone = request.account_id is None and is_home(context)
    account = None if everyone else context.account
    lists, asked = context.services.administration.usage_lists, (first, end, account, wanted)
    found = lists.get(asked) if after else None
    if found is None:
        found = _sums(context, first, end, account, wanted)
        lists.keep(asked, found)
    start = bisect_right(found, after, key=attrgetter("name"))
    page, more = cut(found[start:], request.limit or DEFAULT_PAGE)
    return GetUsageResponse(
        items=tuple(_item(_Group(*line.group), line.quantity) for line in page),
        next_marker=encode_marker(_LISTING, page[-1].name) if more else None,
        truncated=more,
    )


def _sums(
    context: Context, first: int, end: int, account: str | None, wanted: frozenset[UsageDimension]
) -> Sequence[Sum]:
    """The whole list, by name."""
    context.services.administration.usage.catch_up(_PATIENCE_SECONDS)
    sums: Counter[_Group] = Counter()
    with context.services.catalog.read() as reader:
        for use in _uses(reader, first, end, account, context.now, wanted):
            sums[_group(wanted, use)] += use.quantity
    return sorted(Sum("\t".join(group), group, quantity) for group, quantity in sums.items())


class _Use(NamedTuple):
    """So much of one kind."""

    kind: UsageType
    account: str
    region: str
    key_arn: str
    quantity: int


def _uses(
    reader: Reader, first: int, end: int, account: str | None, now: float, wanted: frozenset[UsageDimension]
) -> Iterator[_Use]:
    by_region, by_key = UsageDimension.REGION in wanted, UsageDimension.KEY in wanted
    for count in reader.request_counts(first, end, account, by_region=by_region, by_key=by_key):
        yield _Use(UsageType(count.usage_type), count.account, count.region, count.key_arn, count.quantity)
    until = min(end, math.floor(now / SECONDS_PER_HOUR) + 1)
    for span in reader.billing_spans(first * SECONDS_PER_HOUR, until * SECONDS_PER_HOUR, account):
        begins = max(first, math.floor(span.began / SECONDS_PER_HOUR))
        ends = until if span.ended is None else min(until, math.ceil(span.ended / SECONDS_PER_HOUR))
        if ends > begins:
            kind = hours_of_rotation(span.number)
            yield _Use(kind, span.account, span.region, span.arn, ends - begins)


def _hours(start: float, end: float) -> tuple[int, int]:
    """The hours from the first to before the end. Raises ValidationException."""
    if not (math.isfinite(start) and math.isfinite(end) and start >= 0):
        raise ValidationException("StartTime and EndTime must be times since 1970.")
    first, last = math.floor(start / SECONDS_PER_HOUR), math.ceil(end / SECONDS_PER_HOUR)
    if end <= start or last > _LATEST_HOUR:
        raise ValidationException("EndTime must be after StartTime, and in the year 9999 at the latest.")
    if last - first > _LONGEST_HOURS:
        raise ValidationException("EndTime must be at most 366 days after StartTime.")
    return first, last


def _check_known(first: int, end: int, now: float) -> None:
    """Refuses parts of months of which only the sum is known. Raises ValidationException."""
    known = hours_end(now)
    if any(hour < known and hour != month_around(hour)[0] for hour in (first, end)):
        since = datetime.fromtimestamp(known * SECONDS_PER_HOUR, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        raise ValidationException(
            f"Usage before {since} is known by months (UTC): StartTime and EndTime must be beginnings of months there."
        )


def _group(wanted: frozenset[UsageDimension], use: _Use) -> _Group:
    return _Group(
        use.kind.value if UsageDimension.USAGE_TYPE in wanted else "",
        use.account if UsageDimension.ACCOUNT in wanted else "",
        use.region if UsageDimension.REGION in wanted else "",
        use.key_arn if UsageDimension.KEY in wanted else "",
        use.kind.unit,
    )


def _item(group: _Group, quantity: int) -> UsageItem:
    return UsageItem(
        usage_type=group.usage_type or None,
        account_id=group.account or None,
        region=group.region or None,
        key_arn=group.key_arn or None,
        quantity=quantity,
        unit=group.unit,
    )
