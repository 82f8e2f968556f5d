"""Who a caller is on each listener of a real server: tokens, client certificates, the Unix socket."""

from __future__ import annotations

import socket
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from tests.support.operated import OperatedServer, Stubs, bearer, command, refused

from kagitori.kms.v1 import credentials_pb2, principals_pb2
from kagitori_server.bootstrap.certificates import Issued, issue_client_certificate, prepare

FREE = "127.0.0.1:0"
URI = "spiffe://example/app"
UNKNOWN = (grpc.StatusCode.UNAUTHENTICATED, "UNRECOGNIZED_CLIENT")
NOBODY = (grpc.StatusCode.UNAUTHENTICATED, "MISSING_AUTHENTICATION_TOKEN")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OperatedServer]:
    """A server with a listener of each kind; its socket stands for nobody."""
    folder = tmp_path_factory.mktemp("identity")
    listeners = (
        "--grpc-mtls-listen", FREE, "--grpc-plaintext-listen", FREE, "--grpc-socket", str(folder / "k.sock"),
        "--metrics-listen", FREE, "--log-level", "warning",
    )
    with OperatedServer(folder / "data", *listeners) as operated:
        yield operated
        assert operated.terminate() == 0
        assert operated.log == ""
        assert not (folder / "k.sock").exists()


@pytest.fixture(scope="module")
def root(server: OperatedServer) -> Iterator[Stubs]:
    """The root user over TLS."""
    with server.stubs() as stubs:
        yield stubs


def _written(prefix: Path, issued: Issued) -> Path:
    prefix.with_suffix(".crt").write_bytes(issued.certificate)
    prefix.with_suffix(".key").write_bytes(issued.key)
    return prefix


def _certificate(server: OperatedServer, prefix: Path, *names: str) -> Path:
    done = command("client-certificate", "--data-dir", server.data, *names, "--out", prefix, cwd=prefix.parent)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"Wrote {prefix}.crt and {prefix}.key\n"
    assert stat.S_IMODE(prefix.with_suffix(".key").stat().st_mode) == 0o600
    return prefix


def test_certificate_mapped_by_its_uri(server: OperatedServer, root: Stubs, tmp_path: Path) -> None:
    """Unmapped it is nobody; mapped it is that user; with the mapping gone it is nobody again."""
    arn = root.make_user("by-uri")
    with server.mutual(_certificate(server, tmp_path / "app", "--uri", URI)) as app:
        assert refused(app.whoami) == UNKNOWN
        made = root.admin.RegisterCertificate(
            credentials_pb2.RegisterCertificateRequest(principal_arn=arn, uri_san=URI)
        )
        assert app.whoami() == arn
        assert refused(lambda: app.whoami(**bearer(server.root_token))) == UNKNOWN
        root.admin.DeregisterCertificate(
            credentials_pb2.DeregisterCertificateRequest(certificate_id=made.certificate_id)
        )
        assert refused(app.whoami) == UNKNOWN


def test_certificate_mapped_by_its_subject(server: OperatedServer, root: Stubs, tmp_path: Path) -> None:
    """The whole subject counts, not a part of it."""
    arn = root.make_user("by-subject")
    root.admin.RegisterCertificate(credentials_pb2.RegisterCertificateRequest(principal_arn=arn, subject="CN=app 7"))
    with server.mutual(_certificate(server, tmp_path / "app", "--common-name", "app 7")) as app:
        assert app.whoami() == arn
    for number, name in enumerate(("app", "app 70", "APP 7", "app 7,CN=app 7")):
        with server.mutual(_certificate(server, tmp_path / f"other-{number}", "--common-name", name)) as other:
            assert refused(other.whoami) == UNKNOWN, name


def test_certificate_of_a_role_opens_a_session(server: OperatedServer, root: Stubs, tmp_path: Path) -> None:
    """Named when the mapping was made."""
    role = root.admin.CreateRole(principals_pb2.CreateRoleRequest(role_name="certified")).role.arn
    root.admin.RegisterCertificate(
        credentials_pb2.RegisterCertificateRequest(
            principal_arn=role, uri_san="spiffe://example/role", session_name="pod-1"
        )
    )
    with server.mutual(_certificate(server, tmp_path / "role", "--uri", "spiffe://example/role")) as app:
        assert app.whoami() == "arn:aws:sts::000000000000:assumed-role/certified/pod-1"


def test_certificates_that_cannot_connect(server: OperatedServer, root: Stubs, tmp_path: Path) -> None:
    """Of a foreign authority, with a mapped name; expired; none at all; the server's own, which is for servers."""
    arn = root.make_user("impersonated")
    uri = "spiffe://example/impersonated"
    root.admin.RegisterCertificate(credentials_pb2.RegisterCertificateRequest(principal_arn=arn, uri_san=uri))
    own = prepare(server.data / "tls", (), time.time).authority
    foreign = prepare(tmp_path / "foreign", (), time.time).authority
    expired = issue_client_certificate(own, lambda: time.time() - 3 * 86_400, days=1, uri_san=uri)
    prefixes = [
        _written(tmp_path / "foreign-app", issue_client_certificate(foreign, time.time, days=1, uri_san=uri)),
        _written(tmp_path / "expired-app", expired),
        server.data / "tls" / "server",
    ]
    for prefix in prefixes:
        with server.mutual(prefix) as stubs:
            assert refused(lambda: stubs.whoami(timeout=5))[0] is grpc.StatusCode.UNAVAILABLE, prefix
    authority = grpc.ssl_channel_credentials((server.data / "tls" / "ca.crt").read_bytes())
    with Stubs(grpc.secure_channel(server.addresses["grpc_mtls"], authority)) as bare:
        assert refused(lambda: bare.whoami(timeout=5, **bearer(server.root_token)))[0] is grpc.StatusCode.UNAVAILABLE


def test_certificate_names_that_are_refused(server: OperatedServer, tmp_path: Path) -> None:
    """Bad words of the sub-command end with one line and no file."""
    for words in (
        [], ["--uri", "no-uri"], ["--uri", "spiffe://with space"], ["--common-name", ""], ["--common-name", "x" * 65],
        ["--uri", URI, "--days", "0"], ["--uri", URI, "--days", "398"],
    ):
        done = command(
            "client-certificate", "--data-dir", server.data, *words, "--out", tmp_path / "x", cwd=tmp_path
        )
        assert done.returncode == 1, words
        assert len(done.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []
    done = command("client-certificate", "--data-dir", server.data, "--uri", URI, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "Wrote client.crt and client.key\n")


def test_tls_listener_takes_tokens_alone(server: OperatedServer, tmp_path: Path) -> None:
    """A client certificate isn't even asked for there; without a token nobody calls."""
    authority = (server.data / "tls" / "ca.crt").read_bytes()
    prefix = _certificate(server, tmp_path / "any", "--uri", URI)
    shown = grpc.ssl_channel_credentials(authority, *(Path(f"{prefix}.{part}").read_bytes() for part in ("key", "crt")))
    with Stubs(grpc.secure_channel(server.addresses["grpc"], shown)) as stubs:
        assert refused(stubs.whoami) == NOBODY
        assert stubs.whoami(**bearer(server.root_token)).endswith(":root")
        for token in ("kgt_" + "A" * 43, server.root_token[:-1], server.root_token + "A", "root"):
            assert refused(lambda: stubs.whoami(**bearer(token))) == UNKNOWN, token  # noqa: B023 - called at once
    with Stubs(grpc.secure_channel(server.addresses["grpc"], grpc.ssl_channel_credentials(
        prepare(tmp_path / "wrong", (), time.time).authority.pem
    ))) as stranger:
        assert refused(lambda: stranger.whoami(timeout=5))[0] is grpc.StatusCode.UNAVAILABLE


def test_socket_that_stands_for_nobody(server: OperatedServer) -> None:
    """Mode 0600; calls need a token there too."""
    mode = Path(server.addresses["socket"]).stat().st_mode
    assert stat.S_ISSOCK(mode)
    assert stat.S_IMODE(mode) == 0o600
    for kind in ("socket", "grpc_plaintext"):
        with server.plain(kind) as stubs:
            assert refused(stubs.whoami) == NOBODY
            assert stubs.whoami(**bearer(server.root_token)).endswith(":root")


@pytest.mark.parametrize("kind", ["user", "role"])
def test_socket_that_stands_for_somebody(server: OperatedServer, root: Stubs, tmp_path: Path, kind: str) -> None:
    """A stale socket's place is taken, a listening one's isn't; a token still says who calls."""
    if kind == "user":
        principal = expected = root.make_user("sidecar")
    else:
        principal = root.admin.CreateRole(principals_pb2.CreateRoleRequest(role_name="sidecar")).role.arn
        expected = "arn:aws:sts::000000000000:assumed-role/sidecar/socket"
    path = tmp_path / "s.sock"
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))
    arguments = ("--grpc-socket", str(path), "--socket-principal", principal, "--log-level", "warning")
    with OperatedServer(server.data, *arguments, listen="") as operated:
        with operated.plain("socket") as stubs:
            assert stubs.whoami() == expected
            assert stubs.whoami(**bearer(server.root_token)).endswith(":root")
            assert refused(lambda: stubs.whoami(**bearer("kgt_" + "A" * 43))) == UNKNOWN
        if kind == "user":
            done = command("--data-dir", server.data, "--grpc-listen", "", *arguments, cwd=tmp_path)
            assert done.returncode == 1
            assert f"Another server listens on {path}" in done.stderr
        assert operated.terminate() == 0
    assert not path.exists()


def test_own_server_certificate(server: OperatedServer, tmp_path: Path) -> None:
    """The files that the operator names are shown; a pair that doesn't fit, or a readable key, is refused."""
    other = prepare(tmp_path / "own", (), time.time)
    files = _written(tmp_path / "front", other.server)
    files.with_suffix(".key").chmod(0o600)
    settings = (
        "--set", f"tls.certificate_file={files}.crt", "--set", f"tls.key_file={files}.key",
        "--log-level", "warning",
    )
    with OperatedServer(server.data, *settings, "--grpc-mtls-listen", FREE) as operated:
        token = grpc.access_token_call_credentials(server.root_token)
        credentials = grpc.composite_channel_credentials(grpc.ssl_channel_credentials(other.authority.pem), token)
        with Stubs(grpc.secure_channel(operated.addresses["grpc"], credentials)) as stubs:
            assert stubs.whoami().endswith(":root")
        with operated.stubs() as stubs:
            assert refused(lambda: stubs.whoami(timeout=5))[0] is grpc.StatusCode.UNAVAILABLE
        assert operated.terminate() == 0
    arguments = ("--data-dir", server.data, "--grpc-listen", FREE, *settings)
    files.with_suffix(".key").chmod(0o640)
    done = command(*arguments, cwd=tmp_path)
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
    assert f"{files}.key can be read by others" in done.stderr
    files.with_suffix(".key").chmod(0o600)
    files.with_suffix(".key").write_bytes((server.data / "tls" / "server.key").read_bytes())
    done = command(*arguments, cwd=tmp_path)
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
    assert "don't belong together" in done.stderr
    files.with_suffix(".key").write_text("-----BEGIN PRIVATE KEY-----\nmarked\n-----END PRIVATE KEY-----\n")
    done = command(*arguments, cwd=tmp_path)
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
    assert "marked" not in done.stderr
    files.with_suffix(".crt").write_text("no certificate")
    done = command(*arguments, cwd=tmp_path)
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)


def test_health_and_reflection_answer_everywhere(server: OperatedServer, tmp_path: Path) -> None:
    """Without a token, on every listener; mutual TLS needs a certificate of the authority, mapped or not."""
    mutual = server.mutual(_certificate(server, tmp_path / "probe", "--uri", "spiffe://example/probe"))
    authority = grpc.ssl_channel_credentials((server.data / "tls" / "ca.crt").read_bytes())
    tls = Stubs(grpc.secure_channel(server.addresses["grpc"], authority))
    for stubs in (mutual, tls, server.plain("grpc_plaintext"), server.plain("socket")):
        with stubs:
            health = health_pb2_grpc.HealthStub(stubs.channel)
            answer = health.Check(health_pb2.HealthCheckRequest())
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
            services = set(ProtoReflectionDescriptorDatabase(stubs.channel).get_services())
            assert {
                "grpc.health.v1.Health", "kagitori.kms.v1.KeyService", "kagitori.kms.v1.CryptoService",
                "kagitori.kms.v1.AdminService",
            } <= services
