"""The catalog's tables about custom key stores."""

from __future__ import annotations

from sqlalchemy import BigInteger, CheckConstraint, Column, Double, ForeignKey, Integer, Table, UniqueConstraint

from kagitori_server.storage.column_types import BoundedBytes, BoundedText
from kagitori_server.storage.schema import REFERENCE_MAX, REGION_MAX, WRAPPED_MAX, metadata

STORE_ID_MAX = 64

custom_key_stores = Table(
    "custom_key_stores",
    metadata,
    Column("store_id", BoundedText(STORE_ID_MAX), primary_key=True),
    Column("account", BoundedText(12), ForeignKey("accounts.account"), nullable=False),
    Column("region", BoundedText(REGION_MAX), nullable=False),
    Column("name", BoundedText(256), nullable=False),
    Column("kind", BoundedText(32), nullable=False),
    Column("created", Double, nullable=False),
    Column("state", BoundedText(32), nullable=False),
    Column("changed", Double, nullable=False),
    Column("error", BoundedText(64)),
    Column("worker", BoundedText(64), nullable=False),
    Column("revision", Integer, nullable=False),
    Column("wrapped_secret", BoundedBytes(WRAPPED_MAX), nullable=False),
    Column("new_secret", BoundedBytes(WRAPPED_MAX)),
    Column("cluster_id", BoundedText(24)),
    Column("trust_anchor", BoundedText(5_000)),
    Column("uri_endpoint", BoundedText(128)),
    Column("uri_path", BoundedText(128)),
    Column("access_key_id", BoundedText(30)),
    Column("lacking", BoundedText(2_000)),
    UniqueConstraint("account", "region", "name"),
    CheckConstraint(f"length(wrapped_secret) <= {WRAPPED_MAX}", name="wrapped_secret_length"),
    CheckConstraint(f"new_secret IS NULL OR length(new_secret) <= {WRAPPED_MAX}", name="new_secret_length"),
    CheckConstraint("(error IS NULL) = (state <> 'FAILED')", name="failed_has_error"),
    CheckConstraint("(cluster_id IS NULL) = (uri_endpoint IS NOT NULL)", name="cluster_or_proxy"),
)

doomed_materials = Table(
    "doomed_materials",
    metadata,
    Column(
        "store_id", BoundedText(STORE_ID_MAX), ForeignKey("custom_key_stores.store_id", ondelete="CASCADE"),
        primary_key=True,
    ),
    Column("material_id", BoundedText(64), primary_key=True),
    Column("reference", BoundedBytes(REFERENCE_MAX), nullable=False),
    CheckConstraint(f"length(reference) <= {REFERENCE_MAX}", name="reference_length"),
)
"""Material of keys that are gone, until its store has let it go."""

material_uses = Table(
    "material_uses",
    metadata,
    Column("material_id", BoundedText(64), primary_key=True),
    Column("reserved", BigInteger, nullable=False),
)
"""How many encryptions under a material of a token may have been made: processes reserve them in blocks."""
