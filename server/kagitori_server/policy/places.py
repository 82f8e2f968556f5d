"""Where characters stand in texts, as sets of bits: a step along a pattern takes all places of all texts at once.

A step costs the bits of the texts divided by the width of a machine word (as in the Shift-And of Baeza-Yates and
Gonnet, along the pattern instead of the text), so no arrangement of wildcards and letters makes it slow.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

_LONG_LITERAL = 64
"""What is as long is remembered as a whole: a policy variable brings the same text into many patterns."""


class Places:
    """An index of texts. They lie in a row of bits, each with one bit more for its end and one to keep it apart.

    Thread-safe: what is worked out on the way is only added.
    """

    __slots__ = ("_apart", "_bodies", "_ends", "_inside", "_literals", "_marks", "_places", "_size", "_starts")

    def __init__(self, texts: tuple[str, ...]) -> None:
        self._places: dict[str, list[int]] = {}
        self._marks: dict[str, int] = {}
        self._literals: dict[str, int] = {}
        starts, self._ends = [], list[int]()
        bit = 0
        for text in texts:
            starts.append(bit)
            for char in text:
                places = self._places.get(char)
                if places is None:
                    places = self._places[char] = []
                places.append(bit)
                bit += 1
            self._ends.append(bit)
            bit += 2
        self._size = bit
        self._starts = _bits(starts, bit)
        self._apart = _bits((end + 1 for end in self._ends), bit)
        self._inside = ((1 << bit) - 1) ^ self._apart
        self._bodies = self._inside ^ _bits(self._ends, bit)

    def find(self, literals: Iterable[tuple[int, str]], start: int) -> int:
        """In the first text, the leftmost place from `start` from which on each literal lies at its distance; or -1."""
        found = self._bodies >> start
        for distance, literal in literals:
            found &= self._literal(literal) >> (start + distance)
            if not found:
                return -1
        return start + (found & -found).bit_length() - 1

    def covered(self, pattern: Iterable[str | int | None]) -> int:
        """The texts that a pattern covers, for `ends_in`. It consists of literal texts, None for any run of
        characters, and numbers: so many of any kind."""
        reached = self._starts
        for step in pattern:
            if step is None:
                # From the lowest place of each text to its end: the subtraction borrows from the bit that keeps apart.
                reached |= (self._apart - reached) & self._inside
            elif isinstance(step, int):
                for _ in range(step):
                    reached = (reached & self._bodies) << 1
            else:
                for char in step:
                    reached = (reached & self._mark(char)) << 1
                    if not reached:
                        return 0
        return reached

    def reach_an_end(self, reached: int) -> bool:
        """Whether the end of any text is among the places."""
        return bool(reached & ~self._bodies)

    def ends_in(self, reached: int) -> Iterator[bool]:
        """For each text, whether its end is among the places."""
        digits = f"{reached:0{self._size}b}"
        return (digits[-1 - end] == "1" for end in self._ends)

    def _mark(self, char: str) -> int:
        mark = self._marks.get(char)
        if mark is None:
            mark = self._marks[char] = _bits(self._places.get(char, ()), self._size)
        return mark

    def _literal(self, literal: str) -> int:
        """Where that text begins."""
        known = self._literals.get(literal) if len(literal) >= _LONG_LITERAL else None
        if known is not None:
            return known
        found = self._bodies
        for distance, char in enumerate(literal):
            found &= self._mark(char) >> distance
            if not found:
                break
        if len(literal) >= _LONG_LITERAL:
            self._literals[literal] = found
        return found


def _bits(places: Iterable[int], size: int) -> int:
    """The integer that has these bits set; `size` bounds them."""
    octets = bytearray(size // 8 + 1)
    for place in places:
        octets[place >> 3] |= 1 << (place & 7)
    return int.from_bytes(octets, "little")
