"""`kagitori usage` and `kagitori key last-used` against a real server."""

from __future__ import annotations

import re
import tomllib
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from tests.support.commandline import CommandLine
from tests.support.devserver import DevServer

ACCOUNT = "000000000000"
MONTH = f"{datetime.now(UTC):%Y-%m}"


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, devserver: DevServer, tmp_path: Path) -> CommandLine:
    return CommandLine(monkeypatch, devserver.environment(), tmp_path)


@pytest.fixture
def key(cli: CommandLine) -> str:
    arn = cli.json("key", "create")["arn"]
    assert isinstance(arn, str)
    return arn


def _used(cli: CommandLine, *arguments: str) -> list[dict[str, Any]]:
    found = cli.json("usage", "list", "--month", MONTH, *arguments)["usage"]
    assert isinstance(found, list)
    return found


def test_list_of_what_was_used(cli: CommandLine, key: str) -> None:
    """Each call shows in the next answer."""
    for count in (1, 2):
        cli.done("data-key", "--key", key, "--ciphertext-out", "dk.enc", "--without-plaintext", "--force")
        used = {(item["usage_type"], item["key_arn"]): item["quantity"] for item in _used(cli, "--by", "kind,key")}
        assert used["Requests-Symmetric", key] == 1 + count
        assert used["KeyHours", key] in (1, 2)
    assert re.search(
        rf"^Requests-Symmetric +{ACCOUNT} +\d+ +Requests *$", cli.done("usage", "list").text, re.MULTILINE
    )


def test_report_by_the_published_prices(cli: CommandLine, key: str) -> None:
    assert key
    report = cli.json("usage", "report", "--month", MONTH)
    assert (report["month"], report["currency"], report["price_list"]) == (MONTH, "USD", "AWS KMS, 2026")
    (bill,) = (account for account in report["accounts"] if account["account_id"] == ACCOUNT)
    lines = {line["usage_type"]: line for line in bill["lines"]}
    assert lines["Requests-Symmetric"]["free"] == lines["Requests-Symmetric"]["quantity"] > 0
    assert Decimal(lines["Requests-Symmetric"]["amount"]) == 0
    assert Decimal(lines["KeyHours"]["months"]) > 0
    assert Decimal(bill["total"]) == sum(Decimal(line["amount"]) for line in bill["lines"])
    shown = cli.done("usage", "report").text
    assert re.search(rf"^{ACCOUNT} +total +- +- +- +- +\d+\.\d\d USD *$", shown, re.MULTILINE)


def test_report_by_prices_of_ones_own(cli: CommandLine, key: str) -> None:
    """The published list is what one begins with."""
    assert key
    text = cli.done("usage", "prices").text
    assert tomllib.loads(text)["keys"]["key"] == 1
    path = cli.folder / "prices.toml"
    path.write_text(
        text.replace("symmetric = 0.03 ", "symmetric = 10000.00 ", 1).replace("requests = 20000", "requests = 0")
        .replace('"USD"', '"EUR"')
    )
    report = cli.json("usage", "report", "--account", ACCOUNT, "--price-list", str(path))
    ((line, *_),) = ([line for line in account["lines"] if line["usage_type"] == "Requests-Symmetric"]
                     for account in report["accounts"])
    assert Decimal(line["amount"]) == line["quantity"]
    assert report["currency"] == "EUR"
    assert cli.json("usage", "prices")["prices"]["KeyHours"] == "1.00"


def test_a_month_before_the_service_was_there(cli: CommandLine) -> None:
    assert cli.json("usage", "report", "--month", "2020-01")["accounts"] == []
    assert cli.json("usage", "list", "--month", "2020-01")["usage"] == []


@pytest.mark.parametrize("arguments", [
    ("usage", "list", "--month", "2026-13"), ("usage", "list", "--month", "2026"), ("usage", "report", "--month", "x"),
    ("usage", "list", "--by", "colour"), ("usage", "list", "--by", "kind,kind"), ("usage", "list", "--by", ""),
    ("usage", "report", "--month", "9999-12"), ("usage", "report", "--price-list", "absent.toml"),
])
def test_what_makes_no_sense(cli: CommandLine, arguments: tuple[str, ...]) -> None:
    assert cli(*arguments).code == 2


def test_a_bad_price_list_is_told_before_anything_is_asked(cli: CommandLine) -> None:
    (cli.folder / "bad.toml").write_text("format = 1\n")
    result = cli("usage", "report", "--price-list", "bad.toml", "--endpoint", "http://127.0.0.1:1")
    assert result.code == 2
    assert "bad.toml: currency is missing" in result.err


def test_last_use_of_a_key(cli: CommandLine, key: str) -> None:
    unused = cli.json("key", "last-used", key)
    assert (unused["key_id"], unused["used"], unused["operation"]) == (key, False, None)
    assert unused["tracking_start_date"] == unused["key_creation_date"]
    cli.done("alias", "create", "alias/last-used", key)
    cli.done("data-key", "--key", "alias/last-used", "--ciphertext-out", "dk.enc", "--without-plaintext")
    used = cli.json("key", "last-used", "alias/last-used")
    assert (used["used"], used["operation"]) == (True, "GenerateDataKeyWithoutPlaintext")
    event = cli.json("audit", "tail", "--filter", f"event-id={used['cloud_trail_event_id']}")
    assert event["cloud_trail_event"]["requestID"] == used["kms_request_id"]
    shown = cli.done("key", "last-used", key).text
    assert re.search(r"^operation +GenerateDataKeyWithoutPlaintext *$", shown, re.MULTILINE)
