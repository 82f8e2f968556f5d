"""Steps 4 to 9 of the way of a call: whether it may be performed, and on what.

    4. resolve               the keys that the request names
    5. authorise             every permission of the row; default deny
    6. rate, freezes         a token for the call, allowed or not; whether its caller is frozen on its keys
    7. state and usage       by the row, then the operation's own parameter checks
    8. dry run               stops here
    9. budgets               count the use of keys; given back if it comes to nothing

Nothing is performed here. An admission may be made again for the same call, and then rests on what holds by then.
"""

from __future__ import annotations

from typing import Any, Protocol

from kagitori_server.asking import decide_on_key, question
from kagitori_server.attesting import Attesting
from kagitori_server.authz.authorizer import Authorizer
from kagitori_server.counting import Limiter
from kagitori_server.model.errors import (
    AccessDeniedException,
    DryRunOperationException,
    InvalidKeyUsageException,
    KmsError,
    UnsupportedOperationException,
    ValidationException,
)
from kagitori_server.model.lookup import Lookup
from kagitori_server.operations.context import Context, Services
from kagitori_server.operations.grant_names import check_grant_tokens, resolve_grant
from kagitori_server.operations.identity_resources import identity_resource
from kagitori_server.operations.recipients import RECIPIENT, shown
from kagitori_server.operations.resolve import foreign_refusal, resolve_slot
from kagitori_server.operations.row import Operation, Permission, Resource
from kagitori_server.policy.evaluate import Basis
from kagitori_server.recording import Precedent, Trace
from kagitori_server.storage.writer import Writer


class Faults(Protocol):
    """What goes wrong in an instance for tests."""

    def strike(self, context: Context) -> tuple[float, KmsError | None]:
        """What befalls a call that was allowed: by how many seconds its answer is late, what it is refused with."""


class Admission:
    """Admits calls. Stateless but for its parts; for any thread."""

    def __init__(
        self, services: Services, attesting: Attesting, authorizer: Authorizer, limiter: Limiter, default_region: str,
        faults: Faults | None,
    ) -> None:
        """`faults` is for instances for tests alone."""
        self._services = services
        self._view = services.catalog.view
        self._attesting = attesting
        self._authorizer = authorizer
        self._limiter = limiter
        self._default_region = default_region
        self._faults = faults

    def admit(self, trace: Trace, row: Operation, lookup: Lookup, writer: Writer | None = None) -> Context:
        """Resolves and authorises, checks limits, state, usage and parameters. Raises what the call is refused with.

        `writer` is there in the admission within the transaction; a dry run never gets there.
        """
        caller, request, trace.precedent = trace.caller, trace.request, None
        if caller is None:
            message = "a call is admitted before its caller is known"
            raise RuntimeError(message)
        region = trace.call.region or self._default_region
        if region not in self._services.regions:
            served = ", ".join(self._services.regions)
            raise ValidationException(f"The Region {region!r} is not served here; these are: {served}.")
        context = trace.context = Context(
            operation=row,
            caller=caller,
            request=request,
            evidence=trace.call.evidence,
            account=caller.account,
            region=region,
            services=self._services,
            now=self._services.clock(),
            lookup=lookup,
            writer_or_none=writer,
            request_id=trace.call.request_id,
        )
        if not row.uses_keys:
            self._rate(trace, context)
        self._choose_account(context, row, request)
        try:
            if (recipient := getattr(request, "recipient", None)) is not None:
                context.attestation = self._attesting.attest(recipient, trace.attested, blocks=lookup is self._view)
                context.extra[RECIPIENT] = shown(context.attestation)
            for permission in row.permissions:
                if permission.when is None or permission.when(request):
                    self._permit(context, permission, request)
        except KmsError:
            self._rate(trace, context)
            raise
        self._settle(trace, context)
        return context

    def admit_item(self, trace: Trace, before: Precedent, lookup: Lookup) -> Context:
        """Admits an item of a batch that says the same as one before it, but for the payload, while nothing has changed
        since that was admitted: caller, Region, keys and what was decided are the same. All that depends on more, or
        counts calls, is done as ever."""
        context = trace.context = before.context.again(trace.request, lookup)
        self._settle(trace, context)
        return context

    def _settle(self, trace: Trace, context: Context) -> None:
        """Steps 6 to 9, of a call that is authorised."""
        row, request = context.operation, context.request
        self._rate(trace, context)
        if self._faults is not None:
            self._befall(trace, context, self._faults)
        limited = self._limiter.check_frozen(context)
        self._check(context, row, request)
        if context.writer_or_none is None and getattr(request, "dry_run", False):
            raise DryRunOperationException
        if limited:
            self._limiter.count(context, blocks=context.lookup is self._view)

    def _check(self, context: Context, row: Operation, request: Any) -> None:
        """Step 7: grant tokens, state, usage, and what the row itself checks."""
        # An operation without keys of its own may take the tokens of a call that it only speaks of.
        if row.keys and (tokens := getattr(request, "grant_tokens", ())):
            check_grant_tokens(context, tokens)
        for slot in row.keys:
            key = context.keys[slot.name]
            if slot.origins is not None and key.origin not in slot.origins:
                raise UnsupportedOperationException(
                    f"{key.arn} origin is {key.origin} which is not valid for this operation."
                )
            refusal = slot.states.refusal(key)
            if refusal is not None:
                raise refusal
            if slot.usage is not None and key.usage is not slot.usage:
                raise InvalidKeyUsageException(
                    f"{key.arn} key usage is {key.usage} which is not valid for {row.name}."
                )
        if row.check is not None:
            row.check(context, request)

    def _rate(self, trace: Trace, context: Context) -> None:
        """Step 6, once for a call however often it is begun anew."""
        if not trace.rated:
            trace.rated = True
            self._limiter.rate(context)

    def _befall(self, trace: Trace, context: Context, faults: Faults) -> None:
        """What a test wants to go wrong with the call, once however often it is begun anew."""
        if not trace.befallen:
            trace.befallen = True
            trace.delay, refusal = faults.strike(context)
            if refusal is not None:
                raise refusal

    def _choose_account(self, context: Context, row: Operation, request: Any) -> None:
        """Lets the home account's administrators work in the account that the request names."""
        named: str | None = getattr(request, row.account_member) if row.account_member else None
        if named is None:
            return
        parts = named.split(":", 5)
        account = parts[4] if len(parts) == 6 else named
        if account == context.caller.account:
            return
        if context.caller.account != self._services.home_account:
            action = row.permissions[0].action
            raise AccessDeniedException(
                f"User: {context.caller.arn} is not authorized to perform: {action} in another account"
            )
        context.account = account

    def _permit(self, context: Context, permission: Permission, request: Any) -> None:
        """Steps 4 and 5 for one permission. Raises AccessDeniedException with AWS's sentence."""
        row, caller, action = context.operation, context.caller, permission.action
        if permission.on is Resource.KEY:
            slot = row.slot(permission.slot or "")
            key = context.keys.get(slot.name)
            if key is None:
                key = context.keys[slot.name] = resolve_slot(context, slot, request, action)
            decision = decide_on_key(self._authorizer, context, permission, slot, key)
            resource = key.arn
            if not decision.allowed and key.account != caller.account:
                # Neither the answer nor the record, which the caller's account may read, tells that it exists.
                del context.keys[slot.name]
                admitted = decision.basis is Basis.NO_IDENTITY_POLICY
                reason = decision.basis.reason.format(action=action) if admitted else ""
                raise foreign_refusal(context, slot, request, action, reason)
        elif permission.on is Resource.GRANT:
            slot = row.slot(permission.slot or "")
            key, grant = resolve_grant(context, slot, request, action)
            decision = self._authorizer.on_grant(question(context, permission, slot, key, key.account), key, grant)
            resource = key.arn
            if decision.allowed or key.account == caller.account:
                context.keep_grant(slot, key, grant)
            else:
                raise foreign_refusal(context, slot, request, action)
        else:
            on = identity_resource(context, permission, request)
            asked, resource = question(context, permission, None, None, on.account), on.shown
            decision = self._authorizer.on_identity(asked, on.arn, on.governing)
            on.note(context, allowed=decision.allowed)
            if not decision.allowed and on.unknown_arn != on.arn:
                # Who would be refused likewise if it weren't there doesn't hear from the reason that it is.
                unknown = self._authorizer.on_identity(asked, on.unknown_arn, on.governing)
                decision = decision if unknown.allowed else unknown
        if not decision.allowed:
            raise AccessDeniedException(decision.denial_text(caller.arn, action, resource))
