"""Shapes of the operations on custom key stores (AWS KMS API reference)."""

from __future__ import annotations

from dataclasses import dataclass

from kagitori_server.model.custom_key_stores import (
    ConnectionErrorCode,
    ConnectionState,
    CustomKeyStoreType,
    XksProxyConnectivity,
)
from kagitori_server.model.shape import member
from kagitori_server.operations.shapes.keys import limit, marker

_STORE_ID_MAX = 64
_NAME_MAX = 256
_TRUST_ANCHOR_MAX = 5_000
_PASSWORD = (7, 32)
_CLUSTER = "cluster-[2-7a-zA-Z]{11,16}"
_ENDPOINT = r"https://[a-zA-Z0-9.-]+"
_PATH = r"(/[a-zA-Z0-9\/_-]+/kms/xks/v\d{1,2})$|^(/kms/xks/v\d{1,2})"
_SERVICE = r"(com|eu)\.amazonaws\.vpce\.([a-z]+-){2,3}\d+\.vpce-svc-[0-9a-z]+"


def store_id(*, required: bool = True) -> str:
    """The member that names a custom key store by its id."""
    text: str = member(required=required, minimum=1, maximum=_STORE_ID_MAX)
    return text


def _name(*, required: bool = False) -> str:
    text: str = member(required=required, minimum=1, maximum=_NAME_MAX)
    return text


def _cluster_id() -> str | None:
    text: str | None = member(minimum=19, maximum=24, pattern=_CLUSTER)
    return text


def _password() -> str | None:
    text: str | None = member(minimum=_PASSWORD[0], maximum=_PASSWORD[1], sensitive=True)
    return text


def _endpoint() -> str | None:
    text: str | None = member(minimum=10, maximum=128, pattern=_ENDPOINT)
    return text


def _path() -> str | None:
    text: str | None = member(minimum=10, maximum=128, pattern=_PATH)
    return text


def _service_name() -> str | None:
    text: str | None = member(minimum=20, maximum=64, pattern=_SERVICE)
    return text


def _service_owner() -> str | None:
    text: str | None = member(minimum=12, maximum=12, pattern="[0-9]{12}")
    return text


@dataclass(frozen=True, slots=True, kw_only=True)
class XksProxyAuthenticationCredential:
    """AWS `XksProxyAuthenticationCredentialType`."""

    access_key_id: str = member(required=True, minimum=20, maximum=30, pattern="[A-Z2-7]+", sensitive=True)
    raw_secret_access_key: str = member(
        required=True, minimum=43, maximum=64, pattern=r"[a-zA-Z0-9\/+=]+", sensitive=True
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateCustomKeyStoreRequest:
    """AWS `CreateCustomKeyStoreRequest`."""

    custom_key_store_name: str = _name(required=True)
    cloud_hsm_cluster_id: str | None = _cluster_id()
    trust_anchor_certificate: str | None = member(minimum=1, maximum=_TRUST_ANCHOR_MAX)
    key_store_password: str | None = _password()
    custom_key_store_type: CustomKeyStoreType | None = member()
    xks_proxy_uri_endpoint: str | None = _endpoint()
    xks_proxy_uri_path: str | None = _path()
    xks_proxy_vpc_endpoint_service_name: str | None = _service_name()
    xks_proxy_vpc_endpoint_service_owner: str | None = _service_owner()
    xks_proxy_authentication_credential: XksProxyAuthenticationCredential | None = member()
    xks_proxy_connectivity: XksProxyConnectivity | None = member()


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateCustomKeyStoreResponse:
    """AWS `CreateCustomKeyStoreResponse`."""

    custom_key_store_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectCustomKeyStoreRequest:
    """AWS `ConnectCustomKeyStoreRequest`."""

    custom_key_store_id: str = store_id()


@dataclass(frozen=True, slots=True, kw_only=True)
class DisconnectCustomKeyStoreRequest:
    """AWS `DisconnectCustomKeyStoreRequest`."""

    custom_key_store_id: str = store_id()


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteCustomKeyStoreRequest:
    """AWS `DeleteCustomKeyStoreRequest`."""

    custom_key_store_id: str = store_id()


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateCustomKeyStoreRequest:
    """AWS `UpdateCustomKeyStoreRequest`."""

    custom_key_store_id: str = store_id()
    new_custom_key_store_name: str | None = _name()
    key_store_password: str | None = _password()
    cloud_hsm_cluster_id: str | None = _cluster_id()
    xks_proxy_uri_endpoint: str | None = _endpoint()
    xks_proxy_uri_path: str | None = _path()
    xks_proxy_vpc_endpoint_service_name: str | None = _service_name()
    xks_proxy_vpc_endpoint_service_owner: str | None = _service_owner()
    xks_proxy_authentication_credential: XksProxyAuthenticationCredential | None = member()
    xks_proxy_connectivity: XksProxyConnectivity | None = member()


@dataclass(frozen=True, slots=True, kw_only=True)
class DescribeCustomKeyStoresRequest:
    """AWS `DescribeCustomKeyStoresRequest`."""

    custom_key_store_id: str | None = store_id(required=False)
    custom_key_store_name: str | None = _name()
    limit: int | None = limit(1_000)
    marker: str | None = marker()


@dataclass(frozen=True, slots=True, kw_only=True)
class XksProxyConfiguration:
    """AWS `XksProxyConfigurationType`."""

    connectivity: XksProxyConnectivity
    access_key_id: str | None
    uri_endpoint: str
    uri_path: str
    vpc_endpoint_service_name: str | None
    vpc_endpoint_service_owner: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CustomKeyStoresListEntry:
    """AWS `CustomKeyStoresListEntry`."""

    custom_key_store_id: str
    custom_key_store_name: str
    cloud_hsm_cluster_id: str | None
    trust_anchor_certificate: str | None
    connection_state: ConnectionState
    connection_error_code: ConnectionErrorCode | None
    creation_date: float
    custom_key_store_type: CustomKeyStoreType
    xks_proxy_configuration: XksProxyConfiguration | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DescribeCustomKeyStoresResponse:
    """AWS `DescribeCustomKeyStoresResponse`."""

    custom_key_stores: tuple[CustomKeyStoresListEntry, ...]
    next_marker: str | None
    truncated: bool
