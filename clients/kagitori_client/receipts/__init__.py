"""Verifies, without the service, that calls are in its audit trail and that the trail was only ever added to.

    receipts = []
    with KmsClient(connection, receipts=lambda method, receipt: receipts.append(receipt)) as client:
        client.crypto.Encrypt(EncryptRequest(key_id=arn, plaintext=b"..."))
    keys = [TrustedKey.parse("kagitori/chain-00/4f2c…+1a2b3c4d+AZ…")]
    verify_receipt(receipts[0], keys).record["eventName"]          # "Encrypt"

Needs `cryptography` (the extra `cli`).
"""

from __future__ import annotations

from kagitori_client.calls import RECEIPT, RECEIPT_WANTED, receipt_in
from kagitori_client.receipts.checkpoints import Checkpoint, TrustedKey, open_checkpoint
from kagitori_client.receipts.keeping import CheckpointFile, check_growth
from kagitori_client.receipts.proofs import Receipt, verify_receipt
from kagitori_client.receipts.trees import continues, includes, leaf_hash

__all__ = [
    "RECEIPT",
    "RECEIPT_WANTED",
    "Checkpoint",
    "CheckpointFile",
    "Receipt",
    "TrustedKey",
    "check_growth",
    "continues",
    "includes",
    "leaf_hash",
    "open_checkpoint",
    "receipt_in",
    "verify_receipt",
]
