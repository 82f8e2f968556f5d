"""The ways to a real server: TLS with a token, mutual TLS, a Unix socket, plaintext on loopback; and the wrong ones."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.devserver import DevServer, running_server
from tests.support.forked import run_forked

from kagitori.kms.v1.credentials_pb2 import (
    CreateTokenRequest,
    GetCallerIdentityRequest,
    RegisterCertificateRequest,
    RevokeTokenRequest,
)
from kagitori.kms.v1.keys_pb2 import CreateKeyRequest
from kagitori.kms.v1.principals_pb2 import CreateUserRequest
from kagitori_client import (
    BearerToken,
    Connection,
    ConnectionFailed,
    KmsClient,
    NoUsableKey,
    Retries,
    ServiceError,
    Settings,
    load_settings,
    parse_endpoint,
)
from kagitori_client.envelope import Envelope, KeysOfMessage, NamedKeys

SPIFFE = "spiffe://example.org/connections"
ONCE = Retries(attempts=1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("connections")


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[DevServer]:
    arguments = [
        "--set", "service.regions=us-east-1,eu-central-1",
        "--grpc-mtls-listen", "127.0.0.1:0",
        "--grpc-plaintext-listen", "127.0.0.1:0",
        "--grpc-socket", str(folder / "kms.sock"),
        "--socket-principal", "arn:aws:iam::000000000000:root",
    ]
    with running_server(arguments) as running:
        yield running


def _settings(server: DevServer) -> Settings:
    return load_settings(environment=server.environment())


def _whoami(client: KmsClient) -> str:
    return client.admin.GetCallerIdentity(GetCallerIdentityRequest()).arn


def _administrator(server: DevServer) -> KmsClient:
    return KmsClient.from_settings(_settings(server))


def test_tls_and_token(server: DevServer) -> None:
    with _administrator(server) as client:
        assert _whoami(client) == "arn:aws:iam::000000000000:root"


def test_plaintext_on_loopback(server: DevServer) -> None:
    there = f"http://{server.addresses['grpc_plaintext']}"
    token = Settings(endpoint=there, token_file=server.variables["KAGITORI_TOKEN_FILE"])
    with KmsClient.from_settings(token) as client:
        assert _whoami(client) == "arn:aws:iam::000000000000:root"


def test_arn_says_which_region_to_call(server: DevServer) -> None:
    there = (("kagitori-region", "eu-central-1"),)
    with _administrator(server) as client:
        arn = client.keys.CreateKey(CreateKeyRequest(), metadata=there).key_metadata.arn
        assert ":eu-central-1:" in arn
        envelope = Envelope(client)
        message = envelope.encrypt_bytes(b"x", keys=NamedKeys((arn,)))
        for choice in (NamedKeys((arn,)), KeysOfMessage()):
            assert envelope.decrypt_bytes(message, keys=choice) == b"x"
        # A bare id is one of the client's own Region.
        with pytest.raises(NoUsableKey):
            envelope.decrypt_bytes(message, keys=NamedKeys((arn.rpartition("/")[2],)))


def test_unix_socket_needs_no_credential(server: DevServer, folder: Path) -> None:
    with KmsClient.from_settings(Settings(endpoint=f"unix://{folder}/kms.sock")) as client:
        assert _whoami(client) == "arn:aws:iam::000000000000:root"


def test_mutual_tls(server: DevServer, folder: Path) -> None:
    data = Path(server.variables["KAGITORI_CA_FILE"]).parents[1]
    words = ["client-certificate", "--data-dir", str(data), "--uri", SPIFFE, "--out", str(folder / "me")]
    done = run_forked(words, folder, {"PATH": os.environ["PATH"]})
    assert done.returncode == 0, done.stderr
    settings = Settings(
        endpoint=f"https://{server.addresses['grpc_mtls']}",
        ca_file=server.variables["KAGITORI_CA_FILE"],
        cert_file=str(folder / "me.crt"),
        key_file=str(folder / "me.key"),
    )
    with KmsClient.from_settings(settings) as client:
        with pytest.raises(ServiceError) as unknown:
            _whoami(client)
        assert unknown.value.code == "UnrecognizedClientException"
        with _administrator(server) as administrator:
            user = administrator.admin.CreateUser(CreateUserRequest(user_name="by-certificate")).user
            administrator.admin.RegisterCertificate(
                RegisterCertificateRequest(principal_arn=user.arn, uri_san=SPIFFE)
            )
        assert _whoami(client) == user.arn


def test_mutual_tls_without_certificate(server: DevServer) -> None:
    settings = Settings(
        endpoint=f"https://{server.addresses['grpc_mtls']}", ca_file=server.variables["KAGITORI_CA_FILE"]
    )
    with KmsClient(Connection.from_settings(settings), retries=ONCE) as client, pytest.raises(ConnectionFailed):
        _whoami(client)


def test_server_that_the_ca_does_not_vouch_for(server: DevServer) -> None:
    endpoint = parse_endpoint(server.variables["KAGITORI_ENDPOINT"])
    with KmsClient(Connection(endpoint), retries=ONCE) as client, pytest.raises(ConnectionFailed) as failed:
        _whoami(client)
    assert "CA" in (failed.value.hint or "")


def test_server_of_another_name(server: DevServer) -> None:
    host, _, port = server.variables["KAGITORI_ENDPOINT"].rpartition(":")
    # The certificate is for 127.0.0.1 and localhost; 127.0.0.2 reaches the same machine under another name.
    elsewhere = parse_endpoint(f"{host.replace('127.0.0.1', '127.0.0.2')}:{port}")
    roots = Path(server.variables["KAGITORI_CA_FILE"]).read_bytes()
    connection = Connection(elsewhere, roots=roots)
    with KmsClient(connection, retries=ONCE) as client, pytest.raises(ConnectionFailed):
        _whoami(client)


def test_credentials_that_are_none(server: DevServer) -> None:
    settings = _settings(server)
    connection = Connection.from_settings(settings)
    with KmsClient(Connection(connection.endpoint, roots=connection.roots)) as nobody:
        with pytest.raises(ServiceError) as refused:
            _whoami(nobody)
        assert refused.value.code == "MissingAuthenticationTokenException"
    wrong = BearerToken("kgt_" + "w" * 43)
    with KmsClient(Connection(connection.endpoint, token=wrong, roots=connection.roots)) as stranger:
        with pytest.raises(ServiceError) as refused:
            _whoami(stranger)
        assert refused.value.code == "UnrecognizedClientException"
        assert wrong.reveal() not in str(refused.value)


def test_revoked_token_ends_at_once(server: DevServer) -> None:
    connection = Connection.from_settings(_settings(server))
    with _administrator(server) as administrator:
        user = administrator.admin.CreateUser(CreateUserRequest(user_name="revoked")).user
        made = administrator.admin.CreateToken(CreateTokenRequest(principal_arn=user.arn))
        mine = Connection(connection.endpoint, token=BearerToken(made.token), roots=connection.roots)
        with KmsClient(mine) as client:
            assert _whoami(client) == user.arn
            administrator.admin.RevokeToken(RevokeTokenRequest(token_id=made.token_id))
            with pytest.raises(ServiceError) as refused:
                _whoami(client)
            assert refused.value.code == "UnrecognizedClientException"
