"""THE table: what the service can do, a row per operation.

Columns follow the AWS KMS permissions reference and key state table. Adding an operation is a row here, its shapes
and a handler. Rows are built by the few functions below only to spare what is the same in a whole family; every
column that decides about security is written in the row or is the family's name.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kagitori_server.model.keys import KeyUsage
from kagitori_server.model.rates import CryptoRate, RateGroup
from kagitori_server.model.shape import Shape
from kagitori_server.model.states import StateRule
from kagitori_server.operations import aliases, data_keys, encryption, keys, last_usage, lifecycle, policies, tags
from kagitori_server.operations.admin_table import ADMIN
from kagitori_server.operations.asymmetric_table import ASYMMETRIC, ASYMMETRIC_BATCHES
from kagitori_server.operations.custom_key_store_table import CUSTOM_KEY_STORES
from kagitori_server.operations.grant_table import GRANTS
from kagitori_server.operations.import_table import IMPORTS
from kagitori_server.operations.multi_region_table import MULTI_REGION
from kagitori_server.operations.rotation_table import ROTATION
from kagitori_server.operations.row import (
    Answer,
    AuditRule,
    BatchOperation,
    Cost,
    Find,
    KeySlot,
    Operation,
    Permission,
    Resource,
    Row,
    Table,
)
from kagitori_server.operations.shapes import aliases as alias_shapes
from kagitori_server.operations.shapes import crypto as crypto_shapes
from kagitori_server.operations.shapes import keys as key_shapes
from kagitori_server.operations.shapes import usage as usage_shapes
from kagitori_server.operations.shapes.empty import Empty

KMS = "kms"


def _key(states: StateRule, *, alias: bool, usage: KeyUsage | None = None) -> KeySlot:
    """The one key of most operations, named by the member `key_id`."""
    return KeySlot(
        name="key", find=Find.MEMBER, member="key_id", alias_allowed=alias, states=states, usage=usage
    )


def _on_key(action: str, slot: str = "key") -> Permission:
    return Permission(action=f"kms:{action}", on=Resource.KEY, slot=slot)


def _by_context(action: str, slot: str = "key", member: str = "encryption_context") -> Permission:
    """A permission that a grant may tie to the encryption context in `member`."""
    return Permission(action=f"kms:{action}", on=Resource.KEY, slot=slot, context_member=member)


def _on_account(action: str, when: Callable[[Any], object] | None = None) -> Permission:
    return Permission(action=f"kms:{action}", on=Resource.ACCOUNT, slot=None, when=when)


def _on_alias(action: str) -> Permission:
    return Permission(action=f"kms:{action}", on=Resource.ALIAS, slot=None)


_ENCRYPTING = _key(StateRule.USABLE, alias=True, usage=KeyUsage.ENCRYPT_DECRYPT)
_DECRYPTING = KeySlot(
    name="key", find=Find.CIPHERTEXT, member="key_id", ciphertext_member="ciphertext_blob",
    alias_allowed=True, states=StateRule.USABLE, usage=KeyUsage.ENCRYPT_DECRYPT,
)

KEYS: tuple[Operation, ...] = (
    Operation(
        name="CreateKey", service=KMS,
        request=Shape(key_shapes.CreateKeyRequest), response=key_shapes.CreateKeyResponse,
        keys=(), alias_member=None, account_member=None,
        permissions=(
            _on_account("CreateKey"),
            _on_account("TagResource", when=lambda request: request.tags),
            _on_account("PutKeyPolicy", when=lambda request: request.policy),
        ),
        grantable=False, cross_account=False, read_only=False, writes=True, rate=RateGroup.OTHER,
        audit=AuditRule(
            request_shown=(
                "description", "key_spec", "customer_master_key_spec", "key_usage", "origin", "multi_region",
                "bypass_policy_lockout_safety_check", "tags", "policy", "custom_key_store_id", "xks_key_id",
            ),
            answer=Answer.MEMBERS, response_shown=("key_metadata",), request_assumed=keys.assumed_of_create_key,
        ),
        cost=Cost.OFFLOAD, check=keys.check_create_key, prepare=keys.prepare_create_key, handler=keys.create_key,
        abandon=keys.abandon_key,
    ),
    Operation(
        name="DescribeKey", service=KMS,
        request=Shape(key_shapes.DescribeKeyRequest), response=key_shapes.DescribeKeyResponse,
        keys=(_key(StateRule.ANY, alias=True),), alias_member=None, account_member=None,
        permissions=(_on_key("DescribeKey"),),
        grantable=True, cross_account=True, read_only=True, writes=False, rate=RateGroup.DESCRIBE,
        audit=AuditRule(request_shown=("key_id",), answer=Answer.NOTHING),
        cost=Cost.INLINE, check=None, prepare=None, handler=keys.describe_key,
    ),
    Operation(
        name="ListKeys", service=KMS,
        request=Shape(key_shapes.ListKeysRequest), response=key_shapes.ListKeysResponse,
        keys=(), alias_member=None, account_member=None,
        permissions=(_on_account("ListKeys"),),
        grantable=False, cross_account=False, read_only=True, writes=False, rate=RateGroup.LIST,
        audit=AuditRule(request_shown=("limit", "marker", "resource_owners"), answer=Answer.NOTHING),
        cost=Cost.OFFLOAD, check=None, prepare=None, handler=keys.list_keys,
    ),
    Operation(
        name="UpdateKeyDescription", service=KMS,
        request=Shape(key_shapes.UpdateKeyDescriptionRequest), response=Empty,
        keys=(_key(StateRule.LIVE, alias=False),), alias_member=None, account_member=None,
        permissions=(_on_key("UpdateKeyDescription"),),
        grantable=False, cross_account=False, read_only=False, writes=True, rate=RateGroup.OTHER,
        audit=AuditRule(request_shown=("key_id", "description"), answer=Answer.KEY_ARN),
        cost=Cost.OFFLOAD, check=None, prepare=None, handler=keys.update_key_description,
    ),
    Operation(
        name="EnableKey", service=KMS,
        request=Shape(key_shapes.EnableKeyRequest), response=Empty,
        keys=(_key(StateRule.SWITCHABLE, alias=False),), alias_member=None, account_member=None,
        permissions=(_on_key("EnableKey"),),
        grantable=False, cross_account=False, read_only=False, writes=True, rate=RateGroup.OTHER,
        audit=AuditRule(request_shown=("key_id",), answer=Answer.KEY_ARN),
        cost=Cost.OFFLOAD, check=None, prepare=None, handler=lifecycle.enable_key,
    ),
    Operation(
        name="DisableKey", service=KMS,
        request=Shape(key_shapes.DisableKeyRequest), response=Empty,
        keys=(_key(StateRule.SWITCHABLE, alias=False),), alias_member=None, account_member=None,
        permissions=(_on_key("DisableKey"),),
        grantable=False, cross_account=False, read_only=False, writes=True, rate=RateGroup.OTHER,
        audit=AuditRule(request_shown=("key_id",), answer=Answer.KEY_ARN),
        cost=Cost.OFFLOAD, check=None, prepare=None, handler=lifecycle.disable_key,
    ),
    Operation(
        name="ScheduleKeyDeletion", service=KMS,
        request=Shape(key_shapes.ScheduleKeyDeletionRequest), response=key_shapes.ScheduleKeyDeletionResponse,
        keys=(_key(StateRule.SCHEDULABLE, alias=False),), alias_member=None, account_member=None,
        permissions=(_on_key("ScheduleKeyDeletion"),),
        grantable=False, cross_account=False, read_only=False, writes=True, rate=RateGroup.CHANGE,
        audit=AuditRule(
            request_shown=("key_id", "pending_window_in_days"), answer=Answer.MEMBERS,
            response_shown=("key_id", "key_state", "deletion_date", "pending_window_in_days"),
        ),
        cost=Cost.OFFLOAD, check=lifecycle.check_schedule_key_deletion, prepare=None,
        handler=lifecycle.schedule_key_deletion,
    ),
    Operation(
        name="CancelKeyDeletion", service=KMS,
        request=Shape(key_shapes.CancelKeyDeletionRequest), response=key_shapes.CancelKeyDeletionResponse,
        keys=(_key(StateRule.CANCELLABLE, alias=False),), alias_member=None, account_member=None,
        permissions=(_on_key("CancelKeyDeletion"),),
        grantable=False, cross_account=False, read_only=False, writes=True, rate=RateGroup.OTHER,
        audit=AuditRule(request_shown=("key_id",), answer=Answer.MEMBERS, response_shown=("key_id",)),
        cost=Cost.OFFLOAD, check=None, prepare=None, handler=lifecycle.cancel_key_deletion,
    ),
    Operation(
        name="GetKeyLastUsage", service=KMS,
        request=Shape(usage_shapes.GetKeyLastUsageRequest), response=usage_shapes.GetKeyLastUsageResponse,
        keys=(_key(StateRule.ANY, alias=False),), alias_member=None, account_member=None,
        permissions=(_on_key("GetKeyLastUsage"),),
        grantable=False, cross_account=False, read_only=True, writes=False, rate=RateGroup.OTHER,
        audit=AuditRule(request_shown=("key_id",), answer=Answer.NOTHING),
        cost=Cost.OFFLOAD, check=None, prepare=None, handler=last_usage.get_key_last_usage,
    ),
)

ALIASES: tuple[Operation, ...] = (
    Operation(
        name="CreateAlias", service=KMS,
        request=Shape(alias_shapes.CreateAliasRequest), response=Empty,
        keys=(KeySlot(name="key", find=Find.MEMBER, member="target_key_id", alias_allowed=False,
                      states=StateRule.LIVE, usage=None),),
        alias_member="alias_name", account_member=None,
        permissions=(_on_alias("CreateAlias"), _on_key("CreateAlias")),
        grantable=False, cross_account=False, read_only=False, writes=True, rate=RateGroup.OTHER,
        audit=AuditRule(request_shown=("alias_name", "target_key_id"), answer=Answer.KEY_ARN),
        cost=Cost.OFFLOAD, check=None, prepare=None, handler=aliases.create_alias,
    ),
    Operation(
        name="UpdateAlias", service=KMS,
        request=Shape(alias_shapes.UpdateAliasRequest), response=Empty,
        keys=(
            KeySlot(name="current", find=Find.ALIAS_TARGET, member="alias_name", alias_allowed=True,
                    states=StateRule.ANY, usage=None),
            KeySlot(name="new", find=Find.MEMBER, member="target_key_id", alias_allowed=False,
                    states=StateRule.LIVE, usage=None),
        ),
        alias_member="alias_name", account_member=None,
        permissions=(_on_alias("UpdateAlias"), _on_key("UpdateAlias", "current"), _on_key("UpdateAlias", "new")),
        grantable=False, cross_account=False, read_only=False, writes=True, rate=RateGroup.OTHER,
        audit=AuditRule(request_shown=("alias_name", "target_key_id"), answer=Answer.KEY_ARN),
        cost=Cost.OFFLOAD, check=aliases.check_update_alias, prepare=None, handler=aliases.update_alias,
    ),
    Operation(
        name="DeleteAlias", service=KMS,
        request=Shape(alias_shapes.DeleteAliasRequest), response=Empty,
        keys=(KeySlot(name="key", find=Find.ALIAS_TARGET, member="alias_name", alias_allowed=True,
                      states=StateRule.ANY, usage=None),),
        alias_member="alias_name", account_member=None,
        permissions=(_on_alias("DeleteAlias"), _on_key("DeleteAlias")),
        grantable=False, cross_account=False, read_only=False, writes=True, rate=RateGroup.CHANGE,
        audit=AuditRule(request_shown=("alias_name",), answer=Answer.KEY_ARN),
        cost=Cost.OFFLOAD, check=None, prepare=None, handler=aliases.delete_alias,
    ),
    Operation(
        name="ListAliases", service=KMS,
        request=Shape(alias_shapes.ListAliasesRequest), response=alias_shapes.ListAliasesResponse,
        keys=(), alias_member=None, account_member=None,
        permissions=(_on_account("ListAliases"),),
        grantable=False, cross_account=False, read_only=True, writes=False, rate=RateGroup.LIST,
        audit=AuditRule(request_shown=("key_id", "limit", "marker"), answer=Answer.NOTHING),
        cost=Cost.OFFLOAD, check=None, prepare=None, handler=aliases.list_aliases,
    ),
)

TAGS: tuple[Operation, ...] = (
    Operation(
        name="TagResource", service=KMS,
        request=Shape(key_shapes.TagResourceRequest), response=Empty,
        keys=(_key(StateRule.LIVE, alias=False),), alias_member=None, account_member=None,
        permissions=(_on_key("TagResource"),),
        grantable=False, cross_account=False, read_only=False, writes=True, rate=RateGroup.TAG,
        audit=AuditRule(request_shown=("key_id", "tags"), answer=Answer.KEY_ARN),
        cost=Cost.OFFLOAD, check=tags.check_tag_resource, prepare=None, handler=tags.tag_resource,
    ),
    Operation(
        name="UntagResource", service=KMS,
        request=Shape(key_shapes.UntagResourceRequest), response=Empty,
        keys=(_key(StateRule.LIVE, alias=False),), alias_member=None, account_member=None,
        permissions=(_on_key("UntagResource"),),
        grantable=False, cross_account=False, read_only=False, writes=True, rate=RateGroup.OTHER,
        audit=AuditRule(request_shown=("key_id", "tag_keys"), answer=Answer.KEY_ARN),
        cost=Cost.OFFLOAD, check=None, prepare=None, handler=tags.untag_resource,
    ),
    Operation(
        name="ListResourceTags", service=KMS,
        request=Shape(key_shapes.ListResourceTagsRequest), response=key_shapes.ListResourceTagsResponse,
        keys=(_key(StateRule.ANY, alias=False),), alias_member=None, account_member=None,
        permissions=(_on_key("ListResourceTags"),),
        grantable=False, cross_account=False, read_only=True, writes=False, rate=RateGroup.DESCRIBE,
        audit=AuditRule(request_shown=("key_id", "limit", "marker"), answer=Answer.NOTHING),
        cost=Cost.INLINE, check=None, prepare=None, handler=tags.list_resource_tags,
    ),
)

POLICIES: tuple[Operation, ...] = (
    Operation(
        name="GetKeyPolicy", service=KMS,
        request=Shape(key_shapes.GetKeyPolicyRequest), response=key_shapes.GetKeyPolicyResponse,
        keys=(_key(StateRule.ANY, alias=False),), alias_member=None, account_member=None,
        permissions=(_on_key("GetKeyPolicy"),),
        grantable=False, cross_account=False, read_only=True, writes=False, rate=RateGroup.READ_SETTINGS,
        audit=AuditRule(request_shown=("key_id", "policy_name"), answer=Answer.NOTHING),
        cost=Cost.INLINE, check=None, prepare=None, handler=policies.get_key_policy,
    ),
    Operation(
        name="PutKeyPolicy", service=KMS,
        request=Shape(key_shapes.PutKeyPolicyRequest), response=Empty,
        keys=(_key(StateRule.ANY, alias=False),), alias_member=None, account_member=None,
        permissions=(_on_key("PutKeyPolicy"),),
        grantable=False, cross_account=False, read_only=False, writes=True, rate=RateGroup.CHANGE,
        audit=AuditRule(
            request_shown=("key_id", "policy_name", "policy", "bypass_policy_lockout_safety_check"),
            answer=Answer.KEY_ARN,
        ),
        cost=Cost.OFFLOAD, check=policies.check_put_key_policy, prepare=None, handler=policies.put_key_policy,
    ),
    Operation(
        name="ListKeyPolicies", service=KMS,
        request=Shape(key_shapes.ListKeyPoliciesRequest), response=key_shapes.ListKeyPoliciesResponse,
        keys=(_key(StateRule.ANY, alias=False),), alias_member=None, account_member=None,
        permissions=(_on_key("ListKeyPolicies"),),
        grantable=False, cross_account=False, read_only=True, writes=False, rate=RateGroup.LIST_OF_KEY,
        audit=AuditRule(request_shown=("key_id", "limit", "marker"), answer=Answer.NOTHING),
        cost=Cost.INLINE, check=None, prepare=None, handler=policies.list_key_policies,
    ),
)

ENCRYPT = Operation(
    name="Encrypt", service=KMS,
    request=Shape(crypto_shapes.EncryptRequest), response=crypto_shapes.EncryptResponse,
    keys=(_ENCRYPTING,), alias_member=None, account_member=None,
    permissions=(_by_context("Encrypt"),),
    grantable=True, cross_account=True, read_only=True, writes=False, rate=CryptoRate.KEY,
    audit=AuditRule(
        request_shown=("key_id", "encryption_algorithm", "encryption_context"), answer=Answer.NOTHING
    ),
    cost=Cost.BY_PUBLIC_KEY, check=encryption.check_encrypt, prepare=None, handler=encryption.encrypt,
)
DECRYPT = Operation(
    name="Decrypt", service=KMS,
    request=Shape(crypto_shapes.DecryptRequest), response=crypto_shapes.DecryptResponse,
    keys=(_DECRYPTING,), alias_member=None, account_member=None,
    permissions=(_by_context("Decrypt"),),
    grantable=True, cross_account=True, read_only=True, writes=False, rate=CryptoRate.KEY,
    audit=AuditRule(
        request_shown=("key_id", "encryption_algorithm", "encryption_context"), answer=Answer.NOTHING
    ),
    cost=Cost.BY_KEY, check=encryption.check_decrypt, prepare=None, handler=encryption.decrypt,
)
GENERATE_DATA_KEY = Operation(
    name="GenerateDataKey", service=KMS,
    request=Shape(crypto_shapes.GenerateDataKeyRequest), response=crypto_shapes.GenerateDataKeyResponse,
    keys=(_ENCRYPTING,), alias_member=None, account_member=None,
    permissions=(_by_context("GenerateDataKey"),),
    grantable=True, cross_account=True, read_only=True, writes=False, rate=CryptoRate.KEY,
    audit=AuditRule(
        request_shown=("key_id", "encryption_context", "key_spec", "number_of_bytes"), answer=Answer.NOTHING
    ),
    cost=Cost.INLINE, check=data_keys.check_generate_data_key, prepare=None, handler=data_keys.generate_data_key,
)

CRYPTOGRAPHY: tuple[Operation, ...] = (
    ENCRYPT,
    DECRYPT,
    GENERATE_DATA_KEY,
    Operation(
        name="ReEncrypt", service=KMS,
        request=Shape(crypto_shapes.ReEncryptRequest), response=crypto_shapes.ReEncryptResponse,
        keys=(
            KeySlot(name="source", find=Find.CIPHERTEXT, member="source_key_id",
                    ciphertext_member="ciphertext_blob", alias_allowed=True,
                    states=StateRule.USABLE, usage=KeyUsage.ENCRYPT_DECRYPT),
            KeySlot(name="destination", find=Find.MEMBER, member="destination_key_id",
                    alias_allowed=True, states=StateRule.USABLE, usage=KeyUsage.ENCRYPT_DECRYPT),
        ),
        alias_member=None, account_member=None,
        permissions=(
            _by_context("ReEncryptFrom", "source", "source_encryption_context"),
            _by_context("ReEncryptTo", "destination", "destination_encryption_context"),
        ),
        grantable=True, cross_account=True, read_only=True, writes=False, rate=CryptoRate.KEY,
        audit=AuditRule(
            request_shown=(
                "source_key_id", "source_encryption_algorithm", "source_encryption_context",
                "destination_key_id", "destination_encryption_algorithm", "destination_encryption_context",
            ),
            answer=Answer.NOTHING,
        ),
        cost=Cost.BY_KEY, check=encryption.check_re_encrypt, prepare=None, handler=encryption.re_encrypt,
    ),
    Operation(
        name="GenerateDataKeyWithoutPlaintext", service=KMS,
        request=Shape(crypto_shapes.GenerateDataKeyWithoutPlaintextRequest),
        response=crypto_shapes.GenerateDataKeyWithoutPlaintextResponse,
        keys=(_ENCRYPTING,), alias_member=None, account_member=None,
        permissions=(_by_context("GenerateDataKeyWithoutPlaintext"),),
        grantable=True, cross_account=True, read_only=True, writes=False, rate=CryptoRate.KEY,
        audit=AuditRule(
            request_shown=("key_id", "encryption_context", "key_spec", "number_of_bytes"), answer=Answer.NOTHING
        ),
        cost=Cost.INLINE, check=data_keys.check_generate_data_key_without_plaintext, prepare=None,
        handler=data_keys.generate_data_key_without_plaintext,
    ),
    Operation(
        name="GenerateRandom", service=KMS,
        request=Shape(crypto_shapes.GenerateRandomRequest), response=crypto_shapes.GenerateRandomResponse,
        keys=(), alias_member=None, account_member=None,
        permissions=(_on_account("GenerateRandom"),),
        grantable=False, cross_account=False, read_only=True, writes=False, rate=RateGroup.SYMMETRIC,
        audit=AuditRule(request_shown=(), answer=Answer.NOTHING),
        cost=Cost.BY_KEY, check=data_keys.check_generate_random, prepare=None, handler=data_keys.generate_random,
    ),
)

BATCHES: tuple[BatchOperation, ...] = (
    BatchOperation(name="BatchEncrypt", item=ENCRYPT, payload=("plaintext",)),
    BatchOperation(name="BatchDecrypt", item=DECRYPT, payload=("ciphertext_blob",)),
    BatchOperation(name="BatchGenerateDataKey", item=GENERATE_DATA_KEY, payload=()),
)

_ROWS: tuple[Row, ...] = (
    *KEYS, *ALIASES, *TAGS, *POLICIES, *ROTATION, *IMPORTS, *MULTI_REGION, *GRANTS, *CUSTOM_KEY_STORES,
    *CRYPTOGRAPHY, *ASYMMETRIC, *BATCHES, *ASYMMETRIC_BATCHES, *ADMIN,
)

TABLE: Table = {row.name: row for row in _ROWS}
"""Every operation that is served, by its name."""
