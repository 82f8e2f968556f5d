"""Quotas and sizes: the AWS KMS API reference (shapes) and its quotas page are their source."""

from __future__ import annotations

from dataclasses import dataclass

from kagitori_server.model.errors import LimitExceededException

TAGS_PER_KEY = 50
POLICY_BYTES = 32_768
POLICY_SHAPE_MAX = 131_072
DESCRIPTION_MAX = 8_192
KEY_ID_MAX = 2_048
ALIAS_NAME_MAX = 256
MARKER_MAX = 1_024
GRANT_CONSTRAINT_PAIRS = 8
GRANT_CONSTRAINT_CHARACTERS = 384
"""Names and values of a constraint's pairs together."""
GRANT_TOKENS_MAX = 10
GRANT_TOKEN_MAX = 8_192
TAG_KEY_MAX = 128
TAG_VALUE_MAX = 256

ENCRYPTION_CONTEXT_MAX = 8_192
"""Names and values of an encryption context together; its canonical form takes no more bytes."""
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


@dataclass(frozen=True, slots=True)
class Quotas:
    """How much there may be: AWS's resource quotas, as far as AWS lets them be adjusted."""

    keys_per_account_region: int = 100_000
    """Customer managed keys of an account in a Region, of any spec and in any state."""
    aliases_per_key: int = 50
    grants_per_key: int = 50_000
    custom_key_stores_per_account_region: int = 10
    """Of either type, whatever their connection state."""

    def check_custom_key_stores(self, present: int) -> None:
        """Refuses one more custom key store. Raises LimitExceededException."""
        if present >= self.custom_key_stores_per_account_region:
            most = self.custom_key_stores_per_account_region
            raise LimitExceededException(f"The account has {most} custom key stores in this Region, the most it may.")

    def check_keys(self, present: int) -> None:
        """Refuses one more key. Raises LimitExceededException."""
        if present >= self.keys_per_account_region:
            most = self.keys_per_account_region
            raise LimitExceededException(f"The account has {most} keys in this Region, the most it may have.")

    def check_aliases(self, present: int, key_arn: str) -> None:
        """Refuses one more alias of a key. Raises LimitExceededException."""
        if present >= self.aliases_per_key:
            raise LimitExceededException(f"{key_arn} has {self.aliases_per_key} aliases, the most a key may have.")

    def check_grants(self, present: int) -> None:
        """Refuses one more grant on a key. Raises LimitExceededException."""
        if present >= self.grants_per_key:
            raise LimitExceededException(f"The key has {self.grants_per_key} grants, the most a key may have.")
