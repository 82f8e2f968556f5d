"""Loads a PKCS#11 module so that it locks, which `python-pkcs11` does not ask of it.

`python-pkcs11` calls C_Initialize(NULL) and yet releases the interpreter's lock around every call: a module then
may leave out its own locks (PKCS#11 2.40 section 5.4), and SoftHSM crashes. The module's own function list is
therefore changed, before it is loaded, to pass CKF_OS_LOCKING_OK.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import pkcs11
from pkcs11 import _pkcs11

_OS_LOCKING_OK = 2


class _InitializeArguments(ctypes.Structure):
    """CK_C_INITIALIZE_ARGS; the field named reserved is where NSS takes its LibraryParameters from."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("create", "destroy", "lock", "unlock")),
        ("flags", ctypes.c_ulong),
        ("reserved", ctypes.c_char_p),
    )


_Initialize = ctypes.CFUNCTYPE(ctypes.c_ulong, ctypes.c_void_p)


class Module:
    """A loaded module; has to be kept as long as it is used, for the memory that the module was shown."""

    __slots__ = ("_kept", "library")

    def __init__(self, path: str, parameters: str | None) -> None:
        """Loads and initialises. Raises `OSError` or `pkcs11.PKCS11Error`; only once in a process and path."""
        dll = ctypes.CDLL(path)
        functions = ctypes.c_void_p()
        if not hasattr(dll, "C_GetFunctionList"):
            raise OSError("the library is no PKCS#11 module")
        if dll.C_GetFunctionList(ctypes.byref(functions)) != 0 or functions.value is None:
            raise OSError("the module gives no function list")
        # CK_FUNCTION_LIST begins with a CK_VERSION, padded to a pointer's size; C_Initialize is its first function.
        slot = ctypes.c_void_p.from_address(functions.value + ctypes.sizeof(ctypes.c_void_p))
        if slot.value is None:
            raise OSError("the module does not initialise")
        given = _InitializeArguments(flags=_OS_LOCKING_OK, reserved=parameters.encode() if parameters else None)
        real: Callable[[int], int] = _Initialize(slot.value)
        instead = _Initialize(lambda _: real(ctypes.addressof(given)))
        self._kept: tuple[Any, ...] = (dll, given, real, instead)
        slot.value = ctypes.cast(instead, ctypes.c_void_p).value
        self.library: _pkcs11.lib = pkcs11.lib(path)
