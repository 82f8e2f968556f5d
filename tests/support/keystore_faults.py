"""A key store that breaks one promise at a time, to prove that the contract's checks bite."""

from __future__ import annotations

import enum
import time
from collections.abc import Callable
from typing import TypeVar

from cryptography.exceptions import InvalidTag

from kagitori_keystore.algorithms import KeySpec
from kagitori_keystore.base import (
    CiphertextInvalid,
    Domain,
    KeyStoreError,
    MaterialCorrupt,
    MaterialRef,
    RequestRefused,
    StoreDescription,
    StoreLost,
    SymmetricKeyStore,
)
from kagitori_keystore.ciphertext import CiphertextBlob

T = TypeVar("T")


class Fault(enum.Enum):
    """What the store does wrong."""

    IGNORES_CONTEXT = enum.auto()
    ACCEPTS_MOVED_REFERENCES = enum.auto()
    ACCEPTS_ANY_CIPHERTEXT = enum.auto()
    REPEATS_CIPHERTEXTS = enum.auto()
    REPEATS_MATERIAL = enum.auto()
    REPEATS_RANDOM = enum.auto()
    TRUNCATES_OVERSIZE = enum.auto()
    SHORT_DATA_KEYS = enum.auto()
    UNRELATED_DATA_KEYS = enum.auto()
    LEAKS_FOREIGN_ERRORS = enum.auto()
    EXPLAINS_BAD_CIPHERTEXTS = enum.auto()
    CHAINS_CAUSES = enum.auto()
    BLAMES_CALLER_FOR_KEY = enum.auto()
    BLAMES_KEY_FOR_LOSS = enum.auto()
    ECHOES_PLAINTEXT = enum.auto()
    HEALTHY_WHEN_LOST = enum.auto()
    SERVES_AFTER_CLOSE = enum.auto()
    FAILS_ON_SECOND_DESTROY = enum.auto()
    FORGETS_FOR_GOOD = enum.auto()
    DENIES_ABILITIES = enum.auto()
    SHOWS_ITSELF = enum.auto()
    MIXES_THREADS = enum.auto()


class FaultyStore:
    """Everything is done by a real store, except what `fault` says (None: nothing)."""

    def __init__(self, real: SymmetricKeyStore, fault: Fault | None) -> None:
        self._real = real
        self._fault = fault
        self._owners: dict[bytes, tuple[Domain, str]] = {}
        self._gone: set[bytes] = set()
        self._first_ref: dict[tuple[Domain, str], MaterialRef] = {}
        self._last_blob: dict[tuple[MaterialRef, bytes, bytes], bytes] = {}
        self._last_plaintext = b""

    def __repr__(self) -> str:
        return "FaultyStore(material=...)" if self._fault is Fault.SHOWS_ITSELF else repr(self._real)

    def __eq__(self, other: object) -> bool:
        return self is other if self._fault is Fault.SHOWS_ITSELF else self._real == other

    def __hash__(self) -> int:
        return id(self)

    def __copy__(self) -> FaultyStore:
        raise TypeError("secrets are not copied")

    def __deepcopy__(self, memo: object) -> FaultyStore:
        raise TypeError("secrets are not copied")

    def __reduce__(self) -> str:
        raise TypeError("secrets are not pickled")

    def describe(self) -> StoreDescription:
        real = self._real.describe()
        if self._fault is Fault.DENIES_ABILITIES:
            return StoreDescription(real.kind, frozenset(), real.key_specs)
        return real

    def health(self) -> None:
        if self._fault is not Fault.HEALTHY_WHEN_LOST:
            self._do(self._real.health)

    def generate(self, spec: KeySpec, domain: Domain, key_id: str) -> MaterialRef:
        ref = self._do(lambda: self._real.generate(spec, domain, key_id))
        if self._fault is Fault.REPEATS_MATERIAL:
            ref = self._first_ref.setdefault((domain, key_id), ref)
        self._owners[ref.reference] = domain, key_id
        return ref

    def encrypt(
        self, domain: Domain, key_id: str, ref: MaterialRef, plaintext: bytes, context: bytes
    ) -> bytes:
        if self._fault is Fault.TRUNCATES_OVERSIZE:
            plaintext = plaintext[:4096]
        if self._fault is Fault.ECHOES_PLAINTEXT and len(plaintext) > 4096:
            raise RequestRefused(f"too long: {plaintext!r}")
        if self._fault is Fault.MIXES_THREADS:
            self._last_plaintext = plaintext
            time.sleep(0.0005)  # long enough for another thread to come in between
            plaintext = self._last_plaintext
        domain, key_id, context = self._bend(domain, key_id, ref, context)
        blob = self._do(lambda: self._real.encrypt(domain, key_id, ref, plaintext, context))
        if self._fault is Fault.REPEATS_CIPHERTEXTS:
            return self._last_blob.setdefault((ref, plaintext, context), blob)
        return blob

    def decrypt(
        self, domain: Domain, key_id: str, ref: MaterialRef, blob: CiphertextBlob, context: bytes
    ) -> bytes:
        domain, key_id, context = self._bend(domain, key_id, ref, context)
        try:
            return self._do(lambda: self._real.decrypt(domain, key_id, ref, blob, context))
        except CiphertextInvalid:
            if self._fault is Fault.ACCEPTS_ANY_CIPHERTEXT:
                return b"whatever"
            raise

    def generate_data_key(
        self, domain: Domain, key_id: str, ref: MaterialRef, size: int, context: bytes
    ) -> tuple[bytes, bytes]:
        if self._fault is Fault.SHORT_DATA_KEYS and size > 16:
            size = 16
        bent, bent_key, context = self._bend(domain, key_id, ref, context)
        plaintext, blob = self._do(lambda: self._real.generate_data_key(bent, bent_key, ref, size, context))
        if self._fault is Fault.UNRELATED_DATA_KEYS:
            return self._real.random(size), blob
        return plaintext, blob

    def generate_data_key_without_plaintext(
        self, domain: Domain, key_id: str, ref: MaterialRef, size: int, context: bytes
    ) -> bytes:
        return self.generate_data_key(domain, key_id, ref, size, context)[1]

    def random(self, size: int) -> bytes:
        fresh = self._do(lambda: self._real.random(size))
        return bytes(size) if self._fault is Fault.REPEATS_RANDOM else fresh

    def forget(self, key_id: str) -> None:
        if self._fault is Fault.FORGETS_FOR_GOOD:
            self._gone |= {reference for reference, owner in self._owners.items() if owner[1] == key_id}
        self._real.forget(key_id)

    def destroy(self, ref: MaterialRef) -> None:
        if self._fault is Fault.FAILS_ON_SECOND_DESTROY:
            if ref.reference in self._gone:
                raise MaterialCorrupt("destroyed already")
            self._gone.add(ref.reference)
        self._do(lambda: self._real.destroy(ref))

    def close(self) -> None:
        if self._fault is not Fault.SERVES_AFTER_CLOSE:
            self._real.close()

    def _bend(
        self, domain: Domain, key_id: str, ref: MaterialRef, context: bytes
    ) -> tuple[Domain, str, bytes]:
        if self._fault is Fault.FORGETS_FOR_GOOD and ref.reference in self._gone:
            raise MaterialCorrupt("forgotten")
        if self._fault is Fault.ACCEPTS_MOVED_REFERENCES:
            domain, key_id = self._owners.get(ref.reference, (domain, key_id))
        return domain, key_id, b"" if self._fault is Fault.IGNORES_CONTEXT else context

    def _do(self, call: Callable[[], T]) -> T:
        try:
            return call()
        except CiphertextInvalid as error:
            if self._fault is Fault.LEAKS_FOREIGN_ERRORS:
                raise InvalidTag from None
            if self._fault is Fault.EXPLAINS_BAD_CIPHERTEXTS:
                raise RequestRefused("the tag does not match") from None
            if self._fault is Fault.CHAINS_CAUSES:
                raise CiphertextInvalid from error
            raise
        except StoreLost:
            if self._fault is Fault.BLAMES_KEY_FOR_LOSS:
                raise MaterialCorrupt("something is wrong with the key") from None
            raise
        except KeyStoreError:
            if self._fault is Fault.BLAMES_CALLER_FOR_KEY:
                raise RequestRefused("try another key") from None
            raise
