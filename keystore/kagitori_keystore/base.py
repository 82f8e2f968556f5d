"""The contract of a key store: what each one (software, PKCS#11 token, external proxy) does and how it fails.

The server holds one opaque `MaterialRef` per key version and never a key. Every operation is synchronous and
thread-safe. `KeyStore` is what each store is; abilities beyond it are Protocols of their own, here those
around symmetric keys, in `capabilities.py` the others. A store lists those it has in its `StoreDescription`.

Failures are closed: nothing but a `KeyStoreError` leaves a store, and `ErrorKind` says whose fault it was,
which is all a caller needs to choose between refusing, retrying and raising the alarm.

    KeyStoreError
      RequestRefused       CALLER        an argument is out of bounds or not served by this store
        CiphertextInvalid  CALLER        a ciphertext does not verify: which part of it is never said
        PublicKeyInvalid   CALLER        a peer's public key is malformed or of another kind
        ImportRefused      CALLER        a wrapped material does not open, or is not what it was said to be
      MaterialUnknown      KEY           the store holds nothing under this reference
      MaterialCorrupt      KEY           the reference does not verify for this key, account and Region
      SessionLost          SESSION_LOST  the session died; one retry on a new session makes sense
      StoreLost            STORE_LOST    the store cannot be reached or trusted
        RootKeyRefused     STORE_LOST    the root key cannot be opened; an operator has to act
        LibraryLacking     STORE_LOST    this process lacks the library that keys of the spec need; others work
      TooSlow              TOO_SLOW      no answer within the deadline; the operation may have happened

Messages hold no plaintext, no key and no part of either.
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Protocol

from kagitori_keystore.algorithms import MATERIAL_REFERENCE_MAX_BYTES, KeySpec

if TYPE_CHECKING:  # ciphertext.py raises this module's errors, so the import is for annotations alone
    from kagitori_keystore.ciphertext import CiphertextBlob

_ACCOUNT = re.compile(r"[0-9]{12}")
_REGION = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_MATERIAL_ID = re.compile(r"[0-9a-f]{64}")


class ErrorKind(enum.Enum):
    """Whose fault a failure is."""

    CALLER = "caller"
    """The request is at fault: the same call will fail again."""
    KEY = "key"
    """This key's material is at fault: other keys still work."""
    SESSION_LOST = "session-lost"
    """A session ended under the call. Retrying once, on a new session, makes sense."""
    STORE_LOST = "store-lost"
    """The whole store is out of reach or out of trust."""
    TOO_SLOW = "too-slow"
    """The deadline passed; whether the operation happened is unknown."""


class KeyStoreError(Exception):
    """Root of a store's failures; only its subclasses are raised."""

    kind: ClassVar[ErrorKind]


class RequestRefused(KeyStoreError):
    """An argument is out of its bounds, or the store does not serve what was asked."""

    kind = ErrorKind.CALLER


class CiphertextInvalid(RequestRefused):
    """The ciphertext is malformed, or does not verify under this key and context. Never says which."""

    def __init__(self) -> None:
        super().__init__("the ciphertext is not valid for this key and context")


class PublicKeyInvalid(RequestRefused):
    """A peer's public key is no DER SubjectPublicKeyInfo, not on its curve, or on another than the key's."""

    def __init__(self) -> None:
        super().__init__("the public key is not valid for this key")


class ImportFault(enum.Enum):
    """What is wrong with a material that was to be imported."""

    UNDECRYPTABLE = "undecryptable"
    """It does not open under the wrapping key and algorithm; which check failed is never said."""
    WRONG_SHAPE = "wrong-shape"
    """It opens, and is not exactly one material of the key's spec."""


class ImportRefused(RequestRefused):
    """A wrapped material is not imported; `reason` says at which of two steps it failed, nothing more."""

    def __init__(self, reason: ImportFault) -> None:
        super().__init__(
            "the wrapped key material does not open"
            if reason is ImportFault.UNDECRYPTABLE
            else "the key material does not fit the key"
        )
        self.reason = reason


class MaterialUnknown(KeyStoreError):
    """The store holds no material under the reference."""

    kind = ErrorKind.KEY


class MaterialCorrupt(KeyStoreError):
    """The reference does not verify for this key, account and Region."""

    kind = ErrorKind.KEY


class SessionLost(KeyStoreError):
    """The session with the store ended before the operation was done; another session may serve it."""

    kind = ErrorKind.SESSION_LOST


class StoreLost(KeyStoreError):
    """The store is closed, out of reach, or fails its own checks."""

    kind = ErrorKind.STORE_LOST


class RootKeyRefused(StoreLost):
    """The root key cannot be opened: unsafe permissions, wrong passphrase, damaged or missing file."""


class LibraryLacking(StoreLost):
    """Keys of this spec need a library that this process was started without. The key is sound, and others work."""


class TooSlow(KeyStoreError):
    """The store gave no answer within its deadline."""

    kind = ErrorKind.TOO_SLOW


class StoreKind(enum.Enum):
    """Which kind of store holds a material. `code` is its byte in ciphertext blobs and never changes."""

    SOFTWARE = 1
    PKCS11 = 2
    XKS = 3

    @property
    def code(self) -> int:
        """One byte, 1..255."""
        return self.value


class Capability(enum.Enum):
    """Abilities that a store may have beside `KeyStore` itself; each names the Protocol that is written like it."""

    SYMMETRIC_ENCRYPTION = "symmetric-encryption"
    RANDOM_GENERATION = "random-generation"
    SECRET_WRAPPING = "secret-wrapping"  # noqa: S105 - the name of the ability, not a secret
    PUBLIC_KEYS = "public-keys"
    ASYMMETRIC_ENCRYPTION = "asymmetric-encryption"
    SIGNING = "signing"
    MACS = "macs"
    KEY_AGREEMENT = "key-agreement"
    KEY_ENCAPSULATION = "key-encapsulation"
    DATA_KEY_PAIRS = "data-key-pairs"
    MATERIAL_IMPORT = "material-import"
    MATERIAL_REPLICATION = "material-replication"
    PROXY_ENCRYPTION = "proxy-encryption"


@dataclass(frozen=True, slots=True)
class Domain:
    """The account (12 digits) and Region whose key-encryption key protects a material.

    Raises `RequestRefused` for anything else than an account number and a lower-case Region name.
    """

    account: str
    region: str

    def __post_init__(self) -> None:
        if not _ACCOUNT.fullmatch(self.account):
            raise RequestRefused("an account is 12 digits")
        if not _REGION.fullmatch(self.region):
            raise RequestRefused("a Region name is 1 to 63 lower-case letters, digits and inner hyphens")


@dataclass(frozen=True, slots=True)
class MaterialRef:
    """What the server keeps of one key version: which kind of store, and words only that store understands.

    `reference` (1 to 3,072 bytes) is wrapped material for the software store, an object id for a token; it
    is of no use without the store. `material_id` (64 hexadecimal digits) is the public name of the material,
    the one AWS shows as KeyMaterialId; ciphertexts carry it.

    Raises `MaterialCorrupt` when a field is out of shape.
    """

    kind: StoreKind
    reference: bytes = field(repr=False)
    material_id: str

    def __post_init__(self) -> None:
        if not 1 <= len(self.reference) <= MATERIAL_REFERENCE_MAX_BYTES:
            raise MaterialCorrupt("a material reference is out of its size bounds")
        if not _MATERIAL_ID.fullmatch(self.material_id):
            raise MaterialCorrupt("a material id is 64 lower-case hexadecimal digits")


@dataclass(frozen=True, slots=True)
class StoreDescription:
    """What a store can do: its kind, the Protocols it serves and the key specs it makes.

    An ability is about those of the specs that have it: a store without RSA keys signs with no RSA key, and
    makes no RSA data key pair.
    """

    kind: StoreKind
    capabilities: frozenset[Capability]
    key_specs: frozenset[KeySpec]
    lacking: frozenset[str] = frozenset()
    """Algorithms (AWS names) that its keys don't have although their spec has them."""


class KeyStore(Protocol):
    """What every store is. `key_id` is a lower-case UUID or `mrk-` with 32 hexadecimal digits."""

    def describe(self) -> StoreDescription:
        """What this store can do; constant, answered without touching the store."""
        ...

    def health(self) -> None:
        """Tries the store from end to end; returns if a call made now would be served.

        Raises `SessionLost`, `StoreLost` or `TooSlow`: what that call would get.
        """
        ...

    def generate(self, spec: KeySpec, domain: Domain, key_id: str) -> MaterialRef:
        """Makes random material for a new version of a key; the reference works for that key and domain only.

        Raises `RequestRefused` for a spec this store does not make or a malformed key id.
        """
        ...

    def forget(self, key_id: str) -> None:
        """Drops what this process has cached of a key's materials (it was changed or deleted, here or by another
        process). Never fails."""
        ...

    def destroy(self, ref: MaterialRef) -> None:
        """Ends the material, as far as the store holds it; a second call is no error.

        The server erases the reference as well: where the reference *is* the wrapped material, as in the
        software store, that erasure is the destruction.
        """
        ...

    def close(self) -> None:
        """Drops what is cached and lets go of the store; later operations raise `StoreLost`. Idempotent."""
        ...


class SymmetricEncryption(Protocol):
    """Authenticated encryption with SYMMETRIC_DEFAULT keys (AWS Encrypt, Decrypt, GenerateDataKey).

    `context` is the canonical encryption context, opaque here; it is authenticated byte by byte. All raise
    `MaterialUnknown` and `MaterialCorrupt` when `ref` is not this key's in this domain.
    """

    def encrypt(
        self, domain: Domain, key_id: str, ref: MaterialRef, plaintext: bytes, context: bytes
    ) -> bytes:
        """A ciphertext blob (`ciphertext.py`) of 1 to 4,096 bytes. Raises `RequestRefused` beyond that."""
        ...

    def decrypt(
        self, domain: Domain, key_id: str, ref: MaterialRef, blob: CiphertextBlob, context: bytes
    ) -> bytes:
        """The plaintext of a parsed blob. Raises `CiphertextInvalid`, whatever about it is wrong."""
        ...

    def generate_data_key(
        self, domain: Domain, key_id: str, ref: MaterialRef, size: int, context: bytes
    ) -> tuple[bytes, bytes]:
        """(plaintext, blob) of a new random key of 1 to 1,024 bytes. Raises `RequestRefused` beyond that."""
        ...

    def generate_data_key_without_plaintext(
        self, domain: Domain, key_id: str, ref: MaterialRef, size: int, context: bytes
    ) -> bytes:
        """The blob of a new random key of 1 to 1,024 bytes, whose plaintext never leaves the store."""
        ...


class RandomGeneration(Protocol):
    """Random bytes from the store's own source (AWS GenerateRandom)."""

    def random(self, size: int) -> bytes:
        """1 to 1,024 bytes. Raises `RequestRefused` beyond that."""
        ...


class SecretWrapping(Protocol):
    """Keeps the server's own small secrets, such as those of access keys, that have to be read again.

    `label` (1 to 255 ASCII characters) says what the secret belongs to; a wrapped secret opens under its own
    domain and label only.
    """

    def wrap_secret(self, domain: Domain, label: str, secret: bytes) -> bytes:
        """A secret of 1 to 1,024 bytes, wrapped in at most 1,065. Raises `RequestRefused` beyond that."""
        ...

    def unwrap_secret(self, domain: Domain, label: str, wrapped: bytes) -> bytes:
        """The secret. Raises `MaterialUnknown` for a domain without keys, `MaterialCorrupt` for all else."""
        ...


class SymmetricKeyStore(KeyStore, SymmetricEncryption, RandomGeneration, Protocol):
    """A store with both abilities: what the server's symmetric operations ask for."""
