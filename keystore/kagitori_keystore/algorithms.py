"""The table of key specs and the limits of symmetric operations.

Data only: no code path branches on a spec's name. A new spec is a new row with a code that was
never used before.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

PLAINTEXT_MAX_BYTES = 4096
"""AWS Encrypt, ReEncrypt: the most a symmetric key encrypts in one call; the least is one byte."""
CIPHERTEXT_BLOB_MAX_BYTES = 6144
"""AWS Decrypt, ReEncrypt: nothing longer is looked at."""
DATA_KEY_MAX_BYTES = 1024
"""AWS GenerateDataKey (NumberOfBytes); the least is one byte."""
RANDOM_MAX_BYTES = 1024
"""AWS GenerateRandom (NumberOfBytes); the least is one byte."""
MATERIAL_REFERENCE_MAX_BYTES = 1024
"""The longest reference any store may hand out for a symmetric material."""


class KeyFamily(enum.Enum):
    """What kind of mathematics a key does; decides which capability Protocol serves it."""

    SYMMETRIC = "symmetric"


@dataclass(frozen=True, slots=True)
class KeySpecRow:
    """One row of the table.

    `code` is the spec's byte in wrapped references and never changes. `material_bytes` is the size of the
    secret as generated.
    """

    code: int
    family: KeyFamily
    material_bytes: int


class KeySpec(enum.Enum):
    """AWS key specs by AWS's names; the value is the row."""

    SYMMETRIC_DEFAULT = KeySpecRow(code=1, family=KeyFamily.SYMMETRIC, material_bytes=32)

    @property
    def code(self) -> int:
        """One byte, 1..255."""
        return self.value.code

    @property
    def family(self) -> KeyFamily:
        """The kind of key."""
        return self.value.family

    @property
    def material_bytes(self) -> int:
        """Size of freshly generated secret material."""
        return self.value.material_bytes


SPEC_BY_CODE: dict[int, KeySpec] = {spec.code: spec for spec in KeySpec}
"""Inverse of `KeySpec.code`; the length equals that of `KeySpec`, so no code is used twice."""
