"""DevService, in instances for tests alone: GetClock, SetClock, AdvanceClock, InjectFault, ListFaults, ClearFaults."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from kagitori_server.model.errors import NotFoundException, ValidationException
from kagitori_server.model.faults import Fault, FaultKind
from kagitori_server.operations.administration.pages import read_page
from kagitori_server.operations.context import Context
from kagitori_server.operations.shapes import dev as shapes
from kagitori_server.operations.shapes.service import NoMembers

CLOCK_END = 32_503_680_000.0
"""The year 3000, before which the clock stays."""


class Clock(Protocol):
    """The instance's time, which moves forward only."""

    def now(self) -> float:
        """Seconds since the epoch."""
        ...

    def move_to(self, target: float) -> None:
        """Moves there, and has happen what falls due on the way. Blocks.

        Raises KmsError when that fails; the clock stays where that was.
        """
        ...


class FaultBoard(Protocol):
    """The faults that are in force."""

    def inject(self, request: shapes.InjectFaultRequest) -> Fault:
        """Raises ValidationException for an operation that isn't served, LimitExceededException."""
        ...

    def listed(self, after: str, limit: int) -> Sequence[Fault]:
        """Those with ids greater than `after`, oldest first."""
        ...

    def clear(self, fault_id: str | None) -> int:
        """Ends one or all, and tells how many."""
        ...


def get_clock(clock: Clock, _context: Context, _request: NoMembers) -> shapes.ClockResponse:
    """Tells the time."""
    return shapes.ClockResponse(now=clock.now())


def set_clock(clock: Clock, _context: Context, request: shapes.SetClockRequest) -> shapes.ClockResponse:
    """Moves the clock to a time that hasn't come yet."""
    if request.now < clock.now():
        raise ValidationException("The clock moves forward only, and this time is past.")
    return _moved(clock, request.now)


def advance_clock(clock: Clock, _context: Context, request: shapes.AdvanceClockRequest) -> shapes.ClockResponse:
    """Moves the clock by so many seconds."""
    return _moved(clock, clock.now() + request.seconds)


def _moved(clock: Clock, target: float) -> shapes.ClockResponse:
    if target >= CLOCK_END:
        raise ValidationException("The clock stays before the year 3000.")
    clock.move_to(target)
    return shapes.ClockResponse(now=clock.now())


def inject_fault(
    faults: FaultBoard, context: Context, request: shapes.InjectFaultRequest
) -> shapes.InjectFaultResponse:
    """Lets calls fail, or be late."""
    if request.kind is FaultKind.REGION_LOSS and request.region is None:
        raise ValidationException("A lost Region must be named.")
    if request.region is not None and request.region not in context.services.regions:
        raise ValidationException(f"The Region {request.region!r} is not served here.")
    return shapes.InjectFaultResponse(fault=faults.inject(request))


def list_faults(
    faults: FaultBoard, context: Context, request: shapes.ListFaultsRequest
) -> shapes.ListFaultsResponse:
    """Lists the faults in force."""
    page = read_page(
        context.operation.name, request.marker, request.limit, faults.listed, lambda fault: fault.fault_id
    )
    return shapes.ListFaultsResponse(faults=page.items, next_marker=page.next_marker, truncated=page.truncated)


def clear_faults(
    faults: FaultBoard, _context: Context, request: shapes.ClearFaultsRequest
) -> shapes.ClearFaultsResponse:
    """Ends one fault, or all."""
    cleared = faults.clear(request.fault_id)
    if request.fault_id is not None and not cleared:
        raise NotFoundException(f"There is no fault {request.fault_id}.")
    return shapes.ClearFaultsResponse(cleared=cleared)
