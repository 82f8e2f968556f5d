"""`kagitori audit lookup`, `tail` and `export` against a real server, which indexes its trail meanwhile."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent import futures
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import pytest
from pyarrow.parquet import ParquetFile, read_table
from tests.support.commandline import CommandLine
from tests.support.devserver import DevServer


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, devserver: DevServer, tmp_path: Path) -> CommandLine:
    return CommandLine(monkeypatch, devserver.environment(), tmp_path)


@pytest.fixture
def key(cli: CommandLine) -> str:
    arn = cli.json("key", "create")["arn"]
    assert isinstance(arn, str)
    for tenant in ("t1", "t2", "t1"):
        cli.done(
            "data-key", "--key", arn, "--ciphertext-out", "dk.enc", "--without-plaintext", "--force",
            "--context", f"tenant={tenant}",
        )
    cli("data-key", "--key", arn + "0", "--ciphertext-out", "dk.enc", "--without-plaintext", "--force")
    return arn


def _found(cli: CommandLine, *arguments: str) -> list[dict[str, Any]]:
    lines = cli.done("audit", "lookup", "--output", "json", *arguments).text.splitlines()
    return [json.loads(line) for line in lines]


def test_look_ups_by_several_filters(cli: CommandLine, key: str) -> None:
    about = ("--filter", f"key={key}")
    assert [event["event_name"] for event in _found(cli, *about)] == [
        *["GenerateDataKeyWithoutPlaintext"] * 3, "CreateKey"
    ]
    assert len(_found(cli, *about, "--context", "tenant=t1")) == 2
    assert len(_found(cli, *about, "--context", "tenant=t1", "-n", "1")) == 1
    assert _found(cli, *about, "--context", "tenant=t1", "--filter", "outcome=failure") == []
    [failed] = _found(cli, "--filter", f"key={key}0", "--filter", "outcome=failure")
    assert failed["cloud_trail_event"]["errorCode"] == "InvalidArnException"
    call = failed["cloud_trail_event"]["requestID"]
    assert _found(cli, "--filter", f"request-id={call}") == [failed]
    assert len(_found(cli, *about, "--from", "1h", "--to", "2099-01-01")) == 4
    assert _found(cli, *about, "--to", "2020-01-01") == []
    assert cli("audit", "lookup", "--filter", "outcome=perhaps").code == 1
    assert cli("audit", "lookup", "--filter", "encryption-context=x").code == 2
    assert cli("audit", "lookup", *["--filter", "outcome=success"] * 21).code == 1


def test_exports_are_the_trail_as_it_stands(cli: CommandLine, key: str) -> None:
    about = ("--filter", f"key={key}")
    cli.done("audit", "export", "--out", "all.jsonl", *about)
    lines = (cli.folder / "all.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [event["cloud_trail_event"] for event in _found(cli, *about)][::-1]
    assert cli("audit", "export", "--out", "all.jsonl", *about).code == 2, "no file is overwritten"
    cli.done("audit", "export", "--out", "all.jsonl", "--force", *about)
    assert len(cli.done("audit", "export", *about).text.splitlines()) == 4
    cli.done("audit", "export", "--format", "parquet", "--out", "all.parquet", *about)
    table = read_table(cli.folder / "all.parquet").to_pylist()
    assert [row["record"] for row in table] == lines
    assert table[1]["encryption_context"] == [("tenant", "t1")]
    assert (table[0]["event_name"], table[0]["error_code"], table[0]["resources"]) == ("CreateKey", None, [key])
    assert abs((table[0]["event_time"] - datetime.now(UTC)).total_seconds()) < 300
    assert cli("audit", "export", "--format", "parquet").code == 2
    cli.done("audit", "export", "--out", "none.parquet", "--format", "parquet", "--to", "2020-01-01")
    assert ParquetFile(cli.folder / "none.parquet").metadata.num_rows == 0


@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_an_export_is_private_and_all_there_or_not_at_all(cli: CommandLine, key: str, form: str) -> None:
    before = os.umask(0)
    try:
        cli.done("audit", "export", "--out", "good", "--format", form, "--filter", f"key={key}")
    finally:
        os.umask(before)
    assert (cli.folder / "good").stat().st_mode & 0o777 == 0o600
    files = cli.files()
    assert cli("audit", "export", "--out", "bad", "--format", form, "--filter", "outcome=perhaps").code == 1
    assert cli("audit", "export", "--out", "no/such", "--format", form).code == 2
    assert cli.files() == files


class _Silent(grpc.GenericRpcHandler):
    """Answers every stream without a message."""

    def service(self, _details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[bytes, bytes]:
        return grpc.unary_stream_rpc_method_handler(lambda _request, _context: iter(()))


def test_a_tail_of_nothing_at_all(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    server = grpc.server(futures.ThreadPoolExecutor(1), handlers=[_Silent()])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        line = CommandLine(monkeypatch, {"KAGITORI_ENDPOINT": f"http://127.0.0.1:{port}"}, tmp_path)
        assert line.done("audit", "tail").out == b""
    finally:
        server.stop(None).wait()


def test_pyarrow_is_imported_for_parquet_alone() -> None:
    code = "import sys, kagitori_client.cli.app; sys.exit('pyarrow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_tail_goes_on_behind_what_it_has(cli: CommandLine, key: str) -> None:
    """Each record once; its own calls not."""
    arguments = ["audit", "tail", "-n", "2", "--follow", "--filter", f"key={key}", "--output", "json"]
    with cli.process(arguments, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        names = [json.loads(process.stdout.readline())["event_name"] for _ in range(2)]
        for verb in ("disable", "enable", "disable"):
            cli.done("key", verb, key)
        names += [json.loads(process.stdout.readline())["event_name"] for _ in range(3)]
        process.kill()
    assert names == [*["GenerateDataKeyWithoutPlaintext"] * 2, "DisableKey", "EnableKey", "DisableKey"]
    everything = cli.done("audit", "tail", "-n", "100", "--output", "json").text.splitlines()
    assert json.loads(everything[-1])["event_name"] == "TailEvents", "that of the call before"
