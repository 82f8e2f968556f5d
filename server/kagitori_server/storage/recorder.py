"""What every part of a write transaction shares: it can read, and it remembers what it touched."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import ColumnElement, Connection, Table, delete, insert, update

from kagitori_server.storage.changes import Change
from kagitori_server.storage.reader import Reader


class Recorder(Reader):
    """A reader within a write transaction. It sees what the transaction has written so far."""

    def __init__(self, connection: Connection, version: int) -> None:
        super().__init__(connection, version)
        self._touched: dict[Change, None] = {}
        self._scrub = False

    @property
    def touched(self) -> tuple[Change, ...]:
        """What this transaction has changed so far, each once."""
        return tuple(self._touched)

    @property
    def scrub(self) -> bool:
        """True when secrets were removed that must not stay behind in the database's log."""
        return self._scrub

    def _touch(self, *changes: Change) -> None:
        self._touched.update(dict.fromkeys(changes))

    def _insert(self, table: Table, *values: Mapping[str, Any]) -> None:
        if values:
            self._connection.execute(insert(table), [dict(row) for row in values])

    def _update(self, table: Table, values: Mapping[str, Any], *conditions: ColumnElement[bool]) -> int:
        return self._connection.execute(update(table).where(*conditions).values(**values)).rowcount

    def _delete(self, table: Table, *conditions: ColumnElement[bool]) -> int:
        return self._connection.execute(delete(table).where(*conditions)).rowcount
