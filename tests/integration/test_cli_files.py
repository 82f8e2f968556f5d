"""encrypt and decrypt as commands: what they leave behind, whatever happens."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
from pathlib import Path

import pytest
from tests.support.commandline import PROGRAM, CommandLine
from tests.support.devserver import DevServer

MIB = 1 << 20


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, devserver: DevServer, tmp_path: Path) -> CommandLine:
    return CommandLine(monkeypatch, devserver.environment(), tmp_path)


@pytest.fixture
def key(cli: CommandLine) -> str:
    arn = cli.json("key", "create")["arn"]
    assert isinstance(arn, str)
    return arn


@pytest.mark.parametrize("size", [0, 1, 4095, 4096, 4097, 65535, 65536, 65537, 200_000])
def test_round_trip(cli: CommandLine, key: str, size: int) -> None:
    content = os.urandom(size)
    (cli.folder / "in").write_bytes(content)
    cli.done("encrypt", "--key", key, "--context", "a=b", "in", "enc")
    cli.done("decrypt", "--context", "a=b", "enc", "out")
    assert (cli.folder / "out").read_bytes() == content
    assert cli.files() == {"in", "enc", "out"}
    sealed = (cli.folder / "enc").read_bytes()
    assert size < 64 or content not in sealed


def test_pipes(cli: CommandLine, key: str) -> None:
    content = os.urandom(100_000)
    sealed = cli.done("encrypt", "--key", key, "-", "-", stdin=content).out
    opened = cli.done("decrypt", "-", "-", stdin=sealed)
    assert opened.out == content
    assert opened.err == ""
    assert cli.files() == set()


def test_json_says_what_was_done(cli: CommandLine, key: str) -> None:
    (cli.folder / "in").write_bytes(b"12345")
    written = cli.json("encrypt", "--key", key, "--context", "a=b", "in", "enc")
    assert written == {
        "out": "enc", "key_arns": [key], "encryption_context": {"a": "b"}, "plaintext_length": 5
    }
    read = cli.json("decrypt", "enc", "out")
    assert read == {"out": "out", "key_arns": [key], "encryption_context": {"a": "b"}, "plaintext_length": 5}


def test_outputs_are_private_whatever_the_umask(cli: CommandLine, key: str) -> None:
    (cli.folder / "in").write_bytes(b"x")
    before = os.umask(0)
    try:
        cli.done("encrypt", "--key", key, "in", "enc")
        cli.done("decrypt", "enc", "out")
    finally:
        os.umask(before)
    for name in ("enc", "out"):
        assert stat.S_IMODE((cli.folder / name).stat().st_mode) == 0o600


def test_existing_files_need_force(cli: CommandLine, key: str) -> None:
    (cli.folder / "in").write_bytes(b"x")
    (cli.folder / "enc").write_bytes(b"precious")
    refused = cli("encrypt", "--key", key, "in", "enc")
    assert (refused.code, refused.err) == (2, "error: Usage: enc exists\nhint: --force replaces it\n")
    assert (cli.folder / "enc").read_bytes() == b"precious"
    cli.done("encrypt", "--force", "--key", key, "in", "enc")
    cli.done("decrypt", "enc", "out")
    assert (cli.folder / "out").read_bytes() == b"x"


def test_failed_decryption_with_force_keeps_the_old_file(cli: CommandLine, key: str) -> None:
    (cli.folder / "in").write_bytes(b"x" * 100_000)
    cli.done("encrypt", "--key", key, "in", "enc")
    sealed = (cli.folder / "enc").read_bytes()
    (cli.folder / "enc").write_bytes(sealed[:-1])
    (cli.folder / "out").write_bytes(b"precious")
    assert cli("decrypt", "--force", "enc", "out").code == 4
    assert (cli.folder / "out").read_bytes() == b"precious"
    assert cli.files() == {"in", "enc", "out"}


def test_same_file_by_any_name(cli: CommandLine, key: str) -> None:
    (cli.folder / "in").write_bytes(b"x")
    (cli.folder / "symbolic").symlink_to("in")
    (cli.folder / "hard").hardlink_to(cli.folder / "in")
    for target in ("in", "./in", str(cli.folder / "in"), "symbolic", "hard"):
        refused = cli("encrypt", "--force", "--key", key, "in", target)
        assert refused.code == 2
        assert "the same file" in refused.err
    assert (cli.folder / "in").read_bytes() == b"x"


@pytest.mark.parametrize(
    ("source", "target", "says"),
    [
        ("missing", "out", "missing: No such file or directory"),
        ("folder", "out", "folder: Is a directory"),
        ("in", "folder", "folder exists and is no regular file"),
        ("in", "fifo", "fifo exists and is no regular file"),
        ("in", "dangling", "dangling exists and is no regular file"),
        ("in", "/dev/null", "/dev/null exists and is no regular file"),
        ("in", "none/out", "none/out can't be written: there is no folder none"),
        ("in", "in/out", "in/out can't be written: Not a directory"),
    ],
)
def test_impossible_files(cli: CommandLine, key: str, source: str, target: str, says: str) -> None:
    (cli.folder / "in").write_bytes(b"x")
    (cli.folder / "folder").mkdir()
    os.mkfifo(cli.folder / "fifo")
    (cli.folder / "dangling").symlink_to("nowhere")
    before = sorted(cli.folder.iterdir())
    for command in (("encrypt", "--key", key), ("decrypt",)):
        refused = cli(*command, "--force", source, target)
        assert refused.code == 2
        assert says in refused.err
    assert sorted(cli.folder.iterdir()) == before


def test_context_that_is_not_there(cli: CommandLine, key: str) -> None:
    (cli.folder / "in").write_bytes(b"x")
    cli.done("encrypt", "--key", key, "--context", "a=b", "--context", "c=d=e", "in", "enc")
    cli.done("decrypt", "--context", "c=d=e", "enc", "out")
    for wanted in ("a=x", "a=", "b=a", "A=b"):
        refused = cli("decrypt", "--context", wanted, "enc", "out2")
        assert refused.code == 4
        assert refused.err.startswith("error: ContextMismatch: ")
    assert cli.files() == {"in", "enc", "out"}


@pytest.mark.parametrize("context", ["a", "=b", ""])
def test_context_that_is_no_pair(cli: CommandLine, key: str, context: str) -> None:
    (cli.folder / "in").write_bytes(b"x")
    refused = cli("encrypt", "--key", key, "--context", context, "in", "enc")
    assert refused.code == 2
    assert "wants name=value" in refused.err
    twice = cli("encrypt", "--key", key, "--context", "a=b", "--context", "a=c", "in", "enc")
    assert (twice.code, "twice" in twice.err) == (2, True)
    assert cli.files() == {"in"}


def test_reserved_context(cli: CommandLine, key: str) -> None:
    (cli.folder / "in").write_bytes(b"x")
    refused = cli("encrypt", "--key", key, "--context", "aws-crypto-public-key=x", "in", "enc")
    assert refused.code == 1
    assert "aws-crypto-" in refused.err
    assert cli.files() == {"in"}


def test_no_unverified_byte_reaches_stdout(cli: CommandLine, key: str) -> None:
    sealed = cli.done("encrypt", "--key", key, "-", "-", stdin=b"x" * 300_000).out
    for damaged in (sealed[:-1], sealed[:200_000], sealed + b"x", sealed[:-5] + b"?" + sealed[-4:]):
        refused = cli("decrypt", "-", "-", stdin=damaged)
        assert refused.code == 4
        assert refused.out == b""
        assert refused.err.startswith("error: DoesNotVerify: ")


def test_damage_anywhere_leaves_no_output(cli: CommandLine, key: str) -> None:
    """Steps small enough to hit every part: version, suite, id, context, keys, frame length, tags, frame, footer."""
    sealed = cli.done("encrypt", "--key", key, "-", "-", stdin=b"x" * 100).out
    for position in range(0, len(sealed), 9):
        flipped = sealed[:position] + bytes([sealed[position] ^ 0x41]) + sealed[position + 1 :]
        for damaged in (flipped, sealed[:position]):
            (cli.folder / "enc").write_bytes(damaged)
            refused = cli("decrypt", "enc", "out")
            assert refused.code in {1, 4}, (position, refused.err)
            assert (refused.out, cli.files()) == (b"", {"enc"})


def test_key_that_is_not_named(cli: CommandLine, key: str) -> None:
    other = cli.json("key", "create", "--alias", "alias/other-of-files")["arn"]
    (cli.folder / "in").write_bytes(b"x")
    cli.done("encrypt", "--key", key, "in", "enc")
    for name in (other, "alias/other-of-files"):
        refused = cli("decrypt", "--key", name, "enc", "out")
        assert refused.code == 1
    assert "error: NoUsableKey" in cli("decrypt", "--key", other, "enc", "out").err
    assert "error: IncorrectKeyException" in cli("decrypt", "--key", "alias/other-of-files", "enc", "out").err
    assert cli.files() == {"in", "enc"}
    cli.done("decrypt", "--key", other, "--key", key, "enc", "out")


def test_disabled_key(cli: CommandLine, key: str) -> None:
    (cli.folder / "in").write_bytes(b"x")
    cli.done("encrypt", "--key", key, "in", "enc")
    cli.done("key", "disable", key)
    for arguments in (("encrypt", "--key", key, "in", "enc2"), ("decrypt", "enc", "out")):
        refused = cli(*arguments)
        assert refused.code == 1
        assert refused.err.startswith("error: DisabledException: ")
    assert cli.files() == {"in", "enc"}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGKILL])
@pytest.mark.parametrize("verb", ["encrypt", "decrypt"])
def test_signals_leave_nothing(cli: CommandLine, key: str, number: signal.Signals, verb: str) -> None:
    sealed = cli.done("encrypt", "--key", key, "-", "-", stdin=b"x" * 400_000).out
    sent = sealed[:300_000] if verb == "decrypt" else b"x" * 300_000
    arguments = ["encrypt", "--key", key, "-", "out"] if verb == "encrypt" else ["decrypt", "-", "out"]
    with cli.process(arguments, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdin is not None
        process.stdin.write(sent)
        # A pipe holds 64 KiB: when this is done, the process has read and written most of it.
        process.stdin.flush()
        assert process.poll() is None
        process.send_signal(number)
        assert process.wait(30) == (-number if number is signal.SIGKILL else 128 + number)
    assert cli.files() == set()


def test_full_disk_leaves_nothing(cli: CommandLine, key: str) -> None:
    (cli.folder / "in").write_bytes(b"x" * 2 * MIB)
    limited = ["bash", "-c", 'ulimit -f 1024; exec "$@"', "-"]
    arguments = [*limited, *PROGRAM, "encrypt", "--key", key, "in", "enc"]
    ended = subprocess.run(
        arguments, env=cli.environment, cwd=cli.folder, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 2
    assert ended.stderr == "error: LocalFile: File too large\n"
    assert cli.files() == {"in"}


def _peak(cli: CommandLine, *arguments: str) -> int:
    """Peak resident memory of one command, in bytes."""
    process = cli.process(arguments)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return usage.ru_maxrss * 1024


def test_memory_does_not_grow_with_the_file(cli: CommandLine, key: str) -> None:
    for name, size in (("small", 1), ("large", 64 * MIB)):
        with (cli.folder / name).open("wb") as file:
            file.truncate(size)
    peaks = {}
    for name in ("small", "large"):
        peaks["encrypt", name] = _peak(cli, "encrypt", "--key", key, name, f"{name}.enc")
        peaks["decrypt", name] = _peak(cli, "decrypt", f"{name}.enc", f"{name}.dec")
    assert (cli.folder / "large.dec").stat().st_size == 64 * MIB
    for verb in ("encrypt", "decrypt"):
        assert peaks[verb, "large"] - peaks[verb, "small"] < 12 * MIB, peaks
