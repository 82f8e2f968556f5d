"""The AWS endpoint beside moto's server, and beside an empty application that verifies a signature and nothing else.

    python -m benchmarks.aws [--rounds N] [--calls N]

All three over plain HTTP on loopback with the same requests from h2load (Debian: nghttp2-client), keep-alive, 16
connections; rounds are interleaved, figures are medians. The service checks signatures and policies and has its audit
trail durable; moto checks nothing and keeps nothing. moto comes with `tests/install-peers`.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import boto3
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from benchmarks.deployment import Target
from benchmarks.driving import Rate, median

_SECRET = "test"  # noqa: S105 - both id and secret of the instance for tests
_REGION = "us-east-1"
_CONNECTIONS = 16
_CONTEXT = {"tenant": "t1", "application": "benchmark"}
_PEERS = Path(os.environ.get("KAGITORI_PEERS", ".peers"))


@dataclass(frozen=True)
class Load:
    """A request for one server: the operation's name, and the file with its body."""

    target: Target
    operation: str
    body: Path


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--calls", type=int, default=3000)
    options = parser.parse_args()
    if not (_PEERS / ".installed").exists():
        raise SystemExit("moto's server is needed: run tests/install-peers python3.11 .peers")
    print(f"{os.cpu_count()} cores, {options.rounds} interleaved rounds, medians. Encrypt: 1 KiB.\n")
    with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix="benchmark-") as name, _servers(Path(name)) as servers:
        for operation in ("Encrypt", "GenerateDataKey"):
            loads = [_load(server, operation, Path(name)) for server in servers]
            _report(operation, loads, options.rounds, options.calls)


def _report(operation: str, loads: list[Load], rounds: int, calls: int) -> None:
    rates: dict[str, list[Rate]] = {load.target.name: [] for load in loads}
    for _ in range(rounds):
        for load in loads:
            # moto is that much slower that as many calls would only take time.
            share = calls // 10 if load.target.name == "moto" else calls
            rates[load.target.name].append(_measured(load, share))
    ours, moto, empty = (median(rates[name]) for name in ("kagitori", "moto", "signature"))
    for baseline, what in ((moto, "moto's server"), (empty, "signature verification alone")):
        print(
            f"{operation}: {ours.per_second:6.0f}/s, {what} {baseline.per_second:6.0f}/s ="
            f" {ours.per_second / baseline.per_second:5.2f};  server CPU {ours.cpu_microseconds:5.0f} µs against"
            f" {baseline.cpu_microseconds:5.0f} µs"
        )
    lone = {load.target.name: statistics.median(_alone(load)) for load in loads}
    print(
        f"{operation}, lone caller, p50: {lone['kagitori'] * 1e3:.2f} ms; moto {lone['moto'] * 1e3:.2f} ms;"
        f" signature alone {lone['signature'] * 1e3:.2f} ms"
    )


def _load(server: Target, operation: str, folder: Path) -> Load:
    """A key of that server's own, where it has keys, and the request."""
    key_id = "alias/none"
    if server.name != "signature":
        kms = boto3.client(
            "kms", endpoint_url=f"http://{server.address}", region_name=_REGION, aws_access_key_id=_SECRET,
            aws_secret_access_key=_SECRET,
        )
        key_id = kms.create_key()["KeyMetadata"]["KeyId"]
    request: dict[str, object] = {"KeyId": key_id, "EncryptionContext": _CONTEXT}
    if operation == "Encrypt":
        request["Plaintext"] = base64.b64encode(b"x" * 1024).decode()
    else:
        request["KeySpec"] = "AES_256"
    body = folder / f"{server.name}.{operation}.json"
    body.write_text(json.dumps(request))
    return Load(server, operation, body)


def _headers(load: Load) -> dict[str, str]:
    """Signed a moment ago; the same request may be sent for some minutes."""
    request = AWSRequest(
        "POST", f"http://{load.target.address}/", data=load.body.read_bytes(),
        headers={
            "Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": f"TrentService.{load.operation}",
            "Host": load.target.address,
        },
    )
    SigV4Auth(Credentials(_SECRET, _SECRET), "kms", _REGION).add_auth(request)
    return dict(request.headers.items())


def _measured(load: Load, calls: int) -> Rate:
    # h2load sends the host by itself, and in lower case what it's told.
    given = [(name.lower(), value) for name, value in _headers(load).items() if name != "Host"]
    headers = [part for name, value in given for part in ("-H", f"{name}: {value}")]
    before = load.target.cpu_seconds()
    output = subprocess.run(
        ["h2load", "--h1", "-n", str(calls), "-c", str(_CONNECTIONS), "-d", str(load.body), *headers,
         f"http://{load.target.address}/"],
        capture_output=True, text=True, check=True,
    ).stdout
    found = re.search(r"([\d.]+) req/s", output)
    if found is None or f" {calls} succeeded" not in output:
        raise SystemExit(f"{load.target.name} did not answer as it should:\n{output}")
    return Rate(float(found[1]), (load.target.cpu_seconds() - before) / calls * 1e6)


def _alone(load: Load, calls: int = 300) -> list[float]:
    """Seconds of calls of one caller over one connection, by a client that costs next to nothing."""
    body = load.body.read_bytes()
    lines = "".join(f"{name}: {value}\r\n" for name, value in _headers(load).items())
    wire = f"POST / HTTP/1.1\r\n{lines}Content-Length: {len(body)}\r\n\r\n".encode() + body
    host, _, port = load.target.address.rpartition(":")
    times = []
    for _ in range(calls):
        # moto's server ends the connection with each answer, so each server gets a new one for each call.
        with socket.create_connection((host, int(port))) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            started = time.perf_counter()
            connection.sendall(wire)
            connection.recv(1 << 16)
            times.append(time.perf_counter() - started)
    return times


@contextmanager
def _servers(folder: Path) -> Iterator[list[Target]]:
    port = _free_port()
    environment = {**os.environ, "TMPDIR": str(folder)}
    processes = [
        subprocess.Popen(command, env=environment, stdout=out, stderr=subprocess.DEVNULL, text=True)
        for command, out in (
            ([sys.executable, "-m", "kagitori_server", "dev", "--aws-listen", "127.0.0.1:0"], subprocess.PIPE),
            ([str(_PEERS / "main" / "bin" / "moto_server"), "-p", str(port)], subprocess.DEVNULL),
            ([sys.executable, "-m", "benchmarks.signed_echo", _SECRET], subprocess.PIPE),
        )
    ]
    try:
        kagitori, moto, signature = processes
        if kagitori.stdout is None or signature.stdout is None:
            raise SystemExit("there is no pipe")
        address = json.loads(kagitori.stdout.readline())["addresses"]["aws"]
        other = f"127.0.0.1:{signature.stdout.readline().strip()}"
        _until_it_listens(port)
        yield [
            Target("kagitori", address, kagitori.pid), Target("moto", f"127.0.0.1:{port}", moto.pid),
            Target("signature", other, signature.pid),
        ]
    finally:
        for process in processes:
            process.terminate()
            process.wait(30)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        port: int = found.getsockname()[1]
        return port


def _until_it_listens(port: int, seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.1)
    raise SystemExit("moto's server did not start")


if __name__ == "__main__":
    main()
