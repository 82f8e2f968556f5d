"""Decides recorded calls twice: by what the catalog holds now, and by the same with one change."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from kagitori_server.asking import decide_on_key, question
from kagitori_server.authn.authenticator import SocketIdentity, make_caller
from kagitori_server.authz.authorizer import Authorizer
from kagitori_server.model.errors import KmsError
from kagitori_server.model.keys import Key
from kagitori_server.model.lookup import Lookup
from kagitori_server.model.principals import (
    AccessKeyRecord,
    Caller,
    CertificateRecord,
    CredentialKind,
    PrincipalKind,
    PrincipalRecord,
    TokenRecord,
)
from kagitori_server.operations.administration.changes import Change, HolderChange, KeyChange
from kagitori_server.operations.administration.decisions import decided_by, outcome_of
from kagitori_server.operations.context import Context, Services
from kagitori_server.operations.identity_resources import identity_resource
from kagitori_server.operations.recipients import RECIPIENT, read_shown
from kagitori_server.operations.row import Operation, Permission, Resource
from kagitori_server.operations.shapes.decisions import Outcome, StatementReference
from kagitori_server.policy.evaluate import Decision
from kagitori_server.simulation.recorded import DENIED, Reason, RecordedCall, RecordedRequest, Undecidable, Watch
from kagitori_server.simulation.sessions import PastSessions
from kagitori_server.simulation.snapshot import Snapshot

_CALLERS = 10_000
_SKIPPED = ("", "Unknown", "WebIdentityUser")
"""Kinds of identity that no change here is about: the service itself, who wasn't authenticated, and whom trust policies
alone admit."""
_KINDS = ("Root", "IAMUser", "AssumedRole")

_Credential = TokenRecord | CertificateRecord | AccessKeyRecord | SocketIdentity
_Answer = tuple[Outcome, StatementReference | None]


@dataclass(frozen=True, slots=True)
class Verdict:
    """One permission that a call asked, decided both ways."""

    principal_arn: str
    action: str
    resource_arn: str
    before: Outcome
    after: Outcome
    statement: StatementReference | None
    refused: bool
    """Whether the call was refused for want of permission when it was made."""

    @property
    def turned(self) -> bool:
        """Whether the change makes the difference between allowed and refused."""
        return (self.before is Outcome.ALLOWED) is not (self.after is Outcome.ALLOWED)


@dataclass(frozen=True, slots=True)
class _Both:
    """A caller as it is and as it would be; one object twice where the change isn't about it."""

    now: Caller
    then: Caller


Rows = Mapping[tuple[str, str], Operation]
"""By the event source and name of their records: names of operations aren't told apart by themselves."""


class Judge:
    """Decides one call after another. For one thread. `watch` tells what the last decision depended on."""

    def __init__(
        self, services: Services, rows: Rows, lookup: Lookup, change: Change, past: PastSessions
    ) -> None:
        """`past` knows of sessions that the catalog doesn't any more."""
        self.watch = Watch()
        self._past = past
        snapshot = Snapshot(services.catalog, lookup, self.watch)
        self._services = services
        self._rows = rows
        self._change = change
        self._now, self._then = snapshot, snapshot
        if isinstance(change, KeyChange):
            self._now, self._then = snapshot.of(change.now), snapshot.of(change.then, change.without)
        self._authorizers = (
            Authorizer(context_of=self.watch.context_of), Authorizer(context_of=self.watch.context_of)
        )
        self._callers: dict[tuple[str, ...], _Both] = {}

    def judge(self, call: RecordedCall, when: float) -> tuple[Verdict, ...]:
        """What the change concerns of a call made at `when`, seconds since the epoch; empty where it's nothing.

        Raises Undecidable.
        """
        self.watch.begin()
        row = self._rows.get((call.source, call.operation))
        kind = str(call.identity.get("type") or "")
        if row is None or kind in _SKIPPED or call.asked_nothing:
            return ()
        if isinstance(self._change, KeyChange) and self._change.now.arn not in call.key_arns:
            return ()
        if kind not in _KINDS:
            # The copy of a record that the key's owner gets tells the account and no more.
            raise Undecidable(Reason.OTHER_ACCOUNT if kind == "AWSAccount" else Reason.NOT_SIMULATED)
        callers = self._caller(call)
        if isinstance(self._change, HolderChange) and callers.now is callers.then:
            return ()
        if not row.permissions:
            if row.check is not None:
                # A row without permissions asks by its check, if at all.
                raise Undecidable(Reason.NOT_SIMULATED, row.name)
            return ()
        try:
            return tuple(self._verdicts(row, call, callers, when))
        except KmsError as problem:
            # It would be refused before it's decided, by either of the policies.
            raise Undecidable(Reason.NOT_SIMULATED, problem.code()) from None

    def _verdicts(self, row: Operation, call: RecordedCall, callers: _Both, when: float) -> Iterator[Verdict]:
        request = RecordedRequest(row, call)
        slots = tuple(dict.fromkeys(permission.slot for permission in row.permissions if permission.slot))
        arns = dict(zip(slots, call.key_arns, strict=False))
        contexts = tuple(
            self._context(row, call, caller, request, when, snapshot)
            for caller, snapshot in ((callers.now, self._now), (callers.then, self._then))
        )
        for context, snapshot in zip(contexts, (self._now, self._then), strict=True):
            context.keys.update((slot, snapshot.key_at(arn)) for slot, arn in arns.items())
        for permission in row.permissions:
            if permission.when is not None and not permission.when(request):
                continue
            if isinstance(self._change, KeyChange) and arns.get(permission.slot or "") != self._change.now.arn:
                continue
            if permission.slot is not None and permission.slot not in arns:
                # It was refused before it got there.
                continue
            (before, resource, _), (after, _, statement) = (
                self._decide(authorizer, context, permission, request)
                for authorizer, context in zip(self._authorizers, contexts, strict=True)
            )
            yield Verdict(
                callers.now.arn, permission.action, resource, before, after, statement, call.error == DENIED
            )

    def _decide(
        self, authorizer: Authorizer, context: Context, permission: Permission, request: Any
    ) -> tuple[Outcome, str, StatementReference | None]:
        """As the pipeline does for a call that is made; and for a key that is supposed disabled, by its state."""
        if permission.slot is None:
            on = identity_resource(context, permission, request)
            asked = question(context, permission, None, None, on.account)
            decision = authorizer.on_identity(asked, on.arn, on.governing)
            return outcome_of(decision), on.arn, decided_by(decision, None)
        slot, key = context.operation.slot(permission.slot), context.keys[permission.slot]
        if permission.on is Resource.GRANT:
            decision = self._on_grant(authorizer, context, permission, key)
        else:
            decision = decide_on_key(authorizer, context, permission, slot, key)
        outcome = outcome_of(decision)
        by_state = isinstance(self._change, KeyChange) and self._change.disables
        if by_state and outcome is Outcome.ALLOWED and slot.states.refusal(key) is not None:
            return Outcome.IMPLICIT_DENY, key.arn, None
        return outcome, key.arn, decided_by(decision, key)

    def _on_grant(self, authorizer: Authorizer, context: Context, permission: Permission, key: Key) -> Decision:
        grant = self._now.grant(key, str(context.extra.get("grant_id")))
        if grant is None:
            raise Undecidable(Reason.GRANT_GONE)
        slot = context.operation.slot(permission.slot or "")
        return authorizer.on_grant(question(context, permission, slot, key, key.account), key, grant)

    def _context(
        self, row: Operation, call: RecordedCall, caller: Caller, request: Any, when: float, snapshot: Snapshot
    ) -> Context:
        context = Context(
            operation=row, caller=caller, request=request, evidence=call.evidence, account=caller.account,
            region=call.region, services=self._services, now=when, lookup=snapshot,
        )
        named: str | None = getattr(request, row.account_member) if row.account_member else None
        if named is not None:
            context.account = named.split(":", 5)[4] if named.count(":") >= 5 else named
        if "grantId" in call.extra:
            context.extra["grant_id"] = call.extra["grantId"]
        if RECIPIENT in call.extra:
            context.attestation = read_shown(_mapping(call.extra[RECIPIENT]), when)
        return context

    # --- who called ------------------------------------------------------------------------------------------

    def _caller(self, call: RecordedCall) -> _Both:
        identity = call.identity
        session = _mapping(identity.get("sessionContext"))
        known_by = tuple(
            str(each) for each in (
                identity.get("arn"), identity.get("principalId"), identity.get("accessKeyId"),
                _mapping(session.get("attributes")).get("creationDate"), session.get("sourceIdentity"),
            )
        )
        both = self._callers.get(known_by)
        if both is None:
            now = self._make_caller(identity, session)
            changed = self._change.of(now.record) if isinstance(self._change, HolderChange) else None
            both = _Both(now, now if changed is None else replace(now, record=changed))
            if len(self._callers) >= _CALLERS:
                self._callers.clear()
            self._callers[known_by] = both
        return both

    def _make_caller(self, identity: Mapping[str, Any], session: Mapping[str, Any]) -> Caller:
        is_session = identity.get("type") == "AssumedRole"
        arn = str(_mapping(session.get("sessionIssuer")).get("arn") if is_session else identity.get("arn"))
        unique_id, _, session_name = str(identity.get("principalId")).partition(":")
        principal = self._now.principal(arn)
        if principal is None or principal.principal_id != unique_id:
            raise Undecidable(Reason.PRINCIPAL_GONE)
        credential_id = str(identity.get("accessKeyId"))
        kind, credential = self._credential(credential_id, principal, session_name, session)
        caller = make_caller(kind, credential_id, credential, principal, self._services.partition)
        if caller.arn != identity.get("arn"):
            raise Undecidable(Reason.SESSION_GONE)
        return caller

    def _credential(
        self, credential_id: str, principal: PrincipalRecord, session_name: str, session: Mapping[str, Any]
    ) -> tuple[CredentialKind, _Credential]:
        """What the caller proved itself by, for what it says of a session. Users and root users have none."""
        if principal.kind is not PrincipalKind.ROLE:
            return CredentialKind.SOCKET, SocketIdentity(principal.arn, "", 0.0)
        with self._services.catalog.read() as reader:
            token = reader.get_token(credential_id)
            certificate = None if token is not None else reader.get_certificate(credential_id)
            access_key = reader.get_access_key(credential_id)
        if token is not None and token.principal_arn == principal.arn:
            return CredentialKind.TOKEN, token
        if certificate is not None and certificate.principal_arn == principal.arn:
            return CredentialKind.CERTIFICATE, certificate
        if access_key is not None and access_key.principal_arn == principal.arn:
            return CredentialKind.ACCESS_KEY, access_key
        try:
            began = datetime.fromisoformat(str(_mapping(session.get("attributes")).get("creationDate"))).timestamp()
        except ValueError:
            raise Undecidable(Reason.SESSION_GONE) from None
        if credential_id == CredentialKind.SOCKET:
            return CredentialKind.SOCKET, SocketIdentity(principal.arn, session_name, began)
        settled = self._past.find(credential_id)
        if settled is None:
            raise Undecidable(Reason.SESSION_GONE)
        identity = session.get("sourceIdentity")
        return CredentialKind.TOKEN, TokenRecord(
            token_id=credential_id,
            digest=b"",
            principal_arn=principal.arn,
            account=principal.account,
            session_name=session_name,
            description="",
            created=began,
            expires=None,
            session=replace(settled, source_identity=identity if isinstance(identity, str) else None),
        )


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
