"""TagResource, UntagResource and ListResourceTags."""

from __future__ import annotations

from kagitori_server.model import limits
from kagitori_server.model.errors import TagException
from kagitori_server.model.keys import Tag
from kagitori_server.operations.context import Context
from kagitori_server.operations.paging import cut, decode_marker, encode_marker
from kagitori_server.operations.shapes.empty import EMPTY, Empty
from kagitori_server.operations.shapes.keys import (
    ListResourceTagsRequest,
    ListResourceTagsResponse,
    TagResourceRequest,
    UntagResourceRequest,
)

_LISTING = "ListResourceTags"
_DEFAULT_PAGE = 50


def merge_tags(present: tuple[Tag, ...], new: tuple[Tag, ...]) -> tuple[Tag, ...]:
    """`present` with `new` laid over it, in the order of the keys.

    Raises TagException for reserved or repeated keys and for more than 50 tags.
    """
    if any(tag.tag_key.lower().startswith("aws:") for tag in new):
        raise TagException("Tags beginning with aws: are reserved")
    if len({tag.tag_key for tag in new}) != len(new):
        raise TagException("Duplicate tag keys")
    merged = {tag.tag_key: tag for tag in (*present, *new)}
    if len(merged) > limits.TAGS_PER_KEY:
        raise TagException("Too many tags")
    return tuple(merged[name] for name in sorted(merged))


def check_tag_resource(context: Context, request: TagResourceRequest) -> None:
    """Refuses tags that `merge_tags` refuses."""
    merge_tags(context.key.tags, tuple(Tag(tag.tag_key, tag.tag_value) for tag in request.tags))


def tag_resource(context: Context, request: TagResourceRequest) -> Empty:
    """Adds tags or changes their values (AWS TagResource)."""
    new = tuple(Tag(tag.tag_key, tag.tag_value) for tag in request.tags)
    context.writer.replace_tags(context.region, context.key.key_id, merge_tags(context.key.tags, new))
    return EMPTY


def untag_resource(context: Context, request: UntagResourceRequest) -> Empty:
    """Takes tags away; keys that aren't there are no error (AWS UntagResource)."""
    gone = set(request.tag_keys)
    left = tuple(tag for tag in context.key.tags if tag.tag_key not in gone)
    context.writer.replace_tags(context.region, context.key.key_id, left)
    return EMPTY


def list_resource_tags(context: Context, request: ListResourceTagsRequest) -> ListResourceTagsResponse:
    """Lists a key's tags in the order of their keys (AWS ListResourceTags)."""
    after = decode_marker(_LISTING, request.marker)
    limit = request.limit or _DEFAULT_PAGE
    left = [tag for tag in context.key.tags if tag.tag_key > after]
    page, more = cut(left, limit)
    return ListResourceTagsResponse(
        tags=page, next_marker=encode_marker(_LISTING, page[-1].tag_key) if more else None, truncated=more
    )
