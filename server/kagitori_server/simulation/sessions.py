"""Sessions that AssumeRole gave, as its records tell: the catalog forgets them some time after their end."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from kagitori_server.audit.matching import parse_record
from kagitori_server.model.errors import KmsError
from kagitori_server.model.principals import AssumedSession
from kagitori_server.operations.administration.entities import tags_of
from kagitori_server.operations.row import Operation
from kagitori_server.operations.shapes.keys import TagShape
from kagitori_server.operations.shapes.sts import SessionTag
from kagitori_server.simulation.recorded import RecordedRequest, Undecidable, read_call

LONGEST_SECONDS = 43_200
"""A session's (AWS STS AssumeRole): its record is no older than that before its last call."""

_MOST = 50_000


class PastSessions:
    """Found by the id of their token or access key. The records are read when the first is wanted; kept are at most
    `_MOST`, the later ones. For one thread."""

    def __init__(self, rows: Sequence[Operation], blocks: Callable[[], Iterable[Iterable[bytes]]]) -> None:
        """`rows` are AssumeRole's of AdminService and of STS, `blocks` gives the lines that may tell of it."""
        self._rows = rows
        self._blocks = blocks
        self._found: dict[str, AssumedSession] | None = None

    def find(self, credential_id: str) -> AssumedSession | None:
        """What was settled for that session, but for the source identity; None if no record tells."""
        for _ in self.read():
            pass
        return None if self._found is None else self._found.get(credential_id)

    def read(self) -> Iterator[None]:
        """Reads the records unless that was done, and comes back after each block: there may be many."""
        if self._found is not None:
            return
        found: dict[str, AssumedSession] = {}
        # Many sessions are alike but for their ids.
        alike: dict[tuple[Any, ...], AssumedSession] = {}
        for block in self._blocks():
            for line in block:
                told = self._told(parse_record(line) or {})
                if told is None:
                    continue
                credential_ids, session = told
                if len(alike) >= _MOST:
                    alike.clear()
                for credential_id in credential_ids:
                    if len(found) >= 2 * _MOST:
                        del found[next(iter(found))]
                    found[credential_id] = alike.setdefault((session.policy, tuple(session.tags.items())), session)
            yield
        self._found = found

    def _told(self, record: Mapping[str, Any]) -> tuple[tuple[str, ...], AssumedSession] | None:
        """(ids of the session's token and access key, what was settled)."""
        call = read_call(record)
        row = next((row for row in self._rows if call.operation == row.name and call.is_of(row)), None)
        ids = tuple(each for each in map(call.extra.get, ("tokenId", "accessKeyId")) if isinstance(each, str))
        if row is None or not ids or call.error is not None or call.parameters is None:
            return None
        request = RecordedRequest(row, call)
        try:
            return ids, AssumedSession(policy=request.policy, tags=tags_of(tuple(map(_tag, request.tags))))
        except (Undecidable, KmsError):
            return None


def _tag(tag: TagShape | SessionTag) -> TagShape:
    return TagShape(tag_key=tag.key, tag_value=tag.value) if isinstance(tag, SessionTag) else tag
