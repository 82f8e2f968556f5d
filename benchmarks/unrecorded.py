"""`kagitori-server` without a durable trail, to measure what that costs: `python -m benchmarks.unrecorded …`.

Records are rendered as ever, but those of calls are taken for durable at once and forgotten.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Sequence

from kagitori_server.audit.trail import Position, Trail, open_trail
from kagitori_server.wiring import Server


class Forgetful(Trail):
    """Stands for a trail to which little is appended: what the service records of itself."""

    def __init__(self, real: Trail) -> None:
        self._real = real
        self.opening = real.opening

    def append(self, event_json: bytes) -> asyncio.Future[int]:
        """Done at once."""
        return self.append_all((event_json,))

    def append_all(self, events: Sequence[bytes]) -> asyncio.Future[int]:
        """Done at once."""
        done: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        done.set_result(1)
        return done

    def append_blocking(self, event_json: bytes) -> None:
        """As the real one."""
        self._real.append_blocking(event_json)

    def position(self) -> Position:
        """The real one's."""
        return self._real.position()

    def failing(self) -> bool:
        """Never, for calls."""
        return False

    def close(self) -> None:
        """As the real one."""
        self._real.close()


class Unrecorded(Server):
    """As any server, but for that."""

    def _open_trail(self) -> Trail:
        return Forgetful(open_trail(self._data.audit))


def main() -> None:
    """Runs the program."""
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    from kagitori_server.commands import run

    sys.exit(run(sys.argv[1:], Unrecorded))


if __name__ == "__main__":
    main()
