"""Use of the service: billing spans of keys, counts of requests, latest uses, and how far the trail was followed.

Revision: 0007. Keys that are there are charged from their creation; one that is pending deletion has been free for
the longest waiting period at most.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_LONGEST_WAIT_SECONDS = 30 * 86_400


def upgrade() -> None:
    """Four tables, and the spans of the keys that are there."""
    op.create_table(
        "billing_spans",
        sa.Column("region", _text(63), nullable=False),
        sa.Column("key_id", _text(64), nullable=False),
        sa.Column("life", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("account", _text(12), nullable=False),
        sa.Column("arn", _text(1024), nullable=False),
        sa.Column("spec", _text(32), nullable=False),
        sa.Column("began", sa.Double(), nullable=False),
        sa.Column("ended", sa.Double(), nullable=True),
        sa.Column("destroyed", sa.Boolean(), nullable=False),
        sa.CheckConstraint(
            "NOT destroyed OR ended IS NOT NULL", name=op.f("ck_billing_spans_destroyed_has_ended")
        ),
        sa.PrimaryKeyConstraint("region", "key_id", "life", "number", name=op.f("pk_billing_spans")),
    )
    op.create_index("ix_billing_spans_account", "billing_spans", ["account", "began"], unique=False)
    op.create_table(
        "usage_requests",
        sa.Column("account", _text(12), nullable=False),
        sa.Column("hour", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("region", _text(63), nullable=False),
        sa.Column("key_arn", _text(1024), nullable=False),
        sa.Column("usage_type", _text(64), nullable=False),
        sa.Column("quantity", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint(
            "account", "hour", "region", "key_arn", "usage_type", name=op.f("pk_usage_requests")
        ),
    )
    op.create_index("ix_usage_requests_hour", "usage_requests", ["hour"], unique=False)
    op.create_table(
        "key_last_uses",
        sa.Column("key_arn", _text(1024), nullable=False),
        sa.Column("moment", sa.Double(), nullable=False),
        sa.Column("operation", _text(64), nullable=False),
        sa.Column("event_id", _text(64), nullable=False),
        sa.Column("request_id", _text(128), nullable=True),
        sa.PrimaryKeyConstraint("key_arn", name=op.f("pk_key_last_uses")),
    )
    op.create_table(
        "followed_chains",
        sa.Column("chain_id", _text(64), nullable=False),
        sa.Column("name", _text(128), nullable=False),
        sa.Column("segment", sa.BigInteger(), nullable=False),
        sa.Column("offset", sa.BigInteger(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("began", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("chain_id", name=op.f("pk_followed_chains")),
    )
    _spans_of_keys()


def _spans_of_keys() -> None:
    keys = sa.table("keys", *map(sa.column, ("region", "key_id", "account", "arn", "spec", "created", "deletion_date")))
    columns = ("region", "key_id", "life", "number", "account", "arn", "spec", "began", "ended", "destroyed")
    spans = sa.table("billing_spans", *map(sa.column, columns))
    of_key = keys.c
    scheduled = of_key.deletion_date - _LONGEST_WAIT_SECONDS
    ended = sa.case(
        (of_key.deletion_date.is_(None), sa.null()), (scheduled < of_key.created, of_key.created), else_=scheduled
    )
    zero: sa.ColumnClause[int] = sa.literal_column("0")
    found = sa.select(
        of_key.region, of_key.key_id, zero, zero, of_key.account, of_key.arn, of_key.spec, of_key.created, ended,
        sa.false(),
    )
    op.execute(sa.insert(spans).from_select(list(columns), found))


def _text(length: int) -> sa.types.TypeEngine[str]:
    """Ordered by code point whatever language a PostgreSQL database was made for."""
    return sa.String(length).with_variant(sa.String(length, collation="C"), "postgresql")
