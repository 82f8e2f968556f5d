"""Who calls? Each call carries exactly one proof: an API token, a token of a trusted OpenID Connect issuer, a client
certificate, a signature with an access key, or the local socket.

A credential belongs to a user, a role or an account's root user. One of a role opens a session of that role, named
when the credential was made. Nothing about a failed proof is told but that it failed.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from kagitori_server.authn.certificates import CertificateNames, Workload, read_names
from kagitori_server.authn.signatures import Signatures
from kagitori_server.authn.web_tokens import ExchangedIdentity, VerifiedToken, WebTokens
from kagitori_server.federation.tokens import looks_signed
from kagitori_server.model.call import Evidence, ExchangedToken, SignedRequest
from kagitori_server.model.errors import (
    AccessDeniedException,
    ExpiredTokenException,
    InvalidSignatureException,
    MissingAuthenticationTokenException,
    UnrecognizedClientException,
)
from kagitori_server.model.lookup import Lookup
from kagitori_server.model.principals import (
    AccessKeyRecord,
    Caller,
    CertificateRecord,
    CredentialKind,
    PrincipalKind,
    PrincipalRecord,
    TokenRecord,
)
from kagitori_server.model.spiffe import SpiffeId, spiffe_id_or_none

TOKEN_PREFIX = "kgt_"  # noqa: S105 - what tokens begin with, so that scanners of leaked secrets know them
_TOKEN = re.compile(r"kgt_[A-Za-z0-9_-]{43}")

_UNKNOWN = "The security token included in the request is invalid."
_NOBODYS = "The client certificate belongs to no principal."
_ONE_PROOF = "A call must carry one identity: a token, a certificate or a signature, not several."
_UNSIGNED = (
    "The request signature we calculated does not match the signature you provided. "
    "Check your AWS Secret Access Key and signing method. Consult the service documentation for details."
)
SIGNATURE_SECONDS = 300
"""How far the time of a signed request may be from ours, either way (AWS; XKS proxy specification, appendix A)."""
PRESIGNED_SECONDS = 900
"""The longest that a signature in a query string is good for, whatever it says (as AWS STS)."""


@dataclass(frozen=True, slots=True)
class SocketIdentity:
    """Whom a call by the local socket stands for."""

    principal_arn: str
    session_name: str
    created: float
    """When the server began to listen there, seconds since the epoch."""


Credential: TypeAlias = (
    TokenRecord | CertificateRecord | Workload | VerifiedToken | ExchangedIdentity | SocketIdentity | AccessKeyRecord
)


@dataclass(frozen=True, slots=True)
class _Known:
    """A caller made before, with the records it was made from: it is good while these are the current ones."""

    credential: Credential
    principal: PrincipalRecord
    caller: Caller


class Authenticator:
    """Establishes the caller of each request. Thread-safe; keeps at most `entries` callers."""

    def __init__(
        self, clock: Callable[[], float], partition: str, socket: SocketIdentity | None,
        web_tokens: WebTokens | None = None, entries: int = 10_000, signatures: Signatures | None = None,
        signers_clock: Callable[[], float] | None = None,
    ) -> None:
        """Without `web_tokens`, no token of an OpenID Connect issuer is accepted; without `signatures`, no signed
        request. `signers_clock` shows the time by which signers date their requests, and authorities their
        certificates, if that isn't `clock`."""
        self._signers_clock = signers_clock or clock
        self._web_tokens = web_tokens
        self._signatures = signatures
        self._clock = clock
        self._partition = partition
        self._socket = socket
        self._entries = entries
        self._known: dict[tuple[CredentialKind, str], _Known] = {}
        self._names: dict[bytes, CertificateNames] = {}

    def authenticate(self, evidence: Evidence, lookup: Lookup) -> Caller:
        """The caller that `evidence` proves.

        Raises MissingAuthenticationTokenException without evidence, UnrecognizedClientException for a proof that
        fails or several proofs at once, InvalidSignatureException, ExpiredTokenException, and what is wrong with the
        evidence by itself.
        """
        if evidence.problem is not None:
            raise evidence.problem
        if (evidence.token, evidence.certificate, evidence.signed, evidence.exchanged).count(None) < 3:
            raise UnrecognizedClientException(_ONE_PROOF)
        if evidence.exchanged is not None:
            return self._by_exchange(evidence.exchanged, lookup)
        if evidence.signed is not None:
            return self._by_signature(evidence.signed, lookup)
        if evidence.token is not None:
            return self._by_token(evidence.token, lookup)
        if evidence.certificate is not None:
            return self._by_certificate(evidence.certificate, lookup)
        if evidence.local_socket and self._socket is not None:
            return self._caller(CredentialKind.SOCKET, "socket", self._socket, lookup)
        raise MissingAuthenticationTokenException("The request carries no token and no client certificate.")

    def _by_token(self, token: str, lookup: Lookup) -> Caller:
        if self._web_tokens is not None and looks_signed(token):
            verified = self._web_tokens.verified(token, lookup)
            return self._caller(CredentialKind.WEB_IDENTITY, verified.token_id, verified, lookup)
        if not _TOKEN.fullmatch(token):
            raise UnrecognizedClientException(_UNKNOWN)
        # The secret has 256 random bits, so finding it by its digest tells nothing by the time it takes.
        found = lookup.token(hashlib.sha256(token.encode()).digest())
        if found is None:
            raise UnrecognizedClientException(_UNKNOWN)
        if found.expires is not None and found.expires <= self._clock():
            raise ExpiredTokenException("The security token included in the request is expired.")
        return self._caller(CredentialKind.TOKEN, found.token_id, found, lookup)

    def _by_exchange(self, shown: ExchangedToken, lookup: Lookup) -> Caller:
        """The session as it would be. Made anew for each call: few are."""
        if self._web_tokens is None:
            raise UnrecognizedClientException(_UNKNOWN)
        proven = self._web_tokens.exchanged(shown, lookup)
        role = lookup.principal(shown.role_arn)
        # Whether there is such a role is told by nothing: the refusal is that of a role which doesn't admit the token.
        if role is None or role.kind is not PrincipalKind.ROLE or role.account != proven.verified.provider.account:
            raise AccessDeniedException("Not authorized to perform sts:AssumeRoleWithWebIdentity")
        kind = CredentialKind.EXCHANGED_TOKEN
        return make_caller(kind, proven.verified.token_id, proven, role, self._partition)

    def _by_signature(self, signed: SignedRequest, lookup: Lookup) -> Caller:
        found = lookup.access_key(signed.access_key_id) if self._signatures is not None else None
        if found is None or self._signatures is None or not found.active:
            raise UnrecognizedClientException(_UNKNOWN)
        if not self._signatures.hold(signed, found):
            raise InvalidSignatureException(_UNSIGNED)
        _check_time(signed, self._signers_clock())
        digest = None if signed.session_token is None else hashlib.sha256(signed.session_token.encode()).digest()
        expected = found.session_token_digest
        if (digest is None) != (expected is None) or not hmac.compare_digest(digest or b"", expected or b""):
            raise UnrecognizedClientException(_UNKNOWN)
        if found.expires is not None and found.expires <= self._clock():
            raise ExpiredTokenException("The security token included in the request is expired.")
        return self._caller(CredentialKind.ACCESS_KEY, found.access_key_id, found, lookup)

    def _by_certificate(self, pem: bytes, lookup: Lookup) -> Caller:
        names = self._certificate_names(pem)
        if names.ends < self._signers_clock():
            raise UnrecognizedClientException("The client certificate has expired.")
        if names.spiffe_id is not None:
            return self._by_spiffe_id(names.spiffe_id, names.subject, lookup)
        mappings = [found for uri in names.uris if (found := lookup.certificate_by_uri(uri)) is not None]
        if not mappings and (found := lookup.certificate_by_subject(names.subject)) is not None:
            mappings = [found]
        if len(mappings) != 1:
            raise UnrecognizedClientException(
                _NOBODYS if not mappings else "The client certificate names more than one principal."
            )
        return self._caller(CredentialKind.CERTIFICATE, mappings[0].certificate_id, mappings[0], lookup)

    def _by_spiffe_id(self, spiffe_id: SpiffeId, subject: str, lookup: Lookup) -> Caller:
        """By the mapping of just that ID, else by that of the pattern that it fits, else by the subject."""
        found = lookup.certificate_by_uri(spiffe_id.uri)
        if found is None:
            fitting = (
                each for each in lookup.spiffe_patterns(spiffe_id.trust_domain)
                if (pattern := spiffe_id_or_none(each.uri_san or "")) is not None and pattern.overlaps(spiffe_id)
            )
            found = next(fitting, None) or lookup.certificate_by_subject(subject)
        if found is None:
            raise UnrecognizedClientException(_NOBODYS)
        workload = Workload(found, spiffe_id)
        place = f"{found.certificate_id} {spiffe_id.uri}"
        return self._caller(CredentialKind.CERTIFICATE, found.certificate_id, workload, lookup, place)

    def _certificate_names(self, pem: bytes) -> CertificateNames:
        names = self._names.get(pem)
        if names is None:
            names = read_names(pem)
            if len(self._names) >= self._entries:
                self._names.clear()
            self._names[pem] = names
        return names

    def _caller(
        self,
        kind: CredentialKind,
        credential_id: str,
        credential: Credential,
        lookup: Lookup,
        place: str | None = None,
    ) -> Caller:
        """The caller of a proof that holds. `place` tells callers of one credential apart that are different ones."""
        principal = lookup.principal(credential.principal_arn)
        if principal is None:
            raise UnrecognizedClientException(_UNKNOWN)
        known = self._known.get((kind, place or credential_id))
        if known is not None and known.principal is principal and _same(known.credential, credential):
            return known.caller
        caller = make_caller(kind, credential_id, credential, principal, self._partition)
        if len(self._known) >= self._entries:
            self._known.clear()
        self._known[kind, place or credential_id] = _Known(credential, principal, caller)
        return caller


def _check_time(signed: SignedRequest, now: float) -> None:
    """Raises InvalidSignatureException for a request whose time is over or has yet to come."""
    good_for = SIGNATURE_SECONDS if signed.expires is None else min(signed.expires, PRESIGNED_SECONDS)
    if now > signed.time + good_for:
        raise InvalidSignatureException(
            f"Signature expired: {_basic(signed.time)} is now earlier than {_basic(now - good_for)} "
            f"({_basic(now)} - {good_for / 60:g} min.)"
        )
    if now < signed.time - SIGNATURE_SECONDS:
        raise InvalidSignatureException(
            f"Signature not yet current: {_basic(signed.time)} is still later than "
            f"{_basic(now + SIGNATURE_SECONDS)} ({_basic(now)} + {SIGNATURE_SECONDS / 60:g} min.)"
        )


def _basic(moment: float) -> str:
    return time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(moment))


def _same(one: Credential, other: Credential) -> bool:
    if isinstance(one, Workload) and isinstance(other, Workload):
        return one.mapping is other.mapping and one.spiffe_id == other.spiffe_id
    return one is other


def make_caller(
    kind: CredentialKind,
    credential_id: str,
    credential: Credential,
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
        session=None if isinstance(credential, CertificateRecord | SocketIdentity) else credential.session,
        web_identity=credential.web_identity if isinstance(credential, VerifiedToken | ExchangedIdentity) else None,
    )
