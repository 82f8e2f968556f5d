"""Real parts for key store tests: a shelf in memory, a repeatable random source, names."""

from __future__ import annotations

import hashlib
import threading
from pathlib import Path

from tests.support.ml_kem_512 import libcrypto

from kagitori_keystore.base import Domain
from kagitori_keystore.rootkey import RootKeyProvider, open_file_root
from kagitori_keystore.software import SoftwareKeyStore

HOME = Domain("000000000000", "us-east-1")
OTHER_ACCOUNT = Domain("111111111111", "us-east-1")
OTHER_REGION = Domain("000000000000", "eu-west-1")
KEY = "1234abcd-12ab-34cd-56ef-1234567890ab"
OTHER_KEY = "0987dcba-09fe-87dc-65ba-ab0987654321"
MULTI_REGION_KEY = "mrk-1234abcd12ab34cd56ef1234567890ab"


class MemoryShelf:
    """`KekShelf` in a dictionary; `lost` makes it fail as a database does that went away."""

    def __init__(self) -> None:
        self.rows: dict[Domain, bytes] = {}
        self.lost = False
        self._lock = threading.Lock()

    def get(self, domain: Domain) -> bytes | None:
        if self.lost:
            raise ConnectionError("the database went away")
        return self.rows.get(domain)

    def put_if_absent(self, domain: Domain, wrapped: bytes) -> bytes:
        if self.lost:
            raise ConnectionError("the database went away")
        with self._lock:
            return self.rows.setdefault(domain, wrapped)


class RepeatableRandom:
    """Random-looking bytes, the same in every run; keeps what it gave, for tests that hunt for leaks."""

    def __init__(self, seed: bytes) -> None:
        self._seed = seed
        self._lock = threading.Lock()
        self.given: list[bytes] = []

    def __call__(self, size: int) -> bytes:
        with self._lock:
            seed = self._seed + len(self.given).to_bytes(8)
            block = hashlib.shake_256(seed).digest(size)
            self.given.append(block)
            return block


class Workshop:
    """A software store with its parts at hand; the root key lies in a fresh directory below `place`."""

    def __init__(self, place: Path, seed: bytes = b"workshop", *, materials_cached: int = 100) -> None:
        self.random = RepeatableRandom(seed)
        self.shelf = MemoryShelf()
        self.root: RootKeyProvider = open_file_root(place / "root", self.random)
        self.materials_cached = materials_cached
        self.store = self.another_process()

    def another_process(self, root: RootKeyProvider | None = None) -> SoftwareKeyStore:
        """A store over the same root key and shelf that shares no memory with the first."""
        return SoftwareKeyStore(
            root or self.root, self.shelf, self.random, materials_cached=self.materials_cached, libcrypto=libcrypto()
        )
