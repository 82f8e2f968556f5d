"""Budgets of the use of keys, what was counted of them, and principals frozen by them.

Revision: 0005.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Three tables more."""
    op.create_table(
        "budgets",
        sa.Column("budget_id", _text(64), nullable=False),
        sa.Column("account", _text(12), nullable=False),
        sa.Column("name", _text(128), nullable=False),
        sa.Column("arn", _text(1024), nullable=False),
        sa.Column("key_arn", _text(1024), nullable=False),
        sa.Column("principal_arn", _text(1024), nullable=False),
        sa.Column("context_key", _text(8192), nullable=True),
        sa.Column("context_value", _text(8192), nullable=True),
        sa.Column("operations", _text(1024), nullable=False),
        sa.Column("limits", _text(1024), nullable=False),
        sa.Column("on_exceed", _text(16), nullable=False),
        sa.Column("created", sa.Double(), nullable=False),
        sa.Column("updated", sa.Double(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["account"], ["accounts.account"], name=op.f("fk_budgets_account")),
        sa.PrimaryKeyConstraint("budget_id", name=op.f("pk_budgets")),
        sa.UniqueConstraint("account", "name", name=op.f("uq_budgets_account_name")),
    )
    op.create_table(
        "budget_counts",
        sa.Column("budget_id", _text(64), nullable=False),
        sa.Column("holder", sa.LargeBinary(), nullable=False),
        sa.Column("value", sa.LargeBinary(), nullable=False),
        sa.Column("window", _text(8), nullable=False),
        sa.Column("ends", sa.BigInteger(), nullable=False),
        sa.Column("taken", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("length(holder) = 32", name=op.f("ck_budget_counts_holder_length")),
        sa.CheckConstraint("length(value) = 32", name=op.f("ck_budget_counts_value_length")),
        sa.CheckConstraint("taken >= 0", name=op.f("ck_budget_counts_taken_positive")),
        sa.ForeignKeyConstraint(
            ["budget_id"], ["budgets.budget_id"], name=op.f("fk_budget_counts_budget_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("budget_id", "holder", "value", "window", name=op.f("pk_budget_counts")),
    )
    op.create_index("ix_budget_counts_ends", "budget_counts", ["ends"], unique=False)
    op.create_table(
        "freezes",
        sa.Column("freeze_id", _text(64), nullable=False),
        sa.Column("account", _text(12), nullable=False),
        sa.Column("region", _text(63), nullable=False),
        sa.Column("key_id", _text(64), nullable=False),
        sa.Column("key_arn", _text(1024), nullable=False),
        sa.Column("principal_arn", _text(1024), nullable=False),
        sa.Column("budget_id", _text(64), nullable=False),
        sa.Column("budget_name", _text(128), nullable=False),
        sa.Column("window", _text(8), nullable=False),
        sa.Column("most", sa.BigInteger(), nullable=False),
        sa.Column("created", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(
            ["region", "key_id"],
            ["keys.region", "keys.key_id"],
            name=op.f("fk_freezes_region_key_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("freeze_id", name=op.f("pk_freezes")),
        sa.UniqueConstraint("region", "key_id", "principal_arn", name=op.f("uq_freezes_region_key_id_principal_arn")),
    )
    op.create_index("ix_freezes_listing", "freezes", ["account", "freeze_id"], unique=False)


def _text(length: int) -> sa.types.TypeEngine[str]:
    """Ordered by code point whatever language a PostgreSQL database was made for."""
    return sa.String(length).with_variant(sa.String(length, collation="C"), "postgresql")
