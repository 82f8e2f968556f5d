"""What a seed comes down to: calls of the service's own operations, some with names that are fixed beforehand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Fixed:
    """What is otherwise drawn at random; None for what is."""

    uuid: str | None = None
    unique_id: str | None = None
    secret: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One call, by the root user of an account."""

    where: str
    """What of the seed it is for, as messages name it."""
    operation: str
    values: Mapping[str, Any] = field(repr=False)
    account: str
    region: str | None = None
    fixed: Fixed = Fixed()
    plant: bytes | None = field(default=None, repr=False)
    """The key material that the key store makes for it, in the form that imports have."""
    plant_key: str = ""
    """The id of the key that is planted for."""
    imported: bytes | None = field(default=None, repr=False)
    """For ImportKeyMaterial: the material, which is wrapped for the import."""
