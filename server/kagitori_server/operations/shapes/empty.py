"""The answer of operations that answer nothing."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Empty:
    """No members."""


EMPTY = Empty()
