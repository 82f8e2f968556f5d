"""The catalog's tables about the use of the service. They have no foreign keys: what was used outlives what it was."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, CheckConstraint, Column, Double, Index, Integer, Table

from kagitori_server.storage.column_types import BoundedText
from kagitori_server.storage.schema import ARN_MAX, KEY_ID_MAX, REGION_MAX, metadata

billing_spans = Table(
    "billing_spans",
    metadata,
    Column("region", BoundedText(REGION_MAX), primary_key=True),
    Column("key_id", BoundedText(KEY_ID_MAX), primary_key=True),
    Column("life", Integer, primary_key=True, autoincrement=False),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("account", BoundedText(12), nullable=False),
    Column("arn", BoundedText(ARN_MAX), nullable=False),
    Column("spec", BoundedText(32), nullable=False),
    Column("began", Double, nullable=False),
    Column("ended", Double),
    Column("destroyed", Boolean, nullable=False),
    CheckConstraint("NOT destroyed OR ended IS NOT NULL", name="destroyed_has_ended"),
    Index("ix_billing_spans_account", "account", "began"),
)
"""`number` 0 is the key, others the versions that its rotations brought. `life` counts the keys that
a Region had under that id: a replica may be made again."""

usage_requests = Table(
    "usage_requests",
    metadata,
    Column("account", BoundedText(12), primary_key=True),
    Column("hour", Integer, primary_key=True, autoincrement=False),
    Column("region", BoundedText(REGION_MAX), primary_key=True),
    Column("key_arn", BoundedText(ARN_MAX), primary_key=True),
    Column("usage_type", BoundedText(64), primary_key=True),
    Column("quantity", BigInteger, nullable=False),
    Index("ix_usage_requests_hour", "hour"),
)
"""`hour` counts from the epoch; `key_arn` is empty for calls without a key."""

key_last_uses = Table(
    "key_last_uses",
    metadata,
    Column("key_arn", BoundedText(ARN_MAX), primary_key=True),
    Column("moment", Double, nullable=False),
    Column("operation", BoundedText(64), nullable=False),
    Column("event_id", BoundedText(64), nullable=False),
    Column("request_id", BoundedText(128)),
)

followed_chains = Table(
    "followed_chains",
    metadata,
    Column("chain_id", BoundedText(64), primary_key=True),
    Column("name", BoundedText(128), nullable=False),
    Column("segment", BigInteger, nullable=False),
    Column("offset", BigInteger, nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("began", Double, nullable=False),
)
"""How far each chain of the trail has been counted."""
