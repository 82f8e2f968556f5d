"""CreateKey, DescribeKey, ListKeys and UpdateKeyDescription."""

from __future__ import annotations

from dataclasses import dataclass

from kagitori_keystore.algorithms import KeySpec as MaterialSpec
from kagitori_keystore.base import KeyStoreError, MaterialRef
from kagitori_keystore.capabilities import GeneralKeyStore
from kagitori_server.model.arn import key_arn
from kagitori_server.model.custom_key_stores import DEFAULT_STORE, CustomKeyStoreType
from kagitori_server.model.errors import (
    UnsupportedOperationException,
    ValidationException,
    XksKeyAlreadyInUseException,
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
from kagitori_server.operations.consequences import backing_key
from kagitori_server.operations.context import Context, Services, domain_of
from kagitori_server.operations.custom_key_stores import connected_store
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
from kagitori_server.operations.store_errors import of_adoption, of_custom_store, spec_not_made
from kagitori_server.operations.tags import merge_tags
from kagitori_server.policy.defaults import default_key_policy

_LISTING = "ListKeys"
_DEFAULT_PAGE = 100
_STORE_TYPES = {
    Origin.AWS_CLOUDHSM: CustomKeyStoreType.AWS_CLOUDHSM,
    Origin.EXTERNAL_KEY_STORE: CustomKeyStoreType.EXTERNAL_KEY_STORE,
}
"""The type of custom key store that keys of an origin are in; other origins are in none."""

MULTI_REGION_PREFIX = "mrk-"
"""Begins the id of every key of a multi-Region family."""


def check_create_key(context: Context, request: CreateKeyRequest) -> None:
    """Refuses combinations that no key can have, and kinds of key that aren't served."""
    if request.key_spec and request.customer_master_key_spec:
        raise ValidationException("You cannot specify KeySpec and CustomerMasterKeySpec in the same request.")
    spec = _spec(request)
    _check_store(context, request)
    row = KEY_SPECS[spec]
    if not row.served:
        raise UnsupportedOperationException(f"Key spec {spec} is not served: it is a spec of China Regions.")
    if request.key_usage is None and spec is not KeySpec.SYMMETRIC_DEFAULT:
        raise ValidationException(
            "You must specify a KeyUsage value for all KMS keys except for symmetric encryption keys."
        )
    if _usage(request) not in row.usages:
        raise ValidationException(f"KeyUsage {request.key_usage} is not compatible with KeySpec {spec}")
    if context.store_id is None:
        _check_made(spec, context.services.stores.default)
    _tags(request)


def _check_made(spec: KeySpec, store: GeneralKeyStore) -> None:
    if MaterialSpec[spec.name] not in store.describe().key_specs:
        raise spec_not_made(spec)


def _check_store(context: Context, request: CreateKeyRequest) -> None:
    """Refuses origins without the custom key store that they need, stores that aren't there, connected or of the
    origin's type, and external keys that another key uses."""
    kind = _STORE_TYPES.get(request.origin)
    if request.xks_key_id is not None and kind is not CustomKeyStoreType.EXTERNAL_KEY_STORE:
        raise ValidationException("XksKeyId is for keys of origin EXTERNAL_KEY_STORE.")
    if request.custom_key_store_id is None:
        if kind is not None:
            raise ValidationException(f"Keys of origin {request.origin} need a CustomKeyStoreId.")
        return
    store = connected_store(context, request.custom_key_store_id)
    if store.kind is not kind:
        raise ValidationException(
            f"The custom key store {store.store_id} is of type {store.kind}; keys of origin {request.origin} can't be "
            "in it."
        )
    if request.multi_region:
        raise UnsupportedOperationException("Keys in custom key stores are in a single Region.")
    if kind is CustomKeyStoreType.EXTERNAL_KEY_STORE:
        if request.xks_key_id is None:
            raise ValidationException("Keys of origin EXTERNAL_KEY_STORE need an XksKeyId.")
        if _spec(request) is not KeySpec.SYMMETRIC_DEFAULT:
            raise UnsupportedOperationException("Keys in external key stores are symmetric encryption keys.")
    context.store_id = store.store_id


@dataclass(frozen=True, slots=True)
class NewMaterial:
    """A key id and the material generated for it, waiting for the transaction that makes the key."""

    key_id: str
    reference: MaterialRef | None
    """None for a key whose material will be imported."""
    store_id: str | None
    """The custom key store that it is in; None for the service's own."""


def prepare_create_key(context: Context, request: CreateKeyRequest) -> None:
    """Generates the material, which may take long, before the transaction begins."""
    key_id = context.services.ids.uuid()
    if request.multi_region:
        key_id = MULTI_REGION_PREFIX + key_id.replace("-", "")
    context.prepared = NewMaterial(key_id, _new_material(context, request, key_id), context.store_id)


def _new_material(context: Context, request: CreateKeyRequest, key_id: str) -> MaterialRef | None:
    stores, domain = context.services.stores, domain_of(context.account, context.region)
    if request.origin is Origin.EXTERNAL:
        return None
    if request.xks_key_id is not None and context.store_id is not None:
        try:
            return stores.custom(context.store_id).adopt(domain, key_id, request.xks_key_id)
        except KeyStoreError as failure:
            raise of_adoption(failure, request.xks_key_id) from None
    try:
        store = stores.default if context.store_id is None else stores.of(context.store_id)
        _check_made(_spec(request), store)
        return store.generate(MaterialSpec[_spec(request).name], domain, key_id)
    except KeyStoreError as failure:
        found = of_custom_store(failure, context)
        if found is None:
            raise
        raise found from None


def abandon_key(services: Services, new: NewMaterial) -> None:
    """Lets a custom key store destroy the material of a key that didn't come to be."""
    if new.store_id is not None and new.reference is not None:
        services.stores.discard(new.store_id, new.reference)


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
        store_id=new.store_id or DEFAULT_STORE,
        materials=() if new.reference is None else (first_version(new.reference, context.now),),
        policy=text,
        policy_bindings=check_policy(context, text, arn, bypass_lockout_check=bypass),
        tags=_tags(request),
        primary_region=context.region if request.multi_region else None,
        family_regions=(context.region,) if request.multi_region else (),
        xks_key_id=request.xks_key_id,
        custom_store=None if context.store_id is None else context.lookup.custom_key_store(context.store_id),
    )
    if request.xks_key_id is not None and writer.has_xks_key(key.store_id, request.xks_key_id):
        raise XksKeyAlreadyInUseException(f"The external key {request.xks_key_id} belongs to another KMS key.")
    writer.insert_key(key)
    context.keys["key"] = key
    if key.custom_store is not None and key.custom_store.kind is CustomKeyStoreType.AWS_CLOUDHSM:
        context.extra["backing_key"] = backing_key(key.current_material)
    return CreateKeyResponse(key_metadata=metadata(key, services.partition))


def first_version(reference: MaterialRef, now: float) -> MaterialVersion:
    """The first version of a key's material, as the key store made it at `now`."""
    return MaterialVersion(reference.material_id, reference.reference, now, MaterialState.CURRENT)


def assumed_of_create_key(request: CreateKeyRequest) -> dict[str, object]:
    """What a request that doesn't say so means, as CloudTrail shows it."""
    return {"key_spec": _spec(request), "key_usage": _usage(request)}


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
