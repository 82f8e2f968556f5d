"""How long one caller can hold the event loop, in which the calls of all others have their turns.

    python -m benchmarks.holding [--calls N] [--only TEXT]

A server runs in a process of its own, with a task in its event loop that comes back at once, always. For each kind of
call, made to be slow, it prints the longest that the loop was busy in one go by the processor time of its thread (its
own work, whatever else the machine does) and by the clock (with the waits for the interpreter lock, which threads of
pools hold for a moment; on a busy machine also with waits for the processor), the longest collection of garbage (in
any thread, and all others wait), and how long an answer took.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import uvloop

from benchmarks.deployment import SERVICE, USER_POLICY
from benchmarks.governed import make_grants
from benchmarks.hostile import CHARACTERS_PER_PAIR, CONTEXT_CHARACTERS, POLICY_BYTES, SHAPES
from kagitori.kms.v1 import (
    admin_service_pb2_grpc,
    batch_pb2,
    cryptography_pb2,
    decisions_pb2,
    grants_pb2,
    identity_policies_pb2,
    key_service_pb2_grpc,
    keys_pb2,
    principals_pb2,
)
from kagitori_server.bootstrap.data_directory import open_data_directory
from kagitori_server.commands import SWITCH_SECONDS, spare_the_collector
from kagitori_server.config import load_config
from kagitori_server.wiring import Server

MESSAGE_BYTES = 4 * 1024 * 1024
_ACCOUNT, _USER = "000000000000", "governed"
_BYSTANDER = f"arn:aws:iam::{_ACCOUNT}:user/{_USER}"
_KEYS, _ADMIN = "/kagitori.kms.v1.KeyService/", "/kagitori.kms.v1.AdminService/"


class Watch:
    """The task in the loop, and what it saw since the last `report`."""

    def __init__(self) -> None:
        self._work = self._clock = self._collected = self._collecting = 0.0
        gc.callbacks.append(self._collection)

    async def run(self) -> None:
        """Comes back at once, until it's cancelled."""
        worked, moment = time.thread_time(), time.perf_counter()
        while True:
            await asyncio.sleep(0)
            now_worked, now = time.thread_time(), time.perf_counter()
            self._work = max(self._work, now_worked - worked)
            self._clock = max(self._clock, now - moment)
            worked, moment = now_worked, now

    def report(self) -> str:
        """The longest seconds of work, by the clock, and of a collection of garbage; they begin anew."""
        seen = json.dumps([self._work, self._clock, self._collected])
        self._work = self._clock = self._collected = 0.0
        return seen

    def _collection(self, phase: str, _info: Mapping[str, int]) -> None:
        if phase == "start":
            self._collecting = time.thread_time()
        else:
            self._collected = max(self._collected, time.thread_time() - self._collecting)


async def _serve(folder: Path) -> None:
    data = open_data_directory(folder)
    config = load_config(None, {}, {
        "listen": {"grpc": "127.0.0.1:0"}, "log": {"level": "error"},
    })
    server, watch = Server(config, data), Watch()
    await asyncio.to_thread(server.open)
    addresses = await server.start()
    spare_the_collector()
    sys.setswitchinterval(SWITCH_SECONDS)
    print(addresses.grpc, flush=True)
    watching = asyncio.create_task(watch.run())
    while await asyncio.to_thread(sys.stdin.readline):
        print(watch.report(), flush=True)
    watching.cancel()
    await server.stop()


@dataclass(frozen=True)
class Place:
    """A server that is measured."""

    process: subprocess.Popen[str]
    channel: grpc.Channel
    data: Path

    def line(self) -> str:
        """What it says next."""
        line = self.process.stdout.readline() if self.process.stdout else ""
        if not line:
            raise SystemExit("the server of the benchmark ended")
        return line

    def seen(self) -> tuple[float, float, float]:
        """What its watch saw since it was asked last."""
        if self.process.stdin is not None:
            self.process.stdin.write("\n")
            self.process.stdin.flush()
        work, clock, collected = json.loads(self.line())
        return work, clock, collected


def _measure(place: Place, name: str, path: str, body: bytes, calls: int) -> None:
    """Makes a call a number of times, four at once, and prints what became of it and of the loop."""
    invoke: Any = place.channel.unary_unary(path)
    outcomes: dict[str, int] = {}
    taken: list[float] = []

    def call() -> None:
        for _ in range(-(-calls // 4)):
            started = time.perf_counter()
            try:
                invoke(body, timeout=120)
                outcome = "OK"
            except grpc.RpcError as error:
                outcome = str(error.code().name)
            taken.append(time.perf_counter() - started)
            outcomes[outcome] = outcomes.get(outcome, 0) + 1

    time.sleep(0.2)
    place.seen()
    threads = [threading.Thread(target=call) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    work, clock, collected = place.seen()
    told = ", ".join(f"{count} {outcome}" for outcome, count in outcomes.items())
    print(
        f"{name:44} loop busy {work * 1e3:6.1f} ms, by the clock {clock * 1e3:6.1f} ms,"
        f" collecting {collected * 1e3:6.1f} ms;"
        f" answer {min(taken) * 1e3:7.1f} to {max(taken) * 1e3:7.1f} ms ({told})", flush=True,
    )


def _context() -> Mapping[str, str]:
    """Half of it one long value, half of it many pairs."""
    half = CONTEXT_CHARACTERS // 2 - 100
    return {"a": "a" * half} | {f"{n:x}k": "" for n in range(half // (CHARACTERS_PER_PAIR + 3))}


def _pairs() -> Mapping[str, str]:
    return {f"{n:x}k": "" for n in range(CONTEXT_CHARACTERS // (CHARACTERS_PER_PAIR + 3))}


def _prepared(place: Place) -> dict[str, tuple[str, bytes]]:
    """Keys, policies and grants of a hostile caller; its calls by name, with path and body."""
    keys, admin = key_service_pb2_grpc.KeyServiceStub(place.channel), admin_service_pb2_grpc.AdminServiceStub(
        place.channel
    )
    user = admin.CreateUser(principals_pb2.CreateUserRequest(user_name=_USER)).user
    admin.PutIdentityPolicy(identity_policies_pb2.PutIdentityPolicyRequest(
        principal_arn=user.arn, policy_name="use", policy_document=USER_POLICY,
    ))
    root = f"arn:aws:iam::{_ACCOUNT}:root"
    owner = {"Effect": "Allow", "Principal": {"AWS": root}, "Action": "kms:*", "Resource": "*"}
    plain = keys.CreateKey(keys_pb2.CreateKeyRequest()).key_metadata.key_id
    calls: dict[str, tuple[str, bytes]] = {}

    def add(name: str, path: str, request: Any) -> None:
        calls[name] = path, request.SerializeToString()

    def encrypt(key_id: str, **members: Any) -> Any:
        return cryptography_pb2.EncryptRequest(**{"key_id": key_id, "plaintext": b"x" * 4096} | members)

    add("Encrypt", SERVICE + "Encrypt", encrypt(plain))
    add("Encrypt, 680 pairs of context", SERVICE + "Encrypt", encrypt(plain, encryption_context=_pairs()))
    for name, shape in SHAPES.items():
        document = shape(POLICY_BYTES - 200).replace("arn:aws:iam::111122223333:user/P", root)
        try:
            statements = json.loads(document)["Statement"]
            policy = json.dumps({"Version": "2012-10-17", "Statement": [owner, *statements]}, separators=(",", ":"))
            key_id = keys.CreateKey(keys_pb2.CreateKeyRequest(policy=policy)).key_metadata.key_id
        except (grpc.RpcError, ValueError, TypeError, RecursionError):
            continue
        add(f"Encrypt, {name}", SERVICE + "Encrypt", encrypt(key_id, encryption_context=_context()))
        add(f"BatchEncrypt, {name}", SERVICE + "BatchEncrypt", batch_pb2.BatchEncryptRequest(
            items=[encrypt(key_id, plaintext=b"x", encryption_context=_context())] * 16
        ))
        add(f"PutKeyPolicy, {name}", _KEYS + "PutKeyPolicy", keys_pb2.PutKeyPolicyRequest(key_id=key_id, policy=policy))
        add(f"ExplainAccess, {name}", _ADMIN + "ExplainAccess", decisions_pb2.ExplainAccessRequest(
            action="kms:Encrypt", resource_arn=f"arn:aws:kms:us-east-1:{_ACCOUNT}:key/{key_id}",
            encryption_context=_context(),
        ))
        add(f"LintPolicy, {name}", _ADMIN + "LintPolicy", decisions_pb2.LintPolicyRequest(
            policy_kind=decisions_pb2.POLICY_KIND_KEY_POLICY, policy_document=policy
        ))
    granted = dict.fromkeys(("plain",), plain)
    for name in ("governed", "granted", "crowded", "single", "found"):
        granted[name] = keys.CreateKey(keys_pb2.CreateKeyRequest()).key_metadata.key_id
    make_grants(place.data / "kagitori.db", granted)
    crowded = granted["found"]
    add("Encrypt, 50,000 grants, 10 long tokens", SERVICE + "Encrypt", encrypt(
        crowded, encryption_context=_pairs(), grant_tokens=["A" * 8_192] * 10
    ))
    add("ListGrants, 50,000 grants", _KEYS + "ListGrants", grants_pb2.ListGrantsRequest(key_id=crowded, limit=100))
    add("ExplainAccess, 50,000 grants", _ADMIN + "ExplainAccess", decisions_pb2.ExplainAccessRequest(
        principal_arn=_BYSTANDER, action="kms:Encrypt",
        resource_arn=f"arn:aws:kms:us-east-1:{_ACCOUNT}:key/{crowded}", encryption_context=_pairs(),
    ))
    add("ListKeys", _KEYS + "ListKeys", keys_pb2.ListKeysRequest(limit=1_000))
    add("BatchEncrypt, 256 of 4 KiB", SERVICE + "BatchEncrypt", batch_pb2.BatchEncryptRequest(
        items=[encrypt(plain)] * 256
    ))
    add("BatchEncrypt, 256 of 680 pairs", SERVICE + "BatchEncrypt", batch_pb2.BatchEncryptRequest(
        items=[encrypt(plain, encryption_context=_pairs())] * 256
    ))
    return calls | _messages(plain, encrypt)


def _messages(plain: str, encrypt: Callable[..., Any]) -> dict[str, tuple[str, bytes]]:
    """What is refused for its size or its form, at the size that the transport takes."""
    least = batch_pb2.BatchEncryptRequest(items=[cryptography_pb2.EncryptRequest()]).SerializeToString()
    pair = cryptography_pb2.EncryptRequest(encryption_context={"k": ""}).SerializeToString()
    room = MESSAGE_BYTES - 1_000
    messages = {
        "Encrypt, 4 MiB of plaintext": ("Encrypt", encrypt(plain, plaintext=b"x" * room).SerializeToString()),
        "Encrypt, 4 MiB in a name of the context": (
            "Encrypt", encrypt(plain, encryption_context={"é" * (room // 2): "v"}).SerializeToString()
        ),
        "Encrypt, 4 MiB of pairs": ("Encrypt", encrypt(
            plain, encryption_context={f"{n:x}": "" for n in range(room // 12)}
        ).SerializeToString()),
        "Encrypt, 4 MiB of the same pair": ("Encrypt", pair * (room // len(pair))),
        "Encrypt, 4 MiB in the name of the key": ("Encrypt", encrypt("k" * room).SerializeToString()),
        "Encrypt, 4 MiB of grant tokens": (
            "Encrypt", encrypt(plain, grant_tokens=["t"] * (room // 3)).SerializeToString()
        ),
        "Encrypt, 4 MiB of unknown fields": ("Encrypt", b"\xf8\x07\x01" * (room // 3)),
        "Encrypt, 4 MiB of no message": ("Encrypt", b"\xff" * room),
        "BatchEncrypt, 4 MiB of empty items": ("BatchEncrypt", least * (room // len(least))),
        "BatchEncrypt, 4 MiB of pairs": ("BatchEncrypt", batch_pb2.BatchEncryptRequest(items=[
            encrypt(plain, encryption_context={f"{n:x}": "" for n in range(room // 12 // 256)})
        ] * 256).SerializeToString()),
    }
    return {name: (SERVICE + operation, body) for name, (operation, body) in messages.items()}


def measure(calls: int = 20, only: str = "") -> None:
    """Prints a line for each kind of call."""
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.holding", "--serve", str(data)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ},
        )
        place = Place(process, None, data)  # type: ignore[arg-type]  # its address is what it says first
        try:
            address = place.line().strip()
            token = (data / "credentials" / "root.token").read_text().strip()
            credentials = grpc.composite_channel_credentials(
                grpc.ssl_channel_credentials((data / "tls" / "ca.crt").read_bytes()),
                grpc.access_token_call_credentials(token),
            )
            options = (("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1))
            with grpc.secure_channel(address, credentials, options=options) as channel:
                place = Place(process, channel, data)
                for name, (path, body) in _prepared(place).items():
                    if only in name:
                        _measure(place, name, path, body, calls)
        finally:
            process.terminate()
            process.wait(30)


def main() -> None:
    """Measures, or is the server that is measured."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--calls", type=int, default=20)
    parser.add_argument("--only", default="", help="kinds of call whose name has this in it")
    parser.add_argument("--serve", type=Path)
    parsed = parser.parse_args()
    if parsed.serve is not None:
        uvloop.run(_serve(parsed.serve))
    else:
        measure(parsed.calls, parsed.only)


if __name__ == "__main__":
    main()
