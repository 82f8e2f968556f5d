"""UpdateCustomKeyStore: another name, PIN, cluster, credential or address of a custom key store."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from kagitori_server.model.custom_key_stores import ConnectionState, CustomKeyStore, CustomKeyStoreType
from kagitori_server.model.errors import CloudHsmClusterNotRelatedException, ValidationException
from kagitori_server.operations.context import Context
from kagitori_server.operations.custom_key_stores import (
    check_unused,
    invalid_state,
    named_store,
    refuse_vpc,
    wrapped,
)
from kagitori_server.operations.shapes import custom_key_stores as shapes
from kagitori_server.operations.shapes.empty import EMPTY, Empty

_OF_CLUSTERS = ("key_store_password", "cloud_hsm_cluster_id")
_OF_PROXIES = (
    "xks_proxy_uri_endpoint", "xks_proxy_uri_path", "xks_proxy_vpc_endpoint_service_name",
    "xks_proxy_vpc_endpoint_service_owner", "xks_proxy_authentication_credential", "xks_proxy_connectivity",
)
_WHILE_CONNECTED = {"xks_proxy_uri_path", "xks_proxy_authentication_credential"}


def _given(request: shapes.UpdateCustomKeyStoreRequest, names: tuple[str, ...]) -> list[str]:
    return [name for name in names if getattr(request, name) is not None]


def check_update_custom_key_store(context: Context, request: shapes.UpdateCustomKeyStoreRequest) -> None:
    """Refuses stores that aren't there, members of the other type of store, and what its connection state forbids."""
    store = named_store(context, request.custom_key_store_id)
    of_cluster = store.kind is CustomKeyStoreType.AWS_CLOUDHSM
    own, strange = (_OF_CLUSTERS, _OF_PROXIES) if of_cluster else (_OF_PROXIES, _OF_CLUSTERS)
    for name in _given(request, strange):
        raise ValidationException(f"A custom key store of type {store.kind} has no {name}.")
    changed = _given(request, own)
    if not changed and request.new_custom_key_store_name is None:
        raise ValidationException("The request changes nothing.")
    if not of_cluster:
        refuse_vpc(request.xks_proxy_connectivity, request.xks_proxy_vpc_endpoint_service_name)
    needs_disconnected = set(changed) - _WHILE_CONNECTED
    if store.state is ConnectionState.DISCONNECTED or (store.connected and not needs_disconnected):
        return
    raise invalid_state(store)


@dataclass(frozen=True, slots=True)
class NewSecret:
    """The secret of an update, wrapped; None where it doesn't change."""

    wrapped: bytes | None = field(repr=False)


def prepare_update_custom_key_store(context: Context, request: shapes.UpdateCustomKeyStoreRequest) -> None:
    """Looks whether it could be connected with what changes, and wraps a new secret."""
    store = named_store(context, request.custom_key_store_id)
    credential = request.xks_proxy_authentication_credential
    secret = request.key_store_password if credential is None else credential.raw_secret_access_key
    if _given(request, (*_OF_CLUSTERS, *_OF_PROXIES)):
        changed = _changed(context, store, request)
        context.services.stores.verify(changed, None if secret is None else secret.encode())
    context.prepared = NewSecret(None if secret is None else wrapped(context, store.store_id, secret))


def update_custom_key_store(context: Context, request: shapes.UpdateCustomKeyStoreRequest) -> Empty:
    """Changes a custom key store; what isn't given stays (AWS UpdateCustomKeyStore)."""
    store = _changed(context, named_store(context, request.custom_key_store_id), request)
    if context.prepared.wrapped is not None:
        # A PIN that was being changed when a process died is no longer the question.
        store = replace(store, wrapped_secret=context.prepared.wrapped, new_secret=None)
    check_unused(context, store, context.writer)
    context.writer.put_custom_key_store(store)
    return EMPTY


def _changed(
    context: Context, store: CustomKeyStore, request: shapes.UpdateCustomKeyStoreRequest
) -> CustomKeyStore:
    """The store as the request wants it, but for its secret."""
    if _given(request, (*_OF_CLUSTERS, *_OF_PROXIES)):
        store = replace(store, revision=store.revision + 1)
    cluster_id = request.cloud_hsm_cluster_id
    if cluster_id is not None and store.cluster_id is not None:
        if not context.services.stores.same_cluster(cluster_id, store.cluster_id):
            raise CloudHsmClusterNotRelatedException(
                f"{cluster_id} is not configured as a copy of {store.cluster_id}: it holds other keys."
            )
        store = replace(store, cluster_id=cluster_id)
    if store.proxy is not None:
        credential = request.xks_proxy_authentication_credential
        store = replace(store, proxy=replace(
            store.proxy,
            uri_endpoint=request.xks_proxy_uri_endpoint or store.proxy.uri_endpoint,
            uri_path=request.xks_proxy_uri_path or store.proxy.uri_path,
            access_key_id=store.proxy.access_key_id if credential is None else credential.access_key_id,
        ))
    return replace(store, name=request.new_custom_key_store_name or store.name)
