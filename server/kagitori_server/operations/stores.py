"""The port to the key stores: the service's own, and custom ones that it reaches while they are connected."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Executor
from typing import Protocol

from kagitori_keystore.base import Domain, MaterialRef, StoreKind
from kagitori_keystore.capabilities import GeneralKeyStore
from kagitori_server.custom_stores.ports import STORE_KINDS
from kagitori_server.model.custom_key_stores import CustomKeyStore
from kagitori_server.model.keys import Key


class TokenObjectFound(Protocol):
    """A key object of a token."""

    @property
    def object_id(self) -> str:
        """Its CKA_ID, hexadecimal."""
        ...

    @property
    def label(self) -> str: ...
    @property
    def kind(self) -> str:
        """A word for what it is, such as its key spec."""
        ...


class CustomStore(GeneralKeyStore, Protocol):
    """A connected custom key store."""

    def adopt(self, domain: Domain, key_id: str, xks_key_id: str) -> MaterialRef:
        """Material for a key that uses an external key: EXTERNAL_KEY_STORE only.

        Raises XksKeyNotFoundException or XksKeyInvalidConfigurationException, or KeyStoreError.
        """
        ...

    def objects(self) -> Iterable[TokenObjectFound]:
        """The key objects that this store's token holds: AWS_CLOUDHSM only."""
        ...

    def object_id(self, reference: bytes) -> str:
        """Which of them a material reference means."""
        ...


class Stores(Protocol):
    """All key stores. Methods that reach a store out of the process block, and are called in its `pool` alone."""

    @property
    def default(self) -> GeneralKeyStore:
        """The service's own key store, in this process."""
        ...

    @property
    def worker(self) -> str:
        """The name of this process, which connects and disconnects what is marked with it."""
        ...

    def of(self, store_id: str) -> GeneralKeyStore:
        """The store of that id. A custom one that isn't open in this process yet is opened: blocks.

        Raises KMSInvalidStateException for a custom key store that isn't connected, or StoreLost when it is but this
        process can't reach it.
        """
        ...

    def custom(self, store_id: str) -> CustomStore:
        """The same, for what custom key stores alone can do."""
        ...

    def at_hand(self, key: Key, domain: Domain) -> bool:
        """Whether a key of that domain can be used without a wait for what is out of this process: a custom key store,
        or the root key that opens the domain's key-encryption key. Doesn't block."""
        ...

    def pool(self, store_id: str) -> Executor:
        """The threads in which calls wait for a key store: no other store waits for them. Beyond a bound it raises
        ThrottlingException instead of taking more."""
        ...

    def verify(self, store: CustomKeyStore, secret: bytes | None) -> None:
        """Looks whether a custom key store could be connected with this configuration, as far as AWS does before it
        makes or changes one. `secret` None: the one that it has isn't changed. Blocks.

        Raises the model's CloudHsmCluster… and XksProxy… exceptions.
        """
        ...

    def same_cluster(self, cluster_id: str, other: str) -> bool:
        """Whether two clusters hold the same keys: one is the other, or a copy of it, or both are of a third."""
        ...

    def discard(self, store_id: str, reference: MaterialRef) -> None:
        """Lets a custom key store destroy material that no key has, as soon as it comes to it. Doesn't wait; failures
        are logged."""
        ...

    def probe(self, seconds: float) -> Iterator[tuple[str, StoreKind, str, float]]:
        """Uses every store once, all at a time: (id, kind, what is wrong or "", seconds that it took). A store that
        doesn't answer within `seconds` is said not to."""
        ...


def told(store: CustomKeyStore) -> Mapping[str, str]:
    """What a record of a call about a custom key store says of it, as CloudTrail does."""
    facts = {"custom_key_store_name": store.name}
    if store.cluster_id is not None:
        facts["cluster_id"] = store.cluster_id
    return facts


def store_kind(key: Key) -> StoreKind:
    """The kind of store that a key's material is in, told without reaching it."""
    return StoreKind.SOFTWARE if key.custom_store is None else STORE_KINDS[key.custom_store.kind]
