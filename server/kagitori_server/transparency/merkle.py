"""Merkle trees of RFC 6962 section 2.1 (RFC 9162 section 2.1 is the same): hashes, proofs and their verification.

`Node` functions give the hash of a perfect subtree: `node(height, index)` is that of the leaves from `index << height`
to below `(index + 1) << height`. All hashes are SHA-256, 32 bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import sha256

HASH_BYTES = 32
EMPTY_ROOT = sha256(b"").digest()
"""The root of a tree without leaves."""

Node = Callable[[int, int], bytes]


def leaf_hash(data: bytes) -> bytes:
    """The hash of a leaf: in another domain than that of inner nodes, so that neither passes for the other."""
    return sha256(b"\0" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of an inner node."""
    return sha256(b"\1" + left + right).digest()


def root(node: Node, size: int) -> bytes:
    """MTH(D[size]): the root of the tree of the first `size` leaves."""
    return subtree(node, 0, size) if size else EMPTY_ROOT


def subtree(node: Node, start: int, end: int) -> bytes:
    """MTH(D[start:end]), where `start` is a multiple of the smallest power of two that isn't below `end - start`."""
    size = end - start
    split = _split(size)
    if split * 2 == size or size == 1:
        height = size.bit_length() - 1
        return node(height, start >> height)
    return node_hash(subtree(node, start, start + split), subtree(node, start + split, end))


def inclusion_proof(node: Node, index: int, start: int, end: int) -> list[bytes]:
    """PATH(index - start, D[start:end]): from the leaf's sibling up to a child of the root."""
    if end - start == 1:
        return []
    middle = start + _split(end - start)
    if index < middle:
        return [*inclusion_proof(node, index, start, middle), subtree(node, middle, end)]
    return [*inclusion_proof(node, index, middle, end), subtree(node, start, middle)]


def consistency_proof(node: Node, first: int, second: int) -> list[bytes]:
    """PROOF(first, D[second]), for 0 <= first <= second: that the tree of `first` leaves is the beginning of the
    other. Empty if either is trivial."""
    return _subproof(node, first, 0, second, whole=True) if 0 < first < second else []


def _subproof(node: Node, size: int, start: int, end: int, *, whole: bool) -> list[bytes]:
    if size == end - start:
        return [] if whole else [subtree(node, start, end)]
    split = _split(end - start)
    middle = start + split
    if size <= split:
        return [*_subproof(node, size, start, middle, whole=whole), subtree(node, middle, end)]
    return [*_subproof(node, size - split, middle, end, whole=False), subtree(node, start, middle)]


def _split(size: int) -> int:
    """The largest power of two below `size`; 1 for 1."""
    return 1 << max((size - 1).bit_length() - 1, 0)


def root_of_inclusion(index: int, size: int, leaf: bytes, proof: Sequence[bytes]) -> bytes | None:
    """The root that an inclusion proof leads to (RFC 9162 section 2.1.3.2); None if it has not the right length."""
    if not 0 <= index < size:
        return None
    place, last, found = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            return None
        if place & 1 or place == last:
            found = node_hash(sibling, found)
            while not place & 1 and place:
                place, last = place >> 1, last >> 1
        else:
            found = node_hash(found, sibling)
        place, last = place >> 1, last >> 1
    return found if last == 0 else None
