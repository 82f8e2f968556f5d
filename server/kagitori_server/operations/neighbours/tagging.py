"""AWS Resource Groups Tagging API: GetResources, GetTagKeys and GetTagValues, for keys of the call's Region."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator

from kagitori_server.model.arn import parse_key_reference, shortened
from kagitori_server.model.errors import InvalidArnException, InvalidMarkerException, NotFoundException
from kagitori_server.model.keys import Tag
from kagitori_server.model.neighbour_errors import InvalidParameterException
from kagitori_server.operations.context import Context
from kagitori_server.operations.paging import cut, decode_marker, encode_marker
from kagitori_server.operations.shapes import tagging as shapes
from kagitori_server.storage.reader import Reader

_MOST_RESOURCES = 100
_MOST_TEXTS = 100
_TAGS_PER_PAGE = range(100, 501, 100)
_MOST_TYPES = 100
_READ_AT_ONCE = 200
_READ_MOST = 5_000
"""Keys that one call looks at; then it answers with what it has, and a token to go on from."""
_TYPE = re.compile(r"[a-z0-9-]+(?::[A-Za-z0-9/._-]+)?")
_ARN = re.compile(r"arn:[a-z-]+:[a-z0-9-]+:[a-z0-9-]*:[0-9]*:.+", re.DOTALL)
_OURS = frozenset({"kms", "kms:key"})

_Tagged = tuple[str, str, tuple[Tag, ...]]
"""(key id, ARN, tags)."""


def check_get_resources(_context: Context, request: shapes.GetResourcesRequest) -> None:
    """Refuses parameters that can't be, or not together (AWS GetResources)."""
    beside_arns = (
        request.tag_filters or None, request.resource_type_filters or None, request.resources_per_page,
        request.tags_per_page, request.pagination_token or None,
    )
    if request.resource_arn_list and beside_arns.count(None) < len(beside_arns):
        raise InvalidParameterException("ResourceARNList can't be given together with filters or pages.")
    if request.resources_per_page is not None and not 1 <= request.resources_per_page <= _MOST_RESOURCES:
        raise InvalidParameterException("ResourcesPerPage must be between 1 and 100.")
    if request.tags_per_page is not None and request.tags_per_page not in _TAGS_PER_PAGE:
        raise InvalidParameterException("TagsPerPage must be a multiple of 100 between 100 and 500.")
    if any(tag_filter.key is None for tag_filter in request.tag_filters):
        raise InvalidParameterException("Every tag filter needs a key.")
    types = request.resource_type_filters
    if len(types) > _MOST_TYPES or not all(map(_TYPE.fullmatch, types)):
        raise InvalidParameterException("A resource type is a service, or a service and a type: kms:key.")
    if request.include_compliance_details or request.exclude_compliant_resources:
        raise InvalidParameterException("There are no tag policies here that keys could comply with.")
    for arn in request.resource_arn_list:
        if not _ARN.fullmatch(arn):
            raise InvalidParameterException(f"{shortened(arn)} is not an ARN.")


def get_resources(context: Context, request: shapes.GetResourcesRequest) -> shapes.GetResourcesResponse:
    """Keys with tags that fit every filter (AWS GetResources). A page can be short, even empty, and not be the last."""
    with context.services.catalog.read() as reader:
        if request.resource_arn_list:
            return _page(_named(context, reader, request.resource_arn_list), "")
        if request.resource_type_filters and _OURS.isdisjoint(request.resource_type_filters):
            return _page((), "")
        return _search(context, reader, request)


def get_tag_keys(context: Context, request: shapes.GetTagKeysRequest) -> shapes.GetTagKeysResponse:
    """Keys of all tags there are, in order (AWS GetTagKeys)."""
    listing = context.operation.name
    after = _after(listing, request.pagination_token) or ""
    with context.services.catalog.read() as reader:
        page, more = cut(reader.tag_keys(context.account, context.region, after, _MOST_TEXTS + 1), _MOST_TEXTS)
    return shapes.GetTagKeysResponse(
        pagination_token=encode_marker(listing, page[-1]) if more else "", tag_keys=page
    )


def get_tag_values(context: Context, request: shapes.GetTagValuesRequest) -> shapes.GetTagValuesResponse:
    """Values of the tags of one key, in order (AWS GetTagValues)."""
    listing = f"{context.operation.name} {_digest(request.key)}"
    after = _after(listing, request.pagination_token)
    with context.services.catalog.read() as reader:
        found = reader.tag_values(context.account, context.region, request.key, after, _MOST_TEXTS + 1)
    page, more = cut(found, _MOST_TEXTS)
    return shapes.GetTagValuesResponse(
        pagination_token=encode_marker(listing, page[-1]) if more else "", tag_values=page
    )


def _search(context: Context, reader: Reader, request: shapes.GetResourcesRequest) -> shapes.GetResourcesResponse:
    listing = f"{context.operation.name} {_fingerprint(request)}"
    most, tags_left = request.resources_per_page or _MOST_RESOURCES, request.tags_per_page
    last, found = _after(listing, request.pagination_token) or "", list[_Tagged]()
    for tagged in _tagged(context, reader, last):
        if _fits(tagged[2], request.tag_filters):
            if tags_left is not None:
                tags_left -= len(tagged[2])
            if len(found) == most or (tags_left is not None and tags_left < 0):
                return _page(found, encode_marker(listing, last))
            found.append(tagged)
        last = tagged[0]
    # Whether there are more: those that are left weren't looked at.
    more = reader.tagged_keys(context.account, context.region, last, 1)
    return _page(found, encode_marker(listing, last) if more else "")


def _tagged(context: Context, reader: Reader, after: str) -> Iterator[_Tagged]:
    """Keys with tags after that id, as many as one call looks at."""
    for _ in range(_READ_MOST // _READ_AT_ONCE):
        block = reader.tagged_keys(context.account, context.region, after, _READ_AT_ONCE)
        yield from block
        if len(block) < _READ_AT_ONCE:
            return
        after = block[-1][0]


def _named(context: Context, reader: Reader, arns: Iterable[str]) -> Iterator[_Tagged]:
    """Those of the ARNs that are keys of the account in the Region and have tags, each once."""
    for arn in dict.fromkeys(arns):
        try:
            reference = parse_key_reference(arn, context.services.partition, alias_allowed=False)
        except (InvalidArnException, NotFoundException):
            continue
        if (reference.account, reference.region) != (context.account, context.region):
            continue
        key = reader.get_key(context.region, reference.name)
        if key is not None and key.account == context.account and key.tags:
            yield key.key_id, key.arn, key.tags


def _fits(tags: tuple[Tag, ...], filters: tuple[shapes.TagFilter, ...]) -> bool:
    values = {tag.tag_key: tag.tag_value for tag in tags}
    return all(
        tag_filter.key in values and (not tag_filter.values or values[tag_filter.key] in tag_filter.values)
        for tag_filter in filters
    )


def _page(found: Iterable[_Tagged], token: str) -> shapes.GetResourcesResponse:
    return shapes.GetResourcesResponse(
        pagination_token=token,
        resource_tag_mapping_list=tuple(
            shapes.ResourceTagMapping(
                resource_arn=arn,
                tags=tuple(shapes.ResourceTag(key=tag.tag_key, value=tag.tag_value) for tag in tags),
            )
            for _, arn, tags in found
        ),
    )


def _after(listing: str, token: str | None) -> str | None:
    """What the page comes after; None for the first. Raises InvalidParameterException."""
    if not token:
        return None
    try:
        return decode_marker(listing, token)
    except InvalidMarkerException:
        raise InvalidParameterException("The PaginationToken is not one that this request returned.") from None


def _fingerprint(request: shapes.GetResourcesRequest) -> str:
    """What must not change from page to page."""
    filters = [[tag_filter.key, *tag_filter.values] for tag_filter in request.tag_filters]
    return _digest(json.dumps([filters, request.resource_type_filters]))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]
