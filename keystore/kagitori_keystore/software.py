"""The software key store: keys live wrapped in the catalog and are opened in this process's memory.

    root key (a provider) wraps the key-encryption key (KEK) of each account and Region, which wraps materials

A reference is the wrapped material itself, version 1:

    offset  bytes  field
         0      1  0x01
         1      1  code of the key spec
         2     24  nonce (XAES-256-GCM)
        26      m  material
      26+m     16  tag

Additional data of a material: "kagitori material v1\\0" || version, spec || key id (17) || material id (32)
|| account (12) || Region; of a KEK: "kagitori kek v1\\0" || account (12) || Region. So a reference moved to
another key, account or Region does not open.

A wrapped secret, version 1, lies directly under the KEK:

    offset  bytes  field
         0      1  0x01
         1     24  nonce (XAES-256-GCM)
        25      n  secret
      25+n     16  tag

Its additional data: "kagitori secret v1\\0" || account (12) || length of Region (1) || Region || label.

The material id is SHA-256 over "kagitori material id v1\\0" || key id (17) || length of material (4) ||
material. It is the same in every Region that holds the material, and says nothing about a random material;
two keys with one material get different ids.

What is opened stays in memory as cipher objects, whose key schedule OpenSSL holds and clears. The buffers
used on the way are overwritten, as far as `secret.py` can promise.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Protocol, TypeVar

from cryptography.exceptions import InvalidTag

from kagitori_keystore.algorithms import (
    DATA_KEY_MAX_BYTES,
    PLAINTEXT_MAX_BYTES,
    RANDOM_MAX_BYTES,
    SPEC_BY_CODE,
    KeyFamily,
    KeySpec,
)
from kagitori_keystore.base import (
    Capability,
    CiphertextInvalid,
    Domain,
    KeyStoreError,
    MaterialCorrupt,
    MaterialRef,
    MaterialUnknown,
    RequestRefused,
    StoreDescription,
    StoreKind,
    StoreLost,
)
from kagitori_keystore.cache import HandleCache
from kagitori_keystore.ciphertext import (
    CiphertextBlob,
    aad_prefix,
    encode_header,
    encode_key_id,
    with_context,
)
from kagitori_keystore.rootkey.provider import RootKeyProvider
from kagitori_keystore.secret import Guarded, RandomSource, SecretBytes
from kagitori_keystore.xaes import KEY_BYTES, NONCE_BYTES, TAG_BYTES, XaesKey

_REFERENCE_VERSION = 1
_SEALED_AT = 2 + NONCE_BYTES
_MATERIAL_AAD = b"kagitori material v1\x00"
_MATERIAL_ID_SEPARATOR = b"kagitori material id v1\x00"
_KEK_AAD = b"kagitori kek v1\x00"
_SECRET_VERSION = b"\x01"
_SECRET_SEALED_AT = 1 + NONCE_BYTES
_SECRET_AAD = b"kagitori secret v1\x00"
_SECRET_MAX_BYTES = 1_024
_LABEL_MAX = 255
_PROBE = Domain("000000000000", "health-probe")

_DESCRIPTION = StoreDescription(
    kind=StoreKind.SOFTWARE,
    capabilities=frozenset(
        (Capability.SYMMETRIC_ENCRYPTION, Capability.RANDOM_GENERATION, Capability.SECRET_WRAPPING)
    ),
    key_specs=frozenset((KeySpec.SYMMETRIC_DEFAULT,)),
)

_T = TypeVar("_T")


class KekShelf(Protocol):
    """Where wrapped key-encryption keys lie, one per domain; durable, shared by processes, thread-safe."""

    def get(self, domain: Domain) -> bytes | None:
        """The wrapped key, or None if the domain has none yet."""
        ...

    def put_if_absent(self, domain: Domain, wrapped: bytes) -> bytes:
        """Stores `wrapped` unless another was first, atomically and durably; returns what is stored now."""
        ...


class _Material(Guarded):
    """An opened material with all that is constant for its blobs, and whose it is."""

    __slots__ = ("aad_prefix", "domain", "header", "key", "key_id", "material_id")

    def __init__(self, domain: Domain, key_id: str, material_id: str, key: XaesKey) -> None:
        self.domain = domain
        self.key_id = key_id
        self.material_id = material_id
        self.key = key
        self.header = encode_header(StoreKind.SOFTWARE, key_id, material_id)
        self.aad_prefix = aad_prefix(self.header)


class SoftwareKeyStore(Guarded):
    """Implements `SymmetricKeyStore` and `SecretWrapping` over a root key and a shelf of key-encryption keys.

    `random` makes keys and nonces. At most `materials_cached` opened materials and `domains_cached` opened
    key-encryption keys are kept. The store closes neither root key nor shelf: they belong to who made them.
    """

    __slots__ = ("_closed", "_keks", "_materials", "_random", "_root", "_shelf")

    def __init__(
        self,
        root: RootKeyProvider,
        shelf: KekShelf,
        random: RandomSource,
        *,
        materials_cached: int = 10_000,
        domains_cached: int = 1_000,
    ) -> None:
        self._root = root
        self._shelf = shelf
        self._random = random
        # By reference, checked against key, domain and material id on every hit.
        self._materials: HandleCache[bytes, _Material] = HandleCache(materials_cached)
        self._keks: HandleCache[Domain, XaesKey] = HandleCache(domains_cached)
        self._closed = False

    # KeyStore

    def describe(self) -> StoreDescription:
        return _DESCRIPTION

    def health(self) -> None:
        self._check_open()
        probe = bytearray(self._random(KEY_BYTES))
        with self._root.unwrap(self._root.wrap(probe, _kek_aad(_PROBE)), _kek_aad(_PROBE)) as opened:
            key = XaesKey(opened)
        nonce = self._random(NONCE_BYTES)
        try:
            key.decrypt(nonce, key.encrypt(nonce, probe, b""), b"")
        except InvalidTag:
            raise StoreLost("the cipher does not open what it sealed") from None
        self._from_shelf(lambda: self._shelf.get(_PROBE))

    def generate(self, spec: KeySpec, domain: Domain, key_id: str) -> MaterialRef:
        self._check_open()
        if spec not in _DESCRIPTION.key_specs:
            raise RequestRefused("the store does not make keys of this spec")
        kek = self._kek(domain) or self._first_kek(domain)
        material = bytearray(self._random(spec.material_bytes))
        with SecretBytes(material):
            material_id = _material_id(key_id, material)
            prefix = bytes((_REFERENCE_VERSION, spec.code))
            nonce = self._random(NONCE_BYTES)
            sealed = kek.encrypt(nonce, material, _material_aad(prefix, domain, key_id, material_id))
        return MaterialRef(StoreKind.SOFTWARE, prefix + nonce + sealed, material_id)

    def forget(self, key_id: str) -> None:
        self._materials.drop_where(lambda material: material.key_id == key_id)

    def destroy(self, ref: MaterialRef) -> None:
        self._check_open()
        if ref.kind is not StoreKind.SOFTWARE:
            raise MaterialUnknown("the material belongs to another kind of store")
        self._materials.drop(ref.reference)

    def close(self) -> None:
        self._closed = True
        self._materials.close()
        self._keks.close()

    # SymmetricEncryption

    def encrypt(
        self, domain: Domain, key_id: str, ref: MaterialRef, plaintext: bytes, context: bytes
    ) -> bytes:
        if not 1 <= len(plaintext) <= PLAINTEXT_MAX_BYTES:
            raise RequestRefused(f"a plaintext has 1 to {PLAINTEXT_MAX_BYTES} bytes")
        material = self._material(domain, key_id, ref)
        nonce = self._random(NONCE_BYTES)
        sealed = material.key.encrypt(nonce, plaintext, with_context(material.aad_prefix, context))
        return material.header + nonce + sealed

    def decrypt(
        self, domain: Domain, key_id: str, ref: MaterialRef, blob: CiphertextBlob, context: bytes
    ) -> bytes:
        material = self._material(domain, key_id, ref)
        if blob.header != material.header:  # another key or material; neither is secret
            raise CiphertextInvalid
        try:
            return material.key.decrypt(blob.nonce, blob.sealed, with_context(material.aad_prefix, context))
        except (InvalidTag, ValueError):
            # ValueError: a nonce of another size, in a hand-made blob. No cause: its frames hold keys.
            raise CiphertextInvalid from None

    def generate_data_key(
        self, domain: Domain, key_id: str, ref: MaterialRef, size: int, context: bytes
    ) -> tuple[bytes, bytes]:
        if not 1 <= size <= DATA_KEY_MAX_BYTES:
            raise RequestRefused(f"a data key has 1 to {DATA_KEY_MAX_BYTES} bytes")
        plaintext = self._random(size)
        return plaintext, self.encrypt(domain, key_id, ref, plaintext, context)

    def generate_data_key_without_plaintext(
        self, domain: Domain, key_id: str, ref: MaterialRef, size: int, context: bytes
    ) -> bytes:
        return self.generate_data_key(domain, key_id, ref, size, context)[1]

    # RandomGeneration

    def random(self, size: int) -> bytes:
        self._check_open()
        if not 1 <= size <= RANDOM_MAX_BYTES:
            raise RequestRefused(f"random bytes come 1 to {RANDOM_MAX_BYTES} at a time")
        return self._random(size)

    # SecretWrapping

    def wrap_secret(self, domain: Domain, label: str, secret: bytes) -> bytes:
        self._check_open()
        aad = _secret_aad(domain, label)
        if not 1 <= len(secret) <= _SECRET_MAX_BYTES:
            raise RequestRefused(f"a secret to wrap has 1 to {_SECRET_MAX_BYTES} bytes")
        kek = self._kek(domain) or self._first_kek(domain)
        nonce = self._random(NONCE_BYTES)
        return _SECRET_VERSION + nonce + kek.encrypt(nonce, secret, aad)

    def unwrap_secret(self, domain: Domain, label: str, wrapped: bytes) -> bytes:
        self._check_open()
        aad = _secret_aad(domain, label)
        size = len(wrapped) - _SECRET_SEALED_AT - TAG_BYTES
        if not 1 <= size <= _SECRET_MAX_BYTES or wrapped[:1] != _SECRET_VERSION:
            raise MaterialCorrupt("a wrapped secret is malformed")
        kek = self._kek(domain)
        if kek is None:
            raise MaterialUnknown("the account and Region have no key-encryption key")
        try:
            return kek.decrypt(wrapped[1:_SECRET_SEALED_AT], wrapped[_SECRET_SEALED_AT:], aad)
        except InvalidTag:
            # No cause: its frames hold key handles.
            raise MaterialCorrupt("a wrapped secret does not verify for what it belongs to") from None

    # Beyond the contract

    def rewrap_kek(self, domain: Domain, wrapped: bytes) -> bytes:
        """Wraps a domain's key-encryption key under the current root key version (step 2 of a rotation).

        Returns `wrapped` itself if it is under that version already. Raises what the root key raises.
        """
        self._check_open()
        if self._root.version_of(wrapped) == self._root.current_version():
            return wrapped
        aad = _kek_aad(domain)
        with self._root.unwrap(wrapped, aad) as kek:
            return self._root.wrap(kek, aad)

    # Inside

    def _material(self, domain: Domain, key_id: str, ref: MaterialRef) -> _Material:
        material = self._materials.get(ref.reference)
        if (
            material is not None
            and material.key_id == key_id
            and material.material_id == ref.material_id
            and (material.domain is domain or material.domain == domain)
            and ref.kind is StoreKind.SOFTWARE
        ):
            return material
        return self._open_material(domain, key_id, ref)

    def _open_material(self, domain: Domain, key_id: str, ref: MaterialRef) -> _Material:
        self._check_open()
        if ref.kind is not StoreKind.SOFTWARE:
            raise MaterialUnknown("the material belongs to another kind of store")
        drops = self._materials.drops
        reference = ref.reference
        spec = SPEC_BY_CODE.get(reference[1]) if len(reference) > _SEALED_AT else None
        if (
            spec is None
            or reference[0] != _REFERENCE_VERSION
            or len(reference) != _SEALED_AT + spec.material_bytes + TAG_BYTES
        ):
            raise MaterialCorrupt("a material reference is malformed")
        if spec.family is not KeyFamily.SYMMETRIC:
            raise RequestRefused("the key does not encrypt")
        kek = self._kek(domain)
        if kek is None:
            raise MaterialUnknown("the account and Region have no key-encryption key")
        aad = _material_aad(reference[:2], domain, key_id, ref.material_id)
        with SecretBytes(bytearray(spec.material_bytes)) as buffer:
            try:
                kek.decrypt_into(reference[2:_SEALED_AT], reference[_SEALED_AT:], aad, buffer)
            except InvalidTag:
                # No cause: its frames hold key handles.
                raise MaterialCorrupt("a material reference does not verify for this key") from None
            material = _Material(domain, key_id, ref.material_id, XaesKey(buffer))
        self._materials.put(reference, material, drops)
        return material

    def _kek(self, domain: Domain) -> XaesKey | None:
        """The domain's key-encryption key, None if it has none yet."""
        kek = self._keks.get(domain)
        if kek is not None:
            return kek
        wrapped = self._from_shelf(lambda: self._shelf.get(domain))
        return None if wrapped is None else self._open_kek(domain, wrapped)

    def _first_kek(self, domain: Domain) -> XaesKey:
        with SecretBytes(bytearray(self._random(KEY_BYTES))) as fresh:
            wrapped = self._root.wrap(fresh, _kek_aad(domain))
        # Of several makers at once one wins; all use what the shelf holds.
        return self._open_kek(domain, self._from_shelf(lambda: self._shelf.put_if_absent(domain, wrapped)))

    def _open_kek(self, domain: Domain, wrapped: bytes) -> XaesKey:
        with self._root.unwrap(wrapped, _kek_aad(domain)) as opened:
            if len(opened) != KEY_BYTES:
                raise MaterialCorrupt("a key-encryption key has the wrong size")
            kek = XaesKey(opened)
        self._keks.put(domain, kek, self._keks.drops)
        return kek

    def _from_shelf(self, call: Callable[[], _T]) -> _T:
        try:
            return call()
        except KeyStoreError:
            raise
        except Exception as failure:
            # The shelf is foreign code (a database) and the contract lets only our own failures out. It never
            # sees an unwrapped key, so its exception may be chained for the log.
            raise StoreLost("the shelf of key-encryption keys failed") from failure

    def _check_open(self) -> None:
        if self._closed:
            raise StoreLost("the key store is closed")


def _material_id(key_id: str, material: bytearray) -> str:
    digest = hashlib.sha256(_MATERIAL_ID_SEPARATOR)
    digest.update(encode_key_id(key_id))
    digest.update(len(material).to_bytes(4))
    digest.update(material)
    return digest.hexdigest()


def _material_aad(prefix: bytes, domain: Domain, key_id: str, material_id: str) -> bytes:
    # Every part has a fixed length but the last, so no two inputs give the same bytes.
    return b"".join(
        (_MATERIAL_AAD, prefix, encode_key_id(key_id), bytes.fromhex(material_id), _domain_bytes(domain))
    )


def _kek_aad(domain: Domain) -> bytes:
    return _KEK_AAD + _domain_bytes(domain)


def _secret_aad(domain: Domain, label: str) -> bytes:
    if not (1 <= len(label) <= _LABEL_MAX and label.isascii()):
        raise RequestRefused(f"a label has 1 to {_LABEL_MAX} ASCII characters")
    region = domain.region.encode("ascii")
    return b"".join((_SECRET_AAD, domain.account.encode("ascii"), bytes((len(region),)), region, label.encode("ascii")))


def _domain_bytes(domain: Domain) -> bytes:
    return (domain.account + domain.region).encode("ascii")
