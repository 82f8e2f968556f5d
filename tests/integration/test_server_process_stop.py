"""Ends of a real server: SIGTERM under load, SIGTERM twice, and the throw-away instance that leaves nothing."""

from __future__ import annotations

import json
import signal
import subprocess
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import pytest
from tests.support.commandline import PROGRAM as CLIENT
from tests.support.operated import PATIENCE, PROGRAM, OperatedServer, Stubs, environment

from kagitori.kms.v1 import cryptography_pb2, keys_pb2
from kagitori_server.audit.verify import verify
from kagitori_server.storage.catalog import open_catalog

CALLERS = 6


@dataclass
class Seen:
    """What callers were told."""

    answered: list[str] = field(default_factory=list)
    refused: Counter[grpc.StatusCode] = field(default_factory=Counter)


def _load(stubs: Stubs, key: str, seen: Seen, number: int) -> None:
    """Writes and encrypts until the server is gone."""
    count = 0
    while True:
        count += 1
        try:
            if count % 2:
                _, call = stubs.keys.UpdateKeyDescription.with_call(
                    keys_pb2.UpdateKeyDescriptionRequest(key_id=key, description=f"{number} {count}")
                )
            else:
                _, call = stubs.crypto.Encrypt.with_call(
                    cryptography_pb2.EncryptRequest(key_id=key, plaintext=b"x" * 1000)
                )
        except grpc.RpcError as error:
            seen.refused[error.code()] += 1
            return
        seen.answered.append(str(dict(call.trailing_metadata())["kagitori-request-id"]))


def _recorded(data: Path) -> Counter[str]:
    found: Counter[str] = Counter()
    for segment in data.glob("audit/chain-*/*.jsonl"):
        for line in segment.read_bytes().splitlines():
            event = json.loads(line)
            event = event.get("event", event)
            if isinstance(event, dict) and event.get("requestID"):
                found[event["requestID"]] += 1
    return found


def _pending(data: Path) -> int:
    catalog = open_catalog(data / "kagitori.db", monotonic=time.monotonic)
    try:
        with catalog.read() as reader:
            return sum(len(reader.pending_intents(f"chain-{number:02d}")) for number in range(4))
    finally:
        catalog.close()


@pytest.mark.parametrize("signals", [1, 3])
def test_sigterm_under_load(tmp_path: Path, signals: int) -> None:
    """Calls in flight are answered or refused as unavailable; exit status 0, trail sound, no intents left.

    Asking several times changes nothing.
    """
    data = tmp_path / "data"
    seen = Seen()
    with OperatedServer(data, "--log-level", "warning", anew=signals == 1) as server:
        with server.stubs() as root:
            key = root.keys.CreateKey(keys_pb2.CreateKeyRequest()).key_metadata.key_id
        connections = [server.stubs() for _ in range(CALLERS)]
        threads = [
            threading.Thread(target=_load, args=(stubs, key, seen, number), daemon=True)
            for number, stubs in enumerate(connections)
        ]
        for thread in threads:
            thread.start()
        end = time.monotonic() + PATIENCE
        while len(seen.answered) < 100 and time.monotonic() < end:
            time.sleep(0.01)
        for _ in range(signals):
            server.process.send_signal(signal.SIGTERM)
            time.sleep(0.01)
        assert server.ended() == 0
        for thread in threads:
            thread.join(PATIENCE)
            assert not thread.is_alive()
        for stubs in connections:
            stubs.channel.close()
        assert server.log == ""
    # gRPC's core says CANCELLED of what it had accepted and not yet handed over when it was told to stop.
    assert sum(seen.refused.values()) == CALLERS
    assert seen.refused.keys() <= {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED}
    assert verify(data / "audit").sound
    recorded = _recorded(data)
    assert {request_id for request_id in seen.answered if recorded[request_id] != 1} == set()
    # One for the key: nothing that was begun went without its answer.
    assert sum(recorded.values()) == len(seen.answered) + 1
    assert _pending(data) == 0


def test_nohup_is_respected(tmp_path: Path) -> None:
    """SIGHUP ends the server, as a terminal's end does, unless whoever started it had it ignored."""
    with OperatedServer(tmp_path / "data", "--log-level", "warning", anew=True) as server:
        server.process.send_signal(signal.SIGHUP)
        assert server.ended() == 0
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        server = OperatedServer(tmp_path / "data", "--log-level", "warning", anew=True)
    finally:
        signal.signal(signal.SIGHUP, before)
    with server, server.stubs() as root:
        server.process.send_signal(signal.SIGHUP)
        assert root.whoami().endswith(":root")
        assert server.terminate() == 0


def test_dev_that_is_stopped_while_it_starts_leaves_nothing(tmp_path: Path) -> None:
    """The signal comes as soon as the folder is there."""
    with subprocess.Popen(
        [*PROGRAM, "dev"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=environment(TMPDIR=str(tmp_path)),
    ) as process:
        end = time.monotonic() + PATIENCE
        while not list(tmp_path.iterdir()) and time.monotonic() < end:
            time.sleep(0.0005)
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, err) == (0, "")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_dev_serves_its_administrator_and_leaves_nothing(tmp_path: Path, number: signal.Signals) -> None:
    """The first line is JSON that makes the client its administrator; after the signal the folder is gone."""
    with subprocess.Popen(
        [*PROGRAM, "dev", "--metrics-listen", "127.0.0.1:0"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment(TMPDIR=str(tmp_path)),
    ) as process:
        assert process.stdout is not None
        ready = json.loads(process.stdout.readline())
        assert ready.keys() == {"addresses", "env"}
        assert ready["addresses"].keys() == {"grpc", "metrics"}
        (folder,) = tmp_path.iterdir()
        assert folder.stat().st_mode & 0o777 == 0o700
        if number is signal.SIGTERM:
            done = subprocess.run(
                [*CLIENT, "key", "create", "--alias", "alias/dev"],
                env=environment(**ready["env"], HOME=str(tmp_path)), cwd=tmp_path,
                capture_output=True, text=True, timeout=PATIENCE, check=False,
            )
            assert done.returncode == 0, done.stderr
        process.send_signal(number)
        time.sleep(0.05)
        process.send_signal(number)
        out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, out, err) == (0, "", "")
    assert list(tmp_path.iterdir()) == []


def test_dev_that_cannot_start_leaves_nothing(tmp_path: Path) -> None:
    """Its folder goes with it, and it says why in one line."""
    done = subprocess.run(
        [*PROGRAM, "dev", "--grpc-listen", "192.0.2.1:7700"],
        capture_output=True, text=True, env=environment(TMPDIR=str(tmp_path)), timeout=PATIENCE, check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert len(done.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []
