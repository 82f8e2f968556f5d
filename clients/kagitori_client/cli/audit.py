"""`kagitori audit`: the record of every call, and the proof that it is whole."""

from __future__ import annotations

import json
import sys
import time
from typing import Annotated

import typer

from kagitori.kms.v1.audit_pb2 import (
    AuditEvent,
    LookupEventsRequest,
    TailEventsRequest,
    VerifyAuditTrailRequest,
)
from kagitori_client.cli import audit_export
from kagitori_client.cli.arguments import point_in_time
from kagitori_client.cli.audit_filters import ATTRIBUTES, filters
from kagitori_client.cli.failures import AuditTrailBroken
from kagitori_client.cli.session import Session, command
from kagitori_client.cli.text import Plain, json_text, moment, plain, printable
from kagitori_client.client import pages
from kagitori_client.errors import ConnectionFailed, ServiceError

app = typer.Typer(help="Read and verify the audit trail.", no_args_is_help=True)
audit_export.register(app)

_POLL = 1.0
_LONGEST_PAUSE = 30.0

_Filters = Annotated[
    list[str] | None,
    typer.Option("--filter", help=f"One of {', '.join(ATTRIBUTES)}, = and the value; repeat for more.",
                 metavar="ATTR=VALUE"),
]
_Context = Annotated[
    list[str] | None,
    typer.Option("--context", help="A pair of the encryption context; repeat for more.", metavar="NAME=VALUE"),
]
_Account = Annotated[str | None, typer.Option(help="Another account than the caller's.", metavar="ACCOUNT")]


def _print(session: Session, event: AuditEvent) -> None:
    """One record on one line."""
    record = _record(event)
    if session.as_json:
        sys.stdout.write(json_text({**plain(event), "cloud_trail_event": record}) + "\n")
    else:
        outcome = str(record.get("errorCode") or "ok")
        identity = record.get("userIdentity")
        # Root users, the service itself and callers nobody knows have no name; their kind says who it was.
        kind = identity.get("type") or identity.get("invokedBy") if isinstance(identity, dict) else None
        who = event.username or str(kind or "-")
        about = " ".join(dict.fromkeys(resource.resource_name for resource in event.resources)) or "-"
        line = f"{moment(event.event_time)}  {event.event_name:<24}  {outcome:<28}  {who:<20}  {about}"
        sys.stdout.write(printable(line) + "\n")
    sys.stdout.flush()


def _record(event: AuditEvent) -> dict[str, Plain]:
    try:
        record = json.loads(event.cloud_trail_event)
    except ValueError:
        return {}
    return record if isinstance(record, dict) else {}


@command(
    app, "lookup",
    epilog="Example: kagitori audit lookup --filter username=alice --filter outcome=failure --from 30d",
)
def lookup(
    session: Session,
    only: _Filters = None,
    context: _Context = None,
    since: Annotated[
        str | None,
        typer.Option("--from", help="Records from then on: a time, or how long ago such as 30d; 90d by default.",
                     metavar="TIME"),
    ] = None,
    until: Annotated[
        str | None, typer.Option("--to", help="Records up to then, likewise; now by default.", metavar="TIME")
    ] = None,
    number: Annotated[int, typer.Option("-n", min=1, max=1_000_000, help="At most so many.")] = 50,
    account: _Account = None,
) -> None:
    """Find audit records, the latest first; those that fit all filters. As JSON, one record per line."""
    request = LookupEventsRequest(filters=filters(only, context), account_id=account)
    for text, into in ((since, request.start_time), (until, request.end_time)):
        if text is not None:
            into.CopyFrom(point_in_time(text))
    left = number
    for page in pages(session.client.admin.LookupEvents, request):
        for event in page.events[:left]:
            _print(session, event)
        left -= len(page.events)
        if left <= 0:
            return


@command(app, "tail", epilog="Example: kagitori audit tail -n 50 --filter event-name=Decrypt --follow")
def tail(
    session: Session,
    number: Annotated[int, typer.Option("-n", min=1, max=10_000, help="How many of the newest records.")] = 20,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with new ones until interrupted.")] = False,
    only: _Filters = None,
    context: _Context = None,
    account: _Account = None,
) -> None:
    """Print the newest audit records, the latest last; as JSON, one record per line."""
    request = TailEventsRequest(filters=filters(only, context), account_id=account, backlog=number)
    pause = _POLL
    while True:
        try:
            token, first = "", not request.resume_token
            for message in session.client.admin.TailEvents(request):
                for event in message.events:
                    _print(session, event)
                token, pause = message.resume_token, _POLL
                if not first:
                    request.resume_token = token
            # All of a backlog has the same token, so one that broke off can't be gone on with.
            request.resume_token = token or request.resume_token
        except (ConnectionFailed, ServiceError) as error:
            # What was printed is behind the token: nothing is missed and nothing comes twice.
            passing = isinstance(error, ConnectionFailed) or error.retry_after is not None
            if not follow or not passing or not request.resume_token:
                raise
            pause = min(pause * 2, _LONGEST_PAUSE)
        if not follow:
            return
        time.sleep(pause)


@command(app, "verify")
def verify(
    session: Session,
    chain: Annotated[str | None, typer.Option(help="Only this chain.", metavar="NAME")] = None,
    delivered: Annotated[bool, typer.Option("--delivered", help="Look at what was delivered as well.")] = False,
) -> None:
    """Check every record of the trail against the one before; exit code 4 if anything is wrong.

    Keep the head hashes somewhere else: they prove later that nothing was cut off the end.
    """
    answer = session.client.admin.VerifyAuditTrail(VerifyAuditTrailRequest(chain_name=chain, delivered=delivered))
    rows: list[dict[str, Plain]] = []
    problems = 0
    for found in answer.chains:
        problems += len(found.problems)
        rows.append({**plain(found), "head_hash": found.head_hash.hex(), "intact": not found.problems})
    shown = ["chain_name", "records", "first_sequence", "last_sequence", "pruned_sequence", "intact", "head_hash"]
    session.rows("chains", rows, shown)
    if problems:
        described = [p for found in answer.chains for p in found.problems]
        first = described[0]
        place = f"{first.chain_name}, {first.segment_file}:{first.line}"
        raise AuditTrailBroken(f"{problems} problems in the trail, the first at {place}: {first.description}")
    found_delivered = answer.delivery
    if found_delivered.sealed:
        typer.echo(
            f"{found_delivered.sealed} delivered log files are encrypted: what is in them was not verified, nor that "
            "no record is missing from what was delivered.", err=True,
        )
    if found_delivered.problem_count:
        worst = found_delivered.problems[0]
        raise AuditTrailBroken(
            f"{found_delivered.problem_count} problems in what was delivered, the first at {worst.place}: "
            f"{worst.description}"
        )
