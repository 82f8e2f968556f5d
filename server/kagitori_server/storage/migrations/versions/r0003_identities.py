"""Groups, managed policies, boundaries, trust policies, access keys and sessions of roles.

Revision: 0003.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Nine tables more, and a column of tokens."""
    _named("managed_policies", "policy_id", sa.Column("description", _text(8192), nullable=False),
           sa.Column("document", _text(131072), nullable=False))
    _named("groups", "group_id")
    _links("principal_attachments", "arn", "principals", "policy_arn", "managed_policies")
    _links("group_attachments", "arn", "groups", "policy_arn", "managed_policies")
    _links("group_members", "group_arn", "groups", "user_arn", "principals")
    op.create_table(
        "group_policies",
        sa.Column("arn", _text(1024), nullable=False),
        sa.Column("name", _text(128), nullable=False),
        sa.Column("document", _text(131072), nullable=False),
        sa.ForeignKeyConstraint(["arn"], ["groups.arn"], name=op.f("fk_group_policies_arn")),
        sa.PrimaryKeyConstraint("arn", "name", name=op.f("pk_group_policies")),
    )
    op.create_table(
        "principal_boundaries",
        sa.Column("arn", _text(1024), nullable=False),
        sa.Column("policy_arn", _text(1024), nullable=False),
        sa.ForeignKeyConstraint(["arn"], ["principals.arn"], name=op.f("fk_principal_boundaries_arn")),
        sa.ForeignKeyConstraint(
            ["policy_arn"], ["managed_policies.arn"], name=op.f("fk_principal_boundaries_policy_arn")
        ),
        sa.PrimaryKeyConstraint("arn", name=op.f("pk_principal_boundaries")),
    )
    op.create_index("ix_principal_boundaries_policy_arn", "principal_boundaries", ["policy_arn"], unique=False)
    op.create_table(
        "role_trusts",
        sa.Column("arn", _text(1024), nullable=False),
        sa.Column("max_session_seconds", sa.Integer(), nullable=False),
        sa.Column("document", _text(131072), nullable=True),
        sa.Column("bindings", _text(1048576), nullable=False),
        sa.ForeignKeyConstraint(["arn"], ["principals.arn"], name=op.f("fk_role_trusts_arn")),
        sa.PrimaryKeyConstraint("arn", name=op.f("pk_role_trusts")),
    )
    op.add_column("tokens", sa.Column("session", _text(131072), nullable=True))
    _access_keys()


def _named(table: str, id_column: str, *more: sa.Column[str]) -> None:
    """A table of things that have a name and a path in an account."""
    op.create_table(
        table,
        sa.Column("arn", _text(1024), nullable=False),
        sa.Column("account", _text(12), nullable=False),
        sa.Column("name", _text(128), nullable=False),
        sa.Column("folded_name", _text(128), nullable=False),
        sa.Column("path", _text(512), nullable=False),
        sa.Column(id_column, _text(128), nullable=False),
        *more,
        sa.Column("created", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["account"], ["accounts.account"], name=op.f(f"fk_{table}_account")),
        sa.PrimaryKeyConstraint("arn", name=op.f(f"pk_{table}")),
        sa.UniqueConstraint("account", "folded_name", name=op.f(f"uq_{table}_account_folded_name")),
        sa.UniqueConstraint(id_column, name=op.f(f"uq_{table}_{id_column}")),
    )
    op.create_index(f"ix_{table}_listing", table, ["account", "name"], unique=False)


def _links(table: str, first: str, first_table: str, second: str, second_table: str) -> None:
    """A table that says which goes with which, found from either side."""
    op.create_table(
        table,
        sa.Column(first, _text(1024), nullable=False),
        sa.Column(second, _text(1024), nullable=False),
        sa.ForeignKeyConstraint([first], [f"{first_table}.arn"], name=op.f(f"fk_{table}_{first}")),
        sa.ForeignKeyConstraint([second], [f"{second_table}.arn"], name=op.f(f"fk_{table}_{second}")),
        sa.PrimaryKeyConstraint(first, second, name=op.f(f"pk_{table}")),
    )
    op.create_index(f"ix_{table}_{second}", table, [second], unique=False)


def _access_keys() -> None:
    op.create_table(
        "access_keys",
        sa.Column("access_key_id", _text(32), nullable=False),
        sa.Column("entry_id", _text(64), nullable=False),
        sa.Column("principal_arn", _text(1024), nullable=False),
        sa.Column("account", _text(12), nullable=False),
        sa.Column("region", _text(63), nullable=False),
        sa.Column("wrapped_secret", sa.LargeBinary(), nullable=False),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.Column("created", sa.Double(), nullable=False),
        sa.Column("expires", sa.Double(), nullable=True),
        sa.Column("session_name", _text(64), nullable=False),
        sa.Column("session_token_digest", sa.LargeBinary(), nullable=True),
        sa.Column("session", _text(131072), nullable=True),
        sa.CheckConstraint("length(wrapped_secret) <= 4096", name=op.f("ck_access_keys_wrapped_secret_length")),
        sa.CheckConstraint(
            "session_token_digest IS NULL OR length(session_token_digest) = 32",
            name=op.f("ck_access_keys_digest_length"),
        ),
        sa.CheckConstraint(
            "(session IS NULL) = (session_token_digest IS NULL)", name=op.f("ck_access_keys_whole_session")
        ),
        sa.ForeignKeyConstraint(["principal_arn"], ["principals.arn"], name=op.f("fk_access_keys_principal_arn")),
        sa.PrimaryKeyConstraint("access_key_id", name=op.f("pk_access_keys")),
        sa.UniqueConstraint("entry_id", name=op.f("uq_access_keys_entry_id")),
    )
    op.create_index("ix_access_keys_listing", "access_keys", ["account", "entry_id"], unique=False)
    op.create_index("ix_access_keys_principal_arn", "access_keys", ["principal_arn", "expires"], unique=False)


def _text(length: int) -> sa.types.TypeEngine[str]:
    """Ordered by code point whatever language a PostgreSQL database was made for."""
    return sa.String(length).with_variant(sa.String(length, collation="C"), "postgresql")
