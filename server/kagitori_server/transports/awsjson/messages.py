"""Requests and responses as codecs know them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Received(NamedTuple):
    """What of a request its codec reads."""

    body: bytes
    parameters: Sequence[tuple[str, str]]
    """Of the query string and of a form body, decoded, in this order; without those of a signature."""

    def __repr__(self) -> str:
        """Without what may be secret."""
        return f"Received({len(self.body)} bytes)"


class Written(NamedTuple):
    """A response."""

    status: int
    headers: tuple[tuple[bytes, bytes], ...]
    """Those of this response beside the ones that every response has."""
    body: bytes

    def __repr__(self) -> str:
        """Without the body, which may hold a plaintext."""
        return f"Written({self.status}, {len(self.body)} bytes)"
