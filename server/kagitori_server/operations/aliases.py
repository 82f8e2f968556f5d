"""CreateAlias, UpdateAlias, DeleteAlias and ListAliases."""

from __future__ import annotations

from kagitori_server.model.arn import alias_arn
from kagitori_server.model.errors import AlreadyExistsException, ValidationException
from kagitori_server.model.key_specs import KEY_SPECS
from kagitori_server.model.keys import Alias
from kagitori_server.operations.context import Context
from kagitori_server.operations.paging import cut, decode_marker, encode_marker
from kagitori_server.operations.resolve import resolve_own_key
from kagitori_server.operations.shapes.aliases import (
    AliasListEntry,
    CreateAliasRequest,
    DeleteAliasRequest,
    ListAliasesRequest,
    ListAliasesResponse,
    UpdateAliasRequest,
)
from kagitori_server.operations.shapes.empty import EMPTY, Empty

_LISTING = "ListAliases"
_DEFAULT_PAGE = 50


def create_alias(context: Context, request: CreateAliasRequest) -> Empty:
    """Gives a key another name (AWS CreateAlias)."""
    if context.lookup.alias(context.account, context.region, request.alias_name) is not None:
        arn = alias_arn(context.services.partition, context.region, context.account, request.alias_name)
        raise AlreadyExistsException(f"An alias with the name {arn} already exists")
    _check_room(context, len(context.key.aliases))
    now = context.now
    context.writer.insert_alias(
        Alias(context.account, context.region, request.alias_name, context.key.key_id, created=now, updated=now)
    )
    return EMPTY


def check_update_alias(context: Context, _request: UpdateAliasRequest) -> None:
    """Refuses a new key of another type (symmetric, asymmetric, HMAC) or usage than the current one; another spec of
    the same type is how asymmetric and HMAC keys are replaced (AWS UpdateAlias)."""
    current, new = context.keys["current"], context.keys["new"]
    of_one_type = KEY_SPECS[current.spec].asymmetric is KEY_SPECS[new.spec].asymmetric
    # HMAC keys are told from symmetric encryption keys by their usage.
    if not of_one_type or current.usage != new.usage:
        raise ValidationException("An alias can be pointed only to a key of the same type and usage.")


def update_alias(context: Context, request: UpdateAliasRequest) -> Empty:
    """Points an alias to another key (AWS UpdateAlias)."""
    new = context.keys["new"]
    if request.alias_name not in new.aliases:
        _check_room(context, len(new.aliases))
    context.writer.repoint_alias(context.account, context.region, request.alias_name, new.key_id, context.now)
    return EMPTY


def delete_alias(context: Context, request: DeleteAliasRequest) -> Empty:
    """Takes a name away; the key stays (AWS DeleteAlias)."""
    context.writer.delete_alias(context.account, context.region, request.alias_name)
    return EMPTY


def list_aliases(context: Context, request: ListAliasesRequest) -> ListAliasesResponse:
    """Lists the account's aliases in the Region, or those of one key (AWS ListAliases)."""
    after = decode_marker(_LISTING, request.marker)
    limit = request.limit or _DEFAULT_PAGE
    key_id = resolve_own_key(context, request.key_id).key_id if request.key_id else None
    with context.services.catalog.read() as reader:
        found = reader.list_aliases(context.account, context.region, key_id, after, limit + 1)
    page, more = cut(found, limit)
    partition = context.services.partition
    return ListAliasesResponse(
        aliases=tuple(
            AliasListEntry(
                alias_name=alias.name,
                alias_arn=alias_arn(partition, alias.region, alias.account, alias.name),
                target_key_id=alias.key_id,
                creation_date=alias.created,
                last_updated_date=alias.updated,
            )
            for alias in page
        ),
        next_marker=encode_marker(_LISTING, page[-1].name) if more else None,
        truncated=more,
    )


def _check_room(context: Context, aliases: int) -> None:
    context.services.quotas.check_aliases(aliases, context.keys["new" if "new" in context.keys else "key"].arn)
