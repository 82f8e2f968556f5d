"""Writes many records through the trail of a real server's parts, while everything follows: usage, index, trees,
delivery to a directory, a webhook sink, and archiving. `python -m benchmarks.sustained --records N` prints JSON.

Memory is the process's resident set at the start (after the first tenth, when what is remembered of calls is there), in
the middle, and at the end, when all followers have caught up. Processor time is that of the threads that do each part.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

from benchmarks.lookup import calls
from kagitori_server.bootstrap.data_directory import open_data_directory
from kagitori_server.config import load_config
from kagitori_server.model.call import Call, Evidence
from kagitori_server.wiring import Server

GROUP, GROUPS = 64, 32
"""Records that share an append, and appends that wait at once: as many as a loaded server has calls in flight."""
_KEYS = 200
_PARTS = {
    "audit-chain": "writer", "counting-usage": "usage", "indexing": "index", "adding-records": "trees",
    "delivering": "delivery", "keeping": "archive", "sink-": "webhook",
}


class Busy(Server):
    """A server's parts without its listeners."""

    async def write(self, records: int) -> dict[str, Any]:
        """Writes so many records, waits until all have followed, and tells what it took."""
        tasks = self._followers.start()
        for sink in self._sinks:
            sink.start()
        marks, memory = iter((records // 10, records // 2)), list[int]()
        mark: int | None = next(marks)
        events = calls(records, self._config.service.account, await self._make_keys())
        waiting: set[asyncio.Future[int]] = set()
        written, rendering = 0, 0.0
        began = time.perf_counter()
        while True:
            rendered = time.thread_time()
            group = list(itertools.islice(events, GROUP))
            rendering += time.thread_time() - rendered
            if not group:
                break
            waiting.add(self._trail.append_all(group))
            written += len(group)
            if len(waiting) >= GROUPS:
                _, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            if mark is not None and written >= mark:
                memory.append(_resident())
                mark = next(marks, None)
        await asyncio.gather(*waiting)
        seconds = time.perf_counter() - began
        await asyncio.to_thread(self._followed)
        memory.append(_resident())
        spent = dict(_by_part())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return {
            "records": records, "seconds": seconds, "followed": time.perf_counter() - began, "memory": memory,
            "cpu": {part: took / records * 1e6 for part, took in spent.items()},
            "rendering": rendering / records * 1e6,
        }

    async def _make_keys(self) -> list[str]:
        """The ARNs of keys that the records are about."""
        token = self._data.root_token.read_text().strip()
        return [
            (await self._pipeline.handle(Call("CreateKey", self._ids.uuid(), Evidence(token=token), None, dict)))
            .key_metadata.arn for _ in range(_KEYS)
        ]

    def _followed(self) -> None:
        """Returns when everything has dealt with all records, but for those that delivery makes itself."""
        position = self._trail.position()
        chain, seq = position.chain, position.seq
        delivery = self._delivery
        if delivery is None:
            raise SystemExit("nothing is delivered")
        # Trees are durable in full tiles.
        wanted = [
            (self._meter.counted, seq), (self._indexer.indexed, seq), (self._transparency.kept, seq - 256),
            (delivery.delivered, seq), *((sink.sent, seq) for sink in self._sinks),
        ]
        while any((reached(chain) or 0) < least for reached, least in wanted):
            time.sleep(0.5)

    def close(self) -> None:
        """Ends everything."""
        self._close()


def _by_part() -> Iterator[tuple[str, float]]:
    """Seconds of the processor that the threads of each part have taken."""
    for thread in threading.enumerate():
        part = next((part for prefix, part in _PARTS.items() if thread.name.startswith(prefix)), None)
        if part is not None:
            fields = Path(f"/proc/self/task/{thread.native_id}/stat").read_text().rpartition(")")[2].split()
            yield part, (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _resident() -> int:
    """Bytes of the process that are in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class _Swallow(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(204)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
        pass


def swallow() -> None:
    """Takes whatever is posted; prints its port first."""
    server = HTTPServer(("127.0.0.1", 0), _Swallow)
    print(server.server_port, flush=True)
    server.serve_forever()


def measure(folder: Path, records: int) -> dict[str, Any]:
    """What it takes to write records on a new data directory."""
    receiver = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.sustained", "--swallow"], stdout=subprocess.PIPE, text=True
    )
    try:
        port = "" if receiver.stdout is None else receiver.stdout.readline().strip()
        secret = folder / "secret"
        secret.touch(0o600)
        secret.write_text("a secret of the benchmark")
        (folder / "delivered").mkdir()
        config = load_config(None, {}, {
            "audit": {
                "archive_directory": str(folder / "archive"), "archive_days": 1.0, "keeping_seconds": 5.0,
                "sinks": [{
                    "name": "hook", "kind": "webhook", "url": f"http://127.0.0.1:{port}/", "secret_file": str(secret)
                }],
            },
            "delivery": {"directory": str(folder / "delivered"), "period_seconds": 5.0},
        })
        server = Busy(config, open_data_directory(folder / "data"))
        server.open()
        found = asyncio.run(server.write(records))
        server.close()
        return found
    finally:
        receiver.terminate()
        receiver.wait(30)


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=100_000)
    parser.add_argument("--swallow", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.swallow:
        swallow()
    else:
        with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix="benchmark-") as name:
            print(json.dumps(measure(Path(name), options.records)))


if __name__ == "__main__":
    main()
