"""SIGKILL at a random moment under load, again and again on one data directory: no acknowledged write is lost.

`KAGITORI_TEST_KILLS=100` says how often (`make soak`); a run of the whole suite has a share of that.
"""

from __future__ import annotations

import json
import os
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import grpc
import pytest
from tests.support.forked_server import ForkedServer

from kagitori.kms.v1 import (
    crypto_service_pb2_grpc,
    cryptography_pb2,
    key_service_pb2_grpc,
    keys_pb2,
    resources_pb2,
)
from kagitori_server.audit.verify import verify

ROUNDS = int(os.environ.get("KAGITORI_TEST_KILLS", "15"))
CALLERS = 6


@dataclass
class Acknowledged:
    """What the server said it did, as far as the answers arrived."""

    aliases: dict[str, str] = field(default_factory=dict)
    descriptions: dict[str, str] = field(default_factory=dict)
    ciphertexts: list[tuple[bytes, bytes]] = field(default_factory=list)
    request_ids: set[str] = field(default_factory=set)
    lock: threading.Lock = field(default_factory=threading.Lock)


class Caller(threading.Thread):
    """Makes keys, gives them aliases and descriptions and encrypts under them until the server is gone."""

    def __init__(self, server: ForkedServer, seen: Acknowledged, seed: int) -> None:
        super().__init__(daemon=True)
        self._channel = server.channel()
        self._keys = key_service_pb2_grpc.KeyServiceStub(self._channel)
        self._crypto = crypto_service_pb2_grpc.CryptoServiceStub(self._channel)
        self._seen = seen
        self._random = random.Random(seed)

    def run(self) -> None:
        try:
            while True:
                self._work()
        except grpc.RpcError as error:
            # The kill, seen from here; anything else is a failure of the test.
            if error.code() not in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED):
                raise
        finally:
            self._channel.close()

    def _work(self) -> None:
        made, call = self._keys.CreateKey.with_call(keys_pb2.CreateKeyRequest(description="new"))
        key_id = made.key_metadata.key_id
        self._note(call, partial(self._seen.descriptions.setdefault, key_id, "new"))
        alias = f"alias/crash-{self._random.getrandbits(64):016x}"
        _, call = self._keys.CreateAlias.with_call(keys_pb2.CreateAliasRequest(alias_name=alias, target_key_id=key_id))
        self._note(call, partial(self._seen.aliases.setdefault, alias, key_id))
        for number in range(3):
            plaintext = self._random.randbytes(64)
            sealed, call = self._crypto.Encrypt.with_call(
                cryptography_pb2.EncryptRequest(key_id=alias, plaintext=plaintext)
            )
            self._note(call, partial(self._seen.ciphertexts.append, (sealed.ciphertext_blob, plaintext)))
            text = f"changed {number}"
            # From here on either text is right until the answer says which.
            with self._seen.lock:
                self._seen.descriptions.pop(key_id)
            _, call = self._keys.UpdateKeyDescription.with_call(
                keys_pb2.UpdateKeyDescriptionRequest(key_id=key_id, description=text)
            )
            self._note(call, partial(self._seen.descriptions.setdefault, key_id, text))

    def _note(self, call: grpc.Call, note: Callable[[], object]) -> None:
        request_id = dict(call.trailing_metadata())["kagitori-request-id"]
        with self._seen.lock:
            self._seen.request_ids.add(str(request_id))
            note()


def _check(server: ForkedServer, seen: Acknowledged) -> None:
    """Everything acknowledged in the round before is still there."""
    with server.channel() as channel:
        keys = key_service_pb2_grpc.KeyServiceStub(channel)
        crypto = crypto_service_pb2_grpc.CryptoServiceStub(channel)
        for alias, key_id in seen.aliases.items():
            found = keys.DescribeKey(keys_pb2.DescribeKeyRequest(key_id=alias)).key_metadata
            assert found.key_id == key_id
            assert found.key_state == resources_pb2.KEY_STATE_ENABLED
        for key_id, description in seen.descriptions.items():
            found = keys.DescribeKey(keys_pb2.DescribeKeyRequest(key_id=key_id)).key_metadata
            assert found.description == description
        for blob, plaintext in seen.ciphertexts:
            assert crypto.Decrypt(cryptography_pb2.DecryptRequest(ciphertext_blob=blob)).plaintext == plaintext


def _recorded(audit: Path) -> Counter[str]:
    """How often each request id is in the trail."""
    found: Counter[str] = Counter()
    for segment in audit.glob("chain-*/*.jsonl"):
        for line in segment.read_bytes().splitlines():
            found[json.loads(line)["event"].get("requestID")] += 1
    return found


@pytest.mark.timeout(900)
def test_no_acknowledged_write_is_lost_by_a_kill(tmp_path: Path) -> None:
    """Writes, ciphertexts and audit records survive, and the trail's chain stays whole."""
    data = tmp_path / "data"
    chance = random.Random(20261124)
    every: set[str] = set()
    seen = Acknowledged()
    for number in range(ROUNDS):
        with ForkedServer(data) as server:
            _check(server, seen)
            seen = Acknowledged()
            callers = [Caller(server, seen, number * CALLERS + index) for index in range(CALLERS)]
            for caller in callers:
                caller.start()
            time.sleep(chance.uniform(0.05, 0.6))
            server.kill()
            for caller in callers:
                caller.join(30)
                assert not caller.is_alive()
        every |= seen.request_ids
    with ForkedServer(data) as server:
        _check(server, seen)
        assert server.terminate() == 0
    assert verify(data / "audit").sound
    recorded = _recorded(data / "audit")
    assert len(every) > 10 * ROUNDS, "there was hardly any load"
    assert {request_id for request_id in every if recorded[request_id] != 1} == set()
