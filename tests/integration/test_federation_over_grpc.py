"""Workloads on a real server: tokens of a real HTTPS issuer over TLS, X.509-SVIDs over mutual TLS, our own client."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from tests.support.inprocess import HOME, REGION
from tests.support.issuer import AUDIENCE, Issuer
from tests.support.whole_server import Caller, WholeServer

from kagitori.kms.v1.credentials_pb2 import GetCallerIdentityRequest
from kagitori_client import Connection, KmsClient, ServiceError, TokenFile, parse_endpoint
from kagitori_server.bootstrap.certificates import issue_client_certificate, load_authority, prepare

ROLE = f"arn:aws:iam::{HOME}:role/workloads"
SUBJECT = "system:serviceaccount:shop:orders"
CLAIMS = {
    "aud": [AUDIENCE], "sub": SUBJECT,
    "kubernetes.io": {"namespace": "shop", "serviceaccount": {"name": "orders", "uid": "b6c8b1f4"}},
}


@pytest.fixture(scope="module")
def issuer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Issuer]:
    """Speaks HTTPS, with a certificate of an authority of its own in `folder/ca.crt`."""
    folder = tmp_path_factory.mktemp("issuer")
    prepare(folder, (), time.time)
    with Issuer(folder / "server.crt", folder / "server.key", now=time.time()) as opened:
        yield opened


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, issuer: Issuer) -> Iterator[WholeServer]:
    settings: dict[str, dict[str, Any]] = {
        "listen": {"grpc": "127.0.0.1:0", "grpc_mtls": "127.0.0.1:0"},
        "service": {"region": REGION}, "limits": {"shutdown_seconds": 5.0}, "log": {"level": "error"},
        "oidc": {"ca_file": str(issuer.folder / "ca.crt")},
    }
    with WholeServer(tmp_path_factory.mktemp("whole") / "data", settings) as opened:
        yield opened


@pytest.fixture(scope="module")
def root(server: WholeServer, issuer: Issuer) -> Iterator[Caller]:
    """The root user, who lets service accounts of the namespace `shop` in."""
    provider = f"arn:aws:iam::{HOME}:oidc-provider/{issuer.name}"
    trust = {"Version": "2012-10-17", "Statement": [{
        "Effect": "Allow", "Principal": {"Federated": provider},
        "Action": ["sts:AssumeRoleWithWebIdentity", "sts:TagSession"],
        "Condition": {"StringLike": {f"{issuer.name}:sub": "system:serviceaccount:shop:*"}},
    }]}
    with server.tls() as channel:
        caller = Caller(channel, server.root_token)
        caller("CreateRole", role_name="workloads", assume_role_policy_document=json.dumps(trust))
        caller(
            "CreateOidcProvider", issuer_url=issuer.url, audiences=[AUDIENCE], role_arn=ROLE,
            tag_claims={"namespace": "/kubernetes.io/namespace", "sa": "/kubernetes.io/serviceaccount/name"},
        )
        yield caller


def test_a_service_account(server: WholeServer, root: Caller, issuer: Issuer) -> None:
    """May use the key that its namespace and name open, and no other; another namespace doesn't get in."""
    policy = {"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{HOME}:root"}, "Action": "kms:*", "Resource": "*"},
        {
            "Effect": "Allow", "Principal": {"AWS": ROLE}, "Action": ["kms:Encrypt", "kms:Decrypt"], "Resource": "*",
            "Condition": {"StringEquals": {"aws:PrincipalTag/namespace": "shop", "aws:PrincipalTag/sa": "orders"}},
        },
    ]}
    key = root("CreateKey", policy=json.dumps(policy)).key_metadata
    with server.tls() as channel:
        orders = Caller(channel, issuer.token(**CLAIMS))
        assert orders("GetCallerIdentity").arn.startswith(
            f"arn:aws:sts::{HOME}:assumed-role/workloads/system-serviceaccount-shop-orders-"
        )
        sealed = orders("Encrypt", key_id=key.key_id, plaintext=b"order 1").ciphertext_blob
        assert orders("Decrypt", ciphertext_blob=sealed).plaintext == b"order 1"
        # The same name in another namespace, which the issuer says so, is nobody here.
        for claims, code in (
            ({**CLAIMS, "sub": "system:serviceaccount:other:orders"}, grpc.StatusCode.PERMISSION_DENIED),
            ({**CLAIMS, "exp": int(time.time()) - 1}, grpc.StatusCode.UNAUTHENTICATED),
            ({**CLAIMS, "aud": "https://kubernetes.default.svc"}, grpc.StatusCode.UNAUTHENTICATED),
        ):
            with pytest.raises(grpc.RpcError) as refused:
                Caller(channel, issuer.token(**claims))("Decrypt", ciphertext_blob=sealed)
            error: Any = refused.value
            assert error.code() is code
        web = {**CLAIMS, "sub": "system:serviceaccount:shop:web"}
        web["kubernetes.io"] = {"namespace": "shop", "serviceaccount": {"name": "web"}}
        with pytest.raises(grpc.RpcError, match="not authorized to perform: kms:Decrypt"):
            Caller(channel, issuer.token(**web))("Decrypt", ciphertext_blob=sealed)
    records = [json.loads(line)["event"] for path in server.data.audit.rglob("*.jsonl")
               for line in path.read_text().splitlines()]
    used = next(record for record in records if record["eventName"] == "Decrypt" and "errorCode" not in record)
    assert used["userIdentity"]["sessionContext"]["webIdFederationData"]["federatedProvider"].endswith(issuer.name)


def test_the_longest_token(server: WholeServer, root: Caller, issuer: Issuer) -> None:
    """8 KiB come through gRPC's metadata; one byte more is refused, not lost."""
    spare = 8_192 - len(issuer.token(**CLAIMS, pad=""))
    text = "x" * (spare * 3 // 4)
    while len(issuer.token(**CLAIMS, pad=text)) < 8_190:
        text += "x"
    with server.tls() as channel:
        assert Caller(channel, issuer.token(**CLAIMS, pad=text))("GetCallerIdentity").account_id == HOME
        with pytest.raises(grpc.RpcError) as refused:
            Caller(channel, issuer.token(**CLAIMS, pad=text + "xxx"))("GetCallerIdentity")
        error: Any = refused.value
        assert error.code() is grpc.StatusCode.UNAUTHENTICATED


def test_a_token_file_that_rotates(server: WholeServer, root: Caller, issuer: Issuer, tmp_path: Path) -> None:
    """Our client goes on with the token that Kubernetes puts in the old one's place."""
    path = tmp_path / "token"
    path.write_text(issuer.token(**CLAIMS))
    path.chmod(0o644)
    endpoint = parse_endpoint(f"https://{server.addresses.grpc}")
    connection = Connection(endpoint, token=TokenFile(path), roots=server.authority)
    with KmsClient(connection) as client:
        first = client.admin.GetCallerIdentity(GetCallerIdentityRequest()).arn
        (tmp_path / "next").write_text(issuer.token(**{**CLAIMS, "sub": "system:serviceaccount:shop:web"}))
        (tmp_path / "next").replace(path)
        assert client.admin.GetCallerIdentity(GetCallerIdentityRequest()).arn != first
        (tmp_path / "next").write_text(issuer.token(**{**CLAIMS, "exp": int(time.time()) - 5}))
        (tmp_path / "next").replace(path)
        with pytest.raises(ServiceError, match="expired"):
            client.admin.GetCallerIdentity(GetCallerIdentityRequest())


def test_a_pattern_of_svids(server: WholeServer, root: Caller) -> None:
    """X.509-SVIDs of the local authority over mutual TLS are sessions of the role."""
    root("RegisterCertificate", principal_arn=ROLE, uri_san="spiffe://test/ns/*/sa/web")
    authority = load_authority(server.data.tls)
    seen = set()
    for namespace in ("shop", "blog"):
        pair = issue_client_certificate(authority, time.time, days=1, uri_san=f"spiffe://test/ns/{namespace}/sa/web")
        credentials = grpc.ssl_channel_credentials(server.authority, pair.key, pair.certificate)
        with grpc.secure_channel(str(server.addresses.grpc_mtls), credentials) as channel:
            seen.add(Caller(channel)("GetCallerIdentity").arn)
    assert len(seen) == 2
    assert all(arn.startswith(f"arn:aws:sts::{HOME}:assumed-role/workloads/test-ns-") for arn in seen)
