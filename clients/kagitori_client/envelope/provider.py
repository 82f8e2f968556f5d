"""Data keys from the service, for the AWS Encryption SDK: which KMS keys may be used, and the calls to use them.

Provider id `aws-kms` and the key's ARN as key information are what the SDK's own KMS providers write and expect.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import attr
from aws_encryption_sdk.exceptions import DecryptKeyError, InvalidKeyIdError
from aws_encryption_sdk.key_providers.base import (
    MasterKey,
    MasterKeyConfig,
    MasterKeyProvider,
    MasterKeyProviderConfig,
)
from aws_encryption_sdk.structures import DataKey, EncryptedDataKey, MasterKeyInfo

from kagitori.kms.v1.cryptography_pb2 import DecryptRequest, EncryptRequest, GenerateDataKeyRequest
from kagitori_client.calls import REGION
from kagitori_client.errors import ConfigurationError, ContextMismatch, NoUsableKey, ServiceError

if TYPE_CHECKING:
    from aws_encryption_sdk.identifiers import Algorithm

    from kagitori.kms.v1.crypto_service_pb2_grpc import CryptoServiceStub

PROVIDER_ID = "aws-kms"
_KEY_ARN = re.compile(
    r"arn:(?P<partition>[a-z][a-z0-9-]{0,31}):kms:(?P<region>[a-z0-9-]{1,64}):(?P<account>\d{12})"
    r":key/[A-Za-z0-9-]{1,128}",
    re.ASCII,
)
_ANY_KMS_ARN = re.compile(r"arn:[a-z0-9-]+:kms:(?P<region>[a-z0-9-]{1,64}):\d{12}:(?:key|alias)/.+", re.ASCII)


@dataclass(frozen=True, slots=True)
class NamedKeys:
    """Strict choice: decrypt only what one of these keys protects.

    Each is named by id, ARN, alias or alias ARN. Raises ConfigurationError when there is none.
    """

    names: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.names or not all(self.names):
            raise ConfigurationError("name at least one key")

    def candidates(self, arn: str) -> Iterable[str]:
        """How to name the key in the call for a data key that says it is encrypted under `arn`."""
        for name in self.names:
            if name == arn or not _KEY_ARN.fullmatch(name):
                yield name


@dataclass(frozen=True, slots=True)
class KeysOfMessage:
    """Open choice: decrypt with the key that the message itself names.

    Every call goes to this client's own service, whatever the message says, so a message can make it use no key
    that the caller may not use. `accounts` narrows the choice to keys of these accounts; empty means any.
    """

    accounts: tuple[str, ...] = field(default=())

    def candidates(self, arn: str) -> Iterable[str]:
        """How to name the key in the call for a data key that says it is encrypted under `arn`."""
        parsed = _KEY_ARN.fullmatch(arn)
        if parsed and (not self.accounts or parsed["account"] in self.accounts):
            yield arn


def _region(name: str) -> tuple[tuple[str, str], ...]:
    """Metadata that sends the call to the Region an ARN names; for other names the client's own applies."""
    parsed = _ANY_KMS_ARN.fullmatch(name)
    return ((REGION, parsed["region"]),) if parsed else ()


@attr.s(hash=True)
class _KeyConfig(MasterKeyConfig):  # type: ignore[misc]  # the library has no types
    provider_id = PROVIDER_ID


class ServiceKey(MasterKey):  # type: ignore[misc]  # the library has no types
    """One KMS key, for encrypting. Failures of the service come out as they are (ServiceError)."""

    provider_id = PROVIDER_ID
    _config_class = _KeyConfig

    def __new__(cls, _crypto: CryptoServiceStub, name: str) -> ServiceKey:
        """The library sets up its instances here."""
        instance: ServiceKey = super().__new__(cls, key_id=name)
        return instance

    def __init__(self, crypto: CryptoServiceStub, name: str) -> None:
        self._crypto = crypto
        self._name = name

    def _generate_data_key(self, algorithm: Algorithm, encryption_context: Mapping[str, str]) -> DataKey:
        answer = self._crypto.GenerateDataKey(
            GenerateDataKeyRequest(
                key_id=self._name,
                number_of_bytes=algorithm.kdf_input_len,
                encryption_context=dict(encryption_context),
            ),
            metadata=_region(self._name),
        )
        return DataKey(
            key_provider=MasterKeyInfo(provider_id=PROVIDER_ID, key_info=answer.key_id),
            data_key=answer.plaintext,
            encrypted_data_key=answer.ciphertext_blob,
        )

    def _encrypt_data_key(
        self, data_key: DataKey, algorithm: Algorithm, encryption_context: Mapping[str, str]
    ) -> EncryptedDataKey:
        del algorithm  # the data key has its length already
        answer = self._crypto.Encrypt(
            EncryptRequest(
                key_id=self._name, plaintext=data_key.data_key, encryption_context=dict(encryption_context)
            ),
            metadata=_region(self._name),
        )
        return EncryptedDataKey(
            key_provider=MasterKeyInfo(provider_id=PROVIDER_ID, key_info=answer.key_id),
            encrypted_data_key=answer.ciphertext_blob,
        )

    def _decrypt_data_key(self, *_: Any) -> DataKey:
        # The library asks this of every key; here each direction is a provider's own.
        raise DecryptKeyError("this key encrypts; DecryptingProvider decrypts")


class EncryptingProvider(MasterKeyProvider):  # type: ignore[misc]  # the library has no types
    """Encrypts data keys under every one of some KMS keys; the first one generates them."""

    provider_id = PROVIDER_ID
    _config_class = MasterKeyProviderConfig

    def __new__(cls, *_: object) -> EncryptingProvider:
        """The library sets up its instances here."""
        instance: EncryptingProvider = super().__new__(cls)
        return instance

    def __init__(self, crypto: CryptoServiceStub, names: Sequence[str]) -> None:
        self._crypto = crypto
        self.add_master_keys_from_list(list(names))

    def _new_master_key(self, key_id: bytes) -> ServiceKey:
        return ServiceKey(self._crypto, key_id.decode())


class DecryptingProvider(MasterKeyProvider):  # type: ignore[misc]  # the library has no types
    """Decrypts one data key of a message, by the rules of the caller.

    Before anything is sent, the message's encryption context must hold all of `required`. An answer counts only
    if it is from the key that the message names and as long as the algorithm asks.
    """

    provider_id = PROVIDER_ID
    _config_class = MasterKeyProviderConfig

    def __new__(cls, *_: object) -> DecryptingProvider:
        """The library sets up its instances here."""
        instance: DecryptingProvider = super().__new__(cls)
        return instance

    def __init__(
        self, crypto: CryptoServiceStub, choice: NamedKeys | KeysOfMessage, required: Mapping[str, str]
    ) -> None:
        self._crypto = crypto
        self._choice = choice
        self._required = dict(required)

    def _new_master_key(self, *_: Any) -> ServiceKey:
        # As above, the other way: whoever decrypts takes data keys as they come and has no keys to choose from.
        raise InvalidKeyIdError("this provider decrypts; EncryptingProvider encrypts")

    def decrypt_data_key_from_list(
        self,
        encrypted_data_keys: Iterable[EncryptedDataKey],
        algorithm: Algorithm,
        encryption_context: Mapping[str, str],
    ) -> DataKey:
        """The first data key that can be decrypted.

        Raises ContextMismatch, NoUsableKey (with the service's refusals), or ConnectionFailed as soon as the
        service can't be reached.
        """
        for name, value in self._required.items():
            if encryption_context.get(name) != value:
                # The message's own value isn't shown: who may not decrypt need not learn it from an error.
                raise ContextMismatch(f"the message's encryption context does not say {name}={value}")
        refusals: list[ServiceError] = []
        named: list[str] = []
        # In the SDK they are a set; a fixed order makes failures repeatable.
        for candidate in sorted(encrypted_data_keys, key=lambda k: k.key_provider.key_info):
            arn = key_arn(candidate)
            if arn is None:
                continue
            named.append(arn)
            for key in self._choice.candidates(arn):
                try:
                    return self._decrypt(candidate, arn, key, algorithm, encryption_context)
                except ServiceError as refusal:
                    refusals.append(refusal)
        raise _no_usable_key(named, refusals)

    def _decrypt(
        self,
        candidate: EncryptedDataKey,
        arn: str,
        key: str,
        algorithm: Algorithm,
        encryption_context: Mapping[str, str],
    ) -> DataKey:
        answer = self._crypto.Decrypt(
            DecryptRequest(
                key_id=key,
                ciphertext_blob=candidate.encrypted_data_key,
                encryption_context=dict(encryption_context),
            ),
            metadata=_region(key),
        )
        if answer.key_id != arn or len(answer.plaintext) != algorithm.kdf_input_len:
            raise ServiceError("IncorrectKeyException", "the data key is not the one that the message describes")
        return DataKey(
            key_provider=candidate.key_provider,
            data_key=answer.plaintext,
            encrypted_data_key=candidate.encrypted_data_key,
        )


def key_arn(candidate: EncryptedDataKey) -> str | None:
    """The key ARN an encrypted data key names; None for those of other providers and for nonsense."""
    if candidate.key_provider.provider_id != PROVIDER_ID:
        return None
    try:
        arn: str = candidate.key_provider.key_info.decode("ascii")
    except UnicodeDecodeError:
        return None
    return arn if _KEY_ARN.fullmatch(arn) else None


def _no_usable_key(named: Sequence[str], refusals: Sequence[ServiceError]) -> NoUsableKey:
    if refusals:
        reasons = "; ".join(dict.fromkeys(f"{r.code}: {r.message}".rstrip(": ") for r in refusals))
        return NoUsableKey(f"no data key of the message could be decrypted ({reasons})", causes=tuple(refusals))
    if named:
        return NoUsableKey(
            "the message is encrypted under other keys than the ones named",
            hint=f"it names {', '.join(dict.fromkeys(named))[:500]}",
        )
    return NoUsableKey("the message holds no data key of a KMS key")
