"""SQLite catalogs in which nothing is yet, copied from one that was made once.

To make the tables takes longer than most tests. How that is done from nothing, and from every earlier state, is what
the tests of migrations and of whole servers show.
"""

from __future__ import annotations

import time
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from kagitori_server.storage import open_catalog


def put_catalog(path: Path) -> None:
    """What `open_catalog` makes of an empty place, unless something is there."""
    if path.exists():
        return
    path.touch(0o600, exist_ok=False)
    with path.open("wb") as file:
        file.write(_made())


@cache
def _made() -> bytes:
    with TemporaryDirectory() as folder:
        path = Path(folder, "catalog.db")
        open_catalog(path, monotonic=time.monotonic).close()
        log = path.with_name(f"{path.name}-wal")
        assert not log.exists() or not log.stat().st_size, "part of it is in the write-ahead log"
        return path.read_bytes()
