"""Calls over real connections of each kind: what reaches the pipeline, and what comes back."""

from __future__ import annotations

import asyncio
import logging
import stat
import time
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc.error_details_pb2 import BadRequest, RetryInfo
from grpc import aio
from tests.support.transport import (
    CREATE_KEY,
    ENCRYPT,
    REQUEST,
    ScriptedPipeline,
    call,
    local_tls,
    refused,
    serving,
    tls_files,
    unary,
    until,
)

from kagitori.kms.v1 import crypto_service_pb2_grpc, cryptography_pb2, keys_pb2
from kagitori_server.bootstrap.certificates import issue_client_certificate
from kagitori_server.model.call import TlsFacts
from kagitori_server.model.errors import (
    AccessDeniedException,
    FieldViolation,
    KMSInvalidStateException,
    ThrottlingException,
)
from kagitori_server.transports.grpc.listeners import Listener, ListenerKind

pytestmark = pytest.mark.asyncio

async def test_plaintext_call_reaches_the_pipeline() -> None:
    """Members, evidence and Region arrive; the answer and the request's id return."""
    pipeline = ScriptedPipeline()
    metadata = (("authorization", "Bearer kgt_x"), ("kagitori-region", "eu-central-1"))
    async with serving(pipeline) as host, aio.insecure_channel(host.addresses[0]) as channel:
        body, trailers = await call(channel, metadata=metadata)
    answer = cryptography_pb2.EncryptResponse.FromString(body)
    assert (answer.ciphertext_blob, answer.key_id) == (b"terces", "alias/app")
    assert trailers["kagitori-request-id"] == "request-1"
    (seen,) = pipeline.calls
    assert (seen.operation, seen.request_id, seen.region) == ("Encrypt", "request-1", "eu-central-1")
    assert seen.evidence.token == "kgt_x"
    assert (seen.evidence.source_ip, seen.evidence.local_socket) == ("127.0.0.1", False)
    assert seen.evidence.user_agent.startswith("grpc-python-asyncio/")
    assert seen.evidence.certificate is None
    assert seen.evidence.tls is None
    assert pipeline.requests[0].encryption_context == {"tenant": "t1"}


async def test_generated_stub_understands_the_answer() -> None:
    """The stubs that clients use work against the raw host."""
    async with serving(ScriptedPipeline()) as host, aio.insecure_channel(host.addresses[0]) as channel:
        stub: Any = crypto_service_pb2_grpc.CryptoServiceStub(channel)
        answer = await stub.Encrypt(REQUEST)
    assert answer.ciphertext_blob == b"terces"


async def test_tls_and_mutual_tls(tmp_path: Path) -> None:
    """TLS brings no certificate, mutual TLS brings the caller's, whichever the caller has at hand."""
    tls = local_tls(tmp_path)
    listeners = [
        Listener("localhost:0", ListenerKind.TLS, tls_files(tls)),
        Listener("127.0.0.1:0", ListenerKind.MTLS, tls_files(tls)),
    ]
    client = issue_client_certificate(tls.authority, time.time, days=1, uri_san="spiffe://example.org/app")
    credentials = grpc.ssl_channel_credentials(tls.authority.pem, client.key, client.certificate)
    pipeline = ScriptedPipeline()
    async with serving(pipeline, listeners) as host:
        for address in host.addresses:
            async with aio.secure_channel(address, credentials) as channel:
                await call(channel)
    by_tls, by_mutual_tls = pipeline.calls
    assert by_tls.evidence.certificate is None
    assert by_tls.evidence.tls == by_mutual_tls.evidence.tls == TlsFacts("TLSv1.3", "-")
    assert by_mutual_tls.evidence.certificate == client.certificate
    assert by_mutual_tls.evidence.source_ip == "127.0.0.1"


async def test_unix_socket(tmp_path: Path) -> None:
    """The socket's file is closed to others, marks its calls, and goes away with the server."""
    path = tmp_path / "kagitori.sock"
    pipeline = ScriptedPipeline()
    async with serving(pipeline, [Listener(str(path), ListenerKind.UNIX)]) as host:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert host.addresses == (str(path),)
        async with aio.insecure_channel(f"unix:{path}") as channel:
            await call(channel)
    assert pipeline.calls[0].evidence.local_socket
    assert pipeline.calls[0].evidence.source_ip == ""
    assert not path.exists()


async def test_failure_carries_its_details() -> None:
    """What the pipeline raises arrives as status, ErrorInfo and RetryInfo."""
    async def refuse(_: Any) -> Any:
        raise ThrottlingException("Slow down.", retry_after=1.5)

    async with serving(ScriptedPipeline(refuse)) as host, aio.insecure_channel(host.addresses[0]) as channel:
        code, info, status = await refused(channel)
    assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert (info.reason, info.domain) == ("THROTTLING", "kms.kagitori")
    assert info.metadata["awsErrorType"] == "ThrottlingException"
    retry = RetryInfo()
    assert status.details[1].Unpack(retry)
    assert retry.retry_delay.ToMilliseconds() == 1500


async def test_violations_arrive_as_bad_request() -> None:
    """A request that breaks its limits is answered with the members at fault."""
    body = cryptography_pb2.EncryptRequest(key_id="", plaintext=b"x").SerializeToString()
    async with serving(ScriptedPipeline()) as host, aio.insecure_channel(host.addresses[0]) as channel:
        code, info, status = await refused(channel, body=body)
    assert (code, info.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "VALIDATION")
    bad = BadRequest()
    assert status.details[1].Unpack(bad)
    assert [violation.field for violation in bad.field_violations] == ["key_id"]


async def test_messages_may_hold_any_character() -> None:
    """A message beyond ASCII survives the wire."""
    async def refuse(_: Any) -> Any:
        raise KMSInvalidStateException("鍵 is pending deletion: 100 %\n")

    async with serving(ScriptedPipeline(refuse)) as host, aio.insecure_channel(host.addresses[0]) as channel:
        _, _, status = await refused(channel)
    assert status.message == "鍵 is pending deletion: 100 %\n"


@pytest.mark.parametrize("character", ["x", "%", "\n", "é", "鍵", "\U0001f511"])
async def test_long_messages_and_many_violations_fit_into_the_metadata(character: str) -> None:
    """What a client's default limit on metadata would refuse, at random from half of it on, is cut, not lost."""
    long = character * 100_000

    async def refuse(_: Any) -> Any:
        raise AccessDeniedException(long, violations=tuple(FieldViolation(long, long) for _ in range(10)))

    async with serving(ScriptedPipeline(refuse)) as host, aio.insecure_channel(host.addresses[0]) as channel:
        for _ in range(20):
            code, _, status = await refused(channel)
            assert code is grpc.StatusCode.PERMISSION_DENIED
            assert 100 < len(status.message) < 2000


async def test_mistakes_of_ours_tell_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """An unexpected exception is an internal error; its text reaches neither caller nor log, its place does."""
    async def fail(request: Any) -> Any:
        raise KeyError(request.plaintext)

    with caplog.at_level(logging.ERROR):
        async with serving(ScriptedPipeline(fail)) as host, aio.insecure_channel(host.addresses[0]) as channel:
            code, info, status = await refused(channel)
    assert (code, info.reason) == (grpc.StatusCode.INTERNAL, "KMS_INTERNAL")
    assert "secret" not in status.message
    assert "KeyError" in caplog.text
    assert "test_grpc_calls.py" in caplog.text
    assert "b'secret'" not in caplog.text


async def test_answer_of_the_wrong_class_is_a_mistake_of_ours() -> None:
    """An answer that isn't the row's is never sent."""
    async def answer(_: Any) -> Any:
        return object()

    async with serving(ScriptedPipeline(answer)) as host, aio.insecure_channel(host.addresses[0]) as channel:
        code, _, _ = await refused(channel)
    assert code is grpc.StatusCode.INTERNAL


@pytest.mark.parametrize(("path", "request_of_it"), [
    (CREATE_KEY, REQUEST),
    # Usually done in one go, but not where its key is in another store.
    (ENCRYPT.replace("Encrypt", "GenerateDataKey"), cryptography_pb2.GenerateDataKeyRequest(
        key_id="alias/app", number_of_bytes=32
    )),
])
async def test_a_call_that_is_given_up_is_finished(path: str, request_of_it: Any) -> None:
    """Cancellation by the caller doesn't stop what the pipeline has begun."""
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slow(_: Any) -> Any:
        begun.set()
        await go_on.wait()
        return None

    pipeline = ScriptedPipeline(slow)
    async with serving(pipeline) as host, aio.insecure_channel(host.addresses[0]) as channel:
        going = unary(channel, path)(request_of_it.SerializeToString())
        await begun.wait()
        going.cancel()
        with pytest.raises(asyncio.CancelledError):
            await going
        await asyncio.sleep(0.1)
        assert pipeline.finished == 0
        go_on.set()
        await until(lambda: pipeline.finished == 1)


async def test_a_deadline_that_passes_does_not_stop_the_call() -> None:
    """Nor does a caller whose time is up."""
    go_on = asyncio.Event()

    async def slow(_: Any) -> Any:
        await go_on.wait()
        return None

    pipeline = ScriptedPipeline(slow)
    async with serving(pipeline) as host, aio.insecure_channel(host.addresses[0]) as channel:
        with pytest.raises(aio.AioRpcError) as caught:
            await unary(channel, CREATE_KEY)(REQUEST.SerializeToString(), timeout=0.2)
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        go_on.set()
        await until(lambda: pipeline.finished == 1)


async def test_more_calls_than_allowed_are_refused_at_once() -> None:
    """Beyond the limit the answer is ThrottlingException, and there is room again afterwards."""
    go_on = asyncio.Event()
    begun = []

    async def slow(request: Any) -> Any:
        begun.append(request)
        await go_on.wait()
        raise AccessDeniedException("done")

    pipeline = ScriptedPipeline(slow)
    async with serving(pipeline, most_in_flight=2) as host, aio.insecure_channel(host.addresses[0]) as channel:
        first = [asyncio.ensure_future(refused(channel)) for _ in range(2)]
        await until(lambda: len(begun) == 2)
        code, info, status = await refused(channel)
        assert (code, info.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "THROTTLING")
        assert [detail.TypeName() for detail in status.details] == [
            "google.rpc.ErrorInfo", "google.rpc.RetryInfo"
        ]
        go_on.set()
        await asyncio.gather(*first)
        code, _, _ = await refused(channel)
        assert code is grpc.StatusCode.PERMISSION_DENIED


async def test_a_call_in_flight_is_finished_when_the_server_stops() -> None:
    """Stopping lets it end, and takes no further calls."""
    begun = asyncio.Event()

    async def slow(request: Any) -> Any:
        begun.set()
        await asyncio.sleep(0.3)
        raise KMSInvalidStateException("finished")

    pipeline = ScriptedPipeline(slow)
    async with serving(pipeline) as host, aio.insecure_channel(host.addresses[0]) as channel:
        going = asyncio.ensure_future(refused(channel))
        await begun.wait()
        await host.stop(5.0)
        _, _, status = await going
        assert status.message == "finished"
        with pytest.raises(aio.AioRpcError) as caught:
            await call(channel)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_a_call_that_does_not_end_is_broken_off() -> None:
    """Stopping takes the grace it was given, then as much again for what the pipeline has begun, and no more."""
    begun, never = asyncio.Event(), asyncio.Event()

    async def stuck(_: Any) -> Any:
        begun.set()
        await never.wait()

    async with serving(ScriptedPipeline(stuck)) as host, aio.insecure_channel(host.addresses[0]) as channel:
        going = asyncio.ensure_future(unary(channel, ENCRYPT)(REQUEST.SerializeToString(), timeout=10))
        await begun.wait()
        async with asyncio.timeout(3):
            await host.stop(0.2)
        with pytest.raises(aio.AioRpcError) as caught:
            await going
        assert caught.value.code() in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED}
        never.set()


async def test_stopping_waits_for_a_call_whose_caller_has_gone() -> None:
    """What was begun is done before `stop` returns."""
    begun = asyncio.Event()

    async def slow(_: Any) -> Any:
        begun.set()
        await asyncio.sleep(0.4)
        return None

    pipeline = ScriptedPipeline(slow)
    async with serving(pipeline) as host:
        async with aio.insecure_channel(host.addresses[0]) as channel:
            going = unary(channel, CREATE_KEY)(REQUEST.SerializeToString())
            await begun.wait()
            going.cancel()
        await host.stop(5.0)
        assert pipeline.finished == 1


async def test_number_that_the_contract_does_not_list_is_refused_by_the_shape() -> None:
    """An unknown number of an enumeration breaks no decoder; it's a value that isn't allowed."""
    body = keys_pb2.CreateKeyRequest(description="d").SerializeToString() + b"\x28\x4d"
    assert keys_pb2.CreateKeyRequest.FromString(body).key_spec == 77
    async with serving(ScriptedPipeline()) as host, aio.insecure_channel(host.addresses[0]) as channel:
        code, info, status = await refused(channel, path=CREATE_KEY, body=body)
    assert (code, info.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "VALIDATION")
    assert "'77' at 'keySpec' failed to satisfy constraint: Member must satisfy enum value set" in status.message
