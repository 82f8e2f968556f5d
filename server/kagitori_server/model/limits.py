"""Quotas and sizes: the AWS KMS API reference (shapes) and its quotas page are their source."""

from __future__ import annotations

KEYS_PER_ACCOUNT_REGION = 100_000
ALIASES_PER_KEY = 50
TAGS_PER_KEY = 50
POLICY_BYTES = 32_768
POLICY_SHAPE_MAX = 131_072
DESCRIPTION_MAX = 8_192
KEY_ID_MAX = 2_048
ALIAS_NAME_MAX = 256
MARKER_MAX = 1_024
GRANTS_PER_KEY = 50_000
GRANT_CONSTRAINT_PAIRS = 8
GRANT_CONSTRAINT_CHARACTERS = 384
"""Names and values of a constraint's pairs together."""
GRANT_TOKENS_MAX = 10
GRANT_TOKEN_MAX = 8_192
TAG_KEY_MAX = 128
TAG_VALUE_MAX = 256

PLAINTEXT_MAX = 4_096
CIPHERTEXT_MAX = 6_144
RANDOM_BYTES_MAX = 1_024
MESSAGE_MAX = 4_096
"""Bytes that Sign, Verify, GenerateMac and VerifyMac take."""
PUBLIC_KEY_MAX = 8_192
"""Bytes of a public key that DeriveSharedSecret looks at."""

PENDING_WINDOW_DAYS = (7, 30)
PENDING_WINDOW_DEFAULT = 30
SECONDS_PER_DAY = 86_400
ROTATION_PERIOD_DAYS = (90, 2_560)
ROTATION_PERIOD_DEFAULT = 365
ON_DEMAND_ROTATIONS = 25
"""Of one key, for life."""
ROTATION_GUARD_SECONDS = 20 * 60
"""So long before an automatic rotation none is made on demand."""

IMPORT_TOKEN_SECONDS = 24 * 3_600
"""So long a public key and its token are good for imports."""
MATERIAL_VALID_DAYS = 365
"""Imported material that expires does so at most so long after its import."""

BATCH_ITEMS_MAX = 256
"""Items of one batch call (our own extension)."""
