"""Sinks as the configuration describes them."""

from __future__ import annotations

import os
import random
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from kagitori_server.audit.trail import Trail
from kagitori_server.sinks.delivery import Delivery
from kagitori_server.sinks.follower import Follower, Pace
from kagitori_server.sinks.https import Poster, read_url
from kagitori_server.sinks.places import Places
from kagitori_server.sinks.syslog import Place, Syslog
from kagitori_server.sinks.webhook import Webhook

SECRET_BYTES_MIN = 16


class SinkRefused(Exception):
    """A sink can't be opened as it is described; the message says what is wrong."""


@dataclass(frozen=True, slots=True)
class SinkTerms:
    """One sink. Secrets are contents here, not paths."""

    name: str
    kind: str
    """`webhook`, `otlp` or `syslog`."""
    url: str
    secret: bytes | None
    """What a webhook's batches are signed with."""
    token: str | None
    """Sent as `Authorization: Bearer`; not to syslog servers."""
    authorities: str | None
    """PEM of those that the receiver's certificate may come from; None for those that the system trusts."""
    batch_records: int
    seconds: float
    from_beginning: bool

    def __repr__(self) -> str:
        """Without secrets."""
        return f"SinkTerms({self.name}, {self.kind})"


def open_sink(
    terms: SinkTerms, folder: Path, audit_root: Path, trail: Trail, version: str, clock: Callable[[], float],
    pace: Pace | None = None,
) -> Follower:
    """The follower of a sink, whose places are kept below `folder`. Raises SinkRefused, OSError."""
    delivery = _delivery(terms, version, clock)
    return Follower(
        terms.name, terms.kind, delivery, Places(folder / terms.name), audit_root, trail,
        batch_records=terms.batch_records, from_beginning=terms.from_beginning,
        chance=random.SystemRandom().random, pace=pace,
    )


def _delivery(terms: SinkTerms, version: str, clock: Callable[[], float]) -> Delivery:
    try:
        context = ssl.create_default_context(cadata=terms.authorities)
    except (ssl.SSLError, ValueError):
        raise SinkRefused("ca_file holds no certificates in PEM form") from None
    if terms.kind == "syslog":
        return Syslog(_server(terms.url), context, terms.seconds, socket.gethostname(), os.getpid())
    headers = {"User-Agent": f"kagitori/{version}"}
    if terms.token is not None:
        headers["Authorization"] = f"Bearer {terms.token}"
    try:
        poster = Poster(read_url(terms.url), context, terms.seconds, headers)
    except ValueError as problem:
        raise SinkRefused(str(problem)) from None
    if terms.kind == "webhook":
        if terms.secret is None or len(terms.secret) < SECRET_BYTES_MIN:
            raise SinkRefused(f"a webhook needs a secret of at least {SECRET_BYTES_MIN} bytes")
        return Webhook(terms.name, poster, terms.secret, clock)
    try:
        # An extra of its own: few need it.
        from kagitori_server.sinks.otlp import Collector
    except ImportError:
        raise SinkRefused("OTLP needs the package opentelemetry-proto: pip install 'kagitori-kms[otel]'") from None
    return Collector(terms.name, poster, version, clock)


def _server(url: str) -> Place:
    parts = urlsplit(url)
    try:
        port = parts.port
    except ValueError:
        port = None
    if parts.scheme not in ("tcp", "tls", "udp") or not parts.hostname or not port or parts.path or parts.username:
        raise SinkRefused("a syslog server is tcp://host:port, tls://host:port or udp://host:port")
    return Place(parts.scheme, parts.hostname, port)
