"""`kagitori budget` against a real server."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.support.commandline import CommandLine
from tests.support.devserver import DevServer

ACCOUNT = "000000000000"
LIFT = json.dumps({"Statement": {"Effect": "Allow", "Action": "kagitori:LiftFreeze", "Resource": "*"}})


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, devserver: DevServer, tmp_path: Path) -> CommandLine:
    (tmp_path / "data").write_bytes(b"attack at dawn")
    return CommandLine(monkeypatch, devserver.environment(), tmp_path)


def test_the_life_of_a_budget(cli: CommandLine) -> None:
    key = cli.json("key", "create", "--alias", "alias/budgeted")
    made = cli.json(
        "budget", "put", "web", "--key", "alias/budgeted", "--principal", "root", "--limit", "20/second",
        "--limit", "5000/month", "--context", "tenant=acme", "--operation", "Decrypt", "--freeze",
    )
    assert made["arn"] == f"arn:aws:kagitori::{ACCOUNT}:budget/web"
    assert (made["key_arn"], made["principal_arn"]) == (key["arn"], f"arn:aws:iam::{ACCOUNT}:root")
    assert (made["context_key"], made["context_value"], made["operations"]) == ("tenant", "acme", ["Decrypt"])
    assert made["limits"] == [{"window": "SECOND", "count": 20}, {"window": "MONTH", "count": 5000}]
    assert made["on_exceed"] == "FREEZE"
    again = cli.json("budget", "put", "web", "--limit", "1/day", "--context", "tenant")
    assert (again["key_arn"], again["principal_arn"], again["on_exceed"]) == ("*", "*", "REFUSE")
    assert (again["context_key"], again["context_value"]) == ("tenant", None)
    assert cli.json("budget", "show", "web") == again
    assert cli.json("budget", "list")["budgets"] == [again]
    assert "web" in cli.done("budget", "list").text
    assert "is removed" in cli.done("budget", "delete", "web").text
    assert cli("budget", "show", "web").code == 1


def test_a_freeze_is_seen_and_lifted(cli: CommandLine) -> None:
    """By somebody else than whom it froze."""
    cli.json("key", "create", "--alias", "alias/frozen")
    (cli.folder / "lift.json").write_text(LIFT)
    cli.json("principal", "create-user", "reviewer")
    cli.done("policy", "put-identity", "user/reviewer", "lift", "lift.json")
    cli.done("token", "create", "user/reviewer", "--out", "reviewer.token")
    cli.done("budget", "put", "once", "--key", "alias/frozen", "--limit", "1/month", "--freeze")
    cli.done("encrypt", "--key", "alias/frozen", "data", "one")
    refused = cli("encrypt", "--key", "alias/frozen", "data", "two")
    assert refused.code == 1
    assert "frozen" in refused.err
    [freeze] = cli.json("budget", "list-freezes")["freezes"]
    assert (freeze["budget_name"], freeze["limit"]) == ("once", {"window": "MONTH", "count": 1})
    own = cli("budget", "lift", "once", freeze["freeze_id"])
    assert own.code == 1
    assert "its own freeze" in own.err
    reviewer = {"KAGITORI_TOKEN_FILE": str(cli.folder / "reviewer.token")}
    assert "is lifted" in cli.done("budget", "lift", "once", freeze["freeze_id"], environment=reviewer).text
    cli.done("encrypt", "--key", "alias/frozen", "data", "three")
    cli.done("budget", "delete", "once")


@pytest.mark.parametrize("limit", ["5", "5/", "5/week", "0/day", "-1/day", "5/days", "1.5/day", "/day", "1/day/day"])
def test_limits_that_are_none(cli: CommandLine, limit: str) -> None:
    refused = cli("budget", "put", "web", f"--limit={limit}")
    assert refused.code == 2
    assert "5000/day" in refused.err
