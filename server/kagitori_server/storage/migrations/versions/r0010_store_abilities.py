"""What the keys of a custom key store can't do, as it told when it was connected.

Revision: 0010.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """A column; of stores that were connected before, it is filled when a process opens them."""
    op.add_column("custom_key_stores", sa.Column("lacking", _text(2_000), nullable=True))


def _text(length: int) -> sa.types.TypeEngine[str]:
    """Ordered by code point whatever language a PostgreSQL database was made for."""
    return sa.String(length).with_variant(sa.String(length, collation="C"), "postgresql")
