"""The catalog: what the service knows of keys, names, principals and credentials, kept in SQL.

It decides nothing: limits, states and permissions are its callers' business. It promises that writes are
totally ordered and durable, and that a `View` can be proven current before a call relies on it.
"""

from __future__ import annotations

from kagitori_server.storage.catalog import Catalog, CatalogHealth, open_catalog
from kagitori_server.storage.changes import Change, ChangeKind
from kagitori_server.storage.failures import CatalogUnusableError
from kagitori_server.storage.kek_shelf import KekDomain, KekShelf
from kagitori_server.storage.options import CatalogOptions
from kagitori_server.storage.reader import Intent, Reader
from kagitori_server.storage.view import Lookups, NotLoaded, View
from kagitori_server.storage.writer import Writer

__all__ = [
    "Catalog",
    "CatalogHealth",
    "CatalogOptions",
    "CatalogUnusableError",
    "Change",
    "ChangeKind",
    "Intent",
    "KekDomain",
    "KekShelf",
    "Lookups",
    "NotLoaded",
    "Reader",
    "View",
    "Writer",
    "open_catalog",
]
