"""What of requests and answers is secret, found by their shapes; and every form that it could come out in."""

from __future__ import annotations

import base64
import dataclasses
import random
import re
import string
import types
import typing
from collections.abc import Iterator, Mapping
from typing import Any

PUBLIC = frozenset({"head_hash", "root_hash", "leaf_hash", "hashes", "first_root_hash", "second_root_hash"})
"""Members of bytes that tell nothing: the newest hash of the trail stands in it, those of its trees are proofs."""
JUDGED = frozenset({"token_id", "next_token", "resume_token"})
"""Names that sound like secrets and are none: the id of a token, a place in a list, one in the trail."""
_TELLING = re.compile(r"password|secret|token|credential|(^|_)pin(_|$)|private|plaintext|ciphertext|jwks|assertion")
_ALPHABET = string.ascii_uppercase + "234567"
"""Letters that every pattern of a secret allows."""
_WINDOW = 18


@dataclasses.dataclass(frozen=True)
class Member:
    """One member of a shape, by its path."""

    path: tuple[str, ...]
    hint: Any
    field: dataclasses.Field[Any]

    @property
    def name(self) -> str:
        """Without those it is within."""
        return self.path[-1]

    @property
    def secret(self) -> bool:
        """Bytes are, but for some, and whatever has no place in a repr."""
        leaf = not any(map(dataclasses.is_dataclass, _parts(self.hint)))
        return leaf and self.name not in PUBLIC and (bytes in _parts(self.hint) or not self.field.repr)

    @property
    def doubtful(self) -> bool:
        """Whether its name says that it is secret, and its declaration doesn't."""
        return bool(_TELLING.search(self.name)) and str in _parts(self.hint) and not self.secret \
            and self.name not in JUDGED


def members_of(shape: type[Any], path: tuple[str, ...] = (), within: frozenset[type] = frozenset()) -> Iterator[Member]:
    """All members of a shape and of the shapes in it."""
    hints = typing.get_type_hints(shape)
    for field in dataclasses.fields(shape):
        yield Member((*path, field.name), hints[field.name], field)
        for part in set(_parts(hints[field.name])):
            if dataclasses.is_dataclass(part) and isinstance(part, type) and part not in within:
                yield from members_of(part, (*path, field.name), within | {part})


def _parts(hint: Any) -> list[Any]:
    """A type, and what it is made of."""
    found = [hint]
    for argument in typing.get_args(hint):
        found += _parts(argument)
    return [part for part in found if not isinstance(part, types.GenericAlias)]


def secrets_in(value: Any) -> Iterator[bytes]:
    """Every secret in an answer or in the members of a request."""
    if isinstance(value, (bytes, bytearray)):
        yield bytes(value)
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from secrets_in(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from secrets_in(item)
    elif dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            item = getattr(value, field.name)
            if field.name in PUBLIC:
                continue
            yield from (text.encode() for text in _texts(item)) if not field.repr else secrets_in(item)
            if not field.repr:
                yield from secrets_in(item)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _texts(item)


def marked(member: Member, chance: random.Random, *, too_long: bool = False) -> Any:
    """A value of a secret member that is found wherever it comes out: as long as it may be, or longer than that."""
    constraint = member.field.metadata["constraint"]
    most = constraint.maximum or 64
    length = most + 1 if too_long else max(constraint.minimum or 1, min(most, 48))
    if bytes in _parts(member.hint):
        return chance.randbytes(length)
    text = "".join(chance.choices(_ALPHABET, k=length))
    several = typing.get_origin(member.hint) is tuple
    return [text] if several else text


def forms_of(secret: bytes) -> set[bytes]:
    """The beginning, the middle and the end of a secret, as they are, as reprs, in hex and in base64 of each alignment,
    without the ends that their surroundings change. Raises ValueError for one that is too short to tell."""
    if len(secret) < 12:
        raise ValueError("a secret of so few bytes is found by chance")
    middle = max(0, len(secret) - _WINDOW) // 2
    forms: set[bytes] = set()
    # Of what is DER the beginning says what it is, which certificates say as well.
    first = secret[: 0 if secret[:1] == b"\x30" and len(secret) > 2 * _WINDOW else _WINDOW]
    for piece in filter(None, (first, secret[middle : middle + _WINDOW], secret[-_WINDOW:])):
        forms |= {piece, repr(piece)[2:-1].encode(), piece.hex().encode(), piece.hex().upper().encode()}
        for shift in range(3):
            padded = b"\x00" * shift + piece
            kept = len(padded) - len(padded) % 3
            for encode in (base64.b64encode, base64.urlsafe_b64encode):
                forms.add(encode(padded[:kept])[4 if shift else 0 :])
    return forms


def with_member(values: dict[str, Any], path: tuple[str, ...], value: Any) -> dict[str, Any]:
    """The request with that member."""
    head, *rest = path
    if not rest:
        return {**values, head: value}
    inner = values.get(head)
    return {**values, head: with_member(dict(inner) if isinstance(inner, Mapping) else {}, tuple(rest), value)}
