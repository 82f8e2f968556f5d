"""The software key store: keys live wrapped in the catalog and are opened in this process's memory.

    root key (a provider) wraps the key-encryption key (KEK) of each account and Region, which wraps materials

`store` is the store, `keks` the key-encryption keys, `materials` the format of references, `families` which
module makes and opens keys of which kind. Keys are done with by `cryptography` (OpenSSL), except for Ed25519ph,
which it lacks and PyNaCl (libsodium) has, and ML-KEM-512, which it lacks and a libcrypto of OpenSSL 3.5 or newer
has; a store that is given none (`libcrypto`) makes keys of every spec but ML_KEM_512.

What is opened stays in memory as the library's key objects, whose memory OpenSSL holds and clears. The buffers
used on the way are overwritten, as far as `secret.py` can promise; a data key pair, an Ed25519ph signature and
the making of RSA and EC keys leave immutable copies for the memory allocator to reuse.

What an operation costs decides whether a caller may wait for it in its event loop. Microseconds on one core of
a shared cloud machine, the key opened already (opening adds 15 to 50, on curves but P-256 and for ML-DSA and
ML-KEM 120 to 550):

    MAC of 4 KiB                4 to 8      ML-KEM encapsulate, decapsulate  20 to 50
    symmetric                   5           ML-DSA sign, verify              550 to 2,000, 110 to 550
    public key                  1 to 50     RSA verify, encrypt              20 to 75
    Ed25519 sign, verify        45, 110     RSA sign, decrypt                250 (2,048 bits), 700, 1,500 (4,096)
    ECDSA P-256 sign, verify    30, 85      RSA key or data key pair         20,000 to 5,000,000
    ECDSA, ECDH other curves    300 to 650  other keys and pairs             150 to 650
    import of an RSA key        45,000 to   wrapping pair for an import      30,000 (2,048 bits), 190,000,
                                800,000                                      1,400,000 (4,096), as luck has it
    import of other keys        600 to 7,500

The interpreter lock is held during symmetric operations, MACs and ML-KEM, and released during all others.
"""

from kagitori_keystore.software.keks import KekShelf
from kagitori_keystore.software.store import SoftwareKeyStore

__all__ = ["KekShelf", "SoftwareKeyStore"]
