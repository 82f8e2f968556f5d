"""How everything that reads the catalog asks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Table, func, select


class Snapshot:
    """A connection that sees the catalog as it was at one moment."""

    def __init__(self, connection: Connection, version: int) -> None:
        self._connection = connection
        self.version = version
        """The write transaction the snapshot ends with."""

    def _one(self, table: Table, *conditions: ColumnElement[bool]) -> Row[Any] | None:
        return self._connection.execute(select(table).where(*conditions)).one_or_none()

    def _some(
        self, table: Table, order: ColumnElement[Any], limit: int, *conditions: ColumnElement[bool]
    ) -> Sequence[Row[Any]]:
        return self._connection.execute(select(table).where(*conditions).order_by(order).limit(limit)).all()

    def _count(self, table: Table, *conditions: ColumnElement[bool]) -> int:
        statement = select(func.count()).select_from(table).where(*conditions)
        return self._connection.execute(statement).scalar_one()
