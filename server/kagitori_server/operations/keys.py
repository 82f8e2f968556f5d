"""CreateKey, DescribeKey, ListKeys and UpdateKeyDescription."""

from __future__ import annotations

from dataclasses import dataclass

from kagitori_keystore.algorithms import KeySpec as MaterialSpec
from kagitori_keystore.base import MaterialRef
from kagitori_server.model.arn import key_arn
from kagitori_server.model.errors import (
    CustomKeyStoreNotFoundException,
    UnsupportedOperationException,
    ValidationException,
)
from kagitori_server.model.key_specs import KEY_SPECS
from kagitori_server.model.keys import (
    Key,
    KeySpec,
    KeyState,
    KeyUsage,
    MaterialState,
    MaterialVersion,
    Origin,
    Tag,
)
from kagitori_server.operations.context import DEFAULT_STORE, Context, domain_of
from kagitori_server.operations.key_metadata import metadata
from kagitori_server.operations.paging import cut, decode_marker, encode_marker
from kagitori_server.operations.policies import check_policy
from kagitori_server.operations.shapes.empty import EMPTY, Empty
from kagitori_server.operations.shapes.keys import (
    CreateKeyRequest,
    CreateKeyResponse,
    DescribeKeyRequest,
    DescribeKeyResponse,
    KeyListEntry,
    ListKeysRequest,
    ListKeysResponse,
    ResourceOwner,
    UpdateKeyDescriptionRequest,
)
from kagitori_server.operations.tags import merge_tags
from kagitori_server.policy.defaults import default_key_policy

_LISTING = "ListKeys"
_DEFAULT_PAGE = 100
_ORIGINS = frozenset({Origin.AWS_KMS, Origin.EXTERNAL})

MULTI_REGION_PREFIX = "mrk-"
"""Begins the id of every key of a multi-Region family."""


def check_create_key(context: Context, request: CreateKeyRequest) -> None:
    """Refuses combinations that no key can have, and kinds of key that aren't served."""
    if request.key_spec and request.customer_master_key_spec:
        raise ValidationException("You cannot specify KeySpec and CustomerMasterKeySpec in the same request.")
    spec = _spec(request)
    if request.custom_key_store_id is not None:
        raise CustomKeyStoreNotFoundException("There is no custom key store of this id.")
    if request.origin not in _ORIGINS:
        raise UnsupportedOperationException(
            f"Keys of origin {request.origin} need a custom key store; name it in CustomKeyStoreId."
        )
    if request.xks_key_id is not None:
        raise ValidationException("XksKeyId is for keys of origin EXTERNAL_KEY_STORE.")
    row = KEY_SPECS[spec]
    if not row.served:
        raise UnsupportedOperationException(f"Key spec {spec} is not served: it is a spec of China Regions.")
    if request.key_usage is None and spec is not KeySpec.SYMMETRIC_DEFAULT:
        raise ValidationException(
            "You must specify a KeyUsage value for all KMS keys except for symmetric encryption keys."
        )
    if _usage(request) not in row.usages:
        raise ValidationException(f"KeyUsage {request.key_usage} is not compatible with KeySpec {spec}")
    if MaterialSpec[spec.name] not in context.services.stores[DEFAULT_STORE].describe().key_specs:
        raise UnsupportedOperationException(f"Key spec {spec} is not served: the key store can't make such keys.")
    _tags(request)


@dataclass(frozen=True, slots=True)
class NewMaterial:
    """A key id and the material generated for it, waiting for the transaction that makes the key."""

    key_id: str
    reference: MaterialRef | None
    """None for a key whose material will be imported."""


def prepare_create_key(context: Context, request: CreateKeyRequest) -> None:
    """Generates the material, which may take long, before the transaction begins."""
    key_id = context.services.ids.uuid()
    if request.multi_region:
        key_id = MULTI_REGION_PREFIX + key_id.replace("-", "")
    reference = None
    if request.origin is Origin.AWS_KMS:
        store = context.services.stores[DEFAULT_STORE]
        domain = domain_of(context.account, context.region)
        reference = store.generate(MaterialSpec[_spec(request).name], domain, key_id)
    context.prepared = NewMaterial(key_id, reference)


def create_key(context: Context, request: CreateKeyRequest) -> CreateKeyResponse:
    """Makes a key, with its first material unless that will be imported (AWS CreateKey)."""
    services, writer, new = context.services, context.writer, context.prepared
    services.quotas.check_keys(writer.count_keys(context.account, context.region))
    arn = key_arn(services.partition, context.region, context.account, new.key_id)
    text = request.policy or default_key_policy(context.account, services.partition)
    bypass = request.policy is None or request.bypass_policy_lockout_safety_check
    key = Key(
        account=context.account,
        region=context.region,
        key_id=new.key_id,
        arn=arn,
        spec=_spec(request),
        usage=_usage(request),
        origin=request.origin,
        state=KeyState.PENDING_IMPORT if new.reference is None else KeyState.ENABLED,
        description=request.description or "",
        created=context.now,
        store_id=DEFAULT_STORE,
        materials=() if new.reference is None else (first_version(new.reference, context.now),),
        policy=text,
        policy_bindings=check_policy(context, text, arn, bypass_lockout_check=bypass),
        tags=_tags(request),
        primary_region=context.region if request.multi_region else None,
        family_regions=(context.region,) if request.multi_region else (),
    )
    writer.insert_key(key)
    context.keys["key"] = key
    return CreateKeyResponse(key_metadata=metadata(key, services.partition))


def first_version(reference: MaterialRef, now: float) -> MaterialVersion:
    """The first version of a key's material, as the key store made it at `now`."""
    return MaterialVersion(reference.material_id, reference.reference, now, MaterialState.CURRENT)


def _spec(request: CreateKeyRequest) -> KeySpec:
    return request.key_spec or request.customer_master_key_spec or KeySpec.SYMMETRIC_DEFAULT


def _usage(request: CreateKeyRequest) -> KeyUsage:
    return request.key_usage or KeyUsage.ENCRYPT_DECRYPT


def _tags(request: CreateKeyRequest) -> tuple[Tag, ...]:
    return merge_tags((), tuple(Tag(tag.tag_key, tag.tag_value) for tag in request.tags))


def describe_key(context: Context, _request: DescribeKeyRequest) -> DescribeKeyResponse:
    """Tells about a key (AWS DescribeKey)."""
    return DescribeKeyResponse(key_metadata=metadata(context.key, context.services.partition))


def list_keys(context: Context, request: ListKeysRequest) -> ListKeysResponse:
    """Lists the account's keys in the Region, in the order of their ids (AWS ListKeys)."""
    after = decode_marker(_LISTING, request.marker)
    limit = request.limit or _DEFAULT_PAGE
    if request.resource_owners and ResourceOwner.SELF not in request.resource_owners:
        return ListKeysResponse(keys=(), next_marker=None, truncated=False)
    with context.services.catalog.read() as reader:
        found = reader.list_keys(context.account, context.region, after, limit + 1)
    page, more = cut(found, limit)
    return ListKeysResponse(
        keys=tuple(KeyListEntry(key_id=key_id, key_arn=arn) for key_id, arn in page),
        next_marker=encode_marker(_LISTING, page[-1][0]) if more else None,
        truncated=more,
    )


def update_key_description(context: Context, request: UpdateKeyDescriptionRequest) -> Empty:
    """Replaces a key's description (AWS UpdateKeyDescription)."""
    context.writer.set_key_description(context.region, context.key.key_id, request.description)
    return EMPTY
