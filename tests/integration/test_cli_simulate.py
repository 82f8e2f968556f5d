"""`kagitori policy simulate` against a real server."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.support.commandline import CommandLine
from tests.support.devserver import DevServer
from tests.support.kms_calls import delegating, identity_policy, key_policy, root, statement

ACCOUNT = "000000000000"


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, devserver: DevServer, tmp_path: Path) -> CommandLine:
    (tmp_path / "use.json").write_text(identity_policy("kms:GenerateDataKey"))
    (tmp_path / "open.json").write_text(delegating())
    (tmp_path / "closed.json").write_text(key_policy(statement(root(ACCOUNT), "kms:PutKeyPolicy")))
    (tmp_path / "plain").write_bytes(b"x")
    return CommandLine(monkeypatch, devserver.environment(), tmp_path)


@pytest.fixture
def used(cli: CommandLine, request: pytest.FixtureRequest) -> tuple[str, str]:
    """A user who has used a key: its name and an alias of the key."""
    name = f"sim-{request.node.name.removeprefix('test_').replace('_', '-')[:40]}"
    alias = f"alias/{name}"
    key = cli.json("key", "create")["key_id"]
    cli.done("alias", "create", alias, key)
    cli.json("principal", "create-user", name)
    cli.done("policy", "put-identity", f"user/{name}", "use", "use.json")
    cli.done("token", "create", f"user/{name}", "--out", f"{name}.token")
    cli.done("encrypt", "plain", "sealed", "--key", alias,
             environment={"KAGITORI_TOKEN_FILE": str(cli.folder / f"{name}.token")})
    return name, alias


def test_a_policy_that_shuts_callers_out(cli: CommandLine, used: tuple[str, str]) -> None:
    name, alias = used
    asked = ("policy", "simulate", "--key", alias, "--policy-file")
    told = cli(*asked, "closed.json")
    assert told.code == 5
    assert f"user/{name}" in told.text
    assert "IMPLICIT_DENY" in told.text
    assert "error: WouldRefuse: " in told.err
    answer = cli(*asked, "closed.json", "--output", "json")
    assert answer.code == 5
    [found] = [each for each in answer.json["findings"] if each["action"] == "kms:GenerateDataKey"]
    assert (found["calls"], found["before"], found["after"]) == (1, "ALLOWED", "IMPLICIT_DENY")
    assert answer.json["progress"]["finished"] is True
    same = cli.done(*asked, "open.json")
    assert "no findings" in same.err
    assert " calls decided of " in same.err
    assert cli.done(*asked, "closed.json", "--from", "2020-01-01", "--to", "2020-06-01T00:00:00Z").out == b""


def test_changes_of_every_kind(cli: CommandLine, used: tuple[str, str]) -> None:
    name, alias = used
    assert cli("policy", "simulate", "--key", alias, "--disable-key", "--from", "1h").code == 5
    principal = ("policy", "simulate", "--principal", f"user/{name}", "--policy-name", "use")
    assert cli(*principal, "--remove-policy").code == 5
    cli.done(*principal, "--policy-file", "use.json")
    allowing = json.dumps({"Statement": {"Effect": "Allow", "Action": "*", "Resource": "*"}})
    cli.done(*principal, "--policy-file", "-", stdin=allowing.encode())
    grant = cli.json("grant", "create", alias, f"user/{name}", "Decrypt")["grant_id"]
    cli.done("policy", "simulate", "--key", alias, "--grant", grant)


@pytest.mark.parametrize(
    "arguments",
    [
        [], ["--key", "k"], ["--key", "k", "--policy-file", "open.json", "--disable-key"],
        ["--key", "k", "--grant", "g", "--disable-key"], ["--principal", "user/a", "--policy-name", "p"],
        ["--principal", "user/a", "--policy-file", "open.json"],
        ["--principal", "user/a", "--policy-name", "p", "--remove-policy", "--policy-file", "open.json"],
        ["--principal", "user/a", "--policy-name", "p", "--remove-policy", "--key", "k"],
        ["--key", "k", "--disable-key", "--from", "yesterday"],
    ],
)
def test_unclear_command_lines(cli: CommandLine, arguments: list[str]) -> None:
    assert cli("policy", "simulate", *arguments).code == 2


def test_refused(cli: CommandLine) -> None:
    told = cli("policy", "simulate", "--key", "00000000-0000-4000-8000-00000000dead", "--disable-key")
    assert told.code == 1
    assert "NotFoundException" in told.err
