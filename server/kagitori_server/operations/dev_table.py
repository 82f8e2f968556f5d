"""The rows of DevService, which are in the table of an instance for tests and of no other."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from kagitori_server.operations.admin_rows import reading
from kagitori_server.operations.administration import laboratory
from kagitori_server.operations.row import Handler, Operation, Resource, Table
from kagitori_server.operations.shapes import dev as shapes
from kagitori_server.operations.shapes.service import NoMembers


def dev_table(clock: laboratory.Clock, faults: laboratory.FaultBoard) -> Table:
    """The rows, working on these."""
    return {
        "GetClock": _row("GetClock", NoMembers, shapes.ClockResponse, partial(laboratory.get_clock, clock)),
        "SetClock": _changing(
            "SetClock", shapes.SetClockRequest, shapes.ClockResponse, partial(laboratory.set_clock, clock), "now"
        ),
        "AdvanceClock": _changing(
            "AdvanceClock", shapes.AdvanceClockRequest, shapes.ClockResponse,
            partial(laboratory.advance_clock, clock), "seconds",
        ),
        "InjectFault": _changing(
            "InjectFault", shapes.InjectFaultRequest, shapes.InjectFaultResponse,
            partial(laboratory.inject_fault, faults),
            "kind", "operation", "account_id", "region", "key_id", "calls", "delay_milliseconds",
        ),
        "ListFaults": _row(
            "ListFaults", shapes.ListFaultsRequest, shapes.ListFaultsResponse,
            partial(laboratory.list_faults, faults), "limit", "marker",
        ),
        "ClearFaults": _changing(
            "ClearFaults", shapes.ClearFaultsRequest, shapes.ClearFaultsResponse,
            partial(laboratory.clear_faults, faults), "fault_id",
        ),
    }


def _row(name: str, request: type, response: type, handler: Handler, *shown: str) -> Operation:
    return reading(
        name, request, response, handler,
        on=Resource.ACCOUNT, account_member=None, home_only=True, shown=shown,
    )


def _changing(name: str, request: type, response: type, handler: Handler, *shown: str) -> Operation:
    """It changes the instance, not the catalog: it is no row that writes."""
    return replace(_row(name, request, response, handler, *shown), read_only=False)
