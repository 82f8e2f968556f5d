"""Families of keys in several Regions: what they share, what each has of its own, and how they end."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.inprocess import HOME, REGION, REGIONS, InProcess
from tests.support.kms_calls import (
    DAY,
    delegating,
    deletion_worker,
    identity_policy,
    key_arn,
    key_policy,
    last_record,
    new_key,
    refused,
    root,
    statement,
    user_arn,
)

from kagitori_server.model.errors import (
    AccessDeniedException,
    AlreadyExistsException,
    DisabledException,
    KMSInvalidStateException,
    MalformedPolicyDocumentException,
    NotFoundException,
    UnsupportedOperationException,
    ValidationException,
)
from kagitori_server.model.keys import KeyState
from kagitori_server.operations.shapes.keys import KeyMetadata, MultiRegionKeyType

THERE = REGIONS[1]


@pytest.fixture
def service(tmp_path: Path) -> Iterator[InProcess]:
    with InProcess(tmp_path) as opened:
        yield opened


def described(service: InProcess, key_id: str, region: str = REGION) -> KeyMetadata:
    metadata = service.call("DescribeKey", {"key_id": key_id}, region=region).key_metadata
    assert isinstance(metadata, KeyMetadata)
    return metadata


def family(service: InProcess, **values: Any) -> str:
    """A primary here and a replica there."""
    key_id = new_key(service, multi_region=True, **values).key_id
    service.call("ReplicateKey", {"key_id": key_id, "replica_region": THERE})
    return key_id


def test_a_replica_is_the_same_key_elsewhere(service: InProcess) -> None:
    """The shared properties; a policy, tags and description of its own."""
    key = new_key(service, multi_region=True, description="here", tags=[{"tag_key": "a", "tag_value": "1"}])
    service.clock.advance(60)
    answer = service.call("ReplicateKey", {
        "key_id": key.arn, "replica_region": THERE, "description": "there",
        "tags": [{"tag_key": "b", "tag_value": "2"}],
    })
    record = last_record(service)
    assert record["requestParameters"]["replicaRegion"] == THERE
    assert record["responseElements"]["replicaKeyMetadata"]["arn"] == key_arn(key.key_id, region=THERE)
    replica = answer.replica_key_metadata
    assert replica == described(service, key.key_id, THERE)
    assert (replica.arn, replica.description, replica.key_state) == (
        key_arn(key.key_id, region=THERE), "there", KeyState.ENABLED
    )
    assert replica.current_key_material_id == key.current_key_material_id
    assert replica.creation_date == key.creation_date + 60
    assert [(tag.tag_key, tag.tag_value) for tag in answer.replica_tags] == [("b", "2")]
    assert answer.replica_policy == service.call("GetKeyPolicy", {"key_id": key.key_id}, region=THERE).policy
    for region, role in ((REGION, MultiRegionKeyType.PRIMARY), (THERE, MultiRegionKeyType.REPLICA)):
        told = described(service, key.key_id, region).multi_region_configuration
        assert told is not None
        assert told.multi_region_key_type is role
        assert told.primary_key.region == REGION
        assert [member.arn for member in told.replica_keys] == [replica.arn]
    service.call("DisableKey", {"key_id": key.key_id}, region=THERE)
    assert described(service, key.key_id).enabled


@pytest.mark.parametrize(("spec", "usage"), [
    ("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT"), ("HMAC_384", "GENERATE_VERIFY_MAC"), ("ECC_NIST_P256", "SIGN_VERIFY"),
    ("RSA_2048", "ENCRYPT_DECRYPT"), ("ML_DSA_65", "SIGN_VERIFY"), ("ML_KEM_512", "ENCAPSULATE_DECAPSULATE"),
    ("ML_KEM_768", "ENCAPSULATE_DECAPSULATE"),
])
def test_what_one_makes_the_other_takes(service: InProcess, spec: str, usage: str) -> None:
    """Ciphertexts, MACs, signatures and encapsulations cross Regions."""
    key_id = family(service, key_spec=spec, key_usage=usage)
    if spec == "HMAC_384":
        values = {"key_id": key_id, "message": b"m", "mac_algorithm": "HMAC_SHA_384"}
        mac = service.call("GenerateMac", values).mac
        assert service.call("VerifyMac", {**values, "mac": mac}, region=THERE).mac_valid
    elif usage == "SIGN_VERIFY":
        algorithm = "ECDSA_SHA_256" if spec.startswith("ECC") else "ML_DSA_SHAKE_256"
        values = {"key_id": key_id, "message": b"m", "signing_algorithm": algorithm}
        signature = service.call("Sign", values, region=THERE).signature
        assert service.call("Verify", {**values, "signature": signature}).signature_valid
    elif usage == "ENCAPSULATE_DECAPSULATE":
        values = {"key_id": key_id, "encapsulation_algorithm": "ML_KEM"}
        made = service.call("Encapsulate", values)
        blob = {"shared_secret_ciphertext_blob": made.shared_secret_ciphertext_blob}
        assert service.call("Decapsulate", {**values, **blob}, region=THERE).shared_secret == made.shared_secret
    else:
        more = {"encryption_algorithm": "RSAES_OAEP_SHA_256"} if spec == "RSA_2048" else {}
        blob = service.call("Encrypt", {"key_id": key_id, "plaintext": b"x", **more}).ciphertext_blob
        opened = service.call("Decrypt", {"ciphertext_blob": blob, "key_id": key_id, **more}, region=THERE)
        assert (opened.plaintext, opened.key_id) == (b"x", key_arn(key_id, region=THERE))


def test_rotation_is_shared(service: InProcess) -> None:
    """Set and done at the primary; each version reads everywhere, also in a replica made later."""
    key_id = family(service)
    for operation in ("EnableKeyRotation", "RotateKeyOnDemand", "DisableKeyRotation"):
        refused(service, UnsupportedOperationException, operation, {"key_id": key_id}, region=THERE)
    service.call("EnableKeyRotation", {"key_id": key_id, "rotation_period_in_days": 200})
    here, there = (
        service.call("GetKeyRotationStatus", {"key_id": key_id}, region=region) for region in (REGION, THERE)
    )
    assert (there.key_rotation_enabled, there.rotation_period_in_days) == (True, 200)
    assert there.next_rotation_date == here.next_rotation_date is not None
    old = service.call("Encrypt", {"key_id": key_id, "plaintext": b"old"}, region=THERE).ciphertext_blob
    service.call("RotateKeyOnDemand", {"key_id": key_id})
    assert described(service, key_id).current_key_material_id == described(
        service, key_id, THERE
    ).current_key_material_id
    new = service.call("Encrypt", {"key_id": key_id, "plaintext": b"new"}, region=THERE).ciphertext_blob
    service.call("ScheduleKeyDeletion", {"key_id": key_id, "pending_window_in_days": 7}, region=THERE)
    service.clock.advance(7 * DAY)
    deletion_worker(service).run_once()
    service.call("ReplicateKey", {"key_id": key_id, "replica_region": THERE})
    for region in (REGION, THERE):
        assert service.call("Decrypt", {"ciphertext_blob": old}, region=region).plaintext == b"old"
        assert service.call("Decrypt", {"ciphertext_blob": new}, region=region).plaintext == b"new"
        listed = service.call("ListKeyRotations", {"key_id": key_id}, region=region).rotations
        assert len(listed) == 1


def test_the_primary_moves(service: InProcess) -> None:
    """The schedule and the count of rotations go with it."""
    key_id = family(service)
    service.call("EnableKeyRotation", {"key_id": key_id})
    service.call("RotateKeyOnDemand", {"key_id": key_id})
    due = service.call("GetKeyRotationStatus", {"key_id": key_id}).next_rotation_date
    service.call("UpdatePrimaryRegion", {"key_id": key_id, "primary_region": THERE})
    for region in (REGION, THERE):
        told = described(service, key_id, region).multi_region_configuration
        assert told is not None
        assert told.primary_key.region == THERE
        assert service.call("GetKeyRotationStatus", {"key_id": key_id}, region=region).next_rotation_date == due
    refused(service, UnsupportedOperationException, "RotateKeyOnDemand", {"key_id": key_id})
    service.call("RotateKeyOnDemand", {"key_id": key_id}, region=THERE)
    refused(
        service, UnsupportedOperationException, "UpdatePrimaryRegion", {"key_id": key_id, "primary_region": REGION}
    )
    service.call("UpdatePrimaryRegion", {"key_id": key_id, "primary_region": REGION}, region=THERE)
    with service.catalog.read() as reader:
        key = reader.get_key(REGION, key_id)
    assert key is not None
    assert (key.is_replica, key.on_demand_rotations, key.next_rotation) == (False, 2, due)


def test_a_primary_waits_for_its_replicas(service: InProcess) -> None:
    """PendingReplicaDeletion, then its own waiting period; it can be rescued from both."""
    key_id = family(service)
    answer = service.call("ScheduleKeyDeletion", {"key_id": key_id, "pending_window_in_days": 10})
    assert (answer.deletion_date, answer.key_state, answer.pending_window_in_days) == (
        None, KeyState.PENDING_REPLICA_DELETION, 10
    )
    told = described(service, key_id)
    assert (told.key_state, told.deletion_date, told.pending_deletion_window_in_days) == (
        KeyState.PENDING_REPLICA_DELETION, None, 10
    )
    refused(service, KMSInvalidStateException, "Encrypt", {"key_id": key_id, "plaintext": b"x"})
    service.call("Encrypt", {"key_id": key_id, "plaintext": b"x"}, region=THERE)
    service.clock.advance(100 * DAY)
    deletion_worker(service).run_once()
    service.call("CancelKeyDeletion", {"key_id": key_id})
    assert described(service, key_id).key_state is KeyState.DISABLED
    service.call("ScheduleKeyDeletion", {"key_id": key_id, "pending_window_in_days": 10})
    service.call("ScheduleKeyDeletion", {"key_id": key_id, "pending_window_in_days": 7}, region=THERE)
    service.clock.advance(7 * DAY)
    deletion_worker(service).run_once()
    told = described(service, key_id)
    assert (told.key_state, told.deletion_date) == (KeyState.PENDING_DELETION, service.clock() + 10 * DAY)
    assert told.pending_deletion_window_in_days is None
    refused(service, NotFoundException, "DescribeKey", {"key_id": key_id}, region=THERE)
    service.clock.advance(10 * DAY)
    deletion_worker(service).run_once()
    refused(service, NotFoundException, "DescribeKey", {"key_id": key_id})


def test_what_is_not_replicated(service: InProcess) -> None:
    """Single-Region keys, replicas, twice, to nowhere, in wrong states, without a policy that lets one go on."""
    single, key_id = new_key(service).key_id, family(service)
    lone = new_key(service, multi_region=True).key_id
    there = {"replica_region": THERE}
    refused(service, UnsupportedOperationException, "ReplicateKey", {"key_id": single, **there})
    refused(
        service, UnsupportedOperationException, "ReplicateKey", {"key_id": key_id, "replica_region": REGION},
        region=THERE,
    )
    for region in (THERE, REGION):
        refused(service, AlreadyExistsException, "ReplicateKey", {"key_id": key_id, "replica_region": region})
    refused(service, ValidationException, "ReplicateKey", {"key_id": lone, "replica_region": "ap-south-1"})
    for region in ("", "there", "EU-WEST-1", "eu-west-1 ", "x" * 33):
        refused(service, ValidationException, "ReplicateKey", {"key_id": lone, "replica_region": region})
    policy = delegating(statement(user_arn("nobody"), "kms:*"))
    refused(service, MalformedPolicyDocumentException, "ReplicateKey", {"key_id": lone, **there, "policy": policy})
    # The next policy has to be put in the replica's Region, whatever holds in the one that is called.
    policy = key_policy(
        {**statement(root(HOME), "kms:*"), "Condition": {"StringEquals": {"aws:RequestedRegion": REGION}}}
    )
    refused(service, MalformedPolicyDocumentException, "ReplicateKey", {"key_id": lone, **there, "policy": policy})
    service.call("DisableKey", {"key_id": lone})
    refused(service, DisabledException, "ReplicateKey", {"key_id": lone, **there})
    refused(service, UnsupportedOperationException, "UpdatePrimaryRegion", {"key_id": single, "primary_region": THERE})
    service.call("EnableKey", {"key_id": lone})
    refused(service, NotFoundException, "UpdatePrimaryRegion", {"key_id": lone, "primary_region": THERE})
    refused(service, ValidationException, "UpdatePrimaryRegion", {"key_id": lone, "primary_region": REGION})


def test_permissions_in_both_regions(service: InProcess) -> None:
    """ReplicateKey on the primary, CreateKey where the replica is to be; UpdatePrimaryRegion on both keys."""
    key = new_key(service, multi_region=True)
    create = f"arn:aws:kms:{THERE}:{HOME}:*"
    token = service.new_user("replicator", policies={
        "one": identity_policy("kms:ReplicateKey", resource=key.arn),
    })
    values = {"key_id": key.key_id, "replica_region": THERE}
    refused(service, AccessDeniedException, "ReplicateKey", values, token=token)
    for number, (resource, allowed) in enumerate(((f"arn:aws:kms:{REGION}:{HOME}:*", False), (create, True))):
        service.call("PutIdentityPolicy", {
            "principal_arn": user_arn("replicator"), "policy_name": "two",
            "policy_document": identity_policy("kms:CreateKey", resource=resource),
        })
        if allowed:
            refused(
                service, AccessDeniedException, "ReplicateKey",
                {**values, "tags": [{"tag_key": "a", "tag_value": "b"}]}, token=token,
            )
            refused(service, AccessDeniedException, "ReplicateKey", {**values, "policy": delegating()}, token=token)
            service.call("ReplicateKey", values, token=token)
        else:
            assert number == 0
            refused(service, AccessDeniedException, "ReplicateKey", values, token=token)
    mover = service.new_user("mover", policies={
        "here": identity_policy("kms:UpdatePrimaryRegion", resource=key.arn),
    })
    move = {"key_id": key.key_id, "primary_region": THERE}
    refused(service, AccessDeniedException, "UpdatePrimaryRegion", move, token=mover)
    service.call("PutIdentityPolicy", {
        "principal_arn": user_arn("mover"), "policy_name": "there",
        "policy_document": identity_policy("kms:UpdatePrimaryRegion", resource=key_arn(key.key_id, region=THERE)),
    })
    service.call("UpdatePrimaryRegion", move, token=mover)
