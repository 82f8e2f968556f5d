"""Counting what tokens encrypt, so that random nonces stay safe (`kagitori_keystore.pkcs11`, its `UseCounter`)."""

from __future__ import annotations

from kagitori_server.storage.catalog import Catalog


class CatalogUses:
    """Reserves uses of materials in the catalog, over all processes and restarts."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def reserve(self, material_id: str, count: int) -> int:
        """Reserves `count` uses, durably; returns how many had been reserved before. Raises KmsError."""
        with self._catalog.write() as writer:
            return writer.reserve_uses(material_id, count)
