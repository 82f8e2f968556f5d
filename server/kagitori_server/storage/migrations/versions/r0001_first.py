"""The first schema.

Revision: 0001.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """From nothing."""
    _journal()
    _principals()
    _keys()


def _text(length: int) -> sa.types.TypeEngine[str]:
    """Ordered by code point whatever language a PostgreSQL database was made for."""
    return sa.String(length).with_variant(sa.String(length, collation="C"), "postgresql")


def _journal() -> None:
    """What orders writes, what views are told, what the trail is owed, and wrapped key-encryption keys."""
    op.create_table(
        "catalog_clock",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("horizon", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("id = 1", name=op.f("ck_catalog_clock_one_row")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_catalog_clock")),
    )
    op.execute("INSERT INTO catalog_clock (id, version, horizon) VALUES (1, 0, 0)")
    op.create_table(
        "changes",
        sa.Column("version", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("ordinal", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("kind", _text(32), nullable=False),
        sa.Column("subject", _text(2200), nullable=False),
        sa.PrimaryKeyConstraint("version", "ordinal", name=op.f("pk_changes")),
    )
    op.create_table(
        "intents",
        sa.Column("event_id", _text(64), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("ordinal", sa.Integer(), nullable=False),
        sa.Column("chain", _text(128), nullable=False),
        sa.Column("record", sa.LargeBinary(), nullable=False),
        sa.CheckConstraint("length(record) <= 1048576", name=op.f("ck_intents_record_length")),
        sa.PrimaryKeyConstraint("event_id", name=op.f("pk_intents")),
        sa.UniqueConstraint("version", "ordinal", name=op.f("uq_intents_version_ordinal")),
    )
    op.create_index("ix_intents_chain", "intents", ["chain", "version", "ordinal"], unique=False)
    op.create_table(
        "key_encryption_keys",
        sa.Column("account", _text(12), nullable=False),
        sa.Column("region", _text(63), nullable=False),
        sa.Column("wrapped", sa.LargeBinary(), nullable=False),
        sa.CheckConstraint("length(wrapped) <= 4096", name=op.f("ck_key_encryption_keys_wrapped_length")),
        sa.PrimaryKeyConstraint("account", "region", name=op.f("pk_key_encryption_keys")),
    )


def _principals() -> None:
    """Who may call, and with which credentials."""
    op.create_table(
        "accounts",
        sa.Column("account", _text(12), nullable=False),
        sa.Column("name", _text(256), nullable=False),
        sa.Column("created", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("account", name=op.f("pk_accounts")),
    )
    op.create_table(
        "principals",
        sa.Column("arn", _text(1024), nullable=False),
        sa.Column("account", _text(12), nullable=False),
        sa.Column("kind", _text(16), nullable=False),
        sa.Column("name", _text(64), nullable=False),
        sa.Column("folded_name", _text(64), nullable=False),
        sa.Column("path", _text(512), nullable=False),
        sa.Column("principal_id", _text(128), nullable=False),
        sa.Column("description", _text(8192), nullable=False),
        sa.Column("created", sa.Double(), nullable=False),
        sa.Column("tags", _text(131072), nullable=False),
        sa.ForeignKeyConstraint(["account"], ["accounts.account"], name=op.f("fk_principals_account")),
        sa.PrimaryKeyConstraint("arn", name=op.f("pk_principals")),
        sa.UniqueConstraint(
            "account", "kind", "folded_name", name=op.f("uq_principals_account_kind_folded_name")
        ),
        sa.UniqueConstraint("principal_id", name=op.f("uq_principals_principal_id")),
    )
    op.create_index("ix_principals_listing", "principals", ["account", "kind", "name"], unique=False)
    op.create_table(
        "principal_policies",
        sa.Column("arn", _text(1024), nullable=False),
        sa.Column("name", _text(128), nullable=False),
        sa.Column("document", _text(131072), nullable=False),
        sa.ForeignKeyConstraint(["arn"], ["principals.arn"], name=op.f("fk_principal_policies_arn")),
        sa.PrimaryKeyConstraint("arn", "name", name=op.f("pk_principal_policies")),
    )
    op.create_table(
        "tokens",
        sa.Column("token_id", _text(64), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("principal_arn", _text(1024), nullable=False),
        sa.Column("account", _text(12), nullable=False),
        sa.Column("session_name", _text(64), nullable=False),
        sa.Column("description", _text(8192), nullable=False),
        sa.Column("created", sa.Double(), nullable=False),
        sa.Column("expires", sa.Double(), nullable=True),
        sa.CheckConstraint("length(digest) = 32", name=op.f("ck_tokens_digest_length")),
        sa.ForeignKeyConstraint(["principal_arn"], ["principals.arn"], name=op.f("fk_tokens_principal_arn")),
        sa.PrimaryKeyConstraint("token_id", name=op.f("pk_tokens")),
        sa.UniqueConstraint("digest", name=op.f("uq_tokens_digest")),
    )
    op.create_index("ix_tokens_listing", "tokens", ["account", "token_id"], unique=False)
    op.create_index("ix_tokens_principal_arn", "tokens", ["principal_arn"], unique=False)
    op.create_table(
        "certificates",
        sa.Column("certificate_id", _text(64), nullable=False),
        sa.Column("uri_san", _text(2048), nullable=True),
        sa.Column("subject", _text(512), nullable=True),
        sa.Column("principal_arn", _text(1024), nullable=False),
        sa.Column("account", _text(12), nullable=False),
        sa.Column("session_name", _text(64), nullable=False),
        sa.Column("description", _text(8192), nullable=False),
        sa.Column("created", sa.Double(), nullable=False),
        sa.CheckConstraint("(uri_san IS NULL) <> (subject IS NULL)", name=op.f("ck_certificates_one_name")),
        sa.ForeignKeyConstraint(
            ["principal_arn"], ["principals.arn"], name=op.f("fk_certificates_principal_arn")
        ),
        sa.PrimaryKeyConstraint("certificate_id", name=op.f("pk_certificates")),
        sa.UniqueConstraint("subject", name=op.f("uq_certificates_subject")),
        sa.UniqueConstraint("uri_san", name=op.f("uq_certificates_uri_san")),
    )
    op.create_index("ix_certificates_listing", "certificates", ["account", "certificate_id"], unique=False)
    op.create_index("ix_certificates_principal_arn", "certificates", ["principal_arn"], unique=False)


def _keys() -> None:
    """Keys and what hangs on them."""
    op.create_table(
        "keys",
        sa.Column("region", _text(63), nullable=False),
        sa.Column("key_id", _text(64), nullable=False),
        sa.Column("account", _text(12), nullable=False),
        sa.Column("arn", _text(1024), nullable=False),
        sa.Column("spec", _text(32), nullable=False),
        sa.Column("usage", _text(32), nullable=False),
        sa.Column("origin", _text(32), nullable=False),
        sa.Column("state", _text(32), nullable=False),
        sa.Column("description", _text(8192), nullable=False),
        sa.Column("created", sa.Double(), nullable=False),
        sa.Column("store_id", _text(64), nullable=False),
        sa.Column("policy", _text(131072), nullable=False),
        sa.Column("policy_bindings", _text(1048576), nullable=False),
        sa.Column("multi_region", sa.Boolean(), nullable=False),
        sa.Column("deletion_date", sa.Double(), nullable=True),
        sa.Column("manager", _text(16), nullable=False),
        sa.ForeignKeyConstraint(["account"], ["accounts.account"], name=op.f("fk_keys_account")),
        sa.PrimaryKeyConstraint("region", "key_id", name=op.f("pk_keys")),
    )
    op.create_index("ix_keys_deletion_date", "keys", ["deletion_date"], unique=False)
    op.create_index("ix_keys_key_id", "keys", ["key_id"], unique=False)
    op.create_index("ix_keys_listing", "keys", ["account", "region", "key_id"], unique=False)
    op.create_table(
        "materials",
        sa.Column("region", _text(63), nullable=False),
        sa.Column("key_id", _text(64), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("material_id", _text(64), nullable=False),
        sa.Column("reference", sa.LargeBinary(), nullable=False),
        sa.Column("created", sa.Double(), nullable=False),
        sa.CheckConstraint("length(reference) <= 32768", name=op.f("ck_materials_reference_length")),
        sa.ForeignKeyConstraint(
            ["region", "key_id"],
            ["keys.region", "keys.key_id"],
            name=op.f("fk_materials_region_key_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("region", "key_id", "number", name=op.f("pk_materials")),
        sa.UniqueConstraint(
            "region", "key_id", "material_id", name=op.f("uq_materials_region_key_id_material_id")
        ),
    )
    op.create_table(
        "tags",
        sa.Column("region", _text(63), nullable=False),
        sa.Column("key_id", _text(64), nullable=False),
        sa.Column("tag_key", _text(128), nullable=False),
        sa.Column("tag_value", _text(256), nullable=False),
        sa.ForeignKeyConstraint(
            ["region", "key_id"],
            ["keys.region", "keys.key_id"],
            name=op.f("fk_tags_region_key_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("region", "key_id", "tag_key", name=op.f("pk_tags")),
    )
    op.create_table(
        "aliases",
        sa.Column("account", _text(12), nullable=False),
        sa.Column("region", _text(63), nullable=False),
        sa.Column("name", _text(256), nullable=False),
        sa.Column("key_id", _text(64), nullable=False),
        sa.Column("created", sa.Double(), nullable=False),
        sa.Column("updated", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(
            ["region", "key_id"],
            ["keys.region", "keys.key_id"],
            name=op.f("fk_aliases_region_key_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("account", "region", "name", name=op.f("pk_aliases")),
    )
    op.create_index("ix_aliases_of_key", "aliases", ["region", "key_id", "name"], unique=False)
