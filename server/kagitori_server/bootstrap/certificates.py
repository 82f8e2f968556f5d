"""The local certificate authority: TLS without anybody having to set it up first.

A folder holds `ca.crt`, `ca.key`, `server.crt` and `server.key`. The authority is made at the first start and good
for ten years; the server's certificate is renewed at a start when it is about to end or its names have changed.
Clients trust `ca.crt`. Certificates follow RFC 5280; keys are ECDSA P-256.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import fcntl
import ipaddress
import os
import re
import socket
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

AUTHORITY_DAYS = 3_652
SERVER_DAYS = 365
"""Within the 397 days that clients accept."""
CLIENT_DAYS_MAX = 397
RENEW_BEFORE_DAYS = 30

_LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")
_BACKDATED = dt.timedelta(minutes=5)
"""So that clients whose clocks are behind accept a fresh certificate."""
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_DNS_NAME = re.compile(rf"(?=.{{1,253}}\Z)(?:\*\.)?{_LABEL}(?:\.{_LABEL})*")
_COMMON_NAME_MAX = 64
_URI = re.compile(r"[a-z][a-z0-9+.-]*://[\x21-\x7e]{1,2000}")
_PRIVATE = 0o600
_PUBLIC = 0o644

Clock = Callable[[], float]


class CertificatesRefused(Exception):
    """The folder's certificates can't or must not be used. The text is for the operator."""


@dataclass(frozen=True, slots=True)
class Issued:
    """A certificate and its key, both PEM; the key is PKCS #8 and not encrypted."""

    certificate: bytes
    key: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Authority:
    """A certificate authority that can issue."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey = field(repr=False)

    @property
    def pem(self) -> bytes:
        """What clients trust."""
        return self.certificate.public_bytes(serialization.Encoding.PEM)


@dataclass(frozen=True, slots=True)
class ServerTls:
    """What the listeners need."""

    authority: Authority
    server: Issued


def prepare(folder: Path, names: Sequence[str], clock: Clock) -> ServerTls:
    """The TLS of a server that is called `names` beside `localhost`: what `folder` holds, made where it's missing.

    Raises CertificatesRefused for files that can't be read, don't fit together or are open to others, and for a
    name that is neither a DNS name nor an IP address.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _sole_user(folder):
        authority = _authority(folder, clock)
        return ServerTls(authority, _server(folder, authority, (*_LOCAL_NAMES, *names), clock))


def host_names() -> tuple[str, ...]:
    """What this machine calls itself, if that can stand in a certificate."""
    name = socket.gethostname()
    return (name,) if _DNS_NAME.fullmatch(name) else ()


def load_authority(folder: Path) -> Authority:
    """The authority in `folder`. Raises CertificatesRefused."""
    key_path, certificate_path = folder / "ca.key", folder / "ca.crt"
    _check_private(key_path)
    return _checked_authority(_read_certificate(certificate_path), _read_key(key_path))


def check_pair(issued: Issued) -> None:
    """For certificates made elsewhere. Raises CertificatesRefused unless both can be read and belong together."""
    try:
        certificate = x509.load_pem_x509_certificate(issued.certificate)
    except ValueError:
        raise CertificatesRefused("The server's certificate can't be read; it has to be PEM.") from None
    try:
        key = serialization.load_pem_private_key(issued.key, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        # No cause: it might quote the file.
        raise CertificatesRefused("The server's key can't be read; it has to be PEM and not encrypted.") from None
    if key.public_key() != certificate.public_key():
        raise CertificatesRefused("The server's certificate and its key don't belong together.")


def issue_client_certificate(
    authority: Authority, clock: Clock, *, days: int, uri_san: str | None = None, common_name: str | None = None
) -> Issued:
    """A certificate that a client shows, named by a URI (`spiffe://...`), a common name, or both.

    `days` is 1 to 397. Raises ValueError for anything else.
    """
    if not 1 <= days <= CLIENT_DAYS_MAX:
        raise ValueError(f"A client certificate is good for 1 to {CLIENT_DAYS_MAX} days.")
    if uri_san is None and common_name is None:
        raise ValueError("A client certificate needs a URI or a common name.")
    if uri_san is not None and not _URI.fullmatch(uri_san):
        raise ValueError("The URI of a client certificate is SCHEME://..., printable ASCII without spaces.")
    if common_name is not None and not (0 < len(common_name) <= _COMMON_NAME_MAX and common_name.isprintable()):
        raise ValueError(f"A common name has 1 to {_COMMON_NAME_MAX} printable characters.")
    names = [] if uri_san is None else [x509.UniformResourceIdentifier(uri_san)]
    return _issue(authority, _name(common_name), names, ExtendedKeyUsageOID.CLIENT_AUTH, days, clock)


def _authority(folder: Path, clock: Clock) -> Authority:
    key_path, certificate_path = folder / "ca.key", folder / "ca.crt"
    if not key_path.exists():
        if certificate_path.exists():
            raise CertificatesRefused(f"{certificate_path} is there, its key {key_path} isn't.")
        _write(key_path, _key_pem(ec.generate_private_key(ec.SECP256R1())), _PRIVATE)
    if not certificate_path.exists():
        # Either both are new, or the certificate got lost: one of the same name and key does as well.
        _check_private(key_path)
        _write(certificate_path, _authority_certificate(_read_key(key_path), clock), _PUBLIC)
    authority = load_authority(folder)
    if authority.certificate.not_valid_after_utc <= _at(clock):
        raise CertificatesRefused(f"The certificate authority in {folder} has expired.")
    return authority


def _server(folder: Path, authority: Authority, names: Sequence[str], clock: Clock) -> Issued:
    key_path, certificate_path = folder / "server.key", folder / "server.crt"
    wanted = [_general_name(name) for name in dict.fromkeys(names)]
    if key_path.exists() and certificate_path.exists():
        _check_private(key_path)
        found = Issued(certificate_path.read_bytes(), key_path.read_bytes())
        if _still_good(found, authority, wanted, clock):
            return found
    subject = _name("kagitori-server")
    issued = _issue(authority, subject, wanted, ExtendedKeyUsageOID.SERVER_AUTH, SERVER_DAYS, clock)
    # The key first: a crash in between leaves a pair that doesn't match, which the next start replaces.
    _write(key_path, issued.key, _PRIVATE)
    _write(certificate_path, issued.certificate, _PUBLIC)
    return issued


def _still_good(found: Issued, authority: Authority, wanted: Sequence[x509.GeneralName], clock: Clock) -> bool:
    try:
        certificate = x509.load_pem_x509_certificate(found.certificate)
        key = serialization.load_pem_private_key(found.key, password=None)
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        certificate.verify_directly_issued_by(authority.certificate)
    except (ValueError, TypeError, InvalidSignature, x509.ExtensionNotFound):
        return False
    left = certificate.not_valid_after_utc - _at(clock)
    return (
        left > dt.timedelta(days=RENEW_BEFORE_DAYS)
        and certificate.not_valid_before_utc <= _at(clock)
        and set(names) == set(wanted)
        and key.public_key() == certificate.public_key()
    )


def _authority_certificate(key: ec.EllipticCurvePrivateKey, clock: Clock) -> bytes:
    name = _name("Kagitori local authority")
    begin = _at(clock) - _BACKDATED
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(begin + dt.timedelta(days=AUTHORITY_DAYS))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(authority=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return certificate.public_bytes(serialization.Encoding.PEM)


def _issue(
    authority: Authority,
    subject: x509.Name,
    names: Sequence[x509.GeneralName],
    usage: x509.ObjectIdentifier,
    days: int,
    clock: Clock,
) -> Issued:
    key = ec.generate_private_key(ec.SECP256R1())
    begin = _at(clock) - _BACKDATED
    issuer_id = authority.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(authority.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(min(begin + dt.timedelta(days=days), authority.certificate.not_valid_after_utc))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(authority=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(issuer_id), critical=False)
    )
    if names:
        # RFC 5280, 4.2.1.6: critical when there is no subject.
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=not list(subject))
    certificate = builder.sign(authority.key, hashes.SHA256())
    return Issued(certificate.public_bytes(serialization.Encoding.PEM), _key_pem(key))


def _key_usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not authority, content_commitment=False, key_encipherment=False,
        data_encipherment=False, key_agreement=False, key_cert_sign=authority, crl_sign=authority,
        encipher_only=False, decipher_only=False,
    )


def _name(common_name: str | None) -> x509.Name:
    if common_name is None:
        return x509.Name([])
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        pass
    if not _DNS_NAME.fullmatch(name):
        raise CertificatesRefused(f"{name!r} is neither a DNS name nor an IP address.")
    return x509.DNSName(name.lower())


def _checked_authority(certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> Authority:
    if certificate.public_key() != key.public_key():
        raise CertificatesRefused("The authority's certificate and key don't belong together.")
    try:
        constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
        certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
    except x509.ExtensionNotFound:
        raise CertificatesRefused("The authority's certificate is no certificate of an authority.") from None
    if not constraints.ca:
        raise CertificatesRefused("The authority's certificate is no certificate of an authority.")
    return Authority(certificate, key)


def _read_certificate(path: Path) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(path.read_bytes())
    except (OSError, ValueError):
        raise CertificatesRefused(f"{path} can't be read as a certificate.") from None


def _read_key(path: Path) -> ec.EllipticCurvePrivateKey:
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except (OSError, ValueError, TypeError):
        # No cause: it might quote the file.
        raise CertificatesRefused(f"{path} can't be read as a private key.") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise CertificatesRefused(f"{path} holds no key of an elliptic curve.")
    return key


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _check_private(path: Path) -> None:
    try:
        status = path.lstat()
    except OSError:
        raise CertificatesRefused(f"{path} can't be read as a private key.") from None
    if not stat.S_ISREG(status.st_mode):
        raise CertificatesRefused(f"{path} is no regular file.")
    if status.st_mode & 0o077:
        mode = stat.S_IMODE(status.st_mode)
        raise CertificatesRefused(f"{path} is open to others (mode {mode:04o}); make it 0600.")
    if status.st_uid not in (os.geteuid(), 0):
        raise CertificatesRefused(f"{path} belongs to another user.")


@contextlib.contextmanager
def _sole_user(folder: Path) -> Iterator[None]:
    """Keep other processes of the server out while this one looks and writes."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _write(path: Path, content: bytes, mode: int) -> None:
    """Put `content` in place at once: whoever reads sees the old file or the whole new one."""
    temporary = path.with_name(f"{path.name}.new")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _at(clock: Clock) -> dt.datetime:
    return dt.datetime.fromtimestamp(clock(), dt.UTC)
