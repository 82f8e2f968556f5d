"""Thousands of half-open connections to the AWS endpoint: what others notice of them, and what memory they take.

    python -m benchmarks.half_open [--connections N]

Of each way a fourth: TCP without TLS's handshake, TLS without a request, half a head, half a body. Needs a limit of
open files beyond that number.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.support.aws_endpoint import Endpoint, running_endpoint
from tests.support.half_open import half_open, memory, slowest_call

_CALLS = 20
_SPARE_FILES = 200


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--connections", type=int, default=10_000)
    number: int = parser.parse_args().connections
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if number + _SPARE_FILES > hard:
        raise SystemExit(f"{hard} open files are allowed, {number + _SPARE_FILES} are needed")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with tempfile.TemporaryDirectory() as folder, running_endpoint(Path(folder) / "data") as endpoint:
        pid = endpoint.server.process.pid
        friend = endpoint.client()
        friend.list_keys()
        usual, before = slowest_call(endpoint, _CALLS), memory(pid)
        print(f"before: slowest of {_CALLS} calls, each over a new connection, {usual:.3f} s; {_shown(before)}")
        began, begun = time.monotonic(), threading.Event()
        with ThreadPoolExecutor(1) as others:
            meanwhile = others.submit(_slowest_until, endpoint, begun)
            with half_open(endpoint, number) as held:
                begun.set()
                print(f"{len(held)} half-open connections begun in {time.monotonic() - began:.1f} s")
                print(f"meanwhile: slowest call {meanwhile.result():.3f} s, of a client that shares their process")
                slowest, during = slowest_call(endpoint, _CALLS), memory(pid)
                friend.list_keys()
                print(f"with them: slowest of {_CALLS} calls {slowest:.3f} s; {_shown(during)}")
        print(f"after: slowest of {_CALLS} calls {slowest_call(endpoint, _CALLS):.3f} s; {_shown(memory(pid))}")
        friend.close()


def _slowest_until(endpoint: Endpoint, end: threading.Event) -> float:
    slowest = 0.0
    while not end.is_set():
        slowest = max(slowest, slowest_call(endpoint, 1))
    return slowest


def _shown(size: int) -> str:
    return f"{size / 1_048_576:.0f} MiB in memory"


if __name__ == "__main__":
    main()
