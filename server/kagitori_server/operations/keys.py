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
from kagitori_server.model.keys import (
    EncryptionAlgorithm,
    Key,
    KeySpec,
    KeyState,
    KeyUsage,
    MaterialVersion,
    Origin,
    Tag,
)
from kagitori_server.operations.context import DEFAULT_STORE, Context, domain_of
from kagitori_server.operations.paging import cut, decode_marker, encode_marker
from kagitori_server.operations.policies import check_policy
from kagitori_server.operations.shapes.empty import EMPTY, Empty
from kagitori_server.operations.shapes.keys import (
    CreateKeyRequest,
    CreateKeyResponse,
    DescribeKeyRequest,
    DescribeKeyResponse,
    KeyListEntry,
    KeyMetadata,
    ListKeysRequest,
    ListKeysResponse,
    ResourceOwner,
    UpdateKeyDescriptionRequest,
)
from kagitori_server.operations.tags import merge_tags
from kagitori_server.policy.defaults import default_key_policy

_LISTING = "ListKeys"
_DEFAULT_PAGE = 100


def metadata(key: Key) -> KeyMetadata:
    """What the service tells of a key (AWS `KeyMetadata`)."""
    return KeyMetadata(
        aws_account_id=key.account,
        key_id=key.key_id,
        arn=key.arn,
        creation_date=key.created,
        enabled=key.state is KeyState.ENABLED,
        description=key.description,
        key_usage=key.usage,
        key_state=key.state,
        deletion_date=key.deletion_date,
        origin=key.origin,
        key_manager=key.manager,
        customer_master_key_spec=key.spec,
        key_spec=key.spec,
        encryption_algorithms=(EncryptionAlgorithm.SYMMETRIC_DEFAULT,),
        multi_region=key.multi_region,
        current_key_material_id=key.materials[-1].material_id if key.materials else None,
    )


def check_create_key(_context: Context, request: CreateKeyRequest) -> None:
    """Refuses combinations that no key can have, and kinds of key that aren't served."""
    if request.key_spec and request.customer_master_key_spec:
        raise ValidationException("You cannot specify KeySpec and CustomerMasterKeySpec in the same request.")
    spec = request.key_spec or request.customer_master_key_spec or KeySpec.SYMMETRIC_DEFAULT
    if request.custom_key_store_id is not None:
        raise CustomKeyStoreNotFoundException("There is no custom key store of this id.")
    if request.origin is not Origin.AWS_KMS:
        raise UnsupportedOperationException(f"Keys of origin {request.origin} are not served; use AWS_KMS.")
    if request.xks_key_id is not None:
        raise ValidationException("XksKeyId is for keys of origin EXTERNAL_KEY_STORE.")
    if spec is not KeySpec.SYMMETRIC_DEFAULT:
        raise UnsupportedOperationException(f"Key spec {spec} is not served; use SYMMETRIC_DEFAULT.")
    if request.multi_region:
        raise UnsupportedOperationException("Multi-Region keys are not served.")
    if request.key_usage not in (None, KeyUsage.ENCRYPT_DECRYPT):
        raise ValidationException(f"KeyUsage {request.key_usage} is not compatible with KeySpec {spec}.")
    _tags(request)


@dataclass(frozen=True, slots=True)
class NewMaterial:
    """A key id and the material generated for it, waiting for the transaction that makes the key."""

    key_id: str
    reference: MaterialRef


def prepare_create_key(context: Context, _request: CreateKeyRequest) -> None:
    """Generates the material, which may take long, before the transaction begins."""
    key_id = context.services.ids.uuid()
    store = context.services.stores[DEFAULT_STORE]
    reference = store.generate(
        MaterialSpec[KeySpec.SYMMETRIC_DEFAULT], domain_of(context.account, context.region), key_id
    )
    context.prepared = NewMaterial(key_id, reference)


def create_key(context: Context, request: CreateKeyRequest) -> CreateKeyResponse:
    """Makes a key with its first material (AWS CreateKey)."""
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
        spec=KeySpec.SYMMETRIC_DEFAULT,
        usage=KeyUsage.ENCRYPT_DECRYPT,
        origin=Origin.AWS_KMS,
        state=KeyState.ENABLED,
        description=request.description or "",
        created=context.now,
        store_id=DEFAULT_STORE,
        materials=(MaterialVersion(new.reference.material_id, new.reference.reference, context.now),),
        policy=text,
        policy_bindings=check_policy(context, text, arn, bypass_lockout_check=bypass),
        tags=_tags(request),
    )
    writer.insert_key(key)
    context.keys["key"] = key
    return CreateKeyResponse(key_metadata=metadata(key))


def _tags(request: CreateKeyRequest) -> tuple[Tag, ...]:
    return merge_tags((), tuple(Tag(tag.tag_key, tag.tag_value) for tag in request.tags))


def describe_key(context: Context, _request: DescribeKeyRequest) -> DescribeKeyResponse:
    """Tells about a key (AWS DescribeKey)."""
    return DescribeKeyResponse(key_metadata=metadata(context.key))


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
