"""Numbers, dates, truth values, addresses and binary values, as conditions and requests write them.

Every reader is strict and bounded; it answers None for what has not its form.
"""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache

_NUMBER = re.compile(r"[+-]?[0-9]{1,32}(?:\.[0-9]{1,32})?")
_EPOCH = re.compile(r"[0-9]{5,15}(?:\.[0-9]{1,9})?")
_DATE = re.compile(
    r"([0-9]{4})(?:-([0-9]{2})(?:-([0-9]{2})"
    r"(?:T([0-9]{2}):([0-9]{2})(?::([0-9]{2})(\.[0-9]{1,9})?)?(?:Z|([+-])([0-9]{2}):?([0-9]{2})))?)?)?"
)
_NETWORK = re.compile(r"([0-9A-Fa-f:.]{2,45})(?:/([0-9]{1,3}))?")

_DAY = 86_400
_EPOCH_DAY = dt.date(1970, 1, 1).toordinal()


def read_number(text: str) -> Decimal | None:
    """A plain decimal of up to 32 digits on either side of the point; no exponent."""
    return Decimal(text) if _NUMBER.fullmatch(text) else None


def read_date(text: str) -> Decimal | None:
    """Seconds since 1970 of a date in a profile of ISO 8601 (W3C NOTE-datetime), or of such a number itself.

    A time of day needs a zone. Four digits are a year.
    """
    if _EPOCH.fullmatch(text):
        return Decimal(text)
    found = _DATE.fullmatch(text)
    if found is None:
        return None
    year, month, day = (int(group or 1) for group in found.group(1, 2, 3))
    hour, minute, second, zone_hour, zone_minute = (int(group or 0) for group in found.group(4, 5, 6, 9, 10))
    if hour > 23 or max(minute, second, zone_minute) > 59 or zone_hour > 23:
        return None
    try:
        days = dt.date(year, month, day).toordinal() - _EPOCH_DAY
    except ValueError:
        return None
    zone = (zone_hour * 60 + zone_minute) * (-60 if found[8] == "-" else 60)
    whole = days * _DAY + hour * 3600 + minute * 60 + second - zone
    return whole + Decimal(found[7] or 0)


def read_truth(text: str) -> str | None:
    """`true` or `false`, from any case of letters."""
    folded = text.lower()
    return folded if folded in ("true", "false") else None


def read_binary(text: str) -> bytes | None:
    """The bytes of a Base64 text with its padding."""
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None


@lru_cache(maxsize=1024)
def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    # Longer than any address; what follows a % is the name of an interface, and no part of the address.
    if len(text) > 64:
        return None
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    # A socket that serves both families shows IPv4 callers as ::ffff:a.b.c.d.
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


@dataclass(frozen=True, slots=True)
class Networks:
    """Address ranges, sought by the bits that all addresses of a range share."""

    by_shape: tuple[tuple[int, int, frozenset[int]], ...]
    """Version, number of bits that don't count, and what the others are in each network."""

    @classmethod
    def of(cls, texts: Iterable[str]) -> Networks | None:
        """Read addresses and CIDR ranges (bits beyond the prefix don't count); None when one is neither."""
        shapes: dict[tuple[int, int], set[int]] = {}
        for text in texts:
            found = _NETWORK.fullmatch(text)
            address = None if found is None else _address(found[1])
            if found is None or address is None:
                return None
            # Of an IPv4-mapped range the prefix counts the 96 bits before the IPv4 address.
            skipped = 96 if address.version == 4 and ":" in found[1] else 0
            prefix = address.max_prefixlen if found[2] is None else int(found[2]) - skipped
            if not 0 <= prefix <= address.max_prefixlen:
                return None
            free = address.max_prefixlen - prefix
            shapes.setdefault((address.version, free), set()).add(int(address) >> free)
        return cls(tuple((version, free, frozenset(heads)) for (version, free), heads in shapes.items()))

    def hold(self, text: str) -> bool:
        """Whether the text is an address in one of the ranges."""
        address = _address(text)
        if address is None:
            return False
        number = int(address)
        return any(
            address.version == version and number >> free in heads for version, free, heads in self.by_shape
        )
