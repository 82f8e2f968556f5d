"""The way from the certificate that signed a document to a trusted root.

The path is the one the document gives, in the order it gives: root, intermediates, signing certificate. No
other path is looked for and nothing is fetched: Nitro publishes no other way, and its certificates live for
hours. Every key is on P-384 and every signature is ECDSA with SHA-384, as in all of this PKI.

Rules: RFC 5280 section 6.1, and section 3.2.3 of AWS's "Nitro Enclaves Attestation Process".
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import InternalError, InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtensionOID, SignatureAlgorithmOID

from kagitori_server.attestation.errors import AttestationFault, AttestationRefused

_UNDERSTOOD = {ExtensionOID.BASIC_CONSTRAINTS, ExtensionOID.KEY_USAGE}

_E = TypeVar("_E", x509.BasicConstraints, x509.KeyUsage)


def verified_key(
    certificate: bytes, bundle: Sequence[bytes], roots: frozenset[bytes], now: dt.datetime
) -> ec.EllipticCurvePublicKey:
    """The key of `certificate`, once the path to it is verified.

    `bundle` is the DER of the path above it, root first, and not empty; `roots` the DER of those trusted.
    Raises `AttestationRefused` (CHAIN, EXPIRED).
    """
    # 1. The path starts at a root we trust, byte by byte: its own signature would prove nothing.
    if bundle[0] not in roots:
        raise _broken("it does not start at a trusted root")
    path = [_load(der) for der in (*bundle, certificate)]
    issuer = path[0]
    issuer_key = _key(issuer)
    for index, issued in enumerate(path):
        # 2. Each certificate was issued by the one before it; nothing of it is looked at before that is sure.
        if index:
            _check_issued(issued, issuer)
            issuer, issuer_key = issued, _key(issued)
        # 3. Each is valid now.
        if not issued.not_valid_before_utc <= now <= issued.not_valid_after_utc:
            raise AttestationRefused(
                AttestationFault.EXPIRED, "a certificate of the attestation document is not valid at this time"
            )
        # 4. Each but the last may issue certificates, as many in a row as follow; the last may sign, and no more.
        following = len(path) - 2 - index
        if following >= 0:
            _check_authority(issued, following)
        else:
            _check_signer(issued)
    return issuer_key


def _load(der: bytes) -> x509.Certificate:
    try:
        certificate = x509.load_der_x509_certificate(der)
        extensions = certificate.extensions
    except (ValueError, UnsupportedAlgorithm, x509.DuplicateExtension, x509.InvalidVersion):
        raise _broken("a certificate is malformed") from None
    if not der.endswith(b"\0" + certificate.signature):
        # X.690 section 11.2.1: a signature is whole bytes; another count of unused bits is told by no signature.
        raise _broken("the signature of a certificate has unused bits")
    if any(extension.critical and extension.oid not in _UNDERSTOOD for extension in extensions):
        raise _broken("a certificate has a critical extension that is not understood")  # RFC 5280 section 4.2
    return certificate


def _key(certificate: x509.Certificate) -> ec.EllipticCurvePublicKey:
    try:
        key = certificate.public_key()
    except (ValueError, UnsupportedAlgorithm, InternalError):
        raise _broken("the key of a certificate is malformed") from None
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP384R1):
        raise _broken("the key of a certificate is not on P-384")
    return key


def _check_issued(issued: x509.Certificate, issuer: x509.Certificate) -> None:
    if issued.signature_algorithm_oid != SignatureAlgorithmOID.ECDSA_WITH_SHA384:
        raise _broken("a certificate is not signed with ECDSA and SHA-384")
    try:
        issued.verify_directly_issued_by(issuer)
    except (InvalidSignature, ValueError, TypeError):
        # ValueError: other names or algorithms; TypeError: an issuer's key that signs no certificates.
        raise _broken("a certificate was not issued by the one before it") from None


def _check_authority(certificate: x509.Certificate, following: int) -> None:
    constraints, critical = _extension(certificate, x509.BasicConstraints)
    if not (critical and constraints.ca):
        raise _broken("a certificate that issued another is not one of an authority")
    if constraints.path_length is not None and constraints.path_length < following:
        raise _broken("an authority issued a longer path than it may")
    if not _extension(certificate, x509.KeyUsage)[0].key_cert_sign:
        raise _broken("a certificate that issued another is not made for that")


def _check_signer(certificate: x509.Certificate) -> None:
    if _extension(certificate, x509.BasicConstraints)[0].ca:
        raise _broken("the signing certificate is one of an authority")
    if not _extension(certificate, x509.KeyUsage)[0].digital_signature:
        raise _broken("the signing certificate is not made for signing")


def _extension(certificate: x509.Certificate, kind: type[_E]) -> tuple[_E, bool]:
    try:
        extension = certificate.extensions.get_extension_for_class(kind)
    except x509.ExtensionNotFound:
        raise _broken("a certificate lacks basic constraints or key usage") from None
    return extension.value, extension.critical


def _broken(what: str) -> AttestationRefused:
    return AttestationRefused(
        AttestationFault.CHAIN, f"the certificate chain of the attestation document is not valid: {what}"
    )
