"""Groups, managed policies, roles, sessions and access keys on the command line, against a real server."""

from __future__ import annotations

import json
import re
import stat
from pathlib import Path

import pytest
from tests.support.commandline import CommandLine
from tests.support.devserver import DevServer
from tests.support.issuer import SigningKey

ACCOUNT = "000000000000"
ALICE = f"arn:aws:iam::{ACCOUNT}:user/alice"
TOKEN = re.compile(r"kgt_[A-Za-z0-9_-]{43}")
LIST = json.dumps({"Statement": {"Effect": "Allow", "Action": "kagitori:List*", "Resource": "*"}})


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, devserver: DevServer, tmp_path: Path) -> CommandLine:
    (tmp_path / "list.json").write_text(LIST)
    return CommandLine(monkeypatch, devserver.environment(), tmp_path)


def test_groups(cli: CommandLine) -> None:
    cli.json("principal", "create-user", "grouped")
    made = cli.json("principal", "create-group", "crew", "--path", "/a/")
    assert made["arn"] == f"arn:aws:iam::{ACCOUNT}:group/a/crew"
    assert "is in group crew" in cli.done("principal", "add-to-group", "crew", "grouped").text
    users = cli.json("principal", "list-users", "--group", "crew")["users"]
    assert [user["user_name"] for user in users] == ["grouped"]
    groups = cli.json("principal", "list-groups", "--user", "grouped")["groups"]
    assert [group["group_name"] for group in groups] == ["crew"]
    assert "crew" in cli.done("principal", "list-groups").text
    cli.done("policy", "put-identity", "group/a/crew", "use", "list.json")
    refused = cli("principal", "delete-group", "crew")
    assert refused.code == 1
    assert "DeleteConflict" in refused.err
    cli.done("policy", "delete-identity", "group/a/crew", "use")
    cli.done("principal", "remove-from-group", "crew", "grouped")
    cli.done("principal", "delete-group", "crew")
    cli.done("principal", "delete-user", "grouped")


def test_managed_policies_and_boundaries(cli: CommandLine) -> None:
    cli.json("principal", "create-user", "bounded")
    made = cli.json("policy", "create-managed", "lister", "list.json", "--description", "lists")
    assert made["arn"] == f"arn:aws:iam::{ACCOUNT}:policy/lister"
    assert cli.done("policy", "get-managed", "policy/lister").out.decode() == LIST
    cli.done("policy", "attach", "user/bounded", "policy/lister")
    [listed] = cli.json("policy", "list-managed", "--principal", "user/bounded")["policies"]
    assert (listed["policy_name"], listed["attachment_count"], listed["description"]) == ("lister", 1, "lists")
    cli.done("principal", "put-boundary", "user/bounded", made["arn"])
    assert cli.json("principal", "show-user", "bounded")["permissions_boundary"] == made["arn"]
    cli.done("policy", "detach", "user/bounded", "policy/lister")
    assert cli("policy", "delete-managed", "policy/lister").code == 1
    cli.done("principal", "delete-boundary", "user/bounded")
    cli.done("policy", "delete-managed", "policy/lister")
    assert cli("policy", "attach", "user/bounded", "lister").code == 2
    cli.done("principal", "tag", "user/bounded", "--tag", "team=x", "--tag", "site=y")
    cli.done("principal", "untag", "user/bounded", "site")
    shown = cli.json("principal", "show-user", "bounded")
    assert shown["tags"] == [{"tag_key": "team", "tag_value": "x"}]
    cli.done("principal", "delete-user", "bounded")


def test_a_role_is_taken_on(cli: CommandLine) -> None:
    cli.json("principal", "create-user", "alice")
    trust = {"Effect": "Allow", "Principal": {"AWS": ALICE}, "Action": "sts:*"}
    (cli.folder / "trust.json").write_text(json.dumps({"Statement": trust}))
    cli.json("principal", "create-role", "taken", "--longest-session", "2h")
    cli.done("principal", "put-trust", "taken", "trust.json")
    shown = cli.json("principal", "show-role", "taken")
    assert shown["max_session_duration"] == 7200
    assert json.loads(shown["assume_role_policy_document"]) == {"Statement": trust}
    cli.done("token", "create", "user/alice", "--out", "alice.token")
    as_alice = {"KAGITORI_TOKEN_FILE": str(cli.folder / "alice.token")}
    asked = ("token", "assume-role", "role/taken", "night")
    made = cli.done(*asked, environment=as_alice)
    assert TOKEN.fullmatch(made.text.strip())
    assert "assumed-role/taken/night" in made.err
    more = ("--expires", "15m", "--policy", "list.json", "--source-identity", "al", "--tag", "a=b")
    told = cli.done(*asked, *more, "--out", "taken.token", environment=as_alice)
    assert not TOKEN.search(told.text + told.err)
    assert stat.S_IMODE((cli.folder / "taken.token").stat().st_mode) == 0o600
    as_taken = {"KAGITORI_TOKEN_FILE": str(cli.folder / "taken.token")}
    who = cli.done("--output", "json", "principal", "whoami", environment=as_taken).json
    assert who["arn"] == f"arn:aws:sts::{ACCOUNT}:assumed-role/taken/night"
    shown = cli.done("--output", "json", *asked, environment=as_alice).json
    assert shown["credentials"]["access_key_id"].startswith("ASIA")
    assert cli(*asked).code == 1, "the root user can't"
    assert cli("token", "assume-role", "taken", "night").code == 2
    cli.done("principal", "delete-role", "taken")
    assert cli("principal", "whoami", environment=as_taken).code == 1


def test_access_keys(cli: CommandLine) -> None:
    cli.json("principal", "create-user", "keyed")
    made = cli.json("access-key", "create", "user/keyed")
    assert len(made["secret_access_key"]) == 43
    told = cli.done("access-key", "create", "user/keyed", "--out", "keyed.secret")
    assert stat.S_IMODE((cli.folder / "keyed.secret").stat().st_mode) == 0o600
    assert (cli.folder / "keyed.secret").read_text().strip() not in told.text + told.err
    cli.done("access-key", "deactivate", made["access_key_id"])
    keys = cli.json("access-key", "list", "--principal", "user/keyed")["access_keys"]
    assert sorted(key["status"].upper() for key in keys) == ["ACTIVE", "INACTIVE"]
    assert not any("secret_access_key" in key for key in keys)
    cli.done("access-key", "activate", made["access_key_id"])
    assert cli("access-key", "create", "user/keyed").code == 1
    for key in keys:
        cli.done("access-key", "delete", key["access_key_id"])
    plain = cli.done("access-key", "create", "user/keyed")
    assert re.fullmatch(r"[A-Za-z0-9+/]{43}\n", plain.text)
    assert "not shown again" in plain.err


def test_oidc_providers(cli: CommandLine) -> None:
    """An issuer is trusted with the keys in a file, listed, and trusted no more."""
    cli.json("principal", "create-role", "federated")
    keys = json.dumps({"keys": [SigningKey().jwk()]})
    (cli.folder / "keys.json").write_text(keys)
    asked = ("oidc-provider", "create", "https://issuer.example/a", "--audience", "x", "--role", "role/federated")
    made = cli.json(*asked, "--jwks", "keys.json", "--tag-claim", "team=/org/team", "--session-name-claim", "login")
    arn = f"arn:aws:iam::{ACCOUNT}:oidc-provider/issuer.example/a"
    assert made["oidc_provider_arn"] == arn
    (listed,) = cli.json("oidc-provider", "list")["oidc_providers"]
    assert (listed["issuer_url"], listed["tag_claims"]) == ("https://issuer.example/a", {"team": "/org/team"})
    assert cli(*asked).code == 1
    assert cli(*asked, "--tag-claim", "team").code == 2
    assert cli("oidc-provider", "delete", "issuer.example/a").code == 2
    cli.done("oidc-provider", "delete", "oidc-provider/issuer.example/a")
    assert cli.json("oidc-provider", "list")["oidc_providers"] == []
