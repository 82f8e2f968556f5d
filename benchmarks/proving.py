"""What the trees over the audit trail cost: `python -m benchmarks.proving [--rounds N] [--calls N]`.

Two servers in the same run, one that keeps its tree up to date and publishes a checkpoint each second, and one that
does so when asked only. Figures are processor time of the server for each Encrypt, what it does within a second after
the last one included; ratios are of rounds that followed each other, in turns of order.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from contextlib import ExitStack
from pathlib import Path

import grpc

from benchmarks.deployment import Deployment, deployed
from benchmarks.driving import Rate, crowd
from kagitori.kms.v1.admin_service_pb2_grpc import AdminServiceStub
from kagitori.kms.v1.transparency_pb2 import GetTreeHeadRequest

SETTLE_SECONDS = 1.5
WANTED = (("kagitori-receipt", "true"),)


def _begin(deployment: Deployment) -> None:
    """Asks for a first head, from which on checkpoints are published."""
    credentials = grpc.composite_channel_credentials(
        grpc.ssl_channel_credentials((deployment.data / "tls" / "ca.crt").read_bytes()),
        grpc.access_token_call_credentials(deployment.token),
    )
    with grpc.secure_channel(deployment.kms_tls.address, credentials) as channel:
        AdminServiceStub(channel).GetTreeHead(GetTreeHeadRequest())


def _report(name: str, rates: list[Rate], without: list[Rate]) -> None:
    ratio = statistics.median(
        rate.cpu_microseconds / other.cpu_microseconds for rate, other in zip(rates, without, strict=True)
    )
    cost = statistics.median(rate.cpu_microseconds for rate in rates)
    speed = statistics.median(rate.per_second for rate in rates)
    print(f"{name:<44} {cost:7.0f} us of CPU a call, {ratio:5.3f} of without; {speed:6.0f} a second")


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--calls", type=int, default=3000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        servers = []
        for name, seconds in (("off", 0), ("on", 1)):
            place = Path(folder) / name
            place.mkdir()
            servers.append(stack.enter_context(deployed(place, f"transparency.update_seconds={seconds}")))
            _begin(servers[-1])
        without, with_tree, receipts = list[Rate](), list[Rate](), list[Rate]()
        measured = [(servers[0], without, ()), (servers[1], with_tree, ()), (servers[1], receipts, WANTED)]
        for _ in range(options.rounds):
            measured.reverse()
            for deployment, rates, metadata in measured:
                rates.append(crowd(
                    deployment, deployment.kms, "Encrypt", options.calls, metadata=metadata,
                    settle_seconds=SETTLE_SECONDS,
                ))
    print("Encrypt, 1 KiB, 52 calls in flight, mutual TLS")
    _report("tree when asked only", without, without)
    _report("tree kept up to date, checkpoint a second", with_tree, without)
    _report("the same, and a receipt with each call", receipts, without)


if __name__ == "__main__":
    main()
