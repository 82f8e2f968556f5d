"""`python -m benchmarks.simulate`: a policy simulated over a long trail, and what other calls notice of it.

A real server's record of one call is written down as that of many, with times, ids and encryption contexts of their
own; then a key policy is simulated against them over the socket. Printed are the seconds that takes, the memory of
the server before, at its highest and after, and how long Encrypt takes a lone caller meanwhile.

Options: --records N (default 1000000), --contexts N: how many encryption contexts the calls have (default 100).
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path

import grpc

from benchmarks.deployment import Deployment, deployed
from kagitori.kms.v1 import (
    admin_service_pb2_grpc,
    crypto_service_pb2_grpc,
    cryptography_pb2,
    decisions_pb2,
    key_service_pb2_grpc,
    keys_pb2,
)

DAY = 86_400
POLICY = json.dumps({"Statement": [
    {"Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::000000000000:root"}, "Action": "kms:*", "Resource": "*"},
    {
        "Effect": "Deny", "Principal": "*", "Action": "kms:Encrypt", "Resource": "*",
        "Condition": {"StringLike": {"kms:EncryptionContext:file": "*7"}},
    },
]})


def main() -> None:
    """Prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--contexts", type=int, default=100)
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder, deployed(Path(folder)) as deployment,
        _channel(deployment) as channel,
    ):
        measure(deployment, channel, options.records, options.contexts)


def measure(deployment: Deployment, channel: grpc.Channel, records: int, contexts: int) -> None:
    """Writes the trail, simulates, prints."""
    crypto = crypto_service_pb2_grpc.CryptoServiceStub(channel)
    [entry] = key_service_pb2_grpc.KeyServiceStub(channel).ListKeys(keys_pb2.ListKeysRequest()).keys
    request = cryptography_pb2.EncryptRequest(
        key_id=entry.key_arn, plaintext=b"x" * 1024, encryption_context={"file": "PLACE"}
    )
    crypto.Encrypt(request)
    bytes_written = write_trail(deployment.folder / "data" / "audit", records, contexts)
    print(f"{records:,} records of {bytes_written / records:.0f} bytes, {contexts:,} encryption contexts")
    alone = [latency(crypto, request) for _ in range(2_000)]
    before = memory(deployment.kms.pid)
    times: list[float] = []
    ended = threading.Event()

    def call_on() -> None:
        while not ended.is_set():
            times.append(latency(crypto, request))

    caller = threading.Thread(target=call_on)
    began, cpu = time.monotonic(), deployment.kms.cpu_seconds()
    caller.start()
    found, highest = simulate(deployment, channel, entry.key_arn)
    seconds = time.monotonic() - began
    ended.set()
    caller.join()
    print(f"{seconds:.1f} s beside {len(times):,} calls of Encrypt, {deployment.kms.cpu_seconds() - cpu:.1f} s of CPU")
    print(f"{found:,} calls would be refused")
    print(f"memory MiB: {before:.0f} before, {highest:.0f} at most, {memory(deployment.kms.pid):.0f} after")
    for name, taken in (("alone", alone), ("meanwhile", times)):
        cuts = [cut * 1e3 for cut in statistics.quantiles(taken, n=100)]
        print(f"Encrypt {name}: median {cuts[49]:.2f} ms, 99 % {cuts[98]:.2f} ms, max {max(taken) * 1e3:.1f} ms")
    began = time.monotonic()
    simulate(deployment, channel, entry.key_arn)
    print(f"{time.monotonic() - began:.1f} s with nothing beside")


def simulate(deployment: Deployment, channel: grpc.Channel, key: str) -> tuple[int, float]:
    """(calls that would be refused, the most memory of the server on the way in MiB)"""
    admin = admin_service_pb2_grpc.AdminServiceStub(channel)
    change = decisions_pb2.ProposedKeyPolicy(key_id=key, policy=POLICY)
    refused, highest = 0, 0.0
    for message in admin.SimulatePolicy(decisions_pb2.SimulatePolicyRequest(key_policy=change)):
        refused += message.finding.calls
        highest = max(highest, memory(deployment.kms.pid))
    return refused, highest


def latency(crypto: crypto_service_pb2_grpc.CryptoServiceStub, request: cryptography_pb2.EncryptRequest) -> float:
    """Seconds of one call."""
    began = time.monotonic()
    crypto.Encrypt(request)
    return time.monotonic() - began


def memory(pid: int) -> float:
    """Resident memory of a process in MiB."""
    status: Mapping[str, str] = dict(
        line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines()
    )
    return int(status["VmRSS"].split()[0]) / 1024


def write_trail(audit: Path, records: int, contexts: int) -> int:
    """Makes a chain of the newest Encrypt, told many times over the last day. Returns its size."""
    lines = [line for path in audit.rglob("*.jsonl") for line in path.read_bytes().splitlines()]
    template = next(line for line in reversed(lines) if b'"PLACE"' in line)
    chain = audit / "chain-90"
    chain.mkdir()
    with (chain / "00000001.jsonl").open("wb") as file:
        for line in _told(template, records, contexts):
            file.write(line)
        return file.tell()


def _told(template: bytes, records: int, contexts: int) -> Iterator[bytes]:
    event = json.loads(template)["event"]
    ids = [event["requestID"].encode(), event["eventID"].encode()]
    when = event["eventTime"].encode()
    _, _, rest = template.partition(b',"prev":')
    head, rest = rest.split(when)
    upto, rest = rest.split(b"PLACE")
    middle, rest = rest.split(ids[0])
    between, tail = rest.split(ids[1])
    start = time.time() - DAY
    for number in range(records):
        at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(start + number * (DAY - 60) / records)).encode()
        place = b"%d" % (number % contexts)
        fresh = str(uuid.UUID(int=number)).encode()
        yield b"".join((
            b'{"seq":%d,"prev":' % (number + 1), head, at, upto, place, middle, fresh, between, fresh, tail, b"\n"
        ))


def _channel(deployment: Deployment) -> grpc.Channel:
    authority = (deployment.folder / "data" / "tls" / "ca.crt").read_bytes()
    return grpc.secure_channel(deployment.kms_tls.address, grpc.composite_channel_credentials(
        grpc.ssl_channel_credentials(authority), grpc.access_token_call_credentials(deployment.token)
    ))


if __name__ == "__main__":
    main()
