"""The two wildcards of the policy language, `*` (any run, also empty) and `?` (one character), compiled once.

A pattern is a sequence of tokens, so that a star which came in as data (from a policy variable, or escaped as
`${*}`) stays a star and never becomes a wildcard. Matching never backtracks across a `*`: the leftmost place of
each piece between stars is final, which is enough because a later star can stretch over whatever follows. Where
trying a piece at every place could be slow, all places are tried at once (`Places`).
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from kagitori_server.policy.places import Places


class Wild(enum.Enum):
    """A wildcard in a pattern."""

    RUN = "*"
    ONE = "?"


Tokens = Sequence[str | Wild]
"""A pattern: literal texts and wildcards. No two literal texts need to be neighbours."""

_WILDS = {wild.value: wild for wild in Wild}
_SPLIT = re.compile(r"([*?])")
_LONG_TEXT = 1_024
"""In longer texts no piece but a single character is sought by trying one place after the other."""
_PAIRS = 64
"""Pairs of a pattern and a text, above which the texts are put in a row and tried all at once."""
_INDEXED = 4
"""Texts whose places are remembered; the conditions of a decision ask about the same few."""


def tokenize(pattern: str) -> tuple[str | Wild, ...]:
    """Read `*` and `?` in a pattern as wildcards."""
    return tuple(_WILDS.get(piece, piece) for piece in _SPLIT.split(pattern) if piece)


def is_literal(tokens: Tokens) -> bool:
    """Whether the pattern is nothing but literal text."""
    return not any(isinstance(token, Wild) for token in tokens)


@lru_cache(maxsize=_INDEXED)
def _places(texts: tuple[str, ...]) -> Places:
    return Places(texts)


class _Piece:
    """What stands between two stars: literal texts, each at its distance from the beginning of the piece."""

    __slots__ = ("length", "literals")

    def __init__(self, tokens: Tokens) -> None:
        length, literals = 0, []
        for token in tokens:
            if isinstance(token, Wild):
                length += 1
            else:
                literals.append((length, token))
                length += len(token)
        self.length, self.literals = length, tuple(literals)

    def fits(self, text: str, start: int) -> bool:
        """Whether it lies there, in a text that is long enough."""
        literals = self.literals
        return not literals or all(text.startswith(literal, start + distance) for distance, literal in literals)

    def find(self, text: str, start: int, end: int) -> int:
        """Where it lies leftmost wholly within the bounds, or -1."""
        if not self.literals:
            return start if start + self.length <= end else -1
        if len(self.literals) > 1 or (self.length > 1 and len(text) > _LONG_TEXT):
            found = _places((text,)).find(self.literals, start)
            return found if found + self.length <= end else -1
        (distance, literal), = self.literals
        # Blanks behind the literal text have to be within the bounds too.
        found = text.find(literal, start + distance, end - self.length + distance + len(literal))
        return found if found < 0 else found - distance


class Glob:
    """One pattern; case matters, so callers fold both sides where it should not."""

    __slots__ = ("_floating", "_head", "_least", "_starred", "_tail", "tokens")

    def __init__(self, tokens: Tokens) -> None:
        self.tokens = tokens
        pieces: list[list[str | Wild]] = [[]]
        for token in tokens:
            if token is Wild.RUN:
                pieces.append([])
            else:
                pieces[-1].append(token)
        head, *rest = pieces
        self._starred = bool(rest)
        self._head, self._tail = _Piece(head), _Piece(rest[-1] if rest else ())
        self._floating = tuple(_Piece(piece) for piece in rest[:-1] if piece)
        self._least = self._head.length + self._tail.length + sum(piece.length for piece in self._floating)

    def __repr__(self) -> str:
        return f"Glob({self.pattern!r})"

    @property
    def pattern(self) -> str:
        """The pattern as one would write it."""
        return "".join(token.value if isinstance(token, Wild) else token for token in self.tokens)

    @classmethod
    def of(cls, pattern: str) -> Glob:
        """Compile a pattern in which `*` and `?` are wildcards."""
        return cls(tokenize(pattern))

    def matches(self, text: str) -> bool:
        """Whether the pattern covers the whole text."""
        length = len(text)
        if length < self._least or (length > self._least and not self._starred):
            return False
        end = length - self._tail.length
        if not self._head.fits(text, 0) or not self._tail.fits(text, end):
            return False
        position = self._head.length
        for piece in self._floating:
            position = piece.find(text, position, end)
            if position < 0:
                return False
            position += piece.length
        return True

    def matches_any(self, texts: tuple[str, ...]) -> bool:
        """Whether the pattern covers one of the texts, which should be the same for many patterns."""
        places = _places(texts)
        return places.reach_an_end(places.covered(_steps(self.tokens)))


@dataclass(frozen=True, slots=True)
class GlobSet:
    """Patterns of which one has to match, sorted by how cheaply they are tried."""

    exact: frozenset[str] = frozenset()
    prefixes: tuple[str, ...] = ()
    globs: tuple[Glob, ...] = ()

    @classmethod
    def of(cls, patterns: Iterable[str]) -> GlobSet:
        """Compile patterns in which `*` and `?` are wildcards."""
        return cls.of_tokens(map(tokenize, patterns))

    @classmethod
    def of_tokens(cls, patterns: Iterable[Tokens]) -> GlobSet:
        """Compile the patterns; trailing stars alone make a prefix, so `*` is the empty prefix."""
        exact: set[str] = set()
        prefixes: set[str] = set()
        globs: dict[tuple[str | Wild, ...], Glob] = {}
        for tokens in patterns:
            stem = list(tokens)
            while stem and stem[-1] is Wild.RUN:
                stem.pop()
            if not is_literal(stem):
                globs.setdefault(tuple(tokens), Glob(tokens))
            else:
                (exact if len(stem) == len(tokens) else prefixes).add("".join(map(str, stem)))
        return cls(frozenset(exact), tuple(sorted(prefixes)), tuple(globs.values()))

    def matches(self, text: str) -> bool:
        """Whether any of the patterns covers the whole text."""
        if text in self.exact or text.startswith(self.prefixes):
            return True
        return bool(self.globs) and any(glob.matches(text) for glob in self.globs)

    __call__ = matches

    def each(self, texts: tuple[str, ...]) -> Iterable[bool]:
        """As `matches`, for each of the texts."""
        patterns = len(self.globs) + len(self.prefixes)
        if patterns * len(texts) <= _PAIRS:
            return map(self.matches, texts)
        places = _places(texts)
        covered = 0
        for prefix in self.prefixes:
            covered |= places.covered((prefix, None))
        for glob in self.globs:
            covered |= places.covered(_steps(glob.tokens))
        return (text in self.exact or found for text, found in zip(texts, places.ends_in(covered), strict=True))


def _steps(tokens: Tokens) -> Iterable[str | int | None]:
    """A pattern as `Places.covered` takes it."""
    for token in tokens:
        yield token if isinstance(token, str) else None if token is Wild.RUN else 1
