"""How far a sink has come in each chain, durably: a small file per chain, replaced as a whole."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kagitori_server.audit.reading_on import BEGINNING, Place

_SUFFIX = ".json"


class Places:
    """The places of one sink, in a folder of its own that all processes of the data directory share."""

    def __init__(self, folder: Path) -> None:
        """Makes the folder; raises OSError."""
        self.fresh = not folder.exists()
        """Whether the sink was never there before."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder = folder

    @contextmanager
    def held(self, chain: str) -> Iterator[bool]:
        """Whether this process may follow the chain for as long as the block lasts: no other does."""
        descriptor = os.open(self._folder / f"{chain}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
            else:
                yield True
        finally:
            os.close(descriptor)

    def load(self, chain: str, chain_id: str) -> Place:
        """Where to go on: the beginning for a chain that is new, or another than it was under that name."""
        found = _read(self._folder / f"{chain}{_SUFFIX}")
        return found[1] if found is not None and found[0] in (chain_id, "") else BEGINNING

    def save(self, chain: str, chain_id: str, place: Place) -> None:
        """Returns when it is on stable storage. Raises OSError. Without an id it is good for any chain of the name."""
        path = self._folder / f"{chain}{_SUFFIX}"
        fresh = path.with_suffix(".new")
        text = json.dumps({"chain_id": chain_id, **place._asdict()})
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            os.write(descriptor, text.encode())
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        fresh.replace(path)
        folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _read(path: Path) -> tuple[str, Place] | None:
    """A file that can't be read counts as none: delivered twice is better than never."""
    try:
        found = json.loads(path.read_bytes())
        place = Place(*(found[name] for name in Place._fields))
        chain_id = found["chain_id"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    whole = all(type(number) is int and number >= 0 for number in place)
    return (chain_id, place) if whole and isinstance(chain_id, str) else None
