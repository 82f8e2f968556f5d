"""JSON as a policy document may be written: bounded, without repeated members, and nothing but JSON.

Python's own reader keeps the last of repeated members, accepts NaN and recurses as deep as the text asks; a
policy that two readers understand differently is no policy.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import NoReturn

MAX_NESTING = 10
"""The deepest valid document has six levels (a list of condition values); deeper is no policy."""

_STRUCTURE = re.compile(r'\\.|["\[\]{}]', re.DOTALL)


class PolicyJsonError(ValueError):
    """The text is not acceptable JSON; the message says why without quoting it."""


@dataclass(frozen=True, slots=True)
class JsonNumber:
    """A number as written. Never converted here, so its length costs nothing."""

    literal: str


def read_json(text: str) -> object:
    """Parse into dict, list, str, bool, None and `JsonNumber`. Raises PolicyJsonError."""
    _check_nesting(text)
    try:
        return json.loads(
            text,
            object_pairs_hook=_object,
            parse_int=JsonNumber,
            parse_float=JsonNumber,
            parse_constant=_constant,
        )
    except json.JSONDecodeError as error:
        raise PolicyJsonError(f"it is not JSON (line {error.lineno}, column {error.colno})") from error


def _check_nesting(text: str) -> None:
    depth = 0
    in_string = False
    for token in _STRUCTURE.finditer(text):
        char = token.group()
        if char == '"':
            in_string = not in_string
        elif in_string or len(char) > 1:
            continue
        elif char in "[{":
            depth += 1
            if depth > MAX_NESTING:
                raise PolicyJsonError("it is nested too deeply")
        else:
            depth -= 1


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise PolicyJsonError("a member name is repeated")
    return members


def _constant(_: str) -> NoReturn:
    raise PolicyJsonError("NaN and Infinity are not JSON")
