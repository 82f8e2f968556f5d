"""Grants and their tokens.

Revision: 0002.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Two tables more."""
    op.create_table(
        "grants",
        sa.Column("region", _text(63), nullable=False),
        sa.Column("key_id", _text(64), nullable=False),
        sa.Column("grant_id", _text(64), nullable=False),
        sa.Column("name", _text(256), nullable=True),
        sa.Column("created", sa.Double(), nullable=False),
        sa.Column("grantee_arn", _text(256), nullable=False),
        sa.Column("grantee_id", _text(128), nullable=False),
        sa.Column("retiring_arn", _text(256), nullable=True),
        sa.Column("retiring_id", _text(128), nullable=True),
        sa.Column("issuing_account", _text(12), nullable=False),
        sa.Column("operations", _text(1024), nullable=False),
        sa.Column("constraint_kind", _text(32), nullable=True),
        sa.Column("constraint_pairs", _text(8192), nullable=False),
        sa.CheckConstraint(
            "(retiring_arn IS NULL) = (retiring_id IS NULL)", name=op.f("ck_grants_whole_retiring_principal")
        ),
        sa.ForeignKeyConstraint(
            ["region", "key_id"],
            ["keys.region", "keys.key_id"],
            name=op.f("fk_grants_region_key_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("region", "key_id", "grant_id", name=op.f("pk_grants")),
    )
    op.create_index(
        "ix_grants_of_grantee", "grants", ["region", "key_id", "grantee_id", "grant_id"], unique=False
    )
    op.create_index("ix_grants_of_name", "grants", ["region", "key_id", "name"], unique=False)
    op.create_index("ix_grants_retirable", "grants", ["region", "retiring_id", "key_id", "grant_id"], unique=False)
    op.create_table(
        "grant_tokens",
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("region", _text(63), nullable=False),
        sa.Column("key_id", _text(64), nullable=False),
        sa.Column("grant_id", _text(64), nullable=False),
        sa.Column("created", sa.Double(), nullable=False),
        sa.CheckConstraint("length(digest) = 32", name=op.f("ck_grant_tokens_digest_length")),
        sa.ForeignKeyConstraint(
            ["region", "key_id", "grant_id"],
            ["grants.region", "grants.key_id", "grants.grant_id"],
            name=op.f("fk_grant_tokens_region_key_id_grant_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_grant_tokens")),
    )
    op.create_index(
        "ix_grant_tokens_of_grant", "grant_tokens", ["region", "key_id", "grant_id", "created"], unique=False
    )


def _text(length: int) -> sa.types.TypeEngine[str]:
    """Ordered by code point whatever language a PostgreSQL database was made for."""
    return sa.String(length).with_variant(sa.String(length, collation="C"), "postgresql")
