"""`kagitori usage`: what the service was used for, and what that costs."""

from __future__ import annotations

import re
import sys
from collections import defaultdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from kagitori.kms.v1.operation_pb2 import GetUsageRequest, UsageDimension, UsageItem
from kagitori_client.billing.bill import Bill, Month, make_bill, month_of
from kagitori_client.billing.price_list import PriceList, published, published_text, read_price_list
from kagitori_client.cli.failures import UsageError
from kagitori_client.cli.session import Session, command
from kagitori_client.cli.text import Plain, plain
from kagitori_client.client import pages
from kagitori_client.errors import ConfigurationError

app = typer.Typer(help="Report what was used, and what it costs.", no_args_is_help=True)

_PAGE = 1_000
_MONTH = re.compile(r"(\d{4})-(\d\d)", re.ASCII)
_DIMENSIONS = {
    "kind": UsageDimension.USAGE_DIMENSION_USAGE_TYPE,
    "account": UsageDimension.USAGE_DIMENSION_ACCOUNT,
    "region": UsageDimension.USAGE_DIMENSION_REGION,
    "key": UsageDimension.USAGE_DIMENSION_KEY,
}

MonthOption = Annotated[
    str | None, typer.Option("--month", help="Calendar month in UTC; the current one so far without it.",
                             metavar="YYYY-MM")
]
AccountOption = Annotated[
    str | None, typer.Option("--account", help="Only this account; all that you may see without it.", metavar="ID")
]


def _month(text: str | None) -> Month:
    now = datetime.now(UTC)
    if text is None:
        return month_of(now.year, now.month)
    found = _MONTH.fullmatch(text)
    refusal = UsageError(f"{text!r} is no month", hint="write a year and a month, such as 2026-11")
    if found is None:
        raise refusal
    try:
        return month_of(int(found[1]), int(found[2]))
    except ValueError:
        raise refusal from None


def _items(session: Session, month: Month, account: str | None, by: list[UsageDimension.ValueType]) -> list[UsageItem]:
    request = GetUsageRequest(account_id=account, group_by=by, limit=_PAGE)
    request.start_time.FromDatetime(month.start)
    request.end_time.FromDatetime(month.end)
    return [item for page in pages(session.client.admin.GetUsage, request) for item in page.items]


@command(app, "list", epilog="Example: kagitori usage list --month 2026-11 --by kind,key")
def list_(
    session: Session,
    month: MonthOption = None,
    account: AccountOption = None,
    by: Annotated[
        str, typer.Option(help=f"What to add up by, with commas between: {', '.join(_DIMENSIONS)}.", metavar="WHAT")
    ] = "kind,account",
) -> None:
    """List what was used in a month: requests, and hours of keys."""
    wanted = by.split(",")
    if not set(wanted) <= _DIMENSIONS.keys() or len(set(wanted)) != len(wanted):
        raise UsageError(f"--by {by!r} can't be used", hint=f"some of {','.join(_DIMENSIONS)}, each once")
    items = _items(session, _month(month), account, [_DIMENSIONS[name] for name in wanted])
    columns = {"kind": "usage_type", "account": "account_id", "region": "region", "key": "key_arn"}
    session.rows("usage", [plain(item) for item in items], [*(columns[name] for name in wanted), "quantity", "unit"])


@command(app, "report", epilog="Example: kagitori usage report --month 2026-11 --price-list prices.toml")
def report(
    session: Session,
    month: MonthOption = None,
    account: AccountOption = None,
    price_list: Annotated[
        str | None, typer.Option(help="Prices to reckon with; those that AWS publishes without it.", metavar="FILE")
    ] = None,
) -> None:
    """Write the bill of a month, for each account."""
    prices = published() if price_list is None else read_price_list(Path(price_list))
    of = _month(month)
    used: dict[str, dict[str, int]] = defaultdict(dict)
    for item in _items(session, of, account, [_DIMENSIONS["kind"], _DIMENSIONS["account"]]):
        used[item.account_id][item.usage_type] = item.quantity
    try:
        bills = {name: make_bill(kinds, of, prices) for name, kinds in sorted(used.items())}
    except ValueError as error:
        raise ConfigurationError(f"the service counts what this program doesn't know: {error}") from None
    if session.as_json:
        session.json({
            "month": str(of), "price_list": prices.name, "currency": prices.currency,
            "accounts": [_as_json(name, bill) for name, bill in bills.items()],
        })
    else:
        _print(session, bills, prices)


@command(app, "prices")
def show_prices(session: Session) -> None:
    """Print the published price list, to be copied and changed."""
    if session.as_json:
        known = published()
        session.json({
            "name": known.name, "currency": known.currency, "free_requests": known.free_requests,
            "free_kinds": list(known.free_kinds), "prices": {kind: str(price) for kind, price in known.prices.items()},
        })
    else:
        sys.stdout.write(published_text())


def _print(session: Session, bills: dict[str, Bill], prices: PriceList) -> None:
    rows: list[dict[str, Plain]] = []
    for name, bill in bills.items():
        rows += [
            {
                "account": name, "use": line.usage_type, "quantity": line.quantity, "free": line.free,
                "months": None if line.months is None else str(line.months),
                "price": f"{line.price}", "amount": f"{line.amount} {prices.currency}",
            }
            for line in bill.lines
        ]
        rows.append({"account": name, "use": "total", "amount": f"{bill.total} {prices.currency}"})
    session.rows("usage", rows, ["account", "use", "quantity", "free", "months", "price", "amount"])


def _as_json(account: str, bill: Bill) -> dict[str, Plain]:
    """Money and months are texts: JSON's numbers are binary fractions to most who read them."""
    lines: list[Plain] = [
        {
            "usage_type": line.usage_type, "quantity": line.quantity, "free": line.free,
            "months": None if line.months is None else str(line.months),
            "price": str(line.price), "amount": str(line.amount),
        }
        for line in bill.lines
    ]
    return {"account_id": account, "lines": lines, "total": str(bill.total)}
