"""A log to prove things of, made without the service: real trees, signed with a key of the test's own."""

from __future__ import annotations

from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from kagitori_client.receipts import TrustedKey
from kagitori_server.transparency import merkle
from kagitori_server.transparency.notes import Head, proof_text, sign_head, verifier_key
from kagitori_server.transparency.tiles import TileFolder, TileTree


class TestKey:
    """An Ed25519 key that signs tree heads."""

    __test__ = False

    def __init__(self, seed: int = 1) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(bytes([seed]) * 32)
        self.public_key = self._key.public_key().public_bytes_raw()

    def sign(self, message: bytes) -> bytes:
        """The signature."""
        return self._key.sign(message)

    def trusted(self, origin: str) -> TrustedKey:
        """As verifiers know it."""
        return TrustedKey.parse(verifier_key(origin, self.public_key))


class TestSigner:
    """Signs with one key until it's told to take another."""

    __test__ = False

    def __init__(self) -> None:
        self.keys = [TestKey(1)]

    def current(self) -> TestKey:
        """The newest key."""
        return self.keys[0]

    def listed(self) -> tuple[bytes, ...]:
        """All public keys."""
        return tuple(key.public_key for key in self.keys)

    def rotate(self) -> None:
        """Another key signs from now on."""
        self.keys.insert(0, TestKey(len(self.keys) + 1))


class MadeLog:
    """A log of given records."""

    def __init__(self, folder: Path, events: list[bytes], key: TestKey, origin: str = "test.example/log") -> None:
        self.tree = TileTree(TileFolder(folder))
        for event in events:
            self.tree.append(merkle.leaf_hash(event))
        self.events, self.key, self.origin = events, key, origin

    def checkpoint(self, size: int | None = None) -> str:
        """The signed head, of the first `size` records if that is given."""
        size = len(self.events) if size is None else size
        return sign_head(Head(self.origin, size, merkle.root(self.tree.node, size)), self.key)

    def receipt(self, index: int, extra: bytes | None = None) -> bytes:
        """The receipt of a record, or one that holds something else in its stead."""
        proof = merkle.inclusion_proof(self.tree.node, index, 0, len(self.events))
        return proof_text(self.events[index] if extra is None else extra, index, proof, self.checkpoint()).encode()

    def growth(self, first: int, second: int) -> list[bytes]:
        """The consistency proof between two sizes."""
        return merkle.consistency_proof(self.tree.node, first, second)
