"""`kagitori audit`: the record of every call, and the proof that it is whole."""

from __future__ import annotations

import json
import sys
import time
from collections import deque
from typing import Annotated

import typer

from kagitori.kms.v1.audit_pb2 import (
    AuditEvent,
    LookupAttribute,
    LookupAttributeKey,
    LookupEventsRequest,
    LookupEventsResponse,
    VerifyAuditTrailRequest,
)
from kagitori_client.cli.failures import AuditTrailBroken, UsageError
from kagitori_client.cli.session import Session, command
from kagitori_client.cli.text import Plain, moment, plain, printable
from kagitori_client.client import pages
from kagitori_client.status import REQUEST_ID

app = typer.Typer(help="Read and verify the audit trail.", no_args_is_help=True)

_PREFIX = "LOOKUP_ATTRIBUTE_KEY_"
_ATTRIBUTES = {
    name.removeprefix(_PREFIX).lower().replace("_", "-"): number
    for name, number in LookupAttributeKey.items()
    if number != LookupAttributeKey.LOOKUP_ATTRIBUTE_KEY_UNSPECIFIED
}
_POLL = 2.0
_OVERLAP = 10  # seconds; records of several server processes don't come strictly in order
_REMEMBERED = 10_000


def _attribute(text: str) -> LookupAttribute:
    name, equals, value = text.partition("=")
    if not equals or not value or name not in _ATTRIBUTES:
        raise UsageError(
            f"--filter wants ATTRIBUTE=VALUE, not {text!r}", hint=f"attributes: {', '.join(_ATTRIBUTES)}"
        )
    return LookupAttribute(attribute_key=_ATTRIBUTES[name], attribute_value=value)


def _newest(
    session: Session, request: LookupEventsRequest, limit: int | None, own: deque[str]
) -> list[AuditEvent]:
    """The newest records, oldest first; all that match when there is no limit.

    Puts the request ids of its calls into `own`.
    """

    def look_up(asked: LookupEventsRequest) -> LookupEventsResponse:
        answer, call = session.client.admin.LookupEvents.with_call(asked)
        own.extend(str(value) for name, value in call.trailing_metadata() if name == REQUEST_ID)
        return answer

    found: list[AuditEvent] = []
    for page in pages(look_up, request):
        found += page.events
        if limit is not None and len(found) >= limit:
            break
    return found[:limit][::-1]


def _print(session: Session, event: AuditEvent) -> None:
    """One record on one line."""
    record = _record(event)
    if session.as_json:
        sys.stdout.write(json.dumps({**plain(event), "cloud_trail_event": record}, ensure_ascii=False) + "\n")
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


@command(app, "tail", epilog="Example: kagitori audit tail -n 50 --filter event-name=Decrypt --follow")
def tail(
    session: Session,
    number: Annotated[int, typer.Option("-n", min=1, max=10_000, help="How many of the newest records.")] = 20,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with new ones until interrupted.")] = False,
    only: Annotated[
        str | None,
        typer.Option("--filter", help=f"One of {', '.join(_ATTRIBUTES)}, = and the value.", metavar="ATTR=VALUE"),
    ] = None,
) -> None:
    """Print the newest audit records, the latest last; as JSON, one record per line."""
    request = LookupEventsRequest(lookup_attribute=_attribute(only) if only else None)
    seen: deque[str] = deque(maxlen=_REMEMBERED)
    # A look-up is a call and leaves a record itself: without leaving out its own, --follow would never be silent.
    own: deque[str] = deque(maxlen=_REMEMBERED)
    limit: int | None = number
    while True:
        for event in _newest(session, request, limit, own):
            if event.event_id not in seen and _record(event).get("requestID") not in own:
                seen.append(event.event_id)
                _print(session, event)
                request.start_time.FromSeconds(event.event_time.seconds - _OVERLAP)
        if not follow:
            return
        limit = None if request.HasField("start_time") else number
        time.sleep(_POLL)


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
    shown = ["chain_name", "records", "first_sequence", "last_sequence", "intact", "head_hash"]
    session.rows("chains", rows, shown)
    if problems:
        described = [p for found in answer.chains for p in found.problems]
        first = described[0]
        place = f"{first.chain_name}, {first.segment_file}:{first.line}"
        raise AuditTrailBroken(f"{problems} problems in the trail, the first at {place}: {first.description}")
    found_delivered = answer.delivery
    if found_delivered.problem_count:
        worst = found_delivered.problems[0]
        raise AuditTrailBroken(
            f"{found_delivered.problem_count} problems in what was delivered, the first at {worst.place}: "
            f"{worst.description}"
        )
