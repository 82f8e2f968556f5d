"""Counts what root keys in a token have wrapped, in a file beside the one that names them.

Not in the catalog, where other keys of tokens are counted: a rotation wraps within a transaction of the catalog. The
file is JSON, material id -> uses reserved; nothing in it is secret. Only the current version of a root key wraps, so
the versions that were in use longest ago can be left out of it.
"""

from __future__ import annotations

import json
from pathlib import Path

from kagitori_keystore.base import RootKeyRefused
from kagitori_keystore.rootkey.guarded_file import GuardedFile

FILE_NAME = "token-root-key.uses"
_KEPT = 128
"""Materials counted: twice as many as there may be versions."""


class TokenUses:
    """A `UseCounter` of the PKCS#11 key store. Thread-safe, shared by processes."""

    def __init__(self, directory: Path) -> None:
        self._file = GuardedFile(directory, FILE_NAME)

    def reserve(self, material_id: str, count: int) -> int:
        """Reserves `count` uses, durably; returns how many had been reserved before. Raises `RootKeyRefused`."""
        with self._file.exclusive():
            counts = self._read()
            first = counts.pop(material_id, 0)
            counts[material_id] = first + count  # at the end: used last
            kept = dict(list(counts.items())[-_KEPT:])
            self._file.replace(bytearray(json.dumps(kept).encode("ascii")))
        return first

    def _read(self) -> dict[str, int]:
        found = self._file.read()
        if found is None:
            return {}
        try:
            counts = json.loads(found[0])
        except ValueError:
            raise RootKeyRefused("the file that counts uses of the root key is malformed") from None
        if not isinstance(counts, dict) or not all(type(count) is int and count >= 0 for count in counts.values()):
            raise RootKeyRefused("the file that counts uses of the root key is malformed")
        return counts
