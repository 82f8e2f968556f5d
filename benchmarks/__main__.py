"""`make bench`: the service against an empty echo on the same library, in the same run.

Everything has the audit trail durable and chained. Three kinds of figures:

- *mutual TLS, grpcio clients*: calls per second of both with the same two client processes. The clients are
  written in Python and share the machine, so they flatten the ratio: it says what such clients see.
- *server CPU per call*: user and system time of the server process, from the same calls: the honest ratio.
- *TLS and tokens, h2load*: a client in C that costs little, so the servers are saturated. Where h2load is
  installed (Debian: nghttp2-client).

Then the operations on keys of other families, beside what the library `cryptography` does alone (`keys.py`).

Options: --rounds N (default 5), --calls N per round and process (default 3000), --keys PART (only rows of other
families whose name holds it, such as "RSA" or "Sign"; the comparison with the echo is left out then).
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import tempfile
import time
from pathlib import Path

from benchmarks import keys
from benchmarks.deployment import BATCH, Deployment, deployed
from benchmarks.driving import Load, Rate, alone, crowd, median, saturated


def durable_append(folder: Path, times: int = 300) -> float:
    """Median seconds of a durable append of one record's size to a file: what a lone caller can't avoid."""
    path, line, taken = folder / "append", b"x" * 1200, []
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_DSYNC, 0o600)
    for _ in range(times):
        started = time.perf_counter()
        os.write(descriptor, line)
        taken.append(time.perf_counter() - started)
    os.close(descriptor)
    return statistics.median(taken)


def compare(title: str, baseline: list[Rate], measured: list[Rate]) -> None:
    """Prints medians and their ratios, and the spread of the rounds' ratios."""
    echo, kms = median(baseline), median(measured)
    ratios = sorted(m.per_second / b.per_second for b, m in zip(baseline, measured, strict=True))
    print(
        f"{title:34} {kms.per_second:7.0f}/s of {echo.per_second:7.0f}/s = {kms.per_second / echo.per_second:4.2f}"
        f"  (rounds {ratios[0]:.2f} to {ratios[-1]:.2f});"
        f"  server CPU {kms.cpu_microseconds:4.0f} µs against {echo.cpu_microseconds:4.0f} µs"
        f" = {echo.cpu_microseconds / kms.cpu_microseconds:4.2f}"
    )


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--calls", type=int, default=3000)
    parser.add_argument("--keys")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as name, deployed(Path(name)) as deployment:
        if options.keys is None:
            _report(deployment, options.rounds, options.calls)
            print()
        keys.report(deployment, options.rounds, options.keys or "")


def _report(deployment: Deployment, rounds: int, calls: int) -> None:
    def load(request: str, times: int) -> Load:
        return Load(request, deployment.request(request), times)

    print(f"{os.cpu_count()} cores, {rounds} interleaved rounds, medians. Encrypt: 1 KiB; audit durable and chained.\n")
    for request in ("Encrypt", "GenerateDataKey"):
        crowd(deployment, deployment.kms, load(request, calls // 4))  # warm
        echo, kms = [], []
        for _ in range(rounds):
            echo.append(crowd(deployment, deployment.echo, load(request, calls)))
            kms.append(crowd(deployment, deployment.kms, load(request, calls)))
        compare(f"{request}, mutual TLS, grpcio", echo, kms)
    if shutil.which("h2load"):
        for request in ("Encrypt", "GenerateDataKey"):
            echo, kms = [], []
            for _ in range(rounds):
                echo.append(saturated(deployment, deployment.echo_tls, load(request, calls * 2)))
                kms.append(saturated(deployment, deployment.kms_tls, load(request, calls * 2)))
            compare(f"{request}, TLS and token, h2load", echo, kms)
    print()
    append = durable_append(deployment.folder)
    for request in ("Encrypt", "GenerateDataKey"):
        echo_times = sorted(alone(deployment, deployment.echo, load(request, 1000)))
        kms_times = sorted(alone(deployment, deployment.kms, load(request, 1000)))
        print(
            f"{request}, lone caller: p50 {kms_times[500] * 1e3:.2f} ms, p99 {kms_times[990] * 1e3:.2f} ms; "
            f"echo p50 {echo_times[500] * 1e3:.2f} ms, p99 {echo_times[990] * 1e3:.2f} ms; "
            f"added p50 {(kms_times[500] - echo_times[500]) * 1e3:.2f} ms, of it a durable append {append * 1e3:.2f} ms"
        )
    single = median([crowd(deployment, deployment.kms, load("Encrypt", calls // 2)) for _ in range(3)])
    batch = median([crowd(deployment, deployment.kms, load("BatchEncrypt", max(20, calls // 100))) for _ in range(3)])
    print(
        f"\nBatchEncrypt of {BATCH}: {batch.per_second * BATCH:.0f} items/s = "
        f"{batch.per_second * BATCH / single.per_second:.1f} x single calls ({single.per_second:.0f}/s)"
    )


if __name__ == "__main__":
    main()
