"""Receipts and checkpoints verified by the client, and everything it must refuse."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from tests.support.logs import MadeLog, TestKey

from kagitori_client.errors import InvalidPublicKey, ReceiptInvalid
from kagitori_client.receipts import (
    CheckpointFile,
    TrustedKey,
    check_growth,
    continues,
    includes,
    leaf_hash,
    open_checkpoint,
    receipt_in,
    verify_receipt,
)
from kagitori_client.receipts.checkpoints import open_note
from kagitori_server.transparency.notes import key_id

FOLDER = Path(__file__).parents[1] / "vectors/transparency"
TREES: dict[str, Any] = json.loads((FOLDER / "rfc6962-trees.json").read_text())
NOTE: dict[str, str] = json.loads((FOLDER / "signed-note.json").read_text())
LEAVES = [leaf_hash(bytes.fromhex(leaf)) for leaf in TREES["leaves"]]
ROOTS = [bytes.fromhex(root) for root in TREES["roots"]]
ORIGIN = "test.example/log"
OTHER = bytes.fromhex("abacaba000000000000000000000000000000000000000000060061e00123456")
EVENTS = [json.dumps({"eventID": f"e{number}", "eventName": "Encrypt"}).encode() for number in range(300)]


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> MadeLog:
    return MadeLog(tmp_path_factory.mktemp("log"), EVENTS, TestKey())


@pytest.fixture
def keys(log: MadeLog) -> list[TrustedKey]:
    return [log.key.trusted(ORIGIN)]


# --- proofs ----------------------------------------------------------------------------------------------------------


def _proof(case: dict[str, Any]) -> list[bytes]:
    return [bytes.fromhex(each) for each in case["proof"]]


def _corrupted(proof: list[bytes]) -> Iterator[list[bytes]]:
    """The corruptions that transparency-dev/merkle tries."""
    yield [*proof, b""]
    yield [*proof, OTHER]
    yield [b"", *proof]
    yield [OTHER, *proof]
    if proof:
        yield proof[:-1]
        yield [proof[0], OTHER, *proof[1:]]
    for number, each in enumerate(proof):
        yield [*proof[:number], bytes([each[0] ^ 8]) + each[1:], *proof[number + 1 :]]


@pytest.mark.parametrize("case", TREES["inclusion"])
def test_published_inclusion_proofs(case: dict[str, Any]) -> None:
    """The published proof verifies; no other index, size, leaf, root or proof does."""
    index, size, proof = case["index"], case["size"], _proof(case)
    leaf, root = LEAVES[index], ROOTS[size]
    assert includes(root, size, index, leaf, proof)
    for wrong_index, wrong_size in ((index - 1, size), (index + 1, size), (index ^ 2, size), (index, size * 2),
                                    (index, size // 2)):
        assert not includes(root, wrong_size, wrong_index, leaf, proof)
    for wrong in (OTHER, ROOTS[0], b"", b"short"):
        assert not includes(wrong, size, index, leaf, proof)
        assert not includes(root, size, index, wrong, proof)
    for corrupted in _corrupted(proof):
        assert not includes(root, size, index, leaf, corrupted)


@pytest.mark.parametrize("case", TREES["consistency"])
def test_published_consistency_proofs(case: dict[str, Any]) -> None:
    """The published proof verifies; no other sizes, roots or proof do."""
    first, second, proof = case["first"], case["second"], _proof(case)
    assert continues(first, ROOTS[first], second, ROOTS[second], proof)
    for corrupted in _corrupted(proof):
        assert not continues(first, ROOTS[first], second, ROOTS[second], corrupted)
    assert not continues(first, OTHER, second, ROOTS[second], proof)
    assert not continues(first, ROOTS[first], second, OTHER, proof)
    if first != second:
        assert not continues(first, ROOTS[second], second, ROOTS[first], proof)
        assert not continues(first, ROOTS[first], second, ROOTS[second], [])
        for wrong_first, wrong_second in ((first - 1, second), (first + 1, second), (first ^ 2, second),
                                          (first, second * 2), (second, first)):
            assert not continues(wrong_first, ROOTS[first], wrong_second, ROOTS[second], proof)


def test_all_pairs_of_sizes(log: MadeLog) -> None:
    """Proofs that the server's code makes, over the edge of a tile."""
    for first in (1, 2, 3, 64, 100, 255, 256, 257):
        for second in (257, 258, 299, 300):
            keys = [log.key.trusted(ORIGIN)]
            older, newer = (open_checkpoint(log.checkpoint(size), keys) for size in (first, second))
            check_growth(older, newer, log.growth(first, second))


# --- notes -----------------------------------------------------------------------------------------------------------


def test_the_published_note() -> None:
    """The note of the Go documentation verifies; altered it doesn't."""
    key = TrustedKey.parse(NOTE["verifier_key"])
    assert open_note(NOTE["note"], "PeterNeumann", [key]) == NOTE["text"]
    with pytest.raises(ReceiptInvalid, match="signature is wrong"):
        open_note(NOTE["note"].replace("cryptography", "Cryptography"), "PeterNeumann", [key])
    with pytest.raises(ReceiptInvalid, match="none of the keys"):
        open_note(NOTE["note"], "Somebody", [key])


@pytest.mark.parametrize("text", [
    "", "name", "name+12345678", "na me+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
    NOTE["verifier_key"].replace("PeterNeumann", "PeterNewman"),
    NOTE["verifier_key"].replace("c74f20a3", "c74f20a4"),
    NOTE["verifier_key"][:-4], NOTE["verifier_key"].replace("+AR", "+Ag"), NOTE["verifier_key"] + "=",
    "-----BEGIN PUBLIC KEY-----\nnonsense\n-----END PUBLIC KEY-----\n",
    ec.derive_private_key(5, ec.SECP256R1()).public_key().public_bytes(
        Encoding.PEM, PublicFormat.SubjectPublicKeyInfo
    ).decode(),
])
def test_what_is_no_key(text: str) -> None:
    """Keys that were mistyped, cut or of another kind."""
    with pytest.raises(InvalidPublicKey):
        TrustedKey.parse(text)


def test_a_pem_key_is_believed_for_any_log(log: MadeLog) -> None:
    """Whoever has only the public key can say which log it must be."""
    pem = Ed25519PublicKey.from_public_bytes(log.key.public_key).public_bytes(
        Encoding.PEM, PublicFormat.SubjectPublicKeyInfo
    )
    key = TrustedKey.parse(pem.decode())
    assert verify_receipt(log.receipt(7), [key]).index == 7
    with pytest.raises(ReceiptInvalid, match="not of other"):
        verify_receipt(log.receipt(7), [key], origin="other")


def test_signatures_of_witnesses_are_passed_over(log: MadeLog, keys: list[TrustedKey]) -> None:
    """Before and behind the log's own; a second one of a known key must be good, too."""
    note = log.checkpoint()
    text, own = note.split("\n\n")
    other = f"— witness.example {b64encode(bytes(68)).decode()}\n"
    same_name = f"— {ORIGIN} {b64encode(bytes(68)).decode()}\n"
    for signatures in (other + own, own + other, same_name + own):
        assert open_checkpoint(f"{text}\n\n{signatures}", keys).size == 300
    with pytest.raises(ReceiptInvalid, match="none of the keys"):
        open_checkpoint(f"{text}\n\n{other}{same_name}", keys)


@pytest.mark.parametrize(("old", "new"), [
    ("300\n", "0300\n"), ("300\n", "+300\n"), ("300\n", "\n"), ("300\n", "3 00\n"), ("300\n", f"{10**20}\n"),
    (f"{ORIGIN}\n300", f"{ORIGIN}\r\n300"), (f"{ORIGIN}\n300\n", f"{ORIGIN}\n"),
])
def test_malformed_checkpoints(log: MadeLog, keys: list[TrustedKey], old: str, new: str) -> None:
    """Even signed they are none."""
    text, _ = log.checkpoint().split("\n\n")
    text = text.replace(old.removesuffix("\n"), new.removesuffix("\n"), 1) + "\n"
    line = b64encode(key_id(ORIGIN, log.key.public_key) + log.key.sign(text.encode())).decode()
    with pytest.raises(ReceiptInvalid):
        open_checkpoint(f"{text}\n— {ORIGIN} {line}\n", keys)


@pytest.mark.parametrize(
    "note", ["", "x", "a\n\n", "a\n1\n\n", "a\n\n— b", "a\n\n— b c\n", "a\n\n- b AAAAAAAA\n", "\ud800"]
)
def test_what_is_no_note(note: str, keys: list[TrustedKey]) -> None:
    """Refused before any signature is looked at."""
    with pytest.raises(ReceiptInvalid):
        open_checkpoint(note, keys)


# --- receipts --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("index", [0, 1, 254, 255, 256, 299])
def test_a_receipt_proves_its_record(log: MadeLog, keys: list[TrustedKey], index: int) -> None:
    """With the record in it, or with its hash."""
    receipt = verify_receipt(log.receipt(index), keys, origin=ORIGIN)
    assert (receipt.index, receipt.origin, receipt.checkpoint.size) == (index, ORIGIN, 300)
    assert receipt.record == json.loads(EVENTS[index])
    hashed = log.receipt(index, b"leaf-hash:" + leaf_hash(EVENTS[index]).hex().encode())
    assert verify_receipt(hashed, keys).record is None
    assert verify_receipt(hashed, keys, record=EVENTS[index]).record == json.loads(EVENTS[index])
    for wrong in (log.receipt(index), hashed):
        with pytest.raises(ReceiptInvalid, match="another record"):
            verify_receipt(wrong, keys, record=b"{}")


def test_every_altered_character_is_noticed(log: MadeLog, keys: list[TrustedKey]) -> None:
    """Each byte of a receipt changed, one after the other: none verifies but where it is said in another way."""
    good = log.receipt(5)
    for place, byte in enumerate(good):
        altered = good[:place] + bytes([byte ^ 1]) + good[place + 1 :]
        with pytest.raises(ReceiptInvalid):
            verify_receipt(altered, keys)


def test_a_receipt_cut_anywhere_is_none(log: MadeLog, keys: list[TrustedKey]) -> None:
    """Nor one with something behind it."""
    good = log.receipt(5)
    for end in range(len(good)):
        with pytest.raises(ReceiptInvalid):
            verify_receipt(good[:end], keys)
    with pytest.raises(ReceiptInvalid):
        verify_receipt(good + b"x", keys)


def test_what_a_forger_would_try(log: MadeLog, keys: list[TrustedKey], tmp_path: Path) -> None:
    """Another key, another log, another record, another log's proof, another index."""
    with pytest.raises(ReceiptInvalid, match="none of the keys"):
        verify_receipt(log.receipt(5), [TestKey(9).trusted(ORIGIN)])
    with pytest.raises(ReceiptInvalid, match="none of the keys"):
        verify_receipt(log.receipt(5), [log.key.trusted("test.example/other")])
    with pytest.raises(ReceiptInvalid, match="none of the keys"):
        verify_receipt(log.receipt(5), [])
    with pytest.raises(ReceiptInvalid, match="doesn't lead"):
        verify_receipt(log.receipt(5, EVENTS[6]), keys)
    with pytest.raises(ReceiptInvalid, match="doesn't lead"):
        verify_receipt(log.receipt(5, b"leaf-hash:" + leaf_hash(EVENTS[6]).hex().encode()), keys)
    with pytest.raises(ReceiptInvalid, match="doesn't lead"):
        verify_receipt(log.receipt(5).replace(b"index 5", b"index 4"), keys)
    forged = MadeLog(tmp_path, [b'{"forged":1}', *EVENTS[1:]], TestKey(9))
    with pytest.raises(ReceiptInvalid, match="none of the keys"):
        verify_receipt(forged.receipt(0), keys)
    proof, note = forged.receipt(0).split(b"\n\n", 1)[0], log.checkpoint().encode()
    with pytest.raises(ReceiptInvalid, match="doesn't lead"):
        verify_receipt(proof + b"\n\n" + note, keys)


def test_an_inner_node_is_no_record(log: MadeLog, keys: list[TrustedKey]) -> None:
    """The second preimage that hashing leaves and nodes alike would allow."""
    left, right = leaf_hash(EVENTS[0]), leaf_hash(EVENTS[1])
    lines = log.receipt(0).split(b"\n")
    lines[1] = b"extra " + b64encode(left + right)
    del lines[3]
    with pytest.raises(ReceiptInvalid):
        verify_receipt(b"\n".join(lines), keys)


def test_a_leaf_that_is_no_record(tmp_path: Path) -> None:
    """Proven, but not what a trail holds."""
    log = MadeLog(tmp_path, [b"[]"], TestKey())
    with pytest.raises(ReceiptInvalid, match="no audit record"):
        verify_receipt(log.receipt(0), [log.key.trusted(ORIGIN)])


def test_receipts_in_metadata() -> None:
    """Found under their name, as bytes."""
    assert receipt_in((("kagitori-request-id", "x"), ("kagitori-receipt-bin", b"r"))) == b"r"
    assert receipt_in((("kagitori-receipt-bin", "text"),)) is None
    assert receipt_in(None) is None


# --- growth ----------------------------------------------------------------------------------------------------------


def test_a_log_that_grows_is_followed(log: MadeLog, keys: list[TrustedKey], tmp_path: Path) -> None:
    """The file holds the newest checkpoint; the same one again is fine, an older one is not."""
    kept = CheckpointFile(tmp_path / "seen", keys)
    assert kept.read() is None
    for size in (10, 10, 256, 300):
        assert kept.advance(log.checkpoint(size), log.growth).size == size
    seen = kept.read()
    assert seen is not None
    assert seen.size == 300
    with pytest.raises(ReceiptInvalid, match="cut off"):
        kept.advance(log.checkpoint(299), log.growth)
    assert (tmp_path / "seen").read_text() == log.checkpoint(300)


@pytest.mark.parametrize("forged", ["altered", "reordered", "removed", "inserted"])
def test_a_log_that_was_rewritten_is_noticed(
    log: MadeLog, keys: list[TrustedKey], tmp_path: Path, forged: str
) -> None:
    """Signed with the right key: who has the key and the disk still can't take back what was given out."""
    events = list(EVENTS) + [b"{}"] * 20
    match forged:
        case "altered":
            events[100] = b'{"eventID":"e100","eventName":"Decrypt"}'
        case "reordered":
            events[100], events[101] = events[101], events[100]
        case "removed":
            del events[100]
        case "inserted":
            events.insert(100, b'{"new":1}')
    other = MadeLog(tmp_path / "other", events, log.key)
    kept = CheckpointFile(tmp_path / "seen", keys)
    kept.advance(log.checkpoint(), log.growth)
    with pytest.raises(ReceiptInvalid, match="rewritten"):
        kept.advance(other.checkpoint(), other.growth)
    with pytest.raises(ReceiptInvalid, match="rewritten"):
        kept.advance(other.checkpoint(300), other.growth)
    assert (tmp_path / "seen").read_text() == log.checkpoint()


def test_another_log_is_no_continuation(log: MadeLog, tmp_path: Path) -> None:
    """Though it is signed by a key that is believed."""
    other = MadeLog(tmp_path / "other", EVENTS, TestKey(), origin="test.example/other")
    kept = CheckpointFile(tmp_path / "seen", [log.key.trusted(ORIGIN), log.key.trusted(other.origin)])
    kept.advance(log.checkpoint(10), log.growth)
    with pytest.raises(ReceiptInvalid, match="not of"):
        kept.advance(other.checkpoint(), other.growth)
