"""POST over HTTPS: verified, bounded, in time, and where it was told to, whatever the answer says."""

from __future__ import annotations

import http.client
import ssl
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import urlsplit

from kagitori_server.sinks.delivery import DeliveryFailed
from kagitori_server.timed_http import Deadline, TimedConnection

ANSWER_BYTES_MAX = 64 * 1024
_TOO_LARGE = 413


class Target(NamedTuple):
    """Where to post."""

    tls: bool
    host: str
    port: int
    path: str


def read_url(url: str) -> Target:
    """Raises ValueError for what isn't `https://host[:port]/path`; `http` is for loopback addresses."""
    parts = urlsplit(url)
    if parts.scheme not in ("https", "http") or not parts.hostname or parts.username is not None or parts.fragment:
        raise ValueError("a sink's URL is https://host[:port]/path, without a user")
    if parts.scheme == "http" and parts.hostname not in ("127.0.0.1", "::1", "localhost"):
        raise ValueError("http is for loopback addresses alone")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    if not path.isascii() or any(ord(letter) <= 32 for letter in path):
        raise ValueError("a URL holds printable ASCII without spaces")
    tls = parts.scheme == "https"
    return Target(tls, parts.hostname, parts.port or (443 if tls else 80), path)


class Poster:
    """One connection, opened when it's needed, kept, and opened anew after a failure. Follows no redirects."""

    def __init__(self, target: Target, tls: ssl.SSLContext, seconds: float, headers: Mapping[str, str]) -> None:
        """`seconds` is how long connecting may take, and the whole of an exchange."""
        self._target = target
        self._tls = tls
        self._seconds = seconds
        self._headers = dict(headers)
        self._connection: TimedConnection | None = None

    def post(self, body: bytes, headers: Mapping[str, str]) -> bytes:
        """The body of the answer, whose status is 200 to 299. Raises DeliveryFailed."""
        kept, self._connection = self._connection, None
        connection = kept or self._connect()
        with Deadline(self._seconds) as deadline:
            try:
                answer, content = self._exchange(connection, deadline, body, headers)
            except (OSError, http.client.HTTPException) as problem:
                lost = isinstance(problem, (ConnectionError, ssl.SSLError)) and not deadline.passed
                if kept is None or not lost:
                    # The kind alone: its text may quote what the receiver sent.
                    raise DeliveryFailed("TimeoutError" if deadline.passed else type(problem).__name__) from None
                answer = None
        if answer is None:
            # The receiver has closed what was kept meanwhile, as it may: that is no failure.
            return self.post(body, headers)
        if answer.isclosed() and not answer.will_close and not deadline.passed:
            self._connection = connection
        else:
            connection.close()
        if deadline.passed:
            # What was cut off may look like a whole answer.
            raise DeliveryFailed("TimeoutError")
        if not 200 <= answer.status < 300:
            raise DeliveryFailed(
                f"status {answer.status}", retry_after=_seconds(answer.getheader("Retry-After")),
                too_large=answer.status == _TOO_LARGE,
            )
        return content[:ANSWER_BYTES_MAX]

    def _exchange(
        self, connection: TimedConnection, deadline: Deadline, body: bytes, headers: Mapping[str, str]
    ) -> tuple[http.client.HTTPResponse, bytes]:
        try:
            connection.within(deadline)
            connection.request("POST", self._target.path, body, {**self._headers, **headers})
            answer = connection.getresponse()
            return answer, answer.read(ANSWER_BYTES_MAX + 1)
        except BaseException:
            connection.close()
            raise

    def close(self) -> None:
        """Closes the connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _connect(self) -> TimedConnection:
        target = self._target
        return TimedConnection(target.host, target.port, self._tls if target.tls else None, self._seconds)


def _seconds(value: str | None) -> float | None:
    """A Retry-After in seconds; dates aren't looked at."""
    return float(value) if value is not None and value.isascii() and value.isdigit() and len(value) <= 6 else None
