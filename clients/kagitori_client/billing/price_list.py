"""Price lists: TOML files, read strictly, in decimal numbers throughout."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from importlib import resources
from pathlib import Path
from typing import Any

from kagitori_client.errors import ConfigurationError

REQUEST_KINDS: Mapping[str, str] = {
    "symmetric": "Requests-Symmetric",
    "rsa_2048": "Requests-RSA_2048",
    "asymmetric": "Requests-Asymmetric",
    "ecc_data_key_pair": "Requests-DataKeyPair-ECC",
    "rsa_data_key_pair": "Requests-DataKeyPair-RSA",
}
"""Member of a price list -> kind of use, as GetUsage calls it. Prices are of 10,000 requests."""

KEY_KINDS: Mapping[str, str] = {
    "key": "KeyHours",
    "first_rotation": "KeyHours-FirstRotation",
    "second_rotation": "KeyHours-SecondRotation",
    "further_rotation": "KeyHours-FurtherRotation",
}
"""The same for keys. Prices are of a month."""

MAX_BYTES = 65_536
MAX_PRICE = Decimal(1_000_000)
MAX_PLACES = 10
MAX_FREE_REQUESTS = 10**12

_MAX_NAME = 100
_CURRENCY = re.compile(r"[A-Z]{3}")
_FORMAT = 1


@dataclass(frozen=True, slots=True)
class PriceList:
    """What use costs. Amounts are in `currency`, three letters of ISO 4217."""

    name: str
    currency: str
    prices: Mapping[str, Decimal]
    """Of every kind of use: of a month for keys, of 10,000 for requests."""
    free_requests: int
    """Of each account and month, over all Regions."""
    free_kinds: tuple[str, ...]
    """The kinds of use to which they apply, in the order in which they are used up."""


def published_text() -> str:
    """The price list that comes with the program, to be copied and changed."""
    return resources.files(__package__).joinpath("price-list.toml").read_text(encoding="utf-8")


def published() -> PriceList:
    """The price list that comes with the program."""
    return parse_price_list(published_text().encode(), "the published price list")


def read_price_list(path: Path) -> PriceList:
    """The price list in a file. Raises ConfigurationError, OSError."""
    with path.open("rb") as file:
        content = file.read(MAX_BYTES + 1)
    return parse_price_list(content, str(path))


def parse_price_list(content: bytes, origin: str) -> PriceList:
    """The price list in these bytes; `origin` is what messages call it. Raises ConfigurationError."""
    if len(content) > MAX_BYTES:
        raise ConfigurationError(f"{origin} is larger than {MAX_BYTES} bytes")
    try:
        members = tomllib.loads(content.decode("utf-8"), parse_float=Decimal)
    except (ValueError, ArithmeticError, RecursionError):
        raise ConfigurationError(f"{origin} is not TOML in UTF-8") from None
    read = _Members(members, origin)
    read.only({"format", "name", "currency", "keys", "requests", "free"})
    if type(members["format"]) is not int or members["format"] != _FORMAT:
        raise read.refusal("format", f"{_FORMAT}")
    keys, requests, free = read.table("keys"), read.table("requests"), read.table("free")
    keys.only(set(KEY_KINDS))
    requests.only(set(REQUEST_KINDS))
    free.only({"requests", "kinds"})
    return PriceList(
        name=read.name("name"),
        currency=read.currency("currency"),
        prices={
            **{kind: keys.price(member) for member, kind in KEY_KINDS.items()},
            **{kind: requests.price(member) for member, kind in REQUEST_KINDS.items()},
        },
        free_requests=free.count("requests"),
        free_kinds=free.kinds("kinds"),
    )


class _Members:
    """A table of a price list, from which each member is taken as what it must be."""

    def __init__(self, members: Mapping[str, Any], origin: str, prefix: str = "") -> None:
        self._members = members
        self._origin = origin
        self._prefix = prefix

    def refusal(self, member: str, wanted: str) -> ConfigurationError:
        return ConfigurationError(f"{self._origin}: {self._prefix}{member} must be {wanted}")

    def only(self, wanted: set[str]) -> None:
        """Exactly these members are there."""
        for member in sorted(self._members.keys() - wanted):
            raise ConfigurationError(f"{self._origin}: {self._prefix}{member[:_MAX_NAME]} is no member of a price list")
        for member in sorted(wanted - self._members.keys()):
            raise ConfigurationError(f"{self._origin}: {self._prefix}{member} is missing")

    def table(self, member: str) -> _Members:
        value = self._members[member]
        if not isinstance(value, dict):
            raise self.refusal(member, "a table")
        return _Members(value, self._origin, f"{member}.")

    def price(self, member: str) -> Decimal:
        value = self._members[member]
        if type(value) is int:
            value = Decimal(value) if abs(value) <= MAX_PRICE else MAX_PRICE + 1
        if not isinstance(value, Decimal) or not value.is_finite() or value.is_signed() or value > MAX_PRICE:
            raise self.refusal(member, f"a number from 0 to {MAX_PRICE}")
        places = value.as_tuple().exponent
        if not isinstance(places, int) or places < -MAX_PLACES:
            raise self.refusal(member, f"a number of at most {MAX_PLACES} decimal places")
        return value

    def count(self, member: str) -> int:
        value = self._members[member]
        if type(value) is not int or not 0 <= value <= MAX_FREE_REQUESTS:
            raise self.refusal(member, f"a whole number from 0 to {MAX_FREE_REQUESTS}")
        return value

    def name(self, member: str) -> str:
        value = self._members[member]
        if not isinstance(value, str) or not 1 <= len(value) <= _MAX_NAME or not value.isprintable():
            raise self.refusal(member, f"a text of 1 to {_MAX_NAME} printable characters")
        return value

    def currency(self, member: str) -> str:
        value = self._members[member]
        if not isinstance(value, str) or not _CURRENCY.fullmatch(value):
            raise self.refusal(member, "three capital letters, such as USD")
        return value

    def kinds(self, member: str) -> tuple[str, ...]:
        value = self._members[member]
        if not isinstance(value, list) or not all(isinstance(item, str) and item in REQUEST_KINDS for item in value):
            raise self.refusal(member, f"a list of {', '.join(REQUEST_KINDS)}")
        if len(set(value)) != len(value):
            raise self.refusal(member, "a list without repetitions")
        return tuple(REQUEST_KINDS[item] for item in value)
