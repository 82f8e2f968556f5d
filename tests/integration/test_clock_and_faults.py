"""Instances for tests: time that moves on request, and calls that go wrong on request, as clients see it."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from tests.support.forked import IMPORT_ROOTS, nursery
from tests.support.server_process import ServerProcess

from kagitori.kms.v1 import dev_pb2, dev_service_pb2, dev_service_pb2_grpc
from kagitori.kms.v1.audit_pb2 import LookupEventsRequest
from kagitori.kms.v1.batch_pb2 import BatchEncryptRequest
from kagitori.kms.v1.credentials_pb2 import CreateTokenRequest, GetCallerIdentityRequest
from kagitori.kms.v1.cryptography_pb2 import DecryptRequest, EncryptRequest
from kagitori.kms.v1.dev_pb2 import (
    AdvanceClockRequest,
    ClearFaultsRequest,
    FaultKind,
    InjectFaultRequest,
    ListFaultsRequest,
    SetClockRequest,
)
from kagitori.kms.v1.key_material_pb2 import EnableKeyRotationRequest, ListKeyRotationsRequest
from kagitori.kms.v1.keys_pb2 import CreateKeyRequest, DescribeKeyRequest, ScheduleKeyDeletionRequest
from kagitori.kms.v1.operation_pb2 import ListKeyStoreHealthRequest
from kagitori.kms.v1.resources_pb2 import KeyState
from kagitori_client import ConnectionFailed, KmsClient, Retries, ServiceError
from kagitori_client.testing import Account, Service, running

IMPORTED = "0b8f52c4-9d3e-4a57-8f0c-6f1d4c2f9a10"
SEED = f"""
clock = 2026-01-01T00:00:00Z
[[keys]]
id = "{IMPORTED}"
origin = "EXTERNAL"
materials = ["AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="]
valid_to = 2026-01-15T00:00:00Z
"""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    seed = tmp_path_factory.mktemp("seed") / "seed.toml"
    seed.write_text(SEED)
    with running(seed=seed, arguments=["--set", "service.regions=us-east-1,eu-west-1"], nursery=nursery()) as started:
        yield started


@pytest.fixture(scope="module")
def once(service: Service) -> Iterator[KmsClient]:
    """Tries nothing twice."""
    with service.new_client(retries=Retries(attempts=1)) as client:
        yield client


@pytest.fixture(autouse=True)
def _no_faults(service: Service) -> Iterator[None]:
    yield
    service.clear_faults()


@pytest.fixture(scope="module")
def key(service: Service) -> str:
    return service.client.keys.CreateKey(CreateKeyRequest()).key_metadata.arn


def events(service: Service) -> list[tuple[str, datetime]]:
    """Names and times of the records, oldest first."""
    found = service.client.admin.LookupEvents(LookupEventsRequest(max_results=50)).events
    return [(event.event_name, event.event_time.ToDatetime(UTC)) for event in reversed(found)]


# --- the clock -----------------------------------------------------------------------------------------------


def test_time_has_happen_what_is_due_each_at_its_own_time(service: Service) -> None:
    """In one leap: imported material expires, a key is deleted, another is rotated twice."""
    keys, crypto = service.client.keys, service.client.crypto
    rotating, dying = (keys.CreateKey(CreateKeyRequest()).key_metadata.key_id for _ in range(2))
    sealed = crypto.Encrypt(EncryptRequest(key_id=rotating, plaintext=b"x")).ciphertext_blob
    start = service.now()
    assert start.date().isoformat() == "2026-01-01"
    keys.EnableKeyRotation(EnableKeyRotationRequest(key_id=rotating, rotation_period_in_days=90))
    keys.ScheduleKeyDeletion(ScheduleKeyDeletionRequest(key_id=dying, pending_window_in_days=7))

    assert service.advance(days=6) - start >= timedelta(days=6)
    assert keys.DescribeKey(DescribeKeyRequest(key_id=dying)).key_metadata.key_state == (
        KeyState.KEY_STATE_PENDINGDELETION
    )
    service.advance(days=200)
    with pytest.raises(ServiceError) as gone:
        keys.DescribeKey(DescribeKeyRequest(key_id=dying))
    assert gone.value.code == "NotFoundException"
    imported = keys.DescribeKey(DescribeKeyRequest(key_id=IMPORTED)).key_metadata
    assert imported.key_state == KeyState.KEY_STATE_PENDINGIMPORT
    rotations = keys.ListKeyRotations(ListKeyRotationsRequest(key_id=rotating)).rotations
    days = [(rotation.rotation_date.ToDatetime(UTC) - start).total_seconds() / 86_400 for rotation in rotations]
    assert [round(day, 2) for day in days] == [90, 180]
    assert crypto.Decrypt(DecryptRequest(ciphertext_blob=sealed)).plaintext == b"x"


def test_service_events_bear_the_time_at_which_they_were_due(tmp_path: Path) -> None:
    """As if nobody had waited."""
    with running(nursery=nursery()) as service:
        dying = service.client.keys.CreateKey(CreateKeyRequest()).key_metadata.key_id
        service.client.keys.ScheduleKeyDeletion(
            ScheduleKeyDeletionRequest(key_id=dying, pending_window_in_days=7)
        )
        start = service.now()
        service.advance(days=30)
        told = dict(events(service))
        assert timedelta(days=6.99) < told["DeleteKey"] - start < timedelta(days=7.01)
        assert told["AdvanceClock"] - start > timedelta(days=29.99)


def test_credentials_expire_by_the_clock(service: Service) -> None:
    """A token of an hour is no good after two."""
    request = CreateTokenRequest(principal_arn=service.arn, duration_seconds=3_600)
    lent = service.with_token(service.client.admin.CreateToken(request).token)
    assert lent.client.admin.GetCallerIdentity(GetCallerIdentityRequest()).arn == service.arn
    service.advance(hours=2)
    with pytest.raises(ServiceError) as refused:
        lent.client.admin.GetCallerIdentity(GetCallerIdentityRequest())
    assert refused.value.code == "ExpiredTokenException"


def test_the_clock_goes_forward_only_and_has_an_end(service: Service) -> None:
    """SetClock moves it to a time; what is past or too far is refused and changes nothing."""
    target = service.now() + timedelta(days=1)
    request = SetClockRequest()
    request.now.FromDatetime(target)
    assert service.client.dev.SetClock(request).now.ToDatetime(UTC) >= target
    with pytest.raises(ServiceError) as past:
        service.client.dev.SetClock(request)
    request.now.FromDatetime(datetime(3000, 1, 1, tzinfo=UTC))
    with pytest.raises(ServiceError) as far:
        service.client.dev.SetClock(request)
    with pytest.raises(ServiceError) as nothing:
        service.client.dev.AdvanceClock(AdvanceClockRequest())
    with pytest.raises(ServiceError) as empty:
        service.client.dev.SetClock(SetClockRequest())
    assert {error.value.code for error in (past, far, nothing, empty)} == {"ValidationException"}
    assert service.now() - target < timedelta(hours=1)


def test_clients_for_asyncio_are_had_as_well(service: Service) -> None:
    """Within the loop that uses them."""
    async def now() -> datetime:
        async with service.new_async_client() as client:
            return (await client.dev.GetClock(dev_pb2.GetClockRequest())).now.ToDatetime(UTC)

    assert abs(asyncio.run(now()) - service.now()) < timedelta(minutes=5)


@pytest.mark.parametrize("nanos", [-1, 1_000_000_000, 2**31 - 1])
@pytest.mark.parametrize("seconds", [2**63 - 1, -(2**63), 0, 253_402_300_800])
def test_times_that_are_none_are_refused(service: Service, seconds: int, nanos: int) -> None:
    """However they are written."""
    with pytest.raises(ServiceError) as refused:
        service.client.dev.SetClock(SetClockRequest(now=Timestamp(seconds=seconds, nanos=nanos)))
    with pytest.raises(ServiceError) as far:
        service.client.dev.AdvanceClock(AdvanceClockRequest(seconds=seconds or -1))
    assert {refused.value.code, far.value.code} <= {"ValidationException", "SerializationException"}


# --- faults --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "code", "status"),
    [
        ("throttling", "ThrottlingException", grpc.StatusCode.RESOURCE_EXHAUSTED),
        ("key_store_loss", "KeyUnavailableException", grpc.StatusCode.UNAVAILABLE),
        ("region_loss", "DependencyTimeoutException", grpc.StatusCode.UNAVAILABLE),
    ],
)
def test_each_fault_is_the_exception_that_it_stands_for(
    service: Service, once: KmsClient, key: str, kind: str, code: str, status: grpc.StatusCode
) -> None:
    """With the time to wait; for as many calls as wanted, and recorded like other refusals."""
    request = EncryptRequest(key_id=key, plaintext=b"x")
    with service.fault(kind, operation="Encrypt", region="us-east-1", calls=2, delay=0.25) as fault_id:
        for left in (1, None):
            with pytest.raises(ServiceError) as refused:
                once.crypto.Encrypt(request)
            assert (refused.value.code, refused.value.retry_after) == (code, 0.25)
            faults = {fault.fault_id: fault for fault in service.client.dev.ListFaults(ListFaultsRequest()).faults}
            assert (faults[fault_id].calls_left if fault_id in faults else None) == left
        assert once.crypto.Encrypt(request).ciphertext_blob
    channel = grpc.secure_channel(
        service.endpoint.removeprefix("https://"), grpc.ssl_channel_credentials(service.ca_file.read_bytes())
    )
    with channel, service.fault(kind, region="us-east-1", operation="Encrypt"):
        invoke: Any = channel.unary_unary("/kagitori.kms.v1.CryptoService/Encrypt")
        with pytest.raises(grpc.RpcError) as raw:
            invoke(request.SerializeToString(), metadata=(("authorization", f"Bearer {service.token}"),))
    assert raw.value.code() is status
    assert [name for name, _ in events(service)].count("Encrypt") >= 4


def test_the_client_s_own_retries_outlast_a_fault(service: Service, key: str) -> None:
    """Which is what its user wants to see."""
    with service.fault("throttling", operation="Encrypt", calls=2, delay=0.01):
        assert service.client.crypto.Encrypt(EncryptRequest(key_id=key, plaintext=b"x")).ciphertext_blob


def test_latency_holds_answers_back_and_nobody_else_s(service: Service, once: KmsClient, key: str) -> None:
    """The call itself is done; other calls are answered meanwhile."""
    with service.fault("latency", operation="Encrypt", key_id=key, delay=0.7):
        begun = time.monotonic()
        late = once.crypto.Encrypt.future(EncryptRequest(key_id=key, plaintext=b"x"))
        assert time.monotonic() - begun >= 0.7
        assert late.result().ciphertext_blob
        with service.new_client(timeout=0.3, retries=Retries(attempts=1)) as hasty:
            with pytest.raises(ConnectionFailed):
                hasty.crypto.Encrypt(EncryptRequest(key_id=key, plaintext=b"x"))
            assert hasty.keys.DescribeKey(DescribeKeyRequest(key_id=key)).key_metadata.arn == key


def refuses(client: KmsClient, key_id: str, region: str = "us-east-1") -> bool:
    """Whether Encrypt is throttled."""
    try:
        client.crypto.Encrypt(
            EncryptRequest(key_id=key_id, plaintext=b"x"), metadata=(("kagitori-region", region),)
        )
    except ServiceError as error:
        return error.code == "ThrottlingException"
    return False


def test_faults_befall_what_they_describe_and_nothing_else(service: Service, once: KmsClient, key: str) -> None:
    """By operation, account, Region and key, by id as well as by ARN."""
    other = service.client.keys.CreateKey(CreateKeyRequest()).key_metadata.key_id
    away = service.client.keys.CreateKey(
        CreateKeyRequest(), metadata=(("kagitori-region", "eu-west-1"),)
    ).key_metadata.key_id
    theirs: Account = service.new_account()
    their_key = theirs.client.keys.CreateKey(CreateKeyRequest()).key_metadata.key_id
    with theirs.new_client(retries=Retries(attempts=1)) as them:
        def befallen() -> tuple[bool, bool, bool, bool]:
            return (
                refuses(once, key), refuses(once, other), refuses(once, away, "eu-west-1"), refuses(them, their_key)
            )

        with service.fault("throttling", operation="Decrypt"):
            assert befallen() == (False, False, False, False)
        with service.fault("throttling", operation="Encrypt"):
            assert befallen() == (True, True, True, True)
        with service.fault("throttling", region="eu-west-1"):
            assert befallen() == (False, False, True, False)
        with service.fault("throttling", account_id=theirs.account_id):
            assert befallen() == (False, False, False, True)
        for named in (key, key.rpartition("/")[2]):
            with service.fault("throttling", key_id=named):
                assert befallen() == (True, False, False, False)


def test_a_lost_key_store_leaves_what_needs_none(service: Service, once: KmsClient, key: str) -> None:
    """Descriptions are read, keys aren't made."""
    with service.fault("key_store_loss"):
        assert once.keys.DescribeKey(DescribeKeyRequest(key_id=key)).key_metadata.arn == key
        with pytest.raises(ServiceError) as refused:
            once.keys.CreateKey(CreateKeyRequest())
    assert refused.value.code == "KeyUnavailableException"


def test_a_lost_key_store_is_seen_by_the_service_itself(service: Service, key: str) -> None:
    """By its health, if it is lost as a whole, and by its own work: a key isn't rotated before the store is back."""
    other, rotating = (service.client.keys.CreateKey(CreateKeyRequest()).key_metadata for _ in range(2))
    service.client.keys.EnableKeyRotation(
        EnableKeyRotationRequest(key_id=rotating.key_id, rotation_period_in_days=90)
    )

    def healthy() -> bool:
        found = service.client.admin.ListKeyStoreHealth(ListKeyStoreHealthRequest()).key_stores
        return found[0].healthy

    def rotations() -> int:
        asked = ListKeyRotationsRequest(key_id=rotating.key_id)
        return len(service.client.keys.ListKeyRotations(asked).rotations)

    assert healthy()
    narrow: list[dict[str, Any]] = [{"key_id": rotating.arn}, {"region": "us-east-1"}, {"operation": "Encrypt"}]
    for whose in narrow:
        with service.fault("key_store_loss", **whose):
            assert healthy()
    with service.fault("key_store_loss"):
        assert not healthy()
    with service.fault("key_store_loss", key_id=rotating.key_id):
        service.advance(days=91)
        assert rotations() == 0
    with service.fault("key_store_loss", key_id=other.arn):
        service.advance(seconds=1)
        assert rotations() == 1


def test_items_of_a_batch_are_befallen_one_by_one(service: Service, once: KmsClient, key: str) -> None:
    """Each counts as a call."""
    item = EncryptRequest(key_id=key, plaintext=b"x")
    with service.fault("throttling", operation="Encrypt", calls=2), service.fault("latency", calls=1, delay=0.2):
        begun = time.monotonic()
        outcomes = once.crypto.BatchEncrypt(BatchEncryptRequest(items=[item] * 3)).outcomes
        assert time.monotonic() - begun >= 0.2
    assert [outcome.error.code for outcome in outcomes] == ["ThrottlingException", "ThrottlingException", ""]


def test_who_isn_t_allowed_meets_no_fault(service: Service, key: str) -> None:
    """A fault tells nobody more than the service does, and waits for those who are."""
    stranger = service.new_account()
    with service.fault("throttling", operation="DescribeKey", calls=1) as fault_id:
        with pytest.raises(ServiceError) as refused:
            stranger.client.keys.DescribeKey(DescribeKeyRequest(key_id=key))
        faults = service.client.dev.ListFaults(ListFaultsRequest()).faults
    assert refused.value.code == "AccessDeniedException"
    assert [(fault.fault_id, fault.calls_befallen) for fault in faults] == [(fault_id, 0)]


@pytest.mark.parametrize(
    "members",
    [
        {}, {"kind": "FAULT_KIND_REGION_LOSS"}, {"kind": "FAULT_KIND_THROTTLING", "operation": "Guess"},
        {"kind": "FAULT_KIND_THROTTLING", "operation": "ClearFaults"},
        {"kind": "FAULT_KIND_THROTTLING", "operation": "BatchEncrypt"},
        {"kind": "FAULT_KIND_THROTTLING", "region": "mars-1"}, {"kind": "FAULT_KIND_THROTTLING", "calls": 0},
        {"kind": "FAULT_KIND_THROTTLING", "account_id": "7"}, {"kind": "FAULT_KIND_THROTTLING", "key_id": "alias/a"},
        {"kind": "FAULT_KIND_LATENCY", "delay_milliseconds": 600_001},
    ],
)
def test_faults_that_can_t_be_are_refused(service: Service, members: dict[str, object]) -> None:
    """None of them is in force afterwards."""
    wanted = dict(members)
    if "kind" in wanted:
        wanted["kind"] = FaultKind.Value(str(wanted["kind"]))
    with pytest.raises(ServiceError) as refused:
        service.client.dev.InjectFault(InjectFaultRequest(**wanted))  # type: ignore[arg-type]  # as enumerated above
    assert refused.value.code == "ValidationException"
    assert not service.client.dev.ListFaults(ListFaultsRequest()).faults


def test_faults_are_listed_in_pages_bounded_and_cleared(service: Service) -> None:
    """All that there are can be ended at once, and a hundred is the most."""
    inject = service.client.dev.InjectFault
    request = InjectFaultRequest(kind=FaultKind.FAULT_KIND_THROTTLING, operation="Encrypt")
    made = [inject(request).fault.fault_id for _ in range(100)]
    with pytest.raises(ServiceError) as refused:
        inject(request)
    assert refused.value.code == "LimitExceededException"
    page = service.client.dev.ListFaults(ListFaultsRequest(limit=60))
    rest = service.client.dev.ListFaults(ListFaultsRequest(limit=60, marker=page.next_marker))
    assert [fault.fault_id for fault in (*page.faults, *rest.faults)] == made
    assert not rest.truncated
    assert service.client.dev.ClearFaults(ClearFaultsRequest(fault_id=made[0])).cleared == 1
    with pytest.raises(ServiceError) as unknown:
        service.client.dev.ClearFaults(ClearFaultsRequest(fault_id=made[0]))
    assert unknown.value.code == "NotFoundException"
    assert service.client.dev.ClearFaults(ClearFaultsRequest()).cleared == 99


# --- who may, and where there is none ------------------------------------------------------------------------

DEV_CALLS = {
    "GetClock": dev_pb2.GetClockRequest(),
    "SetClock": dev_pb2.SetClockRequest(now={"seconds": 4_000_000_000}),  # type: ignore[arg-type]  # protobuf takes it
    "AdvanceClock": dev_pb2.AdvanceClockRequest(seconds=60),
    "InjectFault": dev_pb2.InjectFaultRequest(kind=FaultKind.FAULT_KIND_THROTTLING),
    "ListFaults": dev_pb2.ListFaultsRequest(),
    "ClearFaults": dev_pb2.ClearFaultsRequest(),
}


def test_every_operation_of_the_service_is_called_here() -> None:
    """A new one is added to the list above."""
    service = dev_service_pb2.DESCRIPTOR.services_by_name["DevService"]
    assert {method.name for method in service.methods} == set(DEV_CALLS)


@pytest.mark.parametrize("operation", DEV_CALLS)
def test_other_accounts_have_no_say(service: Service, operation: str) -> None:
    """Their root users least of all: time is everybody's."""
    stranger = service.new_account()
    with pytest.raises(ServiceError) as refused:
        getattr(stranger.client.dev, operation)(DEV_CALLS[operation])
    assert refused.value.code == "AccessDeniedException"


def test_reflection_tells_of_it(service: Service) -> None:
    """With its messages, so that grpcurl can call it; health knows it as well."""
    authority = service.ca_file.read_bytes()
    address = service.endpoint.removeprefix("https://")
    name = dev_service_pb2.DESCRIPTOR.services_by_name["DevService"].full_name
    with grpc.secure_channel(address, grpc.ssl_channel_credentials(authority)) as channel:
        listed = _reflected(channel, list_services="").list_services_response.service
        assert name in {each.name for each in listed}
        files = _reflected(channel, file_containing_symbol=name).file_descriptor_response
        assert files.file_descriptor_proto
        asked = health_pb2.HealthCheckRequest(service=name)
        assert health_pb2_grpc.HealthStub(channel).Check(asked).status == health_pb2.HealthCheckResponse.SERVING


def _reflected(channel: grpc.Channel, **question: str) -> Any:
    asked = iter([reflection_pb2.ServerReflectionRequest(**question)])
    return next(reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(asked))


def test_a_server_in_earnest_serves_none_of_it(tmp_path: Path) -> None:
    """UNIMPLEMENTED, to its own administrator."""
    with ServerProcess(tmp_path / "data") as server, server.channel() as channel:
        stub = dev_service_pb2_grpc.DevServiceStub(channel)
        for operation, request in DEV_CALLS.items():
            with pytest.raises(grpc.RpcError) as refused:
                getattr(stub, operation)(request)
            assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED
            assert "is not an operation of this service" in (refused.value.details() or "")


def test_the_command_line_works_clock_and_faults(service: Service, once: KmsClient, key: str) -> None:
    """`kagitori dev`."""
    def kagitori(*arguments: str) -> dict[str, object]:
        outcome = subprocess.run(
            [sys.executable, "-c", "from kagitori_client.cli import main; main()", "dev", *arguments,
             "--output", "json"],
            env={**service.environment, "PYTHONPATH": IMPORT_ROOTS, "HOME": "/nonexistent"},
            capture_output=True, text=True, check=False,
        )
        assert outcome.returncode == 0, outcome.stderr
        answer: dict[str, object] = json.loads(outcome.stdout)
        return answer

    before = datetime.fromisoformat(str(kagitori("clock", "show")["now"]))
    after = datetime.fromisoformat(str(kagitori("clock", "advance", "7d")["now"]))
    assert timedelta(days=7) <= after - before < timedelta(days=7, minutes=5)
    later = (after + timedelta(days=1)).isoformat()
    assert datetime.fromisoformat(str(kagitori("clock", "set", later)["now"])) >= after + timedelta(days=1)
    fault = kagitori("fault", "inject", "throttling", "--operation", "Encrypt", "--key", key, "--delay", "250ms")
    with pytest.raises(ServiceError) as refused:
        once.crypto.Encrypt(EncryptRequest(key_id=key, plaintext=b"x"))
    assert (refused.value.code, refused.value.retry_after) == ("ThrottlingException", 0.25)
    listed = kagitori("fault", "list")["faults"]
    assert isinstance(listed, list)
    assert [entry["fault_id"] for entry in listed] == [fault["fault_id"]]
    assert kagitori("fault", "clear", str(fault["fault_id"])) == {"cleared": 1}
    assert kagitori("fault", "clear") == {"cleared": 0}
