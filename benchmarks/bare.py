"""One process that makes a row's bare call on a thread per core.

    python -m benchmarks.bare ROW SECONDS

Prints the calls per second of all threads together, and the CPU time of a call in microseconds. The library releases
the interpreter lock while it computes.
"""

from __future__ import annotations

import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor

from benchmarks.families import ROWS


def main() -> None:
    """Measures and prints."""
    name, seconds = sys.argv[1], float(sys.argv[2])
    threads = os.cpu_count() or 1
    call = ROWS[name].bare()
    call()

    def run(end: float) -> int:
        done = 0
        while time.perf_counter() < end:
            call()
            done += 1
        return done

    with ThreadPoolExecutor(threads) as pool:
        started, used = time.perf_counter(), time.process_time()
        done = sum(pool.map(run, [started + seconds] * threads))
        print(done / (time.perf_counter() - started), (time.process_time() - used) / done * 1e6)


if __name__ == "__main__":
    main()
