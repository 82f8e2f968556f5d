"""What the registry asks of each type of custom key store."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

from kagitori_keystore.base import Domain, MaterialRef, StoreKind
from kagitori_keystore.capabilities import GeneralKeyStore
from kagitori_server.model.custom_key_stores import ConnectionErrorCode, CustomKeyStore, CustomKeyStoreType

STORE_KINDS: Mapping[CustomKeyStoreType, StoreKind] = {
    CustomKeyStoreType.AWS_CLOUDHSM: StoreKind.PKCS11, CustomKeyStoreType.EXTERNAL_KEY_STORE: StoreKind.XKS,
}
"""What blobs and references call the stores of each type."""


class ConnectFailed(Exception):
    """A custom key store can't be connected; `code` says why, in AWS's words."""

    def __init__(self, code: ConnectionErrorCode) -> None:
        super().__init__(code.value)
        self.code = code

    @property
    def lasting(self) -> bool:
        """Whether trying again with the same secret is of no use, and may lock its user out."""
        return self.code in (ConnectionErrorCode.INVALID_CREDENTIALS, ConnectionErrorCode.USER_LOCKED_OUT)


class OwnStore(GeneralKeyStore, Protocol):
    """The service's own key store, in this process."""

    def is_at_hand(self, domain: Domain, references: Iterable[bytes]) -> bool:
        """Whether the material of a reference can be used without asking root key or catalog. Doesn't block."""
        ...


class FoundObject(Protocol):
    """A key object of a token."""

    @property
    def object_id(self) -> str:
        """Its CKA_ID, hexadecimal."""
        ...

    @property
    def label(self) -> str: ...
    @property
    def kind(self) -> str: ...


class OpenedStore(GeneralKeyStore, Protocol):
    """A connection to a custom key store. Every method has a deadline."""

    def change_secret(self, new: bytes) -> None:
        """Gives the token's user another PIN. Raises RequestRefused when the token doesn't take such a one."""
        ...

    def adopt(self, domain: Domain, key_id: str, xks_key_id: str) -> MaterialRef:
        """Material for a key that uses an external key."""
        ...

    def objects(self) -> Iterable[FoundObject]:
        """The key objects that its token holds."""
        ...

    def object_id(self, reference: bytes) -> str:
        """Which of them a material reference means."""
        ...

    def is_of(self, material_id: str, reference: bytes) -> bool:
        """False if the material is certainly of another token than this store's. Doesn't ask the token."""
        ...


class Opener(Protocol):
    """How custom key stores of one type are connected. Thread-safe; methods block, within a deadline of their own."""

    def verify(self, store: CustomKeyStore, secret: bytes | None) -> None:
        """Raises the CloudHsmCluster… or XksProxy… exception that AWS refuses such a configuration with."""
        ...

    def same_cluster(self, cluster_id: str, other: str) -> bool:
        """Whether two clusters are the same or copies of each other."""
        ...

    def open(self, store: CustomKeyStore, secret: bytes) -> OpenedStore:
        """Raises ConnectFailed, and KeyStoreError for what isn't foreseen."""
        ...

    def owns_secret(self, store: CustomKeyStore) -> bool:
        """Whether connecting gives the store a secret that the service alone knows."""
        ...
