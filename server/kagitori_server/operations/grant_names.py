"""From what a request says of grants to the grants: tokens, ids, and the principals that grants name."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from typing import Any

from kagitori_server.model.arn import ACCOUNT_ID, shortened
from kagitori_server.model.errors import (
    InvalidArnException,
    InvalidGrantIdException,
    InvalidGrantTokenException,
    NotFoundException,
    ValidationException,
)
from kagitori_server.model.grants import Grant, GrantPrincipal
from kagitori_server.model.keys import Key
from kagitori_server.operations.context import Context
from kagitori_server.operations.principal_names import resolver
from kagitori_server.operations.resolve import foreign_refusal, resolve_named_key
from kagitori_server.operations.row import KeySlot
from kagitori_server.policy.principals import PrincipalForm, principal_form
from kagitori_server.storage.reader import Reader

_GRANT_ID = re.compile(r"[0-9a-f]{64}")


def token_digest(token: str) -> bytes:
    """What the catalog keeps of a grant token. It needs no salt: a token is 32 random bytes, and no secret."""
    return hashlib.sha256(token.encode()).digest()


def check_grant_tokens(context: Context, tokens: Sequence[str]) -> None:
    """Verifies the tokens that a call on a key brings. They give nothing: a grant counts at once without them.

    Raises InvalidGrantTokenException for a token that never was, whose grant is gone or on a key the call doesn't
    use.
    """
    places = {(key.region, key.key_id) for key in context.keys.values()}
    for token in tokens:
        named = context.lookup.grant_token(token_digest(token))
        if named is None or (named.region, named.key_id) not in places:
            raise _invalid_token()


def resolve_grant(context: Context, slot: KeySlot, request: Any, action: str) -> tuple[Key, Grant]:
    """The grant that a request names by token, or by key and grant id, and its key. Blocks.

    Raises ValidationException, InvalidGrantTokenException, InvalidGrantIdException, NotFoundException, or for
    what isn't the caller's to know AccessDeniedException.
    """
    token, grant_id = request.grant_token, request.grant_id
    named: str | None = getattr(request, slot.member)
    if token is not None:
        if named is not None or grant_id is not None:
            raise ValidationException("A grant is named by its token, or by key and grant id, not by both.")
        return _of_token(context, token)
    if named is not None and grant_id is not None:
        key = resolve_named_key(context, named, action, alias_allowed=slot.alias_allowed)
        try:
            return key, find_grant(context, key, grant_id)
        except NotFoundException:
            if key.account == context.caller.account:
                raise
            # Nobody has asked for a permission yet, so other accounts don't learn what is there.
            raise foreign_refusal(context, slot, request, action) from None
    raise ValidationException("A grant is named by its token, or by key and grant id together.")


def find_grant(context: Context, key: Key, grant_id: str) -> Grant:
    """A grant on `key` by its id. Blocks.

    Raises InvalidGrantIdException for what is no grant id, NotFoundException when there is none of that id.
    """
    if not _GRANT_ID.fullmatch(grant_id):
        raise InvalidGrantIdException("A grant id is 64 hexadecimal digits.")
    with context.services.catalog.read() as reader:
        grant = reader.get_grant(key.region, key.key_id, grant_id)
    if grant is None:
        raise NotFoundException(f"Grant {grant_id} is not found on {key.arn}.")
    return grant


def named_principal(reader: Reader, partition: str, arn: str) -> GrantPrincipal:
    """The principal of that ARN as it is now. Raises InvalidArnException when there is none."""
    unique_id = unique_id_of(reader, partition, arn)
    if unique_id is None:
        raise InvalidArnException(f"{shortened(arn)} names no principal that exists here.")
    return GrantPrincipal(arn, unique_id)


def unique_id_of(reader: Reader, partition: str, arn: str) -> str | None:
    """The unique id that a principal's ARN stands for now, None when there is no such principal.

    Raises InvalidArnException for what is no principal's ARN.
    """
    if ACCOUNT_ID.fullmatch(arn) or principal_form(arn) in (None, PrincipalForm.EVERYONE):
        raise InvalidArnException(f"{shortened(arn)} is not the ARN of an account, user, role or session.")
    return resolver(reader, partition)(arn)


def _of_token(context: Context, token: str) -> tuple[Key, Grant]:
    named = context.lookup.grant_token(token_digest(token))
    if named is None or named.region != context.region:
        raise _invalid_token()
    key = context.lookup.key(named.region, named.key_id)
    with context.services.catalog.read() as reader:
        grant = reader.get_grant(named.region, named.key_id, named.grant_id)
    if key is None or grant is None:
        raise _invalid_token()
    return key, grant


def _invalid_token() -> InvalidGrantTokenException:
    return InvalidGrantTokenException("A grant token is not valid here.")
