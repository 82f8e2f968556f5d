"""The catalog's tables about the delivery of the audit trail and the keys that sign for it.

They have no foreign keys: signing keys are listed, and what was delivered lies elsewhere, when their keys and accounts
are gone.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, CheckConstraint, Column, Double, Index, Integer, Table

from kagitori_server.storage.column_types import BoundedBytes, BoundedText
from kagitori_server.storage.schema import KEY_ID_MAX, REGION_MAX, metadata

OBJECT_MAX = 1_024
BUCKET_MAX = 255
ERROR_MAX = 512
PUBLIC_KEY_MAX = 2_048
SIGNATURE_MAX = 2_048

signing_keys = Table(
    "signing_keys",
    metadata,
    Column("purpose", BoundedText(32), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("region", BoundedText(REGION_MAX), nullable=False),
    Column("key_id", BoundedText(KEY_ID_MAX), nullable=False),
    Column("public_key", BoundedBytes(PUBLIC_KEY_MAX), nullable=False),
    Column("valid_from", Double, nullable=False),
    Column("valid_until", Double, nullable=False),
    CheckConstraint(f"length(public_key) <= {PUBLIC_KEY_MAX}", name="public_key_length"),
)

delivered_chains = Table(
    "delivered_chains",
    metadata,
    Column("chain_id", BoundedText(64), primary_key=True),
    Column("name", BoundedText(128), nullable=False),
    Column("began", Double, nullable=False),
    Column("segment", BigInteger, nullable=False),
    Column("offset", BigInteger, nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("next_segment", BigInteger),
    Column("next_offset", BigInteger),
    Column("next_seq", BigInteger),
    Column("next_moment", Double),
    CheckConstraint("(next_seq IS NULL) = (next_moment IS NULL)", name="next_whole"),
)
"""How far each chain of the trail was delivered, and what is on its way."""

delivered_files = Table(
    "delivered_files",
    metadata,
    Column("bucket", BoundedText(BUCKET_MAX), primary_key=True),
    Column("object_key", BoundedText(OBJECT_MAX), primary_key=True),
    Column("account", BoundedText(12), nullable=False),
    Column("region", BoundedText(REGION_MAX), nullable=False),
    Column("hash_value", BoundedText(64), nullable=False),
    Column("oldest", BoundedText(32), nullable=False),
    Column("newest", BoundedText(32), nullable=False),
    Column("records", BigInteger, nullable=False),
    Column("delivered", Double, nullable=False),
    Column("digest", BigInteger),
    Index("ix_delivered_files_account", "account", "region"),
)
"""Log files until a digest that lists them was delivered."""

digest_chains = Table(
    "digest_chains",
    metadata,
    Column("account", BoundedText(12), primary_key=True),
    Column("region", BoundedText(REGION_MAX), primary_key=True),
    Column("number", BigInteger, nullable=False),
    Column("ended", Double, nullable=False),
    Column("bucket", BoundedText(BUCKET_MAX), nullable=False),
    Column("object_key", BoundedText(OBJECT_MAX), nullable=False),
    Column("hash_value", BoundedText(64), nullable=False),
    Column("signature", BoundedText(SIGNATURE_MAX), nullable=False),
    Column("next_ended", Double),
    Column("next_key_id", BoundedText(KEY_ID_MAX)),
    Column("next_worker", BoundedText(64)),
    Column("next_claimed", Double),
    CheckConstraint("(next_ended IS NULL) = (next_claimed IS NULL)", name="next_whole"),
)
"""The newest digest of each account and Region, and the one that is on its way."""

trail_state = Table(
    "trail_state",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("started", Double),
    Column("stopped", Double),
    Column("log_attempted", Double),
    Column("log_delivered", Double),
    Column("log_error", BoundedText(ERROR_MAX)),
    Column("digest_attempted", Double),
    Column("digest_delivered", Double),
    Column("digest_error", BoundedText(ERROR_MAX)),
    CheckConstraint("id = 1", name="one_row"),
)
"""One row, once there was anything to say."""
