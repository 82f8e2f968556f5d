"""`XksKeyStore`: SYMMETRIC_DEFAULT keys held by an external key manager, used through its proxy.

Data is encrypted twice, as AWS KMS does it: first by a material of the deployment's own (the inner one), then by the
external key. So neither the external key manager alone nor whoever has this deployment's keys alone reads anything.

A material reference, version 1:

    offset  bytes  field
         0      1  0x01
         1      1  length of the external key id, 1 to 128
         2      k  external key id, ASCII
       2+k     32  inner material id
      34+k      n  inner reference: to the end

Its material id is SHA-256 over "kagitori external material id v1\\0" || length of the external key id (1) || external
key id || inner material id. The ciphertext blob is in `ciphertext.py` (kind 3). The inner cipher authenticates the
whole context with the header that is its own; the external key manager is told, as additional data,

    "kagitori external v1\\0" || header of the blob (51) || SHA-256 of the context

and so learns nothing of the encryption context, however long that is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Protocol

from kagitori_keystore.algorithms import DATA_KEY_MAX_BYTES, PLAINTEXT_MAX_BYTES, KeySpec
from kagitori_keystore.base import (
    Capability,
    CiphertextInvalid,
    Domain,
    MaterialCorrupt,
    MaterialRef,
    MaterialUnknown,
    RequestRefused,
    StoreDescription,
    StoreKind,
)
from kagitori_keystore.ciphertext import HEADER_BYTES, TAG_BYTES, CiphertextBlob, encode_header, encode_key_id, parse
from kagitori_keystore.secret import Guarded, RandomSource
from kagitori_keystore.xks import wire
from kagitori_keystore.xks.client import Client, HealthStatus, KeyMetadata, RequestMetadata, Sealed
from kagitori_keystore.xks.errors import ProxyFault, ProxyLost
from kagitori_keystore.xks.refusals import OfSymmetricKeysAlone
from kagitori_keystore.xks.settings import XksSettings

_VERSION = 1
_ID_SEPARATOR = b"kagitori external material id v1\x00"
_AAD = b"kagitori external v1\x00"
_DIGEST_BYTES = 32
_DESCRIPTION = StoreDescription(
    kind=StoreKind.XKS,
    capabilities=frozenset({Capability.SYMMETRIC_ENCRYPTION}),
    key_specs=frozenset({KeySpec.SYMMETRIC_DEFAULT}),
)


class InnerCipher(Protocol):
    """The encryption below the external one; the software key store is one."""

    def generate(self, spec: KeySpec, domain: Domain, key_id: str) -> MaterialRef:
        """As `KeyStore.generate`."""
        ...

    def encrypt(self, domain: Domain, key_id: str, ref: MaterialRef, plaintext: bytes, context: bytes) -> bytes:
        """As `SymmetricEncryption.encrypt`: a blob of kind 1."""
        ...

    def decrypt(self, domain: Domain, key_id: str, ref: MaterialRef, blob: CiphertextBlob, context: bytes) -> bytes:
        """As `SymmetricEncryption.decrypt`."""
        ...


class XksKeyStore(OfSymmetricKeysAlone, Guarded):
    """A key store behind one proxy. Keys are not made here but adopted; all else that a `GeneralKeyStore` does is
    refused. It owns its connections, not the inner cipher."""

    __slots__ = ("_client", "_inner", "_partition", "_random", "_request_ids")

    def __init__(
        self, client: Client, inner: InnerCipher, random: RandomSource, request_ids: Callable[[], str],
        partition: str = "aws",
    ) -> None:
        """`random` makes data keys; `request_ids` names calls for the proxy's log."""
        self._client = client
        self._inner = inner
        self._random = random
        self._request_ids = request_ids
        self._partition = partition

    # KeyStore

    def describe(self) -> StoreDescription:
        return _DESCRIPTION

    def health(self) -> None:
        """Raises `ProxyLost` also when all that is behind the proxy is unavailable."""
        if all(manager.status == "UNAVAILABLE" for manager in self.status().managers):
            raise ProxyLost(ProxyFault.MANAGER_UNAVAILABLE)

    def status(self, operation: str = "KmsHealthCheck") -> HealthStatus:
        """What the proxy tells of itself (GetHealthStatus); `operation` is the one that asks, such as
        ConnectCustomKeyStore. Raises what `errors` lists."""
        return self._client.get_health_status(RequestMetadata(operation, self._request_ids()))

    def adopt(self, domain: Domain, key_id: str, xks_key_id: str) -> MaterialRef:
        """Makes the external key of that id the material of a key (AWS CreateKey with XksKeyId), after a look at it.

        Raises `RequestRefused` for a malformed id, `ExternalKeyUnknown`, and `ExternalKeyUnusable` for one that is
        disabled or no AES-256 key that encrypts and decrypts.
        """
        encode_key_id(key_id)
        # The ARN of a key that is about to be made isn't told (specification, GetKeyMetadata).
        metadata = RequestMetadata("CreateKey", self._request_ids(), self._principal(domain))
        self._client.get_key_metadata(xks_key_id, metadata).check()
        inner = self._inner.generate(KeySpec.SYMMETRIC_DEFAULT, domain, key_id)
        name = xks_key_id.encode("ascii")
        reference = b"".join((
            bytes((_VERSION, len(name))), name, bytes.fromhex(inner.material_id), inner.reference,
        ))
        return MaterialRef(StoreKind.XKS, reference, _material_id(name, inner.material_id))

    def key_metadata(self, domain: Domain, key_id: str, ref: MaterialRef) -> KeyMetadata:
        """What the external key of a key is now (AWS DescribeKey)."""
        name, _ = _taken_apart(ref)
        return self._client.get_key_metadata(name, self._metadata("DescribeKey", domain, key_id))

    def forget(self, key_id: str) -> None:
        """Nothing is kept of any key."""

    def destroy(self, ref: MaterialRef) -> None:
        """The external key stays: it is not this deployment's. With the reference, the inner material goes."""

    def close(self) -> None:
        self._client.close()

    # SymmetricEncryption

    def encrypt(self, domain: Domain, key_id: str, ref: MaterialRef, plaintext: bytes, context: bytes) -> bytes:
        return self._encrypt("Encrypt", domain, key_id, ref, plaintext, context)

    def decrypt(self, domain: Domain, key_id: str, ref: MaterialRef, blob: CiphertextBlob, context: bytes) -> bytes:
        name, inner = _taken_apart(ref)
        if blob.header != encode_header(StoreKind.XKS, key_id, ref.material_id):
            raise CiphertextInvalid
        sealed = _sealed_of(blob)
        metadata = self._metadata("Decrypt", domain, key_id)
        opened = self._client.decrypt(name, metadata, sealed, _aad(blob.header, context))
        inner_header = encode_header(StoreKind.SOFTWARE, key_id, inner.material_id)
        return self._inner.decrypt(domain, key_id, inner, parse(inner_header + opened), context)

    def generate_data_key(
        self, domain: Domain, key_id: str, ref: MaterialRef, size: int, context: bytes
    ) -> tuple[bytes, bytes]:
        return self._data_key("GenerateDataKey", domain, key_id, ref, size, context)

    def generate_data_key_without_plaintext(
        self, domain: Domain, key_id: str, ref: MaterialRef, size: int, context: bytes
    ) -> bytes:
        return self._data_key("GenerateDataKeyWithoutPlaintext", domain, key_id, ref, size, context)[1]

    def _data_key(
        self, operation: str, domain: Domain, key_id: str, ref: MaterialRef, size: int, context: bytes
    ) -> tuple[bytes, bytes]:
        if not 1 <= size <= DATA_KEY_MAX_BYTES:
            raise RequestRefused(f"a data key has 1 to {DATA_KEY_MAX_BYTES} bytes")
        plaintext = self._random(size)
        return plaintext, self._encrypt(operation, domain, key_id, ref, plaintext, context)

    def _encrypt(
        self, operation: str, domain: Domain, key_id: str, ref: MaterialRef, plaintext: bytes, context: bytes
    ) -> bytes:
        if not 1 <= len(plaintext) <= PLAINTEXT_MAX_BYTES:
            raise RequestRefused(f"a plaintext has 1 to {PLAINTEXT_MAX_BYTES} bytes")
        name, inner = _taken_apart(ref)
        header = encode_header(StoreKind.XKS, key_id, ref.material_id)
        # Its header follows from what the reference says, so it is not sent along.
        once = self._inner.encrypt(domain, key_id, inner, plaintext, context)[HEADER_BYTES:]
        twice = self._client.encrypt(name, self._metadata(operation, domain, key_id), once, _aad(header, context))
        lengths = bytes((len(twice.iv), len(twice.metadata)))
        return b"".join((header, lengths, twice.iv, twice.metadata, twice.ciphertext, twice.tag))

    def _metadata(self, operation: str, domain: Domain, key_id: str) -> RequestMetadata:
        arn = f"arn:{self._partition}:kms:{domain.region}:{domain.account}:key/{key_id}"
        return RequestMetadata(operation, self._request_ids(), self._principal(domain), arn)

    def _principal(self, domain: Domain) -> str:
        """A store isn't told who calls; the account whose key it is stands for them."""
        return f"arn:{self._partition}:iam::{domain.account}:root"


def open_proxy(
    settings: XksSettings,
    secret: bytes,
    *,
    inner: InnerCipher,
    random: RandomSource,
    request_ids: Callable[[], str],
    clock: Callable[[], float],
    monotonic: Callable[[], float],
) -> XksKeyStore:
    """A store over the proxy that `settings` name; nothing is sent yet, `health` says whether it can be used.

    `secret` signs requests. Raises `RequestRefused` for a secret or a file of authorities that can't be used.
    """
    client = Client(settings, secret, clock, monotonic)
    return XksKeyStore(client, inner, random, request_ids, settings.partition)


def external_key_id(ref: MaterialRef) -> str:
    """The id of the external key that a reference names (AWS XksKeyConfiguration). Raises as `SymmetricEncryption`."""
    return _taken_apart(ref)[0]


def _material_id(name: bytes, inner_id: str) -> str:
    return hashlib.sha256(b"".join((_ID_SEPARATOR, bytes((len(name),)), name, bytes.fromhex(inner_id)))).hexdigest()


def _taken_apart(ref: MaterialRef) -> tuple[str, MaterialRef]:
    """(external key id, inner reference)."""
    if ref.kind is not StoreKind.XKS:
        raise MaterialUnknown("the material belongs to another kind of store")
    reference = ref.reference
    end = 2 + reference[1] if len(reference) > 2 else 0
    name = reference[2:end]
    if reference[0] != _VERSION or len(reference) <= end + _DIGEST_BYTES or not name.isascii():
        raise MaterialCorrupt("a material reference is malformed")
    inner_id = reference[end : end + _DIGEST_BYTES].hex()
    if not wire.KEY_ID.fullmatch(name.decode("ascii")) or _material_id(name, inner_id) != ref.material_id:
        raise MaterialCorrupt("a material reference does not fit its material id")
    return name.decode("ascii"), MaterialRef(StoreKind.SOFTWARE, reference[end + _DIGEST_BYTES :], inner_id)


def _sealed_of(blob: CiphertextBlob) -> Sealed:
    if blob.kind is not StoreKind.XKS or len(blob.nonce) < 2:
        raise CiphertextInvalid
    end = 2 + blob.nonce[0]
    ciphertext, tag = blob.sealed[:-TAG_BYTES], blob.sealed[-TAG_BYTES:]
    return Sealed(iv=blob.nonce[2:end], metadata=blob.nonce[end:], ciphertext=ciphertext, tag=tag)


def _aad(header: bytes, context: bytes) -> bytes:
    return _AAD + header + hashlib.sha256(context).digest()
