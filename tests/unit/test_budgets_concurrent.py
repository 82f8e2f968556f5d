"""Many calls at once in one event loop: the limit is used to the last, no call is lost, and nobody else waits."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tests.support.inprocess import ALLOW_ALL, InProcess

from kagitori_server.model.call import Call, Evidence
from kagitori_server.model.errors import AccessDeniedException, KmsError, ThrottlingException
from kagitori_server.operations.row import Cost
from kagitori_server.operations.table import ENCRYPT, TABLE


def _prepared(service: InProcess, on_exceed: str, count: int) -> tuple[str, str]:
    token = service.new_user("alice", policies={"all": ALLOW_ALL})
    key_id = service.call("CreateKey").key_metadata.key_id
    limits = [{"window": "MONTH", "count": count}, {"window": "DAY", "count": 10 * count}]
    terms = {"key_arn": "*", "principal_arn": "*", "on_exceed": on_exceed, "limits": limits}
    service.call("PutBudget", {"budget_name": "b", **terms})
    return key_id, token


def _at_once(service: InProcess, calls: list[tuple[str, dict[str, Any], str]]) -> list[Any]:
    """What each call was answered or refused with; all are under way together."""

    async def all_of_them() -> list[Any]:
        handled = [
            service.pipeline.handle(
                Call(operation, service.ids.uuid(), Evidence(token=token), None, partial(dict, values))
            )
            for operation, values, token in calls
        ]
        return await asyncio.gather(*handled, return_exceptions=True)

    return service._runner.run(all_of_them())


@pytest.mark.parametrize("cost", Cost)
@pytest.mark.parametrize(
    ("on_exceed", "refusal"), [("REFUSE", ThrottlingException), ("FREEZE", AccessDeniedException)]
)
def test_the_limit_is_used_to_the_last(
    tmp_path: Path, on_exceed: str, refusal: type[KmsError], cost: Cost
) -> None:
    """Single calls and batches alike, wherever the operation is run."""
    with InProcess(tmp_path) as service:
        service.pipeline.table = {**TABLE, "Encrypt": replace(ENCRYPT, cost=cost)}
        key_id, token = _prepared(service, on_exceed, 100)
        values: dict[str, Any] = {"key_id": key_id, "plaintext": b"x"}
        batch: dict[str, Any] = {"items": [values] * 10}
        calls = [("Encrypt", values, token)] * 70 + [("BatchEncrypt", batch, token)] * 7
        results = _at_once(service, calls)
        outcomes = [outcome for result in results[70:] for outcome in result.outcomes]
        passed = sum(not isinstance(result, Exception) for result in results[:70])
        passed += sum(outcome.error is None for outcome in outcomes)
        assert passed == 100
        assert {type(result) for result in results[:70] if isinstance(result, Exception)} <= {refusal}
        assert {outcome.error.code for outcome in outcomes if outcome.error} <= {refusal.code()}
        events = [record for record in service.records() if record["eventName"] == "FreezePrincipal"]
        assert len(events) == (on_exceed == "FREEZE")


def test_who_has_no_budget_is_not_disturbed(tmp_path: Path) -> None:
    with InProcess(tmp_path) as service:
        key_id, token = _prepared(service, "REFUSE", 5)
        values = {"key_id": key_id, "plaintext": b"x"}
        other: tuple[str, dict[str, Any], str] = ("GenerateRandom", {"number_of_bytes": 1}, service.root_token)
        results = _at_once(service, [("Encrypt", values, token), other] * 30)
        assert sum(isinstance(result, ThrottlingException) for result in results[::2]) == 25
        assert not any(isinstance(result, Exception) for result in results[1::2])
