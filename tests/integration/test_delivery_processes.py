"""Real server processes that deliver while used, killed and started again: every record once, and all of it sound."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import grpc
import pytest
from tests.support.cloudtrail_endpoint import CLI_SECONDS
from tests.support.delivering import delivered, objects
from tests.support.s3_server import ACCESS_KEY_ID, SECRET, S3Server
from tests.support.server_process import ServerProcess

from kagitori.kms.v1.crypto_service_pb2_grpc import CryptoServiceStub
from kagitori.kms.v1.cryptography_pb2 import GenerateRandomRequest

QUICK = ("--set", "delivery.period_seconds=0.2", "--set", "delivery.digest_seconds=1")


def verify(data: Path, *settings: str) -> tuple[int, str]:
    """What `kagitori-server verify-audit` says."""
    done = subprocess.run(
        [sys.executable, "-m", "kagitori_server", "verify-audit", "--data-dir", str(data), *settings],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=CLI_SECONDS, check=False,
    )
    return done.returncode, done.stdout


def trail_ids(data: Path) -> list[str]:
    return sorted(
        json.loads(line)["event"]["eventID"]
        for path in (data / "audit").rglob("*.jsonl") for line in path.read_bytes().split(b"\n")[:-1]
    )


class Load:
    """Calls a server until it's gone or the block ends."""

    def __init__(self, server: ServerProcess) -> None:
        self._server = server
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        with self._server.channel() as channel:
            stub = CryptoServiceStub(channel)
            while not self._stopped.is_set():
                try:
                    stub.GenerateRandom(GenerateRandomRequest(number_of_bytes=1), timeout=10)
                except grpc.RpcError:
                    return

    def __enter__(self) -> Load:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join(60)


@pytest.mark.timeout(200)
def test_killed_again_and_again_under_load(tmp_path: Path) -> None:
    data, out = tmp_path / "data", tmp_path / "out"
    out.mkdir()
    settings = ("--set", f"delivery.directory={out}", *QUICK)
    for seconds in (1.2, 2.1):
        with ServerProcess(data, *settings) as server, Load(server):
            time.sleep(seconds)
            server.kill()
    with ServerProcess(data, *settings) as server:
        with Load(server):
            time.sleep(1)
        assert server.terminate() == 0
    counted = Counter(record["eventID"] for record in delivered(out))
    assert set(counted.values()) == {1}
    assert sorted(counted) == trail_ids(data)
    assert len(counted) > 20
    digests = objects(out, "CloudTrail-Digest").values()
    assert len(digests) >= 2
    assert sum(digest["previousDigestS3Object"] is None for digest in digests) == 1
    status, text = verify(data, *settings)
    assert status == 0, text
    assert "What was delivered is sound." in text
    next(out.rglob("CloudTrail/**/*.json.gz")).unlink()
    status, text = verify(data, *settings)
    assert status == 3
    assert "the log file is missing" in text


@pytest.mark.timeout(200)
def test_two_servers_with_one_bucket(tmp_path: Path) -> None:
    """Each delivers what it did; one after the other stops."""
    data = tmp_path / "data"
    credentials = tmp_path / "credentials"
    credentials.touch(mode=0o600)
    credentials.write_text(f"[default]\naws_access_key_id = {ACCESS_KEY_ID}\naws_secret_access_key = {SECRET}\n")
    with S3Server() as s3:
        s3.new_bucket("trail")
        settings = (
            "--set", "delivery.s3_bucket=trail", "--set", f"delivery.s3_endpoint={s3.endpoint}",
            "--set", f"delivery.s3_credentials_file={credentials}", *QUICK,
        )
        with ServerProcess(data, *settings) as one, ServerProcess(data, *settings) as two:
            with Load(one), Load(two):
                time.sleep(3)
            assert one.terminate() == 0
            with Load(two):
                time.sleep(1)
            assert two.terminate() == 0
        status, text = verify(data, *settings)
        assert status == 0, text
        assert f"{len(trail_ids(data))} records" in text
        credentials.chmod(0o644)
        status, text = verify(data, *settings)
        assert status == 1
        assert "can be read by others" in text
        assert SECRET not in text
