"""OpenID Connect providers, and patterns of SPIFFE IDs.

Revision: 0004.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """A table more, and a column of certificates."""
    op.create_table(
        "oidc_providers",
        sa.Column("arn", _text(1024), nullable=False),
        sa.Column("account", _text(12), nullable=False),
        sa.Column("issuer", _text(255), nullable=False),
        sa.Column("audiences", _text(262144), nullable=False),
        sa.Column("role_arn", _text(1024), nullable=False),
        sa.Column("session_name_claim", _text(256), nullable=False),
        sa.Column("tag_claims", _text(131072), nullable=False),
        sa.Column("jwks", _text(65536), nullable=True),
        sa.Column("created", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["account"], ["accounts.account"], name=op.f("fk_oidc_providers_account")),
        sa.ForeignKeyConstraint(["role_arn"], ["principals.arn"], name=op.f("fk_oidc_providers_role_arn")),
        sa.PrimaryKeyConstraint("arn", name=op.f("pk_oidc_providers")),
    )
    op.create_index("ix_oidc_providers_listing", "oidc_providers", ["account", "arn"], unique=False)
    op.create_index("ix_oidc_providers_issuer", "oidc_providers", ["issuer", "arn"], unique=False)
    op.create_index("ix_oidc_providers_role_arn", "oidc_providers", ["role_arn"], unique=False)
    op.add_column("certificates", sa.Column("pattern_domain", _text(255), nullable=True))
    op.create_index(
        "ix_certificates_pattern_domain", "certificates", ["pattern_domain", "certificate_id"], unique=False
    )


def _text(length: int) -> sa.types.TypeEngine[str]:
    """Ordered by code point whatever language a PostgreSQL database was made for."""
    return sa.String(length).with_variant(sa.String(length, collation="C"), "postgresql")
