"""`kagitori-server` whose audit trail has small segments, so that some can be archived and removed: as a program, and
in the test's own process, where followers take their turns by hand."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.support.inprocess import FakeClock

from kagitori_server.audit.chain import segment_numbers
from kagitori_server.audit.pruned import read_statements
from kagitori_server.audit.trail import Trail, TrailLimits, open_trail
from kagitori_server.bootstrap.data_directory import DataDirectory, open_data_directory
from kagitori_server.config import Config, load_config
from kagitori_server.model.call import Call, Evidence
from kagitori_server.model.errors import KmsError
from kagitori_server.wiring import Clocks, Server

SEGMENT_BYTES = 20_000
"""Some fifteen records."""
PROGRAM = (sys.executable, "-m", "tests.support.small_segments")


class SmallSegments(Server):
    """As any server, but for that."""

    def _open_trail(self) -> Trail:
        return open_trail(self._data.audit, limits=TrailLimits(segment_bytes=SEGMENT_BYTES))


class HeldServer(SmallSegments):
    """All parts of a server, opened, but without listeners, and nothing follows the trail unless `follow` is called.
    A context manager that closes it. For one thread."""

    def __init__(self, data: DataDirectory, config: Config, clock: FakeClock) -> None:
        super().__init__(config, data, Clocks(wall=clock))
        self.open()
        self.settings = config
        self.trail = self._trail
        self.root = data.audit
        self.catalog = self._catalog
        self.delivery = self._delivery
        self.token = data.root_token.read_text().strip()
        self.followers = {
            **{each.name: each.job.run_once for each in self._make_followers() if each.job is not self._keeper},
            **{f"sink {sink.name}": sink.follow for sink in self._sinks},
        }
        self._runner = asyncio.Runner()

    def follow(self, *but: str) -> None:
        """A round of all followers, except some."""
        for name, run_once in self.followers.items():
            if name not in but:
                run_once()

    def keep(self) -> None:
        """A round of archiving and pruning."""
        self._keeper.run_once()

    def call(self, operation: str, **members: Any) -> Any:
        """The answer to the root user. Raises KmsError."""
        return self._runner.run(self._pipeline.handle(self._call(operation, members, receipt_wanted=False)))

    def receipt(self, operation: str, **members: Any) -> bytes | None:
        """The receipt of a call, answered or refused."""
        call = self._call(operation, members, receipt_wanted=True)
        with suppress(KmsError):
            self._runner.run(self._pipeline.handle(call))
        return call.receipt

    def die(self) -> None:
        """Lets its end be one without delivery, as if it were killed."""
        self._delivery = None

    def pruned(self) -> int:
        """How many segments of its own chain were removed."""
        folder = self.root / self.trail.position().chain
        removed = read_statements(folder).segments
        assert not removed or segment_numbers(folder)[0] == removed + 1
        return removed

    def _call(self, operation: str, members: Mapping[str, Any], *, receipt_wanted: bool) -> Call:
        return Call(
            operation, self._ids.uuid(), Evidence(token=self.token), None, lambda: members,
            receipt_wanted=receipt_wanted,
        )

    def __enter__(self) -> HeldServer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._runner.close()
        self._close()


def held_server(folder: Path, settings: Mapping[str, Mapping[str, Any]], clock: FakeClock) -> HeldServer:
    """One on a data directory."""
    return HeldServer(open_data_directory(folder), load_config(None, {}, settings), clock)


def main() -> None:
    """Runs the program."""
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    from kagitori_server.commands import run

    sys.exit(run(sys.argv[1:], SmallSegments))


if __name__ == "__main__":
    main()
