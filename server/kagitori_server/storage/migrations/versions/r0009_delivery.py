"""Signing keys of the service's own, and what delivery of the audit trail has to remember.

Revision: 0009.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Five tables."""
    op.create_table(
        "signing_keys",
        sa.Column("purpose", _text(32), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("region", _text(63), nullable=False),
        sa.Column("key_id", _text(64), nullable=False),
        sa.Column("public_key", sa.LargeBinary(), nullable=False),
        sa.Column("valid_from", sa.Double(), nullable=False),
        sa.Column("valid_until", sa.Double(), nullable=False),
        sa.CheckConstraint("length(public_key) <= 2048", name=op.f("ck_signing_keys_public_key_length")),
        sa.PrimaryKeyConstraint("purpose", "number", name=op.f("pk_signing_keys")),
    )
    op.create_table(
        "delivered_chains",
        sa.Column("chain_id", _text(64), nullable=False),
        sa.Column("name", _text(128), nullable=False),
        sa.Column("began", sa.Double(), nullable=False),
        sa.Column("segment", sa.BigInteger(), nullable=False),
        sa.Column("offset", sa.BigInteger(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("next_segment", sa.BigInteger(), nullable=True),
        sa.Column("next_offset", sa.BigInteger(), nullable=True),
        sa.Column("next_seq", sa.BigInteger(), nullable=True),
        sa.Column("next_moment", sa.Double(), nullable=True),
        sa.CheckConstraint(
            "(next_seq IS NULL) = (next_moment IS NULL)", name=op.f("ck_delivered_chains_next_whole")
        ),
        sa.PrimaryKeyConstraint("chain_id", name=op.f("pk_delivered_chains")),
    )
    op.create_table(
        "delivered_files",
        sa.Column("bucket", _text(255), nullable=False),
        sa.Column("object_key", _text(1024), nullable=False),
        sa.Column("account", _text(12), nullable=False),
        sa.Column("region", _text(63), nullable=False),
        sa.Column("hash_value", _text(64), nullable=False),
        sa.Column("oldest", _text(32), nullable=False),
        sa.Column("newest", _text(32), nullable=False),
        sa.Column("records", sa.BigInteger(), nullable=False),
        sa.Column("delivered", sa.Double(), nullable=False),
        sa.Column("digest", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("bucket", "object_key", name=op.f("pk_delivered_files")),
    )
    op.create_index("ix_delivered_files_account", "delivered_files", ["account", "region"], unique=False)
    op.create_table(
        "digest_chains",
        sa.Column("account", _text(12), nullable=False),
        sa.Column("region", _text(63), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("ended", sa.Double(), nullable=False),
        sa.Column("bucket", _text(255), nullable=False),
        sa.Column("object_key", _text(1024), nullable=False),
        sa.Column("hash_value", _text(64), nullable=False),
        sa.Column("signature", _text(2048), nullable=False),
        sa.Column("next_ended", sa.Double(), nullable=True),
        sa.Column("next_key_id", _text(64), nullable=True),
        sa.Column("next_worker", _text(64), nullable=True),
        sa.Column("next_claimed", sa.Double(), nullable=True),
        sa.CheckConstraint(
            "(next_ended IS NULL) = (next_claimed IS NULL)", name=op.f("ck_digest_chains_next_whole")
        ),
        sa.PrimaryKeyConstraint("account", "region", name=op.f("pk_digest_chains")),
    )
    op.create_table(
        "trail_state",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("started", sa.Double(), nullable=True),
        sa.Column("stopped", sa.Double(), nullable=True),
        sa.Column("log_attempted", sa.Double(), nullable=True),
        sa.Column("log_delivered", sa.Double(), nullable=True),
        sa.Column("log_error", _text(512), nullable=True),
        sa.Column("digest_attempted", sa.Double(), nullable=True),
        sa.Column("digest_delivered", sa.Double(), nullable=True),
        sa.Column("digest_error", _text(512), nullable=True),
        sa.CheckConstraint("id = 1", name=op.f("ck_trail_state_one_row")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_trail_state")),
    )


def _text(length: int) -> sa.types.TypeEngine[str]:
    """Ordered by code point whatever language a PostgreSQL database was made for."""
    return sa.String(length).with_variant(sa.String(length, collation="C"), "postgresql")
