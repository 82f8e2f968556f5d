"""What the durable audit trail costs, and whether it can be sustained: `python -m benchmarks.trail [--minutes N]`.

Of a server with the trail and one that forgets its records (`unrecorded`), calls per second and processor time of each
Encrypt, in rounds that follow each other. Then as many records as the former makes in ten minutes are written while
everything follows (`sustained`).
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from benchmarks.deployment import deployed
from benchmarks.driving import Rate, crowd

_SECONDS_PER_MINUTE = 60
_MEBIBYTE = 1024 * 1024


def report(rounds: int, calls: int, minutes: float) -> None:
    """Measures and prints."""
    with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix="benchmark-") as folder, ExitStack() as stack:
        places = [Path(folder) / name for name in ("on", "off")]
        for place in places:
            place.mkdir()
        on = stack.enter_context(deployed(places[0]))
        off = stack.enter_context(deployed(places[1], program="benchmarks.unrecorded"))
        recorded, forgotten = list[Rate](), list[Rate]()
        measured = [(on, recorded), (off, forgotten)]
        for _ in range(rounds):
            measured.reverse()
            for deployment, rates in measured:
                rates.append(crowd(deployment, deployment.kms, "Encrypt", calls))
    rate = _compare(recorded, forgotten)
    sustained(round(rate * minutes * _SECONDS_PER_MINUTE), rate)


def _compare(recorded: list[Rate], forgotten: list[Rate]) -> float:
    """Prints what the trail costs; returns the calls per second with it."""
    speed = sorted(one.per_second / other.per_second for one, other in zip(recorded, forgotten, strict=True))
    cost = statistics.median(rate.cpu_microseconds for rate in recorded)
    bare = statistics.median(rate.cpu_microseconds for rate in forgotten)
    rate = statistics.median(rate.per_second for rate in recorded)
    print(
        f"Encrypt with the durable trail: {rate:.0f}/s = {statistics.median(speed):.2f} of without"
        f" (rounds {speed[0]:.2f} to {speed[-1]:.2f}); server CPU {cost:.0f} µs against {bare:.0f} µs"
    )
    return rate


def sustained(records: int, rate: float) -> None:
    """Prints what writing so many records takes, and how memory goes."""
    output = subprocess.run(
        [sys.executable, "-m", "benchmarks.sustained", "--records", str(records)],
        stdout=subprocess.PIPE, text=True, check=True,
    ).stdout
    found = json.loads(output)
    start, middle, end = (size / _MEBIBYTE for size in found["memory"])
    cpu = found["cpu"]
    followers = {part: took for part, took in cpu.items() if part != "writer"}
    print(
        f"{records:,} records, as many as {records / rate / _SECONDS_PER_MINUTE:.1f} minutes of that make:"
        f" written at {records / found['seconds']:.0f}/s while all follow,"
        f" everything followed at {records / found['followed']:.0f}/s"
    )
    print(f"  memory {start:.0f} MiB at the start, {middle:.0f} in the middle, {end:.0f} at the end")
    listed = ", ".join(f"{part} {took:.1f}" for part, took in sorted(followers.items()))
    print(
        f"  CPU per record: writing {cpu['writer']:.1f} µs; followers {sum(followers.values()):.0f} µs ({listed})"
    )


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--calls", type=int, default=3000)
    parser.add_argument("--minutes", type=float, default=10.0)
    options = parser.parse_args()
    report(options.rounds, options.calls, options.minutes)


if __name__ == "__main__":
    main()
