"""`make bench`: the service against an empty echo on the same library, in the same run.

Everything has the audit trail durable and chained. Kinds of figures:

- *mutual TLS, grpcio clients*: calls per second of both with the same two client processes. The clients are
  written in Python and share the machine, so they flatten the ratio: it says what such clients see.
- *server CPU per call*: user and system time of the server process, from the same calls: the honest ratio.
- *TLS and tokens, h2load*: a client in C that costs little, so the servers are saturated. Where h2load is
  installed (Debian: nghttp2-client).
- *hostile policies*: what the worst documents that fit the limits cost, against the default key policy.
- *decisions*: what deciding costs by itself, of a call from end to end, and what grants on the key cost.
- *keys of other families*: signatures and the like beside what the library alone does: see `keys.py`.

Options: --rounds N (default 5), --calls N per round and process (default 3000), --keys PART: nothing but those keys,
of the rows whose name holds PART, such as "RSA" or "Sign".
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import grpc

from benchmarks import keys
from benchmarks.decisions import decision_seconds
from benchmarks.deployment import BATCH, SERVICE, Deployment, deployed
from benchmarks.driving import Rate, alone, crowd, median, saturated
from benchmarks.governed import another_grant
from benchmarks.hostile import report as report_hostile_policies
from kagitori.kms.v1 import cryptography_pb2


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


def report_decisions(deployment: Deployment, rounds: int, calls: int) -> None:
    """Prints what deciding takes of a call, and whether grants on the key make calls slower."""
    catalog, server = deployment.data / "kagitori.db", deployment.kms
    print()
    for which, by in (("governed", "by the last of 20 statements"), ("granted", "by one of 100 grants")):
        request = f"Encrypt.{which}"
        certificate = Path(deployment.certificate(request) + ".crt").read_bytes()
        key_id = cryptography_pb2.EncryptRequest.FromString(deployment.request(request).read_bytes()).key_id
        decision = decision_seconds(catalog, certificate, key_id)
        lone = statistics.median(alone(deployment, server, request, 1000))
        spent = median([crowd(deployment, server, request, calls) for _ in range(rounds)]).cpu_microseconds
        print(
            f"decision, allowed {by}: {decision * 1e6:.0f} µs = {decision / lone:.1%} of a lone Encrypt from end to end"
            f" ({lone * 1e3:.2f} ms), {decision * 1e6 / spent:.1%} of the server CPU of one under load ({spent:.0f} µs)"
        )
    for which, base, by in (("crowded", "plain", "policy; key with 50,000 grants against none"),
                            ("found", "single", "a grant; one of 50,000 against the only one")):
        rates = [
            [crowd(deployment, server, f"Encrypt.{name}", calls) for name in (base, which)] for _ in range(rounds)
        ]
        lone_base, lone_many = (
            statistics.median(alone(deployment, server, f"Encrypt.{name}", 1000)) for name in (base, which)
        )
        ratios = sorted(many.per_second / none.per_second for none, many in rates)
        print(
            f"Encrypt allowed by {by}: {statistics.median(ratios):.2f} of the calls per second"
            f" (rounds {ratios[0]:.2f} to {ratios[-1]:.2f}); lone caller {lone_many / lone_base:.2f} of the time"
        )
    usual, first = first_call_after_a_change(deployment, "Encrypt.found")
    print(f"the first Encrypt after one more grant to a holder of 50,000: {first * 1e3:.0f} ms, {first / usual:.0f} x")
    print()


def first_call_after_a_change(deployment: Deployment, request: str) -> tuple[float, float]:
    """Seconds of a usual call, and of the first one after the caller got another grant on the key."""
    body = deployment.request(request).read_bytes()
    key_id = cryptography_pb2.EncryptRequest.FromString(body).key_id
    certificate = deployment.certificate(request)
    credentials = grpc.ssl_channel_credentials(
        (deployment.data / "tls" / "ca.crt").read_bytes(), Path(certificate + ".key").read_bytes(),
        Path(certificate + ".crt").read_bytes(),
    )
    usual: list[float] = []
    first: list[float] = []
    with grpc.secure_channel(deployment.kms.address, credentials) as channel:
        call: Any = channel.unary_unary(SERVICE + "Encrypt")
        for _ in range(5):
            another_grant(deployment.data / "kagitori.db", key_id)
            for times in (first, *([usual] * 20)):
                started = time.perf_counter()
                call(body)
                times.append(time.perf_counter() - started)
    return statistics.median(usual), statistics.median(first)


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
    if options.keys is None:
        report_hostile_policies()
    with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix="benchmark-") as name, deployed(Path(name)) as deployment:
        if options.keys is None:
            _report(deployment, options.rounds, options.calls)
            print()
        keys.report(deployment, options.rounds, options.keys or "")


def _report(deployment: Deployment, rounds: int, calls: int) -> None:
    print(f"{os.cpu_count()} cores, {rounds} interleaved rounds, medians. Encrypt: 1 KiB; audit durable and chained.\n")
    for request in ("Encrypt", "GenerateDataKey"):
        crowd(deployment, deployment.kms, request, calls // 4)  # warm
        echo, kms = [], []
        for _ in range(rounds):
            echo.append(crowd(deployment, deployment.echo, request, calls))
            kms.append(crowd(deployment, deployment.kms, request, calls))
        compare(f"{request}, mutual TLS, grpcio", echo, kms)
    if shutil.which("h2load"):
        for request in ("Encrypt", "GenerateDataKey"):
            echo, kms = [], []
            for _ in range(rounds):
                echo.append(saturated(deployment, deployment.echo_tls, request, calls * 2))
                kms.append(saturated(deployment, deployment.kms_tls, request, calls * 2))
            compare(f"{request}, TLS and token, h2load", echo, kms)
    print()
    append = durable_append(deployment.folder)
    for request in ("Encrypt", "GenerateDataKey"):
        echo_times = sorted(alone(deployment, deployment.echo, request, 1000))
        kms_times = sorted(alone(deployment, deployment.kms, request, 1000))
        print(
            f"{request}, lone caller: p50 {kms_times[500] * 1e3:.2f} ms, p99 {kms_times[990] * 1e3:.2f} ms; "
            f"echo p50 {echo_times[500] * 1e3:.2f} ms, p99 {echo_times[990] * 1e3:.2f} ms; "
            f"added p50 {(kms_times[500] - echo_times[500]) * 1e3:.2f} ms, of it a durable append {append * 1e3:.2f} ms"
        )
    report_decisions(deployment, rounds, calls // 3)
    single = median([crowd(deployment, deployment.kms, "Encrypt", calls // 2) for _ in range(3)])
    batch = median([crowd(deployment, deployment.kms, "BatchEncrypt", max(20, calls // 100)) for _ in range(3)])
    print(
        f"BatchEncrypt of {BATCH}: {batch.per_second * BATCH:.0f} items/s = "
        f"{batch.per_second * BATCH / single.per_second:.1f} x single calls ({single.per_second:.0f}/s)"
    )


if __name__ == "__main__":
    main()
