"""Where the service is: the three forms of an endpoint, and which of them may carry a credential."""

from __future__ import annotations

import ipaddress
import os
from dataclasses import dataclass
from enum import Enum
from urllib.parse import urlsplit

from kagitori_client.errors import ConfigurationError

_FORMS = "write https://host:port, http://host:port (loopback only) or unix:///path/of/socket"
_SOCKET_PATH_MAX = 107
"""Linux, unix(7): 108 with the zero byte behind it."""


class Security(Enum):
    """What protects the connection."""

    TLS = "tls"
    LOOPBACK = "loopback"
    SOCKET = "socket"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A parsed endpoint: `target` in gRPC's notation, `text` as it was written."""

    text: str
    target: str
    security: Security


def parse_endpoint(text: str) -> Endpoint:
    """Reads one of the three forms.

    Raises ConfigurationError for anything else, and for plaintext to a host that isn't loopback: tokens and
    plaintext keys would cross the network readably.
    """
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise ConfigurationError(f"the endpoint {text!r} is malformed: {error}", hint=_FORMS) from None
    if parts.query or parts.fragment or parts.username is not None or parts.password is not None:
        raise ConfigurationError("an endpoint has no user, query or fragment", hint=_FORMS)
    if parts.scheme == "unix":
        if parts.netloc or not parts.path.startswith("/") or "\0" in parts.path:
            raise ConfigurationError(f"the endpoint {text!r} names no absolute path", hint=_FORMS)
        if len(os.fsencode(parts.path)) > _SOCKET_PATH_MAX:
            raise ConfigurationError(f"the path of a socket has at most {_SOCKET_PATH_MAX} bytes", hint=_FORMS)
        return Endpoint(text=text, target=f"unix://{parts.path}", security=Security.SOCKET)
    if parts.scheme not in {"https", "http"}:
        raise ConfigurationError(f"the endpoint {text!r} has an unknown form", hint=_FORMS)
    if not host or not port or parts.path not in {"", "/"}:
        raise ConfigurationError(f"the endpoint {text!r} needs a host and a port, and no path", hint=_FORMS)
    target = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    if parts.scheme == "https":
        return Endpoint(text=text, target=target, security=Security.TLS)
    if not _is_loopback(host):
        raise ConfigurationError(
            f"plaintext to {host} is refused: it would show credentials and keys to the network",
            hint="use https://, or http:// with a loopback address",
        )
    return Endpoint(text=text, target=target, security=Security.LOOPBACK)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
