"""Receipts: proofs that one record is in the audit trail (C2SP tlog-proof), verified with a public key alone."""

from __future__ import annotations

import hmac
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kagitori_client.errors import ReceiptInvalid
from kagitori_client.receipts.checkpoints import Checkpoint, TrustedKey, open_checkpoint, unbase64
from kagitori_client.receipts.trees import HASH_BYTES, includes, leaf_hash

MAX_PROOF_BYTES = 2 * 1024 * 1024
_FIRST_LINE = "c2sp.org/tlog-proof@v1"
_INDEX = re.compile(r"index (0|[1-9][0-9]{0,18})")
_HASH_ONLY = re.compile(rb"leaf-hash:([0-9a-f]{64})")
_MOST_HASHES = 64


@dataclass(frozen=True, slots=True)
class Receipt:
    """What a verified receipt proves: the record with this hash is number `index` (from 0) of the log."""

    checkpoint: Checkpoint
    index: int
    leaf: bytes
    """The hash of the record."""
    record: Mapping[str, Any] | None
    """The record, if the receipt holds it or it was given."""

    @property
    def origin(self) -> str:
        """Which log."""
        return self.checkpoint.origin


def verify_receipt(
    receipt: bytes, keys: Sequence[TrustedKey], *, origin: str | None = None, record: bytes | None = None
) -> Receipt:
    """Verifies a receipt, or an inclusion proof, offline. `record` is the record's JSON as the trail stores it, for
    receipts that hold only its hash. Raises ReceiptInvalid.
    """
    extra, index, hashes, note = _take_apart(receipt)
    checkpoint = open_checkpoint(note, keys, origin)
    only_hash = _HASH_ONLY.fullmatch(extra)
    event: bytes | None
    if only_hash is None:
        leaf, event = leaf_hash(extra), extra
        if record is not None and not hmac.compare_digest(record, extra):
            raise ReceiptInvalid("the receipt is for another record")
    else:
        leaf, event = bytes.fromhex(only_hash[1].decode("ascii")), record
        if record is not None and not hmac.compare_digest(leaf_hash(record), leaf):
            raise ReceiptInvalid("the receipt is for another record")
    if not includes(checkpoint.root, checkpoint.size, index, leaf, hashes):
        raise ReceiptInvalid("the proof doesn't lead to the signed root: the record was altered, or is another one's")
    return Receipt(checkpoint, index, leaf, None if event is None else _read_record(event))


def _take_apart(receipt: bytes) -> tuple[bytes, int, list[bytes], str]:
    if len(receipt) > MAX_PROOF_BYTES:
        raise ReceiptInvalid("that is no receipt: it is too long")
    try:
        head, blank, note = receipt.decode().partition("\n\n")
    except UnicodeDecodeError:
        raise ReceiptInvalid("that is no receipt") from None
    lines = head.split("\n")
    index = _INDEX.fullmatch(lines[2]) if len(lines) > 2 else None
    if not blank or lines[0] != _FIRST_LINE or index is None or not lines[1].startswith("extra "):
        raise ReceiptInvalid("that is no receipt")
    extra = unbase64(lines[1].removeprefix("extra "))
    hashes = [unbase64(line) for line in lines[3:]]
    good = [each for each in hashes if each is not None and len(each) == HASH_BYTES]
    if extra is None or len(good) != len(hashes) or len(good) > _MOST_HASHES:
        raise ReceiptInvalid("that is no receipt")
    return extra, int(index[1]), good, note


def _read_record(event: bytes) -> Mapping[str, Any]:
    try:
        record = json.loads(event)
    except (ValueError, RecursionError):
        record = None
    if not isinstance(record, dict):
        raise ReceiptInvalid("the proven leaf is no audit record")
    return record
