"""Ways to put a server under load with a request of the deployment, each answering a rate and what it cost the server.
"""

from __future__ import annotations

import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from benchmarks.deployment import SERVICE, Deployment, Target, operation_of

CLIENTS, CHANNELS, IN_FLIGHT = 2, 2, 13


@dataclass(frozen=True)
class Rate:
    """What one round of load gave."""

    per_second: float
    cpu_microseconds: float


def median(rates: list[Rate]) -> Rate:
    """The medians of both figures."""
    return Rate(
        statistics.median(rate.per_second for rate in rates), statistics.median(rate.cpu_microseconds for rate in rates)
    )


def crowd(
    deployment: Deployment, target: Target, request: str, calls: int, clients: int = CLIENTS,
    in_flight: int = IN_FLIGHT, metadata: Sequence[tuple[str, str]] = (), settle_seconds: float = 0.0,
) -> Rate:
    """Load of several processes with many calls in flight on each of two channels, over mutual TLS.

    What the server does within `settle_seconds` after the last call counts as part of its processor time.
    """
    spec = {**_spec(deployment, target, request, calls, in_flight), "metadata": list(metadata)}
    before = target.cpu_seconds()
    with ThreadPoolExecutor(clients) as pool:
        seconds = max(result["seconds"] for result in pool.map(_load, [spec] * clients))
    time.sleep(settle_seconds)
    total = calls * clients
    # Each channel makes a call before the clock starts.
    return Rate(total / seconds, (target.cpu_seconds() - before) / (total + clients * CHANNELS) * 1e6)


def alone(deployment: Deployment, target: Target, request: str, calls: int) -> list[float]:
    """Seconds of each call of a lone caller over mutual TLS."""
    times: list[float] = _load(_spec(deployment, target, request, calls, 0))["times"]
    return times


def saturated(deployment: Deployment, target: Target, request: str, calls: int) -> Rate:
    """Load from h2load over TLS with a token, four connections of 13 streams."""
    body = deployment.request(request).read_bytes()
    framed = deployment.folder / f"{request}.framed"
    framed.write_bytes(b"\0" + len(body).to_bytes(4) + body)
    before = target.cpu_seconds()
    arguments = [
        "h2load", "-n", str(calls), "-c", "4", "-m", "13", "-d", str(framed),
        "-H", "content-type: application/grpc", "-H", "te: trailers", "-H", f"authorization: Bearer {deployment.token}",
        f"https://{target.address}{SERVICE}{operation_of(request)}",
    ]
    output = subprocess.run(arguments, capture_output=True, text=True, check=True).stdout
    found = re.search(r"([\d.]+) req/s", output)
    if found is None or f"{calls} succeeded" not in output:
        raise SystemExit(f"h2load failed:\n{output}")
    return Rate(float(found[1]), (target.cpu_seconds() - before) / calls * 1e6)


def _spec(deployment: Deployment, target: Target, request: str, calls: int, in_flight: int) -> dict[str, object]:
    return {
        "address": target.address, "path": SERVICE + operation_of(request),
        "request": str(deployment.request(request)), "ca": str(deployment.data / "tls" / "ca.crt"),
        "certificate": deployment.certificate(request) + ".crt", "key": deployment.certificate(request) + ".key",
        "calls": calls, "channels": CHANNELS, "in_flight": in_flight,
    }


def _load(spec: dict[str, object]) -> dict[str, Any]:
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(spec, file)
        file.flush()
        output = subprocess.run(
            [sys.executable, "-m", "benchmarks.load", file.name], capture_output=True, text=True, check=True
        ).stdout
    result: dict[str, Any] = json.loads(output)
    return result
