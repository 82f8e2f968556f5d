"""Reading tables of TOML strictly: every member has its type and its bound, and none is left unread."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from kagitori_server.config import ConfigurationError

ELEMENTS_MAX = 1_000
"""Of any list or table."""
_TEXT_MAX = 65_536


class Table:
    """A table of a seed file. Each member is taken once by its type; `end` refuses those that weren't."""

    def __init__(self, where: str, members: Mapping[str, Any]) -> None:
        """`where` is how messages name it; empty for the whole file."""
        self.where = where
        self._members = members
        self._taken: set[str] = set()

    def place(self, name: str) -> str:
        """How messages name a member."""
        return f"{self.where}.{name}" if self.where else name

    def end(self) -> None:
        """Raises ConfigurationError if there is a member that nobody asked for."""
        for name in self._members:
            if name not in self._taken:
                raise ConfigurationError(f"{self.place(name)} is nothing that a seed can say")

    def text(self, name: str, pattern: re.Pattern[str] | None = None, wanted: str = "text") -> str | None:
        """A text, as `pattern` has it. Messages never repeat it: it may be a secret."""
        value = self._take(name)
        if value is None:
            return None
        fits = isinstance(value, str) and len(value) <= _TEXT_MAX and (pattern is None or pattern.fullmatch(value))
        self._need(fits, name, wanted)
        return str(value)

    def needed(self, name: str, pattern: re.Pattern[str] | None = None, wanted: str = "text") -> str:
        """The same for a member that has to be there."""
        value = self.text(name, pattern, wanted)
        if value is None:
            raise ConfigurationError(f"{self.place(name)} is missing; it must be {wanted}")
        return value

    def number(self, name: str) -> int | None:
        """A whole number."""
        value = self._take(name)
        self._need(value is None or type(value) is int, name, "a whole number")
        return None if value is None else int(value)

    def time(self, name: str) -> float | None:
        """A date and time with its offset from UTC, as seconds since the epoch."""
        value = self._take(name)
        if value is None:
            return None
        self._need(isinstance(value, datetime) and value.tzinfo is not None, name, "a date, a time and Z")
        return float(value.timestamp())

    def texts(self, name: str) -> tuple[str, ...]:
        """A list of texts; empty when it isn't there."""
        value = self._take(name, ())
        self._need(
            isinstance(value, list | tuple) and len(value) <= ELEMENTS_MAX
            and all(isinstance(item, str) and len(item) <= _TEXT_MAX for item in value),
            name, f"a list of at most {ELEMENTS_MAX} texts",
        )
        return tuple(value)

    def pairs(self, name: str) -> dict[str, str]:
        """A table of texts; empty when it isn't there."""
        value = self._take(name, {})
        self._need(
            isinstance(value, dict) and len(value) <= ELEMENTS_MAX
            and all(isinstance(item, str) and len(item) <= _TEXT_MAX for item in value.values()),
            name, "a table of texts",
        )
        return dict(value)

    def document(self, name: str) -> str | None:
        """A policy, as its JSON or as a table that becomes it."""
        value = self._take(name)
        return None if value is None else self._document(name, value)

    def documents(self, name: str) -> dict[str, str]:
        """A table of policies by name."""
        value = self._take(name, {})
        self._need(isinstance(value, dict) and len(value) <= ELEMENTS_MAX, name, "a table of policies")
        return {policy: self._document(f"{name}.{policy}", document) for policy, document in value.items()}

    def tables(self, name: str) -> Iterator[Table]:
        """A list of tables; none when it isn't there."""
        value = self._take(name, [])
        self._need(
            isinstance(value, list) and len(value) <= ELEMENTS_MAX and all(isinstance(item, dict) for item in value),
            name, f"at most {ELEMENTS_MAX} tables, written [[{self.place(name)}]]",
        )
        for index, item in enumerate(value):
            table = Table(f"{self.place(name)}[{index}]", item)
            yield table
            table.end()

    def _document(self, name: str, value: Any) -> str:
        if isinstance(value, dict):
            try:
                return json.dumps(value, separators=(",", ":"))
            except TypeError:
                raise ConfigurationError(f"{self.place(name)} must be a policy: JSON has no dates") from None
        self._need(isinstance(value, str) and len(value) <= _TEXT_MAX, name, "a policy: JSON, or a table")
        return str(value)

    def _take(self, name: str, default: Any = None) -> Any:
        self._taken.add(name)
        return self._members.get(name, default)

    def _need(self, condition: object, name: str, wanted: str) -> None:
        if not condition:
            raise ConfigurationError(f"{self.place(name)} must be {wanted}")
