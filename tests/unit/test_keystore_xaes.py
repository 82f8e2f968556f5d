"""XAES-256-GCM against the specification's vectors, and its refusals."""

from __future__ import annotations

import hashlib
import json
import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from kagitori_keystore.xaes import XaesKey

VECTORS: dict[str, Any] = json.loads(
    (Path(__file__).parents[1] / "vectors" / "xaes-256-gcm.json").read_text(encoding="ascii")
)
RECORD_BYTES_MAX = 32 + 24 + 2 * (1 + 255)


@pytest.mark.parametrize("vector", VECTORS["single"], ids=lambda vector: vector["comment"])
def test_published_vector(vector: dict[str, str]) -> None:
    """Key derivation, encryption and decryption give the published bytes."""
    key, nonce, plaintext, aad, ciphertext = (
        bytes.fromhex(vector[name]) for name in ("key", "nonce", "plaintext", "aad", "ciphertext")
    )
    assert XaesKey(key).encrypt(nonce, plaintext, aad) == ciphertext
    assert XaesKey(key).decrypt(nonce, ciphertext, aad) == plaintext
    # The derived key, by its effect: plain AES-256-GCM with it opens the ciphertext.
    derived = AESGCM(bytes.fromhex(vector["derived_key"]))
    assert derived.decrypt(nonce[12:], ciphertext, aad) == plaintext


def test_accumulated_vector() -> None:
    """10,000 random messages hash to the published value."""
    expected = VECTORS["accumulated"]
    iterations: int = expected["iterations"]
    stream = hashlib.shake_128(b"").digest(iterations * RECORD_BYTES_MAX)
    assert stream.startswith(bytes.fromhex(expected["rng_stream_starts_with"]))
    at = 0

    def read(size: int) -> bytes:
        nonlocal at
        at += size
        return stream[at - size : at]

    ciphertexts = hashlib.shake_128()
    for _ in range(iterations):
        key, nonce = XaesKey(read(32)), read(24)
        plaintext = read(read(1)[0])
        aad = read(read(1)[0])
        ciphertext = key.encrypt(nonce, plaintext, aad)
        assert key.decrypt(nonce, ciphertext, aad) == plaintext
        ciphertexts.update(ciphertext)
    assert ciphertexts.hexdigest(32) == expected["shake128_of_ciphertexts"]


def test_key_buffer_may_be_wiped() -> None:
    """The object keeps nothing of the buffer it was made from."""
    buffer = bytearray(os.urandom(32))
    reference = XaesKey(bytes(buffer))
    key = XaesKey(buffer)
    buffer[:] = bytes(32)
    nonce = os.urandom(24)
    assert key.encrypt(nonce, b"message", b"aad") == reference.encrypt(nonce, b"message", b"aad")
    assert key.encrypt(nonce, b"message", b"aad") == reference.encrypt(nonce, b"message", b"aad")


@pytest.mark.parametrize("size", [0, 16, 24, 31, 33, 64])
def test_key_size_is_checked(size: int) -> None:
    """Only 256-bit keys are taken."""
    with pytest.raises(ValueError, match="32 bytes"):
        XaesKey(bytes(size))


@pytest.mark.parametrize("size", [0, 12, 23, 25, 32])
def test_nonce_size_is_checked(size: int) -> None:
    """Only 192-bit nonces are taken."""
    key = XaesKey(bytes(32))
    with pytest.raises(ValueError, match="24 bytes"):
        key.encrypt(bytes(size), b"message", b"")
    with pytest.raises(ValueError, match="24 bytes"):
        key.decrypt(bytes(size), bytes(32), b"")


def test_every_input_is_authenticated() -> None:
    """A flipped bit anywhere in nonce, ciphertext, tag or additional data is noticed."""
    key = XaesKey(os.urandom(32))
    nonce, aad = os.urandom(24), b"additional"
    ciphertext = key.encrypt(nonce, b"message", aad)

    def flip(data: bytes, bit: int) -> bytes:
        return (int.from_bytes(data) ^ (1 << bit)).to_bytes(len(data))

    forgeries = [(flip(nonce, bit), ciphertext, aad) for bit in range(8 * len(nonce))]
    forgeries += [(nonce, flip(ciphertext, bit), aad) for bit in range(8 * len(ciphertext))]
    forgeries += [(nonce, ciphertext, flip(aad, bit)) for bit in range(8 * len(aad))]
    forgeries += [(nonce, ciphertext[:size], aad) for size in range(len(ciphertext))]
    for forged in forgeries:
        with pytest.raises(InvalidTag):
            key.decrypt(*forged)
    buffer = bytearray(len(b"message"))
    with pytest.raises(InvalidTag):
        key.decrypt_into(nonce, flip(ciphertext, 0), aad, buffer)
    assert buffer == bytes(len(buffer)), "unverified plaintext was left behind"


def test_one_key_serves_many_threads() -> None:
    """Concurrent messages under one key never get each other's subkey."""
    secret = os.urandom(32)
    key = XaesKey(secret)

    def work(worker: int) -> None:
        own = XaesKey(secret)
        for turn in range(2000):
            nonce = os.urandom(24)
            message = f"{worker} {turn}".encode()
            assert key.encrypt(nonce, message, b"") == own.encrypt(nonce, message, b"")

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)  # a thread may lose its turn between any two steps
    try:
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(work, range(8)))
    finally:
        sys.setswitchinterval(interval)


def test_derivation_waits_for_its_turn() -> None:
    """Without the lock one message in some 40,000 got another's key: too rare to be waited for in a test."""
    key = XaesKey(os.urandom(32))
    done = threading.Event()

    def work() -> None:
        key.encrypt(bytes(24), b"message", b"")
        done.set()

    with ThreadPoolExecutor(1) as pool:
        with key._lock:
            pool.submit(work)
            assert not done.wait(0.05)
        assert done.wait(5)


def test_message_keys_are_overwritten() -> None:
    """After each operation the buffer that held the message's own key is all zeros."""
    key = XaesKey(os.urandom(32))
    nonce = os.urandom(24)
    key.decrypt(nonce, key.encrypt(nonce, b"message", b""), b"")
    assert bytes(key._subkey) == bytes(32)
