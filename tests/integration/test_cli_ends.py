"""How commands end when their reader, their files or their server don't do their part."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.commandline import PROGRAM, CommandLine
from tests.support.devserver import DevServer

_INTERRUPTED = """
import kagitori_client.cli as c, os, resource, signal, sys
class Finder:
    def find_spec(self, name, *_):
        if name == 'typer':
            os.kill(os.getpid(), signal.SIGINT)
c.importlib.util.find_spec = lambda name: True
sys.meta_path.insert(0, Finder())
try:
    c.main(['status'])
finally:
    assert resource.getrlimit(resource.RLIMIT_CORE) == (0, 0)
"""
"""Gets Ctrl-C when it begins to load the command line."""


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, devserver: DevServer, tmp_path: Path) -> CommandLine:
    return CommandLine(monkeypatch, devserver.environment(), tmp_path)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--output", "json", "key", "list"], ["audit", "export"], ["audit", "tail", "--follow"],
        ["random", "1024", "--format", "raw"], ["--help"],
    ],
)
def test_a_reader_that_is_gone(cli: CommandLine, arguments: list[str]) -> None:
    """As `kagitori … | head` leaves them: no word about it, and no code that stands for a refusal."""
    cli("key", "list")
    reader, writer = os.pipe()
    os.close(reader)
    try:
        with cli.process(arguments, stdout=writer, stderr=subprocess.PIPE) as process:
            _, errors = process.communicate(timeout=30)
    finally:
        os.close(writer)
    assert (process.returncode, errors) == (141, b"")


def test_standard_files_that_are_closed(cli: CommandLine) -> None:
    cli.done("key", "create", "--alias", "alias/closed-files")

    def shell(line: str) -> subprocess.CompletedProcess[bytes]:
        program = shlex.join(PROGRAM)
        return subprocess.run(
            ["sh", "-c", line.replace("kagitori", program)], env=cli.environment, cwd=cli.folder, capture_output=True,
            check=False,
        )

    closed = shell("kagitori key list >&-")
    assert (closed.returncode, closed.stderr) == (2, b"error: LocalFile: stdout is closed\n")
    assert shell("kagitori key show nothing 2>&-").returncode == 1
    assert shell("kagitori encrypt --raw --key alias/closed-files - out <&-").returncode == 2
    full = shell("kagitori --output json key list > /dev/full")
    assert (full.returncode, full.stderr) == (2, b"error: LocalFile: No space left on device\n")


def test_output_is_utf_8_in_every_locale_and_names_of_files_need_not_be_text(cli: CommandLine) -> None:
    """What was done must not be told as a failure because it can't be printed."""
    name = os.fsdecode(b"\xff.enc")
    (cli.folder / "plain").write_bytes(b"x")
    for encoding in ("latin-1", "ascii", "utf-8:strict"):
        cli.environment["PYTHONIOENCODING"] = encoding
        with cli.process(
            ["--output", "json", "key", "create", "--description", "注文 🔑"], stdout=subprocess.PIPE
        ) as process:
            made = json.loads(process.communicate(timeout=30)[0].decode())
        assert (process.returncode, made["description"]) == (0, "注文 🔑")
        with cli.process(
            ["--output", "json", "encrypt", "--key", made["arn"], "--force", "plain", name], stdout=subprocess.PIPE
        ) as process:
            told = process.communicate(timeout=30)[0].decode()
        assert (process.returncode, json.loads(told)["out"]) == (0, name)
        assert (cli.folder / name).exists()


def test_a_receipt_that_can_not_be_kept_is_refused_before_the_call(cli: CommandLine) -> None:
    cli("key", "list")
    before = len(cli.json("key", "list")["keys"])
    refused = cli("--receipt", "no/such", "key", "create")
    assert (refused.code, refused.err) == (2, "error: LocalFile: no/such can't be written: there is no folder no\n")
    assert len(cli.json("key", "list")["keys"]) == before


@pytest.mark.parametrize(
    "arguments",
    [
        ["--timeout", "inf", "status"], ["--timeout", "nan", "status"], ["--timeout", "86401", "status"],
        ["audit", "lookup", "--from", "0001-01-01T00:00:00+23:59"],
        ["audit", "lookup", "--to", "9999-12-31T23:59:59-23:59"],
        ["--endpoint", "unix:///" + "a" * 107, "status"],
        ["--profile", "nobody", "status"], ["--token-file", "absent", "status"], ["--ca-file", ".", "status"],
        ["encrypt", "--key", "k", "absent", "out"], ["encrypt", "--key", "k", ".", "out"],
        ["key", "create", "--description", "\udcff"],
    ],
)
def test_what_can_not_be_meant_is_wrong_usage(cli: CommandLine, arguments: list[str]) -> None:
    refused = cli(*arguments)
    assert refused.code == 2
    assert "Traceback" not in refused.err
    assert refused.out == b""


def test_interrupts_while_it_loads(cli: CommandLine) -> None:
    """Before the command line is there: the same exit code, no traceback, and no core file."""
    done = subprocess.run(
        [sys.executable, "-c", _INTERRUPTED], env=cli.environment, cwd=cli.folder, capture_output=True, check=False
    )
    assert (done.returncode, done.stderr) == (130, b"")


@pytest.mark.parametrize(
    ("noun", "hint", "listed"),
    [
        ("token", "hint: a token was made that nobody has: kagitori token revoke ", "token_id"),
        ("access-key", "an access key was made whose secret nobody has: kagitori access-key delete ", "access_key_id"),
    ],
)
def test_a_credential_that_can_not_be_written_is_told(cli: CommandLine, noun: str, hint: str, listed: str) -> None:
    cli("principal", "create-user", "full-disk")
    made = subprocess.run(
        ["bash", "-c", 'ulimit -f 0; exec "$@"', "-", *PROGRAM, noun, "create", "user/full-disk", "--out", "secret"],
        env=cli.environment, cwd=cli.folder, capture_output=True, text=True, check=False,
    )
    assert made.returncode == 2
    assert made.stderr.startswith("error: LocalFile: secret: File too large\n")
    [there] = cli.json(noun, "list", "--principal", "user/full-disk")[f"{noun}s".replace("-", "_")]
    assert f"{hint}{there[listed]}\n" in made.stderr
    assert not (cli.folder / "secret").exists()
