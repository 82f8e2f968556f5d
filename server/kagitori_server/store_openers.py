"""How custom key stores of each type are opened: beside wiring, the one place that names concrete ones."""

from __future__ import annotations

from collections.abc import Mapping

from kagitori_server.custom_stores import Opener
from kagitori_server.model.custom_key_stores import CustomKeyStoreType


def openers() -> Mapping[CustomKeyStoreType, Opener]:
    """An opener for each type that the configuration allows."""
    return {}
