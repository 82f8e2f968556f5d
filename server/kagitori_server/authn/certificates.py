"""What a client certificate says of its owner. TLS has verified its chain, and its dates as the connection was made."""

from __future__ import annotations

from dataclasses import dataclass

from cryptography import x509

from kagitori_server.federation.claims import session_name
from kagitori_server.model.errors import UnrecognizedClientException
from kagitori_server.model.principals import AssumedSession, CertificateRecord
from kagitori_server.model.spiffe import SCHEME, SpiffeId, SpiffeIdRefused, is_spiffe, parse_spiffe_id

_UNREADABLE = (ValueError, x509.InvalidVersion, x509.DuplicateExtension, x509.UnsupportedGeneralNameType)
"""What reading a certificate fails with that no CA should have signed."""


@dataclass(frozen=True, slots=True)
class CertificateNames:
    """What a certificate says of whom it belongs to."""

    uris: tuple[str, ...]
    subject: str
    """RFC 4514."""
    spiffe_id: SpiffeId | None
    """When it is an X.509-SVID; it then has no other URI."""
    ends: float
    """When it isn't valid any more, seconds since the epoch: connections may outlive it."""


class Workload:
    """A mapped certificate with a SPIFFE ID, as the credential of a session."""

    __slots__ = ("mapping", "spiffe_id")

    def __init__(self, mapping: CertificateRecord, spiffe_id: SpiffeId) -> None:
        self.mapping = mapping
        self.spiffe_id = spiffe_id

    @property
    def principal_arn(self) -> str:
        """Whom it was mapped to."""
        return self.mapping.principal_arn

    @property
    def session_name(self) -> str:
        """The mapping's; for a pattern, one that no other SPIFFE ID has."""
        return self.mapping.session_name or session_name(self.spiffe_id.uri.removeprefix(SCHEME))

    @property
    def created(self) -> float:
        """When it was mapped."""
        return self.mapping.created

    @property
    def session(self) -> AssumedSession:
        """The SPIFFE ID as session tags."""
        return AssumedSession(tags={
            "spiffe-id": self.spiffe_id.uri,
            "spiffe-trust-domain": self.spiffe_id.trust_domain,
            "spiffe-path": self.spiffe_id.path,
        })


def read_names(pem: bytes) -> CertificateNames:
    """Reads a certificate. Raises UnrecognizedClientException for one that can't be read, and for a SPIFFE ID that
    the standard refuses (X509-SVID.md, sections 2, 4 and 5)."""
    try:
        certificate = x509.load_pem_x509_certificate(pem)
        subject = certificate.subject.rfc4514_string()
        uris = _uris(certificate)
        spiffe_id = _spiffe_id(certificate, uris)
        ends = certificate.not_valid_after_utc.timestamp()
    except _UNREADABLE:
        raise UnrecognizedClientException("The client certificate can't be read.") from None
    return CertificateNames(uris, subject, spiffe_id, ends)


def _spiffe_id(certificate: x509.Certificate, uris: tuple[str, ...]) -> SpiffeId | None:
    if not any(map(is_spiffe, uris)):
        return None
    if len(uris) > 1:
        raise UnrecognizedClientException("A client certificate with a SPIFFE ID must have no other URI.")
    if _signs_certificates(certificate):
        raise UnrecognizedClientException("The client certificate is an authority's, not a workload's.")
    try:
        return parse_spiffe_id(uris[0])
    except SpiffeIdRefused as error:
        raise UnrecognizedClientException(f"The client certificate has no valid SPIFFE ID: {error}.") from None


def _signs_certificates(certificate: x509.Certificate) -> bool:
    extensions = certificate.extensions
    try:
        if extensions.get_extension_for_class(x509.BasicConstraints).value.ca:
            return True
    except x509.ExtensionNotFound:
        pass  # then it is no authority's
    try:
        usage = extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound:
        return False
    return usage.key_cert_sign or usage.crl_sign


def _uris(certificate: x509.Certificate) -> tuple[str, ...]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return ()
    return tuple(names.value.get_values_for_type(x509.UniformResourceIdentifier))
