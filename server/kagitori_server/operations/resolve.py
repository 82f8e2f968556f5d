"""From the way a caller names a key to the key: step 4 of a call.

A bare id or alias name means the caller's own account and Region. Another account's key is found by its ARN, or by
the header of a ciphertext, and only for operations that work across accounts. What can't be used for that reason
is refused as if it didn't exist or weren't allowed, so nobody learns about other accounts' keys.
"""

from __future__ import annotations

from typing import Any

from kagitori_keystore.base import CiphertextInvalid
from kagitori_keystore.ciphertext import parse
from kagitori_server.model.arn import (
    KeyReference,
    ReferenceKind,
    alias_arn,
    key_arn,
    parse_key_reference,
    shortened,
)
from kagitori_server.model.errors import (
    AccessDeniedException,
    InvalidCiphertextException,
    NotFoundException,
    UnsupportedOperationException,
    ValidationException,
)
from kagitori_server.model.keys import Key
from kagitori_server.operations.context import Context
from kagitori_server.operations.row import Find, KeySlot

UNREADABLE = (
    "The ciphertext refers to a customer master key that does not exist, does not exist in this region, "
    "or you are not allowed to access."
)
_UNRETIRABLE = "The grant token is of a grant that you are not allowed to retire."


def resolve_slot(context: Context, slot: KeySlot, request: Any, action: str) -> Key:
    """The key of `slot`, wanted for `action`, without material that has expired by now.

    Raises NotFoundException, InvalidArnException, InvalidCiphertextException, AccessDeniedException or
    ValidationException as AWS does.
    """
    return _slot_key(context, slot, request, action).as_of(context.now)


def _slot_key(context: Context, slot: KeySlot, request: Any, action: str) -> Key:
    named: str | None = getattr(request, slot.member)
    if slot.find is Find.ALIAS_TARGET:
        return _alias_target(context, KeyReference(ReferenceKind.ALIAS_NAME, named or ""), context.account, action)
    if slot.find is Find.FAMILY:
        return _of_family(context, context.keys["key"], named or "")
    if named is not None:
        return resolve_named_key(context, named, action, alias_allowed=slot.alias_allowed)
    if slot.find is Find.CIPHERTEXT:
        return _of_ciphertext(context, getattr(request, slot.ciphertext_member or ""))
    raise ValidationException(f"The request does not name its key: {slot.member} is missing.")


def resolve_named_key(context: Context, named: str, action: str, *, alias_allowed: bool) -> Key:
    """The key named by id, ARN or alias, wanted for `action`, of another account where the operation allows it.

    Raises NotFoundException, InvalidArnException or AccessDeniedException.
    """
    reference = parse_key_reference(named, context.services.partition, alias_allowed=alias_allowed)
    return _referenced(context, reference, action)


def foreign_refusal(
    context: Context, slot: KeySlot, request: Any, action: str, reason: str = ""
) -> AccessDeniedException:
    """The refusal of another account's key that exists: the same as of one that doesn't.

    `reason` replaces the usual one where the owner has admitted the caller's account, which may know of the key.
    """
    named: str | None = getattr(request, slot.member)
    if named is None:
        return AccessDeniedException(_UNRETIRABLE if slot.find is Find.GRANT else UNREADABLE)
    reference = parse_key_reference(named, context.services.partition, alias_allowed=slot.alias_allowed)
    account = reference.account or context.account
    return _not_allowed(context, _spelled_out(context, reference, account), action, reason)


def resolve_own_key(context: Context, named: str) -> Key:
    """A key of the caller's account named by id or ARN. Raises NotFoundException or InvalidArnException."""
    reference = parse_key_reference(named, context.services.partition, alias_allowed=False)
    key = _referenced(context, reference, context.operation.permissions[0].action)
    if key.account != context.account:
        raise NotFoundException(f"Key '{key.arn}' does not exist")
    return key


def _referenced(context: Context, reference: KeyReference, action: str) -> Key:
    if reference.region is not None and reference.region != context.region:
        raise NotFoundException(f"Invalid arn {reference.region}")
    account = reference.account or context.account
    if account != context.account and not context.operation.cross_account:
        raise _not_allowed(context, _spelled_out(context, reference, account), action)
    if reference.is_alias:
        return _alias_target(context, reference, account, action)
    key = context.lookup.key(context.region, reference.name)
    if key is not None and key.account == account:
        return key
    arn = _spelled_out(context, reference, account)
    if account != context.account:
        raise _not_allowed(context, arn, action)
    raise NotFoundException(f"Key '{arn}' does not exist")


def _alias_target(context: Context, reference: KeyReference, account: str, action: str) -> Key:
    key_id = context.lookup.alias(account, context.region, reference.name)
    key = context.lookup.key(context.region, key_id) if key_id else None
    if key is None:
        arn = _spelled_out(context, reference, account)
        if account != context.account:
            raise _not_allowed(context, arn, action)
        raise NotFoundException(f"Alias {arn} is not found.")
    return key


def _of_family(context: Context, key: Key, region: str) -> Key:
    if not key.multi_region:
        raise UnsupportedOperationException(f"{key.arn} is not a multi-Region key.")
    found = context.lookup.key(region, key.key_id) if region in key.family_regions else None
    if found is None:
        arn = key_arn(context.services.partition, shortened(region), key.account, key.key_id)
        raise NotFoundException(f"Key '{arn}' does not exist")
    return found


def _of_ciphertext(context: Context, blob: bytes | None) -> Key:
    if blob is None:
        raise ValidationException("The request names neither a ciphertext nor a key.")
    try:
        parsed = parse(blob)
    except CiphertextInvalid:
        raise InvalidCiphertextException from None
    key = context.lookup.key(context.region, parsed.key_id)
    if key is None:
        raise AccessDeniedException(UNREADABLE)
    return key


def _spelled_out(context: Context, reference: KeyReference, account: str) -> str:
    partition = context.services.partition
    if reference.is_alias:
        return alias_arn(partition, context.region, account, shortened(reference.name))
    return key_arn(partition, context.region, account, reference.name)


def _not_allowed(context: Context, arn: str, action: str, reason: str = "") -> AccessDeniedException:
    """The refusal of a key in another account, the same whether it exists or not."""
    reason = reason or f"because no resource-based policy allows the {action} action"
    return AccessDeniedException(
        f"User: {context.caller.arn} is not authorized to perform: {action} on resource: {arn} {reason}"
    )
