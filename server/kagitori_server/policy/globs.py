"""The two wildcards of the policy language, `*` (any run, also empty) and `?` (one character), compiled once.

Matching never backtracks across a `*`: the leftmost place of each piece between stars is final, which is
enough because a later star can stretch over whatever follows. Cost is bounded by text length times pattern
length.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

_Find = Callable[[str, int, int], int]
"""`(text, start, end)` → where the piece lies leftmost wholly within the bounds, or -1."""


def has_wildcard(pattern: str) -> bool:
    """Whether the pattern is anything but literal text."""
    return "*" in pattern or "?" in pattern


def _finder(piece: str) -> _Find:
    if "?" not in piece:
        def find_literal(text: str, start: int, end: int) -> int:
            return text.find(piece, start, end)
        return find_literal
    expression = re.compile("".join("." if char == "?" else re.escape(char) for char in piece), re.DOTALL)

    def find_with_blanks(text: str, start: int, end: int) -> int:
        found = expression.search(text, start, end)
        return -1 if found is None else found.start()
    return find_with_blanks


class Glob:
    """One pattern; case matters, so callers fold both sides where it should not."""

    __slots__ = (
        "_floating", "_head", "_head_length", "_least", "_starred", "_tail", "_tail_length", "pattern",
    )

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern
        head, *rest = pattern.split("*")
        tail = rest[-1] if rest else ""
        floating = [piece for piece in rest[:-1] if piece]
        self._starred = bool(rest)
        self._head, self._head_length = _finder(head), len(head)
        self._tail, self._tail_length = _finder(tail), len(tail)
        self._floating = tuple((_finder(piece), len(piece)) for piece in floating)
        self._least = len(head) + len(tail) + sum(map(len, floating))

    def __repr__(self) -> str:
        return f"Glob({self.pattern!r})"

    def matches(self, text: str) -> bool:
        """Whether the pattern covers the whole text."""
        length = len(text)
        if length < self._least or (length > self._least and not self._starred):
            return False
        end = length - self._tail_length
        if self._head(text, 0, self._head_length) != 0 or self._tail(text, end, length) != end:
            return False
        position = self._head_length
        for find, size in self._floating:
            position = find(text, position, end)
            if position < 0:
                return False
            position += size
        return True


@dataclass(frozen=True, slots=True)
class GlobSet:
    """Patterns of which one has to match, sorted by how cheaply they are tried."""

    exact: frozenset[str] = frozenset()
    prefixes: tuple[str, ...] = ()
    globs: tuple[Glob, ...] = ()

    @classmethod
    def of(cls, patterns: Iterable[str]) -> GlobSet:
        """Compile the patterns; a trailing `*` alone makes a prefix, so `*` is the empty prefix."""
        exact: set[str] = set()
        prefixes: set[str] = set()
        globs: dict[str, Glob] = {}
        for pattern in patterns:
            stem = pattern.rstrip("*")
            if has_wildcard(stem):
                globs.setdefault(pattern, Glob(pattern))
            elif stem == pattern:
                exact.add(pattern)
            else:
                prefixes.add(stem)
        return cls(frozenset(exact), tuple(sorted(prefixes)), tuple(globs.values()))

    def matches(self, text: str) -> bool:
        """Whether any of the patterns covers the whole text."""
        if text in self.exact or text.startswith(self.prefixes):
            return True
        return bool(self.globs) and any(glob.matches(text) for glob in self.globs)
