"""Log files encrypted under a KMS key, in the message format of the AWS Encryption SDK: what an object store does with
SSE-KMS, for destinations that can't.

Each file has a data key of its own, asked for as AWS CloudTrail asks for it, so that the key's policy decides whether
log files may be encrypted under it, and who may read them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attr
import aws_encryption_sdk
from aws_encryption_sdk.exceptions import AWSEncryptionSDKClientError, DecryptKeyError, EncryptKeyError
from aws_encryption_sdk.identifiers import Algorithm, CommitmentPolicy
from aws_encryption_sdk.key_providers.base import MasterKey, MasterKeyConfig
from aws_encryption_sdk.structures import DataKey, EncryptedDataKey, MasterKeyInfo

from kagitori_server.delivery.naming import TrailDescription
from kagitori_server.model.errors import KMSInternalException
from kagitori_server.service_calls import ServiceCaller

_PROVIDER_ID = "aws-kms"
_FRAME_BYTES = 65_536


@attr.s(hash=True)
class _TrailKeyConfig(MasterKeyConfig):  # type: ignore[misc]  # the library has no types
    provider_id = _PROVIDER_ID


class _TrailKey(MasterKey):  # type: ignore[misc]  # the library has no types
    """The KMS key, for encrypting one file."""

    provider_id = _PROVIDER_ID
    _config_class = _TrailKeyConfig

    def __new__(cls, _caller: ServiceCaller, arn: str) -> _TrailKey:
        """The library sets up its instances here."""
        instance: _TrailKey = super().__new__(cls, key_id=arn)
        return instance

    def __init__(self, caller: ServiceCaller, arn: str) -> None:
        self._caller = caller
        self._arn = arn

    def _generate_data_key(self, algorithm: Algorithm, encryption_context: Mapping[str, str]) -> DataKey:
        del algorithm  # every one that is used here takes 32 bytes
        plaintext, blob = self._caller.generate_data_key(self._arn, encryption_context)
        return DataKey(
            key_provider=MasterKeyInfo(provider_id=_PROVIDER_ID, key_info=self._arn), data_key=plaintext,
            encrypted_data_key=blob,
        )

    def _encrypt_data_key(self, *_: Any) -> EncryptedDataKey:
        raise EncryptKeyError("there is one key for each message")

    def _decrypt_data_key(self, *_: Any) -> DataKey:
        raise DecryptKeyError("log files are only encrypted here")


class EnvelopeSealing:
    """Seals log files with the context that AWS CloudTrail has: the trail's ARN and the object's."""

    def __init__(self, caller: ServiceCaller, description: TrailDescription) -> None:
        self._caller = caller
        self._description = description
        self._sdk = aws_encryption_sdk.EncryptionSDKClient(
            commitment_policy=CommitmentPolicy.REQUIRE_ENCRYPT_REQUIRE_DECRYPT, max_encrypted_data_keys=1
        )

    def seal(self, key: str, content: bytes) -> bytes:
        """The message. Unsigned: that the file is whole and the service's is for digests to say. Raises KmsError."""
        trail = self._description
        try:
            message, _ = self._sdk.encrypt(
                source=content,
                key_provider=_TrailKey(self._caller, trail.kms_key),
                encryption_context={"aws:cloudtrail:arn": trail.arn, "aws:s3:arn": trail.object_arn(key)},
                algorithm=Algorithm.AES_256_GCM_HKDF_SHA512_COMMIT_KEY,
                frame_length=_FRAME_BYTES,
            )
        except AWSEncryptionSDKClientError:
            # No cause: nobody knows what it would quote.
            raise KMSInternalException("The log file could not be encrypted.") from None
        sealed: bytes = message
        return sealed
