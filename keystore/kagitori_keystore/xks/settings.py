"""Where a proxy is and how it is talked to."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from kagitori_keystore.base import RequestRefused
from kagitori_keystore.xks import wire

_ENDPOINT = re.compile(r"https://(?P<host>[A-Za-z0-9.-]{1,253})(?::(?P<port>[0-9]{1,5}))?")
_REGION = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_PORT = 443


@dataclass(frozen=True, slots=True)
class XksSettings:
    """A proxy, without the secret. Raises `RequestRefused` for what AWS's CreateCustomKeyStore refuses.

    `uri_endpoint` is `https://HOST`, beyond AWS also `https://HOST:PORT`; `uri_path` ends in `/kms/xks/v1`. `ca_file`
    (PEM) holds the only authorities whose certificates are trusted; None for those that the system trusts. Seconds
    are for a whole call: connecting, TLS, sending and the answer; a call that meets a network timeout is made once
    more. `region` is the one in the scope of signatures, `partition` the one in the ARNs that requests tell.
    """

    uri_endpoint: str
    uri_path: str
    access_key_id: str
    ca_file: Path | None = None
    region: str = "us-east-1"
    partition: str = "aws"
    deadline_seconds: float = 0.25
    idle_connections: int = 16
    idle_seconds: float = 20.0

    def __post_init__(self) -> None:
        endpoint = _ENDPOINT.fullmatch(self.uri_endpoint)
        if endpoint is None or int(endpoint["port"] or _PORT) > 65_535:
            raise RequestRefused("a proxy's endpoint is https:// and a host name")
        if not wire.URI_PATH.fullmatch(self.uri_path):
            raise RequestRefused(f"a proxy's path has at most 128 characters and ends in {wire.API_PATH}")
        if not wire.ACCESS_KEY_ID.fullmatch(self.access_key_id):
            raise RequestRefused("an access key id of a proxy has 20 to 30 characters of A-Z and 2-7")
        if not _REGION.fullmatch(self.region):
            raise RequestRefused("a Region name has lower-case letters, digits and inner hyphens")
        if not 0 < self.deadline_seconds <= 30 or self.idle_connections < 1 or self.idle_seconds < 0:
            raise RequestRefused("a proxy's deadline is up to 30 seconds, and one connection or more is kept")

    @property
    def host(self) -> str:
        """Host name of the endpoint."""
        return self._endpoint()["host"]

    @property
    def port(self) -> int:
        """Port of the endpoint."""
        return int(self._endpoint()["port"] or _PORT)

    @property
    def authority(self) -> str:
        """The header `Host`: without the port if it is the usual one."""
        return self.uri_endpoint.removeprefix("https://").removesuffix(f":{_PORT}")

    def _endpoint(self) -> re.Match[str]:
        found = _ENDPOINT.fullmatch(self.uri_endpoint)
        if found is None:
            raise RequestRefused("a proxy's endpoint is https:// and a host name")
        return found
