"""ML-KEM-512 by OpenSSL's libcrypto, by way of `ctypes`: the one parameter set that `cryptography` leaves out.

Nothing of the library's is shared with others in the process that have it loaded, such as Python's TLS and libpq: all
is done in a context of its own (`OSSL_LIB_CTX_new`), into which no configuration file of the machine is read. The
library as a whole isn't initialised here either, since it is initialised once and others may want that otherwise.

Calls keep the interpreter lock (`PyDLL`): they take some ten microseconds, and an event loop that gave it up for each
of them would wait for a busy thread's turn to end. Thread-safety doesn't rest on that: an opened key isn't changed,
each operation has a context of its own, and OpenSSL's queue of errors is each thread's own.

Sources: OpenSSL's manual, EVP_KEM-ML-KEM(7), EVP_PKEY-ML-KEM(7), EVP_PKEY_fromdata(3); FIPS 203 sections 7 and 8.
"""

from __future__ import annotations

import ctypes
from ctypes import POINTER, byref, c_char_p, c_int, c_size_t, c_uint, c_ulong, c_void_p, create_string_buffer

from kagitori_keystore.base import StoreLost
from kagitori_keystore.secret import Guarded

SEED_BYTES = 64
"""d || z."""
PUBLIC_BYTES = 800
CIPHERTEXT_BYTES = 768
SECRET_BYTES = 32

_LEAST_VERSION = 0x30500000
_PARAMETER_SET = b"ML-KEM-512"
_KEYPAIR = 0x87
"""EVP_PKEY_KEYPAIR: both halves, with the parameters (0x04 | 0x80 | 0x01 | 0x02)."""
_OCTET_STRING = 5
"""OSSL_PARAM_OCTET_STRING."""
_UNMODIFIED = c_size_t(-1).value
"""OSSL_PARAM_UNMODIFIED."""


class LibCryptoUnusable(Exception):
    """No OpenSSL of 3.5 or newer with ML-KEM-512. The message says what was found, in words for the operator."""


class _Parameter(ctypes.Structure):
    """OSSL_PARAM, OSSL_PARAM(3)."""

    _fields_ = (
        ("key", c_char_p), ("data_type", c_uint), ("data", c_void_p), ("data_size", c_size_t),
        ("return_size", c_size_t),
    )


_SIGNATURES: dict[str, tuple[type[c_int] | type[c_void_p] | None, tuple[type[object], ...]]] = {
    "OSSL_LIB_CTX_new": (c_void_p, ()),
    "OSSL_LIB_CTX_free": (None, (c_void_p,)),
    "ERR_clear_error": (None, ()),
    "EVP_PKEY_CTX_new_from_name": (c_void_p, (c_void_p, c_char_p, c_char_p)),
    "EVP_PKEY_CTX_new_from_pkey": (c_void_p, (c_void_p, c_void_p, c_char_p)),
    "EVP_PKEY_CTX_free": (None, (c_void_p,)),
    "EVP_PKEY_fromdata_init": (c_int, (c_void_p,)),
    "EVP_PKEY_fromdata": (c_int, (c_void_p, POINTER(c_void_p), c_int, POINTER(_Parameter))),
    "EVP_PKEY_free": (None, (c_void_p,)),
    "EVP_PKEY_get_raw_public_key": (c_int, (c_void_p, c_char_p, POINTER(c_size_t))),
    "EVP_PKEY_encapsulate_init": (c_int, (c_void_p, c_void_p)),
    "EVP_PKEY_encapsulate": (c_int, (c_void_p, c_char_p, POINTER(c_size_t), c_char_p, POINTER(c_size_t))),
    "EVP_PKEY_decapsulate_init": (c_int, (c_void_p, c_void_p)),
    "EVP_PKEY_decapsulate": (c_int, (c_void_p, c_char_p, POINTER(c_size_t), c_char_p, c_size_t)),
}


class _Loaded:
    """The library's functions, and the context in which they are called; it goes when the last key has gone."""

    context: int | None = None

    def __init__(self, name: str) -> None:
        """Raises `LibCryptoUnusable`."""
        try:
            self.library = ctypes.PyDLL(name)
            self.version = _version_of(name, self.library)
            for function, (result, arguments) in _SIGNATURES.items():
                found = getattr(self.library, function)
                found.restype, found.argtypes = result, arguments
        except OSError:
            # No cause: the linker's message repeats the path, and says little else.
            raise LibCryptoUnusable(f"{name} can't be loaded as a library") from None
        except AttributeError:
            raise LibCryptoUnusable(f"{name} is no libcrypto of OpenSSL") from None
        self.context = self.library.OSSL_LIB_CTX_new()
        if not self.context:
            raise LibCryptoUnusable(f"{name} gives no context")

    def __del__(self) -> None:
        # Not `weakref.finalize`, which would need another object to keep what this one is there to keep.
        if self.context:
            self.library.OSSL_LIB_CTX_free(self.context)

    def failed(self, what: str) -> StoreLost:
        """The failure to raise. What the library says of it is dropped, so that nothing else takes it for its own."""
        self.library.ERR_clear_error()
        return StoreLost(f"OpenSSL could not {what}")


class LibCrypto:
    """A libcrypto that has ML-KEM-512.

    `name` is a path, or a name such as libcrypto.so.3 for the linker to find; `version` is the library's, such as
    3.5.0. Raises `LibCryptoUnusable`. The library stays loaded.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._loaded = _Loaded(name)
        self.version = self._loaded.version
        self._try()

    def open_ml_kem_512(self, seed: bytes | bytearray) -> MlKem512:
        """The key of a seed d || z, which is copied. Raises `StoreLost` if the library fails, as without memory."""
        if len(seed) != SEED_BYTES:
            raise ValueError(f"a seed has {SEED_BYTES} bytes")
        library = self._loaded.library
        buffer = (ctypes.c_char * SEED_BYTES).from_buffer_copy(seed)
        key = c_void_p()
        context = library.EVP_PKEY_CTX_new_from_name(self._loaded.context, _PARAMETER_SET, None)
        try:
            parameters = (_Parameter * 2)(
                _Parameter(b"seed", _OCTET_STRING, ctypes.addressof(buffer), SEED_BYTES, _UNMODIFIED), _Parameter()
            )
            done = (
                context
                and library.EVP_PKEY_fromdata_init(context) == 1
                and library.EVP_PKEY_fromdata(context, byref(key), _KEYPAIR, parameters) == 1
            )
        finally:
            ctypes.memset(buffer, 0, SEED_BYTES)
            library.EVP_PKEY_CTX_free(context)  # takes none as well
        if not done or not key.value:
            raise self._loaded.failed("open a key")
        return MlKem512(self._loaded, key.value)

    def _try(self) -> None:
        """A library may be built without the algorithm, and one that is loaded twice may not work."""
        try:
            key = self.open_ml_kem_512(bytes(SEED_BYTES))
            secret, ciphertext = key.encapsulate()
            works = key.decapsulate(ciphertext) == secret and len(key.public_bytes()) == PUBLIC_BYTES
        except StoreLost:
            works = False
        if not works:
            raise LibCryptoUnusable(f"{self.name} has no ML-KEM-512")


class MlKem512(Guarded):
    """A key pair, opened by `LibCrypto.open_ml_kem_512`. All methods raise `StoreLost` if the library fails."""

    __slots__ = ("_key", "_loaded")

    def __init__(self, loaded: _Loaded, key: int) -> None:
        self._loaded = loaded
        self._key = key

    def __del__(self) -> None:
        # OpenSSL overwrites the private half. Whoever is in the middle of a call holds this object.
        self._loaded.library.EVP_PKEY_free(self._key)

    def public_bytes(self) -> bytes:
        """The encapsulation key (FIPS 203 section 7.1), 800 bytes."""
        buffer, size = create_string_buffer(PUBLIC_BYTES), c_size_t(PUBLIC_BYTES)
        done = self._loaded.library.EVP_PKEY_get_raw_public_key(self._key, buffer, byref(size)) == 1
        if not done or size.value != PUBLIC_BYTES:
            raise self._loaded.failed("tell a public key")
        return buffer.raw

    def encapsulate(self) -> tuple[bytes, bytes]:
        """(shared secret of 32 bytes, ciphertext of 768 bytes)."""
        library = self._loaded.library
        ciphertext, length = create_string_buffer(CIPHERTEXT_BYTES), c_size_t(CIPHERTEXT_BYTES)
        secret, size = create_string_buffer(SECRET_BYTES), c_size_t(SECRET_BYTES)
        context = self._new_context()
        try:
            done = (
                context
                and library.EVP_PKEY_encapsulate_init(context, None) == 1
                and library.EVP_PKEY_encapsulate(context, ciphertext, byref(length), secret, byref(size)) == 1
            )
            if not done or (length.value, size.value) != (CIPHERTEXT_BYTES, SECRET_BYTES):
                raise self._loaded.failed("encapsulate")
            return secret.raw, ciphertext.raw
        finally:
            ctypes.memset(secret, 0, SECRET_BYTES)
            library.EVP_PKEY_CTX_free(context)

    def decapsulate(self, ciphertext: bytes) -> bytes:
        """The shared secret, 32 bytes; for a ciphertext that isn't this key's another one (implicit rejection).

        Raises `ValueError` for one that has not 768 bytes.
        """
        if len(ciphertext) != CIPHERTEXT_BYTES:
            raise ValueError(f"a ciphertext has {CIPHERTEXT_BYTES} bytes")
        library = self._loaded.library
        secret, size = create_string_buffer(SECRET_BYTES), c_size_t(SECRET_BYTES)
        context = self._new_context()
        try:
            done = (
                context
                and library.EVP_PKEY_decapsulate_init(context, None) == 1
                and library.EVP_PKEY_decapsulate(context, secret, byref(size), ciphertext, CIPHERTEXT_BYTES) == 1
            )
            if not done or size.value != SECRET_BYTES:
                raise self._loaded.failed("decapsulate")
            return secret.raw
        finally:
            ctypes.memset(secret, 0, SECRET_BYTES)
            library.EVP_PKEY_CTX_free(context)

    def _new_context(self) -> int | None:
        found: int | None = self._loaded.library.EVP_PKEY_CTX_new_from_pkey(self._loaded.context, self._key, None)
        return found


def _version_of(name: str, library: ctypes.CDLL) -> str:
    """As in OPENSSL_VERSION_NUMBER(3). Raises AttributeError for what is no libcrypto, `LibCryptoUnusable`."""
    library.OpenSSL_version_num.restype = c_ulong
    library.OpenSSL_version_num.argtypes = ()
    number: int = library.OpenSSL_version_num()
    version = f"{number >> 28}.{number >> 20 & 0xFF}.{number >> 4 & 0xFFFF}"
    if number < _LEAST_VERSION:
        raise LibCryptoUnusable(f"{name} is of version {version}; ML-KEM-512 needs OpenSSL 3.5 or newer")
    return version
