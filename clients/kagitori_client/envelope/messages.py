"""Whole messages: streams in, streams out, in constant memory."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from typing import IO, TYPE_CHECKING, Any

import aws_encryption_sdk
from aws_encryption_sdk.exceptions import (
    ActionNotAllowedError,
    AWSEncryptionSDKClientError,
    CustomMaximumValueExceeded,
    MasterKeyProviderError,
    NotSupportedError,
    UnknownIdentityError,
)
from aws_encryption_sdk.identifiers import Algorithm, CommitmentPolicy
from cryptography.exceptions import InvalidSignature, InvalidTag

from kagitori_client.client import KmsClient
from kagitori_client.envelope.provider import (
    DecryptingProvider,
    EncryptingProvider,
    KeysOfMessage,
    NamedKeys,
    key_arn,
)
from kagitori_client.errors import ConfigurationError, DoesNotVerify, EnvelopeError, TooLarge

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aws_encryption_sdk.structures import MessageHeader

DEFAULT_FRAME_LENGTH = 65536
"""Bytes of plaintext per frame. A reader holds one frame in memory; larger frames cost less per byte."""

MAX_FRAME_LENGTH = 16 * 1024 * 1024
"""Largest frame, or undivided message, that is read. The format allows 4 GiB, which would fill our memory."""

MAX_ENCRYPTED_DATA_KEYS = 16
"""Most encrypted data keys of a message; each is up to one call to the service."""

_CHUNK = 65536
_FRAME_UNIT = 128  # the SDK asks for multiples of AES's block size in bits
_RESERVED = "aws-crypto-"


@dataclass(frozen=True, slots=True)
class MessageFacts:
    """What a message says about itself, authenticated."""

    key_arns: tuple[str, ...]
    encryption_context: Mapping[str, str]
    plaintext_length: int


class Envelope:
    """Encrypts and decrypts streams with the keys of one client.

    Messages are written with key commitment and a signature (AES-256-GCM, HKDF-SHA-512, ECDSA P-384). Read are
    also those without signature, but none without key commitment.
    """

    def __init__(
        self,
        client: KmsClient,
        *,
        frame_length: int = DEFAULT_FRAME_LENGTH,
        max_encrypted_data_keys: int = MAX_ENCRYPTED_DATA_KEYS,
        max_frame_length: int = MAX_FRAME_LENGTH,
    ) -> None:
        """`frame_length` is for writing, the two maxima for reading (the number of keys for both)."""
        if not 0 < frame_length <= max_frame_length or frame_length % _FRAME_UNIT:
            raise ConfigurationError(
                f"frames have {_FRAME_UNIT} to {max_frame_length} bytes, in steps of {_FRAME_UNIT}"
            )
        self._client = client
        self._frame_length = frame_length
        self._max_frame_length = max_frame_length
        self._sdk = aws_encryption_sdk.EncryptionSDKClient(
            commitment_policy=CommitmentPolicy.REQUIRE_ENCRYPT_REQUIRE_DECRYPT,
            max_encrypted_data_keys=max_encrypted_data_keys,
        )

    def encrypt(
        self,
        source: IO[bytes],
        sink: IO[bytes],
        *,
        keys: NamedKeys,
        context: Mapping[str, str] | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> MessageFacts:
        """Encrypts `source` to its end into `sink`.

        Each of `keys` alone will be able to decrypt; the first makes the data key. `context` is bound to the
        message and readable in it. `progress` is told the number of plaintext bytes after each step.
        Raises ServiceError, ConnectionFailed, or EnvelopeError; then `sink` holds an unfinished message.
        """
        pairs = dict(context or {})
        for name in pairs:
            if name.startswith(_RESERVED):
                raise EnvelopeError(f"names in an encryption context can't start with {_RESERVED}: {name}")
        counted = _Counted(source, progress)
        with _library_failures(EnvelopeError, "the message could not be written"):
            encryptor = self._sdk.stream(
                mode="e",
                source=counted,
                key_provider=EncryptingProvider(self._client.crypto, keys.names),
                encryption_context=pairs,
                algorithm=Algorithm.AES_256_GCM_HKDF_SHA512_COMMIT_KEY_ECDSA_P384,
                frame_length=self._frame_length,
            )
            _copy(encryptor, sink)
            return _facts(encryptor.header, counted.count)

    def decrypt(
        self,
        source: IO[bytes],
        sink: IO[bytes],
        *,
        keys: NamedKeys | KeysOfMessage,
        context: Mapping[str, str] | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> MessageFacts:
        """Decrypts the message that `source` holds, and nothing beside it, into `sink`.

        Every pair of `context` must be in the message's own. What is written to `sink` before this returns is
        not to be used: only the end of the message shows that it is whole and signed. `progress` is told the
        number of message bytes after each step.
        Raises ContextMismatch, NoUsableKey, DoesNotVerify, TooLarge, ServiceError or ConnectionFailed.
        """
        counted = _Counted(source, progress)
        with _library_failures(DoesNotVerify, "the message does not verify"):
            decryptor = self._sdk.stream(
                mode="d",
                source=counted,
                key_provider=DecryptingProvider(self._client.crypto, keys, context or {}),
                max_body_length=self._max_frame_length,
            )
            length = _copy(decryptor, sink)
            # Fails unless the signature at the end of the message was read, and so verified.
            decryptor.close()
            if counted.read(1):
                raise DoesNotVerify("the message is followed by something else")
            return _facts(decryptor.header, length)

    def encrypt_bytes(
        self, plaintext: bytes, *, keys: NamedKeys, context: Mapping[str, str] | None = None
    ) -> bytes:
        """`encrypt` for what fits in memory."""
        sink = BytesIO()
        self.encrypt(BytesIO(plaintext), sink, keys=keys, context=context)
        return sink.getvalue()

    def decrypt_bytes(
        self, message: bytes, *, keys: NamedKeys | KeysOfMessage, context: Mapping[str, str] | None = None
    ) -> bytes:
        """`decrypt` for what fits in memory; gives out nothing unverified."""
        sink = BytesIO()
        self.decrypt(BytesIO(message), sink, keys=keys, context=context)
        return sink.getvalue()


class _Counted:
    """A stream that counts what is read, and that can't seek: the library need not know the length."""

    def __init__(self, stream: IO[bytes], progress: Callable[[int], None] | None) -> None:
        self._stream = stream
        self._progress = progress
        self.count = 0
        self.closed = False

    def read(self, size: int = -1) -> bytes:
        content = self._stream.read(size)
        self.count += len(content)
        if self._progress is not None and content:
            self._progress(self.count)
        return content


def _copy(stream: Any, sink: IO[bytes]) -> int:
    written = 0
    while chunk := stream.read(_CHUNK):
        sink.write(chunk)
        written += len(chunk)
    return written


def _facts(header: MessageHeader, length: int) -> MessageFacts:
    return MessageFacts(
        key_arns=tuple(sorted(filter(None, map(key_arn, header.encrypted_data_keys)))),
        encryption_context={k: v for k, v in header.encryption_context.items() if not k.startswith(_RESERVED)},
        plaintext_length=length,
    )


@contextmanager
def _library_failures(kind: type[EnvelopeError], message: str) -> Iterator[None]:
    """What the library raises, as ours. Causes are not chained: they can hold pieces of the data."""
    try:
        yield
    except CustomMaximumValueExceeded as error:
        raise TooLarge(f"{message}, it exceeds a limit set here: {error}") from None
    except ActionNotAllowedError:
        raise kind(
            f"{message}: it has no key commitment", hint="write it again with an algorithm that commits to its key"
        ) from None
    except InvalidSignature:
        raise kind(f"{message}: its signature is wrong") from None
    except InvalidTag:
        raise kind(f"{message}: its authentication tag is wrong") from None
    except MasterKeyProviderError:
        raise kind(f"{message}: its key commitment is wrong") from None
    except (UnknownIdentityError, NotSupportedError):
        raise kind(f"{message}: it is not in the AWS Encryption SDK's format, or in an unknown version") from None
    except (AWSEncryptionSDKClientError, ValueError, struct.error, LookupError, TypeError):
        # The library parses with plain struct, str and enum operations, which fail in their own ways on garbage.
        raise kind(f"{message}: it is cut short or malformed") from None
