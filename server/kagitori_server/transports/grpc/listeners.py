"""Where the gRPC host listens, and which places it refuses."""

from __future__ import annotations

import ipaddress
import re
import socket
import stat
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

_HOST_PORT = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]{1,253}):(?P<port>[0-9]{1,5})")
_SOCKET_PATH_MAX = 107
"""Bytes of a Unix socket's path (unix(7): sun_path, without its final NUL)."""
_PROBE_SECONDS = 1.0


class ListenerRefused(Exception):
    """The host must not or can't listen there. The text is for the operator."""


class ListenerKind(Enum):
    """How a listener is secured."""

    TLS = "tls"
    """The server shows a certificate, callers show tokens."""
    MTLS = "mtls"
    """Callers must show a client certificate of our authority as well."""
    PLAINTEXT = "plaintext"
    """Nothing; loopback addresses only."""
    UNIX = "unix"
    """A socket in the file system that only the server's own user may open."""


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM texts: the server's certificate with its chain, its key, and the authority of client certificates."""

    certificate: bytes
    key: bytes = field(repr=False)
    client_authority: bytes | None = None


@dataclass(frozen=True, slots=True)
class Listener:
    """One place to listen: `HOST:PORT` (port 0 for any free one), or the path of a Unix socket."""

    address: str
    kind: ListenerKind
    tls: TlsFiles | None = None

    def check(self) -> None:
        """Refuse what isn't safe or complete. Raises ListenerRefused."""
        if self.kind is ListenerKind.UNIX:
            _check_socket_path(Path(self.address))
            return
        host = _host(self.address)
        if self.kind is ListenerKind.PLAINTEXT:
            if not _is_loopback(host):
                raise ListenerRefused(
                    f"Plaintext gRPC is served on loopback addresses only, and {host} isn't one. Use TLS."
                )
        elif self.tls is None:
            raise ListenerRefused(f"The listener {self.address} has no certificate.")
        elif self.kind is ListenerKind.MTLS and not self.tls.client_authority:
            raise ListenerRefused(f"The listener {self.address} has no authority for client certificates.")


def bound_address(listener: Listener, port: int) -> str:
    """The listener's address with the port that it got."""
    if listener.kind is ListenerKind.UNIX:
        return listener.address
    return f"{listener.address.rpartition(':')[0]}:{port}"


def clear_stale_socket(path: Path) -> None:
    """Remove the socket of a server that is gone. Raises ListenerRefused if one listens, or if it is no socket."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise ListenerRefused(f"{path} is in the way, and it is no socket.")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(_PROBE_SECONDS)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
            return
        except FileNotFoundError:
            return
        except OSError as problem:
            raise ListenerRefused(f"Whether anybody listens on {path} can't be found out: {problem}") from problem
    raise ListenerRefused(f"Another server listens on {path}.")


def _host(address: str) -> str:
    found = _HOST_PORT.fullmatch(address)
    if found is None or int(found["port"]) > 65_535:
        raise ListenerRefused(f"{address!r} is not HOST:PORT.")
    return found["host"].strip("[]")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        pass
    # A name other than this one may mean another address tomorrow; even this one is looked up.
    if host != "localhost":
        return False
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return bool(found) and all(ipaddress.ip_address(entry[4][0]).is_loopback for entry in found)


def _check_socket_path(path: Path) -> None:
    if not path.is_absolute():
        raise ListenerRefused(f"The path of a Unix socket must be absolute: {path}")
    if len(str(path).encode()) > _SOCKET_PATH_MAX:
        raise ListenerRefused(f"The path of a Unix socket has at most {_SOCKET_PATH_MAX} bytes: {path}")
    try:
        mode = path.parent.stat().st_mode
    except OSError as problem:
        raise ListenerRefused(f"The folder of the socket {path} can't be used: {problem.strerror}") from problem
    if not stat.S_ISDIR(mode):
        raise ListenerRefused(f"{path.parent} is not a folder.")
    if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
        raise ListenerRefused(f"Anybody may replace files in {path.parent}; the Unix socket needs a safer folder.")
