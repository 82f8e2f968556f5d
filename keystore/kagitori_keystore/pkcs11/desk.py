"""Serves the operations on a token, in the worker: which key is meant, whether it is that key, what went wrong.

Every method raises `KeyStoreError`s alone. A key is used after two proofs: its reference verifies under the token's
binding key, for this owner, and the key that the token holds under its id is the one the reference was made of.
"""

from __future__ import annotations

import hmac
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from operator import itemgetter
from typing import Any, TypeVar

import pkcs11
from pkcs11 import Attribute, PKCS11Error
from pkcs11.exceptions import ObjectHandleInvalid

from kagitori_keystore.algorithms import Digest, KeyFamily, KeySpec, SigningScheme
from kagitori_keystore.base import (
    CiphertextInvalid,
    KeyStoreError,
    MaterialCorrupt,
    MaterialUnknown,
    RequestRefused,
    StoreLost,
)
from kagitori_keystore.cache import HandleCache
from kagitori_keystore.pkcs11 import objects, uses
from kagitori_keystore.pkcs11.binding import BindingKeys
from kagitori_keystore.pkcs11.errors import Meaning, error_for
from kagitori_keystore.pkcs11.mechanisms import abilities_of
from kagitori_keystore.pkcs11.references import ID_BYTES, Reference, decode
from kagitori_keystore.pkcs11.session import Deadline, TokenLogin
from kagitori_keystore.pkcs11.settings import ConnectFault, ConnectRefused, Found

T = TypeVar("T")

LABEL_MAX_BYTES = 128
"""Of a label that is listed: ours are shorter, and whoever else writes into the token may write long ones."""
_KEYS_CACHED = 20_000
_READ_AT_ONCE = 200
"""Objects whose id and label are read before others get their turn to find or make some."""


@dataclass(frozen=True, slots=True)
class Key:
    """A key that was found and recognised."""

    spec: KeySpec
    reference: Reference
    handle: objects.Handle


class Desk:
    """One token, logged in. Thread-safe."""

    def __init__(self, login: TokenLogin, known: Found | None) -> None:
        """`known` is what a worker before this one has found out; None for the first.

        Raises `ConnectRefused` for a token that lacks what every store needs.
        """
        self._login = login
        self._keys: HandleCache[bytes, Key] = HandleCache(_KEYS_CACHED)
        self._listed: list[tuple[bytes, bytes]] | None = None
        try:
            session = login.session()
            mechanisms = login.mechanisms()
            self.abilities = abilities_of(mechanisms, session, None if known is None else known.specs)
            if not self.abilities.can_bind:
                raise ConnectRefused(ConnectFault.MODULE_FAILED)
            self._binding = BindingKeys(session)
            self.oaep = uses.oaep_of(mechanisms, session) if known is None else known.oaep
            """The hashes with which the token decrypts RSAES-OAEP."""
        except (PKCS11Error, StoreLost):
            raise ConnectRefused(ConnectFault.MODULE_FAILED) from None

    @property
    def serial(self) -> bytes:
        """The token's serial number."""
        return self._login.serial

    @property
    def lost(self) -> bool:
        """Whether this process cannot serve any more."""
        return self._login.lost

    @property
    def pin(self) -> bytes:
        """The PIN that the token takes now."""
        return self._login.pin

    # Objects

    def health(self, deadline: Deadline) -> None:
        """Finds and uses a key. Raises `StoreLost`."""
        if not self._try(deadline, partial(self._alive, deadline)):
            self._login.lost = True
            raise StoreLost("the token does not find its own key")

    def generate(self, deadline: Deadline, spec: KeySpec, owner: bytes, name: str) -> bytes:
        """A reference to a new key."""
        if spec not in self.abilities.specs:
            raise RequestRefused("the store makes no keys of this spec")
        return self._try(deadline, partial(self._generate, deadline, spec, owner, name))

    def _generate(self, deadline: Deadline, spec: KeySpec, owner: bytes, name: str) -> bytes:
        with self._login.catalogue(deadline) as session:
            object_id = uses.random_bytes(session, ID_BYTES)
            handle, spki = objects.make(session, spec, object_id, f"{objects.LABEL_PREFIX}{spec.name} {name}")
            try:
                check = uses.check_value(session, handle, spec, object_id, spki)
                bare = Reference(spec, object_id, self._binding.current, owner, check)
                reference = replace(bare, tag=self._binding.bind(session, bare)).encode()
            except (PKCS11Error, KeyStoreError):
                objects.destroy(session, spec, object_id)
                raise
        self._keys.put(reference, Key(spec, decode(reference), handle), self._keys.drops)
        return reference

    def destroy(self, deadline: Deadline, reference: bytes) -> None:
        """Destroys the key; none is no error. Raises `MaterialCorrupt` for a reference that does not verify."""
        parsed = decode(reference)
        self._keys.drop(reference)
        self._try(deadline, partial(self._destroy, deadline, parsed))
        self._keys.drop(reference)

    def _destroy(self, deadline: Deadline, parsed: Reference) -> None:
        with self._login.catalogue(deadline) as session:
            self._binding.verify(session, parsed)
            if not self._binding.alive(session):  # logged out, a search finds nothing and says nothing
                self._login.lost = True
                raise StoreLost("the token does not find its own key")
            objects.destroy(session, parsed.spec, parsed.object_id)

    def listing(self, deadline: Deadline, after: bytes, most: int) -> list[tuple[bytes, bytes]]:
        """(CKA_ID, label) of at most so many of this product's keys, in the order of ids, from beyond `after`.

        The token is gone through for the first page, whose list the others are taken from: a token with ten thousand
        objects takes seconds for that.
        """
        listed = self._listed if after else None
        if listed is None:
            listed = self._listed = self._try(deadline, partial(self._listing, deadline))
        begin = bisect_right(listed, after, key=itemgetter(0))
        page = listed[begin : begin + most]
        if not page:
            self._listed = None
        return page

    def _listing(self, deadline: Deadline) -> list[tuple[bytes, bytes]]:
        found: list[tuple[bytes, bytes]] = []
        for kind in {objects.class_of(spec) for spec in self.abilities.specs}:
            with self._login.catalogue(deadline) as session:
                keys = list(session.get_objects({Attribute.CLASS: kind}))
            for begin in range(0, len(keys), _READ_AT_ONCE):
                with self._login.catalogue(deadline):  # anew, for others to have their turn
                    found += filter(None, map(_named, keys[begin : begin + _READ_AT_ONCE]))
        return sorted(found)

    def change_pin(self, deadline: Deadline, new: bytes) -> None:
        """Sets another user PIN, with which the worker's successors log in."""
        self._try(deadline, partial(self._login.change_pin, new, deadline))

    # Use of keys

    def check(self, deadline: Deadline, reference: bytes, owner: bytes) -> None:
        """Proves a reference."""
        self._key(deadline, reference, owner)

    def random(self, size: int, deadline: Deadline) -> bytes:
        """Random bytes of the token."""
        return self._try(deadline, lambda: uses.random_bytes(self._login.session(), size))

    def encrypt(self, deadline: Deadline, reference: bytes, owner: bytes, aad: bytes, plaintext: bytes) -> bytes:
        """IV, ciphertext and tag."""
        return self._use(
            deadline, reference, owner, (KeyFamily.SYMMETRIC,),
            lambda s, key: uses.encrypt(s, key.handle, aad, plaintext),
        )  # fmt: skip

    def decrypt(
        self, deadline: Deadline, reference: bytes, owner: bytes, aad: bytes, iv: bytes, sealed: bytes
    ) -> bytes:
        """The plaintext. Raises `CiphertextInvalid`."""
        return self._use(
            deadline, reference, owner, (KeyFamily.SYMMETRIC,),
            lambda s, key: uses.decrypt(s, key.handle, aad, iv, sealed), opens=True,
        )  # fmt: skip

    def data_key(
        self, deadline: Deadline, reference: bytes, owner: bytes, aad: bytes, size: int
    ) -> tuple[bytes, bytes]:
        """(a new data key of the token's random bytes, the same encrypted)."""

        def make(session: pkcs11.Session, key: Key) -> tuple[bytes, bytes]:
            plaintext = uses.random_bytes(session, size)
            return plaintext, uses.encrypt(session, key.handle, aad, plaintext)

        return self._use(deadline, reference, owner, (KeyFamily.SYMMETRIC,), make)

    def sign(
        self, deadline: Deadline, reference: bytes, owner: bytes, scheme: SigningScheme, digest: Digest, message: bytes
    ) -> bytes:
        """A signature."""
        if scheme not in self.abilities.schemes:
            raise RequestRefused("the token does not sign with this algorithm")
        families = (KeyFamily.RSA, KeyFamily.ECC_NIST, KeyFamily.ECC_SECG, KeyFamily.EDWARDS)
        return self._use(
            deadline, reference, owner, families, lambda s, key: uses.sign(s, key.handle, scheme, digest, message)
        )

    def decrypt_oaep(
        self, deadline: Deadline, reference: bytes, owner: bytes, digest: Digest, ciphertext: bytes
    ) -> bytes:
        """The plaintext. Raises `CiphertextInvalid`."""
        if digest not in self.oaep:
            raise RequestRefused("the token does not decrypt with this algorithm")
        return self._use(
            deadline, reference, owner, (KeyFamily.RSA,),
            lambda s, key: uses.decrypt_oaep(s, key.handle, digest, ciphertext), opens=True,
        )  # fmt: skip

    def mac(self, deadline: Deadline, reference: bytes, owner: bytes, message: bytes) -> bytes:
        """The MAC of a message."""
        return self._use(
            deadline, reference, owner, (KeyFamily.HMAC,),
            lambda s, key: uses.mac(s, key.handle, key.spec.digest, message),
        )  # fmt: skip

    def agree(self, deadline: Deadline, reference: bytes, owner: bytes, point: bytes) -> bytes:
        """A raw shared secret with a point that was validated."""

        def derive(_: pkcs11.Session, key: Key) -> bytes:
            with self._login.catalogue(deadline) as session:
                return uses.agree(session, key.handle, key.spec, point)

        return self._use(deadline, reference, owner, (KeyFamily.ECC_NIST,), derive)

    # Inside

    def _use(
        self,
        deadline: Deadline,
        reference: bytes,
        owner: bytes,
        families: tuple[KeyFamily, ...],
        use: Callable[[pkcs11.Session, Key], T],
        *,
        opens: bool = False,
    ) -> T:
        """Uses a key, once more after a stale handle or session. `opens`: what fails may be a forged ciphertext."""
        key = self._key(deadline, reference, owner)
        if key.spec.family not in families:
            raise RequestRefused("the key is not of the kind that does this")
        for last in (False, True):
            try:
                return use(self._login.session(), key)
            except PKCS11Error as error:
                meaning = self._login.judge(error, partial(self._alive, deadline))
            if opens and meaning in (Meaning.UNCLEAR, Meaning.REQUEST):
                # The token is in order. If the key still is, then the ciphertext is not.
                self._recognise(deadline, key)
                raise CiphertextInvalid
            if last or meaning not in (Meaning.KEY_GONE, Meaning.SESSION):
                raise error_for(meaning)
            self._keys.drop(reference)
            key = self._key(deadline, reference, owner)
        raise StoreLost("the token failed")

    def _try(self, deadline: Deadline, action: Callable[[], T]) -> T:
        try:
            return action()
        except PKCS11Error as error:
            meaning = self._login.judge(error, partial(self._alive, deadline))
        raise error_for(meaning)

    def _alive(self, deadline: Deadline) -> bool:
        with self._login.catalogue(deadline) as session:
            return self._binding.alive(session)

    def _key(self, deadline: Deadline, reference: bytes, owner: bytes) -> Key:
        key = self._keys.get(reference)
        if key is None:
            drops = self._keys.drops
            key = self._found(deadline, decode(reference))
            self._recognise(deadline, key)
            self._keys.put(reference, key, drops)
        if not hmac.compare_digest(key.reference.owner, owner):
            raise MaterialCorrupt("a reference to a token's key is another key's or Region's")
        return key

    def _found(self, deadline: Deadline, parsed: Reference) -> Key:
        try:
            return self._find(deadline, parsed)
        except PKCS11Error as error:
            meaning = self._login.judge(error, partial(self._alive, deadline))
        if meaning is Meaning.REQUEST:  # of a search that every token serves: the object is at fault
            raise MaterialCorrupt("the key in the token is damaged")
        raise error_for(meaning)

    def _find(self, deadline: Deadline, parsed: Reference) -> Key:
        with self._login.catalogue(deadline) as session:
            self._binding.verify(session, parsed)
            try:
                return Key(parsed.spec, parsed, objects.find(session, parsed.spec, parsed.object_id))
            except MaterialUnknown:
                if self._binding.alive(session):
                    raise
                self._login.lost = True
                raise StoreLost("the token does not find its own key") from None

    def _recognise(self, deadline: Deadline, key: Key) -> None:
        parsed = key.reference
        try:
            same = uses.is_the_key(self._login.session(), key.handle, key.spec, parsed.object_id, parsed.check)
        except PKCS11Error as error:
            meaning = self._login.judge(error, partial(self._alive, deadline))
            if meaning not in (Meaning.UNCLEAR, Meaning.REQUEST):
                raise error_for(meaning) from None
            same = False
        if not same:
            raise MaterialCorrupt("the key in the token is not the one it was")


def _named(key: Any) -> tuple[bytes, bytes] | None:
    """CKA_ID and label of a key that was found; None if it isn't one of this product's, or has gone meanwhile."""
    try:
        label, object_id = str(key[Attribute.LABEL]), bytes(key[Attribute.ID])
    except ObjectHandleInvalid:
        return None
    return (object_id, label.encode()[:LABEL_MAX_BYTES]) if label.startswith(objects.LABEL_PREFIX) else None
