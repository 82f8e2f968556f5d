"""The rows of KMS operations say what AWS's permissions reference and key state table say."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import botocore.session
import pytest
from tests.support.readme_operations import block, in_readme

from kagitori_server.model.keys import KeyState, KeyUsage
from kagitori_server.model.shape import Shape
from kagitori_server.model.states import StateRule
from kagitori_server.operations.row import Answer, BatchOperation, Cost, Find, KeySlot, Operation, Resource
from kagitori_server.operations.table import _ROWS, TABLE


class Aws(NamedTuple):
    """A row of AWS's reference; keys as (how it's named, alias allowed, states)."""

    permissions: str
    """In the order asked: action@resource, where the resource is account, alias or the key's slot."""
    keys: str
    """slot:member:alias or slot:member:plain, states after a slash."""
    grantable: bool = False
    cross_account: bool = False
    read_only: bool = False
    writes: bool = True
    shows: str = ""
    """Members of the request in the audit record (CloudTrail)."""


READ = {"read_only": True, "writes": False}
CRYPTO = {**READ, "grantable": True, "cross_account": True}

EXPECTED: dict[str, Aws] = {
    "CreateKey": Aws(
        "CreateKey@account TagResource@account PutKeyPolicy@account", "",
        shows="description key_spec customer_master_key_spec key_usage origin multi_region "
              "bypass_policy_lockout_safety_check tags policy custom_key_store_id xks_key_id",
    ),
    "DescribeKey": Aws("DescribeKey@key", "key:key_id:alias/ANY", **CRYPTO, shows="key_id"),
    "ListKeys": Aws("ListKeys@account", "", **READ, shows="limit marker resource_owners"),
    "UpdateKeyDescription": Aws("UpdateKeyDescription@key", "key:key_id:plain/LIVE", shows="key_id description"),
    "EnableKey": Aws("EnableKey@key", "key:key_id:plain/SWITCHABLE", shows="key_id"),
    "DisableKey": Aws("DisableKey@key", "key:key_id:plain/SWITCHABLE", shows="key_id"),
    "ScheduleKeyDeletion": Aws(
        "ScheduleKeyDeletion@key", "key:key_id:plain/SCHEDULABLE", shows="key_id pending_window_in_days"
    ),
    "CancelKeyDeletion": Aws("CancelKeyDeletion@key", "key:key_id:plain/CANCELLABLE", shows="key_id"),
    "GetKeyLastUsage": Aws("GetKeyLastUsage@key", "key:key_id:plain/ANY", **READ, shows="key_id"),
    "CreateAlias": Aws(
        "CreateAlias@alias CreateAlias@key", "key:target_key_id:plain/LIVE", shows="alias_name target_key_id"
    ),
    "UpdateAlias": Aws(
        "UpdateAlias@alias UpdateAlias@current UpdateAlias@new",
        "current:alias_name:target/ANY new:target_key_id:plain/LIVE", shows="alias_name target_key_id",
    ),
    "DeleteAlias": Aws("DeleteAlias@alias DeleteAlias@key", "key:alias_name:target/ANY", shows="alias_name"),
    "ListAliases": Aws("ListAliases@account", "", **READ, shows="key_id limit marker"),
    "TagResource": Aws("TagResource@key", "key:key_id:plain/LIVE", shows="key_id tags"),
    "UntagResource": Aws("UntagResource@key", "key:key_id:plain/LIVE", shows="key_id tag_keys"),
    "ListResourceTags": Aws("ListResourceTags@key", "key:key_id:plain/ANY", **READ, shows="key_id limit marker"),
    "GetKeyPolicy": Aws("GetKeyPolicy@key", "key:key_id:plain/ANY", **READ, shows="key_id policy_name"),
    "PutKeyPolicy": Aws(
        "PutKeyPolicy@key", "key:key_id:plain/ANY",
        shows="key_id policy_name policy bypass_policy_lockout_safety_check",
    ),
    "ListKeyPolicies": Aws("ListKeyPolicies@key", "key:key_id:plain/ANY", **READ, shows="key_id limit marker"),
    "CreateGrant": Aws(
        "CreateGrant@key", "key:key_id:plain/GRANTING", grantable=True, cross_account=True,
        shows="key_id grantee_principal retiring_principal operations constraints name",
    ),
    "ListGrants": Aws(
        "ListGrants@key", "key:key_id:plain/ANY", **READ, cross_account=True,
        shows="key_id grant_id grantee_principal limit marker",
    ),
    "ListRetirableGrants": Aws(
        "ListRetirableGrants@retiring principal", "", **READ, cross_account=True,
        shows="retiring_principal limit marker",
    ),
    "RetireGrant": Aws("RetireGrant@key", "key:key_id:grant/ANY", grantable=True, cross_account=True),
    "RevokeGrant": Aws("RevokeGrant@key", "key:key_id:plain/ANY", cross_account=True, shows="key_id grant_id"),
    "Encrypt": Aws(
        "Encrypt@key", "key:key_id:alias/USABLE", **CRYPTO, shows="key_id encryption_algorithm encryption_context"
    ),
    "Decrypt": Aws(
        "Decrypt@key", "key:key_id:ciphertext/USABLE", **CRYPTO,
        shows="key_id encryption_algorithm encryption_context",
    ),
    "ReEncrypt": Aws(
        "ReEncryptFrom@source ReEncryptTo@destination",
        "source:source_key_id:ciphertext/USABLE destination:destination_key_id:alias/USABLE", **CRYPTO,
        shows="source_key_id source_encryption_algorithm source_encryption_context destination_key_id "
              "destination_encryption_algorithm destination_encryption_context",
    ),
    "GenerateDataKey": Aws(
        "GenerateDataKey@key", "key:key_id:alias/USABLE", **CRYPTO,
        shows="key_id encryption_context key_spec number_of_bytes",
    ),
    "GenerateDataKeyWithoutPlaintext": Aws(
        "GenerateDataKeyWithoutPlaintext@key", "key:key_id:alias/USABLE", **CRYPTO,
        shows="key_id encryption_context key_spec number_of_bytes",
    ),
    "Sign": Aws("Sign@key", "key:key_id:alias/USABLE", **CRYPTO, shows="key_id message_type signing_algorithm"),
    "Verify": Aws("Verify@key", "key:key_id:alias/USABLE", **CRYPTO, shows="key_id message_type signing_algorithm"),
    "GenerateMac": Aws("GenerateMac@key", "key:key_id:alias/USABLE", **CRYPTO, shows="key_id mac_algorithm"),
    "VerifyMac": Aws("VerifyMac@key", "key:key_id:alias/USABLE", **CRYPTO, shows="key_id mac_algorithm"),
    "GetPublicKey": Aws("GetPublicKey@key", "key:key_id:alias/USABLE", **CRYPTO, shows="key_id"),
    "DeriveSharedSecret": Aws(
        "DeriveSharedSecret@key", "key:key_id:alias/USABLE", **CRYPTO, shows="key_id key_agreement_algorithm"
    ),
    "Encapsulate": Aws("Encapsulate@key", "key:key_id:alias/USABLE", **CRYPTO, shows="key_id encapsulation_algorithm"),
    "Decapsulate": Aws("Decapsulate@key", "key:key_id:alias/USABLE", **CRYPTO, shows="key_id encapsulation_algorithm"),
    "GenerateDataKeyPair": Aws(
        "GenerateDataKeyPair@key", "key:key_id:alias/USABLE", **CRYPTO,
        shows="key_id encryption_context key_pair_spec",
    ),
    "GenerateDataKeyPairWithoutPlaintext": Aws(
        "GenerateDataKeyPairWithoutPlaintext@key", "key:key_id:alias/USABLE", **CRYPTO,
        shows="key_id encryption_context key_pair_spec",
    ),
    "EnableKeyRotation": Aws(
        "EnableKeyRotation@key", "key:key_id:plain/USABLE", shows="key_id rotation_period_in_days"
    ),
    "DisableKeyRotation": Aws("DisableKeyRotation@key", "key:key_id:plain/USABLE", shows="key_id"),
    "GetKeyRotationStatus": Aws(
        "GetKeyRotationStatus@key", "key:key_id:plain/ANY", **READ, cross_account=True, shows="key_id"
    ),
    "RotateKeyOnDemand": Aws("RotateKeyOnDemand@key", "key:key_id:plain/USABLE", shows="key_id"),
    "ListKeyRotations": Aws(
        "ListKeyRotations@key", "key:key_id:plain/ANY", **READ, shows="key_id include_key_material limit marker"
    ),
    "GetParametersForImport": Aws(
        "GetParametersForImport@key", "key:key_id:plain/IMPORT_PREPARABLE", **READ,
        shows="key_id wrapping_algorithm wrapping_key_spec",
    ),
    "ImportKeyMaterial": Aws(
        "ImportKeyMaterial@key", "key:key_id:plain/IMPORTABLE",
        shows="key_id valid_to expiration_model import_type key_material_description key_material_id",
    ),
    "DeleteImportedKeyMaterial": Aws(
        "DeleteImportedKeyMaterial@key", "key:key_id:plain/EMPTIABLE", shows="key_id key_material_id"
    ),
    "ReplicateKey": Aws(
        "ReplicateKey@key CreateKey@account TagResource@account PutKeyPolicy@account", "key:key_id:plain/REPLICABLE",
        shows="key_id replica_region policy bypass_policy_lockout_safety_check description tags",
    ),
    "UpdatePrimaryRegion": Aws(
        "UpdatePrimaryRegion@key UpdatePrimaryRegion@replica",
        "key:key_id:plain/USABLE replica:primary_region:family/USABLE", shows="key_id primary_region",
    ),
    "CreateCustomKeyStore": Aws(
        "CreateCustomKeyStore@account", "",
        shows="custom_key_store_name cloud_hsm_cluster_id trust_anchor_certificate custom_key_store_type "
              "xks_proxy_uri_endpoint xks_proxy_uri_path xks_proxy_vpc_endpoint_service_name "
              "xks_proxy_vpc_endpoint_service_owner xks_proxy_connectivity",
    ),
    "ConnectCustomKeyStore": Aws("ConnectCustomKeyStore@account", "", shows="custom_key_store_id"),
    "DisconnectCustomKeyStore": Aws("DisconnectCustomKeyStore@account", "", shows="custom_key_store_id"),
    "UpdateCustomKeyStore": Aws(
        "UpdateCustomKeyStore@account", "",
        shows="custom_key_store_id new_custom_key_store_name cloud_hsm_cluster_id xks_proxy_uri_endpoint "
              "xks_proxy_uri_path xks_proxy_vpc_endpoint_service_name xks_proxy_vpc_endpoint_service_owner "
              "xks_proxy_connectivity",
    ),
    "DeleteCustomKeyStore": Aws("DeleteCustomKeyStore@account", "", shows="custom_key_store_id"),
    "DescribeCustomKeyStores": Aws(
        "DescribeCustomKeyStores@account", "", **READ, shows="custom_key_store_id custom_key_store_name limit marker"
    ),
    "GenerateRandom": Aws("GenerateRandom@account", "", **READ, shows=""),
}

ROWS = [row for row in TABLE.values() if isinstance(row, Operation) and row.service == "kms"]
STATES = {
    # Which of the eight states each rule admits, written out.
    "ANY": "Creating Enabled Disabled PendingDeletion PendingImport PendingReplicaDeletion Unavailable Updating",
    "LIVE": "Creating Enabled Disabled PendingImport Unavailable Updating",
    "USABLE": "Enabled Updating",
    "REPLICABLE": "Enabled",
    "GRANTING": "Enabled Unavailable Updating",
    "SWITCHABLE": "Enabled Disabled Unavailable",
    "SCHEDULABLE": "Creating Enabled Disabled PendingImport Unavailable",
    "IMPORTABLE": "Enabled Disabled PendingImport Updating",
    "IMPORT_PREPARABLE": "Enabled Disabled PendingImport",
    "EMPTIABLE": "Enabled Disabled PendingDeletion PendingImport PendingReplicaDeletion",
    "CANCELLABLE": "PendingDeletion PendingReplicaDeletion",
}
SECRET_MEMBERS = {
    "message", "mac", "signature", "shared_secret_ciphertext_blob", "public_key", "plaintext", "ciphertext_blob",
    "grant_token", "grant_tokens", "recipient", "key_store_password", "xks_proxy_authentication_credential",
    "import_token", "encrypted_key_material",
}
USAGES = {
    **dict.fromkeys(("Sign", "Verify"), KeyUsage.SIGN_VERIFY),
    **dict.fromkeys(("GenerateMac", "VerifyMac"), KeyUsage.GENERATE_VERIFY_MAC),
    "DeriveSharedSecret": KeyUsage.KEY_AGREEMENT,
    **dict.fromkeys(("Encapsulate", "Decapsulate"), KeyUsage.ENCAPSULATE_DECAPSULATE),
    # Any key that has a public half, that rotates, or that is one of a family.
    **dict.fromkeys(
        ("GetPublicKey", "EnableKeyRotation", "DisableKeyRotation", "RotateKeyOnDemand", "UpdatePrimaryRegion")
    ),
}
"""The usage that a key must have, where it isn't ENCRYPT_DECRYPT for all operations of usable keys."""


def test_every_row_is_expected() -> None:
    """No KMS operation is served that this file doesn't know."""
    assert {row.name for row in ROWS} == EXPECTED.keys()


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_rows(row: Operation) -> None:
    """Permissions in their order, keys, states, grants, accounts, and what the record shows."""
    expected = EXPECTED[row.name]
    asked = []
    for permission in row.permissions:
        assert (permission.slot is not None) is (permission.on in (Resource.KEY, Resource.GRANT))
        assert (permission.proposes is not None) is (permission.action == "kms:CreateGrant")
        asked.append(f"{permission.action.removeprefix('kms:')}@{permission.slot or permission.on.value}")
        assert permission.action.startswith("kms:")
    assert " ".join(asked) == expected.permissions
    keys = [f"{slot.name}:{slot.member}:{_how(slot)}/{slot.states.name}" for slot in row.keys]
    assert " ".join(keys) == expected.keys
    assert (row.grantable, row.cross_account, row.read_only, row.writes) == (
        expected.grantable, expected.cross_account, expected.read_only, expected.writes
    )
    assert " ".join(row.audit.request_shown) == expected.shows


def _how(slot: KeySlot) -> str:
    if slot.find is Find.MEMBER:
        return "alias" if slot.alias_allowed else "plain"
    if slot.find in (Find.GRANT, Find.FAMILY):
        return str(slot.find.value)
    assert slot.alias_allowed
    return "ciphertext" if slot.find is Find.CIPHERTEXT else "target"


def test_actions_exist() -> None:
    """Every action is one of AWS's, and what grants can give is what the model says."""
    model = botocore.session.get_session().get_service_model("kms")
    actions = {permission.action.removeprefix("kms:") for row in ROWS for permission in row.permissions}
    assert actions <= {*model.operation_names, "ReEncryptFrom", "ReEncryptTo"}
    grantable = {
        permission.action.removeprefix("kms:") for row in ROWS if row.grantable for permission in row.permissions
    }
    assert grantable == actions & set(model.shape_for("GrantOperation").enum)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_rows_are_sound(row: Operation) -> None:
    """What must hold of any row, whatever AWS says."""
    members = {field.name for field in dataclasses.fields(row.request.cls)}
    assert TABLE[row.name] is row
    assert isinstance(row.request, Shape)
    assert set(row.audit.request_shown) <= members - SECRET_MEMBERS
    assert row.account_member is None
    assert row.alias_member in (None, "alias_name")
    asked = {permission.slot for permission in row.permissions if permission.slot is not None}
    assert asked == {slot.name for slot in row.keys}, "a key that nobody asks a permission on is never found"
    for slot in row.keys:
        assert slot.member in members
        assert (slot.ciphertext_member is not None) is (slot.find is Find.CIPHERTEXT)
        needed = KeyUsage.ENCRYPT_DECRYPT if slot.states is StateRule.USABLE else None
        assert slot.usage is USAGES.get(row.name, needed)
    assert any(permission.when is None for permission in row.permissions)
    if row.writes:
        assert row.cost is Cost.OFFLOAD or (row.cost is Cost.STORE and row.prepare is not None)
        assert not row.read_only
    else:
        assert row.audit.answer is Answer.NOTHING
        assert row.prepare is None
    for permission in row.permissions:
        # Else constraints of grants would be held against another context, or none.
        contexts = {name for name in members if name.endswith("encryption_context")}
        assert permission.context_member is None if not contexts else permission.context_member in contexts
    if row.grantable:
        assert row.cross_account
    if "dry_run" in members:
        by_grant = row.permissions[0].on is Resource.GRANT
        assert row.check is not None or by_grant, "a grant is found when the permission is asked"


@pytest.mark.parametrize("rule", StateRule, ids=lambda rule: rule.name)
def test_states(rule: StateRule) -> None:
    """Each rule admits what is written out above."""
    assert {KeyState(state) for state in STATES[rule.name].split()} == rule.value


def test_batches() -> None:
    """A batch runs the very row of the single call."""
    batches = {row.name: row.item for row in TABLE.values() if isinstance(row, BatchOperation)}
    names = ("Encrypt", "Decrypt", "GenerateDataKey", "Sign", "Verify", "GenerateMac")
    assert batches == {f"Batch{name}": TABLE[name] for name in names}


def test_names_are_unique() -> None:
    """No row hides another of the same name."""
    assert len(_ROWS) == len(TABLE)
    assert all(name == row.name for name, row in TABLE.items())


def test_the_readme_is_in_step() -> None:
    """`python -m tests.support.readme_operations` prints what README.md shows."""
    assert in_readme() == block()
