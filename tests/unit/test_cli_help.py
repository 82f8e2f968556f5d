"""The command line without a server: help, completion, what is imported, and `serve`."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.commandline import program
from tests.support.devserver import IMPORT_ROOTS

from kagitori_client.cli.session import Options

ENVIRONMENT = {"PATH": os.environ["PATH"], "PYTHONPATH": IMPORT_ROOTS, "HOME": "/nonexistent", "COLUMNS": "300"}
MAIN = "from kagitori_client.cli import main; main()"

COMMANDS = """
init serve status aws-env aws-import encrypt decrypt data-key random
sign verify public-key data-key-pair derive encapsulate decapsulate
mac: generate verify
key: create list show last-used describe enable disable delete cancel-deletion set-description
key: import import-parameters delete-material rotate rotations replicate set-primary
key rotation: enable disable status
alias: create update delete list
grant: create list retire revoke
tag: set remove list
policy: get put list put-identity get-identity list-identity delete-identity explain lint simulate
policy: create-managed get-managed list-managed delete-managed attach detach
principal: whoami create-account list-accounts create-user list-users show-user delete-user create-role list-roles
principal: show-role put-trust delete-role tag untag map-certificate list-certificates unmap-certificate
principal: create-group list-groups delete-group add-to-group remove-from-group put-boundary delete-boundary
token: create list revoke assume-role
access-key: create list activate deactivate delete
budget: put show list delete list-freezes lift
oidc-provider: create list delete
keystore: create-hsm create-xks list show connect disconnect update delete check
audit: export lookup open public-keys status tail trail verify
audit: tree-head prove consistency verify-receipt
dev clock: show set advance
dev fault: inject list clear
usage: list report prices
"""


def _words() -> list[list[str]]:
    found: list[list[str]] = []
    for line in COMMANDS.strip().splitlines():
        noun, colon, verbs = line.partition(":")
        found += [[*noun.split(), verb] for verb in verbs.split()] if colon else [[verb] for verb in line.split()]
    return found


def _run(code: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code, *arguments],
        env={**ENVIRONMENT, **environment}, capture_output=True, text=True, check=False, timeout=60,
    )


def test_help_of_every_command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    examples = 0
    for words in _words():
        if words == ["serve"]:
            continue
        with pytest.raises(SystemExit) as ended:
            program()(args=[*words, "--help"], prog_name="kagitori", obj=Options())
        shown = capsys.readouterr().out
        assert ended.value.code == 0
        assert f"Usage: kagitori {' '.join(words)}" in shown
        assert "--output" in shown
        examples += "Example: kagitori" in shown
    assert examples >= 10


def test_the_list_of_commands_is_whole() -> None:
    def below(command: Any, words: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
        if not hasattr(command, "commands"):
            yield words
        for name, each in getattr(command, "commands", {}).items():
            yield from below(each, (*words, name))

    assert sorted(below(program(), ())) == sorted(map(tuple, _words()))


def test_whole_help_tells_nouns_and_exit_codes() -> None:
    shown = _run(MAIN, "--help")
    assert shown.returncode == 0
    for noun in ("key", "alias", "tag", "policy", "principal", "token", "access-key", "audit", "encrypt", "decrypt"):
        assert noun in shown.stdout
    assert "Exit codes: 0 done; 1 refused" in shown.stdout


def test_completion() -> None:
    shown = _run(
        MAIN, _KAGITORI_COMPLETE="complete_bash", COMP_WORDS="kagitori key ", COMP_CWORD="2"
    )
    assert {"create", "list", "show", "enable"} <= set(shown.stdout.split())
    assert "describe" not in shown.stdout.split()


@pytest.mark.parametrize("missing", ["typer", "rich"])
def test_bare_install_says_what_is_missing(missing: str) -> None:
    ended = _run(f"import sys; sys.modules[{missing!r}] = None; {MAIN}", "status")
    assert ended.returncode == 2
    assert ended.stderr == (
        f"error: Configuration: the command line needs {missing}\nhint: pip install 'kagitori-kms[cli]'\n"
    )


def test_encrypting_without_the_sdk_says_what_is_missing() -> None:
    ended = _run(f"import sys; sys.modules['aws_encryption_sdk'] = None; {MAIN}", "encrypt", "--key", "k", "a", "b")
    assert ended.returncode == 2
    assert "hint: pip install 'kagitori-kms[cli]'" in ended.stderr


def test_parquet_without_pyarrow_says_what_is_missing(tmp_path: Path) -> None:
    words = ["audit", "export", "--format", "parquet", "--out", str(tmp_path / "records.parquet")]
    ended = _run(f"import sys; sys.modules['pyarrow'] = None; {MAIN}", *words)
    assert ended.returncode == 2
    assert ended.stderr == "error: Usage: Parquet needs pyarrow\nhint: pip install 'kagitori-kms[parquet]'\n"
    assert not list(tmp_path.iterdir())


def test_the_light_client_stays_light() -> None:
    code = "import sys, kagitori_client; print([m for m in sys.modules if m.split('.')[0] in sys.argv[1:]])"
    heavy = ("typer", "rich", "aws_encryption_sdk", "cryptography", "kagitori_server", "kagitori_keystore")
    assert _run(code, *heavy).stdout == "[]\n"


def test_serve_is_the_server_with_the_same_arguments(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", MAIN, "serve", "dev"], env=ENVIRONMENT, stdout=subprocess.PIPE, cwd=tmp_path
    ) as process:
        assert process.stdout is not None
        ready = json.loads(process.stdout.readline())
        assert ready["env"]["KAGITORI_ENDPOINT"].startswith("https://127.0.0.1:")
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0


def test_serve_without_a_server_says_how_to_get_one() -> None:
    ended = _run(f"import sys; sys.modules['kagitori_server'] = None; {MAIN}", "serve", PATH="/nonexistent")
    assert ended.returncode == 2
    assert "hint: pip install 'kagitori-kms[server]'" in ended.stderr
