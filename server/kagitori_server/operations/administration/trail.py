"""LookupEvents, TailEvents, ExportEvents and VerifyAuditTrail."""

from __future__ import annotations

from collections.abc import Sequence

from kagitori_server.model.errors import NoSuchEntityException
from kagitori_server.model.limits import SECONDS_PER_DAY
from kagitori_server.operations.administration.ports import (
    EventFilter,
    EventQuery,
    FoundDelivery,
    FoundEvent,
    FoundProblem,
)
from kagitori_server.operations.context import Context
from kagitori_server.operations.shapes import audit as shapes
from kagitori_server.operations.streams import Stream

LOOKUP_DAYS = 90
"""How far look-ups go back unless told, as CloudTrail's do always. The trail itself is kept."""

_MOST_RESULTS = 50
_NO_HEAD = bytes(32)


def lookup_events(context: Context, request: shapes.LookupEventsRequest) -> shapes.LookupEventsResponse:
    """Lists records of the account, newest first (AWS CloudTrail LookupEvents)."""
    wanted = request.lookup_attribute
    query = EventQuery(
        account=context.account,
        start_time=request.start_time,
        end_time=request.end_time,
        attribute=None if wanted is None else _filter(wanted),
        max_results=request.max_results or _MOST_RESULTS,
        next_token=request.next_token,
        filters=_filters(request.filters),
        # Not a start time: it moves, and a token goes with one query only.
        not_before=context.now - LOOKUP_DAYS * SECONDS_PER_DAY if request.start_time is None else None,
    )
    page = context.services.administration.audit.lookup(query)
    return shapes.LookupEventsResponse(events=_events(page.events), next_token=page.next_token)


def tail_events(context: Context, request: shapes.TailEventsRequest) -> Stream[shapes.TailEventsResponse]:
    """Gives the records that came since, or from now on."""
    query = _query(context, request.filters, request.resume_token)
    audit = context.services.administration.audit
    return audit.tail(query, request.backlog or 0, context.request_id).of(
        lambda portion: shapes.TailEventsResponse(
            events=_events(portion.events), resume_token=portion.resume_token
        )
    )


def export_events(context: Context, request: shapes.ExportEventsRequest) -> Stream[shapes.ExportEventsResponse]:
    """Gives all records of a period."""
    query = _query(context, request.filters, request.resume_token, request.start_time, request.end_time)
    return context.services.administration.audit.export(query).of(
        lambda portion: shapes.ExportEventsResponse(
            events=_events(portion.events), resume_token=portion.resume_token, complete=portion.complete
        )
    )


def _query(
    context: Context, filters: tuple[shapes.LookupAttribute, ...] | None, token: str | None,
    start: float | None = None, end: float | None = None,
) -> EventQuery:
    return EventQuery(
        account=context.account, start_time=start, end_time=end, attribute=None, max_results=_MOST_RESULTS,
        next_token=token, filters=_filters(filters),
    )


def _filters(wanted: tuple[shapes.LookupAttribute, ...] | None) -> tuple[EventFilter, ...]:
    return tuple(map(_filter, wanted or ()))


def _filter(wanted: shapes.LookupAttribute) -> EventFilter:
    return wanted.attribute_key.value, wanted.attribute_value, wanted.context_key


def verify_audit_trail(
    context: Context, request: shapes.VerifyAuditTrailRequest
) -> shapes.VerifyAuditTrailResponse:
    """Reads the trail and checks every link. What is wrong is answered, not raised."""
    found = context.services.administration.audit.verify()
    chains = {
        chain.chain: shapes.AuditChain(
            chain_name=chain.chain,
            records=chain.records,
            first_sequence=chain.first_seq,
            last_sequence=chain.last_seq,
            head_hash=bytes.fromhex(chain.head),
            problems=tuple(map(_problem, chain.problems)),
            pruned_sequence=chain.pruned_seq,
        )
        for chain in found.chains
    }
    for problem in found.problems:
        chains[problem.chain] = shapes.AuditChain(
            chain_name=problem.chain,
            records=0,
            first_sequence=0,
            last_sequence=0,
            head_hash=_NO_HEAD,
            problems=(_problem(problem),),
        )
    names = sorted(chains) if request.chain_name is None else [request.chain_name]
    if not chains.keys() >= set(names):
        raise NoSuchEntityException(f"The audit chain with name {request.chain_name} cannot be found.")
    delivered = context.services.administration.audit.check_delivered() if request.delivered else None
    return shapes.VerifyAuditTrailResponse(
        chains=tuple(chains[name] for name in names),
        delivery=None if delivered is None else _delivery(delivered),
    )


def _delivery(found: FoundDelivery) -> shapes.DeliveryCheck:
    return shapes.DeliveryCheck(
        digests=found.digests,
        log_files=found.log_files,
        records=found.records,
        sealed=found.sealed,
        problem_count=found.problem_count,
        problems=tuple(
            shapes.DeliveryProblem(place=problem.place, description=problem.description) for problem in found.problems
        ),
    )


def _events(found: Sequence[FoundEvent]) -> tuple[shapes.AuditEvent, ...]:
    return tuple(map(_event, found))


def _event(event: FoundEvent) -> shapes.AuditEvent:
    return shapes.AuditEvent(
        event_id=event.event_id,
        event_name=event.event_name,
        read_only=event.read_only == "true",
        event_time=event.event_time,
        event_source=event.event_source,
        # No user and no session can be called root.
        username=None if event.username == "root" else event.username,
        access_key_id=event.access_key_id,
        resources=tuple(
            shapes.EventResource(resource_type=kind, resource_name=name) for kind, name in event.resources
        ),
        cloud_trail_event=event.cloud_trail_event,
    )


def _problem(problem: FoundProblem) -> shapes.AuditProblem:
    return shapes.AuditProblem(
        chain_name=problem.chain,
        segment_file=problem.segment or "",
        line=problem.line or 0,
        description=problem.description,
    )
