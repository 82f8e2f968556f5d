"""Remembering how far a log was seen, so that it can neither go back nor be rewritten unnoticed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from kagitori_client.errors import ReceiptInvalid
from kagitori_client.receipts.checkpoints import MAX_NOTE_BYTES, Checkpoint, TrustedKey, open_checkpoint
from kagitori_client.receipts.trees import continues
from kagitori_client.settings import write_private

Prove = Callable[[int, int], Sequence[bytes]]
"""Fetches the hashes of a consistency proof between two sizes."""


def check_growth(older: Checkpoint, newer: Checkpoint, proof: Sequence[bytes]) -> None:
    """Raises ReceiptInvalid unless `newer` is `older` with nothing but records added."""
    if older.origin != newer.origin:
        raise ReceiptInvalid(f"the checkpoint is of the log {newer.origin}, not of {older.origin}")
    if newer.size < older.size:
        raise ReceiptInvalid(f"the log had {older.size} records and has {newer.size} now: records were cut off")
    if older.size and not continues(older.size, older.root, newer.size, newer.root, proof):
        raise ReceiptInvalid(f"the log was rewritten: its first {older.size} records aren't those it had")


class CheckpointFile:
    """The newest checkpoint of one log that was seen, in a file."""

    def __init__(self, path: Path, keys: Sequence[TrustedKey]) -> None:
        self._path = path
        self._keys = keys

    def read(self) -> Checkpoint | None:
        """The checkpoint that is kept; None for none. Raises ReceiptInvalid, OSError."""
        try:
            with self._path.open("rb") as file:
                note = file.read(MAX_NOTE_BYTES + 1).decode()
        except FileNotFoundError:
            return None
        except UnicodeDecodeError:
            raise ReceiptInvalid("that is no signed note") from None
        return open_checkpoint(note, self._keys)

    def advance(self, note: str, prove: Prove) -> Checkpoint:
        """Keeps a newer checkpoint, if it continues the one that is kept. Raises ReceiptInvalid, OSError."""
        older, newer = self.read(), open_checkpoint(note, self._keys)
        if older is not None:
            proof = prove(older.size, newer.size) if 0 < older.size < newer.size else ()
            check_growth(older, newer, proof)
        write_private(self._path, note.encode())
        return newer
