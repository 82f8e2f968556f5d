"""A token without hardware: the software key store as if it were one, with a PIN, objects and ways to fail.

For states and errors alone; what real tokens do is tested with real ones.
"""

from __future__ import annotations

import dataclasses
import hashlib
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from kagitori_keystore.algorithms import KeySpec
from kagitori_keystore.base import (
    Domain,
    KeyStoreError,
    MaterialCorrupt,
    MaterialRef,
    RequestRefused,
    StoreKind,
    StoreLost,
)
from kagitori_keystore.software import SoftwareKeyStore
from kagitori_server.custom_stores import ConnectFailed, OpenedStore
from kagitori_server.model.custom_key_stores import ConnectionErrorCode, CustomKeyStore
from kagitori_server.model.errors import CloudHsmClusterNotFoundException, KmsError

CLUSTER = "cluster-abcdefghijk"
SPARE = "cluster-bcdefghijkl"
"""Another token."""
COPY = "cluster-cdefghijklm"
"""Holds what `CLUSTER` holds."""
PIN = "user-pin-1"
DAMAGED = b"a damaged reference"
"""Names no object, and never will."""


@dataclass(frozen=True)
class Found:
    """An object of the token."""

    object_id: str
    label: str
    kind: str


@dataclass
class Token:
    """What the device is: it outlives connections and processes."""

    pin: bytes = PIN.encode()
    objects: dict[str, Found] = field(default_factory=dict)
    logins: int = 0
    refused: int = 0
    """Logins with a wrong PIN."""
    down: ConnectionErrorCode | None = None
    """Why it can't be connected now."""
    failure: KeyStoreError | None = None
    """What every use of a key fails with."""
    hold: threading.Event | None = None
    """Every use of a key waits for this."""
    on_change: Callable[[], None] = lambda: None
    """Called when the PIN has just been changed."""
    takes_pins: bool = True


class TokenStore:
    """`OpenedStore` over the software key store."""

    def __init__(self, token: Token, store: SoftwareKeyStore) -> None:
        self._token = token
        self._store = store
        self.closed = False

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._store, name)

        def called(*arguments: Any) -> Any:
            self._use()
            return method(*map(_inner, arguments))

        return called

    def _use(self) -> None:
        if self.closed:
            raise StoreLost("closed")
        if self._token.hold is not None:
            self._token.hold.wait(20)
        if self._token.failure is not None:
            raise self._token.failure

    def describe(self) -> Any:
        """A token's, that makes no ML-KEM keys."""
        described = self._store.describe()
        specs = frozenset(spec for spec in described.key_specs if not spec.name.startswith("ML_"))
        return dataclasses.replace(described, kind=StoreKind.PKCS11, key_specs=specs)

    def generate(self, spec: KeySpec, domain: Domain, key_id: str) -> MaterialRef:
        """A new object."""
        self._use()
        made = self._store.generate(spec, domain, key_id)
        object_id = self.object_id(made.reference)
        self._token.objects[object_id] = Found(object_id, f"kagitori {spec.name}", spec.name)
        return MaterialRef(StoreKind.PKCS11, made.reference, made.material_id)

    def adopt(self, _domain: Domain, _key_id: str, _xks_key_id: str) -> MaterialRef:
        """Tokens adopt nothing."""
        raise RequestRefused("no external keys here")

    def destroy(self, ref: MaterialRef) -> None:
        """Removes the object."""
        self._use()
        if ref.reference == DAMAGED:
            raise MaterialCorrupt("a reference is damaged")
        self._token.objects.pop(self.object_id(ref.reference), None)

    def change_secret(self, new: bytes) -> None:
        """Sets another PIN."""
        if not self._token.takes_pins:
            raise RequestRefused("no such PIN")
        self._token.pin = new
        self._token.on_change()

    def object_id(self, reference: bytes) -> str:
        """Made of the reference, as this token's objects are what it wraps."""
        return hashlib.sha256(reference).hexdigest()[:32]

    def is_of(self, _material_id: str, _reference: bytes) -> bool:
        """Copies have the same serial number."""
        return True

    def objects(self) -> list[Found]:
        """All of them."""
        return list(self._token.objects.values())

    def forget(self, key_id: str) -> None:
        """Nothing is cached here."""

    def close(self) -> None:
        """Logs out."""
        self.closed = True


def _inner(argument: Any) -> Any:
    if isinstance(argument, MaterialRef):
        return MaterialRef(StoreKind.SOFTWARE, argument.reference, argument.material_id)
    return argument


class TokenOpener:
    """`Opener` for the tokens of these clusters, kept in a software key store of their own."""

    def __init__(self, store: SoftwareKeyStore) -> None:
        self.tokens = {CLUSTER: Token(), SPARE: Token()}
        self.tokens[COPY] = self.tokens[CLUSTER]
        self.store = store
        self.rotates = True
        self.refusal: KmsError | None = None

    def verify(self, store: CustomKeyStore, _secret: bytes | None) -> None:
        """Knows its clusters."""
        if self.refusal is not None:
            raise self.refusal
        if store.cluster_id not in self.tokens:
            raise CloudHsmClusterNotFoundException(f"{store.cluster_id} is not configured.")

    def same_cluster(self, cluster_id: str, other: str) -> bool:
        """`COPY` is of `CLUSTER`."""
        return cluster_id == other or {cluster_id, other} == {CLUSTER, COPY}

    def open(self, store: CustomKeyStore, secret: bytes) -> OpenedStore:
        """Logs in."""
        token = self.tokens[store.cluster_id or ""]
        if token.down is not None:
            raise ConnectFailed(token.down)
        token.logins += 1
        if secret != token.pin:
            token.refused += 1
            raise ConnectFailed(ConnectionErrorCode.INVALID_CREDENTIALS)
        opened: Any = TokenStore(token, self.store)
        result: OpenedStore = opened
        return result

    def owns_secret(self, _store: CustomKeyStore) -> bool:
        """Unless it is told not to."""
        return self.rotates



class AnyCluster(TokenOpener):
    """Knows every cluster, each with a token of its own."""

    def verify(self, _store: CustomKeyStore, _secret: bytes | None) -> None:
        """Nothing is wrong with any."""
