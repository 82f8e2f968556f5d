"""LookupEvents and VerifyAuditTrail."""

from __future__ import annotations

from kagitori_server.model.errors import NoSuchEntityException
from kagitori_server.model.limits import SECONDS_PER_DAY
from kagitori_server.operations.administration.ports import EventQuery, FoundDelivery, FoundEvent, FoundProblem
from kagitori_server.operations.context import Context
from kagitori_server.operations.shapes import audit as shapes

LOOKUP_DAYS = 90
"""How far LookupEvents looks back, as in CloudTrail. The trail itself is kept."""

_MOST_RESULTS = 50
_NO_HEAD = bytes(32)


def lookup_events(context: Context, request: shapes.LookupEventsRequest) -> shapes.LookupEventsResponse:
    """Lists records of the account, newest first (AWS CloudTrail LookupEvents)."""
    wanted = request.lookup_attribute
    query = EventQuery(
        account=context.account,
        start_time=request.start_time,
        end_time=request.end_time,
        attribute=None if wanted is None else (wanted.attribute_key.value, wanted.attribute_value),
        max_results=request.max_results or _MOST_RESULTS,
        next_token=request.next_token,
    )
    page = context.services.administration.audit.lookup(query)
    # The bound isn't part of the query: it moves, and a token goes with one query only.
    oldest = context.now - LOOKUP_DAYS * SECONDS_PER_DAY
    recent = tuple(_event(event) for event in page.events if event.event_time >= oldest)
    return shapes.LookupEventsResponse(
        events=recent, next_token=page.next_token if len(recent) == len(page.events) else None
    )


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
