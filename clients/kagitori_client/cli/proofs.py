"""`kagitori audit tree-head|prove|consistency|verify-receipt`: proof of records, and that nothing was rewritten."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kagitori.kms.v1.transparency_pb2 import (
    GetConsistencyProofRequest,
    GetInclusionProofRequest,
    GetTreeHeadRequest,
)
from kagitori_client.cli.failures import UsageError
from kagitori_client.cli.files import read_document, read_small, write_output
from kagitori_client.cli.session import Session, command
from kagitori_client.cli.text import Plain, plain, printable

if TYPE_CHECKING:
    from kagitori_client.receipts import Receipt, TrustedKey

app = typer.Typer(no_args_is_help=True)

_MAX_FILE = 2 * 1024 * 1024
_Keys = Annotated[
    list[str],
    typer.Option(
        "--public-key", metavar="KEY",
        help="Key to believe: NAME+ID+KEY as tree-head shows it, or a file with such lines or PEM. May be repeated.",
    ),
]
_Origin = Annotated[
    str | None, typer.Option(help="Which log, by the first line of its checkpoints; by default that of the server.")
]


@command(app, "tree-head", epilog="Example: kagitori audit tree-head --save head.checkpoint")
def tree_head(
    session: Session,
    origin: _Origin = None,
    save: Annotated[str | None, typer.Option(help="File for the signed checkpoint.", metavar="FILE")] = None,
) -> None:
    """Show the signed head of the tree of all records, and the public keys of its log.

    Keep the keys, and the checkpoint, somewhere else: they prove later that nothing was rewritten.
    """
    head = session.client.admin.GetTreeHead(GetTreeHeadRequest(origin=origin))
    if save is not None:
        write_output(save, head.checkpoint.encode(), force=True)
    session.record({**plain(head), "root_hash": head.root_hash.hex()})


@command(app, "prove", epilog="Example: kagitori audit prove --request-id 6f1c... --save call.tlog-proof")
def prove(
    session: Session,
    event_id: Annotated[str | None, typer.Option(help="The record with this id.", metavar="ID")] = None,
    request_id: Annotated[str | None, typer.Option(help="All records of the call with this id.", metavar="ID")] = None,
    index: Annotated[int | None, typer.Option(min=0, help="The record with this number, by its hash.")] = None,
    origin: _Origin = None,
    account: Annotated[str | None, typer.Option(help="Account whose records are looked through.")] = None,
    save: Annotated[
        str | None, typer.Option(help="File for the proof; with several records FILE, FILE.2, ...", metavar="FILE")
    ] = None,
) -> None:
    """Prove that records are in the audit trail; audit verify-receipt verifies it offline."""
    request = GetInclusionProofRequest(
        account_id=account, origin=origin, event_id=event_id, request_id=request_id, leaf_index=index
    )
    answer = session.client.admin.GetInclusionProof(request)
    rows: list[dict[str, Plain]] = []
    for number, proof in enumerate(answer.proofs, 1):
        name = None if save is None else save if number == 1 else f"{save}.{number}"
        if name is not None:
            write_output(name, proof.proof.encode(), force=True)
        rows.append({
            "leaf_index": proof.leaf_index, "leaf_hash": proof.leaf_hash.hex(), "file": name, "proof": proof.proof,
        })
    session.rows("proofs", rows, ["leaf_index", "leaf_hash", "file"])


@command(app, "consistency", epilog="Example: kagitori audit consistency --checkpoint seen --public-key log.vkey")
def consistency(
    session: Session,
    checkpoint: Annotated[str, typer.Option(help="File with the checkpoint that was seen last.", metavar="FILE")],
    public_key: _Keys,
    origin: _Origin = None,
) -> None:
    """Check that the log has only grown since the checkpoint in FILE, and keep the newer one; exit code 4 if not.

    Without the file the present checkpoint is kept as the first.
    """
    # Here and below, not above: it loads cryptography, which makes every command start later.
    from kagitori_client.receipts import CheckpointFile

    kept = CheckpointFile(Path(checkpoint), _trusted(public_key))
    seen = kept.read()
    if seen is not None and origin not in (None, seen.origin):
        raise UsageError(f"{checkpoint} is of the log {seen.origin}")
    asked = seen.origin if seen is not None else origin
    head = session.client.admin.GetTreeHead(GetTreeHeadRequest(origin=asked))

    def prove_growth(first: int, second: int) -> Sequence[bytes]:
        request = GetConsistencyProofRequest(origin=asked, first_size=first, second_size=second)
        return list(session.client.admin.GetConsistencyProof(request).hashes)

    now = kept.advance(head.checkpoint, prove_growth)
    session.record({"origin": now.origin, "seen_size": seen.size if seen is not None else None, "tree_size": now.size})


@command(app, "verify-receipt", epilog="Example: kagitori audit verify-receipt call.tlog-proof --public-key log.vkey")
def check_receipt(
    session: Session,
    file: Annotated[str, typer.Argument(help="Receipt or proof, - for stdin.", metavar="FILE")],
    public_key: _Keys,
    origin: Annotated[str | None, typer.Option(help="The log that it must be of.")] = None,
    record: Annotated[
        str | None,
        typer.Option(help="File with the record as the trail has it, for receipts without one.", metavar="FILE"),
    ] = None,
) -> None:
    """Verify offline that a record is in the audit trail; exit code 4 if it isn't proven."""
    from kagitori_client.receipts import verify_receipt

    known = None if record is None else read_small(record, _MAX_FILE, "audit record").removesuffix(b"\n")
    receipt = read_small(file, _MAX_FILE, "receipt")
    session.record(_shown(verify_receipt(receipt, _trusted(public_key), origin=origin, record=known)))


def _shown(receipt: Receipt) -> dict[str, Plain]:
    record = receipt.record
    shown: dict[str, Plain] = {
        "origin": receipt.origin, "tree_size": receipt.checkpoint.size, "leaf_index": receipt.index,
        "leaf_hash": receipt.leaf.hex(),
    }
    if record is None:
        return {**shown, "record": None}
    for name, member in (
        ("event_time", "eventTime"), ("event_name", "eventName"), ("event_id", "eventID"), ("request_id", "requestID"),
        ("error_code", "errorCode"),
    ):
        value = record.get(member)
        shown[name] = printable(value) if isinstance(value, str) else None
    return {**shown, "record": dict(record)}


def _trusted(given: Sequence[str]) -> list[TrustedKey]:
    """The keys that the user believes: each a verifier key, or a file of them."""
    from kagitori_client.receipts import TrustedKey

    keys = []
    for text in given:
        if "+" in text and not Path(text).exists():
            keys.append(TrustedKey.parse(text))
            continue
        content = read_document(text).strip()
        parts = [content] if content.startswith("-----BEGIN") else content.splitlines()
        keys += [TrustedKey.parse(part) for part in parts if part.strip()]
    return keys
