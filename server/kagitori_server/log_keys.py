"""The service's Ed25519 keys as those who sign tree heads want them (`transparency.notes.Signer`)."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import NamedTuple

from kagitori_server.model.errors import KMSInternalException
from kagitori_server.service_keys import KeyPurpose, ServiceKeys
from kagitori_server.transparency.notes import PUBLIC_KEY_BYTES, SigningKey

_KEPT_SECONDS = 10.0
"""How long the catalog isn't asked again for the current key. One whose period is over may sign that much longer: its
public half is listed for ever."""
_SPKI = bytes.fromhex("302a300506032b6570032100")
"""What stands before the 32 bytes of an Ed25519 key in its SubjectPublicKeyInfo (RFC 8410)."""


class _Key(NamedTuple):
    public_key: bytes
    signing: Callable[[bytes], bytes]

    def sign(self, message: bytes) -> bytes:
        """The signature of a message."""
        return self.signing(message)


class LogKeys:
    """Thread-safe. `keys` is asked when a key is first needed, which may be made then."""

    def __init__(self, keys: Callable[[], ServiceKeys], monotonic: Callable[[], float]) -> None:
        self._keys = keys
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._current: _Key | None = None
        self._until = 0.0

    def current(self) -> SigningKey:
        """The key that signs now. Raises KmsError."""
        with self._lock:
            now = self._monotonic()
            if self._current is None or now >= self._until:
                key = self._keys().current(KeyPurpose.AUDIT_LOG)
                self._current, self._until = _Key(_raw(key.public_key_der), key.sign), now + _KEPT_SECONDS
            return self._current

    def listed(self) -> tuple[bytes, ...]:
        """The public keys that there ever were, the newest first; none before the first was needed."""
        return tuple(_raw(key.public_key_der) for key in reversed(self._keys().listed(KeyPurpose.AUDIT_LOG)))


def _raw(der: bytes) -> bytes:
    if not der.startswith(_SPKI) or len(der) != len(_SPKI) + PUBLIC_KEY_BYTES:
        raise KMSInternalException("The key that signs tree heads is not an Ed25519 key.")
    return der[len(_SPKI) :]
