"""Rows of the operations on custom key stores: identity policies alone, in the caller's account."""

from __future__ import annotations

from typing import Any

from kagitori_server.model.rates import RateGroup
from kagitori_server.model.shape import Shape
from kagitori_server.operations import custom_key_store_updates as updates
from kagitori_server.operations import custom_key_stores as stores
from kagitori_server.operations.row import (
    Answer,
    AuditRule,
    Check,
    Cost,
    Handler,
    Operation,
    Permission,
    Prepare,
    Resource,
)
from kagitori_server.operations.shapes import custom_key_stores as shapes
from kagitori_server.operations.shapes.empty import Empty


def _writing(
    name: str, request: type[Any], response: type[Any], handler: Handler, *,
    shown: tuple[str, ...], answer_shown: tuple[str, ...], check: Check | None = None, prepare: Prepare | None = None,
) -> Operation:
    return Operation(
        name=name, service="kms", request=Shape(request), response=response,
        keys=(), alias_member=None, account_member=None,
        permissions=(Permission(action=f"kms:{name}", on=Resource.ACCOUNT, slot=None),),
        grantable=False, cross_account=False, read_only=False, writes=True, rate=RateGroup.OTHER,
        audit=AuditRule(
            request_shown=shown, answer=Answer.MEMBERS if answer_shown else Answer.NOTHING,
            response_shown=answer_shown,
        ),
        cost=Cost.STORE if prepare else Cost.OFFLOAD, check=check, prepare=prepare, handler=handler,
    )


CUSTOM_KEY_STORES: tuple[Operation, ...] = (
    _writing(
        "CreateCustomKeyStore", shapes.CreateCustomKeyStoreRequest, shapes.CreateCustomKeyStoreResponse,
        stores.create_custom_key_store, check=stores.check_create_custom_key_store,
        prepare=stores.prepare_create_custom_key_store,
        shown=(
            "custom_key_store_name", "cloud_hsm_cluster_id", "trust_anchor_certificate", "custom_key_store_type",
            "xks_proxy_uri_endpoint", "xks_proxy_uri_path", "xks_proxy_vpc_endpoint_service_name",
            "xks_proxy_vpc_endpoint_service_owner", "xks_proxy_connectivity",
        ),
        answer_shown=("custom_key_store_id",),
    ),
    _writing(
        "ConnectCustomKeyStore", shapes.ConnectCustomKeyStoreRequest, Empty, stores.connect_custom_key_store,
        shown=("custom_key_store_id",), answer_shown=(),
    ),
    _writing(
        "DisconnectCustomKeyStore", shapes.DisconnectCustomKeyStoreRequest, Empty,
        stores.disconnect_custom_key_store, shown=("custom_key_store_id",), answer_shown=(),
    ),
    _writing(
        "UpdateCustomKeyStore", shapes.UpdateCustomKeyStoreRequest, Empty, updates.update_custom_key_store,
        check=updates.check_update_custom_key_store, prepare=updates.prepare_update_custom_key_store,
        shown=(
            "custom_key_store_id", "new_custom_key_store_name", "cloud_hsm_cluster_id", "xks_proxy_uri_endpoint",
            "xks_proxy_uri_path", "xks_proxy_vpc_endpoint_service_name", "xks_proxy_vpc_endpoint_service_owner",
            "xks_proxy_connectivity",
        ),
        answer_shown=(),
    ),
    _writing(
        "DeleteCustomKeyStore", shapes.DeleteCustomKeyStoreRequest, Empty, stores.delete_custom_key_store,
        shown=("custom_key_store_id",), answer_shown=(),
    ),
    Operation(
        name="DescribeCustomKeyStores", service="kms",
        request=Shape(shapes.DescribeCustomKeyStoresRequest), response=shapes.DescribeCustomKeyStoresResponse,
        keys=(), alias_member=None, account_member=None,
        permissions=(Permission(action="kms:DescribeCustomKeyStores", on=Resource.ACCOUNT, slot=None),),
        grantable=False, cross_account=False, read_only=True, writes=False, rate=RateGroup.OTHER,
        audit=AuditRule(
            request_shown=("custom_key_store_id", "custom_key_store_name", "limit", "marker"), answer=Answer.NOTHING
        ),
        cost=Cost.OFFLOAD, check=stores.check_describe_custom_key_stores, prepare=None,
        handler=stores.describe_custom_key_stores,
    ),
)
