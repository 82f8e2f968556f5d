"""Proofs in Merkle trees (RFC 9162 section 2.1, hashes of RFC 6962): what they lead to, not who signed that."""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from hashlib import sha256

HASH_BYTES = 32


def leaf_hash(data: bytes) -> bytes:
    """The hash of a leaf."""
    return sha256(b"\x00" + data).digest()


def includes(root: bytes, size: int, index: int, leaf: bytes, proof: Sequence[bytes]) -> bool:
    """Whether leaf `index`, with the hash `leaf`, is in the tree of `size` leaves (section 2.1.3.2)."""
    if not 0 <= index < size or any(len(each) != HASH_BYTES for each in (root, leaf, *proof)):
        return False
    node, last, found = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            return False
        if node % 2 or node == last:
            found = _above(sibling, found)
            while node and not node % 2:
                node, last = node // 2, last // 2
        else:
            found = _above(found, sibling)
        node, last = node // 2, last // 2
    return last == 0 and hmac.compare_digest(found, root)


def continues(first: int, first_root: bytes, second: int, second_root: bytes, proof: Sequence[bytes]) -> bool:
    """Whether the tree of `first` leaves, at least 1, is the beginning of the tree of `second` (section 2.1.4.2)."""
    if not 1 <= first <= second or any(len(each) != HASH_BYTES for each in (first_root, second_root, *proof)):
        return False
    if first == second:
        return not proof and hmac.compare_digest(first_root, second_root)
    path = list(proof)
    if first & (first - 1) == 0:
        path.insert(0, first_root)
    if not path:
        return False
    node, last = first - 1, second - 1
    while node % 2:
        node, last = node // 2, last // 2
    older = newer = path[0]
    for sibling in path[1:]:
        if last == 0:
            return False
        if node % 2 or node == last:
            older, newer = _above(sibling, older), _above(sibling, newer)
            while node and not node % 2:
                node, last = node // 2, last // 2
        else:
            newer = _above(newer, sibling)
        node, last = node // 2, last // 2
    return last == 0 and hmac.compare_digest(older, first_root) and hmac.compare_digest(newer, second_root)


def _above(left: bytes, right: bytes) -> bytes:
    return sha256(b"\x01" + left + right).digest()
