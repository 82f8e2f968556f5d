"""Every verb of the command line against a real server: results as JSON and for people, and each exit code."""

from __future__ import annotations

import base64
import json
import re
import signal
import stat
import subprocess
from pathlib import Path

import botocore
import pytest
from tests.support.commandline import CommandLine
from tests.support.devserver import DevServer

ACCOUNT = "000000000000"
ROOT = f"arn:aws:iam::{ACCOUNT}:root"
TOKEN = re.compile(r"kgt_[A-Za-z0-9_-]{43}")


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, devserver: DevServer, tmp_path: Path) -> CommandLine:
    return CommandLine(monkeypatch, devserver.environment(), tmp_path)


@pytest.fixture
def key(cli: CommandLine) -> str:
    arn = cli.json("key", "create")["arn"]
    assert isinstance(arn, str)
    return arn


def _policy(key: str = "*") -> str:
    statement = {"Effect": "Allow", "Action": "kms:Encrypt", "Resource": key}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def test_status(cli: CommandLine) -> None:
    shown = cli.json("status")
    assert shown["caller"] == ROOT
    assert shown["endpoint"] == cli.environment["KAGITORI_ENDPOINT"]
    assert "Encrypt" in shown["server"]["operations"]
    assert [store["healthy"] for store in shown["key_stores"]] == [True]
    for_people = cli.done("status").text
    assert re.search(rf"^caller +{ROOT} *$", for_people, re.MULTILINE)
    assert "healthy (software)" in for_people


def test_life_of_a_key(cli: CommandLine) -> None:
    made = cli.json(
        "key", "create", "--alias", "alias/life", "--tag", "team=x", "--tag", "empty=", "--description", "mine"
    )
    arn = made["arn"]
    assert made["aliases"] == ["alias/life"]
    shown = cli.json("key", "show", "alias/life")
    assert shown == cli.json("key", "describe", made["key_id"])
    assert shown["tags"] == {"team": "x", "empty": ""}
    assert (shown["description"], shown["key_state"], shown["key_spec"]) == ("mine", "Enabled", "SYMMETRIC_DEFAULT")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", shown["creation_date"])
    assert {"key_id": made["key_id"], "key_arn": arn, "aliases": ["alias/life"]} in cli.json("key", "list")["keys"]
    assert re.search(rf"{made['key_id']} +alias/life", cli.done("key", "list").text)

    cli.done("key", "set-description", "alias/life", "yours")
    cli.done("key", "disable", "alias/life")
    shown = cli.json("key", "show", arn)
    assert (shown["description"], shown["key_state"]) == ("yours", "Disabled")
    cli.done("key", "enable", "alias/life")
    assert cli.json("key", "show", arn)["key_state"] == "Enabled"

    scheduled = cli.json("key", "delete", "alias/life", "--days", "7", "--yes")
    assert (scheduled["key_id"], scheduled["key_state"]) == (arn, "PendingDeletion")
    assert scheduled["pending_window_in_days"] == 7
    assert cli("key", "enable", arn).code == 1
    saved = cli.json("key", "cancel-deletion", arn)
    assert (saved["key_id"], saved["key_state"]) == (arn, "Disabled")
    assert cli.json("key", "show", arn)["key_state"] == "Disabled"


def test_a_saved_key_may_wait_for_its_material(cli: CommandLine) -> None:
    arn = cli.json("key", "create", "--origin", "EXTERNAL")["arn"]
    cli.done("key", "delete", arn, "--days", "7", "--yes")
    assert cli.json("key", "cancel-deletion", arn)["key_state"] == "PendingImport"
    cli.done("key", "delete", arn, "--days", "7", "--yes")
    assert "is saved, and PendingImport" in cli.done("key", "cancel-deletion", arn).text


def test_deletion_wants_a_word(cli: CommandLine, key: str) -> None:
    refused = cli("key", "delete", key)
    assert (refused.code, "give --yes" in refused.err) == (2, True)
    for days in ("6", "31", "x"):
        assert cli("key", "delete", key, "--yes", "--days", days).code == 2
    assert cli.json("key", "show", key)["key_state"] == "Enabled"


def test_key_stays_when_its_alias_is_taken(cli: CommandLine) -> None:
    cli.done("key", "create", "--alias", "alias/taken")
    refused = cli("key", "create", "--alias", "alias/taken")
    assert refused.code == 1
    assert refused.err.startswith("error: AlreadyExistsException: ")
    assert re.search(r"^hint: the key was made, without alias: arn:aws:kms:", refused.err, re.MULTILINE)
    before = len(cli.json("key", "list")["keys"])
    assert cli("key", "create", "--alias", "taken").code == 2
    assert len(cli.json("key", "list")["keys"]) == before


def test_aliases(cli: CommandLine, key: str) -> None:
    other = cli.json("key", "create")["arn"]
    cli.done("alias", "create", "alias/moving", key)
    assert [a["alias_name"] for a in cli.json("alias", "list", "--key", key)["aliases"]] == ["alias/moving"]
    cli.done("alias", "update", "alias/moving", other)
    assert cli.json("alias", "list", "--key", key)["aliases"] == []
    assert cli.json("key", "show", "alias/moving")["arn"] == other
    assert "alias/moving" in cli.done("alias", "list").text
    cli.done("alias", "delete", "alias/moving")
    refused = cli("alias", "delete", "alias/moving")
    assert (refused.code, refused.err.startswith("error: NotFoundException: ")) == (1, True)
    assert cli("alias", "create", "moving", key).code == 1


def test_tags(cli: CommandLine, key: str) -> None:
    cli.done("tag", "set", key, "a=1", "b=x=y")
    cli.done("tag", "set", key, "a=2")
    cli.done("tag", "remove", key, "none", "b")
    assert cli.json("tag", "list", key) == {"tags": [{"tag_key": "a", "tag_value": "2"}]}
    assert cli("tag", "set", key, "a").code == 2


def test_key_policies_byte_for_byte(cli: CommandLine, key: str) -> None:
    own = cli.done("policy", "get", key).text
    changed = own.replace("\n", "\n ") + "\n\n"
    cli.done("policy", "put", key, "-", stdin=changed.encode())
    assert cli.done("policy", "get", key).text == changed
    assert cli.json("policy", "get", key) == {"key_id": key, "policy_name": "default", "policy": changed}
    assert cli.json("policy", "list", key) == {"policies": [{"policy_name": "default"}]}
    locking = json.dumps(
        {
            "Version": "2012-10-17",
            "Statement": [
                {"Effect": "Allow", "Principal": {"AWS": ROOT}, "Action": "kms:DescribeKey", "Resource": "*"}
            ],
        }
    )
    (cli.folder / "locking.json").write_text(locking)
    assert cli("policy", "put", key, "locking.json").code == 1
    assert cli.done("policy", "get", key).text == changed
    cli.done("policy", "put", key, "locking.json", "--bypass-lockout-check")
    assert cli("policy", "get", key).code == 1
    assert cli("policy", "put", key, "missing.json").code == 2
    assert cli("policy", "put", key, "-", stdin=b"\xff").code == 2
    assert cli("policy", "put", key, "-", stdin=b"no json").code == 1


def test_explained_calls(cli: CommandLine, key: str) -> None:
    cli.done("principal", "create-user", "explained")
    cli.done("policy", "put-identity", "user/explained", "use", "-", stdin=_policy(key).encode())
    asked = ("policy", "explain", "--principal", "user/explained", "--key", key, "--action")
    allowed = cli.json(*asked, "kms:Encrypt", "--context", "tenant=1", "--context", "aws:SourceIp=10.0.0.1")
    assert allowed["decision"] == "ALLOWED"
    assert allowed["decided_by"] == {"source": "IDENTITY_POLICY", "policy": "use", "index": 0, "sid": None}
    assert allowed["condition_values"]["aws:sourceip"] == {"values": ["10.0.0.1"]}
    assert allowed["condition_values"]["kms:encryptioncontext:tenant"] == {"values": ["1"]}
    refused = cli.done(*asked, "kms:Decrypt").text
    assert "IMPLICIT_DENY" in refused
    assert re.search(r"identity policy use statement 0 .*action does not match", refused)
    assert "identity policy use statement 0" in cli.done(*asked, "kms:Encrypt").text
    assert cli(*asked, "kms:Encrypt", "--context", "tenant").code == 2
    entity = ("--action", "kagitori:DeleteRole", "--key", "arn:aws:iam::000000000000:role/ops/worker")
    told = cli.json("policy", "explain", "--principal", "user/explained", *entity)
    assert "kagitori:DeleteRole on resource: arn:aws:iam::000000000000:role/ops/worker" in told["explanation"]
    assert cli("policy", "explain", "--principal", "user/none", "--action", "kms:ListKeys").code == 1


def test_checked_policies(cli: CommandLine) -> None:
    cli.done("policy", "lint", "-", "--kind", "identity", stdin=_policy().encode())
    found = cli("policy", "lint", "-", "--kind", "identity", stdin=_policy().replace("Encrypt", "Encrpt").encode())
    assert found.code == 1
    assert "UNKNOWN_ACTION" in found.text
    broken = cli("policy", "lint", "-", stdin=b"{")
    assert (broken.code, "MALFORMED_POLICY_DOCUMENT" in broken.text) == (1, True)


def test_users_policies_and_tokens(cli: CommandLine, key: str) -> None:
    made = cli.json("principal", "create-user", "alice", "--tag", "team=x")
    assert made["arn"] == f"arn:aws:iam::{ACCOUNT}:user/alice"
    assert cli.json("principal", "show-user", "alice")["tags"] == [{"tag_key": "team", "tag_value": "x"}]
    assert "alice" in [user["user_name"] for user in cli.json("principal", "list-users")["users"]]

    cli.done("policy", "put-identity", "user/alice", "use", "-", stdin=_policy(key).encode())
    assert cli.done("policy", "get-identity", made["arn"], "use").text == _policy(key)
    assert cli.json("policy", "list-identity", "user/alice") == {"policies": [{"policy_name": "use"}]}

    token = cli.json("token", "create", "user/alice", "--expires", "15m", "--out", "alice.token")
    assert (token["token"], token["token_file"], token["principal_arn"]) == (None, "alice.token", made["arn"])
    secret = (cli.folder / "alice.token").read_text()
    assert TOKEN.fullmatch(secret.strip())
    assert stat.S_IMODE((cli.folder / "alice.token").stat().st_mode) == 0o600
    assert cli("token", "create", "user/alice", "--out", "alice.token").code == 2

    as_alice = ("--token-file", "alice.token")
    assert cli.json("principal", "whoami", *as_alice)["arn"] == made["arn"]
    (cli.folder / "in").write_bytes(b"x")
    allowed = cli("data-key", "--key", key, "--without-plaintext", "--ciphertext-out", "dk", *as_alice)
    assert (allowed.code, "AccessDeniedException" in allowed.err) == (1, True)
    listed = cli("key", "list", *as_alice)
    assert listed.code == 1
    assert listed.err.startswith("error: AccessDeniedException: ")
    assert "hint: kagitori principal whoami" in listed.err
    assert re.search(r"^request id: [0-9a-f-]{36}$", listed.err, re.MULTILINE)
    # Who may not ask the server how it is still learns who he is.
    assert cli.json("status", *as_alice)["server"] is None

    assert cli("principal", "delete-user", "alice").code == 1
    tokens = cli.json("token", "list", "--principal", "user/alice")["tokens"]
    assert [t["token_id"] for t in tokens] == [token["token_id"]]
    assert secret.strip() not in json.dumps(tokens)
    cli.done("token", "revoke", token["token_id"])
    ended = cli("principal", "whoami", *as_alice)
    assert (ended.code, ended.err.startswith("error: UnrecognizedClientException: ")) == (1, True)
    cli.done("policy", "delete-identity", "user/alice", "use")
    cli.done("principal", "delete-user", "alice")
    assert cli("principal", "show-user", "alice").code == 1


def test_token_on_stdout_is_alone_there(cli: CommandLine) -> None:
    cli.done("principal", "create-user", "bob")
    printed = cli.done("token", "create", "user/bob", "--expires", "1h")
    assert TOKEN.fullmatch(printed.text.strip())
    assert not TOKEN.search(printed.err)
    made = cli.json("token", "create", "user/bob")
    assert TOKEN.fullmatch(made["token"])
    assert made["expiration"] is None
    for wrong in ("1", "1y", "-1d", "d", "1.5h"):
        assert cli("token", "create", "user/bob", "--expires", wrong).code == 2
    assert cli("token", "create", "user/bob", "--expires", "1s").code == 1
    for wrong in ("bob", "key/bob", ""):
        assert cli("token", "create", wrong).code == 2


def test_roles_and_certificates(cli: CommandLine) -> None:
    role = cli.json("principal", "create-role", "web", "--description", "of the site")
    assert role["description"] == "of the site"
    assert "web" in [r["role_name"] for r in cli.json("principal", "list-roles")["roles"]]
    assert cli("token", "create", "role/web").code == 1
    token = cli.json("token", "create", "role/web", "--session-name", "one", "--expires", "1h")
    cli.done("token", "revoke", token["token_id"])
    mapped = cli.json(
        "principal", "map-certificate", "role/web", "--uri-san", "spiffe://example.org/w", "--session-name", "site"
    )
    listed = cli.json("principal", "list-certificates", "--principal", "role/web")["certificates"]
    assert [c["certificate_id"] for c in listed] == [mapped["certificate_id"]]
    assert (listed[0]["uri_san"], listed[0]["subject"]) == ("spiffe://example.org/w", None)
    for wrong in ((), ("--uri-san", "spiffe://x/y", "--subject", "CN=x")):
        assert cli("principal", "map-certificate", "role/web", *wrong).code == 2
    cli.done("principal", "unmap-certificate", mapped["certificate_id"])
    cli.done("principal", "delete-role", "web")
    assert cli("principal", "delete-role", "web").code == 1


def test_accounts(cli: CommandLine) -> None:
    made = cli.json("principal", "create-account", "other", "--id", "111122223333")
    assert made["arn"] == "arn:aws:iam::111122223333:root"
    assert "111122223333" in [a["account_id"] for a in cli.json("principal", "list-accounts")["accounts"]]
    user = cli.json("principal", "create-user", "carol", "--account", "111122223333")
    assert user["arn"] == "arn:aws:iam::111122223333:user/carol"
    assert "carol" in cli.done("principal", "list-users", "--account", "111122223333").text


def test_data_keys(cli: CommandLine, key: str) -> None:
    for options, length in (((), 32), (("--spec", "AES_128"), 16), (("--bytes", "64"), 64)):
        cli.done(
            "data-key", "--key", key, *options, "--context", "a=b", "--force",
            "--plaintext-out", "plain", "--ciphertext-out", "sealed",
        )
        assert len((cli.folder / "plain").read_bytes()) == length
        for name in ("plain", "sealed"):
            assert stat.S_IMODE((cli.folder / name).stat().st_mode) == 0o600
    cli.done("data-key", "--key", key, "--without-plaintext", "--ciphertext-out", "alone")
    assert cli.files() == {"plain", "sealed", "alone"}
    out = ("--ciphertext-out", "new")
    for wrong in (
        (*out,),
        (*out, "--plaintext-out", "p", "--without-plaintext"),
        (*out, "--plaintext-out", "new"),
        (*out, "--plaintext-out", "plain"),
        (*out, "--plaintext-out", "p", "--bytes", "16", "--spec", "AES_128"),
        (*out, "--plaintext-out", "p", "--bytes", "0"),
        (*out, "--plaintext-out", "p", "--bytes", "1025"),
        (*out, "--plaintext-out", "p", "--spec", "AES_512"),
        ("--plaintext-out", "p"),
    ):
        assert cli("data-key", "--key", key, *wrong).code == 2, wrong
    assert cli.files() == {"plain", "sealed", "alone"}


def test_random(cli: CommandLine) -> None:
    assert re.fullmatch(r"[0-9a-f]{64}\n", cli.done("random", "32").text)
    assert len(base64.b64decode(cli.done("random", "5", "--format", "base64").text)) == 5
    assert len(cli.done("random", "1024", "--format", "raw").out) == 1024
    assert len(base64.b64decode(cli.json("random", "7")["plaintext"])) == 7
    cli.done("random", "9", "--format", "raw", "--out", "file")
    assert len((cli.folder / "file").read_bytes()) == 9
    assert cli("random", "9", "--out", "file").code == 2
    for wrong in ("0", "-1", "1025", "x"):
        assert cli("random", wrong).code == 2


def test_audit(cli: CommandLine, key: str) -> None:
    cli.done("key", "show", key)
    refused = cli("key", "show", "alias/nothing-here")
    request_id = re.search(r"^request id: (\S+)$", refused.err, re.MULTILINE)
    assert request_id
    lines = cli.done("audit", "tail", "-n", "5", "--output", "json").text.splitlines()
    events = [json.loads(line) for line in lines]
    assert len(events) == 5
    assert [e["event_time"] for e in events] == sorted(e["event_time"] for e in events)
    last = events[-1]["cloud_trail_event"]
    assert (last["eventName"], last["requestID"]) == ("DescribeKey", request_id[1])
    filtered = cli.done("audit", "tail", "-n", "3", "--filter", f"resource-name={key}").text
    assert all(line.split()[3] == "Root" for line in filtered.splitlines()), "a root user has no name but its kind"
    assert key in filtered
    assert "alias/nothing-here" not in filtered
    for wrong in ("x=y", "event-name", "event-name=", "=x"):
        failed = cli("audit", "tail", "--filter", wrong)
        assert (failed.code, "attributes: event-id, event-name" in failed.err) == (2, True)
    chains = cli.json("audit", "verify")["chains"]
    assert chains
    assert all(chain["intact"] and len(chain["head_hash"]) == 64 for chain in chains)
    assert cli("audit", "verify", "--chain", "none").code == 1
    assert cli.json("audit", "public-keys") == {"public_keys": []}
    for verb in ("trail", "status"):
        failed = cli("audit", verb)
        assert (failed.code, "not delivered anywhere" in failed.err) == (1, True)


def test_init_writes_a_profile_that_works(cli: CommandLine) -> None:
    written = cli.json("init", "--profile", "mine")
    assert written["arn"] == ROOT
    assert stat.S_IMODE(Path(written["config_file"]).stat().st_mode) == 0o600
    nothing = {name: "" for name in cli.environment if name.startswith("KAGITORI_")}
    assert cli("principal", "whoami", environment=nothing).code == 2
    assert cli.done("principal", "whoami", "--profile", "mine", environment=nothing).text
    assert cli.done("principal", "whoami", environment={**nothing, "KAGITORI_PROFILE": "mine"}).text
    refused = cli("init", "--profile", "mine")
    assert (refused.code, "--force replaces it" in refused.err) == (2, True)
    cli.done("init", "--profile", "mine", "--force")


def test_init_keeps_a_token_from_stdin(cli: CommandLine) -> None:
    token = Path(cli.environment["KAGITORI_TOKEN_FILE"]).read_bytes()
    cli.done("init", "--token-stdin", stdin=token)
    kept = cli.folder / "config" / "kagitori" / "default.token"
    assert kept.read_bytes().strip() == token.strip()
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    wrong = cli("init", "--token-stdin", "--force", stdin=b"kgt_" + b"x" * 43)
    assert wrong.code == 1
    assert kept.read_bytes().strip() == token.strip()
    assert cli("init", "--token-stdin", "--force", stdin=b"hunter2").code == 2
    assert {entry.name for entry in kept.parent.iterdir()} == {"default.token", "config.toml"}


def test_init_writes_nothing_that_does_not_work(cli: CommandLine) -> None:
    assert cli("init", "--endpoint", "http://127.0.0.1:1", "--timeout", "1").code == 3
    assert cli("init", environment={"KAGITORI_ENDPOINT": ""}).code == 2
    assert not (cli.folder / "config").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("--endpoint", "http://127.0.0.1:1", "status"), 3, "error: CannotConnect: http://127.0.0.1:1"),
        (("--endpoint", "unix:///none", "key", "list"), 3, "error: CannotConnect: unix:///none"),
        (("--endpoint", "nonsense", "status"), 2, "error: Configuration: the endpoint 'nonsense'"),
        (("--endpoint", "http://example.org:1", "status"), 2, "error: Configuration: plaintext to example.org"),
        (("--profile", "none", "status"), 2, "error: Configuration: there is no profile 'none'"),
        (("--token-file", "/none", "status"), 2, "error: Configuration: /none can't be read"),
        (("--ca-file", "/none", "status"), 2, "error: Configuration: /none can't be read"),
        (("key", "show", "nonsense"), 1, "error: NotFoundException: "),
        (("key", "show"), 2, "Missing argument"),
        (("key", "nonsense"), 2, "No such command"),
        (("nonsense",), 2, "No such command"),
        (("key", "list", "--nonsense"), 2, "No such option"),
        (("--output", "xml", "key", "list"), 2, "Invalid value"),
        (("--timeout", "0", "key", "list"), 2, "Invalid value"),
    ],
)
def test_exit_codes(cli: CommandLine, arguments: tuple[str, ...], code: int, says: str) -> None:
    ended = cli(*arguments)
    assert (ended.code, ended.out) == (code, b"")
    assert says in ended.err


def test_secret_files_must_be_private(cli: CommandLine) -> None:
    copy = cli.folder / "token"
    copy.write_bytes(Path(cli.environment["KAGITORI_TOKEN_FILE"]).read_bytes())
    copy.chmod(0o644)
    refused = cli("--token-file", "token", "status")
    assert refused.code == 2
    assert "may be used by others (mode 0644)" in refused.err
    assert "hint: chmod 600 token" in refused.err


def test_options_stand_before_or_behind_the_command(cli: CommandLine) -> None:
    before = cli.done("--output", "json", "principal", "whoami").json
    assert cli.done("principal", "whoami", "--output", "json").json == before
    assert cli.done("--output", "table", "principal", "whoami", "--output", "json").json == before


def test_server_that_the_ca_does_not_vouch_for(cli: CommandLine) -> None:
    """In a process of its own: gRPC's core has lines of its own for this, which nobody wants to see."""
    with cli.process(["--ca-file", "other.crt", "status"], stderr=subprocess.PIPE) as process:
        assert process.wait(30) == 2
    (cli.folder / "other.crt").symlink_to(Path(botocore.__file__).with_name("cacert.pem"))
    with cli.process(["--ca-file", "other.crt", "status"], stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        lines = process.stderr.read().decode().splitlines()
    assert process.returncode == 3
    assert [line.partition(": ")[0] for line in lines] == ["error", "hint"]
    assert lines[1] == "hint: the server's certificate isn't signed by the CA file: check --ca-file"


def test_following_the_trail(cli: CommandLine, key: str) -> None:
    arguments = ["audit", "tail", "-n", "1", "--follow", "--filter", f"resource-name={key}", "--output", "json"]
    with cli.process(arguments, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["event_name"] == "CreateKey"
        cli.done("key", "disable", key)
        assert json.loads(process.stdout.readline())["event_name"] == "DisableKey"
        cli.done("key", "enable", key)
        assert json.loads(process.stdout.readline())["event_name"] == "EnableKey"
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130


def test_arguments_that_are_not_text(cli: CommandLine, key: str) -> None:
    refused = cli("key", "set-description", key, "\udcff")
    assert (refused.code, refused.err) == (2, "error: Usage: an argument is not UTF-8 text\n")


def test_debug_shows_where(cli: CommandLine) -> None:
    assert "Traceback" in cli("--debug", "key", "show", "nonsense").err
    assert "Traceback" not in cli("key", "show", "nonsense").err
