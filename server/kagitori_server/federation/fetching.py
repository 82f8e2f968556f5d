"""Fetches an issuer's keys over HTTPS: its discovery document, then the key set that it names.

Every fetch has one deadline for all of it, however slowly the other side speaks, and bounded answers. Redirects are
refused: who trusts an issuer trusts the addresses it publishes, not wherever these may point later. Plain HTTP is for
issuers on loopback addresses alone.
"""

from __future__ import annotations

import http.client
import re
import ssl
from urllib.parse import SplitResult, urlsplit

from kagitori_server.federation.keys import DOCUMENT_MAX
from kagitori_server.policy.strict_json import PolicyJsonError, read_json
from kagitori_server.timed_http import Deadline, TimedConnection, is_loopback

DISCOVERY_PATH = "/.well-known/openid-configuration"
"""OpenID Connect Discovery 1.0, section 4."""
_URL_MAX = 2_048
_URL = re.compile(r"https?://[A-Za-z0-9.-]{1,253}(?::[0-9]{1,5})?(?:[/?][!-\"$-~]*)?")


class FetchFailed(Exception):
    """The keys couldn't be fetched. The text is for the operator and quotes nothing that was received."""


class HttpsFetcher:
    """Fetches key sets. Thread-safe: every fetch has connections of its own."""

    def __init__(self, trusted: ssl.SSLContext, seconds: float) -> None:
        """`trusted` says which certificates issuers may show; `seconds` bounds a whole fetch."""
        self._trusted = trusted
        self._seconds = seconds

    def __call__(self, issuer: str) -> str:
        """The issuer's key set, not yet looked into. Blocks. Raises FetchFailed."""
        with Deadline(self._seconds) as deadline:
            try:
                return self._fetch(issuer, deadline)
            except (OSError, http.client.HTTPException, UnicodeError) as error:
                what = "it took too long" if deadline.passed else type(error).__name__
                raise FetchFailed(f"{issuer} can't be asked: {what}") from None

    def _fetch(self, issuer: str, deadline: Deadline) -> str:
        plain = issuer.startswith("http://")
        discovery = self._get(issuer.removesuffix("/") + DISCOVERY_PATH, deadline, plain=plain)
        try:
            document = read_json(discovery)
        except PolicyJsonError as error:
            raise FetchFailed(f"the discovery document of {issuer} can't be used: {error}") from None
        if not isinstance(document, dict) or document.get("issuer") != issuer:
            raise FetchFailed(f"the discovery document of {issuer} is of another issuer")
        address = document.get("jwks_uri")
        if not isinstance(address, str):
            raise FetchFailed(f"the discovery document of {issuer} names no key set")
        return self._get(address, deadline, plain=plain)

    def _get(self, url: str, deadline: Deadline, *, plain: bool) -> str:
        parts = fetchable(url, plain=plain)
        if parts is None:
            raise FetchFailed("an address isn't one that keys may be fetched from")
        trusted, port = (None, 80) if parts.scheme == "http" else (self._trusted, 443)
        connection = TimedConnection(parts.hostname or "", parts.port or port, trusted, self._seconds)
        try:
            connection.within(deadline)
            target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            connection.request("GET", target, headers={"Accept": "application/json", "Accept-Encoding": "identity"})
            with connection.getresponse() as answer:  # which keeps the socket of a connection that is closed
                if answer.status != http.client.OK:
                    raise FetchFailed(f"{parts.netloc} answered with status {answer.status}")
                body = answer.read(DOCUMENT_MAX + 1)
        finally:
            connection.close()
        if len(body) > DOCUMENT_MAX:
            raise FetchFailed(f"{parts.netloc} answered with more than {DOCUMENT_MAX} bytes")
        if deadline.passed or answer.length:
            raise FetchFailed(f"{parts.netloc} didn't answer in full")
        return body.decode()


def fetchable(url: str, *, plain: bool) -> SplitResult | None:
    """The parts of an `https://` URL, with `plain` of an `http://` one on a loopback address too; None for others."""
    if len(url) > _URL_MAX or not _URL.fullmatch(url):
        return None
    parts = urlsplit(url)
    if int(parts.netloc.partition(":")[2] or 1) not in range(1, 65_536):
        return None
    if parts.scheme == "http" and not (plain and is_loopback(parts.hostname or "")):
        return None
    return parts
