"""Envelope encryption against a real server: which keys, which contexts, and every way to damage a message."""

from __future__ import annotations

import os
from collections.abc import Iterator
from io import BytesIO

import pytest
from tests.support.devserver import DevServer

from kagitori.kms.v1.credentials_pb2 import CreateTokenRequest
from kagitori.kms.v1.keys_pb2 import CreateAliasRequest, CreateKeyRequest, DisableKeyRequest
from kagitori.kms.v1.principals_pb2 import CreateUserRequest
from kagitori_client import (
    BearerToken,
    ConfigurationError,
    Connection,
    ConnectionFailed,
    ContextMismatch,
    DoesNotVerify,
    EnvelopeError,
    KmsClient,
    NoUsableKey,
    ServiceError,
    TooLarge,
    load_settings,
    parse_endpoint,
)
from kagitori_client.envelope import DEFAULT_FRAME_LENGTH, Envelope, KeysOfMessage, NamedKeys

CONTEXT = {"a": "b", "ünï": "çøde", "empty": ""}


@pytest.fixture(scope="module")
def client(devserver: DevServer) -> Iterator[KmsClient]:
    with devserver.client() as made:
        yield made


def _key(client: KmsClient) -> str:
    return client.keys.CreateKey(CreateKeyRequest()).key_metadata.arn


@pytest.fixture(scope="module")
def key(client: KmsClient) -> str:
    return _key(client)


@pytest.fixture(scope="module")
def envelope(client: KmsClient) -> Envelope:
    return Envelope(client, frame_length=4096)


@pytest.mark.parametrize("size", [0, 1, 4095, 4096, 4097, 8191, 8192, 8193, 100_000])
def test_sizes_around_frames(envelope: Envelope, key: str, size: int) -> None:
    content = os.urandom(size)
    message = envelope.encrypt_bytes(content, keys=NamedKeys((key,)), context=CONTEXT)
    assert envelope.decrypt_bytes(message, keys=KeysOfMessage(), context=CONTEXT) == content
    # The reader's own frame length has no say.
    assert envelope.decrypt_bytes(message, keys=NamedKeys((key,))) == content


def test_facts_and_progress(envelope: Envelope, key: str) -> None:
    sealed, opened = BytesIO(), BytesIO()
    steps: list[int] = []
    wrote = envelope.encrypt(
        BytesIO(b"x" * 10_000), sealed, keys=NamedKeys((key,)), context=CONTEXT, progress=steps.append
    )
    read = envelope.decrypt(BytesIO(sealed.getvalue()), opened, keys=KeysOfMessage())
    assert wrote == read
    assert (read.key_arns, read.encryption_context, read.plaintext_length) == ((key,), CONTEXT, 10_000)
    assert steps == sorted(steps)
    assert steps[-1] == 10_000


def test_every_name_of_a_key(client: KmsClient, envelope: Envelope, key: str) -> None:
    client.keys.CreateAlias(CreateAliasRequest(alias_name="alias/envelope", target_key_id=key))
    prefix, key_id = key.split("key/")
    for name in (key, key_id, "alias/envelope", f"{prefix}alias/envelope"):
        message = envelope.encrypt_bytes(b"x", keys=NamedKeys((name,)))
        assert envelope.decrypt_bytes(message, keys=NamedKeys((name,))) == b"x"
        assert envelope.decrypt_bytes(message, keys=KeysOfMessage()) == b"x"


def test_several_keys_and_each_alone_decrypts(client: KmsClient, envelope: Envelope) -> None:
    first, second, third = (_key(client) for _ in range(3))
    message = envelope.encrypt_bytes(b"x", keys=NamedKeys((first, second)))
    for name in (first, second):
        assert envelope.decrypt_bytes(message, keys=NamedKeys((name,))) == b"x"
    with pytest.raises(NoUsableKey) as refused:
        envelope.decrypt_bytes(message, keys=NamedKeys((third,)))
    assert refused.value.causes == ()
    assert first in (refused.value.hint or "")
    client.keys.DisableKey(DisableKeyRequest(key_id=first))
    assert envelope.decrypt_bytes(message, keys=KeysOfMessage()) == b"x"
    client.keys.DisableKey(DisableKeyRequest(key_id=second))
    with pytest.raises(NoUsableKey) as refused:
        envelope.decrypt_bytes(message, keys=KeysOfMessage())
    assert refused.value.code == "DisabledException"
    assert len(refused.value.causes) == 2


def test_other_accounts_of_a_message(envelope: Envelope, key: str) -> None:
    message = envelope.encrypt_bytes(b"x", keys=NamedKeys((key,)))
    account = key.split(":")[4]
    assert envelope.decrypt_bytes(message, keys=KeysOfMessage(accounts=(account,))) == b"x"
    with pytest.raises(NoUsableKey):
        envelope.decrypt_bytes(message, keys=KeysOfMessage(accounts=("111122223333",)))


@pytest.mark.parametrize(
    "wanted", [{"a": "x"}, {"a": ""}, {"A": "b"}, {"b": "a"}, {**CONTEXT, "more": "x"}, {"ünï": "cøde"}]
)
def test_context_that_is_not_there(envelope: Envelope, key: str, wanted: dict[str, str]) -> None:
    message = envelope.encrypt_bytes(b"x", keys=NamedKeys((key,)), context=CONTEXT)
    with pytest.raises(ContextMismatch):
        envelope.decrypt_bytes(message, keys=KeysOfMessage(), context=wanted)


def test_what_is_not_written(client: KmsClient, envelope: Envelope, key: str) -> None:
    with pytest.raises(EnvelopeError, match="aws-crypto-"):
        envelope.encrypt_bytes(b"x", keys=NamedKeys((key,)), context={"aws-crypto-x": "y"})
    for names in ((), ("",), (key, "")):
        with pytest.raises(ConfigurationError):
            NamedKeys(names)
    for length in (0, -128, 1, 100, 129, 1 << 30):
        with pytest.raises(ConfigurationError):
            Envelope(client, frame_length=length)
    with pytest.raises(ServiceError) as refused:
        envelope.encrypt_bytes(b"x", keys=NamedKeys(("alias/none",)))
    assert refused.value.code == "NotFoundException"


def test_limits_of_the_reader(client: KmsClient, key: str) -> None:
    writer = Envelope(client, frame_length=DEFAULT_FRAME_LENGTH)
    message = writer.encrypt_bytes(b"x" * 100, keys=NamedKeys((key, _key(client))))
    with pytest.raises(TooLarge):
        Envelope(client, frame_length=128, max_frame_length=4096).decrypt_bytes(message, keys=KeysOfMessage())
    with pytest.raises(TooLarge):
        Envelope(client, max_encrypted_data_keys=1).decrypt_bytes(message, keys=KeysOfMessage())
    with pytest.raises(TooLarge):
        Envelope(client, max_encrypted_data_keys=1).encrypt_bytes(b"x", keys=NamedKeys((key, _key(client))))


def test_every_byte_matters(envelope: Envelope, client: KmsClient, key: str) -> None:
    """Each byte changed, each length cut off: nothing is accepted, and only our own errors come out."""
    small = Envelope(client, frame_length=128)
    message = small.encrypt_bytes(b"x" * 300, keys=NamedKeys((key,)), context={"a": "b"})
    for position in range(len(message)):
        flipped = message[:position] + bytes([message[position] ^ 1]) + message[position + 1 :]
        for damaged in (flipped, message[:position]):
            with pytest.raises((DoesNotVerify, NoUsableKey, TooLarge, ContextMismatch)):
                small.decrypt_bytes(damaged, keys=KeysOfMessage(), context={"a": "b"})
    for tail in (b"\0", message):
        with pytest.raises(DoesNotVerify, match="followed by something else"):
            small.decrypt_bytes(message + tail, keys=KeysOfMessage())


def test_frames_of_another_message(client: KmsClient, key: str) -> None:
    """Frames swapped, repeated, left out, or taken from a message under the same key."""
    small = Envelope(client, frame_length=128)
    first = small.encrypt_bytes(b"x" * 1280, keys=NamedKeys((key,)))
    second = small.encrypt_bytes(b"y" * 1280, keys=NamedKeys((key,)))
    assert len(first) == len(second)
    frame = 4 + 12 + 128 + 16
    # From the end: signature (2 + 103 at most, of varying length), final frame, and the regular ones before it.
    start = first.index(b"\x00\x00\x00\x01", len(first) - 11 * frame - 120)
    frames = [first[start + i * frame : start + (i + 1) * frame] for i in range(9)]
    others = [second[start + i * frame : start + (i + 1) * frame] for i in range(9)]
    head, tail = first[:start], first[start + 9 * frame :]
    assert head + b"".join(frames) + tail == first
    swapped = [frames[1], frames[0], *frames[2:]]
    for wrong in (swapped, [*frames, frames[8]], frames[:8], [frames[0], *others[1:]], others, frames[1:]):
        with pytest.raises(DoesNotVerify):
            small.decrypt_bytes(head + b"".join(wrong) + tail, keys=KeysOfMessage())


@pytest.mark.parametrize("content", [b"", b"\x02", b"hello, world", b"-----BEGIN PGP MESSAGE-----", bytes(10_000)])
def test_what_is_no_message(envelope: Envelope, content: bytes) -> None:
    with pytest.raises(DoesNotVerify):
        envelope.decrypt_bytes(content, keys=KeysOfMessage())


def test_caller_without_permission(devserver: DevServer, client: KmsClient, envelope: Envelope, key: str) -> None:
    user = client.admin.CreateUser(CreateUserRequest(user_name="envelope-nobody")).user
    token = client.admin.CreateToken(CreateTokenRequest(principal_arn=user.arn)).token
    administrator = Connection.from_settings(load_settings(environment=devserver.environment()))
    message = envelope.encrypt_bytes(b"x", keys=NamedKeys((key,)))
    connection = Connection(administrator.endpoint, token=BearerToken(token), roots=administrator.roots)
    with KmsClient(connection) as nobody:
        mine = Envelope(nobody)
        with pytest.raises(NoUsableKey) as refused:
            mine.decrypt_bytes(message, keys=KeysOfMessage())
        assert refused.value.code == "AccessDeniedException"
        with pytest.raises(ServiceError) as denied:
            mine.encrypt_bytes(b"x", keys=NamedKeys((key,)))
        assert denied.value.code == "AccessDeniedException"


def test_unreachable_service(envelope: Envelope, key: str) -> None:
    message = envelope.encrypt_bytes(b"x", keys=NamedKeys((key,)))
    connection = Connection(parse_endpoint("http://127.0.0.1:1"))
    with KmsClient(connection, timeout=2) as away, pytest.raises(ConnectionFailed):
        Envelope(away).decrypt_bytes(message, keys=KeysOfMessage())
