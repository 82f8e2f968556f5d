"""From a call to the question that authorisation decides: what conditions may ask about it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from kagitori_server.authz.assumption import may_assume
from kagitori_server.authz.authorizer import Authorizer
from kagitori_server.authz.condition_keys import Asked
from kagitori_server.model.errors import KmsError
from kagitori_server.model.keys import Key
from kagitori_server.model.principals import PrincipalRecord
from kagitori_server.operations.context import Context
from kagitori_server.operations.resolve import resolve_slot
from kagitori_server.operations.row import KeySlot, Permission
from kagitori_server.policy.evaluate import Decision
from kagitori_server.policy.statements import KeyPolicy

_NO_PAIRS: Mapping[str, str] = {}


def question(context: Context, permission: Permission, slot: KeySlot | None, key: Key | None, account: str) -> Asked:
    """The question whether `context.caller` has `permission` on something that `account` owns."""
    request, region = context.request, context.region
    if permission.region_member is not None:
        # What is going to be made there is like the key that the call is about.
        region, key = getattr(request, permission.region_member), context.keys.get("key")
    return Asked(
        action=permission.action,
        caller=context.caller,
        request=request,
        evidence=context.evidence,
        region=region,
        resource_account=account,
        now=context.now,
        key=key,
        named=getattr(request, slot.member) if slot is not None else None,
        pairs=(getattr(request, permission.context_member) or _NO_PAIRS) if permission.context_member else _NO_PAIRS,
        attested=_NO_PAIRS if context.attestation is None else context.attestation.condition_values(),
        same_key=lambda: _same_key(context),
        hurried=context.lookup is context.services.catalog.view.kept,
    )


def decide_on_key(
    authorizer: Authorizer, context: Context, permission: Permission, slot: KeySlot, key: Key
) -> Decision:
    """Whether `context.caller` has `permission` on `key`: by the policies, or where the row says so by a grant."""
    row = context.operation
    asked = question(context, permission, slot, key, key.account)
    decision = authorizer.on_key(asked, key, cross_account=row.cross_account)
    if not row.grantable or decision.allowed or decision.explicit_deny:
        return decision
    proposed = permission.proposes(context.request) if permission.proposes else None
    granted = authorizer.by_grant(asked, key, context.lookup, proposed, cross_account=row.cross_account)
    return granted or decision


def plain_question(context: Context, action: str, account: str) -> Asked:
    """The question whether the caller may do `action`, with the context of this call but for what names a key."""
    return Asked(
        action=action,
        caller=context.caller,
        request=context.request,
        evidence=context.evidence,
        region=context.region,
        resource_account=account,
        now=context.now,
        key=context.keys.get("key"),
        named=None,
        pairs=_NO_PAIRS,
        attested=_NO_PAIRS,
        same_key=lambda: None,
    )


def _same_key(context: Context) -> bool | None:
    """Whether both keys of a re-encryption are one; the second is looked up if a policy asks before its turn."""
    if len(context.operation.keys) < 2:
        return None
    found: list[str] = []
    for slot in context.operation.keys:
        key = context.keys.get(slot.name)
        if key is None:
            try:
                key = resolve_slot(context, slot, context.request, context.operation.permissions[-1].action)
            except KmsError:
                # Its own turn will say what is wrong with it. What can't be used is not the same key.
                return False
        found.append(key.arn)
    return len(set(found)) == 1


def lockout_check(authorizer: Authorizer) -> Callable[[Context, KeyPolicy, str], None]:
    """What `Services.lockout_check` is: refuses a candidate policy under which the caller couldn't put the next."""

    def check(context: Context, candidate: KeyPolicy, key_arn: str) -> None:
        asked = plain_question(context, "kms:PutKeyPolicy", context.account)
        # A replica is made in another Region than that of the call, and its policy is changed there.
        asked.region = key_arn.split(":", 4)[3]
        authorizer.check_lockout(asked, candidate, key_arn)

    return check


def may_assume_role(
    context: Context, role: PrincipalRecord, actions: tuple[str, ...], brought: Mapping[str, str | tuple[str, ...]]
) -> bool:
    """Whether the caller may assume `role`: what `Administration.may_assume` is."""
    return may_assume(plain_question(context, actions[0], role.account), role, actions, brought)
