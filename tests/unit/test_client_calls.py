"""What a call carries, when it is tried again, and what its failures become: against a scripted gRPC server."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from concurrent import futures
from dataclasses import dataclass, field

import grpc
import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status
from grpc import aio

from kagitori.kms.v1.admin_service_pb2 import DESCRIPTOR as ADMIN
from kagitori.kms.v1.admin_service_pb2_grpc import AdminServiceStub
from kagitori.kms.v1.crypto_service_pb2 import DESCRIPTOR as CRYPTO
from kagitori.kms.v1.cryptography_pb2 import EncryptRequest, EncryptResponse
from kagitori.kms.v1.decisions_pb2 import SimulatePolicyRequest, SimulatePolicyResponse
from kagitori.kms.v1.key_service_pb2 import DESCRIPTOR as KEYS
from kagitori.kms.v1.keys_pb2 import CreateKeyRequest, ListKeysRequest, ListKeysResponse
from kagitori.kms.v1.resources_pb2 import KeyListEntry
from kagitori_client import (
    AsyncKmsClient,
    BearerToken,
    ConfigurationError,
    Connection,
    ConnectionFailed,
    KmsClient,
    Retries,
    ServiceError,
    Violation,
    pages,
    parse_endpoint,
)
from kagitori_client.calls import AsyncStreams, CallPolicy, SyncStreams, is_repeatable
from kagitori_client.status import Failure

TOKEN = "kgt_" + "t" * 43
ONCE = Retries(attempts=1)
QUICK = Retries(attempts=4, first_pause=0.001, longest_pause=0.01)
Step = bytes | tuple[grpc.StatusCode, list[Message]]


@dataclass
class Script:
    """What the server answers, step by step (the last one for ever), and what it was sent."""

    steps: list[Step] = field(default_factory=lambda: [b""])
    seen: list[dict[str, str | bytes]] = field(default_factory=list)
    requests: list[bytes] = field(default_factory=list)

    def answer(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        self.requests.append(request)
        self.seen.append(dict(context.invocation_metadata()))
        step = self.steps[min(len(self.seen), len(self.steps)) - 1]
        if isinstance(step, bytes):
            return step
        code, details = step
        status = Status(code=code.value[0])
        for detail in details:
            packed = AnyMessage()
            packed.Pack(detail)
            status.details.append(packed)
        context.set_trailing_metadata(
            (("grpc-status-details-bin", status.SerializeToString()), ("kagitori-request-id", "r-1"))
        )
        context.abort(code, "the message")
        raise AssertionError


class _Handlers(grpc.GenericRpcHandler):
    def __init__(self, script: Script) -> None:
        self._script = script

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[bytes, bytes]:
        if details.method.endswith("SimulatePolicy"):
            return grpc.unary_stream_rpc_method_handler(self._stream)
        return grpc.unary_unary_rpc_method_handler(self._script.answer)

    def _stream(self, request: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
        yield b""
        yield self._script.answer(request, context)


@pytest.fixture
def script() -> Script:
    return Script()


@pytest.fixture
def endpoint(script: Script) -> Iterator[str]:
    server = grpc.server(futures.ThreadPoolExecutor(2), handlers=[_Handlers(script)])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"http://127.0.0.1:{port}"
    server.stop(None).wait()


def _connection(endpoint: str) -> Connection:
    return Connection(parse_endpoint(endpoint), token=BearerToken(TOKEN))


@pytest.fixture
def client(endpoint: str) -> Iterator[KmsClient]:
    with KmsClient(_connection(endpoint), region="eu-x", timeout=5, retries=QUICK) as made:
        yield made


def _info(code: str = "ThrottlingException", **more: str) -> ErrorInfo:
    return ErrorInfo(reason="X", domain="kms.kagitori", metadata={"awsErrorType": code, "requestId": "r-2", **more})


def _retry(milliseconds: int) -> RetryInfo:
    info = RetryInfo()
    info.retry_delay.FromMilliseconds(milliseconds)
    return info


def test_metadata_of_a_call(client: KmsClient, script: Script) -> None:
    client.keys.ListKeys(ListKeysRequest())
    client.keys.ListKeys(ListKeysRequest(), metadata=(("kagitori-region", "us-y"),))
    first, second = script.seen
    assert first["authorization"] == f"Bearer {TOKEN}"
    assert (first["kagitori-region"], second["kagitori-region"]) == ("eu-x", "us-y")
    assert str(first["user-agent"]).startswith("kagitori-client ")


def test_errors_have_all_the_service_says(client: KmsClient, script: Script) -> None:
    violation = BadRequest.FieldViolation(field="tags[3].tag_key", description="too long")
    script.steps = [
        (
            grpc.StatusCode.INVALID_ARGUMENT,
            [_info("ValidationException", keyArn="arn:k"), BadRequest(field_violations=[violation])],
        )
    ]
    with pytest.raises(ServiceError) as refused:
        client.keys.CreateKey(CreateKeyRequest())
    error = refused.value
    assert (error.code, error.message, error.request_id) == ("ValidationException", "the message", "r-2")
    assert (error.violations, error.key_arn) == ((Violation("tags[3].tag_key", "too long"),), "arn:k")
    assert error.__cause__ is None
    assert TOKEN not in repr(error)


def test_refusals_of_something_between(client: KmsClient, script: Script) -> None:
    foreign = ErrorInfo(reason="NOPE", domain="example.org", metadata={"awsErrorType": "Misleading"})
    for details in ([], [foreign]):
        script.steps = [(grpc.StatusCode.PERMISSION_DENIED, details)]
        with pytest.raises(ServiceError) as refused:
            client.keys.ListKeys(ListKeysRequest())
        assert (refused.value.code, refused.value.request_id) == ("PermissionDenied", "r-1")


@pytest.mark.parametrize(
    ("step", "tries"),
    [
        ((grpc.StatusCode.UNAVAILABLE, []), 4),
        ((grpc.StatusCode.UNAVAILABLE, [_info("KeyUnavailableException")]), 4),
        ((grpc.StatusCode.RESOURCE_EXHAUSTED, [_info(), _retry(1)]), 4),
        ((grpc.StatusCode.RESOURCE_EXHAUSTED, [_info("LimitExceededException")]), 1),
        ((grpc.StatusCode.RESOURCE_EXHAUSTED, [_info(), _retry(60_000)]), 1),
        ((grpc.StatusCode.INTERNAL, [_info("KMSInternalException")]), 1),
        ((grpc.StatusCode.ABORTED, []), 1),
        ((grpc.StatusCode.PERMISSION_DENIED, []), 1),
        ((grpc.StatusCode.UNIMPLEMENTED, []), 1),
    ],
)
def test_when_a_read_is_tried_again(client: KmsClient, script: Script, step: Step, tries: int) -> None:
    script.steps = [step]
    with pytest.raises((ServiceError, ConnectionFailed)):
        client.keys.ListKeys(ListKeysRequest())
    assert len(script.seen) == tries
    script.seen.clear()
    with pytest.raises((ServiceError, ConnectionFailed)):
        client.keys.CreateKey(CreateKeyRequest())
    assert len(script.seen) == 1


def test_another_try_succeeds(client: KmsClient, script: Script) -> None:
    script.steps = [
        (grpc.StatusCode.UNAVAILABLE, []),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, [_info(), _retry(5)]),
        EncryptResponse(key_id="k").SerializeToString(),
    ]
    assert client.crypto.Encrypt(EncryptRequest(key_id="k")).key_id == "k"
    assert script.requests == [EncryptRequest(key_id="k").SerializeToString()] * 3


def test_only_what_changes_nothing_is_repeatable() -> None:
    names = {
        f"/kagitori.kms.v1.{service.name}/{method.name}"
        for file in (KEYS, CRYPTO, ADMIN)
        for service in file.services_by_name.values()
        for method in service.methods
    }
    changing = {name.rpartition("/")[2] for name in names if not is_repeatable(name)}
    assert {"CreateKey", "CreateGrant", "CreateToken", "RotateRootKey", "AssumeRole", "SimulatePolicy"} <= changing
    harmless = {name.rpartition("/")[2] for name in names if is_repeatable(name) and "CryptoService" not in name}
    reads = ("Describe", "Explain", "Get", "Lint", "List", "Lookup", "Verify")
    assert all(name.startswith(reads) for name in harmless)


def test_pauses_grow_up_to_a_bound_and_honour_the_service() -> None:
    drawn = Retries(attempts=10, first_pause=1.0, longest_pause=5.0, draw=lambda: 0.5)
    def pause(tried: int, retry_after: float | None = None) -> float | None:
        code = grpc.StatusCode.UNAVAILABLE
        failed = Failure(ConnectionFailed("x"), code, retry_after)
        return drawn.pause(tried, failed, "/kagitori.kms.v1.KeyService/ListKeys")

    assert [pause(n) for n in range(1, 6)] == [0.5, 1.0, 2.0, 2.5, 2.5]
    assert pause(1, 7.0) == 7.5
    assert pause(10) is None


def test_deadline(client: KmsClient, script: Script, endpoint: str) -> None:
    hold = futures.Future[None]()
    answer = script.answer

    def late(request: bytes, context: grpc.ServicerContext) -> bytes:
        hold.exception(timeout=10)
        return answer(request, context)

    script.answer = late  # type: ignore[method-assign]
    try:
        with pytest.raises(ConnectionFailed, match=r"did not answer within 0\.2 s") as failed:
            client.keys.CreateKey(CreateKeyRequest(), timeout=0.2)
        assert "before repeating" in (failed.value.hint or "")
    finally:
        hold.set_result(None)


@pytest.mark.parametrize(
    ("endpoint_text", "hint"),
    [
        ("http://127.0.0.1:1", "is kagitori-server running"),
        ("unix:///nonexistent/kms.sock", "no such socket"),
        ("https://kms.invalid:7443", "host name"),
    ],
)
def test_unreachable(endpoint_text: str, hint: str) -> None:
    connection = Connection(parse_endpoint(endpoint_text))
    with KmsClient(connection, timeout=5, retries=ONCE) as away, pytest.raises(ConnectionFailed) as failed:
        away.keys.ListKeys(ListKeysRequest())
    assert hint in (failed.value.hint or "")
    assert endpoint_text in failed.value.message


def test_plaintext_server_behind_https(endpoint: str) -> None:
    connection = Connection(parse_endpoint(endpoint.replace("http:", "https:")))
    with KmsClient(connection, timeout=5, retries=ONCE) as away, pytest.raises(ConnectionFailed) as failed:
        away.keys.ListKeys(ListKeysRequest())
    assert "TLS" in (failed.value.hint or "")


def test_pages(client: KmsClient, script: Script) -> None:
    def page(name: str, marker: str | None) -> bytes:
        entries = [KeyListEntry(key_id=name)]
        return ListKeysResponse(
            keys=entries, truncated=marker is not None, next_marker=marker
        ).SerializeToString()

    script.steps = [page("a", "m1"), page("b", "m2"), page("c", None)]
    request = ListKeysRequest(limit=1)
    assert [k.key_id for p in pages(client.keys.ListKeys, request) for k in p.keys] == ["a", "b", "c"]
    sent = [ListKeysRequest.FromString(r) for r in script.requests]
    assert [(r.limit, r.marker) for r in sent] == [(1, ""), (1, "m1"), (1, "m2")]
    assert not request.HasField("marker")


def test_stream(client: KmsClient, script: Script) -> None:
    script.steps = [SimulatePolicyResponse().SerializeToString()]
    assert len(list(client.admin.SimulatePolicy(SimulatePolicyRequest()))) == 2
    assert script.seen[0]["authorization"] == f"Bearer {TOKEN}"
    script.steps = [(grpc.StatusCode.NOT_FOUND, [_info("NotFoundException")])]
    with pytest.raises(ServiceError) as refused:
        list(client.admin.SimulatePolicy(SimulatePolicyRequest()))
    assert refused.value.code == "NotFoundException"


def _async(endpoint: str, use: Callable[[AsyncKmsClient], object]) -> object:
    async def run() -> object:
        async with AsyncKmsClient(_connection(endpoint), region="eu-x", timeout=5, retries=QUICK) as client:
            return await use(client)  # type: ignore[misc]

    return asyncio.run(run())


def test_async_calls(endpoint: str, script: Script) -> None:
    script.steps = [(grpc.StatusCode.UNAVAILABLE, []), b""]
    _async(endpoint, lambda client: client.keys.ListKeys(ListKeysRequest()))
    assert [s["kagitori-region"] for s in script.seen] == ["eu-x", "eu-x"]
    assert script.seen[0]["authorization"] == f"Bearer {TOKEN}"
    script.steps = [(grpc.StatusCode.NOT_FOUND, [_info("NotFoundException")])]
    script.seen.clear()
    with pytest.raises(ServiceError) as refused:
        _async(endpoint, lambda client: client.keys.ListKeys(ListKeysRequest()))
    assert (refused.value.code, refused.value.request_id) == ("NotFoundException", "r-2")
    script.steps = [(grpc.StatusCode.UNAVAILABLE, [])]
    script.seen.clear()
    with pytest.raises(ConnectionFailed):
        _async(endpoint, lambda client: client.keys.CreateKey(CreateKeyRequest()))
    assert len(script.seen) == 1


def test_async_stream(endpoint: str, script: Script) -> None:
    async def collect(client: AsyncKmsClient) -> list[SimulatePolicyResponse]:
        return [answer async for answer in client.admin.SimulatePolicy(SimulatePolicyRequest())]

    script.steps = [b""]
    assert len(_async(endpoint, collect)) == 2  # type: ignore[arg-type]
    assert script.seen[0]["authorization"] == f"Bearer {TOKEN}"
    script.steps = [(grpc.StatusCode.NOT_FOUND, [_info("NotFoundException")])]
    with pytest.raises(ServiceError):
        _async(endpoint, collect)


def test_reprs_of_clients(client: KmsClient, endpoint: str) -> None:
    assert repr(client) == f"KmsClient({endpoint!r})"


@pytest.fixture
def stalled(script: Script) -> Iterator[None]:
    """A server that says nothing more after the first message of a stream."""
    hold = futures.Future[None]()

    def stall(request: bytes, context: grpc.ServicerContext) -> bytes:
        hold.exception(timeout=10)
        return b""

    script.answer = stall  # type: ignore[method-assign]
    yield
    hold.set_result(None)


@pytest.mark.usefixtures("stalled")
def test_a_stream_that_falls_silent(endpoint: str) -> None:
    policy = CallPolicy(endpoint=endpoint, token=None, region=None, silence=0.2)
    with grpc.insecure_channel(parse_endpoint(endpoint).target) as channel:
        admin = AdminServiceStub(grpc.intercept_channel(channel, SyncStreams(policy)))
        answers = admin.SimulatePolicy(SimulatePolicyRequest())
        assert next(answers) == SimulatePolicyResponse()
        # What its reader does meanwhile is none of the server's silence.
        time.sleep(0.3)
        with pytest.raises(ConnectionFailed, match=r"said nothing for 0\.2 s"):
            next(answers)
        with pytest.raises(ConnectionFailed, match=r"did not answer within 0\.1 s"):
            list(admin.SimulatePolicy(SimulatePolicyRequest(), timeout=0.1))


@pytest.mark.usefixtures("stalled")
def test_an_async_stream_that_falls_silent(endpoint: str) -> None:
    policy = CallPolicy(endpoint=endpoint, token=None, region=None, silence=0.2)

    async def read(timeout: float | None, expected: str) -> None:  # noqa: ASYNC109  # the call's own
        target = parse_endpoint(endpoint).target
        async with aio.insecure_channel(target, interceptors=[AsyncStreams(policy)]) as channel:
            answers = aiter(AdminServiceStub(channel).SimulatePolicy(SimulatePolicyRequest(), timeout=timeout))
            assert await anext(answers) == SimulatePolicyResponse()
            with pytest.raises(ConnectionFailed, match=expected):
                await anext(answers)

    asyncio.run(read(None, r"said nothing for 0\.2 s"))
    asyncio.run(read(0.1, r"did not answer within 0\.1 s"))


@pytest.mark.parametrize("timeout", [0.0, -1.0, float("nan"), float("inf"), 86_401.0])
def test_timeouts_that_are_none(endpoint: str, timeout: float) -> None:
    with pytest.raises(ConfigurationError, match="a timeout is"):
        KmsClient(_connection(endpoint), timeout=timeout)
