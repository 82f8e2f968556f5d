"""The two wildcards of the policy language, `*` (any run, also empty) and `?` (one character), compiled once.

A pattern is a sequence of tokens, so that a star which came in as data (from a policy variable, or escaped as
`${*}`) stays a star and never becomes a wildcard. Matching never backtracks across a `*`: the leftmost place of
each piece between stars is final, which is enough because a later star can stretch over whatever follows.
Patterns that are costly even so are followed all at once, one step per character of the text (`GlobChorus`).
"""

from __future__ import annotations

import enum
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass


class Wild(enum.Enum):
    """A wildcard in a pattern."""

    RUN = "*"
    ONE = "?"


Tokens = Sequence[str | Wild]
"""A pattern: literal texts and wildcards. No two literal texts need to be neighbours."""

_Find = Callable[[str, int, int], int]
"""`(text, start, end)` → where the piece lies leftmost wholly within the bounds, or -1."""

_Fits = Callable[[str, int], bool]
"""`(text, start)` → whether the piece lies there."""

_WILDS = {wild.value: wild for wild in Wild}
_SPLIT = re.compile(r"([*?])")


def tokenize(pattern: str) -> tuple[str | Wild, ...]:
    """Read `*` and `?` in a pattern as wildcards."""
    return tuple(_WILDS.get(piece, piece) for piece in _SPLIT.split(pattern) if piece)


def is_literal(tokens: Tokens) -> bool:
    """Whether the pattern is nothing but literal text."""
    return not any(isinstance(token, Wild) for token in tokens)


def _split_at_runs(tokens: Tokens) -> list[list[str | Wild]]:
    pieces: list[list[str | Wild]] = [[]]
    for token in tokens:
        if token is Wild.RUN:
            pieces.append([])
        else:
            pieces[-1].append(token)
    return pieces


def _length(piece: Tokens) -> int:
    return sum(1 if isinstance(token, Wild) else len(token) for token in piece)


def _expression(piece: Tokens) -> re.Pattern[str]:
    written = "".join("." if isinstance(token, Wild) else re.escape(token) for token in piece)
    return re.compile(written, re.DOTALL)


def _finder(piece: Tokens) -> _Find:
    if is_literal(piece):
        literal = "".join(map(str, piece))
        return lambda text, start, end: text.find(literal, start, end)
    expression = _expression(piece)

    def find_with_blanks(text: str, start: int, end: int) -> int:
        found = expression.search(text, start, end)
        return -1 if found is None else found.start()
    return find_with_blanks


def _anchored(piece: Tokens) -> _Fits:
    if is_literal(piece):
        literal = "".join(map(str, piece))
        return lambda text, start: text.startswith(literal, start)
    expression = _expression(piece)
    return lambda text, start: expression.match(text, start) is not None


class Glob:
    """One pattern; case matters, so callers fold both sides where it should not."""

    __slots__ = (
        "_floating", "_head", "_head_length", "_least", "_starred", "_tail", "_tail_length", "tokens", "work",
    )

    def __init__(self, tokens: Tokens) -> None:
        self.tokens = tokens
        head, *rest = _split_at_runs(tokens)
        tail = rest[-1] if rest else []
        floating = [piece for piece in rest[:-1] if piece]
        self._starred = bool(rest)
        self._head, self._head_length = _anchored(head), _length(head)
        self._tail, self._tail_length = _anchored(tail), _length(tail)
        self._floating = tuple((_finder(piece), _length(piece)) for piece in floating)
        self._least = self._head_length + self._tail_length + sum(size for _, size in self._floating)
        self.work = sum(_length(piece) for piece in floating if not is_literal(piece))
        """Comparisons that each character of a text may cost: a piece with a `?` is tried at every place."""

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
        end = length - self._tail_length
        if not self._head(text, 0) or not self._tail(text, end):
            return False
        position = self._head_length
        for find, size in self._floating:
            position = find(text, position, end)
            if position < 0:
                return False
            position += size
        return True


class GlobChorus:
    """Many or long patterns, followed together: one step of big-integer arithmetic per character of the text.

    Every pattern owns a row of bits, one for each of its characters and one to start from; a bit is set while
    what stands before it is matched. A step costs the bits of all patterns divided by the width of a machine
    word (the extended Shift-And of Navarro and Raffinot), so no arrangement of wildcards makes it slow.
    """

    __slots__ = ("_accepts", "_anything", "_literals", "_loops", "_size", "_starts")

    def __init__(self, patterns: Iterable[Tokens]) -> None:
        starts: list[int] = []
        loops: list[int] = []
        anything: list[int] = []
        accepts: list[int] = []
        literals: dict[str, list[int]] = {}
        bit = -1
        for tokens in patterns:
            bit += 1
            starts.append(bit)
            for token in tokens:
                if token is Wild.RUN:
                    loops.append(bit)
                    continue
                for char in (None,) if isinstance(token, Wild) else token:
                    bit += 1
                    (anything if char is None else literals.setdefault(char, [])).append(bit)
            accepts.append(bit)
        self._size = bit + 1
        self._literals = literals
        self._starts, self._loops = _bits(starts, self._size), _bits(loops, self._size)
        self._anything, self._accepts = _bits(anything, self._size), _bits(accepts, self._size)

    def matches(self, text: str) -> bool:
        """Whether any of the patterns covers the whole text."""
        anything, loops = self._anything, self._loops
        masks = {
            char: anything | _bits(self._literals[char], self._size) if char in self._literals else anything
            for char in set(text)
        }
        state = self._starts
        for char in text:
            state = ((state << 1) & masks[char]) | (state & loops)
            if not state:
                return False
        return bool(state & self._accepts)


def _bits(places: Iterable[int], size: int) -> int:
    """The integer that has these bits set; `size` bounds them."""
    octets = bytearray(size // 8 + 1)
    for place in places:
        octets[place >> 3] |= 1 << (place & 7)
    return int.from_bytes(octets, "little")


_LONG_TEXT = 256
_COSTLY = 32
"""On texts longer than the one, patterns whose work is more than the other are followed all at once."""


@dataclass(frozen=True, slots=True)
class GlobSet:
    """Patterns of which one has to match, sorted by how cheaply they are tried."""

    exact: frozenset[str] = frozenset()
    prefixes: tuple[str, ...] = ()
    globs: tuple[Glob, ...] = ()
    chorus: GlobChorus | None = None
    """Stands for `globs` where they would be slow."""

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
        costly = sum(glob.work for glob in globs.values()) > _COSTLY
        return cls(
            frozenset(exact),
            tuple(sorted(prefixes)),
            tuple(globs.values()),
            GlobChorus(globs) if costly else None,
        )

    def matches(self, text: str) -> bool:
        """Whether any of the patterns covers the whole text."""
        if text in self.exact or text.startswith(self.prefixes):
            return True
        if self.chorus is not None and len(text) > _LONG_TEXT:
            return self.chorus.matches(text)
        return bool(self.globs) and any(glob.matches(text) for glob in self.globs)
