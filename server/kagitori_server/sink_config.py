"""What is configured of one sink of audit records."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_SCHEMES = {"webhook": ("https://", "http://"), "otlp": ("https://", "http://"), "syslog": ("tls://", "tcp://", "udp://")}


@dataclass(frozen=True, slots=True)
class SinkConfig:
    """Where audit records are sent as they come."""

    name: str = ""
    """Tells sinks apart, also those of before a restart: under a new name everything begins anew."""
    kind: str = ""
    """`webhook`, `otlp` or `syslog`."""
    url: str = ""
    """`https://…` for webhook and otlp; `tls://`, `tcp://` or `udp://` with host and port for syslog."""
    secret_file: str = ""
    """The file that holds what a webhook's batches are signed with."""
    token_file: str = ""
    """The file that holds a token to send as `Authorization: Bearer`; not to syslog servers."""
    ca_file: str = ""
    """The only authorities (PEM) that the receiver's certificate may come from; empty: those that the system trusts."""
    batch_records: int = 500
    """Most records in a batch."""
    timeout_seconds: float = 10.0
    """How long a receiver may take to connect, and to answer."""
    from_beginning: bool = False
    """Whether a new sink is sent what the trail holds already, or what comes from now on."""

    def demands(self) -> Iterator[tuple[object, str, str]]:
        """What it has to be: (whether it is, which setting, what that must be)."""
        yield _NAME.fullmatch(self.name), "name", "1 to 63 of a-z, 0-9 and -"
        yield self.kind in _SCHEMES, "kind", "webhook, otlp or syslog"
        schemes = _SCHEMES.get(self.kind, ())
        yield self.url.startswith(schemes) and len(self.url) <= 2_048, "url", " or ".join(schemes) + "…"
        webhook = self.kind == "webhook"
        yield bool(self.secret_file) == webhook, "secret_file", "a path for a webhook, and nothing else"
        yield not self.token_file or self.kind != "syslog", "token_file", "empty for syslog"
        yield 1 <= self.batch_records <= 10_000, "batch_records", "1 to 10000"
        yield 0 < self.timeout_seconds <= 600, "timeout_seconds", "more than 0, at most 600"
