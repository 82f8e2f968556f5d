"""What use of the service is counted as: kinds of use, by the prices that AWS KMS asks for them.

Prices themselves are no business of the server: who writes the bill brings the list.
"""

from __future__ import annotations

from datetime import UTC, datetime
from enum import Enum, StrEnum

from kagitori_server.model.key_specs import KEY_SPECS
from kagitori_server.model.keys import KeySpec

SECONDS_PER_HOUR = 3_600
HOURS_KEPT = 400 * 24
"""For how long requests are known by the hour. More than the longest time that can be asked for at once."""


class UsageType(StrEnum):
    """Kinds of use. Requests are counted one by one; keys, and their rotated versions, by the started hour."""

    SYMMETRIC = "Requests-Symmetric"
    """Calls with symmetric and HMAC keys, and all calls that aren't cryptographic."""
    RSA_2048 = "Requests-RSA_2048"
    ASYMMETRIC = "Requests-Asymmetric"
    """Cryptographic calls with asymmetric keys of all other specs."""
    ECC_DATA_KEY_PAIR = "Requests-DataKeyPair-ECC"
    RSA_DATA_KEY_PAIR = "Requests-DataKeyPair-RSA"
    KEY = "KeyHours"
    """Of a key, however many versions its material has."""
    FIRST_ROTATION = "KeyHours-FirstRotation"
    """Of the version that came by a key's first rotation, on top of the key itself."""
    SECOND_ROTATION = "KeyHours-SecondRotation"
    FURTHER_ROTATION = "KeyHours-FurtherRotation"
    """Of the third and every later rotation."""

    @property
    def unit(self) -> str:
        """`Requests` or `Hours`."""
        return "Hours" if self.value.startswith("KeyHours") else "Requests"


class Price(Enum):
    """How the price of a call is found."""

    MANAGEMENT = "the ordinary price, whatever key it is about"
    BY_KEY = "by the spec of the keys that it uses"
    BY_PAIR = "by the spec of the data key pair that it asks for"


class KeyLastUsageTrackingOperation(StrEnum):
    """The uses of a key that GetKeyLastUsage knows of (AWS `KeyLastUsageTrackingOperation`)."""

    DECRYPT = "Decrypt"
    DERIVE_SHARED_SECRET = "DeriveSharedSecret"  # noqa: S105 - the name of an operation
    ENCRYPT = "Encrypt"
    GENERATE_DATA_KEY = "GenerateDataKey"
    GENERATE_DATA_KEY_PAIR = "GenerateDataKeyPair"
    GENERATE_DATA_KEY_PAIR_WITHOUT_PLAINTEXT = "GenerateDataKeyPairWithoutPlaintext"
    GENERATE_DATA_KEY_WITHOUT_PLAINTEXT = "GenerateDataKeyWithoutPlaintext"
    GENERATE_MAC = "GenerateMac"
    RE_ENCRYPT = "ReEncrypt"
    SIGN = "Sign"
    VERIFY = "Verify"
    VERIFY_MAC = "VerifyMac"
    ENCAPSULATE = "Encapsulate"
    DECAPSULATE = "Decapsulate"


_DEAREST = (UsageType.ASYMMETRIC, UsageType.RSA_2048, UsageType.SYMMETRIC)


def requests_with(specs: tuple[KeySpec, ...]) -> UsageType:
    """The kind of a call that uses keys of these specs: that of the dearest; ordinary without any."""
    found = {_with_key(spec) for spec in specs}
    return next((kind for kind in _DEAREST if kind in found), UsageType.SYMMETRIC)


def requests_for_pair(pair_spec: str | None) -> UsageType:
    """The kind of a call for a data key pair of this spec; ordinary where the call named none."""
    if pair_spec is None:
        return UsageType.SYMMETRIC
    return UsageType.RSA_DATA_KEY_PAIR if pair_spec.startswith("RSA_") else UsageType.ECC_DATA_KEY_PAIR


def hours_of_rotation(number: int) -> UsageType:
    """The kind of the hours of a key (0) or of the version that its rotation of this number (from 1) brought."""
    kinds = (UsageType.KEY, UsageType.FIRST_ROTATION, UsageType.SECOND_ROTATION)
    return kinds[number] if number < len(kinds) else UsageType.FURTHER_ROTATION


def month_around(hour: int) -> tuple[int, int]:
    """The first hour of the month (UTC) that an hour lies in, and that of the next month. Hours count from 1970."""
    moment = datetime.fromtimestamp(hour * SECONDS_PER_HOUR, UTC)
    first = moment.replace(day=1, hour=0)
    following = first.replace(year=first.year + first.month // 12, month=first.month % 12 + 1)
    return int(first.timestamp()) // SECONDS_PER_HOUR, int(following.timestamp()) // SECONDS_PER_HOUR


def hours_end(now: float) -> int:
    """The hour from which on requests are known by the hour; before, by the month. The first of a month."""
    return month_around(max(0, int(now) // SECONDS_PER_HOUR - HOURS_KEPT))[0]


def _with_key(spec: KeySpec) -> UsageType:
    if spec is KeySpec.RSA_2048:
        return UsageType.RSA_2048
    return UsageType.ASYMMETRIC if KEY_SPECS[spec].asymmetric else UsageType.SYMMETRIC
