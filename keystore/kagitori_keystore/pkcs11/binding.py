"""The binding key of a token: the HMAC key under which references to all others are authenticated.

It is made at the first use of a token, and there may be several, if two machines came first together. Its CKA_ID is
the MAC of a constant under itself, cut to 16 bytes: a damaged one does not bear its name, and is not used.
"""

from __future__ import annotations

import hmac

import pkcs11
from pkcs11 import Attribute, KeyType, MechanismFlag, ObjectClass

from kagitori_keystore.algorithms import Digest
from kagitori_keystore.base import MaterialCorrupt, MaterialUnknown, StoreLost
from kagitori_keystore.pkcs11 import uses
from kagitori_keystore.pkcs11.objects import HARD, Handle, check_hard, handle_of, is_hard
from kagitori_keystore.pkcs11.references import ID_BYTES, Reference

LABEL = "kagitori-binding"
_NAME = b"kagitori pkcs11 binding key v1\x00"


class BindingKeys:
    """The binding keys of a token, by id. Callers hold the catalogue's lock, except for `tag`."""

    def __init__(self, session: pkcs11.Session) -> None:
        """Finds them, and makes the first. Raises `PKCS11Error`, and `StoreLost` if the token makes no such keys."""
        self._handles: dict[bytes, Handle] = {}
        self._look(session)
        if not self._handles:
            self._make(session)
        self.current = min(self._handles)
        """The one that new references name: the same in every process."""

    def bind(self, session: pkcs11.Session, reference: Reference) -> bytes:
        """The tag of a reference that names the current binding key."""
        return self._tag(session, reference)

    def verify(self, session: pkcs11.Session, reference: Reference) -> None:
        """Raises `MaterialCorrupt` unless the tag is right, and `MaterialUnknown` if its binding key is not here."""
        if reference.binder_id not in self._handles:
            self._look(session)
        if reference.binder_id not in self._handles:
            raise MaterialUnknown("the token has not the key that binds this reference")
        if not hmac.compare_digest(self._tag(session, reference), reference.tag):
            raise MaterialCorrupt("a reference to a token's key does not verify")

    def alive(self, session: pkcs11.Session) -> bool:
        """Whether the current one is found in the token and works: the shortest way through a token."""
        found = list(session.get_objects(_template(Attribute.ID, self.current)))
        return len(found) == 1 and _name(session, handle_of(found[0])) == self.current

    def _tag(self, session: pkcs11.Session, reference: Reference) -> bytes:
        handle = self._handles[reference.binder_id]
        return uses.mac(session, handle, Digest.SHA_256, reference.authenticated())

    def _look(self, session: pkcs11.Session) -> None:
        for key in list(session.get_objects(_template(Attribute.LABEL, LABEL))):
            handle, named = handle_of(key), key[Attribute.ID]
            # Of a key that may leave the token others could know the value, and make references.
            if is_hard(key) and named == _name(session, handle):
                self._handles[named] = handle

    def _make(self, session: pkcs11.Session) -> None:
        key = session.generate_key(
            KeyType.GENERIC_SECRET, 256, label=LABEL, store=True,
            capabilities=MechanismFlag.SIGN | MechanismFlag.VERIFY, template=HARD,
        )  # fmt: skip
        try:
            check_hard(key)
        except StoreLost:
            key.destroy()
            raise
        handle = handle_of(key)
        name = _name(session, handle)
        key[Attribute.ID] = name
        self._handles[name] = handle


def _template(attribute: Attribute, value: object) -> dict[Attribute, object]:
    """Finds private objects alone, which nobody makes without the PIN."""
    return {Attribute.CLASS: ObjectClass.SECRET_KEY, Attribute.PRIVATE: True, attribute: value}


def _name(session: pkcs11.Session, handle: Handle) -> bytes:
    return uses.mac(session, handle, Digest.SHA_256, _NAME)[:ID_BYTES]
