"""Calls that are admitted in the event loop and computed in threads: what changes while they wait counts."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.support.inprocess import ALLOW_ALL, REGION, InProcess
from tests.support.kms_calls import last_record, new_key, user_arn

from kagitori_server.model.call import Call, Evidence
from kagitori_server.model.errors import AccessDeniedException, DisabledException, KmsError
from kagitori_server.model.keys import KeyState


@pytest.fixture
def service(tmp_path: Path) -> Iterator[InProcess]:
    with InProcess(tmp_path) as opened:
        yield opened


def while_it_waits(
    service: InProcess, change: Callable[[], None], operation: str, values: Mapping[str, Any], token: str
) -> Any:
    """The answer to a call whose computation has to wait until `change` is done and the clock has moved on."""
    free = threading.Event()
    blockers = [service._pools.computing.submit(free.wait) for _ in range(2)]

    def later() -> None:
        time.sleep(0.2)
        change()
        free.set()

    other = threading.Thread(target=later)
    other.start()
    try:
        return service.call(operation, values, token=token)
    finally:
        other.join()
        assert all(blocker.result() for blocker in blockers)


@dataclass(frozen=True)
class Signer:
    """A user who may sign, with a key that is slow enough to be used elsewhere."""

    token: str
    request: Mapping[str, Any]


@pytest.fixture
def signer(service: InProcess) -> Signer:
    token = service.new_user("signer", policies={"sign": ALLOW_ALL})
    key_id = new_key(service, key_spec="RSA_2048", key_usage="SIGN_VERIFY").key_id
    return Signer(token, {"key_id": key_id, "message": b"m", "signing_algorithm": "RSASSA_PSS_SHA_256"})


def set_state(service: InProcess, key_id: str, state: KeyState) -> None:
    with service.catalog.write() as writer:
        writer.set_key_state(REGION, key_id, state)


def take_permission(service: InProcess) -> None:
    with service.catalog.write() as writer:
        writer.delete_principal_policy(user_arn("signer"), "sign")


def test_a_call_that_waited_for_nothing_goes_on(service: InProcess, signer: Signer) -> None:
    """Nothing changed: it is performed."""
    answer = while_it_waits(service, lambda: None, "Sign", signer.request, signer.token)
    assert service.call("Verify", {**signer.request, "signature": answer.signature}).signature_valid


@pytest.mark.parametrize("operation", ["Sign", "BatchSign"])
def test_a_key_that_was_disabled_meanwhile(service: InProcess, signer: Signer, operation: str) -> None:
    """Refused, as any call that begins later."""
    values = {"items": [signer.request]} if operation == "BatchSign" else signer.request
    error: KmsError | None = None
    code = None
    try:
        answer = while_it_waits(
            service, lambda: set_state(service, signer.request["key_id"], KeyState.DISABLED), operation, values,
            signer.token,
        )
        code = answer.outcomes[0].error.code
    except KmsError as refusal:
        error = refusal
    assert isinstance(error, DisabledException) if operation == "Sign" else code == "DisabledException"
    assert last_record(service)["errorCode"] == "DisabledException"


def test_a_permission_that_was_taken_meanwhile(service: InProcess, signer: Signer) -> None:
    """Refused, and recorded so."""
    with pytest.raises(AccessDeniedException):
        while_it_waits(service, lambda: take_permission(service), "Sign", signer.request, signer.token)
    assert last_record(service)["errorCode"] == "AccessDenied"


# --- a root key that is far away -----------------------------------------------------------------------------


@pytest.mark.parametrize("operation", ["Encrypt", "BatchEncrypt", "GenerateDataKeyPair", "Sign"])
def test_a_root_key_that_takes_its_time_holds_up_nobody_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, operation: str
) -> None:
    """The first use of an account's key asks root key and catalog, which may be far away, outside the event loop: a
    call that was sent later ends while the root key waits for exactly that. What is open by then is used at once."""
    spec = {"key_spec": "ECC_NIST_P256", "key_usage": "SIGN_VERIFY"} if operation == "Sign" else {}
    with InProcess(tmp_path) as service:
        key_id = new_key(service, **spec).key_id
    encrypt: dict[str, Any] = {"key_id": key_id, "plaintext": b"x"}
    values: dict[str, Any] = {
        "Encrypt": encrypt,
        "BatchEncrypt": {"items": [encrypt, encrypt]},
        "GenerateDataKeyPair": {"key_id": key_id, "key_pair_spec": "ECC_NIST_P256"},
        "Sign": {"key_id": key_id, "message": b"x", "signing_algorithm": "ECDSA_SHA_256"},
    }[operation]
    with InProcess(tmp_path) as service:
        answered, waited = threading.Event(), []
        unwrap = type(service.root_keys).unwrap

        def late(keys: Any, blob: bytes, aad: bytes) -> Any:
            waited.append(answered.wait(10))
            return unwrap(keys, blob, aad)

        monkeypatch.setattr(type(service.root_keys), "unwrap", late)

        async def both() -> Any:
            first = asyncio.ensure_future(service.pipeline.handle(a_call(service, operation, values)))
            await asyncio.sleep(0.1)
            await service.pipeline.handle(a_call(service, "GenerateRandom", {"number_of_bytes": 8}))
            answered.set()
            return await first

        answer = service._runner.run(both())
        assert waited
        assert all(waited)
        assert not [each for each in getattr(answer, "outcomes", ()) if each.error is not None]
        times = len(waited)
        service.call(operation, values)
        assert len(waited) == times


def a_call(service: InProcess, operation: str, values: Mapping[str, Any]) -> Call:
    return Call(operation, service.ids.uuid(), Evidence(token=service.root_token), None, lambda: dict(values))
