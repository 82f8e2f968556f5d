"""Custom key stores: what the catalog keeps of places outside the service that hold the material of keys."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

DEFAULT_STORE = "default"
"""The id of the software key store that keys live in unless they name a custom key store."""


class CustomKeyStoreType(StrEnum):
    """AWS `CustomKeyStoreType`."""

    AWS_CLOUDHSM = "AWS_CLOUDHSM"
    """A PKCS#11 token, which the server's configuration names a cluster."""
    EXTERNAL_KEY_STORE = "EXTERNAL_KEY_STORE"
    """A proxy that speaks AWS's XKS protocol."""


class XksProxyConnectivity(StrEnum):
    """How an XKS proxy is reached (AWS `XksProxyConnectivityType`)."""

    PUBLIC_ENDPOINT = "PUBLIC_ENDPOINT"
    VPC_ENDPOINT_SERVICE = "VPC_ENDPOINT_SERVICE"


class ConnectionState(StrEnum):
    """AWS `ConnectionStateType`."""

    CONNECTED = "CONNECTED"
    CONNECTING = "CONNECTING"
    FAILED = "FAILED"
    DISCONNECTED = "DISCONNECTED"
    DISCONNECTING = "DISCONNECTING"


class ConnectionErrorCode(StrEnum):
    """Why connecting failed (AWS `ConnectionErrorCodeType`)."""

    INVALID_CREDENTIALS = "INVALID_CREDENTIALS"
    CLUSTER_NOT_FOUND = "CLUSTER_NOT_FOUND"
    NETWORK_ERRORS = "NETWORK_ERRORS"
    INTERNAL_ERROR = "INTERNAL_ERROR"
    INSUFFICIENT_CLOUDHSM_HSMS = "INSUFFICIENT_CLOUDHSM_HSMS"
    USER_LOCKED_OUT = "USER_LOCKED_OUT"
    USER_NOT_FOUND = "USER_NOT_FOUND"
    USER_LOGGED_IN = "USER_LOGGED_IN"
    SUBNET_NOT_FOUND = "SUBNET_NOT_FOUND"
    INSUFFICIENT_FREE_ADDRESSES_IN_SUBNET = "INSUFFICIENT_FREE_ADDRESSES_IN_SUBNET"
    XKS_PROXY_ACCESS_DENIED = "XKS_PROXY_ACCESS_DENIED"
    XKS_PROXY_NOT_REACHABLE = "XKS_PROXY_NOT_REACHABLE"
    XKS_VPC_ENDPOINT_SERVICE_NOT_FOUND = "XKS_VPC_ENDPOINT_SERVICE_NOT_FOUND"
    XKS_PROXY_INVALID_RESPONSE = "XKS_PROXY_INVALID_RESPONSE"
    XKS_PROXY_INVALID_CONFIGURATION = "XKS_PROXY_INVALID_CONFIGURATION"
    XKS_VPC_ENDPOINT_SERVICE_INVALID_CONFIGURATION = "XKS_VPC_ENDPOINT_SERVICE_INVALID_CONFIGURATION"
    XKS_PROXY_TIMED_OUT = "XKS_PROXY_TIMED_OUT"
    XKS_PROXY_INVALID_TLS_CONFIGURATION = "XKS_PROXY_INVALID_TLS_CONFIGURATION"


@dataclass(frozen=True, slots=True)
class XksProxy:
    """Where an external key store's proxy is, and who the service is to it."""

    uri_endpoint: str
    """`https://` and a host."""
    uri_path: str
    """Ends in `/kms/xks/v1`."""
    access_key_id: str = field(repr=False)
    """Names the secret that requests are signed with."""


@dataclass(frozen=True, slots=True)
class CustomKeyStore:
    """A custom key store as the catalog keeps it. Immutable: a change makes a new one."""

    account: str
    region: str
    store_id: str
    """`cks-` and 17 hexadecimal digits."""
    name: str
    kind: CustomKeyStoreType
    created: float
    """Seconds since the epoch."""
    state: ConnectionState
    changed: float
    """When the state became what it is, seconds since the epoch."""
    wrapped_secret: bytes = field(repr=False)
    """The user PIN of the token, or the proxy's secret, wrapped for this store (`secret_label`)."""
    new_secret: bytes | None = field(default=None, repr=False)
    """A PIN that the token is about to be given, wrapped likewise: after a crash either may be right."""
    error: ConnectionErrorCode | None = None
    """Why connecting failed; in the state FAILED alone."""
    worker: str = ""
    """Which process connects or disconnects it, while one does."""
    revision: int = 0
    """Counts changes of what a connection is made with."""
    cluster_id: str | None = None
    """AWS_CLOUDHSM only."""
    trust_anchor: str | None = None
    """AWS_CLOUDHSM only: a certificate, PEM."""
    proxy: XksProxy | None = None
    """EXTERNAL_KEY_STORE only."""
    lacking: frozenset[str] = frozenset()
    """Algorithms (AWS names) that its keys don't have although their spec has them, as told when it was last opened."""

    @property
    def connected(self) -> bool:
        """Whether its keys can be used."""
        return self.state is ConnectionState.CONNECTED


def secret_label(store_id: str) -> str:
    """What the secret of a custom key store is bound to where it is kept wrapped."""
    return f"custom-key-store/{store_id}"


@dataclass(frozen=True, slots=True)
class DoomedMaterial:
    """Material whose key is gone and that is to go from its custom key store as soon as that can be reached."""

    store_id: str
    material_id: str
    reference: bytes = field(repr=False)
