"""The bill of one account and month: exact decimal arithmetic, rounded once for each of its lines."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Decimal, localcontext

from kagitori_client.billing.price_list import KEY_KINDS, REQUEST_KINDS, PriceList

_CENT = Decimal("0.01")
_THOUSANDTH = Decimal("0.001")
_REQUESTS_PRICED = 10_000
_DIGITS = 60
"""More than the largest quantity (19 digits) times the longest price (17) can have, so that products are exact."""


@dataclass(frozen=True, slots=True)
class Month:
    """A calendar month in UTC."""

    start: datetime
    end: datetime
    """The first moment of the next month."""

    @property
    def hours(self) -> int:
        """672 to 744."""
        return int((self.end - self.start).total_seconds()) // 3600

    def __str__(self) -> str:
        return f"{self.start:%Y-%m}"


@dataclass(frozen=True, slots=True)
class BillLine:
    """What one kind of use costs. Of `quantity` (hours or requests), `free` aren't charged."""

    usage_type: str
    quantity: int
    free: int
    months: Decimal | None
    """The hours of keys as months, rounded to thousandths for people; None for requests."""
    price: Decimal
    """Of a month, or of 10,000 requests."""
    amount: Decimal
    """Rounded to the cent, half a cent up."""


@dataclass(frozen=True, slots=True)
class Bill:
    """All lines of an account, in the order of the price list, and their sum."""

    lines: tuple[BillLine, ...]

    @property
    def total(self) -> Decimal:
        """The sum of what the lines say, cents and all."""
        return sum((line.amount for line in self.lines), Decimal("0.00"))


def month_of(year: int, month: int) -> Month:
    """A month of the years 1970 to 9998. Raises ValueError."""
    if not 1970 <= year <= 9998:
        raise ValueError("the year is out of bounds")
    start = datetime(year, month, 1, tzinfo=UTC)
    return Month(start, datetime(year + month // 12, month % 12 + 1, 1, tzinfo=UTC))


def make_bill(used: Mapping[str, int], month: Month, prices: PriceList) -> Bill:
    """What an account has to pay for what it used in a month, by kind of use. Raises ValueError for unknown kinds."""
    unknown = used.keys() - prices.prices.keys()
    if unknown:
        raise ValueError(f"no price list knows {', '.join(sorted(unknown))}")
    free = _free_of(used, prices)
    lines = []
    with localcontext() as context:
        context.prec = _DIGITS
        for kind in (*KEY_KINDS.values(), *REQUEST_KINDS.values()):
            quantity = used.get(kind, 0)
            if quantity == 0:
                continue
            price, hours = prices.prices[kind], kind in KEY_KINDS.values()
            charged = Decimal(quantity - free.get(kind, 0)) * price
            amount = charged / (month.hours if hours else _REQUESTS_PRICED)
            lines.append(BillLine(
                usage_type=kind,
                quantity=quantity,
                free=free.get(kind, 0),
                months=(Decimal(quantity) / month.hours).quantize(_THOUSANDTH, ROUND_HALF_UP) if hours else None,
                price=price,
                amount=amount.quantize(_CENT, ROUND_HALF_UP),
            ))
    return Bill(tuple(lines))


def _free_of(used: Mapping[str, int], prices: PriceList) -> dict[str, int]:
    """How much of each kind is free."""
    left = prices.free_requests
    free: dict[str, int] = {}
    for kind in prices.free_kinds:
        free[kind] = min(left, used.get(kind, 0))
        left -= free[kind]
    return free
