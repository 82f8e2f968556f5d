"""Ciphertext blobs of external key stores (kind 3): their bytes as the docstrings say, and what the parser refuses."""

from __future__ import annotations

import hashlib
import json
import ssl
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from tests.support.bad_proxy import BadProxy, saying
from tests.support.keystore_parts import HOME, KEY, Workshop
from tests.support.xks import opened

from kagitori_keystore.base import CiphertextInvalid, MaterialRef, StoreKind
from kagitori_keystore.ciphertext import parse
from kagitori_keystore.xks import XksSettings, wire

EXTERNAL = bytes(range(32))
"""The external key."""


class HonestManager:
    """An external key manager of a dozen lines: AES-GCM as the specification frames it, metadata of a length."""

    def __init__(self, iv_bytes: int, metadata: bytes | None) -> None:
        self.iv, self.metadata = bytes(range(iv_bytes)), metadata
        self.asked: list[dict[str, str]] = []
        self.proxy: BadProxy | None = None

    def __call__(self, connection: ssl.SSLSocket) -> None:
        """Answers the last request."""
        assert self.proxy is not None
        head, _, body = self.proxy.requests[-1].partition(b"\r\n\r\n")
        asked = json.loads(body)
        self.asked.append(asked)
        action = head.split(b" ")[1].rsplit(b"/", 1)[1]
        if action == b"metadata":
            answer = {"keySpec": "AES_256", "keyUsage": ["ENCRYPT", "DECRYPT"], "keyStatus": "ENABLED"}
            saying(200, **answer)(connection)
            return
        aad, metadata = wire.octets(asked, "additionalAuthenticatedData", 0, 8192), self.metadata or b""
        framed = len(aad).to_bytes(2) + aad + len(metadata).to_bytes(1) + metadata
        if action == b"decrypt":
            sealed = wire.octets(asked, "ciphertext", 1, 4300) + wire.octets(asked, "authenticationTag", 16, 16)
            plaintext = AESGCM(EXTERNAL).decrypt(self.iv, sealed, framed)
            assert asked.get("ciphertextMetadata") == (wire.encoded(metadata) if metadata else None)
            saying(200, plaintext=wire.encoded(plaintext))(connection)
            return
        sealed = AESGCM(EXTERNAL).encrypt(self.iv, wire.octets(asked, "plaintext", 1, 4300), framed)
        value = hashlib.sha256(aad + metadata + self.iv + sealed).digest()
        members = {
            "ciphertext": wire.encoded(sealed[:-16]), "authenticationTag": wire.encoded(sealed[-16:]),
            "initializationVector": wire.encoded(self.iv), "ciphertextDataIntegrityValue": wire.encoded(value),
        }
        if self.metadata is not None:
            members["ciphertextMetadata"] = wire.encoded(self.metadata)
        saying(200, **members)(connection)


@pytest.mark.parametrize("iv_bytes", [12, 16])
@pytest.mark.parametrize("metadata", [None, b"", b"v", bytes(20)], ids=["none", "empty", "short", "longest"])
def test_blobs_are_what_the_docstrings_say(tmp_path: Path, iv_bytes: int, metadata: bytes | None) -> None:
    """Taken apart by hand: header, lengths, vector, metadata, and below two layers the plaintext."""
    manager, shop = HonestManager(iv_bytes, metadata), Workshop(tmp_path)
    with BadProxy(tmp_path / "tls", manager) as proxy:
        manager.proxy = proxy
        settings = XksSettings(
            proxy.endpoint, "/kms/xks/v1", "AKIAAAAAAAAAAAAAAAAA", proxy.ca_file, deadline_seconds=10
        )
        store = opened(settings, "A" * 43, shop)
        ref = store.adopt(HOME, KEY, "external.key")
        blob = store.encrypt(HOME, KEY, ref, b"plaintext", b"context")
        assert store.decrypt(HOME, KEY, ref, parse(blob), b"context") == b"plaintext"
        store.close()

    # The reference.
    assert ref.reference[:2] == b"\x01\x0c"
    assert ref.reference[2:14] == b"external.key"
    inner_id = ref.reference[14:46]
    key_id = b"\x01" + bytes.fromhex(KEY.replace("-", ""))
    name = b"kagitori external material id v1\x00" + key_id + b"\x0cexternal.key" + inner_id
    assert ref.material_id == hashlib.sha256(name).hexdigest()

    # The blob.
    bare = metadata or b""
    header = b"\x01\x03" + key_id + bytes.fromhex(ref.material_id)
    assert blob.startswith(header + bytes((iv_bytes, len(bare))) + manager.iv + bare)
    sealed = blob[53 + iv_bytes + len(bare) :]
    assert len(sealed) == len(b"plaintext") + 40 + 16

    # What the manager authenticated, and what it saw.
    aad = b"kagitori external v1\x00" + header + hashlib.sha256(b"context").digest()
    framed = len(aad).to_bytes(2) + aad + len(bare).to_bytes(1) + bare
    once = AESGCM(EXTERNAL).decrypt(manager.iv, sealed, framed)
    inner_header = b"\x01\x01" + key_id + inner_id
    inner = MaterialRef(StoreKind.SOFTWARE, ref.reference[46:], inner_id.hex())
    assert shop.store.decrypt(HOME, KEY, inner, parse(inner_header + once), b"context") == b"plaintext"
    assert b"context" not in json.dumps(manager.asked).encode()


def blob(lengths: bytes, rest: int) -> bytes:
    """A blob of kind 3 with these two lengths and so many bytes after them."""
    return b"\x01\x03\x01" + bytes(48) + lengths + bytes(rest)


@pytest.mark.parametrize("iv_bytes", [12, 16])
@pytest.mark.parametrize("metadata_bytes", [0, 1, 20])
def test_the_parser_knows_the_bounds(iv_bytes: int, metadata_bytes: int) -> None:
    """1 to 4,096 bytes of plaintext below 40 bytes of inner and 16 of outer encryption."""
    lengths = bytes((iv_bytes, metadata_bytes))
    least, most = (iv_bytes + metadata_bytes + 40 + 16 + size for size in (1, 4096))
    for rest in (least, most):
        parsed = parse(blob(lengths, rest))
        assert parsed.kind is StoreKind.XKS
        assert len(parsed.nonce) == 2 + iv_bytes + metadata_bytes
    for rest in (0, least - 1, most + 1):
        with pytest.raises(CiphertextInvalid):
            parse(blob(lengths, rest))


@pytest.mark.parametrize("lengths", [b"", b"\x0c", b"\x00\x00", b"\x0b\x00", b"\x0d\x00", b"\xff\x00", b"\x0c\x15"])
def test_the_parser_refuses_other_lengths(lengths: bytes) -> None:
    """Vectors of 12 or 16 bytes, metadata of at most 20."""
    for rest in (0, 100, 2000) if len(lengths) == 2 else (0,):
        with pytest.raises(CiphertextInvalid):
            parse(blob(lengths, rest))
