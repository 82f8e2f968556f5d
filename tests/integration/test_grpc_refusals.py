"""What the gRPC host refuses, over real connections, and what of it the pipeline hears."""

from __future__ import annotations

import asyncio
import datetime as dt
import socket
import time
from pathlib import Path

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from grpc import aio
from tests.support.transport import (
    ENCRYPT,
    REQUEST,
    ScriptedPipeline,
    call,
    local_tls,
    make_dispatcher,
    plaintext_listener,
    refused,
    serving,
    tls_files,
    unary,
)

from kagitori.kms.v1 import batch_pb2
from kagitori_server.bootstrap.certificates import Issued, ServerTls, issue_client_certificate
from kagitori_server.operations.table import TABLE
from kagitori_server.transports.grpc.contract import SERVICES, path
from kagitori_server.transports.grpc.host import REQUEST_BYTES_MAX, GrpcHost
from kagitori_server.transports.grpc.listeners import Listener, ListenerKind, ListenerRefused

pytestmark = pytest.mark.asyncio


# --- paths ---


@pytest.mark.parametrize(
    "where",
    [
        "/kagitori.kms.v1.CryptoService/EncryptFaster",
        "/kagitori.kms.v1.KeyService/Encrypt",
        "/kagitori.kms.v1.CryptoService/encrypt",
        "/kagitori.kms.v2.CryptoService/Encrypt",
        "/Encrypt",
        "/grpc.health.v1.Health/Reset",
        "/" + "x" * 3_000,
    ],
)
async def test_unknown_paths(where: str) -> None:
    """Nothing but a whole path of the contract is an operation."""
    pipeline = ScriptedPipeline()
    async with serving(pipeline) as host, aio.insecure_channel(host.addresses[0]) as channel:
        code, info, status = await refused(channel, path=where)
    assert (code, info.reason) == (grpc.StatusCode.UNIMPLEMENTED, "UNKNOWN_OPERATION")
    assert info.metadata["awsErrorType"] == "UnknownOperationException"
    assert len(status.message) < 300
    assert pipeline.calls == []


async def test_who_shows_a_credential_is_recorded_with_unknown_paths() -> None:
    """The pipeline is asked under the whole path, which no row has for its name."""
    pipeline = ScriptedPipeline()
    async with serving(pipeline) as host, aio.insecure_channel(host.addresses[0]) as channel:
        for where in ("/kagitori.kms.v1.KeyService/Encrypt", "/Encrypt"):
            await refused(channel, path=where, metadata=(("authorization", "Bearer kgt_x"),))
    assert [(call.operation, call.evidence.token) for call in pipeline.calls] == [
        ("/kagitori.kms.v1.KeyService/Encrypt", "kgt_x"), ("/Encrypt", "kgt_x"),
    ]
    assert all(call.decode() == {} for call in pipeline.calls)


async def test_operations_of_the_contract_without_a_row() -> None:
    """Every rpc that isn't served yet is answered as unknown, and reaches no pipeline."""
    pipeline = ScriptedPipeline()
    missing = [path(rpc) for service in SERVICES for rpc in service.methods if rpc.name not in TABLE]
    async with serving(pipeline) as host, aio.insecure_channel(host.addresses[0]) as channel:
        for where in missing:
            code, info, _ = await refused(channel, path=where, body=b"")
            assert (code, info.reason) == (grpc.StatusCode.UNIMPLEMENTED, "UNKNOWN_OPERATION")
    assert pipeline.calls == []


# --- bodies ---


async def test_garbage() -> None:
    """Bytes that aren't the request reach the pipeline as a call whose body can't be read, so it's recorded."""
    pipeline = ScriptedPipeline()
    async with serving(pipeline) as host, aio.insecure_channel(host.addresses[0]) as channel:
        code, info, status = await refused(channel, body=b"\xff\xfe\xfd")
    assert (code, info.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "SERIALIZATION")
    assert status.message == "The body of the request is no EncryptRequest."
    assert len(pipeline.calls) == 1
    assert pipeline.requests == []


async def test_message_that_is_too_large() -> None:
    """More than 4 MiB is refused before the dispatcher; as much as that isn't."""
    pipeline = ScriptedPipeline()
    options = [("grpc.max_send_message_length", -1)]
    async with serving(pipeline) as host, aio.insecure_channel(host.addresses[0], options=options) as channel:
        with pytest.raises(aio.AioRpcError) as caught:
            await call(channel, body=b"\x00" * (REQUEST_BYTES_MAX + 1))
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert pipeline.calls == []
        code, _, _ = await refused(channel, body=b"\x00" * REQUEST_BYTES_MAX)
        assert code is grpc.StatusCode.INVALID_ARGUMENT


async def test_metadata_that_is_too_large() -> None:
    """A flood of metadata never reaches the dispatcher."""
    pipeline = ScriptedPipeline()
    async with serving(pipeline) as host, aio.insecure_channel(host.addresses[0]) as channel:
        with pytest.raises(aio.AioRpcError) as caught:
            await call(channel, metadata=(("x", "y" * 20_000),))
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert pipeline.calls == []


# --- metadata ---


async def test_repeated_authorization() -> None:
    """Two tokens are none that could be accepted."""
    pipeline = ScriptedPipeline()
    metadata = (("authorization", "Bearer kgt_a"), ("authorization", "Bearer kgt_b"))
    async with serving(pipeline) as host, aio.insecure_channel(host.addresses[0]) as channel:
        await call(channel, metadata=metadata)
    assert pipeline.calls[0].evidence.token == ""


@pytest.mark.parametrize("region", ["US-EAST-1", "a" * 64, "us_east_1", ""])
async def test_region_that_is_none(region: str) -> None:
    """Is refused where the body is read, so that the pipeline knows who asked and records it."""
    pipeline = ScriptedPipeline()
    async with serving(pipeline) as host, aio.insecure_channel(host.addresses[0]) as channel:
        code, info, _ = await refused(channel, metadata=(("kagitori-region", region),))
    assert (code, info.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "VALIDATION")
    assert pipeline.calls[0].region is None
    assert pipeline.requests == []


# --- TLS ---


async def unreachable(address: str, credentials: grpc.ChannelCredentials | None) -> None:
    """Check that no call gets through."""
    channel = aio.insecure_channel(address) if credentials is None else aio.secure_channel(address, credentials)
    async with channel:
        with pytest.raises(aio.AioRpcError) as caught:
            await unary(channel, ENCRYPT)(REQUEST.SerializeToString(), timeout=5)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


def mutual(tls: ServerTls) -> Listener:
    """A listener that wants client certificates."""
    return Listener("127.0.0.1:0", ListenerKind.MTLS, tls_files(tls))


async def test_server_of_another_authority(tmp_path: Path) -> None:
    """A client that trusts another authority doesn't talk to us."""
    tls, other = local_tls(tmp_path / "a"), local_tls(tmp_path / "b")
    listener = Listener("127.0.0.1:0", ListenerKind.TLS, tls_files(tls))
    async with serving(ScriptedPipeline(), [listener]) as host:
        await unreachable(host.addresses[0], grpc.ssl_channel_credentials(other.authority.pem))


async def test_plaintext_to_a_tls_listener(tmp_path: Path) -> None:
    """TLS isn't optional."""
    listener = Listener("127.0.0.1:0", ListenerKind.TLS, tls_files(local_tls(tmp_path)))
    pipeline = ScriptedPipeline()
    async with serving(pipeline, [listener]) as host:
        await unreachable(host.addresses[0], None)
    assert pipeline.calls == []


async def test_mutual_tls_without_a_certificate(tmp_path: Path) -> None:
    """A token alone doesn't do there."""
    tls = local_tls(tmp_path)
    async with serving(ScriptedPipeline(), [mutual(tls)]) as host:
        await unreachable(host.addresses[0], grpc.ssl_channel_credentials(tls.authority.pem))


async def test_mutual_tls_with_a_certificate_of_another_authority(tmp_path: Path) -> None:
    """Even one of the same name."""
    tls, other = local_tls(tmp_path / "a"), local_tls(tmp_path / "b")
    client = issue_client_certificate(other.authority, time.time, days=1, common_name="app")
    credentials = grpc.ssl_channel_credentials(tls.authority.pem, client.key, client.certificate)
    async with serving(ScriptedPipeline(), [mutual(tls)]) as host:
        await unreachable(host.addresses[0], credentials)


async def test_mutual_tls_with_the_servers_own_certificate(tmp_path: Path) -> None:
    """A certificate for servers proves no client (extended key usage)."""
    tls = local_tls(tmp_path)
    credentials = grpc.ssl_channel_credentials(tls.authority.pem, tls.server.key, tls.server.certificate)
    async with serving(ScriptedPipeline(), [mutual(tls)]) as host:
        await unreachable(host.addresses[0], credentials)


async def test_mutual_tls_with_an_expired_certificate(tmp_path: Path) -> None:
    """Dates are checked."""
    tls = local_tls(tmp_path)
    client = issue_client_certificate(tls.authority, lambda: time.time() - 3 * 86_400, days=1, common_name="app")
    credentials = grpc.ssl_channel_credentials(tls.authority.pem, client.key, client.certificate)
    async with serving(ScriptedPipeline(), [mutual(tls)]) as host:
        await unreachable(host.addresses[0], credentials)


async def test_mutual_tls_with_a_certificate_that_a_client_issued(tmp_path: Path) -> None:
    """The holder of a client certificate is no authority."""
    tls = local_tls(tmp_path)
    client = issue_client_certificate(tls.authority, time.time, days=1, common_name="app")
    forged = forge(client)
    credentials = grpc.ssl_channel_credentials(
        tls.authority.pem, forged.key, forged.certificate + client.certificate
    )
    async with serving(ScriptedPipeline(), [mutual(tls)]) as host:
        await unreachable(host.addresses[0], credentials)


def forge(issuer: Issued) -> Issued:
    """A certificate signed by a client's key."""
    parent = x509.load_pem_x509_certificate(issuer.certificate)
    signing_key = serialization.load_pem_private_key(issuer.key, password=None)
    assert isinstance(signing_key, ec.EllipticCurvePrivateKey)
    key = ec.generate_private_key(ec.SECP256R1())
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "root")]))
        .issuer_name(parent.subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(hours=1))
        .sign(signing_key, hashes.SHA256())
    )
    return Issued(
        certificate.public_bytes(serialization.Encoding.PEM),
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ),
    )


# --- starting ---


@pytest.mark.parametrize("address", ["0.0.0.0:0", "[::]:0"])
async def test_plaintext_on_every_interface(address: str) -> None:
    """The host isn't even made."""
    with pytest.raises(ListenerRefused, match="loopback"):
        GrpcHost(make_dispatcher(ScriptedPipeline()), [Listener(address, ListenerKind.PLAINTEXT)])


async def test_port_that_is_taken() -> None:
    """Two servers don't share a port unless told to."""
    async with serving(ScriptedPipeline()) as first:
        taken = Listener(first.addresses[0], ListenerKind.PLAINTEXT)
        host = GrpcHost(make_dispatcher(ScriptedPipeline()), [plaintext_listener(), taken])
        with pytest.raises(ListenerRefused, match="Can't listen"):
            await host.start()
        assert host.addresses == ()


async def test_ports_are_shared_when_told() -> None:
    """Several processes may listen on one port."""
    first = GrpcHost(make_dispatcher(ScriptedPipeline()), [plaintext_listener()], reuse_port=True)
    await first.start()
    listener = Listener(first.addresses[0], ListenerKind.PLAINTEXT)
    second = GrpcHost(make_dispatcher(ScriptedPipeline()), [listener], reuse_port=True)
    await second.start()
    assert second.addresses == first.addresses
    await asyncio.gather(first.stop(0), second.stop(0))


async def test_socket_of_a_living_server(tmp_path: Path) -> None:
    """The second server doesn't start, the first goes on; one that is gone leaves no trouble behind."""
    listener = Listener(str(tmp_path / "s"), ListenerKind.UNIX)
    async with serving(ScriptedPipeline(), [listener]) as host:
        with pytest.raises(ListenerRefused, match="Another server"):
            await GrpcHost(make_dispatcher(ScriptedPipeline()), [listener]).start()
        async with aio.insecure_channel(f"unix:{host.addresses[0]}") as channel:
            await call(channel)
    with socket.socket(socket.AF_UNIX) as crashed:
        crashed.bind(listener.address)
    async with serving(ScriptedPipeline(), [listener]):
        pass


async def test_broken_certificate(tmp_path: Path) -> None:
    """A certificate that isn't one is told at the start."""
    files = tls_files(local_tls(tmp_path))
    broken = Listener("127.0.0.1:0", ListenerKind.TLS, type(files)(b"nonsense", files.key, None))
    with pytest.raises(ListenerRefused, match="Can't listen"):
        await GrpcHost(make_dispatcher(ScriptedPipeline()), [broken]).start()


async def test_batches_are_decoded_item_by_item() -> None:
    """The pipeline gets the items; how many there may be is its business."""
    pipeline = ScriptedPipeline()
    body = batch_pb2.BatchEncryptRequest(items=[REQUEST] * 2).SerializeToString()
    async with serving(pipeline) as host, aio.insecure_channel(host.addresses[0]) as channel:
        code, _, _ = await refused(channel, path="/kagitori.kms.v1.CryptoService/BatchEncrypt", body=body)
    assert code is grpc.StatusCode.INTERNAL
    assert [item["plaintext"] for item in pipeline.requests[0]["items"]] == [b"secret", b"secret"]
