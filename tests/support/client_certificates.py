"""Client certificates with whatever names a test wants, self-signed: TLS has judged the chain before us."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from datetime import UTC, datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


def certificate(
    *uris: str, common_name: str = "client", others: Sequence[x509.GeneralName] = (),
    extra: x509.ExtensionType | None = None,
) -> bytes:
    """PEM of a certificate with these URIs (and `others`) as subject alternative names; none at all without."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime(2026, 1, 1, tzinfo=UTC))
        .not_valid_after(datetime(2036, 1, 1, tzinfo=UTC))
    )
    names: list[x509.GeneralName] = [*map(x509.UniformResourceIdentifier, uris), *others]
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    if extra is not None:
        builder = builder.add_extension(extra, critical=False)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def der_to_pem(der: bytes) -> bytes:
    """A certificate in PEM, whatever is in it."""
    body = base64.encodebytes(der).decode()
    return f"-----BEGIN CERTIFICATE-----\n{body}-----END CERTIFICATE-----\n".encode()


def replaced(pem: bytes, old: bytes, new: bytes) -> bytes:
    """The certificate with bytes of its DER form replaced; its signature doesn't fit any more."""
    der = x509.load_pem_x509_certificate(pem).public_bytes(serialization.Encoding.DER)
    if old not in der:
        raise ValueError("the certificate doesn't hold these bytes")
    return der_to_pem(der.replace(old, new))


def twisted_certificate(uri: str) -> bytes:
    """A certificate with the extension of subject alternative names there twice."""
    look_alike = x509.UnrecognizedExtension(x509.ObjectIdentifier("2.5.29.99"), b"\x30\x00")
    return replaced(certificate(uri, extra=look_alike), bytes.fromhex("0603551d63"), bytes.fromhex("0603551d11"))
