"""ML-KEM-512's encapsulation as FIPS 203 writes it, slow and for tests alone: the peer that isn't OpenSSL.

Held against published vectors by `tests/unit/test_keystore_libcrypto.py`. Numbers in docstrings are the standard's
algorithms.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence

Q, N, K = 3329, 256, 2
ETA_1, ETA_2, D_U, D_V = 3, 2, 10, 4
PUBLIC_BYTES = 384 * K + 32

Polynomial = list[int]

_REVERSED = [int(f"{number:07b}"[::-1], 2) for number in range(128)]
_ZETAS = [pow(17, exponent, Q) for exponent in _REVERSED]
_GAMMAS = [pow(17, 2 * exponent + 1, Q) for exponent in _REVERSED]


def encapsulate(public: bytes, message: bytes | None = None) -> tuple[bytes, bytes]:
    """(shared secret, ciphertext), 17 and 20; `message` is what is random otherwise, 32 bytes."""
    assert len(public) == PUBLIC_BYTES
    message = os.urandom(32) if message is None else message
    both = hashlib.sha3_512(message + hashlib.sha3_256(public).digest()).digest()
    return both[:32], _encrypt(public, message, both[32:])


def _encrypt(public: bytes, message: bytes, randomness: bytes) -> bytes:
    """14."""
    t = [_decode(public[384 * i : 384 * (i + 1)], 12) for i in range(K)]
    rho = public[384 * K :]
    sampled = [_sample(randomness, number, ETA_1 if number < K else ETA_2) for number in range(2 * K + 1)]
    y = [_ntt(each) for each in sampled[:K]]
    u = [
        _add(_inverse_ntt(_dot([_uniform(rho, i, j) for j in range(K)], y)), sampled[K + i]) for i in range(K)
    ]
    mu = [bit * ((Q + 1) // 2) for bit in _decode(message, 1)]
    v = _add(_add(_inverse_ntt(_dot(t, y)), sampled[2 * K]), mu)
    return b"".join(_encode(_compress(each, D_U), D_U) for each in u) + _encode(_compress(v, D_V), D_V)


def _uniform(rho: bytes, row: int, column: int) -> Polynomial:
    """7, an entry of the transposed matrix."""
    stream = hashlib.shake_128(rho + bytes((row, column))).digest(3 * 1024)
    found: Polynomial = []
    for at in range(0, len(stream), 3):
        word = int.from_bytes(stream[at : at + 3], "little")
        found += [number for number in (word & 0xFFF, word >> 12) if number < Q]
    return found[:N]


def _sample(seed: bytes, number: int, eta: int) -> Polynomial:
    """8."""
    bits = _decode(hashlib.shake_256(seed + bytes((number,))).digest(64 * eta), 1)
    pieces = [bits[2 * eta * i : 2 * eta * (i + 1)] for i in range(N)]
    return [(sum(piece[:eta]) - sum(piece[eta:])) % Q for piece in pieces]


def _ntt(given: Polynomial) -> Polynomial:
    """9."""
    f, i, length = list(given), 1, 128
    while length >= 2:
        for start in range(0, N, 2 * length):
            for j in range(start, start + length):
                turned = _ZETAS[i] * f[j + length] % Q
                f[j], f[j + length] = (f[j] + turned) % Q, (f[j] - turned) % Q
            i += 1
        length //= 2
    return f


def _inverse_ntt(given: Polynomial) -> Polynomial:
    """10."""
    f, i, length = list(given), 127, 2
    while length <= 128:
        for start in range(0, N, 2 * length):
            for j in range(start, start + length):
                f[j], f[j + length] = (f[j] + f[j + length]) % Q, _ZETAS[i] * (f[j + length] - f[j]) % Q
            i -= 1
        length *= 2
    return [number * 3303 % Q for number in f]


def _dot(left: Sequence[Polynomial], right: Sequence[Polynomial]) -> Polynomial:
    """The sum of products by 11 and 12."""
    total = [0] * N
    for f, g in zip(left, right, strict=True):
        for i, gamma in enumerate(_GAMMAS):
            (a, b), (c, d) = f[2 * i : 2 * i + 2], g[2 * i : 2 * i + 2]
            total[2 * i] += a * c + b * d * gamma
            total[2 * i + 1] += a * d + b * c
    return [number % Q for number in total]


def _add(left: Polynomial, right: Polynomial) -> Polynomial:
    return [(a + b) % Q for a, b in zip(left, right, strict=True)]


def _compress(f: Polynomial, bits: int) -> Polynomial:
    return [((number << bits) + Q // 2) // Q % (1 << bits) for number in f]


def _encode(f: Polynomial, bits: int) -> bytes:
    """5."""
    return sum(number << (bits * i) for i, number in enumerate(f)).to_bytes(len(f) * bits // 8, "little")


def _decode(content: bytes, bits: int) -> Polynomial:
    """6."""
    whole = int.from_bytes(content, "little")
    return [whole >> (bits * i) & ((1 << bits) - 1) for i in range(len(content) * 8 // bits)]
