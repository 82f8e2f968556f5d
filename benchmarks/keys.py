"""The rates of operations on keys of every family, beside the bare library call on a thread per core, in one run.

Server and clients share the machine, so each figure says what it holds:

- *batched*: requests of 256 items, four in flight, over mutual TLS. What client and transport cost is spread over the
  items, so that the cores are the service's: what is missing to the bare call is admission and an audit record for
  each item.
- *CPU*: microseconds of CPU time of a bare call, and of an item in the server process. Their ratio is that of the
  rates where client and other programs take no part of the cores; it holds on a busy machine too.
- *client*: which part of the cores' time the client of the batches took away.
- *single*: one call each, from h2load (C) over TLS where it is installed, else from a client in Python: TLS, HTTP/2
  and the client are paid for each call.
"""

from __future__ import annotations

import os
import resource
import shutil
import statistics
import subprocess
import sys
from dataclasses import dataclass

import grpc

from benchmarks.deployment import BATCH, Deployment
from benchmarks.driving import Rate, crowd, median, saturated
from benchmarks.families import ROWS, Requests, Row

CORES = os.cpu_count() or 1
_SECONDS = 1.5
"""What one round of one figure takes, about."""
_SINGLE_CALLS = 2000.0
"""Calls per second that single calls are taken to reach at most, to choose how many to make."""


@dataclass(frozen=True)
class Batched:
    """What one round of batches gave, in items per second."""

    rate: float
    cpu_microseconds: float
    client_share: float


def bare(row: Row) -> Rate:
    """What the library alone does."""
    arguments = [sys.executable, "-m", "benchmarks.bare", row.name, str(_SECONDS)]
    return Rate(*map(float, subprocess.run(arguments, capture_output=True, text=True, check=True).stdout.split()))


def batched(deployment: Deployment, row: Row, expected: float) -> Batched:
    """One round of batches, as many as `expected` items per second fill."""
    calls = max(8, int(expected * _SECONDS / BATCH))
    used = _children()
    rate = crowd(deployment, deployment.kms, row.batch, calls, clients=1, in_flight=2)
    used = _children() - used
    return Batched(
        rate.per_second * BATCH, rate.cpu_microseconds / BATCH, used * rate.per_second / calls / CORES
    )


def single(deployment: Deployment, row: Row, expected: float) -> float:
    """One round of single calls."""
    calls = max(52, int(min(expected, _SINGLE_CALLS) * _SECONDS))
    if shutil.which("h2load"):
        return saturated(deployment, deployment.kms_tls, row.request, calls).per_second
    return crowd(deployment, deployment.kms, row.request, calls, clients=1).per_second


def report(deployment: Deployment, rounds: int, wanted: str) -> None:
    """Measures the rows whose name holds `wanted` and prints a line for each: medians of the rounds."""
    credentials = grpc.composite_channel_credentials(
        grpc.ssl_channel_credentials((deployment.data / "tls" / "ca.crt").read_bytes()),
        grpc.access_token_call_credentials(deployment.token),
    )
    rows = [row for row in ROWS.values() if wanted.lower() in row.name.lower()]
    with grpc.secure_channel(deployment.kms_tls.address, credentials) as channel:
        requests = Requests(channel, deployment)
        for row in rows:
            requests.write(row)
    print(f"Keys of other families, per second; bare: cryptography on {CORES} threads; {rounds} rounds, medians.\n")
    print(f"{'':34}{'bare':>8}{'batched':>9}{'ratio':>7}{'CPU bare':>10}{'server':>8}{'ratio':>7}", end="")
    print(f"{'client':>8}{'single':>9}{'ratio':>7}")
    for row in rows:
        _measure(deployment, row, rounds)


def _measure(deployment: Deployment, row: Row, rounds: int) -> None:
    alone, many, one = [], [], []
    for _ in range(rounds):
        alone.append(bare(row))
        if row.batched:
            many.append(batched(deployment, row, alone[-1].per_second))
        one.append(single(deployment, row, alone[-1].per_second))
    library, calls = median(alone), statistics.median(one)
    middle = " " * 49
    if many:
        items = statistics.median(round_.rate for round_ in many)
        cpu = statistics.median(round_.cpu_microseconds for round_ in many)
        share = statistics.median(round_.client_share for round_ in many)
        middle = (
            f"{items:9.0f}{items / library.per_second:7.2f}{library.cpu_microseconds:10.0f}{cpu:8.0f}"
            f"{library.cpu_microseconds / cpu:7.2f}{share:8.0%}"
        )
    print(f"{row.name:34}{library.per_second:8.0f}{middle}{calls:9.0f}{calls / library.per_second:7.2f}", flush=True)


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
