"""Sessions that AssumeRole gave, as its records tell: the catalog forgets them some time after their end."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from kagitori_server.audit.matching import parse_record
from kagitori_server.model.errors import KmsError
from kagitori_server.model.principals import AssumedSession
from kagitori_server.operations.administration.entities import tags_of
from kagitori_server.operations.row import Operation
from kagitori_server.simulation.recorded import RecordedRequest, Undecidable, read_call

LONGEST_SECONDS = 43_200
"""A session's (AWS STS AssumeRole): its record is no older than that before its last call."""

_MOST = 50_000


class PastSessions:
    """Found by the id of their token. The records are read when the first is wanted; kept are at most `_MOST`, the
    later ones. For one thread."""

    def __init__(self, row: Operation, lines: Callable[[], Iterable[bytes]]) -> None:
        """`row` is AssumeRole's, `lines` gives the lines that may tell of it."""
        self._row = row
        self._lines = lines
        self._found: dict[str, AssumedSession] | None = None

    def find(self, token_id: str) -> AssumedSession | None:
        """What was settled for that session, but for the source identity; None if no record tells."""
        if self._found is None:
            self._found = self._read()
        return self._found.get(token_id)

    def _read(self) -> dict[str, AssumedSession]:
        found: dict[str, AssumedSession] = {}
        # Many sessions are alike but for their ids.
        alike: dict[tuple[Any, ...], AssumedSession] = {}
        for line in self._lines():
            told = self._told(parse_record(line) or {})
            if told is None:
                continue
            token_id, session = told
            if len(found) >= _MOST:
                del found[next(iter(found))]
            if len(alike) >= _MOST:
                alike.clear()
            found[token_id] = alike.setdefault((session.policy, tuple(session.tags.items())), session)
        return found

    def _told(self, record: Mapping[str, Any]) -> tuple[str, AssumedSession] | None:
        call = read_call(record)
        token_id = call.extra.get("tokenId")
        if call.operation != self._row.name or not call.is_of(self._row) or not isinstance(token_id, str):
            return None
        if call.error is not None or call.parameters is None:
            return None
        request = RecordedRequest(self._row, call)
        try:
            return token_id, AssumedSession(policy=request.policy, tags=tags_of(request.tags))
        except (Undecidable, KmsError):
            return None
