"""What a request says about itself: the condition context.

A context maps the name of a condition key, wholly in lower case (`aws:principalarn`, `aws:principaltag/team`,
`kms:encryptioncontext:app`), to its value: text for a single-valued key, a tuple of texts for a list-valued one.
Values keep their case. Booleans are `true` or `false`, numbers plain decimals, dates ISO 8601 with a zone or
seconds since 1970, ARNs and addresses as usual, binary values Base64.

A key that the request doesn't have is left out. An empty tuple counts as absent. A tuple under a single-valued
key says that the request gave the key several values, as two encryption context names that differ only in case
do; `make_context` makes it so. Values are asked for by `get`, one key at a time and only when a statement that
fits otherwise needs them, so a Mapping may compute them lazily; it must not change its answers during a call.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

ContextValue = str | tuple[str, ...]
Context = Mapping[str, ContextValue]


def make_context(entries: Iterable[tuple[str, ContextValue]]) -> dict[str, ContextValue]:
    """A context from names in any case. Values of names that fold to the same are put together in a tuple."""
    context: dict[str, ContextValue] = {}
    for name, value in entries:
        key = name.lower()
        before = context.get(key)
        context[key] = value if before is None else _values(before) + _values(value)
    return context


def _values(value: ContextValue) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else value
