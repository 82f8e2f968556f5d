"""Messages between ours and the AWS Encryption SDK's own KMS providers, over the AWS endpoint."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from io import BytesIO
from typing import Any

import aws_encryption_sdk
import pytest
from aws_encryption_sdk import CommitmentPolicy, LocalCryptoMaterialsCache
from aws_encryption_sdk.exceptions import AWSEncryptionSDKClientError
from aws_encryption_sdk.identifiers import Algorithm, EncryptionKeyType, WrappingAlgorithm
from aws_encryption_sdk.internal.crypto.wrapping_keys import WrappingKey
from aws_encryption_sdk.key_providers.kms import (
    DiscoveryAwsKmsMasterKeyProvider,
    MRKAwareStrictAwsKmsMasterKeyProvider,
    StrictAwsKmsMasterKeyProvider,
)
from aws_encryption_sdk.key_providers.raw import RawMasterKey
from aws_encryption_sdk.materials_managers.caching import CachingCryptoMaterialsManager
from tests.support.devserver import DevServer, running_server

from kagitori.kms.v1.keys_pb2 import CreateKeyRequest
from kagitori_client import DoesNotVerify, KmsClient, NoUsableKey, TooLarge
from kagitori_client.envelope import Envelope, KeysOfMessage, NamedKeys
from kagitori_client.envelope.provider import EncryptingProvider

CONTEXT = {"purpose": "interop"}
SDK = aws_encryption_sdk.EncryptionSDKClient(commitment_policy=CommitmentPolicy.REQUIRE_ENCRYPT_REQUIRE_DECRYPT)
OLD_SDK = aws_encryption_sdk.EncryptionSDKClient(commitment_policy=CommitmentPolicy.FORBID_ENCRYPT_ALLOW_DECRYPT)


@pytest.fixture(scope="module")
def server() -> Iterator[DevServer]:
    with running_server(("--aws-listen", "127.0.0.1:0")) as running:
        yield running


@pytest.fixture(scope="module")
def client(server: DevServer) -> Iterator[KmsClient]:
    with server.client() as made:
        yield made


@pytest.fixture(scope="module")
def key(client: KmsClient) -> str:
    return client.keys.CreateKey(CreateKeyRequest()).key_metadata.arn


@pytest.fixture
def _stock(server: DevServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """boto3, as it is, pointed at our server by what it says itself."""
    for name, value in server.variables.items():
        if name.startswith("AWS_"):
            monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)


@pytest.mark.usefixtures("_stock")
@pytest.mark.parametrize(
    "provider",
    [
        lambda key: StrictAwsKmsMasterKeyProvider(key_ids=[key]),
        lambda key: MRKAwareStrictAwsKmsMasterKeyProvider(key_ids=[key]),
        lambda _key: DiscoveryAwsKmsMasterKeyProvider(),
    ],
    ids=["strict", "multi-Region aware", "discovery"],
)
@pytest.mark.parametrize("size", [0, 1, 65536, 200_000])
def test_stock_provider_reads_ours(
    client: KmsClient, key: str, provider: Callable[[str], Any], size: int
) -> None:
    content = os.urandom(size)
    message = Envelope(client).encrypt_bytes(content, keys=NamedKeys((key,)), context=CONTEXT)
    opened, header = SDK.decrypt(source=message, key_provider=provider(key))
    assert opened == content
    assert CONTEXT.items() <= header.encryption_context.items()
    assert header.algorithm is Algorithm.AES_256_GCM_HKDF_SHA512_COMMIT_KEY_ECDSA_P384


@pytest.mark.usefixtures("_stock")
@pytest.mark.parametrize("frame_length", [128, 4096, 1 << 20, 0])
@pytest.mark.parametrize(
    "algorithm",
    [
        Algorithm.AES_256_GCM_HKDF_SHA512_COMMIT_KEY_ECDSA_P384,
        Algorithm.AES_256_GCM_HKDF_SHA512_COMMIT_KEY,
    ],
    ids=["signed", "unsigned"],
)
def test_ours_reads_stock_providers(
    client: KmsClient, key: str, frame_length: int, algorithm: Algorithm
) -> None:
    content = os.urandom(10_000)
    message, _ = SDK.encrypt(
        source=content,
        key_provider=StrictAwsKmsMasterKeyProvider(key_ids=[key]),
        encryption_context=CONTEXT,
        frame_length=frame_length,
        algorithm=algorithm,
    )
    for choice in (NamedKeys((key,)), KeysOfMessage()):
        assert Envelope(client).decrypt_bytes(message, keys=choice, context=CONTEXT) == content


@pytest.mark.usefixtures("_stock")
def test_two_keys_of_the_stock_provider(client: KmsClient, key: str) -> None:
    second = client.keys.CreateKey(CreateKeyRequest()).key_metadata.arn
    message, _ = SDK.encrypt(source=b"x", key_provider=StrictAwsKmsMasterKeyProvider(key_ids=[key, second]))
    for name in (key, second):
        assert Envelope(client).decrypt_bytes(message, keys=NamedKeys((name,))) == b"x"


@pytest.mark.usefixtures("_stock")
def test_stock_provider_refuses_other_keys(client: KmsClient, key: str) -> None:
    other = client.keys.CreateKey(CreateKeyRequest()).key_metadata.arn
    message = Envelope(client).encrypt_bytes(b"x", keys=NamedKeys((other,)))
    with pytest.raises(AWSEncryptionSDKClientError):
        SDK.decrypt(source=message, key_provider=StrictAwsKmsMasterKeyProvider(key_ids=[key]))


@pytest.mark.usefixtures("_stock")
@pytest.mark.parametrize(
    "algorithm",
    [Algorithm.AES_256_GCM_IV12_TAG16_HKDF_SHA384_ECDSA_P384, Algorithm.AES_256_GCM_IV12_TAG16],
    ids=["signed", "bare"],
)
def test_messages_without_key_commitment_are_refused(client: KmsClient, key: str, algorithm: Algorithm) -> None:
    message, _ = OLD_SDK.encrypt(
        source=b"x", key_provider=StrictAwsKmsMasterKeyProvider(key_ids=[key]), algorithm=algorithm
    )
    with pytest.raises(DoesNotVerify, match="key commitment"):
        Envelope(client).decrypt_bytes(message, keys=NamedKeys((key,)))


@pytest.mark.usefixtures("_stock")
@pytest.mark.parametrize("frame_length", [32 << 20, 0])
def test_frames_that_would_fill_the_memory_are_refused(client: KmsClient, key: str, frame_length: int) -> None:
    message, _ = SDK.encrypt(
        source=bytes(17 << 20),
        key_provider=StrictAwsKmsMasterKeyProvider(key_ids=[key]),
        frame_length=frame_length,
    )
    with pytest.raises(TooLarge):
        Envelope(client).decrypt_bytes(message, keys=NamedKeys((key,)))


def _raw() -> RawMasterKey:
    return RawMasterKey(
        provider_id="elsewhere",
        key_id="k",
        wrapping_key=WrappingKey(
            wrapping_algorithm=WrappingAlgorithm.AES_256_GCM_IV12_TAG16_NO_PADDING,
            wrapping_key=bytes(32),
            wrapping_key_type=EncryptionKeyType.SYMMETRIC,
        ),
    )


def test_message_of_another_provider(client: KmsClient, key: str) -> None:
    message, _ = SDK.encrypt(source=b"x", key_provider=_raw())
    for choice in (NamedKeys((key,)), KeysOfMessage()):
        with pytest.raises(NoUsableKey, match="no data key of a KMS key"):
            Envelope(client).decrypt_bytes(message, keys=choice)


@pytest.mark.usefixtures("_stock")
def test_message_of_two_providers(client: KmsClient, key: str) -> None:
    """Key information of other providers may be anything, also no text."""
    provider = StrictAwsKmsMasterKeyProvider(key_ids=[key])
    provider.add_master_key_provider(_raw())
    message, _ = SDK.encrypt(source=b"x", key_provider=provider)
    sink = BytesIO()
    facts = Envelope(client).decrypt(BytesIO(message), sink, keys=KeysOfMessage())
    assert (sink.getvalue(), facts.key_arns) == (b"x", (key,))


def test_the_sdks_data_key_cache_takes_our_provider(client: KmsClient, key: str) -> None:
    manager = CachingCryptoMaterialsManager(
        master_key_provider=EncryptingProvider(client.crypto, [key]),
        cache=LocalCryptoMaterialsCache(10),
        max_age=60.0,
        max_messages_encrypted=100,
    )
    messages = [SDK.encrypt(source=b"x", materials_manager=manager, encryption_context=CONTEXT) for _ in range(5)]
    data_keys = {k.encrypted_data_key for _, header in messages for k in header.encrypted_data_keys}
    assert len(data_keys) == 1
    for message, _ in messages:
        assert Envelope(client).decrypt_bytes(message, keys=KeysOfMessage()) == b"x"
