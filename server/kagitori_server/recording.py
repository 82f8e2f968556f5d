"""From a call to its audit records: what the row allows to be shown, and nothing else; and which are done with."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from kagitori_server.attesting import Attested
from kagitori_server.audit.identity import INTERNAL, IdentityType, SessionFacts, render_identity
from kagitori_server.audit.record import (
    ADMIN_SOURCE,
    KMS_SOURCE,
    CallFacts,
    EventType,
    RecordForm,
    Resource,
    record_form,
    render_record,
)
from kagitori_server.model.arn import alias_arn
from kagitori_server.model.call import Call
from kagitori_server.model.errors import AccessDeniedException, KmsError
from kagitori_server.model.principals import Caller, CredentialKind, PrincipalKind
from kagitori_server.operations.consequences import Consequence
from kagitori_server.operations.context import Context
from kagitori_server.operations.row import Answer, BatchOperation, Operation

_EMPTY: tuple[object, ...] = ((), {})
_ENTITY_TYPES = {
    "user": "AWS::IAM::User", "root": "AWS::IAM::User", "role": "AWS::IAM::Role", "group": "AWS::IAM::Group",
    "policy": "AWS::IAM::ManagedPolicy", "oidc-provider": "AWS::IAM::OIDCProvider",
}
_NOBODY = render_identity(IdentityType.UNKNOWN)


@dataclass(slots=True, eq=False)
class Precedent:
    """What items of a batch share that say the same but for their payload (`BatchOperation.terms`): the admission of
    the first of them, and what their records have in common."""

    terms: tuple[Any, ...] = field(repr=False)
    context: Context
    """Of the first."""
    version: int
    """What the view had learnt of the catalog by then; with another the precedent is worth nothing."""
    form: RecordForm | None = None
    """Of the records of those that succeeded."""
    extra: dict[str, Any] = field(default_factory=dict)
    """What these show as additionalEventData."""


@dataclass(slots=True)
class Trace:
    """A call as far as it came: what is known of it when its record is written."""

    call: Call
    operation: Operation | None = None
    batch: BatchOperation | None = None
    """Set for a batch as a whole; each of its items has a trace of its own, with the item's operation."""
    caller: Caller | None = None
    request: Any = None
    context: Context | None = None
    precedent: Precedent | None = None
    """What its admission rests on, for an item of a batch, unless it was admitted for itself alone."""
    attested: Attested = field(default_factory=dict, repr=False)
    """The documents of its recipient that were verified; a batch shares it with its items."""
    prepared: Any = None
    """What the row's `prepare` made."""
    elsewhere: Executor | None = None
    """Where an admitted call is performed if not in the event loop."""
    admitted: float = 0.0
    """When it was admitted to be performed elsewhere, by the monotonic clock."""
    version: int = 0
    """What the view had learnt of the catalog before that."""
    answer: Any = None
    error: KmsError | None = None
    committing: bool = False
    """Whether its transaction has come so far that it may be committed."""
    rated: bool = False
    """Whether its rate has been looked at."""
    befallen: bool = False
    """Whether the faults of an instance for tests have been looked at."""
    delay: float = 0.0
    """Seconds by which they let the answer be late."""

    @property
    def writes(self) -> bool:
        """Whether the call changes the catalog."""
        return self.operation is not None and self.operation.writes


class Record(NamedTuple):
    """A rendered record, with the id under which the trail and the catalog know it."""

    event_id: str
    event: bytes
    own: bool = False
    """Whether it is of the call itself."""


class Recording:
    """Renders records. Keeps the identity part of at most `callers` callers."""

    def __init__(
        self, *, clock: Callable[[], float], new_event_id: Callable[[], str], partition: str, home_account: str,
        default_region: str, callers: int = 10_000,
    ) -> None:
        self._clock = clock
        self._new_event_id = new_event_id
        self._partition = partition
        self._home_account = home_account
        self._default_region = default_region
        self._callers = callers
        self._identities: dict[Caller, bytes] = {}

    def of_call(self, trace: Trace) -> list[Record]:
        """The record of a call, after those of what it led to; one more for each other account whose keys or principals
        it was about."""
        caller, context = trace.caller, trace.context
        account = caller.account if caller is not None else self._home_account
        owners = () if context is None or trace.error is not None else _foreign_owners(context, account)
        facts = self._facts(trace, account, shared=bool(owners))
        own = Record(facts.event_id, render_record(facts), own=True)
        if caller is None or context is None or trace.error is not None:
            return [own]
        besides = [self._besides(each, trace.call.request_id, caller) for each in context.consequences]
        return [*besides, own, *(self._owners_copy(facts, caller, owner) for owner in owners)]

    def of_item(self, trace: Trace) -> list[Record]:
        """The same for an item of a batch; what records of others have said before is not rendered anew."""
        precedent, context, row = trace.precedent, trace.context, trace.operation
        if precedent is None or context is None or row is None or trace.error is not None or trace.caller is None:
            return self.of_call(trace)
        form = precedent.form
        if form is None or precedent.extra != context.extra:
            account = trace.caller.account
            if row.audit.answer is not Answer.NOTHING or _foreign_owners(context, account):
                return self.of_call(trace)
            form = precedent.form = record_form(self._facts(trace, account, shared=False))
            precedent.extra = context.extra
        event_id = self._new_event_id()
        return [Record(event_id, form.render(self._clock(), event_id), own=True)]

    def _facts(self, trace: Trace, account: str, *, shared: bool) -> CallFacts:
        """What the record of a call says to `account`; `shared` with others."""
        call, caller, context, row = trace.call, trace.caller, trace.context, trace.operation
        event_id = self._new_event_id()
        return CallFacts(
            event_id=event_id,
            request_id=call.request_id,
            event_time=self._clock(),
            event_name=call.operation if row is None else row.name,
            event_source=KMS_SOURCE if row is None else f"{row.service}.amazonaws.com",
            region=self._default_region if context is None else context.region,
            user_identity=_NOBODY if caller is None else self._identity(caller),
            source_ip=call.evidence.source_ip,
            user_agent=call.evidence.user_agent,
            read_only=_is_read_only(trace),
            recipient_account=account,
            request_parameters=_request_shown(row, trace.request),
            response_elements=_answer_shown(row, trace),
            additional_event_data=context.extra if context is not None and context.extra else None,
            error_code=_error_code(trace.error),
            error_message=trace.error.message if trace.error is not None and trace.error.message else None,
            resources=self._resources(row, trace.request, context),
            tls=call.evidence.tls,
            shared_event_id=event_id if shared else None,
        )

    def of_service(self, event: Consequence) -> Record:
        """The record of something the service did by itself to a key."""
        return self._besides(event, None, None)

    def _besides(self, event: Consequence, request_id: str | None, caller: Caller | None) -> Record:
        """A record beside that of a call of `caller`, or of no call."""
        event_id, key = self._new_event_id(), event.key
        if event.by_caller and caller is not None:
            identity = _render_caller(caller, invoked_by=INTERNAL)
        else:
            identity = render_identity(IdentityType.INTERNAL, account_id=key.account, invoked_by=INTERNAL)
        facts = CallFacts(
            event_id=event_id,
            request_id=request_id if event.api_call else None,
            event_time=self._clock(),
            event_name=event.name,
            event_type=EventType.API_CALL if event.api_call else EventType.SERVICE_EVENT,
            region=key.region,
            user_identity=identity,
            source_ip=INTERNAL,
            user_agent=INTERNAL,
            read_only=False,
            recipient_account=key.account,
            request_parameters=event.request,
            response_elements=event.answer,
            additional_event_data=event.extra,
            resources=(Resource(key.account, key.arn),),
            service_event_details=event.details,
        )
        return Record(event_id, render_record(facts))

    def of_upkeep(self, name: str, details: Mapping[str, object]) -> Record:
        """The record of something the service did by itself to what belongs to no account: one of the home account's
        administration."""
        event_id = self._new_event_id()
        identity = render_identity(IdentityType.INTERNAL, account_id=self._home_account, invoked_by=INTERNAL)
        facts = CallFacts(
            event_id=event_id, request_id=None, event_time=self._clock(), event_name=name, event_source=ADMIN_SOURCE,
            event_type=EventType.SERVICE_EVENT, region=self._default_region, user_identity=identity,
            source_ip=INTERNAL, user_agent=INTERNAL, read_only=False,
            recipient_account=self._home_account, service_event_details=details,
        )
        return Record(event_id, render_record(facts))

    def _owners_copy(self, facts: CallFacts, caller: Caller, owner: str) -> Record:
        """The caller's account and unique id are all that another account is told of it."""
        event_id = self._new_event_id()
        identity = render_identity(
            IdentityType.AWS_ACCOUNT, principal_id=caller.user_id, account_id=caller.account
        )
        copy = replace(facts, event_id=event_id, user_identity=identity, recipient_account=owner)
        return Record(event_id, render_record(copy))

    def _identity(self, caller: Caller) -> bytes:
        known = self._identities.get(caller)
        if known is None:
            known = _render_caller(caller)
            if len(self._identities) >= self._callers:
                self._identities.clear()
            self._identities[caller] = known
        return known

    def _resources(self, row: Operation | None, request: Any, context: Context | None) -> tuple[Resource, ...]:
        if context is None or row is None:
            return ()
        keys = (Resource(key.account, key.arn) for key in context.keys.values())
        found = (*keys, *map(_entity_resource, context.entities))
        if row.alias_member is None or request is None:
            return found
        name = alias_arn(self._partition, context.region, context.account, getattr(request, row.alias_member))
        return (Resource(context.account, name), *found)


def _entity_resource(arn: str) -> Resource:
    account, named = arn.split(":", 5)[4:]
    return Resource(account, arn, _ENTITY_TYPES[named.partition("/")[0]])


class SettledIntents:
    """Intents whose records are in the trail: what the next write transaction may forget. Thread-safe."""

    def __init__(self) -> None:
        self._ids: dict[str, None] = {}
        self._lock = threading.Lock()

    def add(self, records: Sequence[Record], *, written: bool) -> None:
        """Notes records that have become durable; `written` when they were intents of a transaction."""
        if written:
            with self._lock:
                self._ids.update((record.event_id, None) for record in records)

    def peek(self) -> list[str]:
        """What may be forgotten now, at most 500."""
        with self._lock:
            return list(self._ids)[:500]

    def forget(self, event_ids: Sequence[str]) -> None:
        """The catalog has forgotten these."""
        with self._lock:
            for event_id in event_ids:
                self._ids.pop(event_id, None)


def _is_read_only(trace: Trace) -> bool:
    row = trace.operation if trace.batch is None else trace.batch.item
    return row is not None and row.read_only


def _foreign_owners(context: Context, account: str) -> tuple[str, ...]:
    """The other accounts whose keys or principals the call was about."""
    foreign: dict[str, None] = {}
    for key in context.keys.values():
        if key.account != account:
            foreign[key.account] = None
    if context.account != account:
        foreign[context.account] = None
    return tuple(foreign)


def _request_shown(row: Operation | None, request: Any) -> dict[str, object] | None:
    if row is None or request is None:
        return None
    shown: dict[str, object] = {}
    assumed = {} if row.audit.request_assumed is None else row.audit.request_assumed(request)
    for name in row.audit.request_shown:
        value = getattr(request, name)
        if value is None:
            value = assumed.get(name)
        if value is not None and value not in _EMPTY:
            shown[name] = value
    return shown or None


def _answer_shown(row: Operation | None, trace: Trace) -> dict[str, object] | None:
    if row is None or trace.error is not None or trace.context is None or row.audit.answer is Answer.NOTHING:
        return None
    shown: dict[str, object] = {}
    for name in row.audit.response_shown:
        structure, _, member = name.rpartition(".")
        if structure:
            inner: Any = shown.setdefault(structure, {})
            inner[member] = getattr(getattr(trace.answer, structure), member)
        else:
            shown[name] = getattr(trace.answer, name)
    if row.audit.answer is Answer.KEY_ARN:
        shown["key_id"] = next(reversed(trace.context.keys.values())).arn
    return shown


def _error_code(error: KmsError | None) -> str | None:
    if error is None:
        return None
    # CloudTrail's own word for refusals of permission.
    return "AccessDenied" if isinstance(error, AccessDeniedException) else error.code()


def _render_caller(caller: Caller, invoked_by: str | None = None) -> bytes:
    record = caller.record
    if caller.credential_kind is CredentialKind.EXCHANGED_TOKEN:
        return _render_bearer(caller)
    if caller.kind is PrincipalKind.ROLE:
        session = SessionFacts("Role", record.principal_id, record.arn, record.account, record.name,
                               caller.session_started, source_identity=caller.source_identity,
                               federated_provider=caller.federated_provider)
        return render_identity(
            IdentityType.ASSUMED_ROLE, principal_id=caller.user_id, arn=caller.arn, account_id=caller.account,
            access_key_id=caller.credential_id, session=session, invoked_by=invoked_by,
        )
    if caller.kind is PrincipalKind.USER:
        return render_identity(
            IdentityType.IAM_USER, principal_id=caller.user_id, arn=caller.arn, account_id=caller.account,
            access_key_id=caller.credential_id, user_name=record.name, invoked_by=invoked_by,
        )
    return render_identity(
        IdentityType.ROOT, principal_id=caller.user_id, arn=caller.arn, account_id=caller.account,
        access_key_id=caller.credential_id, invoked_by=invoked_by,
    )


def _render_bearer(caller: Caller) -> bytes:
    """Who shows a token of an OpenID Connect issuer to open a session with, and has none yet."""
    provider, subject, audience = caller.federated_provider, "", ""
    if caller.web_identity is not None:
        subject, audience = caller.web_identity.subject, caller.web_identity.audience
    return render_identity(
        IdentityType.WEB_IDENTITY_USER, principal_id=f"{provider}:{audience}:{subject}", user_name=subject,
        identity_provider=provider,
    )
