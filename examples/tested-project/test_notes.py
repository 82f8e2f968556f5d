"""What the example promises, against a real service."""

from __future__ import annotations

import boto3
import notes
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from kagitori.kms.v1.key_material_pb2 import ListKeyRotationsRequest
from kagitori.kms.v1.keys_pb2 import CreateKeyRequest, ListKeysRequest, ScheduleKeyDeletionRequest
from kagitori_client import KmsClient, Retries, ServiceError
from kagitori_client.testing import Account, Aws, Service

TOKEN = "kgt_notes-of-the-example-0000000000000000000000"
SIGNER = bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")


@pytest.fixture
def client(kagitori: Service) -> KmsClient:
    """As the user that the seed made."""
    return kagitori.with_token(TOKEN).client


def test_a_note_is_read_again_by_its_person_alone(client: KmsClient) -> None:
    sealed = notes.seal(client, "ada", "engine")
    assert notes.read(client, "ada", sealed) == "engine"
    with pytest.raises(ServiceError) as refused:
        notes.read(client, "bob", sealed)
    assert refused.value.code == "InvalidCiphertextException"


def test_receipts_are_by_the_key_that_everybody_knows(client: KmsClient) -> None:
    signature = notes.receipt(client, b"sealed")
    Ed25519PublicKey.from_public_bytes(SIGNER).verify(signature, b"sealed")


def test_notes_are_read_after_years_of_rotation(kagitori_instance: Service) -> None:
    sealed = notes.seal(kagitori_instance.client, "ada", "engine")
    kagitori_instance.advance(days=800)
    rotations = kagitori_instance.client.keys.ListKeyRotations(
        ListKeyRotationsRequest(key_id="0b8f52c4-9d3e-4a57-8f0c-6f1d4c2f9a10")
    ).rotations
    assert len(rotations) == 2
    assert notes.read(kagitori_instance.client, "ada", sealed) == "engine"


def test_a_throttled_note_is_sealed_in_the_end(kagitori_instance: Service) -> None:
    with kagitori_instance.fault("throttling", operation="Encrypt", calls=2, delay=0.05):
        assert notes.seal(kagitori_instance.client, "ada", "engine")
    once = kagitori_instance.new_client(retries=Retries(attempts=1))
    with once, kagitori_instance.fault("throttling", operation="Encrypt"), pytest.raises(ServiceError) as refused:
        notes.seal(once, "ada", "engine")
    assert refused.value.code == "ThrottlingException"


def test_an_account_is_empty_and_forgotten(kagitori_account: Account) -> None:
    keys = kagitori_account.client.keys
    assert not keys.ListKeys(ListKeysRequest()).keys
    made = keys.CreateKey(CreateKeyRequest()).key_metadata
    assert made.aws_account_id == kagitori_account.account_id
    keys.ScheduleKeyDeletion(ScheduleKeyDeletionRequest(key_id=made.key_id, pending_window_in_days=7))


def test_programs_that_speak_to_aws(kagitori_aws: Aws, kagitori_account: Account) -> None:
    """boto3 by the same keys, and by those of an account of this test's own."""
    kms = boto3.client("kms", **kagitori_aws.for_boto3)
    assert kms.describe_key(KeyId="alias/notes")["KeyMetadata"]["KeyId"] == "0b8f52c4-9d3e-4a57-8f0c-6f1d4c2f9a10"
    own = boto3.client("kms", **kagitori_account.aws.for_boto3)
    assert own.create_key()["KeyMetadata"]["AWSAccountId"] == kagitori_account.account_id
    assert len(own.list_keys()["Keys"]) == 1
