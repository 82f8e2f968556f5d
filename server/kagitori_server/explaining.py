"""Authorisation explained: what `operations.administration.ports.DecisionPort` is."""

from __future__ import annotations

from collections.abc import Mapping

from kagitori_server.authz.authorizer import Authorizer
from kagitori_server.authz.condition_keys import Asked
from kagitori_server.model.arn import service_arn, shortened
from kagitori_server.model.errors import ValidationException
from kagitori_server.operations.administration.ports import ExplainedCall, SupposedCall
from kagitori_server.operations.context import Context
from kagitori_server.operations.row import BatchOperation, Operation, Permission, Resource, Table

_Asking = tuple[Operation, Permission]
_NO_PAIRS: Mapping[str, str] = {}
_IDENTITIES = (
    Resource.ENTITY, Resource.PRINCIPAL, Resource.POLICY, Resource.CHANGED, Resource.OIDC_PROVIDER, Resource.BUDGET,
)


class Explaining:
    """Decides calls that aren't made by the same authorizer as those that are; `table` says what they need."""

    def __init__(self, authorizer: Authorizer, table: Table) -> None:
        self._authorizer = authorizer
        self._table = table
        self._by_action: dict[tuple[str, Resource], _Asking] | None = None

    def explain(self, context: Context, call: SupposedCall) -> ExplainedCall:
        """The decision with its grounds. Raises ValidationException as the port says."""
        row, permission = self._asking(call)
        on_key = permission.on is Resource.KEY
        key = call.key if on_key else None
        if permission.on is Resource.ALIAS or permission.on in _IDENTITIES:
            resource = call.named
        elif key is not None:
            resource = key.arn
        else:
            service = permission.action.partition(":")[0]
            resource = service_arn(context.services.partition, service, context.region, context.account)
        asked = Asked(
            action=permission.action,
            caller=call.caller,
            request=None,
            evidence=context.evidence,
            region=context.region,
            resource_account=context.account if key is None else key.account,
            now=context.now,
            key=key,
            named=call.named if on_key else None,
            # As for a call that is made: only where the operation's request has an encryption context.
            pairs=call.encryption_context if permission.context_member else _NO_PAIRS,
            # As other keys of the request, only supposed ones.
            attested=_NO_PAIRS,
            same_key=lambda: None,
        )
        explanation, known = self._authorizer.explain(
            asked, key, resource, context.lookup, call.supposed,
            grantable=row.grantable, cross_account=row.cross_account,
        )
        return ExplainedCall(permission.action, resource, explanation, known)

    def _asking(self, call: SupposedCall) -> _Asking:
        if self._by_action is None:
            self._by_action = _by_action(self._table)
        action, known = call.action.lower(), self._by_action
        wanted: tuple[Resource, ...]
        if call.key is not None:
            wanted = (Resource.ALIAS, Resource.KEY) if ":alias/" in call.named else (Resource.KEY, Resource.CHANGED)
        else:
            wanted = (Resource.ACCOUNT,) if call.named == "*" else _IDENTITIES
        for on in wanted:
            if (found := known.get((action, on))) is not None:
                return found
        if any(name == action for name, _ in known):
            raise ValidationException(f"The action {shortened(call.action)} is not asked on such a resource.")
        raise ValidationException(f"No operation served here asks for an action {shortened(call.action)}.")


def _by_action(table: Table) -> dict[tuple[str, Resource], _Asking]:
    """(action in lower case, kind of resource) -> the row and permission that ask so."""
    found: dict[tuple[str, Resource], _Asking] = {}
    for row in table.values():
        operation = row.item if isinstance(row, BatchOperation) else row
        for permission in operation.permissions:
            found.setdefault((permission.action.lower(), permission.on), (operation, permission))
    return found
