"""Notes that are sealed for one person, and receipts for them."""

from __future__ import annotations

from kagitori.kms.v1.cryptography_pb2 import DecryptRequest, EncryptRequest, SignRequest
from kagitori.kms.v1.resources_pb2 import MessageType, SigningAlgorithm
from kagitori_client import KmsClient


def seal(client: KmsClient, person: str, note: str) -> bytes:
    """The note as it is kept. Raises ServiceError."""
    request = EncryptRequest(
        key_id="alias/notes", plaintext=note.encode(), encryption_context={"person": person}
    )
    return client.crypto.Encrypt(request).ciphertext_blob


def read(client: KmsClient, person: str, sealed: bytes) -> str:
    """The note again, for the same person. Raises ServiceError."""
    request = DecryptRequest(ciphertext_blob=sealed, encryption_context={"person": person})
    return client.crypto.Decrypt(request).plaintext.decode()


def receipt(client: KmsClient, sealed: bytes) -> bytes:
    """A signature (Ed25519) that proves that the note was taken. Raises ServiceError."""
    request = SignRequest(
        key_id="alias/receipts", message=sealed, message_type=MessageType.MESSAGE_TYPE_RAW,
        signing_algorithm=SigningAlgorithm.SIGNING_ALGORITHM_ED25519_SHA_512,
    )
    return client.crypto.Sign(request).signature
