"""The catalog's tables as they are now. How they came to be is in `migrations/`; a test compares the two."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Double,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    MetaData,
    Table,
    UniqueConstraint,
)

from kagitori_server.storage.changes import SUBJECT_MAX
from kagitori_server.storage.column_types import BoundedBytes, BoundedText

REGION_MAX = 63
KEY_ID_MAX = 64
ARN_MAX = 1_024
ALIAS_MAX = 256
URI_MAX = 2_048
SUBJECT_NAME_MAX = 512
"""Certificate subjects: 512 characters of four bytes each still fit into PostgreSQL's index pages."""
REFERENCE_MAX = 32_768
RECORD_MAX = 1_048_576
WRAPPED_MAX = 4_096
ACCESS_KEY_ID_MAX = 32
SESSION_MAX = 131_072
"""A session as JSON: its policy of 2,048 characters and 50 tags, all of them escaped at worst."""
DIGEST_BYTES = 32
GRANT_ID_MAX = 64
UNIQUE_ID_MAX = 128
CONTEXT_MAX = 8_192
"""Characters of a name or value of an encryption context, which a ciphertext bounds to less."""
TRUST_DOMAIN_MAX = 255
ISSUER_MAX = 255
JWKS_MAX = 65_536

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    }
)

catalog_clock = Table(
    "catalog_clock",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("version", BigInteger, nullable=False),
    Column("horizon", BigInteger, nullable=False),
    CheckConstraint("id = 1", name="one_row"),
)
"""One row. `version` counts write transactions; changes up to `horizon` have been forgotten."""

changes = Table(
    "changes",
    metadata,
    Column("version", BigInteger, primary_key=True, autoincrement=False),
    Column("ordinal", Integer, primary_key=True, autoincrement=False),
    Column("kind", BoundedText(32), nullable=False),
    Column("subject", BoundedText(SUBJECT_MAX), nullable=False),
)

accounts = Table(
    "accounts",
    metadata,
    Column("account", BoundedText(12), primary_key=True),
    Column("name", BoundedText(256), nullable=False),
    Column("created", Double, nullable=False),
)

keys = Table(
    "keys",
    metadata,
    Column("region", BoundedText(REGION_MAX), primary_key=True),
    Column("key_id", BoundedText(KEY_ID_MAX), primary_key=True),
    Column("account", BoundedText(12), ForeignKey("accounts.account"), nullable=False),
    Column("arn", BoundedText(ARN_MAX), nullable=False),
    Column("spec", BoundedText(32), nullable=False),
    Column("usage", BoundedText(32), nullable=False),
    Column("origin", BoundedText(32), nullable=False),
    Column("state", BoundedText(32), nullable=False),
    Column("description", BoundedText(8_192), nullable=False),
    Column("created", Double, nullable=False),
    Column("store_id", BoundedText(64), nullable=False),
    Column("policy", BoundedText(131_072), nullable=False),
    Column("policy_bindings", BoundedText(1_048_576), nullable=False),
    Column("deletion_date", Double),
    Column("pending_window_days", Integer),
    Column("manager", BoundedText(16), nullable=False),
    Column("rotation_period_days", Integer),
    Column("next_rotation", Double),
    Column("on_demand_rotations", Integer, nullable=False, server_default="0"),
    Column("primary_region", BoundedText(REGION_MAX)),
    Column("xks_key_id", BoundedText(128)),
    Index("ix_keys_store_id", "store_id", "xks_key_id"),
    Index("ix_keys_listing", "account", "region", "key_id"),
    Index("ix_keys_key_id", "key_id"),
    Index("ix_keys_deletion_date", "deletion_date"),
    Index("ix_keys_next_rotation", "next_rotation"),
)

materials = Table(
    "materials",
    metadata,
    Column("region", BoundedText(REGION_MAX), primary_key=True),
    Column("key_id", BoundedText(KEY_ID_MAX), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("material_id", BoundedText(64), nullable=False),
    Column("reference", BoundedBytes(REFERENCE_MAX), nullable=False),
    Column("created", Double, nullable=False),
    Column("state", BoundedText(64), nullable=False, server_default="CURRENT"),
    Column("rotated", Double),
    Column("rotation_type", BoundedText(16)),
    Column("expires", Double),
    Column("description", BoundedText(1_024)),
    ForeignKeyConstraint(["region", "key_id"], ["keys.region", "keys.key_id"], ondelete="CASCADE"),
    UniqueConstraint("region", "key_id", "material_id"),
    Index("ix_materials_expires", "expires"),
    CheckConstraint(f"length(reference) <= {REFERENCE_MAX}", name="reference_length"),
)

tags = Table(
    "tags",
    metadata,
    Column("region", BoundedText(REGION_MAX), primary_key=True),
    Column("key_id", BoundedText(KEY_ID_MAX), primary_key=True),
    Column("tag_key", BoundedText(128), primary_key=True),
    Column("tag_value", BoundedText(256), nullable=False),
    ForeignKeyConstraint(["region", "key_id"], ["keys.region", "keys.key_id"], ondelete="CASCADE"),
)

aliases = Table(
    "aliases",
    metadata,
    Column("account", BoundedText(12), primary_key=True),
    Column("region", BoundedText(REGION_MAX), primary_key=True),
    Column("name", BoundedText(ALIAS_MAX), primary_key=True),
    Column("key_id", BoundedText(KEY_ID_MAX), nullable=False),
    Column("created", Double, nullable=False),
    Column("updated", Double, nullable=False),
    ForeignKeyConstraint(["region", "key_id"], ["keys.region", "keys.key_id"], ondelete="CASCADE"),
    Index("ix_aliases_of_key", "region", "key_id", "name"),
)

principals = Table(
    "principals",
    metadata,
    Column("arn", BoundedText(ARN_MAX), primary_key=True),
    Column("account", BoundedText(12), ForeignKey("accounts.account"), nullable=False),
    Column("kind", BoundedText(16), nullable=False),
    Column("name", BoundedText(64), nullable=False),
    Column("folded_name", BoundedText(64), nullable=False),
    Column("path", BoundedText(512), nullable=False),
    Column("principal_id", BoundedText(128), nullable=False, unique=True),
    Column("description", BoundedText(8_192), nullable=False),
    Column("created", Double, nullable=False),
    Column("tags", BoundedText(131_072), nullable=False),
    UniqueConstraint("account", "kind", "folded_name"),
    Index("ix_principals_listing", "account", "kind", "name"),
)
"""`folded_name`: user and role names differ in more than case (AWS IAM)."""

principal_policies = Table(
    "principal_policies",
    metadata,
    Column("arn", BoundedText(ARN_MAX), ForeignKey("principals.arn"), primary_key=True),
    Column("name", BoundedText(128), primary_key=True),
    Column("document", BoundedText(131_072), nullable=False),
)

principal_attachments = Table(
    "principal_attachments",
    metadata,
    Column("arn", BoundedText(ARN_MAX), ForeignKey("principals.arn"), primary_key=True),
    Column("policy_arn", BoundedText(ARN_MAX), ForeignKey("managed_policies.arn"), primary_key=True),
    Index("ix_principal_attachments_policy_arn", "policy_arn"),
)

principal_boundaries = Table(
    "principal_boundaries",
    metadata,
    Column("arn", BoundedText(ARN_MAX), ForeignKey("principals.arn"), primary_key=True),
    Column("policy_arn", BoundedText(ARN_MAX), ForeignKey("managed_policies.arn"), nullable=False),
    Index("ix_principal_boundaries_policy_arn", "policy_arn"),
)

role_trusts = Table(
    "role_trusts",
    metadata,
    Column("arn", BoundedText(ARN_MAX), ForeignKey("principals.arn"), primary_key=True),
    Column("max_session_seconds", Integer, nullable=False),
    Column("document", BoundedText(131_072)),
    Column("bindings", BoundedText(1_048_576), nullable=False),
)
"""A role without a row has no trust policy and the shortest maximum of sessions."""

managed_policies = Table(
    "managed_policies",
    metadata,
    Column("arn", BoundedText(ARN_MAX), primary_key=True),
    Column("account", BoundedText(12), ForeignKey("accounts.account"), nullable=False),
    Column("name", BoundedText(128), nullable=False),
    Column("folded_name", BoundedText(128), nullable=False),
    Column("path", BoundedText(512), nullable=False),
    Column("policy_id", BoundedText(128), nullable=False, unique=True),
    Column("description", BoundedText(8_192), nullable=False),
    Column("document", BoundedText(131_072), nullable=False),
    Column("created", Double, nullable=False),
    UniqueConstraint("account", "folded_name"),
    Index("ix_managed_policies_listing", "account", "name"),
)

groups = Table(
    "groups",
    metadata,
    Column("arn", BoundedText(ARN_MAX), primary_key=True),
    Column("account", BoundedText(12), ForeignKey("accounts.account"), nullable=False),
    Column("name", BoundedText(128), nullable=False),
    Column("folded_name", BoundedText(128), nullable=False),
    Column("path", BoundedText(512), nullable=False),
    Column("group_id", BoundedText(128), nullable=False, unique=True),
    Column("created", Double, nullable=False),
    UniqueConstraint("account", "folded_name"),
    Index("ix_groups_listing", "account", "name"),
)

group_policies = Table(
    "group_policies",
    metadata,
    Column("arn", BoundedText(ARN_MAX), ForeignKey("groups.arn"), primary_key=True),
    Column("name", BoundedText(128), primary_key=True),
    Column("document", BoundedText(131_072), nullable=False),
)

group_attachments = Table(
    "group_attachments",
    metadata,
    Column("arn", BoundedText(ARN_MAX), ForeignKey("groups.arn"), primary_key=True),
    Column("policy_arn", BoundedText(ARN_MAX), ForeignKey("managed_policies.arn"), primary_key=True),
    Index("ix_group_attachments_policy_arn", "policy_arn"),
)

group_members = Table(
    "group_members",
    metadata,
    Column("group_arn", BoundedText(ARN_MAX), ForeignKey("groups.arn"), primary_key=True),
    Column("user_arn", BoundedText(ARN_MAX), ForeignKey("principals.arn"), primary_key=True),
    Index("ix_group_members_user_arn", "user_arn"),
)

tokens = Table(
    "tokens",
    metadata,
    Column("token_id", BoundedText(64), primary_key=True),
    Column("digest", BoundedBytes(DIGEST_BYTES), nullable=False, unique=True),
    Column("principal_arn", BoundedText(ARN_MAX), ForeignKey("principals.arn"), nullable=False),
    Column("account", BoundedText(12), nullable=False),
    Column("session_name", BoundedText(64), nullable=False),
    Column("description", BoundedText(8_192), nullable=False),
    Column("created", Double, nullable=False),
    Column("expires", Double),
    Column("session", BoundedText(SESSION_MAX)),
    CheckConstraint(f"length(digest) = {DIGEST_BYTES}", name="digest_length"),
    Index("ix_tokens_listing", "account", "token_id"),
    Index("ix_tokens_principal_arn", "principal_arn"),
)

access_keys = Table(
    "access_keys",
    metadata,
    Column("access_key_id", BoundedText(ACCESS_KEY_ID_MAX), primary_key=True),
    Column("entry_id", BoundedText(64), nullable=False, unique=True),
    Column("principal_arn", BoundedText(ARN_MAX), ForeignKey("principals.arn"), nullable=False),
    Column("account", BoundedText(12), nullable=False),
    Column("region", BoundedText(REGION_MAX), nullable=False),
    Column("wrapped_secret", BoundedBytes(WRAPPED_MAX), nullable=False),
    Column("active", Boolean, nullable=False),
    Column("created", Double, nullable=False),
    Column("expires", Double),
    Column("session_name", BoundedText(64), nullable=False),
    Column("session_token_digest", BoundedBytes(DIGEST_BYTES)),
    Column("session", BoundedText(SESSION_MAX)),
    CheckConstraint(f"length(wrapped_secret) <= {WRAPPED_MAX}", name="wrapped_secret_length"),
    CheckConstraint(
        f"session_token_digest IS NULL OR length(session_token_digest) = {DIGEST_BYTES}", name="digest_length"
    ),
    CheckConstraint("(session IS NULL) = (session_token_digest IS NULL)", name="whole_session"),
    Index("ix_access_keys_listing", "account", "entry_id"),
    Index("ix_access_keys_principal_arn", "principal_arn", "expires"),
)

certificates = Table(
    "certificates",
    metadata,
    Column("certificate_id", BoundedText(64), primary_key=True),
    Column("uri_san", BoundedText(URI_MAX), unique=True),
    Column("subject", BoundedText(SUBJECT_NAME_MAX), unique=True),
    Column("principal_arn", BoundedText(ARN_MAX), ForeignKey("principals.arn"), nullable=False),
    Column("account", BoundedText(12), nullable=False),
    Column("session_name", BoundedText(64), nullable=False),
    Column("description", BoundedText(8_192), nullable=False),
    Column("created", Double, nullable=False),
    Column("pattern_domain", BoundedText(TRUST_DOMAIN_MAX)),
    CheckConstraint("(uri_san IS NULL) <> (subject IS NULL)", name="one_name"),
    Index("ix_certificates_listing", "account", "certificate_id"),
    Index("ix_certificates_principal_arn", "principal_arn"),
    Index("ix_certificates_pattern_domain", "pattern_domain", "certificate_id"),
)
"""`pattern_domain` is the trust domain of a pattern of SPIFFE IDs, null for what is compared exactly."""

oidc_providers = Table(
    "oidc_providers",
    metadata,
    Column("arn", BoundedText(ARN_MAX), primary_key=True),
    Column("account", BoundedText(12), ForeignKey("accounts.account"), nullable=False),
    Column("issuer", BoundedText(ISSUER_MAX), nullable=False),
    Column("audiences", BoundedText(262_144), nullable=False),
    Column("role_arn", BoundedText(ARN_MAX), ForeignKey("principals.arn"), nullable=False),
    Column("session_name_claim", BoundedText(256), nullable=False),
    Column("tag_claims", BoundedText(131_072), nullable=False),
    Column("jwks", BoundedText(JWKS_MAX)),
    Column("created", Double, nullable=False),
    Index("ix_oidc_providers_listing", "account", "arn"),
    Index("ix_oidc_providers_issuer", "issuer", "arn"),
    Index("ix_oidc_providers_role_arn", "role_arn"),
)

grants = Table(
    "grants",
    metadata,
    Column("region", BoundedText(REGION_MAX), primary_key=True),
    Column("key_id", BoundedText(KEY_ID_MAX), primary_key=True),
    Column("grant_id", BoundedText(GRANT_ID_MAX), primary_key=True),
    Column("name", BoundedText(256)),
    Column("created", Double, nullable=False),
    Column("grantee_arn", BoundedText(256), nullable=False),
    Column("grantee_id", BoundedText(UNIQUE_ID_MAX), nullable=False),
    Column("retiring_arn", BoundedText(256)),
    Column("retiring_id", BoundedText(UNIQUE_ID_MAX)),
    Column("issuing_account", BoundedText(12), nullable=False),
    Column("operations", BoundedText(1_024), nullable=False),
    Column("constraint_kind", BoundedText(32)),
    Column("constraint_pairs", BoundedText(8_192), nullable=False),
    ForeignKeyConstraint(["region", "key_id"], ["keys.region", "keys.key_id"], ondelete="CASCADE"),
    CheckConstraint("(retiring_arn IS NULL) = (retiring_id IS NULL)", name="whole_retiring_principal"),
    Index("ix_grants_of_grantee", "region", "key_id", "grantee_id", "grant_id"),
    Index("ix_grants_of_name", "region", "key_id", "name"),
    Index("ix_grants_retirable", "region", "retiring_id", "key_id", "grant_id"),
)
"""`operations` are separated by spaces. Principals are no foreign keys: a grant outlives whom it names."""

grant_tokens = Table(
    "grant_tokens",
    metadata,
    Column("digest", BoundedBytes(DIGEST_BYTES), primary_key=True),
    Column("region", BoundedText(REGION_MAX), nullable=False),
    Column("key_id", BoundedText(KEY_ID_MAX), nullable=False),
    Column("grant_id", BoundedText(GRANT_ID_MAX), nullable=False),
    Column("created", Double, nullable=False),
    ForeignKeyConstraint(
        ["region", "key_id", "grant_id"], ["grants.region", "grants.key_id", "grants.grant_id"], ondelete="CASCADE"
    ),
    CheckConstraint(f"length(digest) = {DIGEST_BYTES}", name="digest_length"),
    Index("ix_grant_tokens_of_grant", "region", "key_id", "grant_id", "created"),
)

intents = Table(
    "intents",
    metadata,
    Column("event_id", BoundedText(64), primary_key=True),
    Column("version", BigInteger, nullable=False),
    Column("ordinal", Integer, nullable=False),
    Column("chain", BoundedText(128), nullable=False),
    Column("record", BoundedBytes(RECORD_MAX), nullable=False),
    UniqueConstraint("version", "ordinal"),
    CheckConstraint(f"length(record) <= {RECORD_MAX}", name="record_length"),
    Index("ix_intents_chain", "chain", "version", "ordinal"),
)
"""Audit records of changes that are about to be, kept until the trail holds their outcome."""

key_encryption_keys = Table(
    "key_encryption_keys",
    metadata,
    Column("account", BoundedText(12), primary_key=True),
    Column("region", BoundedText(REGION_MAX), primary_key=True),
    Column("wrapped", BoundedBytes(WRAPPED_MAX), nullable=False),
    CheckConstraint(f"length(wrapped) <= {WRAPPED_MAX}", name="wrapped_length"),
)

budgets = Table(
    "budgets",
    metadata,
    Column("budget_id", BoundedText(64), primary_key=True),
    Column("account", BoundedText(12), ForeignKey("accounts.account"), nullable=False),
    Column("name", BoundedText(128), nullable=False),
    Column("arn", BoundedText(ARN_MAX), nullable=False),
    Column("key_arn", BoundedText(ARN_MAX), nullable=False),
    Column("principal_arn", BoundedText(ARN_MAX), nullable=False),
    Column("context_key", BoundedText(CONTEXT_MAX)),
    Column("context_value", BoundedText(CONTEXT_MAX)),
    Column("operations", BoundedText(1_024), nullable=False),
    Column("limits", BoundedText(1_024), nullable=False),
    Column("on_exceed", BoundedText(16), nullable=False),
    Column("created", Double, nullable=False),
    Column("updated", Double, nullable=False),
    Column("revision", BigInteger, nullable=False),
    UniqueConstraint("account", "name"),
)
"""`operations` are separated by spaces; `limits` is a JSON object of counts by window. `key_arn` and `principal_arn`
are no foreign keys: they may be `*`, or of another account."""

budget_counts = Table(
    "budget_counts",
    metadata,
    Column("budget_id", BoundedText(64), ForeignKey("budgets.budget_id", ondelete="CASCADE"), primary_key=True),
    Column("holder", BoundedBytes(DIGEST_BYTES), primary_key=True),
    Column("value", BoundedBytes(DIGEST_BYTES), primary_key=True),
    Column("window", BoundedText(8), primary_key=True),
    Column("ends", BigInteger, nullable=False),
    Column("taken", BigInteger, nullable=False),
    CheckConstraint(f"length(holder) = {DIGEST_BYTES}", name="holder_length"),
    CheckConstraint(f"length(value) = {DIGEST_BYTES}", name="value_length"),
    CheckConstraint("taken >= 0", name="taken_positive"),
    Index("ix_budget_counts_ends", "ends"),
)
"""`holder` is a digest of a key's and a principal's ARN, `value` of the encryption context's value. A row is of the
newest window of its kind that anything was taken in; `ends` is its end in seconds since the epoch."""

freezes = Table(
    "freezes",
    metadata,
    Column("freeze_id", BoundedText(64), primary_key=True),
    Column("account", BoundedText(12), nullable=False),
    Column("region", BoundedText(REGION_MAX), nullable=False),
    Column("key_id", BoundedText(KEY_ID_MAX), nullable=False),
    Column("key_arn", BoundedText(ARN_MAX), nullable=False),
    Column("principal_arn", BoundedText(ARN_MAX), nullable=False),
    Column("budget_id", BoundedText(64), nullable=False),
    Column("budget_name", BoundedText(128), nullable=False),
    Column("window", BoundedText(8), nullable=False),
    Column("most", BigInteger, nullable=False),
    Column("created", Double, nullable=False),
    ForeignKeyConstraint(["region", "key_id"], ["keys.region", "keys.key_id"], ondelete="CASCADE"),
    UniqueConstraint("region", "key_id", "principal_arn"),
    Index("ix_freezes_listing", "account", "freeze_id"),
)
"""A freeze outlives its budget and the principal: nobody gets rid of it but by lifting it or with the key."""
