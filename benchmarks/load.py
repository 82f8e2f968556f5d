"""One process of load: keeps a number of calls in flight over its own channels, or makes them one by one.

    python -m benchmarks.load SPEC.json

The spec names address, files of certificates, path, request file, calls, channels and calls in flight; prints JSON
with the seconds it took and, for a lone caller, each call's seconds. Only raw bytes: no protobuf on this side.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Any

import grpc
import uvloop
from grpc import aio


def _credentials(spec: dict[str, Any]) -> grpc.ChannelCredentials:
    return grpc.ssl_channel_credentials(
        root_certificates=Path(spec["ca"]).read_bytes(),
        private_key=Path(spec["key"]).read_bytes(),
        certificate_chain=Path(spec["certificate"]).read_bytes(),
    )


async def _crowd(spec: dict[str, Any], body: bytes) -> float:
    credentials = _credentials(spec)
    # Distinct options, or channels to the same place would share one connection.
    channels = [
        aio.secure_channel(spec["address"], credentials, options=(("benchmark.channel", number),))
        for number in range(spec["channels"])
    ]
    calls: list[Any] = [channel.unary_unary(spec["path"]) for channel in channels]
    left = spec["calls"]
    metadata = tuple(map(tuple, spec.get("metadata", ()))) or None

    async def caller(call: Any) -> None:
        nonlocal left
        while left > 0:
            left -= 1
            await call(body, metadata=metadata)

    await asyncio.gather(*(call(body) for call in calls))  # connections are made before the clock starts
    started = time.perf_counter()
    await asyncio.gather(*(caller(call) for call in calls for _ in range(spec["in_flight"])))
    seconds = time.perf_counter() - started
    for channel in channels:
        await channel.close()
    return seconds


def _alone(spec: dict[str, Any]) -> list[float]:
    body = Path(spec["request"]).read_bytes()
    with grpc.secure_channel(spec["address"], _credentials(spec)) as channel:
        call: Any = channel.unary_unary(spec["path"])
        for _ in range(50):
            call(body)
        times = []
        for _ in range(spec["calls"]):
            started = time.perf_counter()
            call(body)
            times.append(time.perf_counter() - started)
    return times


def main() -> None:
    """Runs the spec and prints the result."""
    spec = json.loads(Path(sys.argv[1]).read_text())
    if spec["in_flight"] == 0:
        result: dict[str, Any] = {"times": _alone(spec)}
    else:
        result = {"seconds": uvloop.run(_crowd(spec, Path(spec["request"]).read_bytes()))}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
