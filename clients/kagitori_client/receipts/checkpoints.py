"""Signed heads of trees: C2SP signed-note and tlog-checkpoint with Ed25519, strictly read."""

from __future__ import annotations

import binascii
import hmac
import re
from base64 import b64decode, b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from kagitori_client.errors import InvalidPublicKey, ReceiptInvalid
from kagitori_client.receipts.trees import HASH_BYTES

MAX_NOTE_BYTES = 64 * 1024
_ED25519 = b"\x01"
_KEY_BYTES = 32
_ID_BYTES = 4
_SIGNATURE_LINE = re.compile("— ([^\\s+]+) ([A-Za-z0-9+/]+={0,2})")
_VERIFIER_KEY = re.compile(r"([^\s+]+)\+([0-9a-f]{8})\+([A-Za-z0-9+/]+={0,2})")
_SIZE = re.compile(r"0|[1-9][0-9]{0,18}")
_CONTROLS = re.compile("[\x00-\x09\x0b-\x1f]")


@dataclass(frozen=True, slots=True)
class TrustedKey:
    """A public key that is believed. With a `name` it signs for the log of that origin alone, without one for any."""

    name: str | None
    public_key: bytes
    """32 bytes (RFC 8032)."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """A verifier key (`NAME+ID+KEY`, as GetTreeHead lists them) or a PEM public key. Raises InvalidPublicKey."""
        stripped = text.strip()
        if stripped.startswith("-----BEGIN"):
            return cls(None, _read_pem(stripped))
        match = _VERIFIER_KEY.fullmatch(stripped)
        if match is None:
            raise InvalidPublicKey("that is neither a verifier key (NAME+ID+KEY) nor a public key in PEM")
        name, key_id, encoded = match.groups()
        key = unbase64(encoded)
        if key is None or len(key) != 1 + _KEY_BYTES or key[:1] != _ED25519:
            raise InvalidPublicKey("the verifier key isn't one of Ed25519")
        if not hmac.compare_digest(_key_id(name, key[1:]).hex(), key_id):
            raise InvalidPublicKey("the verifier key doesn't agree with its id: it was altered or mistyped")
        return cls(name, key[1:])


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The head of a tree, as signed. Made by `open_checkpoint`, which verifies it."""

    origin: str
    size: int
    root: bytes
    note: str
    """The checkpoint as it was read."""


def open_checkpoint(note: str, keys: Sequence[TrustedKey], origin: str | None = None) -> Checkpoint:
    """Reads a checkpoint that one of `keys` has signed, of the log `origin` if that is given.

    Raises ReceiptInvalid.
    """
    text, found = _take_apart(note)
    lines = text.split("\n")[:-1]
    if len(lines) < 3 or "" in lines or not _SIZE.fullmatch(lines[1]):
        raise ReceiptInvalid("the checkpoint is malformed")
    root = unbase64(lines[2])
    if root is None or len(root) != HASH_BYTES:
        raise ReceiptInvalid("the checkpoint is malformed")
    if origin is not None and lines[0] != origin:
        raise ReceiptInvalid(f"the checkpoint is of the log {lines[0]}, not of {origin}")
    _verify(text, found, lines[0], keys)
    return Checkpoint(lines[0], int(lines[1]), root, note)


def open_note(note: str, name: str, keys: Sequence[TrustedKey]) -> str:
    """The text of a note that a key called `name` has signed. Raises ReceiptInvalid."""
    text, found = _take_apart(note)
    _verify(text, found, name, keys)
    return text


def _take_apart(note: str) -> tuple[str, list[tuple[str, bytes]]]:
    """The text of a signed note, and its signatures with the names of their keys, each behind its key id."""
    try:
        size = len(note.encode())
    except UnicodeEncodeError:
        size = MAX_NOTE_BYTES + 1
    body, blank, signed = note.rpartition("\n\n")
    if not blank or size > MAX_NOTE_BYTES or _CONTROLS.search(note) or not signed.endswith("\n"):
        raise ReceiptInvalid("that is no signed note")
    found = []
    for line in signed[:-1].split("\n"):
        match = _SIGNATURE_LINE.fullmatch(line)
        signature = unbase64(match[2]) if match else None
        if match is None or signature is None or len(signature) <= _ID_BYTES:
            raise ReceiptInvalid("that is no signed note")
        found.append((match[1], signature))
    return body + "\n", found


def _verify(text: str, found: Sequence[tuple[str, bytes]], name: str, keys: Sequence[TrustedKey]) -> None:
    """Signatures of unknown keys are passed over, as witnesses add theirs; one by a known key must be good."""
    good = False
    for signer, signature in found:
        for key in keys:
            if signer != name or key.name not in (None, name):
                continue
            if not hmac.compare_digest(signature[:_ID_BYTES], _key_id(name, key.public_key)):
                continue
            try:
                Ed25519PublicKey.from_public_bytes(key.public_key).verify(signature[_ID_BYTES:], text.encode())
            except InvalidSignature:
                raise ReceiptInvalid("the signature is wrong: it was signed by another key, or altered") from None
            good = True
    if not good:
        raise ReceiptInvalid("none of the keys given has signed it", hint="kagitori audit tree-head shows the keys")


def _key_id(name: str, public_key: bytes) -> bytes:
    return sha256(name.encode() + b"\n" + _ED25519 + public_key).digest()[:_ID_BYTES]


def unbase64(text: str) -> bytes | None:
    """The bytes of standard base64 with padding; None for anything else."""
    try:
        data = b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    # One encoding for each value: padding bits that aren't zero are refused.
    return data if b64encode(data).decode() == text else None


def _read_pem(text: str) -> bytes:
    try:
        key = load_pem_public_key(text.encode())
    except ValueError:
        raise InvalidPublicKey("the PEM public key can't be read") from None
    if not isinstance(key, Ed25519PublicKey):
        raise InvalidPublicKey("the PEM public key isn't one of Ed25519")
    return key.public_bytes_raw()
