"""A decoder for the small part of CBOR (RFC 8949) that attestation documents are written in.

It takes unsigned and negative integers, byte and text strings, arrays, maps and null, and refuses all else:
other tags, simple values, floats, integers not in their shortest form, repeated keys, strings of indefinite
length, bytes behind the item, deep nesting and more items than a document can need. The library there is for
CBOR, cbor2, is built to accept; here what it would accept matters more than what it would read.

Maps of indefinite length are taken where the caller allows it: the Nitro hypervisor writes its document as one.
"""

from __future__ import annotations

from typing import TypeAlias

from kagitori_server.attestation.errors import AttestationFault, AttestationRefused

Value: TypeAlias = "int | str | bytes | list[Value] | dict[int | str, Value] | None"

_MAX_DEPTH = 4
_MAX_ITEMS = 256
_NULL = 0xF6
_OPEN_MAP = 0xBF
_BREAK = 0xFF
_ONE_BYTE_FOLLOWS = 24


def decode(data: bytes, *, tag: int | None = None, outer_map_may_be_open: bool = False) -> Value:
    """The one item that `data` is.

    The item may be tagged with `tag`. `outer_map_may_be_open`: a map as outermost item may have indefinite
    length; none below may. Raises `AttestationRefused` (MALFORMED).
    """
    reader = _Reader(data)
    if tag is not None:
        reader.skip_tag(tag)
    if outer_map_may_be_open and reader.skip(_OPEN_MAP):
        item: Value = reader.open_map()
    else:
        item = reader.item(0)
    reader.end()
    return item


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0
        self._items = 0

    def skip(self, byte: int) -> bool:
        if self._at < len(self._data) and self._data[self._at] == byte:
            self._at += 1
            return True
        return False

    def skip_tag(self, tag: int) -> None:
        self.skip(0xC0 | tag)

    def end(self) -> None:
        if self._at != len(self._data):
            raise _malformed("there are bytes behind the end")

    def item(self, depth: int) -> Value:
        self._items += 1
        if depth > _MAX_DEPTH or self._items > _MAX_ITEMS:
            raise _malformed("it is too deep or has too many items")
        if self.skip(_NULL):
            return None
        major, argument = self._head()
        if major == 0:
            return argument
        if major == 1:
            return -1 - argument
        if major == 2:
            return self._take(argument)
        if major == 3:
            return self._text(argument)
        if major == 4:
            return [self.item(depth + 1) for _ in range(argument)]
        if major == 5:
            entries: dict[int | str, Value] = {}
            for _ in range(argument):
                self._entry(entries, depth)
            return entries
        raise _malformed("it has a kind of item that no attestation document has")

    def open_map(self) -> dict[int | str, Value]:
        entries: dict[int | str, Value] = {}
        while not self.skip(_BREAK):
            self._entry(entries, 0)
        return entries

    def _entry(self, entries: dict[int | str, Value], depth: int) -> None:
        key = self.item(depth + 1)
        if not isinstance(key, int | str) or key in entries:
            raise _malformed("a map has a repeated key, or one that is neither number nor text")
        entries[key] = self.item(depth + 1)

    def _head(self) -> tuple[int, int]:
        """Major type and argument of the next item (RFC 8949 section 3)."""
        initial = self._take(1)[0]
        argument = initial & 0x1F
        if argument < _ONE_BYTE_FOLLOWS:
            return initial >> 5, argument
        if argument > _ONE_BYTE_FOLLOWS + 3:
            raise _malformed("it has an item of indefinite or reserved length")
        width = 1 << (argument - _ONE_BYTE_FOLLOWS)
        argument = int.from_bytes(self._take(width))
        least = _ONE_BYTE_FOLLOWS if width == 1 else 1 << (4 * width)
        if argument < least:
            raise _malformed("a number or length is not in its shortest form")
        return initial >> 5, argument

    def _text(self, size: int) -> str:
        try:
            return self._take(size).decode("utf-8")
        except UnicodeDecodeError:
            # No cause: it quotes what it could not decode.
            raise _malformed("a text is not UTF-8") from None

    def _take(self, size: int) -> bytes:
        end = self._at + size
        if end > len(self._data):
            raise _malformed("it ends too early")
        taken = self._data[self._at : end]
        self._at = end
        return taken


def _malformed(what: str) -> AttestationRefused:
    return AttestationRefused(AttestationFault.MALFORMED, f"the attestation document is malformed: {what}")
