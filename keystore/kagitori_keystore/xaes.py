"""XAES-256-GCM: AES-256-GCM with a 192-bit nonce that may be random for any number of messages.

Source: C2SP specification, https://c2sp.org/XAES-256-GCM. Each message gets its own AES-256-GCM key from
NIST SP 800-108r1 counter mode over CMAC-AES256, whose input is a single block:

    L  = AES(K, 0^128)              K1 = dbl(L), the CMAC subkey (SP 800-38B section 6.1)
    M1 = 00 01 'X' 00 || N[0:12]    M2 = 00 02 'X' 00 || N[0:12]
    Kx = AES(K, M1 ^ K1) || AES(K, M2 ^ K1)    Nx = N[12:24]

Everything that depends on K alone is computed once per `XaesKey`.
"""

from __future__ import annotations

import threading

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import ECB

from kagitori_keystore.secret import Guarded, wipe

KEY_BYTES = 32
NONCE_BYTES = 24
TAG_BYTES = 16

_BLOCK = 16
_MASK_128 = (1 << 128) - 1
_ZEROS = bytes(KEY_BYTES)
_M1_M2_PREFIXES = int.from_bytes(b"\x00\x01X\x00" + bytes(12) + b"\x00\x02X\x00" + bytes(12))
_BOTH_BLOCKS = (1 << 128) | 1  # times N[0:12]: the same twelve bytes at the end of either block


class XaesKey(Guarded):
    """One 256-bit key, ready for use by any number of threads; the given buffer may be wiped afterwards.

    The AES key schedule lives inside OpenSSL, which clears it when the object goes. A message's own key
    passes through one buffer that is overwritten as soon as its cipher is made.
    """

    __slots__ = ("_block_cipher", "_lock", "_prefixes", "_scratch", "_subkey")

    def __init__(self, key: bytes | bytearray) -> None:
        if len(key) != KEY_BYTES:
            raise ValueError("an XAES-256-GCM key has 32 bytes")
        # ECB is the bare block cipher that the definition of CMAC asks for; no message passes through it.
        self._block_cipher = Cipher(AES(key), ECB()).encryptor()  # noqa: S305  (reason: line above)
        doubled = int.from_bytes(self._block_cipher.update(bytes(_BLOCK))) << 1
        carry = doubled >> 128
        k1 = (doubled & _MASK_128) ^ (0x87 * carry)
        self._prefixes = _M1_M2_PREFIXES ^ (k1 * _BOTH_BLOCKS)
        # `update_into` asks for one block less a byte more than it writes.
        self._scratch = bytearray(KEY_BYTES + _BLOCK - 1)
        self._subkey = memoryview(self._scratch)[:KEY_BYTES]
        self._lock = threading.Lock()  # the encryptor and the scratch buffer serve one thread at a time

    def encrypt(self, nonce: bytes, plaintext: bytes | bytearray, aad: bytes) -> bytes:
        """Ciphertext and tag (16 bytes longer than the plaintext). The nonce (24 bytes) must be random."""
        return self._message_cipher(nonce).encrypt(nonce[12:], plaintext, aad)

    def decrypt(self, nonce: bytes, ciphertext: bytes, aad: bytes) -> bytes:
        """The plaintext of ciphertext and tag. Raises cryptography's `InvalidTag`."""
        return self._message_cipher(nonce).decrypt(nonce[12:], ciphertext, aad)

    def decrypt_into(self, nonce: bytes, ciphertext: bytes, aad: bytes, buffer: bytearray) -> None:
        """Like `decrypt`, into a buffer of the plaintext's size, which holds zeros after `InvalidTag`."""
        try:
            self._message_cipher(nonce).decrypt_into(nonce[12:], ciphertext, aad, buffer)
        except InvalidTag:
            wipe(buffer)  # the library leaves unverified plaintext there
            raise

    def _message_cipher(self, nonce: bytes) -> AESGCM:
        if len(nonce) != NONCE_BYTES:
            raise ValueError("an XAES-256-GCM nonce has 24 bytes")
        blocks = ((int.from_bytes(nonce[:12]) * _BOTH_BLOCKS) ^ self._prefixes).to_bytes(KEY_BYTES)
        with self._lock:
            self._block_cipher.update_into(blocks, self._scratch)
            cipher = AESGCM(self._subkey)
            self._subkey[:] = _ZEROS
        return cipher
