"""Names that are fixed beforehand, where they are otherwise drawn at random."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from kagitori_server.laboratory.steps import Fixed
from kagitori_server.operations.context import Identifiers


class FixedIdentifiers:
    """Gives what is fixed for the time of one call, and else what `real` gives. While anything is fixed, for one call
    at a time."""

    def __init__(self, real: Identifiers) -> None:
        self._real = real
        self._fixed = Fixed()

    def identifiers(self) -> Identifiers:
        """What handlers get."""
        return Identifiers(
            uuid=lambda: self._fixed.uuid or self._real.uuid(),
            unique_id=lambda prefix: self._fixed.unique_id or self._real.unique_id(prefix),
            secret=lambda: self._fixed.secret or self._real.secret(),
        )

    @contextmanager
    def giving(self, fixed: Fixed) -> Iterator[None]:
        """Lets these be given for as long."""
        self._fixed = fixed
        try:
            yield
        finally:
            self._fixed = Fixed()
