"""Who calls? Each call carries exactly one proof: an API token, a client certificate, or the local socket.

A credential belongs to a user, a role or an account's root user. One of a role opens a session of that role, named
when the credential was made. Nothing about a failed proof is told but that it failed.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass

from cryptography import x509

from kagitori_server.model.call import Evidence
from kagitori_server.model.errors import (
    ExpiredTokenException,
    MissingAuthenticationTokenException,
    UnrecognizedClientException,
)
from kagitori_server.model.lookup import Lookup
from kagitori_server.model.principals import (
    Caller,
    CertificateRecord,
    CredentialKind,
    PrincipalKind,
    PrincipalRecord,
    TokenRecord,
)

TOKEN_PREFIX = "kgt_"  # noqa: S105 - what tokens begin with, so that scanners of leaked secrets know them
_TOKEN = re.compile(r"kgt_[A-Za-z0-9_-]{43}")

_UNREADABLE = (ValueError, x509.InvalidVersion, x509.DuplicateExtension, x509.UnsupportedGeneralNameType)
"""What reading a certificate fails with that no CA should have signed."""

_UNKNOWN = "The security token included in the request is invalid."


@dataclass(frozen=True, slots=True)
class SocketIdentity:
    """Whom a call by the local socket stands for."""

    principal_arn: str
    session_name: str
    created: float
    """When the server began to listen there, seconds since the epoch."""


@dataclass(frozen=True, slots=True)
class _Known:
    """A caller made before, with the records it was made from: it is good while these are the current ones."""

    credential: TokenRecord | CertificateRecord | SocketIdentity
    principal: PrincipalRecord
    caller: Caller


class Authenticator:
    """Establishes the caller of each request. Thread-safe; keeps at most `entries` callers."""

    def __init__(
        self, clock: Callable[[], float], partition: str, socket: SocketIdentity | None, entries: int = 10_000
    ) -> None:
        self._clock = clock
        self._partition = partition
        self._socket = socket
        self._entries = entries
        self._known: dict[tuple[CredentialKind, str], _Known] = {}
        self._names: dict[bytes, tuple[tuple[str, ...], str]] = {}

    def authenticate(self, evidence: Evidence, lookup: Lookup) -> Caller:
        """The caller that `evidence` proves.

        Raises MissingAuthenticationTokenException without evidence, UnrecognizedClientException for a proof that
        fails or two proofs at once, ExpiredTokenException.
        """
        if evidence.token is not None and evidence.certificate is not None:
            raise UnrecognizedClientException("A call must carry one identity: a token or a certificate, not both.")
        if evidence.token is not None:
            return self._by_token(evidence.token, lookup)
        if evidence.certificate is not None:
            return self._by_certificate(evidence.certificate, lookup)
        if evidence.local_socket and self._socket is not None:
            return self._caller(CredentialKind.SOCKET, "socket", self._socket, lookup)
        raise MissingAuthenticationTokenException("The request carries no token and no client certificate.")

    def _by_token(self, token: str, lookup: Lookup) -> Caller:
        if not _TOKEN.fullmatch(token):
            raise UnrecognizedClientException(_UNKNOWN)
        # The secret has 256 random bits, so finding it by its digest tells nothing by the time it takes.
        found = lookup.token(hashlib.sha256(token.encode()).digest())
        if found is None:
            raise UnrecognizedClientException(_UNKNOWN)
        if found.expires is not None and found.expires <= self._clock():
            raise ExpiredTokenException("The security token included in the request is expired.")
        return self._caller(CredentialKind.TOKEN, found.token_id, found, lookup)

    def _by_certificate(self, pem: bytes, lookup: Lookup) -> Caller:
        uris, subject = self._certificate_names(pem)
        mappings = [found for uri in uris if (found := lookup.certificate_by_uri(uri)) is not None]
        if not mappings and (found := lookup.certificate_by_subject(subject)) is not None:
            mappings = [found]
        if len(mappings) != 1:
            raise UnrecognizedClientException(
                "The client certificate belongs to no principal." if not mappings
                else "The client certificate names more than one principal."
            )
        return self._caller(CredentialKind.CERTIFICATE, mappings[0].certificate_id, mappings[0], lookup)

    def _certificate_names(self, pem: bytes) -> tuple[tuple[str, ...], str]:
        """(URIs among the subject alternative names, subject). TLS has verified the chain and the dates."""
        names = self._names.get(pem)
        if names is None:
            try:
                certificate = x509.load_pem_x509_certificate(pem)
                subject = certificate.subject.rfc4514_string()
                uris = _uris(certificate)
            except _UNREADABLE:
                raise UnrecognizedClientException("The client certificate can't be read.") from None
            names = (uris, subject)
            if len(self._names) >= self._entries:
                self._names.clear()
            self._names[pem] = names
        return names

    def _caller(
        self,
        kind: CredentialKind,
        credential_id: str,
        credential: TokenRecord | CertificateRecord | SocketIdentity,
        lookup: Lookup,
    ) -> Caller:
        principal = lookup.principal(credential.principal_arn)
        if principal is None:
            raise UnrecognizedClientException(_UNKNOWN)
        known = self._known.get((kind, credential_id))
        if known is not None and known.principal is principal and known.credential is credential:
            return known.caller
        caller = make_caller(kind, credential_id, credential, principal, self._partition)
        if len(self._known) >= self._entries:
            self._known.clear()
        self._known[kind, credential_id] = _Known(credential, principal, caller)
        return caller


def _uris(certificate: x509.Certificate) -> tuple[str, ...]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return ()
    return tuple(names.value.get_values_for_type(x509.UniformResourceIdentifier))


def make_caller(
    kind: CredentialKind,
    credential_id: str,
    credential: TokenRecord | CertificateRecord | SocketIdentity,
    principal: PrincipalRecord,
    partition: str,
) -> Caller:
    """The caller that a credential of `principal` makes. Nothing is proven here."""
    session_name = credential.session_name
    if principal.kind is PrincipalKind.ROLE:
        arn = f"arn:{partition}:sts::{principal.account}:assumed-role/{principal.name}/{session_name}"
        user_id = f"{principal.principal_id}:{session_name}"
    else:
        arn, user_id = principal.arn, principal.principal_id
    return Caller(
        kind=principal.kind,
        account=principal.account,
        arn=arn,
        user_id=user_id,
        record=principal,
        credential_kind=kind,
        credential_id=credential_id,
        session_name=session_name,
        session_started=credential.created,
        session=credential.session if isinstance(credential, TokenRecord) else None,
    )
