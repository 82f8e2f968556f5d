"""Where a call came from, and what its metadata brings to prove who calls."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import unquote

from kagitori_server.model.arn import REGION, shortened
from kagitori_server.model.call import Evidence, TlsFacts
from kagitori_server.model.errors import FieldViolation, ValidationException

AUTHORIZATION_MAX = 8_192 + 7
"""Characters of the `authorization` metadata: the longest token of an OpenID Connect issuer, after `Bearer `."""
USER_AGENT_MAX = 256
"""Characters of the user agent that are recorded."""

_AUTHORIZATION = "authorization"
_REGION = "kagitori-region"
_USER_AGENT = "user-agent"
_RECEIPT = "kagitori-receipt"
_SCHEME = "bearer "

_UNUSABLE_TOKEN = ""
"""Stands for credentials that can't be read. No token is empty, so the call is refused as one with a wrong token,
and neither a certificate nor the local socket can stand in for it."""

Metadata = Iterable[tuple[str, str | bytes]]


@dataclass(slots=True)
class Peer:
    """What the host knows of the connection that a call came by. Made for every call, so not frozen: that costs."""

    source_ip: str = ""
    local_socket: bool = False
    certificate: bytes | None = field(default=None, repr=False)
    """PEM of the client certificate, if TLS asked for one and has verified it."""
    tls: TlsFacts | None = None


class Sent(NamedTuple):
    """What the metadata of a call says."""

    evidence: Evidence
    region: str | None
    region_problem: ValidationException | None
    """Why the Region can't be used. Told as if the body were at fault, so that the refusal is recorded."""
    receipt_wanted: bool = False


def read_metadata(metadata: Metadata, peer: Peer) -> Sent:
    """Sort out the metadata of a call. Never fails: what can't be used makes evidence that will be refused."""
    token: str | None = None
    region: str | bytes | None = None
    problem: ValidationException | None = None
    user_agent = ""
    receipt_wanted = False
    for key, value in metadata:
        if key == _AUTHORIZATION:
            token = _bearer_token(value) if token is None else _UNUSABLE_TOKEN
        elif key == _REGION:
            problem = _region_problem(value) if region is None else _bad_region("was sent more than once")
            region = value
        elif key == _USER_AGENT and isinstance(value, str):
            user_agent = _short_user_agent(value)
        elif key == _RECEIPT:
            receipt_wanted = value == "true"
    evidence = Evidence(token, peer.certificate, peer.local_socket, peer.source_ip, user_agent, peer.tls)
    if problem is not None or not isinstance(region, str):
        return Sent(evidence, None, problem, receipt_wanted)
    return Sent(evidence, region, None, receipt_wanted)


def _bearer_token(value: str | bytes) -> str:
    if isinstance(value, bytes) or len(value) > AUTHORIZATION_MAX or value[: len(_SCHEME)].lower() != _SCHEME:
        return _UNUSABLE_TOKEN
    return value[len(_SCHEME) :]


def _region_problem(value: str | bytes) -> ValidationException | None:
    if isinstance(value, str) and REGION.fullmatch(value):
        return None
    return _bad_region("must be a Region's name: 1 to 63 of a-z, 0-9 and hyphens")


def _bad_region(text: str) -> ValidationException:
    return ValidationException(
        f"The metadata {_REGION} {text}.", violations=(FieldViolation(f"metadata.{_REGION}", text),)
    )


@lru_cache(maxsize=256)
def _short_user_agent(text: str) -> str:
    return shortened(text, USER_AGENT_MAX)


def source_ip(address: str) -> str:
    """The IP address in a peer's name as gRPC writes it (`ipv4:192.0.2.1:5000`, `ipv6:%5B2001:db8::1%5D:5000`).

    Empty for a Unix socket and for what isn't understood. An IPv4 address mapped into IPv6 comes out as IPv4.
    """
    family, _, rest = address.partition(":")
    host, _, _ = unquote(rest).rpartition(":")
    if family not in ("ipv4", "ipv6"):
        return ""
    try:
        # A zone (`fe80::1%eth0`) says which of our interfaces it was, not who called.
        found = ipaddress.ip_address(host.strip("[]").partition("%")[0])
    except ValueError:
        return ""
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(found)
