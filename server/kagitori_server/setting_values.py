"""What every setting is held against, and how texts become values."""

from __future__ import annotations

import math
import re
import typing
from typing import Any

_WHOLE = re.compile(r"-?[0-9]{1,18}")


class ConfigurationError(Exception):
    """The configuration can't be used; the message says which value and what it should be."""


def converted(name: str, wanted: Any, value: Any) -> Any:
    """The value as its type wants it; texts from the environment are read as that type."""
    if wanted is bool:
        if isinstance(value, str) and value.lower() in ("true", "false"):
            return value.lower() == "true"
        need(isinstance(value, bool), name, "true or false")
        return value
    if wanted is str:
        need(isinstance(value, str), name, "text")
        return value
    if typing.get_origin(wanted) is tuple:
        parts = [part.strip() for part in value.split(",")] if isinstance(value, str) else value
        need(isinstance(parts, list) and all(isinstance(part, str) for part in parts), name, "a list of texts")
        return tuple(part for part in parts if part)
    return _whole_number(name, value) if wanted is int else _decimal(name, value)


def _whole_number(name: str, value: Any) -> int:
    if isinstance(value, str) and _WHOLE.fullmatch(value):
        return int(value)
    need(type(value) is int, name, "a whole number")
    return int(value)


def _decimal(name: str, value: Any) -> float:
    try:
        number = float(value) if type(value) in (int, float, str) else math.nan
    except (ValueError, OverflowError):
        number = math.nan
    need(math.isfinite(number), name, "a number")
    return number


def is_address(address: str) -> bool:
    host, colon, port = address.rpartition(":")
    return bool(host and colon) and port.isascii() and port.isdigit() and int(port) <= 65535


def need(condition: object, name: str, wanted: str) -> None:
    if not condition:
        raise ConfigurationError(f"{name} must be {wanted}")
