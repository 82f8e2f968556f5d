"""A process of its own that writes to a catalog: `catalog_worker.py LOCATION NAME THREADS WRITES`.

Each write puts an intent `NAME-THREAD-NUMBER` and sets the description of key 1 to it; once it's committed,
the id is printed on a line of its own. WRITES of 0: until killed. The last line is the longest wait (s).
"""

from __future__ import annotations

import sys
import threading
import time

from tests.support.catalogs import REGION, key_id_of

from kagitori_server.storage import Catalog, open_catalog


def main(location: str, name: str, threads: int, writes: int) -> None:
    """Runs all threads to their end."""
    catalog = open_catalog(location, monotonic=time.monotonic)
    longest: list[float] = []
    workers = [
        threading.Thread(target=_write, args=(catalog, f"{name}-{number}", writes, longest))
        for number in range(threads)
    ]
    print("ready", flush=True)
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    catalog.close()
    print(max(longest), flush=True)


def _write(catalog: Catalog, name: str, writes: int, longest: list[float]) -> None:
    number = 0
    slowest = 0.0
    while not writes or number < writes:
        number += 1
        event_id = f"{name}-{number}"
        began = time.monotonic()
        with catalog.write() as writer:
            writer.set_key_description(REGION, key_id_of(1), event_id)
            writer.add_intent(event_id, name, event_id.encode())
        slowest = max(slowest, time.monotonic() - began)
        sys.stdout.write(f"{event_id}\n")
        sys.stdout.flush()
    longest.append(slowest)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
