"""One call on its way through the pipeline, in terms no transport is named in."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from kagitori_server.model.errors import KmsError

LARGE_BYTES = 24 * 1024
"""Bodies of more bytes take too long to read in the event loop. An Encrypt at all its limits is smaller."""


class SignedRequest(NamedTuple):
    """What a request that is signed with an access key (AWS Signature Version 4) says; nothing of it is verified.

    Its parts are well formed, agree with each other, and the signature covers the request as it was received.
    """

    access_key_id: str
    date: str
    """YYYYMMDD, UTC: of `time`."""
    region: str
    service: str
    time: float
    """Seconds since the epoch."""
    string_to_sign: str
    signature: str
    """64 lower-case hexadecimal digits."""
    session_token: str | None
    expires: float | None = None
    """Seconds after `time` at which the request says that it ends, if it says so (in query strings)."""

    def __repr__(self) -> str:
        """Without signature and session token."""
        return f"SignedRequest({self.access_key_id}, {self.date}/{self.region}/{self.service})"


class TlsFacts(NamedTuple):
    """What TLS agreed on, and the host name the client asked for; for the audit record."""

    version: str
    cipher_suite: str
    host: str | None = None


class ExchangedToken(NamedTuple):
    """A token of an OpenID Connect issuer that a request shows to open a session with, and which session. Nothing of it
    is verified."""

    token: str
    role_arn: str
    session_name: str

    def __repr__(self) -> str:
        """Without the token."""
        return f"ExchangedToken({self.role_arn}, {self.session_name})"


@dataclass(slots=True)
class Evidence:
    """What a caller brought to prove who it is, and where it came from. Nothing is decided yet. Made for every call, so
    not frozen: that costs."""

    token: str | None = field(default=None, repr=False)
    """The bearer token of the call."""
    certificate: bytes | None = field(default=None, repr=False)
    """PEM of the client certificate, its chain verified by TLS."""
    local_socket: bool = False
    """True when the call came by the Unix socket that is mapped to a principal."""
    source_ip: str = ""
    user_agent: str = ""
    tls: TlsFacts | None = None
    signed: SignedRequest | None = field(default=None, repr=False)
    exchanged: ExchangedToken | None = field(default=None, repr=False)
    """What a request of AssumeRoleWithWebIdentity, and no other, proves its caller by."""
    problem: KmsError | None = None
    """What is wrong with the proof as it was brought: it is refused with this."""

    @property
    def offered(self) -> bool:
        """Whether the caller brought anything to prove who it is, right or wrong."""
        return self.token is not None or self.certificate is not None or self.signed is not None \
            or self.problem is not None or self.local_socket


@dataclass(slots=True)
class Call:
    """A request as its transport received it. Not frozen, as its evidence isn't."""

    operation: str
    request_id: str
    """Fresh for each request; answered to the caller and written in the record."""
    evidence: Evidence
    region: str | None
    """The Region the caller named; None for the configured default."""
    decode: Callable[[], Mapping[str, Any]] = field(repr=False)
    """Reads the body into members by snake_case name, absent ones left out. Raises SerializationException."""
    size: int = 0
    """Bytes of the body."""
    receipt_wanted: bool = False
    """Whether the caller wants proof of the record that the call leaves."""
    receipt: bytes | None = field(default=None, repr=False)
    """That proof, when the call has been answered or refused. None if it wasn't wanted, or can't be made."""
    proven: bool = False
    """Whether the evidence has been found to prove a caller."""


class Unread(Sequence[Mapping[str, Any]]):
    """The items of a batch, each read when it's asked for, which raises SerializationException."""

    def __init__(self, bodies: Sequence[bytes], read: Callable[[bytes], Mapping[str, Any]]) -> None:
        self._bodies = bodies
        self._read = read

    def __len__(self) -> int:
        return len(self._bodies)

    def __getitem__(self, number: Any) -> Any:
        return self._read(self._bodies[number])

    def __iter__(self) -> Iterator[Mapping[str, Any]]:
        return map(self._read, self._bodies)

    def is_large(self, number: int) -> bool:
        """Whether reading that item takes too long for the event loop."""
        return len(self._bodies[number]) > LARGE_BYTES
