"""Key-encryption keys (KEK): one for each account and Region, wrapped by the root key, lying on a shelf.

Additional data of a wrapped KEK: "kagitori kek v1\\0" || account (12) || Region.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

from cryptography.exceptions import InvalidTag

from kagitori_keystore.base import Domain, KeyStoreError, MaterialCorrupt, MaterialUnknown, StoreLost
from kagitori_keystore.cache import HandleCache
from kagitori_keystore.rootkey.provider import RootKeyProvider
from kagitori_keystore.secret import Guarded, RandomSource, SecretBytes
from kagitori_keystore.xaes import KEY_BYTES, NONCE_BYTES, XaesKey

_KEK_AAD = b"kagitori kek v1\x00"
_PROBE = Domain("000000000000", "health-probe")

_T = TypeVar("_T")


class KekShelf(Protocol):
    """Where wrapped key-encryption keys lie, one per domain; durable, shared by processes, thread-safe."""

    def get(self, domain: Domain) -> bytes | None:
        """The wrapped key, or None if the domain has none yet."""
        ...

    def put_if_absent(self, domain: Domain, wrapped: bytes) -> bytes:
        """Stores `wrapped` unless another was first, atomically and durably; returns what is stored now."""
        ...


class KekRing(Guarded):
    """The key-encryption keys in use, at most `cached` of them opened. Thread-safe.

    All methods raise what the root key raises, and `StoreLost` when the shelf fails.
    """

    __slots__ = ("_opened", "_random", "_root", "_shelf")

    def __init__(self, root: RootKeyProvider, shelf: KekShelf, random: RandomSource, cached: int) -> None:
        self._root = root
        self._shelf = shelf
        self._random = random
        self._opened: HandleCache[Domain, XaesKey] = HandleCache(cached)

    def existing(self, domain: Domain) -> XaesKey:
        """The domain's key. Raises `MaterialUnknown` if it has none yet, for then it has no materials either."""
        kek = self._find(domain)
        if kek is None:
            raise MaterialUnknown("the account and Region have no key-encryption key")
        return kek

    def of(self, domain: Domain) -> XaesKey:
        """The domain's key, made now if it has none yet."""
        return self._find(domain) or self._first(domain)

    def is_open(self, domain: Domain) -> bool:
        """Whether the domain's key is had without asking anybody."""
        return self._opened.get(domain) is not None

    def rewrap(self, domain: Domain, wrapped: bytes) -> bytes:
        """Wraps a domain's key under the current root key version; `wrapped` itself if it is under that already."""
        if self._root.version_of(wrapped) == self._root.current_version():
            return wrapped
        aad = _kek_aad(domain)
        with self._root.unwrap(wrapped, aad) as kek:
            return self._root.wrap(kek, aad)

    def probe(self) -> None:
        """Tries root key, cipher and shelf from end to end. Raises `StoreLost` if one does not work."""
        probe = bytearray(self._random(KEY_BYTES))
        with self._root.unwrap(self._root.wrap(probe, _kek_aad(_PROBE)), _kek_aad(_PROBE)) as opened:
            key = XaesKey(opened)
        nonce = self._random(NONCE_BYTES)
        try:
            key.decrypt(nonce, key.encrypt(nonce, probe, b""), b"")
        except InvalidTag:
            raise StoreLost("the cipher does not open what it sealed") from None
        self._from_shelf(lambda: self._shelf.get(_PROBE))

    def close(self) -> None:
        """Drops every opened key, for good."""
        self._opened.close()

    def _find(self, domain: Domain) -> XaesKey | None:
        kek = self._opened.get(domain)
        if kek is not None:
            return kek
        wrapped = self._from_shelf(lambda: self._shelf.get(domain))
        return None if wrapped is None else self._open(domain, wrapped)

    def _first(self, domain: Domain) -> XaesKey:
        with SecretBytes(bytearray(self._random(KEY_BYTES))) as fresh:
            wrapped = self._root.wrap(fresh, _kek_aad(domain))
        # Of several makers at once one wins; all use what the shelf holds.
        return self._open(domain, self._from_shelf(lambda: self._shelf.put_if_absent(domain, wrapped)))

    def _open(self, domain: Domain, wrapped: bytes) -> XaesKey:
        with self._root.unwrap(wrapped, _kek_aad(domain)) as opened:
            if len(opened) != KEY_BYTES:
                raise MaterialCorrupt("a key-encryption key has the wrong size")
            kek = XaesKey(opened)
        self._opened.put(domain, kek, self._opened.drops)
        return kek

    def _from_shelf(self, call: Callable[[], _T]) -> _T:
        try:
            return call()
        except KeyStoreError:
            raise
        except Exception as failure:
            # The shelf is foreign code (a database) and the contract lets only our own failures out. It never
            # sees an unwrapped key, so its exception may be chained for the log.
            raise StoreLost("the shelf of key-encryption keys failed") from failure


def _kek_aad(domain: Domain) -> bytes:
    return _KEK_AAD + (domain.account + domain.region).encode("ascii")
