"""`kagitori grant` against a real server: a grant's whole life over gRPC, and wrong usage."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from tests.support.commandline import CommandLine
from tests.support.devserver import DevServer

ACCOUNT = "000000000000"
ROOT = f"arn:aws:iam::{ACCOUNT}:root"


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, devserver: DevServer, tmp_path: Path) -> CommandLine:
    return CommandLine(monkeypatch, devserver.environment(), tmp_path)


@pytest.fixture
def key(cli: CommandLine) -> str:
    arn = cli.json("key", "create")["arn"]
    assert isinstance(arn, str)
    return arn


def _as(cli: CommandLine, name: str) -> tuple[str, str]:
    """The options that make a command the user's own; the user is made."""
    cli.done("principal", "create-user", name)
    cli.done("token", "create", f"user/{name}", "--out", f"{name}.token")
    return ("--token-file", f"{name}.token")


def test_a_grant_permits_until_it_is_revoked(cli: CommandLine, key: str) -> None:
    as_user = _as(cli, "grantee")
    (cli.folder / "in").write_bytes(b"x")
    sealing = ("encrypt", "--key", key, "in", "sealed", "--force", *as_user)
    without = ("data-key", "--key", key, "--without-plaintext", "--ciphertext-out", "dk", "--force", *as_user)
    assert cli(*without).code == 1
    made = cli.json(
        "grant", "create", key, "user/grantee", "GenerateDataKeyWithoutPlaintext", "decrypt",
        "--context", "app=shop", "--name", "cli/1", "--retiring", "root",
    )
    assert re.fullmatch(r"[0-9a-f]{64}", made["grant_id"])
    assert cli(*without).code == 1
    cli.done(*without, "--context", "app=shop", "--context", "more=1")
    assert cli(*sealing).code == 1
    listed = cli.json("grant", "list", key)["grants"]
    assert listed == [
        {
            "key_id": key, "grant_id": made["grant_id"], "name": "cli/1",
            "creation_date": listed[0]["creation_date"],
            "grantee_principal": f"arn:aws:iam::{ACCOUNT}:user/grantee", "retiring_principal": ROOT,
            "issuing_account": ROOT, "operations": ["Decrypt", "GenerateDataKeyWithoutPlaintext"],
            "constraints": {
                "encryption_context_subset": {"app": "shop"}, "encryption_context_equals": {}, "source_arn": None
            },
            "grantee_service_principal": None, "retiring_service_principal": None,
        }
    ]
    assert "Decrypt, GenerateDataKeyWithoutPlaintext" in cli.done("grant", "list", key).text
    assert made["grant_token"] not in json.dumps(listed)
    cli.done("grant", "revoke", key, made["grant_id"])
    assert cli(*without, "--context", "app=shop").code == 1
    assert cli.json("grant", "list", key) == {"grants": []}
    assert cli("grant", "revoke", key, made["grant_id"]).err.startswith("error: NotFoundException: ")


def test_retiring_by_token_and_by_id(cli: CommandLine, key: str) -> None:
    as_user = _as(cli, "retirer")
    cli.done("alias", "create", "alias/retiring", key)
    for number in range(2):
        made = cli.json(
            "grant", "create", "alias/retiring", "root", "Encrypt", "--exact-context", "a=b",
            "--retiring", "user/retirer",
        )
        found = cli.json("grant", "list", "--retiring", "user/retirer")["grants"]
        assert [grant["grant_id"] for grant in found] == [made["grant_id"]]
        assert found[0]["constraints"]["encryption_context_equals"] == {"a": "b"}
        if number == 0:
            (cli.folder / "grant.token").write_text(made["grant_token"] + "\n")
            cli.done("grant", "retire", "--token", "grant.token", *as_user)
        else:
            cli.done("grant", "retire", key, made["grant_id"], *as_user)
        assert cli.json("grant", "list", "alias/retiring", "--grantee", "root") == {"grants": []}
    again = cli("grant", "retire", "--token", "grant.token", *as_user)
    assert (again.code, again.err.startswith("error: InvalidGrantTokenException: ")) == (1, True)


@pytest.mark.parametrize(
    "arguments",
    [
        ("create", "KEY", "root"),
        ("create", "KEY", "root", "Encipher"),
        ("create", "KEY", "root", "unspecified"),
        ("create", "KEY", "nobody", "Encrypt"),
        ("create", "KEY", "root", "Encrypt", "--context", "a"),
        ("create", "KEY", "root", "Encrypt", "--context", "a=1", "--exact-context", "a=1"),
        ("list",),
        ("list", "KEY", "--retiring", "root"),
        ("list", "--retiring", "root", "--grantee", "root"),
        ("retire",),
        ("retire", "KEY"),
        ("retire", "KEY", "0" * 64, "--token", "t"),
        ("retire", "KEY", "--token", "t"),
        ("retire", "--token", "missing"),
        ("revoke", "KEY"),
    ],
)
def test_wrong_usage(cli: CommandLine, key: str, arguments: tuple[str, ...]) -> None:
    assert cli("grant", *(key if word == "KEY" else word for word in arguments)).code == 2
    assert cli.json("grant", "list", key) == {"grants": []}


def test_what_the_service_refuses(cli: CommandLine, key: str) -> None:
    for arguments, error in [
        (("create", key, "user/nobody", "Encrypt"), "InvalidArnException"),
        (("create", key, "root", "Sign"), "ValidationException"),
        (("create", key, "root", "Encrypt", "--name", "no spaces"), "ValidationException"),
        (("revoke", key, "0" * 64), "NotFoundException"),
        (("retire", key, "x"), "InvalidGrantIdException"),
    ]:
        refused = cli("grant", *arguments)
        assert (refused.code, refused.err.split(": ")[1]) == (1, error)
