"""What an instance for tests remembers of itself beside its data, and that it is one."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from kagitori_server.bootstrap.data_directory import write_private_file
from kagitori_server.config import ConfigurationError

_SIZE_MAX = 4_096


@dataclass(frozen=True, slots=True)
class Remembered:
    """Between two starts."""

    clock_offset: float = 0.0
    """Seconds by which the clock is ahead of the real one."""
    seed: str | None = None
    """Digest of the seed that was carried out; None for none."""


class Memory:
    """The file that marks a data directory as one for tests. Not for several processes."""

    def __init__(self, path: Path) -> None:
        """Raises ConfigurationError for a file that nobody of us has written."""
        self._path = path
        self._now = _read(path)

    @property
    def now(self) -> Remembered:
        """What is remembered."""
        return self._now

    def keep(self) -> None:
        """Makes the file if it isn't there."""
        self._change()

    def keep_clock(self, offset: float) -> None:
        """Remembers how far the clock is ahead."""
        self._change(clock_offset=offset)

    def keep_seed(self, digest: str) -> None:
        """Remembers that a seed was carried out."""
        self._change(seed=digest)

    def _change(self, **members: Any) -> None:
        self._now = replace(self._now, **members)
        write_private_file(self._path, json.dumps(asdict(self._now)).encode() + b"\n")


def _read(path: Path) -> Remembered:
    try:
        with path.open("rb") as opened:
            read = json.loads(opened.read(_SIZE_MAX))
        remembered = Remembered(**read)
        sound = math.isfinite(remembered.clock_offset) and isinstance(remembered.seed, str | None)
    except FileNotFoundError:
        return Remembered()
    except (ValueError, TypeError):
        sound = False
    if not sound:
        raise ConfigurationError(f"{path} is damaged")
    return remembered
