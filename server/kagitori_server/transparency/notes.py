"""Signed tree heads: C2SP tlog-checkpoint, which are signed notes, with Ed25519; and proofs as C2SP tlog-proof.

    kagitori/chain-00/4f2c…               the origin: which log this is
    1234                                  how many leaves
    CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2...   the root, base64

    — kagitori/chain-00/4f2c… Az3grl...   the key's name, and its id with the signature, base64
"""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from collections.abc import Sequence
from hashlib import sha256
from typing import NamedTuple, Protocol

from kagitori_server.transparency.merkle import HASH_BYTES

PUBLIC_KEY_BYTES = 32
MAX_NOTE_BYTES = 64 * 1024
_ED25519 = b"\x01"
_SIZE = re.compile(r"0|[1-9][0-9]{0,18}")


class SigningKey(Protocol):
    """An Ed25519 key that signs tree heads."""

    @property
    def public_key(self) -> bytes:
        """32 bytes, RFC 8032."""
        ...

    def sign(self, message: bytes) -> bytes:
        """The 64 bytes of a signature (RFC 8032, PureEdDSA). Raises KmsError or KeyStoreError."""
        ...


class Signer(Protocol):
    """The keys that sign the tree heads of a deployment. Methods may block."""

    def current(self) -> SigningKey:
        """The key that signs now. Raises KmsError or KeyStoreError."""
        ...

    def listed(self) -> Sequence[bytes]:
        """The public keys of now and of ever, the current one first."""
        ...


class Head(NamedTuple):
    """What a checkpoint says."""

    origin: str
    size: int
    root: bytes


def sign_head(head: Head, key: SigningKey) -> str:
    """The checkpoint. The name of the key is the origin, as witnesses expect."""
    text = f"{head.origin}\n{head.size}\n{_base64(head.root)}\n"
    signature = key.sign(text.encode())
    line = _base64(key_id(head.origin, key.public_key) + signature)
    return f"{text}\n— {head.origin} {line}\n"


def read_head(note: str) -> Head | None:
    """What a checkpoint says, whoever signed it; None for anything else."""
    body, blank, _ = note.partition("\n\n")
    lines = body.split("\n")
    if not blank or len(lines) < 3 or len(note) > MAX_NOTE_BYTES or not _SIZE.fullmatch(lines[1]):
        return None
    try:
        found = b64decode(lines[2], validate=True)
    except ValueError:
        return None
    return Head(lines[0], int(lines[1]), found) if len(found) == HASH_BYTES and lines[0] else None


def key_id(name: str, public_key: bytes) -> bytes:
    """The four bytes by which a signature names its key."""
    return sha256(name.encode() + b"\n" + _ED25519 + public_key).digest()[:4]


def verifier_key(name: str, public_key: bytes) -> str:
    """The key as those who verify are given it: name, id and public key, joined by plus signs."""
    return f"{name}+{key_id(name, public_key).hex()}+{_base64(_ED25519 + public_key)}"


def proof_text(extra: bytes, index: int, proof: Sequence[bytes], checkpoint: str) -> str:
    """A proof that leaf `index` is in the tree of the checkpoint (c2sp.org/tlog-proof@v1)."""
    lines = ["c2sp.org/tlog-proof@v1", f"extra {_base64(extra)}", f"index {index}", *map(_base64, proof), ""]
    return "\n".join(lines) + "\n" + checkpoint


def _base64(data: bytes) -> str:
    return b64encode(data).decode("ascii")
