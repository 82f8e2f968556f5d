"""Policy variables: `${key}` and `${key, 'default'}` in a policy text, and the escapes `${*}`, `${?}`, `${$}`.

Only documents of version 2012-10-17 have them. What a variable brings in is data: its stars match stars.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from kagitori_server.policy.context import Context
from kagitori_server.policy.globs import Tokens, Wild, tokenize

_KEY = re.compile(r"[A-Za-z0-9-]+:[^\s${}*?'\",](?:[^${}*?'\",]*[^\s${}*?'\",])?")
_ESCAPES = frozenset("*?$")


class VariableError(ValueError):
    """A policy variable is malformed, or stands where the language has none."""


@dataclass(frozen=True, slots=True)
class Variable:
    """A reference to a single-valued condition key; `key` is in lower case, as contexts have it."""

    key: str
    default: str | None

    def resolve(self, context: Context) -> str | None:
        """The text to put in its place; None when there is none, or when the request has several."""
        value = context.get(self.key)
        if value is None or value == ():
            return self.default
        return value if isinstance(value, str) else None


Pieces = Sequence[str | Wild | Variable]
"""A policy text taken apart."""


def read_pieces(text: str, *, variables: bool, wildcards: bool) -> tuple[str | Wild | Variable, ...]:
    """Take a text apart. Without `variables` (the first version of the language) `${` is plain text.

    VariableError for a variable that is not closed or has no valid form.
    """
    pieces: list[str | Wild | Variable] = []
    start = 0
    while variables and (opening := text.find("${", start)) >= 0:
        pieces.extend(_literal(text[start:opening], wildcards=wildcards))
        closing = text.find("}", opening)
        if closing < 0:
            raise VariableError("a policy variable is not closed")
        body = text[opening + 2 : closing]
        pieces.append(body if body in _ESCAPES else _variable(body))
        start = closing + 1
    pieces.extend(_literal(text[start:], wildcards=wildcards))
    return tuple(pieces)


def _literal(text: str, *, wildcards: bool) -> Iterable[str | Wild]:
    if wildcards:
        return tokenize(text)
    return (text,) if text else ()


def _variable(body: str) -> Variable:
    key, comma, quoted = body.partition(",")
    key, quoted = key.strip(), quoted.strip()
    if not _KEY.fullmatch(key):
        raise VariableError("a policy variable has the form ${vendor:key}")
    if not comma:
        return Variable(key.lower(), None)
    if len(quoted) < 2 or quoted[0] != "'" or quoted[-1] != "'" or "'" in quoted[1:-1]:
        raise VariableError("the default of a policy variable stands in single quotes")
    return Variable(key.lower(), quoted[1:-1])


def static_tokens(pieces: Pieces) -> Tokens | None:
    """The pieces as a pattern, None when there is a variable among them."""
    tokens: list[str | Wild] = []
    for piece in pieces:
        if isinstance(piece, Variable):
            return None
        tokens.append(piece)
    return tokens


def resolve_tokens(pieces: Pieces, context: Context) -> Tokens | None:
    """The pieces with values in place of the variables, None when one has none."""
    tokens: list[str | Wild] = []
    for piece in pieces:
        if isinstance(piece, Variable):
            value = piece.resolve(context)
            if value is None:
                return None
            tokens.append(value)
        else:
            tokens.append(piece)
    return tokens


def resolve_text(pieces: Pieces, context: Context) -> str | None:
    """As `resolve_tokens`, of pieces without wildcards."""
    tokens = resolve_tokens(pieces, context)
    return None if tokens is None else "".join(map(str, tokens))
