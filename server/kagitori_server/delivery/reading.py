"""Reading what was delivered, strictly: one gzip member and nothing behind it, JSON without repeated members."""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from typing import Any

UNPACKED_MAX_BYTES = 256 * 1024 * 1024
"""Longest content of a log file or digest."""

_GZIP = 16 + zlib.MAX_WBITS


class Unreadable(Exception):
    """A file isn't what it should be; the message says how."""


def unpack(content: bytes) -> bytes:
    """What is in a file of exactly one gzip member. Raises Unreadable."""
    unpacker = zlib.decompressobj(_GZIP)
    try:
        text = unpacker.decompress(content, UNPACKED_MAX_BYTES)
    except zlib.error:
        raise Unreadable("it is not in the gzip format") from None
    if not unpacker.eof:
        cut = len(text) < UNPACKED_MAX_BYTES
        raise Unreadable("it is cut off" if cut else f"it holds more than {UNPACKED_MAX_BYTES} bytes")
    if unpacker.unused_data:
        # gzip(1) goes on with a second member; AWS's validator takes no notice of what follows in a digest.
        raise Unreadable("something stands behind its gzip member")
    return text


def parse(text: bytes) -> dict[str, Any]:
    """The JSON object that a file consists of. Raises Unreadable."""
    try:
        found = json.loads(text, object_pairs_hook=_distinct)
    except (ValueError, RecursionError):
        raise Unreadable("it is not JSON in which no member is repeated") from None
    if not isinstance(found, dict):
        raise Unreadable("it is not a JSON object")
    return found


def _distinct(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("repeated")
    return found
