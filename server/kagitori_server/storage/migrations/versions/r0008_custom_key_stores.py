"""Custom key stores, the external key of a key, and material that has to go from a store, uses of material.

Revision: 0008.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Three tables, a column and an index."""
    op.create_table(
        "custom_key_stores",
        sa.Column("store_id", _text(64), nullable=False),
        sa.Column("account", _text(12), nullable=False),
        sa.Column("region", _text(63), nullable=False),
        sa.Column("name", _text(256), nullable=False),
        sa.Column("kind", _text(32), nullable=False),
        sa.Column("created", sa.Double(), nullable=False),
        sa.Column("state", _text(32), nullable=False),
        sa.Column("changed", sa.Double(), nullable=False),
        sa.Column("error", _text(64), nullable=True),
        sa.Column("worker", _text(64), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("wrapped_secret", sa.LargeBinary(), nullable=False),
        sa.Column("new_secret", sa.LargeBinary(), nullable=True),
        sa.Column("cluster_id", _text(24), nullable=True),
        sa.Column("trust_anchor", _text(5000), nullable=True),
        sa.Column("uri_endpoint", _text(128), nullable=True),
        sa.Column("uri_path", _text(128), nullable=True),
        sa.Column("access_key_id", _text(30), nullable=True),
        sa.CheckConstraint(
            "length(wrapped_secret) <= 4096", name=op.f("ck_custom_key_stores_wrapped_secret_length")
        ),
        sa.CheckConstraint(
            "new_secret IS NULL OR length(new_secret) <= 4096", name=op.f("ck_custom_key_stores_new_secret_length")
        ),
        sa.CheckConstraint(
            "(error IS NULL) = (state <> 'FAILED')", name=op.f("ck_custom_key_stores_failed_has_error")
        ),
        sa.CheckConstraint(
            "(cluster_id IS NULL) = (uri_endpoint IS NOT NULL)", name=op.f("ck_custom_key_stores_cluster_or_proxy")
        ),
        sa.ForeignKeyConstraint(["account"], ["accounts.account"], name=op.f("fk_custom_key_stores_account")),
        sa.PrimaryKeyConstraint("store_id", name=op.f("pk_custom_key_stores")),
        sa.UniqueConstraint("account", "region", "name", name=op.f("uq_custom_key_stores_account_region_name")),
    )
    op.create_table(
        "doomed_materials",
        sa.Column("store_id", _text(64), nullable=False),
        sa.Column("material_id", _text(64), nullable=False),
        sa.Column("reference", sa.LargeBinary(), nullable=False),
        sa.CheckConstraint("length(reference) <= 32768", name=op.f("ck_doomed_materials_reference_length")),
        sa.ForeignKeyConstraint(
            ["store_id"], ["custom_key_stores.store_id"], name=op.f("fk_doomed_materials_store_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("store_id", "material_id", name=op.f("pk_doomed_materials")),
    )
    op.create_table(
        "material_uses",
        sa.Column("material_id", _text(64), nullable=False),
        sa.Column("reserved", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("material_id", name=op.f("pk_material_uses")),
    )
    op.add_column("keys", sa.Column("xks_key_id", _text(128), nullable=True))
    op.create_index("ix_keys_store_id", "keys", ["store_id", "xks_key_id"], unique=False)


def _text(length: int) -> sa.types.TypeEngine[str]:
    """Ordered by code point whatever language a PostgreSQL database was made for."""
    return sa.String(length).with_variant(sa.String(length, collation="C"), "postgresql")
