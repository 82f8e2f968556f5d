"""CreateCustomKeyStore, DescribeCustomKeyStores, ConnectCustomKeyStore, DisconnectCustomKeyStore and
DeleteCustomKeyStore. What changes one is in `custom_key_store_updates`.

A call changes what the catalog says; the processes of the deployment then do as it says (`custom_stores/`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from cryptography import x509

from kagitori_server.model.custom_key_stores import (
    ConnectionState,
    CustomKeyStore,
    CustomKeyStoreType,
    XksProxy,
    XksProxyConnectivity,
    secret_label,
)
from kagitori_server.model.errors import (
    CloudHsmClusterInUseException,
    CustomKeyStoreHasCMKsException,
    CustomKeyStoreInvalidStateException,
    CustomKeyStoreNotFoundException,
    IncorrectTrustAnchorException,
    InvalidMarkerException,
    ValidationException,
    XksProxyUriInUseException,
    XksProxyVpcEndpointServiceNotFoundException,
)
from kagitori_server.operations.context import Context, domain_of
from kagitori_server.operations.paging import cut, decode_marker, encode_marker
from kagitori_server.operations.shapes import custom_key_stores as shapes
from kagitori_server.operations.shapes.empty import EMPTY, Empty
from kagitori_server.operations.stores import told
from kagitori_server.storage.reader import Reader

_LISTING = "DescribeCustomKeyStores"
_DEFAULT_PAGE = 100
_ALL = 10_000
"""More than an account may have in a Region."""
_ID_DIGITS = 17
_OF_CLUSTERS = ("cloud_hsm_cluster_id", "trust_anchor_certificate", "key_store_password")
_OF_PROXIES = (
    "xks_proxy_uri_endpoint", "xks_proxy_uri_path", "xks_proxy_authentication_credential", "xks_proxy_connectivity",
)
_OF_VPC = ("xks_proxy_vpc_endpoint_service_name", "xks_proxy_vpc_endpoint_service_owner")


def refuse_vpc(connectivity: XksProxyConnectivity | None, service_name: str | None) -> None:
    """There are no VPCs here. Raises XksProxyVpcEndpointServiceNotFoundException, or ValidationException where AWS
    wants the service to be named."""
    if connectivity is XksProxyConnectivity.VPC_ENDPOINT_SERVICE and service_name is None:
        raise ValidationException("XksProxyVpcEndpointServiceName is required with that XksProxyConnectivity.")
    if connectivity is XksProxyConnectivity.VPC_ENDPOINT_SERVICE:
        raise XksProxyVpcEndpointServiceNotFoundException(
            f"The VPC endpoint service {service_name} is not found: proxies are reached by PUBLIC_ENDPOINT alone."
        )
    if service_name is not None:
        raise ValidationException("XksProxyVpcEndpointServiceName is for the connectivity VPC_ENDPOINT_SERVICE.")


def check_create_custom_key_store(_context: Context, request: shapes.CreateCustomKeyStoreRequest) -> None:
    """Refuses members that are missing for the type, or are the other type's, and what is no certificate."""
    kind = request.custom_key_store_type or CustomKeyStoreType.AWS_CLOUDHSM
    of_cluster = kind is CustomKeyStoreType.AWS_CLOUDHSM
    needed, strange = (_OF_CLUSTERS, (*_OF_PROXIES, *_OF_VPC)) if of_cluster else (_OF_PROXIES, _OF_CLUSTERS)
    for name in needed:
        if getattr(request, name) is None:
            raise ValidationException(f"A custom key store of type {kind} needs {name}.")
    for name in strange:
        if getattr(request, name) is not None:
            raise ValidationException(f"A custom key store of type {kind} has no {name}.")
    if of_cluster:
        try:
            x509.load_pem_x509_certificate((request.trust_anchor_certificate or "").encode())
        except ValueError:
            raise IncorrectTrustAnchorException("The trust anchor is not a certificate in PEM form.") from None
    else:
        refuse_vpc(request.xks_proxy_connectivity, request.xks_proxy_vpc_endpoint_service_name)


@dataclass(frozen=True, slots=True)
class NewStore:
    """A custom key store that was looked at and waits for its transaction."""

    store: CustomKeyStore


def prepare_create_custom_key_store(context: Context, request: shapes.CreateCustomKeyStoreRequest) -> None:
    """Looks whether it could be connected, and wraps its secret."""
    services = context.services
    credential = request.xks_proxy_authentication_credential
    proxy = None
    if credential is not None:
        proxy = XksProxy(
            request.xks_proxy_uri_endpoint or "", request.xks_proxy_uri_path or "", credential.access_key_id
        )
    store = CustomKeyStore(
        account=context.account,
        region=context.region,
        store_id="cks-" + services.ids.uuid().replace("-", "")[:_ID_DIGITS],
        name=request.custom_key_store_name,
        kind=request.custom_key_store_type or CustomKeyStoreType.AWS_CLOUDHSM,
        created=context.now,
        state=ConnectionState.DISCONNECTED,
        changed=context.now,
        wrapped_secret=b"",
        cluster_id=request.cloud_hsm_cluster_id,
        trust_anchor=request.trust_anchor_certificate,
        proxy=proxy,
    )
    secret = request.key_store_password if credential is None else credential.raw_secret_access_key
    services.stores.verify(store, (secret or "").encode())
    context.prepared = NewStore(replace(store, wrapped_secret=wrapped(context, store.store_id, secret or "")))


def wrapped(context: Context, store_id: str, secret: str) -> bytes:
    """The secret of a custom key store as the catalog keeps it. It may write to the catalog: not in a write."""
    domain = domain_of(context.account, context.region)
    return context.services.administration.secrets.wrap_secret(domain, secret_label(store_id), secret.encode())


def create_custom_key_store(
    context: Context, _request: shapes.CreateCustomKeyStoreRequest
) -> shapes.CreateCustomKeyStoreResponse:
    """Makes a custom key store, which is yet to be connected (AWS CreateCustomKeyStore)."""
    writer, store = context.writer, context.prepared.store
    context.services.quotas.check_custom_key_stores(writer.count_custom_key_stores(store.account, store.region))
    check_unused(context, store, writer)
    writer.put_custom_key_store(store)
    context.extra.update(told(store))
    return shapes.CreateCustomKeyStoreResponse(custom_key_store_id=store.store_id)


def check_unused(context: Context, store: CustomKeyStore, reader: Reader) -> None:
    """A cluster belongs to one custom key store of the whole deployment: it has one PIN and one set of objects. The
    API of a proxy belongs to one of a Region. Raises CloudHsmClusterInUseException or XksProxyUriInUseException."""
    for other in reader.all_custom_key_stores():
        if other.store_id == store.store_id:
            continue
        if store.cluster_id is not None and other.cluster_id is not None:
            if context.services.stores.same_cluster(store.cluster_id, other.cluster_id):
                raise CloudHsmClusterInUseException(f"{store.cluster_id} belongs to another custom key store.")
        elif store.proxy is not None and other.proxy is not None and store.region == other.region:
            ours = (store.proxy.uri_endpoint, store.proxy.uri_path)
            if ours == (other.proxy.uri_endpoint, other.proxy.uri_path):
                raise XksProxyUriInUseException(f"{''.join(ours)} belongs to another custom key store.")


def named_store(context: Context, store_id: str) -> CustomKeyStore:
    """The custom key store of that id in the call's account and Region, noted for its record.

    Raises CustomKeyStoreNotFoundException.
    """
    store = context.lookup.custom_key_store(store_id)
    if store is None or (store.account, store.region) != (context.account, context.region):
        raise CustomKeyStoreNotFoundException(f"The custom key store {store_id} does not exist.")
    context.extra.update(told(store))
    return store


def connected_store(context: Context, store_id: str) -> CustomKeyStore:
    """The same, if it is connected. Raises CustomKeyStoreInvalidStateException as well."""
    store = named_store(context, store_id)
    if not store.connected:
        raise invalid_state(store)
    return store


def invalid_state(store: CustomKeyStore) -> CustomKeyStoreInvalidStateException:
    """The refusal of what a custom key store's connection state forbids."""
    return CustomKeyStoreInvalidStateException(f"The custom key store {store.store_id} is {store.state}.")


def connect_custom_key_store(context: Context, request: shapes.ConnectCustomKeyStoreRequest) -> Empty:
    """Begins to connect a custom key store; `custom_stores` goes on with it (AWS ConnectCustomKeyStore)."""
    store = named_store(context, request.custom_key_store_id)
    if store.state in (ConnectionState.FAILED, ConnectionState.DISCONNECTING):
        raise invalid_state(store)
    if store.state is ConnectionState.DISCONNECTED:
        _set_state(context, store, ConnectionState.CONNECTING)
    return EMPTY


def disconnect_custom_key_store(context: Context, request: shapes.DisconnectCustomKeyStoreRequest) -> Empty:
    """Makes the keys of a custom key store unavailable, and its sessions end (AWS DisconnectCustomKeyStore)."""
    store = named_store(context, request.custom_key_store_id)
    if store.state in (ConnectionState.DISCONNECTED, ConnectionState.DISCONNECTING):
        raise invalid_state(store)
    _set_state(context, store, ConnectionState.DISCONNECTING)
    return EMPTY


def _set_state(context: Context, store: CustomKeyStore, state: ConnectionState) -> None:
    context.writer.put_custom_key_store(
        replace(store, state=state, changed=context.now, error=None, worker=context.services.stores.worker)
    )


def delete_custom_key_store(context: Context, request: shapes.DeleteCustomKeyStoreRequest) -> Empty:
    """Forgets a custom key store. What its token or manager holds stays there (AWS DeleteCustomKeyStore)."""
    store = named_store(context, request.custom_key_store_id)
    if store.state is not ConnectionState.DISCONNECTED:
        raise invalid_state(store)
    if context.writer.count_keys_in_store(store.store_id):
        raise CustomKeyStoreHasCMKsException(f"The custom key store {store.store_id} has KMS keys.")
    context.writer.delete_custom_key_store(store.store_id)
    return EMPTY


def check_describe_custom_key_stores(_context: Context, request: shapes.DescribeCustomKeyStoresRequest) -> None:
    """Refuses an id and a name together."""
    if request.custom_key_store_id is not None and request.custom_key_store_name is not None:
        raise ValidationException("Only one of CustomKeyStoreId and CustomKeyStoreName can be specified.")


def describe_custom_key_stores(
    context: Context, request: shapes.DescribeCustomKeyStoresRequest
) -> shapes.DescribeCustomKeyStoresResponse:
    """Tells about the custom key stores of the account and Region, or one of them, without their secrets (AWS
    DescribeCustomKeyStores)."""
    if request.custom_key_store_id is not None:
        return _answer((named_store(context, request.custom_key_store_id),))
    with context.services.catalog.read() as reader:
        if request.custom_key_store_name is not None:
            found = reader.find_custom_key_store(context.account, context.region, request.custom_key_store_name)
            if found is None:
                raise CustomKeyStoreNotFoundException("There is no custom key store of this name.")
            context.extra.update(told(found))
            return _answer((found,))
        mine = reader.list_custom_key_stores(context.account, context.region, limit=_ALL)
    after = decode_marker(_LISTING, request.marker)
    if after:
        # Ids, because names may be longer than a marker.
        ids = [store.store_id for store in mine]
        if after not in ids:
            raise InvalidMarkerException("The marker is not one that this operation returned.")
        mine = mine[ids.index(after) + 1 :]
    page, more = cut(mine, request.limit or _DEFAULT_PAGE)
    return _answer(page, encode_marker(_LISTING, page[-1].store_id) if more else None)


def _answer(
    stores: tuple[CustomKeyStore, ...], next_marker: str | None = None
) -> shapes.DescribeCustomKeyStoresResponse:
    return shapes.DescribeCustomKeyStoresResponse(
        custom_key_stores=tuple(map(_entry, stores)), next_marker=next_marker, truncated=next_marker is not None
    )


def _entry(store: CustomKeyStore) -> shapes.CustomKeyStoresListEntry:
    return shapes.CustomKeyStoresListEntry(
        custom_key_store_id=store.store_id,
        custom_key_store_name=store.name,
        cloud_hsm_cluster_id=store.cluster_id,
        trust_anchor_certificate=store.trust_anchor,
        connection_state=store.state,
        connection_error_code=store.error,
        creation_date=store.created,
        custom_key_store_type=store.kind,
        xks_proxy_configuration=None if store.proxy is None else shapes.XksProxyConfiguration(
            connectivity=XksProxyConnectivity.PUBLIC_ENDPOINT,
            access_key_id=store.proxy.access_key_id,
            uri_endpoint=store.proxy.uri_endpoint,
            uri_path=store.proxy.uri_path,
            vpc_endpoint_service_name=None,
            vpc_endpoint_service_owner=None,
        ),
    )
