"""Seed files: what an instance for tests holds when it is ready. TOML, read strictly; described in docs/testing.md."""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from kagitori_server.config import ConfigurationError
from kagitori_server.laboratory.seed_keys import key_steps
from kagitori_server.laboratory.seed_principals import Surroundings, principal_steps
from kagitori_server.laboratory.steps import Step
from kagitori_server.laboratory.tables import Table

_FILE_MAX = 1_048_576


@dataclass(frozen=True, slots=True)
class Seed:
    """A seed that was read."""

    digest: str
    """SHA-256 of the file, hexadecimal."""
    clock: float | None
    """What the instance's clock shows at first; None for the real time."""
    steps: Sequence[Step] = field(repr=False)


def load_seed(file: Path, around: Surroundings) -> Seed:
    """Raises ConfigurationError that says which member of the file is wrong; never what it holds."""
    try:
        with file.open("rb") as opened:
            content = opened.read(_FILE_MAX + 1)
    except OSError as error:
        raise ConfigurationError(f"{file}: {error.strerror}") from None
    if len(content) > _FILE_MAX:
        raise ConfigurationError(f"{file} must be a file of at most 1 MiB")
    try:
        root = Table("", tomllib.loads(content.decode()))
    except UnicodeDecodeError:
        raise ConfigurationError(f"{file} is not UTF-8 text") from None
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ConfigurationError(f"{file} is not TOML: {error}") from None
    try:
        clock = root.time("clock")
        steps = (*principal_steps(root, around), *key_steps(root, around))
        root.end()
    except ConfigurationError as error:
        raise ConfigurationError(f"{file}: {error}") from None
    return Seed(hashlib.sha256(content).hexdigest(), clock, steps)
