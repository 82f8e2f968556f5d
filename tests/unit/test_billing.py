"""Price lists are read strictly, and bills are exact: months of all lengths, free requests, capped rotations."""

from __future__ import annotations

import tomllib
from decimal import Decimal
from pathlib import Path

import pytest

from kagitori_client.billing.bill import Bill, make_bill, month_of
from kagitori_client.billing.price_list import (
    MAX_BYTES,
    PriceList,
    parse_price_list,
    published,
    published_text,
    read_price_list,
)
from kagitori_client.errors import ConfigurationError

NOVEMBER = month_of(2026, 11)
SYMMETRIC, RSA_2048, ASYMMETRIC = "Requests-Symmetric", "Requests-RSA_2048", "Requests-Asymmetric"


def amounts(bill: Bill) -> dict[str, str]:
    return {line.usage_type: str(line.amount) for line in bill.lines}


def test_the_published_prices() -> None:
    """AWS's price list of 2026."""
    prices = published()
    assert prices.prices == {
        "KeyHours": Decimal(1), "KeyHours-FirstRotation": Decimal(1), "KeyHours-SecondRotation": Decimal(1),
        "KeyHours-FurtherRotation": Decimal(0), SYMMETRIC: Decimal("0.03"), RSA_2048: Decimal("0.03"),
        ASYMMETRIC: Decimal("0.15"), "Requests-DataKeyPair-ECC": Decimal("0.10"),
        "Requests-DataKeyPair-RSA": Decimal(12),
    }
    assert (prices.currency, prices.free_requests, prices.free_kinds) == ("USD", 20_000, (SYMMETRIC,))


@pytest.mark.parametrize(("quantity", "free", "amount"), [
    (1, 1, "0.00"), (19_999, 19_999, "0.00"), (20_000, 20_000, "0.00"), (20_001, 20_000, "0.00"),
    (21_666, 20_000, "0.00"), (21_667, 20_000, "0.01"), (30_000, 20_000, "0.03"), (10_020_000, 20_000, "30.00"),
])
def test_free_requests(quantity: int, free: int, amount: str) -> None:
    (line,) = make_bill({SYMMETRIC: quantity}, NOVEMBER, published()).lines
    assert (line.quantity, line.free, str(line.amount)) == (quantity, free, amount)


def test_asymmetric_calls_and_data_key_pairs_are_never_free() -> None:
    used = {
        RSA_2048: 10_000, ASYMMETRIC: 10_000, "Requests-DataKeyPair-ECC": 10_000, "Requests-DataKeyPair-RSA": 10_000,
    }
    bill = make_bill(used, NOVEMBER, published())
    assert amounts(bill) == {
        RSA_2048: "0.03", ASYMMETRIC: "0.15", "Requests-DataKeyPair-ECC": "0.10", "Requests-DataKeyPair-RSA": "12.00",
    }
    assert bill.total == Decimal("12.28")
    assert not any(line.free for line in bill.lines)


def test_free_requests_are_used_up_in_the_order_of_the_list() -> None:
    text = published_text().replace('kinds = ["symmetric"]', 'kinds = ["asymmetric", "symmetric"]')
    bill = make_bill({SYMMETRIC: 15_000, ASYMMETRIC: 15_000}, NOVEMBER, _parse(text))
    assert {line.usage_type: line.free for line in bill.lines} == {ASYMMETRIC: 15_000, SYMMETRIC: 5_000}


@pytest.mark.parametrize(("year", "month", "hours"), [
    (2026, 2, 672), (2028, 2, 696), (2026, 11, 720), (2026, 12, 744), (1970, 1, 744), (9998, 12, 744),
])
def test_a_whole_month_costs_the_same_however_long(year: int, month: int, hours: int) -> None:
    of = month_of(year, month)
    assert of.hours == hours
    for keys in (1, 3, 100_000):
        bill = make_bill({"KeyHours": hours * keys}, of, published())
        assert bill.total == Decimal(keys)
        assert bill.lines[0].months == Decimal(keys)
    assert str(of) == f"{year}-{month:02d}"


def test_rotations_after_the_second_cost_nothing_more() -> None:
    used = {
        "KeyHours": 720, "KeyHours-FirstRotation": 720, "KeyHours-SecondRotation": 360,
        "KeyHours-FurtherRotation": 720 * 20,
    }
    bill = make_bill(used, NOVEMBER, published())
    assert amounts(bill) == {
        "KeyHours": "1.00", "KeyHours-FirstRotation": "1.00", "KeyHours-SecondRotation": "0.50",
        "KeyHours-FurtherRotation": "0.00",
    }
    assert bill.total == Decimal("2.50")


def test_half_a_cent_is_rounded_up_and_lines_add_up() -> None:
    text = published_text().replace("symmetric = 0.03  ", "symmetric = 50.00 ")
    text = text.replace("requests = 20000", "requests = 0")
    bill = make_bill({SYMMETRIC: 1, "KeyHours": 1}, NOVEMBER, _parse(text))
    assert amounts(bill) == {SYMMETRIC: "0.01", "KeyHours": "0.00"}
    assert bill.total == sum(line.amount for line in bill.lines)


def test_large_quantities_stay_exact() -> None:
    """10^18 requests at the longest price: binary fractions would be off by dollars."""
    text = published_text().replace("asymmetric = 0.15", "asymmetric = 999999.9999999999")
    (line,) = make_bill({ASYMMETRIC: 10**18 + 1}, NOVEMBER, _parse(text)).lines
    exact = (10**18 + 1) * 9_999_999_999_999_999  # of 10^-14
    assert line.amount == Decimal((exact + 5 * 10**11) // 10**12).scaleb(-2)


def test_kinds_that_no_list_knows_are_refused() -> None:
    with pytest.raises(ValueError, match="Requests-Novel"):
        make_bill({"Requests-Novel": 1}, NOVEMBER, published())


@pytest.mark.parametrize(("year", "month"), [(1969, 12), (9999, 1), (2026, 0), (2026, 13)])
def test_months_that_are_none(year: int, month: int) -> None:
    with pytest.raises(ValueError, match=r"."):
        month_of(year, month)


@pytest.mark.parametrize(("old", "new", "said"), [
    ("key = 1.00", "key = -1.00", "keys.key must be a number from 0"),
    ("key = 1.00", "key = -0.0", "keys.key must be a number from 0"),
    ("key = 1.00", "key = -1", "keys.key must be a number from 0"),
    ("key = 1.00", "key = nan", "keys.key must be a number from 0"),
    ("key = 1.00", "key = -nan", "keys.key must be a number from 0"),
    ("key = 1.00", "key = inf", "keys.key must be a number from 0"),
    ("key = 1.00", "key = 1000000.01", "keys.key must be a number from 0"),
    ("key = 1.00", "key = 1000001", "keys.key must be a number from 0"),
    ("key = 1.00", "key = 1e400", "keys.key must be a number from 0"),
    ("key = 1.00", "key = 0.00000000001", "keys.key must be a number of at most 10 decimal places"),
    ("key = 1.00", "key = 1e-400", "keys.key must be a number of at most 10 decimal places"),
    ("key = 1.00", 'key = "1.00"', "keys.key must be a number from 0"),
    ("key = 1.00", "key = true", "keys.key must be a number from 0"),
    ("key = 1.00", "key = [1.0]", "keys.key must be a number from 0"),
    ("key = 1.00", "key = 2026-01-01", "keys.key must be a number from 0"),
    ("key = 1.00", "", "keys.key is missing"),
    ("key = 1.00", "key = 1.00\nkey2 = 1.00", "keys.key2 is no member"),
    ("key = 1.00", "key = 1.00\nkey = 1.00", "is not TOML"),
    ("symmetric = 0.03 ", "symetric = 0.03 ", "requests.symetric is no member"),
    ("rsa_2048 = 0.03", "", "requests.rsa_2048 is missing"),
    ("format = 1", "format = 2", "format must be 1"),
    ("format = 1", "format = true", "format must be 1"),
    ("format = 1", "format = 1.0", "format must be 1"),
    ("format = 1", "", "format is missing"),
    ("format = 1", "format = 1\nextra = 1", "extra is no member"),
    ('currency = "USD"', 'currency = "usd"', "currency must be three capital letters"),
    ('currency = "USD"', 'currency = "US$"', "currency must be three capital letters"),
    ('currency = "USD"', "currency = 1", "currency must be three capital letters"),
    ('name = "AWS KMS, 2026"', 'name = ""', "name must be a text"),
    ('name = "AWS KMS, 2026"', 'name = "a\\u001b[31m"', "name must be a text"),
    ('name = "AWS KMS, 2026"', f'name = "{"x" * 101}"', "name must be a text"),
    ("requests = 20000", "requests = -1", "free.requests must be a whole number"),
    ("requests = 20000", "requests = 1.5", "free.requests must be a whole number"),
    ("requests = 20000", "requests = 1000000000001", "free.requests must be a whole number"),
    ('kinds = ["symmetric"]', 'kinds = ["key"]', "free.kinds must be a list of symmetric"),
    ('kinds = ["symmetric"]', 'kinds = "symmetric"', "free.kinds must be a list of symmetric"),
    ('kinds = ["symmetric"]', "kinds = [[]]", "free.kinds must be a list of symmetric"),
    ('kinds = ["symmetric"]', 'kinds = ["symmetric", "symmetric"]', "free.kinds must be a list without"),
    ("[keys]", "[[keys]]", "keys must be a table"),
    ("[keys]", "[keyz]", "keyz is no member"),
])
def test_price_lists_that_are_refused(old: str, new: str, said: str) -> None:
    text = published_text()
    assert old in text
    with pytest.raises(ConfigurationError) as refused:
        _parse(text.replace(old, new, 1))
    assert refused.value.message.startswith("prices")
    assert said in str(refused.value)


@pytest.mark.parametrize("content", [
    b"", b"\xff", b"\x00", b"[" * 60_000, b"a = " + b"[" * 50_000, b"a = " + b"1" * 60_000, b"\xef\xbb\xbfformat = 1",
    b"#" * (MAX_BYTES + 1), b"{}", b"format = 1",
], ids=lambda content: content[:8])
def test_files_that_are_no_price_list(content: bytes) -> None:
    with pytest.raises(ConfigurationError):
        parse_price_list(content, "prices")


def test_a_file_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "prices.toml"
    path.write_text(published_text().replace("key = 1.00", "key = 2").replace('"USD"', '"EUR"'))
    prices = read_price_list(path)
    assert (prices.currency, prices.prices["KeyHours"]) == ("EUR", Decimal(2))
    path.write_bytes(b"#" * (MAX_BYTES + 1))
    with pytest.raises(ConfigurationError, match="larger"):
        read_price_list(path)


def test_the_published_list_is_plain_toml() -> None:
    assert set(tomllib.loads(published_text())) == {"format", "name", "currency", "keys", "requests", "free"}


def _parse(text: str) -> PriceList:
    return parse_price_list(text.encode(), "prices")
