"""Custom key stores as this process has them open: it follows what the catalog says of them.

What a call changes is a row of the catalog; `registry.StoreRegistry` of every process brings its own connections in
line with that, and the process that took the call does the work of connecting.
"""

from __future__ import annotations

from kagitori_server.custom_stores.ports import STORE_KINDS, ConnectFailed, OpenedStore, Opener
from kagitori_server.custom_stores.registry import StoreRegistry, Timing
from kagitori_server.custom_stores.uses import CatalogUses

__all__ = ["STORE_KINDS", "CatalogUses", "ConnectFailed", "OpenedStore", "Opener", "StoreRegistry", "Timing"]
