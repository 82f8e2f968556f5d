"""Enumerations: numbers of the contract <-> AWS's values.

A value of the contract is the enum's name in upper snake case and AWS's value in upper case, so `PendingDeletion`
is KEY_STATE_PENDINGDELETION. The way back needs the enumeration's StrEnum for its capitals.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Callable, Mapping
from typing import Any

from google.protobuf.descriptor import FieldDescriptor

from kagitori_server.transports.grpc.mismatch import ContractMismatch

_WORDS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_NOT_ALPHANUMERIC = re.compile(r"[^A-Z0-9]")


def enum_reader(field: FieldDescriptor, hint: Any, *, unspecified: str | None) -> Callable[[int], str | None]:
    """number -> AWS value, as text; `unspecified` for zero. Raises ContractMismatch.

    A number that isn't listed becomes its digits, which no enumeration allows.
    """
    texts: dict[int, str | None] = dict(_texts(field, hint))
    texts[0] = unspecified

    def read(number: int) -> str | None:
        return texts[number] if number in texts else str(number)

    return read


def enum_writer(field: FieldDescriptor, hint: Any) -> Callable[[str], int]:
    """AWS value -> number. Raises ContractMismatch; the result raises KeyError for what isn't a value."""
    numbers = {text: number for number, text in _texts(field, hint).items()}
    return numbers.__getitem__


def _enumeration(field: FieldDescriptor, hint: Any) -> type[enum.StrEnum] | None:
    if hint is str:
        return None
    if isinstance(hint, type) and issubclass(hint, enum.StrEnum):
        return hint
    raise ContractMismatch(f"{field.full_name} can't hold {hint}.")


def _texts(field: FieldDescriptor, hint: Any) -> Mapping[int, str]:
    """number -> AWS value, without zero; what the StrEnum doesn't have keeps the contract's capitals."""
    values = _enumeration(field, hint)
    descriptor = field.enum_type
    if descriptor is None:
        raise ContractMismatch(f"{field.full_name} is no enumeration.")
    prefix = _WORDS.sub("_", descriptor.name).upper() + "_"
    by_number = {
        value.number: value.name.removeprefix(prefix) for value in descriptor.values if value.number != 0
    }
    if values is None:
        return by_number
    numbers = {_plain(text): number for number, text in by_number.items()}
    texts = dict(by_number)
    for item in values:
        number = numbers.get(_plain(item.value))
        if number is None:
            raise ContractMismatch(f"{descriptor.full_name} has no value for {values.__name__}.{item.name}.")
        texts[number] = item.value
    return texts


def _plain(text: str) -> str:
    return _NOT_ALPHANUMERIC.sub("", text.upper())
