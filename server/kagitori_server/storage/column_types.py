"""Column types that mean the same on SQLite and PostgreSQL, with their bounds enforced on both."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Dialect, LargeBinary, String
from sqlalchemy.types import TypeDecorator, TypeEngine

from kagitori_server.storage.failures import UnstorableError


def storable(text: str) -> bool:
    """Whether PostgreSQL could keep `text`: no U+0000, no lone surrogates. We hold SQLite to the same."""
    if "\x00" in text:
        return False
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


class BoundedText(TypeDecorator[str]):
    """Text of at most `length` characters, ordered by code point on every database."""

    impl = String
    cache_ok = True

    def __init__(self, length: int) -> None:
        super().__init__(length)
        self._length = length

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """PostgreSQL would otherwise order by the database's language; SQLite orders by bytes anyway."""
        if dialect.name == "postgresql":
            return dialect.type_descriptor(String(self._length, collation="C"))
        return dialect.type_descriptor(String(self._length))

    def process_bind_param(self, value: str | None, _dialect: Dialect) -> str | None:
        """Refuses what wouldn't come back as it was. Raises UnstorableError."""
        if value is None:
            return None
        if not storable(value):
            raise UnstorableError("Text must be valid Unicode without the character U+0000.")
        if len(value) > self._length:
            raise UnstorableError(f"Text of {len(value)} characters is longer than {self._length}.")
        return value


class BoundedBytes(TypeDecorator[bytes]):
    """At most `length` bytes."""

    impl = LargeBinary
    cache_ok = True

    def __init__(self, length: int) -> None:
        super().__init__(length)
        self._length = length

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """BLOB and BYTEA."""
        return dialect.type_descriptor(LargeBinary())

    def process_bind_param(self, value: bytes | None, _dialect: Dialect) -> bytes | None:
        """Refuses what is too long. Raises UnstorableError."""
        if value is not None and len(value) > self._length:
            raise UnstorableError(f"{len(value)} bytes are more than {self._length}.")
        return value
