"""The local authority: what it makes, when it makes it anew, and what it refuses."""

from __future__ import annotations

import datetime as dt
import ipaddress
import os
import stat
from collections.abc import Sequence
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509 import verification
from cryptography.x509.oid import ExtendedKeyUsageOID

from kagitori_server.bootstrap.certificates import (
    AUTHORITY_DAYS,
    RENEW_BEFORE_DAYS,
    SERVER_DAYS,
    CertificatesRefused,
    Issued,
    ServerTls,
    host_names,
    issue_client_certificate,
    load_authority,
    prepare,
)

NOW = 1_764_000_000.0
DAY = 86_400.0
LOCAL = {"localhost", "127.0.0.1", "::1"}


def made(folder: Path, names: Sequence[str] = (), now: float = NOW) -> ServerTls:
    """The TLS in `folder` at that time."""
    return prepare(folder, names, lambda: now)


def parsed(issued: Issued) -> x509.Certificate:
    """The certificate."""
    return x509.load_pem_x509_certificate(issued.certificate)


def names_of(certificate: x509.Certificate) -> set[str]:
    """Its subject alternative names, as text."""
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return {str(name.value) for name in names}


def at(now: float) -> dt.datetime:
    """A moment."""
    return dt.datetime.fromtimestamp(now, dt.UTC)


def test_files_and_their_modes(tmp_path: Path) -> None:
    """Keys are the owner's alone, certificates everybody's to read, and nothing else is left behind."""
    tls = made(tmp_path / "tls")
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "tls").iterdir()}
    assert modes == {"ca.crt": 0o644, "ca.key": 0o600, "server.crt": 0o644, "server.key": 0o600}
    assert stat.S_IMODE((tmp_path / "tls").stat().st_mode) == 0o700
    assert (tmp_path / "tls" / "ca.crt").read_bytes() == tls.authority.pem
    assert (tmp_path / "tls" / "server.key").read_bytes() == tls.server.key


def test_keys_are_private_whatever_the_umask(tmp_path: Path) -> None:
    """A generous umask opens nothing."""
    before = os.umask(0)
    try:
        made(tmp_path / "tls")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "tls" / "ca.key").stat().st_mode) == 0o600


def test_authority(tmp_path: Path) -> None:
    """An authority of end entities only, for ten years, on P-256."""
    certificate = made(tmp_path).authority.certificate
    extensions = certificate.extensions
    constraints = extensions.get_extension_for_class(x509.BasicConstraints)
    assert constraints.critical
    assert (constraints.value.ca, constraints.value.path_length) == (True, 0)
    usage = extensions.get_extension_for_class(x509.KeyUsage)
    assert usage.critical
    assert (usage.value.key_cert_sign, usage.value.crl_sign, usage.value.digital_signature) == (True, True, False)
    assert certificate.not_valid_after_utc - certificate.not_valid_before_utc == dt.timedelta(days=AUTHORITY_DAYS)
    assert certificate.not_valid_before_utc < at(NOW)
    key = certificate.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    assert isinstance(key.curve, ec.SECP256R1)
    certificate.verify_directly_issued_by(certificate)


def test_server_certificate(tmp_path: Path) -> None:
    """Names, dates, purposes and identifiers of an end entity for TLS servers."""
    tls = made(tmp_path, ["kms.example.org", "*.kms.example.org", "192.0.2.1", "2001:db8::1", "KMS.Example.ORG"])
    certificate = parsed(tls.server)
    assert names_of(certificate) == LOCAL | {
        "kms.example.org", "*.kms.example.org", "192.0.2.1", "2001:db8::1"
    }
    extensions = certificate.extensions
    names = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert ipaddress.ip_address("192.0.2.1") in names.get_values_for_type(x509.IPAddress)
    assert not extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    usage = extensions.get_extension_for_class(x509.KeyUsage).value
    assert (usage.digital_signature, usage.key_cert_sign, usage.key_agreement) == (True, False, False)
    assert list(extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == [
        ExtendedKeyUsageOID.SERVER_AUTH
    ]
    authority = tls.authority.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    issuer = extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
    assert issuer.key_identifier == authority.digest
    assert certificate.not_valid_after_utc - certificate.not_valid_before_utc == dt.timedelta(days=SERVER_DAYS)


@pytest.mark.parametrize("name", ["localhost", "kms.example.org"])
def test_server_certificate_passes_path_validation(tmp_path: Path, name: str) -> None:
    """By a verifier that isn't ours, with the profile of the web."""
    tls = made(tmp_path, ["kms.example.org"])
    store = verification.Store([tls.authority.certificate])
    verifier = verification.PolicyBuilder().store(store).time(at(NOW)).build_server_verifier(x509.DNSName(name))
    assert len(verifier.verify(parsed(tls.server), [])) == 2


def test_client_certificate_passes_path_validation(tmp_path: Path) -> None:
    """Named by a URI alone, by a common name as well; for clients only."""
    authority = made(tmp_path).authority
    issued = issue_client_certificate(
        authority, lambda: NOW, days=30, uri_san="spiffe://example.org/app", common_name="app"
    )
    store = verification.Store([authority.certificate])
    client = verification.PolicyBuilder().store(store).time(at(NOW)).build_client_verifier()
    verified = client.verify(parsed(issued), [])
    assert names_of(verified.chain[0]) == {"spiffe://example.org/app"}
    server = verification.PolicyBuilder().store(store).time(at(NOW)).build_server_verifier(x509.DNSName("app"))
    with pytest.raises(verification.VerificationError):
        server.verify(parsed(issued), [])


def test_names_of_client_certificates(tmp_path: Path) -> None:
    """The subject is empty without a common name, and the alternative names critical then (RFC 5280)."""
    authority = made(tmp_path).authority
    by_uri = parsed(issue_client_certificate(authority, lambda: NOW, days=1, uri_san="spiffe://example.org/a"))
    assert by_uri.subject.rfc4514_string() == ""
    assert by_uri.extensions.get_extension_for_class(x509.SubjectAlternativeName).critical
    by_name = parsed(issue_client_certificate(authority, lambda: NOW, days=1, common_name="ops"))
    assert by_name.subject.rfc4514_string() == "CN=ops"
    with pytest.raises(x509.ExtensionNotFound):
        by_name.extensions.get_extension_for_class(x509.SubjectAlternativeName)


@pytest.mark.parametrize(
    ("days", "uri_san", "common_name"),
    [
        (0, None, "a"),
        (-1, None, "a"),
        (398, None, "a"),
        (1, None, None),
        (1, "", None),
        (1, "no-uri", None),
        (1, "spiffe://exämple.org/a", None),
        (1, "spiffe://a b", None),
        (1, "spiffe://" + "a" * 2_001, None),
        (1, None, ""),
        (1, None, "a" * 65),
        (1, None, "a\nb"),
    ],
)
def test_client_certificates_that_are_not_issued(
    tmp_path: Path, days: int, uri_san: str | None, common_name: str | None
) -> None:
    """Names and terms that make no sense."""
    authority = made(tmp_path).authority
    with pytest.raises(ValueError, match=r"certificate|name"):
        issue_client_certificate(authority, lambda: NOW, days=days, uri_san=uri_san, common_name=common_name)


def test_nothing_outlives_the_authority(tmp_path: Path) -> None:
    """The last certificates end with it."""
    authority = made(tmp_path).authority
    late = NOW + (AUTHORITY_DAYS - 10) * DAY
    issued = issue_client_certificate(authority, lambda: late, days=30, common_name="a")
    assert parsed(issued).not_valid_after_utc == authority.certificate.not_valid_after_utc


def test_second_start_changes_nothing(tmp_path: Path) -> None:
    """As long as the names are the same and the end is far."""
    first = made(tmp_path, ["kms.example.org"])
    second = made(tmp_path, ["KMS.example.org"], NOW + (SERVER_DAYS - RENEW_BEFORE_DAYS - 1) * DAY)
    assert second.server == first.server
    assert second.authority.pem == first.authority.pem


@pytest.mark.parametrize(
    ("names", "now"),
    [
        (["kms.example.org"], NOW + (SERVER_DAYS - RENEW_BEFORE_DAYS) * DAY),
        (["kms.example.org"], NOW + 2 * SERVER_DAYS * DAY),
        (["kms.example.org"], NOW - 30 * DAY),
        (["other.example.org"], NOW),
        ([], NOW),
        (["kms.example.org", "192.0.2.1"], NOW),
    ],
    ids=["ends soon", "has ended", "clock was ahead", "other name", "name less", "name more"],
)
def test_renewal(tmp_path: Path, names: list[str], now: float) -> None:
    """The server's certificate and key are made anew, the authority stays."""
    first = made(tmp_path, ["kms.example.org"])
    second = made(tmp_path, names, now)
    assert second.server.key != first.server.key
    assert names_of(parsed(second.server)) == LOCAL | set(names)
    assert second.authority.pem == first.authority.pem
    assert stat.S_IMODE((tmp_path / "server.key").stat().st_mode) == 0o600


@pytest.mark.parametrize("spoilt", ["server.crt", "server.key"])
@pytest.mark.parametrize("content", [b"", b"nonsense", None], ids=["empty", "nonsense", "missing"])
def test_spoilt_server_files_are_replaced(tmp_path: Path, spoilt: str, content: bytes | None) -> None:
    """They are only of use together."""
    made(tmp_path)
    if content is None:
        (tmp_path / spoilt).unlink()
    else:
        (tmp_path / spoilt).write_bytes(content)
    second = made(tmp_path)
    key = serialization.load_pem_private_key(second.server.key, password=None)
    assert key.public_key() == parsed(second.server).public_key()


def test_pair_that_does_not_match_is_replaced(tmp_path: Path) -> None:
    """As a crash between the two files would leave it."""
    other = made(tmp_path / "other")
    made(tmp_path / "tls")
    (tmp_path / "tls" / "server.key").write_bytes(other.server.key)
    assert made(tmp_path / "tls").server.key != other.server.key


def test_certificate_of_another_authority_is_replaced(tmp_path: Path) -> None:
    """A server certificate is good only under the authority beside it."""
    other = made(tmp_path / "other")
    made(tmp_path / "tls")
    (tmp_path / "tls" / "server.crt").write_bytes(other.server.certificate)
    (tmp_path / "tls" / "server.key").write_bytes(other.server.key)
    second = made(tmp_path / "tls")
    parsed(second.server).verify_directly_issued_by(second.authority.certificate)


@pytest.mark.parametrize("name", ["ca.key", "server.key"])
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o777, 0o610])
def test_loose_permissions(tmp_path: Path, name: str, mode: int) -> None:
    """A key that others could have read is not used."""
    made(tmp_path)
    (tmp_path / name).chmod(mode)
    with pytest.raises(CertificatesRefused, match="open to others"):
        made(tmp_path)


def test_key_behind_a_link(tmp_path: Path) -> None:
    """A link could point anywhere."""
    made(tmp_path)
    (tmp_path / "ca.key").rename(tmp_path / "elsewhere")
    (tmp_path / "ca.key").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(CertificatesRefused, match="regular file"):
        load_authority(tmp_path)


def test_lost_authority_key(tmp_path: Path) -> None:
    """No new authority takes the place of one that clients trust."""
    made(tmp_path)
    (tmp_path / "ca.key").unlink()
    with pytest.raises(CertificatesRefused, match="isn't"):
        made(tmp_path)


def test_lost_authority_certificate(tmp_path: Path) -> None:
    """One of the same name and key is as good: who trusts the old one trusts what is issued now."""
    first = made(tmp_path)
    (tmp_path / "ca.crt").unlink()
    second = made(tmp_path)
    issued = issue_client_certificate(second.authority, lambda: NOW, days=1, common_name="a")
    parsed(issued).verify_directly_issued_by(first.authority.certificate)


def test_expired_authority(tmp_path: Path) -> None:
    """The operator must make a new one; clients have to be told."""
    made(tmp_path)
    with pytest.raises(CertificatesRefused, match="expired"):
        made(tmp_path, (), NOW + (AUTHORITY_DAYS + 1) * DAY)


@pytest.mark.parametrize("name", ["ca.crt", "ca.key"])
@pytest.mark.parametrize(
    "content", [b"", b"nonsense", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"]
)
def test_unreadable_authority(tmp_path: Path, name: str, content: bytes) -> None:
    """Is left as it is, for the operator to look at."""
    made(tmp_path)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CertificatesRefused, match="can't be read"):
        made(tmp_path)
    assert (tmp_path / name).read_bytes() == content


def test_authority_that_does_not_fit_together(tmp_path: Path) -> None:
    """Certificate and key of two authorities; a server's certificate; a key of another kind."""
    first, second = made(tmp_path / "a"), made(tmp_path / "b")
    (tmp_path / "a" / "ca.crt").write_bytes(second.authority.pem)
    with pytest.raises(CertificatesRefused, match="belong together"):
        load_authority(tmp_path / "a")
    (tmp_path / "a" / "ca.crt").write_bytes(first.server.certificate)
    (tmp_path / "a" / "ca.key").write_bytes(first.server.key)
    with pytest.raises(CertificatesRefused, match="no certificate of an authority"):
        load_authority(tmp_path / "a")
    key = rsa.generate_private_key(public_exponent=65_537, key_size=2_048)
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (tmp_path / "b" / "ca.key").write_bytes(pem)
    with pytest.raises(CertificatesRefused, match="elliptic curve"):
        load_authority(tmp_path / "b")


@pytest.mark.parametrize(
    "name",
    ["", " ", "a b", "-a.example.org", "a..b", "a_b", "a" * 64, "x." * 127 + "xx", "ü.example.org", "a\n", "*"],
)
def test_names_that_are_none(tmp_path: Path, name: str) -> None:
    """Neither DNS name nor address."""
    with pytest.raises(CertificatesRefused, match="neither"):
        made(tmp_path, [name])


def test_host_names_can_stand_in_a_certificate(tmp_path: Path) -> None:
    """Whatever this machine is called."""
    made(tmp_path, host_names())


def test_keys_are_not_shown(tmp_path: Path) -> None:
    """Not in reprs."""
    tls = made(tmp_path)
    assert "PRIVATE KEY" not in repr(tls)
    assert "key" not in repr(tls.authority)
