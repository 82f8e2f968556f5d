"""What the first version of the software store wrote into catalogs opens today, byte for byte."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from tests.support.keystore_parts import MemoryShelf

from kagitori_keystore.base import Domain, MaterialRef, StoreKind
from kagitori_keystore.ciphertext import parse
from kagitori_keystore.rootkey import open_file_root
from kagitori_keystore.software import SoftwareKeyStore

KEPT: dict[str, Any] = json.loads(
    Path(__file__).parents[1].joinpath("vectors", "software-store-v1.json").read_text(encoding="utf-8")
)


@pytest.fixture
def store(tmp_path: Path) -> SoftwareKeyStore:
    """A store over the kept root key file and key-encryption keys."""
    directory = tmp_path / "root"
    directory.mkdir(mode=0o700)
    for name, content in KEPT["root_key_files"].items():
        directory.joinpath(name).write_bytes(bytes.fromhex(content))
        directory.joinpath(name).chmod(0o600)
    shelf = MemoryShelf()
    for region, wrapped in KEPT["keks"].items():
        shelf.rows[Domain("000000000000", region)] = bytes.fromhex(wrapped)
    return SoftwareKeyStore(open_file_root(directory, os.urandom), shelf, os.urandom)


@pytest.mark.parametrize("kept", KEPT["materials"], ids=lambda kept: f"{kept['region']} {kept['key_id'][:4]}")
def test_materials_open(store: SoftwareKeyStore, kept: dict[str, str]) -> None:
    """References and blobs of UUID and multi-Region keys, in two Regions."""
    domain, key = Domain(kept["account"], kept["region"]), kept["key_id"]
    ref = MaterialRef(StoreKind.SOFTWARE, bytes.fromhex(kept["reference"]), kept["material_id"])
    context, plaintext = bytes.fromhex(kept["context"]), bytes.fromhex(kept["plaintext"])
    assert store.decrypt(domain, key, ref, parse(bytes.fromhex(kept["blob"])), context) == plaintext
    assert store.decrypt(domain, key, ref, parse(store.encrypt(domain, key, ref, plaintext, b"")), b"") == plaintext


def test_secrets_open(store: SoftwareKeyStore) -> None:
    """The wrapped secret of an access key."""
    kept = KEPT["secret"]
    secret = store.unwrap_secret(Domain(kept["account"], kept["region"]), kept["label"], bytes.fromhex(kept["wrapped"]))
    assert secret == bytes.fromhex(kept["secret"])
