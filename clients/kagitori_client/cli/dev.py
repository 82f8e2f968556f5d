"""`kagitori dev`: the clock and the faults of an instance for tests."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer
from google.protobuf.timestamp_pb2 import Timestamp

from kagitori.kms.v1.dev_pb2 import (
    AdvanceClockRequest,
    ClearFaultsRequest,
    FaultKind,
    GetClockRequest,
    InjectFaultRequest,
    ListFaultsRequest,
    SetClockRequest,
)
from kagitori_client.cli.arguments import milliseconds, seconds
from kagitori_client.cli.failures import UsageError
from kagitori_client.cli.session import Session, command
from kagitori_client.client import pages

app = typer.Typer(help="The clock and the faults of a `kagitori-server dev`.", no_args_is_help=True)
_clock = typer.Typer(help="What time the instance has.", no_args_is_help=True)
_fault = typer.Typer(help="What goes wrong in it.", no_args_is_help=True)
app.add_typer(_clock, name="clock")
app.add_typer(_fault, name="fault")

_COLUMNS = ("fault_id", "kind", "operation", "region", "key_id", "calls_left", "calls_befallen")
_KINDS = {name.removeprefix("FAULT_KIND_").lower().replace("_", "-"): name for name in FaultKind.keys()[1:]}


@command(_clock, "show")
def show(session: Session) -> None:
    """Show the instance's time."""
    session.record(session.client.dev.GetClock(GetClockRequest()))


@command(_clock, "set", epilog="Example: kagitori dev clock set 2030-01-01T00:00:00Z")
def set_(
    session: Session, time: Annotated[str, typer.Argument(metavar="TIME", help="ISO 8601 with an offset.")]
) -> None:
    """Move the clock to a time that is still to come."""
    try:
        target = datetime.fromisoformat(time)
    except ValueError:
        target = None
    if target is None or target.tzinfo is None:
        raise UsageError(f"{time!r} is no time", hint="write it like 2030-01-01T00:00:00Z")
    now = Timestamp()
    now.FromDatetime(target.astimezone(UTC))
    session.record(session.client.dev.SetClock(SetClockRequest(now=now)))


@command(_clock, "advance", epilog="Example: kagitori dev clock advance 7d")
def advance(
    session: Session,
    duration: Annotated[str, typer.Argument(metavar="DURATION", help="A number and s, m, h or d.")],
) -> None:
    """Move the clock forward. Keys are rotated and deleted, and imported material expires, as time goes by."""
    session.record(session.client.dev.AdvanceClock(AdvanceClockRequest(seconds=seconds(duration))))


@command(
    _fault, "inject", epilog="Example: kagitori dev fault inject throttling --operation Encrypt --calls 3",
)
def inject(
    session: Session,
    kind: Annotated[str, typer.Argument(metavar="KIND", help=", ".join(_KINDS) + ".")],
    operation: Annotated[str | None, typer.Option(help="Only calls of this operation.")] = None,
    account: Annotated[str | None, typer.Option(help="Only calls by this account.", metavar="ID")] = None,
    of_region: Annotated[str | None, typer.Option(help="Only calls in this Region.", metavar="REGION")] = None,
    key: Annotated[str | None, typer.Option(help="Only calls about this key: id, ARN or alias.")] = None,
    calls: Annotated[int | None, typer.Option(help="So many calls; until it is cleared without it.")] = None,
    delay: Annotated[
        str | None, typer.Option(help="How late answers are, or when to try again, such as 250ms or 2s; 1s by default.")
    ] = None,
) -> None:
    """Let calls fail or be late."""
    if kind not in _KINDS:
        raise UsageError(f"{kind!r} is no kind of fault", hint=f"these are: {', '.join(_KINDS)}")
    request = InjectFaultRequest(
        kind=FaultKind.Value(_KINDS[kind]),
        operation=operation,
        account_id=account,
        region=of_region,
        key_id=None if key is None else session.key_id(key),
        calls=calls,
        delay_milliseconds=None if delay is None else milliseconds(delay),
    )
    session.record(session.client.dev.InjectFault(request).fault)


@command(_fault, "list")
def list_(session: Session) -> None:
    """List the faults in force."""
    every = pages(session.client.dev.ListFaults, ListFaultsRequest())
    session.records("faults", [fault for page in every for fault in page.faults], _COLUMNS)


@command(_fault, "clear")
def clear(
    session: Session,
    fault_id: Annotated[str | None, typer.Argument(metavar="[FAULT_ID]", help="All without it.")] = None,
) -> None:
    """End a fault, or all."""
    cleared = session.client.dev.ClearFaults(ClearFaultsRequest(fault_id=fault_id)).cleared
    session.done(f"{cleared} cleared", cleared=cleared)
