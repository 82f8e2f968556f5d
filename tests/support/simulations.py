"""Simulations of policies as tests run them: changes, and everything that a stream told."""

from __future__ import annotations

import contextlib
from typing import Any

from tests.support.inprocess import InProcess
from tests.support.kms_calls import user_arn

from kagitori_server.model.errors import AccessDeniedException
from kagitori_server.operations.shapes.simulation import SimulationFinding, SimulationProgress, SimulationUndecided


class Result:
    """Everything that a simulation told."""

    def __init__(self, stream: Any) -> None:
        self.progress: list[SimulationProgress] = []
        self.findings: list[SimulationFinding] = []
        self.undecided: list[SimulationUndecided] = []
        while (message := stream.pull()) is not None:
            for into, member in (
                (self.progress, message.progress), (self.findings, message.finding),
                (self.undecided, message.undecided),
            ):
                if member is not None:
                    into.append(member)
        assert [each.finished for each in self.progress] == [False] * (len(self.progress) - 1) + [True]

    @property
    def found(self) -> list[tuple[str, str, str, str, int]]:
        """(who, action, before, after, calls)"""
        return [
            (each.principal_arn.rpartition("/")[2], each.action, each.before, each.after, each.calls)
            for each in self.findings
        ]

    @property
    def reasons(self) -> dict[str, int]:
        """Reason -> calls that weren't decided."""
        return {each.reason: each.calls for each in self.undecided}


def simulate(service: InProcess, **values: Any) -> Result:
    return Result(service.call("SimulatePolicy", values))


def key_change(key: str, policy: str) -> dict[str, Any]:
    return {"key_policy": {"key_id": key, "policy": policy}}


def identity_change(name: str, document: str | None, policy: str = "use") -> dict[str, Any]:
    change = {"principal_arn": user_arn(name), "policy_name": policy}
    return {"identity_policy": change if document is None else {**change, "policy_document": document}}


def used(service: InProcess, token: str, key: str, times: int = 1, **values: Any) -> None:
    """Calls of Encrypt, allowed or not."""
    for _ in range(times):
        with contextlib.suppress(AccessDeniedException):
            service.call("Encrypt", {"key_id": key, "plaintext": b"x", **values}, token=token)
