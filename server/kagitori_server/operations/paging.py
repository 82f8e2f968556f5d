"""Pages of lists: markers that say where the next page begins, and nothing else.

A marker is the name of the list and the last item given, so a marker of one list is refused by another.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from typing import TypeVar

from kagitori_server.model.errors import InvalidMarkerException

Item = TypeVar("Item")


def encode_marker(listing: str, last: str) -> str:
    """The marker of the page after the item `last` in `listing`."""
    return base64.urlsafe_b64encode(f"{listing}\n{last}".encode()).decode().rstrip("=")


def decode_marker(listing: str, marker: str | None) -> str:
    """The item after which the page begins; empty for the first page. Raises InvalidMarkerException."""
    if marker is None:
        return ""
    try:
        padded = marker + "=" * (-len(marker) % 4)
        name, last = base64.b64decode(padded, altchars=b"-_", validate=True).decode().split("\n", 1)
    except (binascii.Error, UnicodeError, ValueError):
        raise InvalidMarkerException("The marker is not one that this operation returned.") from None
    if name != listing or "\x00" in last or encode_marker(listing, last) != marker:
        raise InvalidMarkerException("The marker is not one that this operation returned.")
    return last


def cut(items: Sequence[Item], limit: int) -> tuple[tuple[Item, ...], bool]:
    """The first `limit` of items that were fetched with one to spare, and whether there are more."""
    return tuple(items[:limit]), len(items) > limit
