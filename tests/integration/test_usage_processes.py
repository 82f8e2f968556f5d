"""Usage is exact over SIGKILL and restart, with two processes on one catalog that count while they are used."""

from __future__ import annotations

import json
import random
import threading
import time
from collections import Counter
from pathlib import Path

import grpc
import pytest
from tests.support.server_process import ServerProcess

from kagitori.kms.v1 import (
    admin_service_pb2_grpc,
    crypto_service_pb2_grpc,
    cryptography_pb2,
    key_service_pb2_grpc,
    keys_pb2,
    operation_pb2,
)
from kagitori_server.operations.prices import PRICES

ROUNDS = 8
CALLERS = 3


class Caller(threading.Thread):
    """Makes a key and encrypts under it until the server is gone; asks for usage in between."""

    def __init__(self, server: ServerProcess) -> None:
        super().__init__(daemon=True)
        self._channel = server.channel()

    def run(self) -> None:
        keys = key_service_pb2_grpc.KeyServiceStub(self._channel)
        crypto = crypto_service_pb2_grpc.CryptoServiceStub(self._channel)
        try:
            arn = keys.CreateKey(keys_pb2.CreateKeyRequest()).key_metadata.arn
            for number in range(1_000_000):
                crypto.Encrypt(cryptography_pb2.EncryptRequest(key_id=arn, plaintext=b"x"))
                if number % 20 == 0:
                    keys.GetKeyLastUsage(keys_pb2.GetKeyLastUsageRequest(key_id=arn))
        except grpc.RpcError as error:
            # The kill, seen from here.
            if error.code() not in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED):
                raise
        finally:
            self._channel.close()


def _recorded(audit: Path) -> Counter[str]:
    """Charged calls in the trail by the key that they were about."""
    found: Counter[str] = Counter()
    for segment in audit.glob("chain-*/*.jsonl"):
        for line in segment.read_bytes().splitlines():
            event = json.loads(line)["event"]
            if event["eventName"] in PRICES and event["eventType"] == "AwsApiCall" and "errorCode" not in event:
                found[event["resources"][-1]["ARN"]] += 1
    return found


def _counted(server: ServerProcess) -> Counter[str]:
    found: Counter[str] = Counter()
    now = int(time.time())
    with server.channel() as channel:
        admin = admin_service_pb2_grpc.AdminServiceStub(channel)
        request = operation_pb2.GetUsageRequest(group_by=[operation_pb2.USAGE_DIMENSION_KEY], limit=1_000)
        request.start_time.FromSeconds(now - 86_400)
        request.end_time.FromSeconds(now + 86_400)
        answer = admin.GetUsage(request)
        assert not answer.truncated
        for item in answer.items:
            if item.unit == "Requests":
                found[item.key_arn] = item.quantity
    return found


@pytest.mark.timeout(300)
def test_each_record_counts_once_whatever_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After each round one process is left, which takes over what the other one had not counted."""
    monkeypatch.setenv("KAGITORI_LIMITS__USAGE_COUNT_SECONDS", "0.02")
    data = tmp_path / "data"
    chance = random.Random(20261124)
    for _ in range(ROUNDS):
        with ServerProcess(data) as first, ServerProcess(data) as second:
            callers = [Caller(server) for server in (first, second) for _ in range(CALLERS)]
            for caller in callers:
                caller.start()
            time.sleep(chance.uniform(0.2, 1.0))
            killed, left = (first, second) if chance.random() < 0.5 else (second, first)
            killed.kill()
            time.sleep(chance.uniform(0.0, 0.2))
            left.kill()
            for caller in callers:
                caller.join(30)
                assert not caller.is_alive()
    with ServerProcess(data) as server:
        counted = _counted(server)
        assert counted == _recorded(data / "audit")
        assert counted == _counted(server)
        assert server.terminate() == 0
    assert len(list((data / "audit").glob("chain-*"))) == 2
    assert sum(counted.values()) > 20 * ROUNDS, "there was hardly any load"


@pytest.mark.timeout(120)
def test_the_process_that_is_left_counts_for_the_one_that_is_gone(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with ServerProcess(data) as first, ServerProcess(data) as second:
        with second.channel() as channel:
            keys = key_service_pb2_grpc.KeyServiceStub(channel)
            crypto = crypto_service_pb2_grpc.CryptoServiceStub(channel)
            arn = keys.CreateKey(keys_pb2.CreateKeyRequest()).key_metadata.arn
            for _ in range(10):
                crypto.Encrypt(cryptography_pb2.EncryptRequest(key_id=arn, plaintext=b"x"))
        second.kill()
        assert _counted(first) == {arn: 11}
        with first.channel() as channel:
            keys = key_service_pb2_grpc.KeyServiceStub(channel)
            used = keys.GetKeyLastUsage(keys_pb2.GetKeyLastUsageRequest(key_id=arn)).key_last_usage
            assert used.cloud_trail_event_id
        assert _counted(first) == {arn: 12}
        with ServerProcess(data) as third:
            assert _counted(third) == {arn: 12}
