"""What the software store asks of a root key, and how its rotation proceeds.

Rotation, each step safe to repeat and to crash in or after:

    1. `add_version` stores a new version and makes it current. Old wraps still open: each names its version.
    2. The caller rewraps every key-encryption key (`SoftwareKeyStore.rewrap_kek`) and stores the results.
    3. The caller lists the key-encryption keys again and sees by `version_of` that none is left behind; a
       wrap that was in flight during step 1 shows up here. Then `retire` erases the old version.
"""

from __future__ import annotations

from typing import Protocol

from kagitori_keystore.secret import SecretBytes


class RootKeyProvider(Protocol):
    """Holds versions of a root key, named by 32 hexadecimal digits, and never hands one out. Thread-safe.

    Every operation may raise `StoreLost`, or `RootKeyRefused` when the stored versions cannot be trusted.
    """

    def wrap(self, secret: bytearray, aad: bytes) -> bytes:
        """Wraps a key under the current version, bound to `aad` and to the version's id."""
        ...

    def unwrap(self, blob: bytes, aad: bytes) -> SecretBytes:
        """Opens a wrap made by any version still held.

        Raises `MaterialUnknown` if its version is not held, `MaterialCorrupt` if it does not verify.
        """
        ...

    def version_of(self, blob: bytes) -> str:
        """The version that a wrap names. Raises `MaterialCorrupt` if it is malformed."""
        ...

    def current_version(self) -> str:
        """The version that `wrap` uses now."""
        ...

    def versions(self) -> tuple[str, ...]:
        """All versions held, oldest first."""
        ...

    def add_version(self) -> str:
        """Step 1 of a rotation: makes a new random version, stores it durably as current, returns its id."""
        ...

    def retire(self, version: str) -> None:
        """Step 3: erases a version. What is still wrapped under it is lost.

        An unknown version is no error (the step may be repeated). Raises `RequestRefused` for the current.
        """
        ...

    def close(self) -> None:
        """Lets go of the key; later operations raise `StoreLost`. Idempotent."""
        ...
