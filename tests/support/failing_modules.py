"""A module in front of SoftHSM that fails on order: hangs, crashes, ends the process, or answers with an error."""

from __future__ import annotations

import enum
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path

from tests.support.tokens import MODULE, Token


class Function(enum.IntEnum):
    """Places in CK_FUNCTION_LIST (PKCS#11 2.40, pkcs11f.h), from 0."""

    SET_PIN = 11
    OPEN_SESSION = 12
    LOGIN = 18
    GET_ATTRIBUTE_VALUE = 24
    FIND_OBJECTS_INIT = 26
    ENCRYPT_INIT = 29
    ENCRYPT = 30
    DECRYPT_INIT = 33
    SIGN_INIT = 42
    SIGN = 43
    GENERATE_KEY = 58
    GENERATE_RANDOM = 64


@dataclass(frozen=True)
class FailingToken:
    """A token behind such a module."""

    token: Token
    orders: Path

    def fail(self, function: Function, action: str) -> None:
        """From now on every call of the function does this: hang, crash, exit, or return a CKR value (0x…). The
        function GET_ATTRIBUTE_VALUE may also say of keys and points what isn't so: `extractable`, `legible`, `visible`,
        `garbled`, `modulus`, `public-exponent`, `kind`."""
        written = self.orders.with_suffix(".new")
        written.write_text(f"{int(function)} {action}\n")
        written.rename(self.orders)

    def recover(self) -> None:
        """From now on nothing fails."""
        self.orders.unlink(missing_ok=True)


def failing(token: Token) -> FailingToken:
    """Puts the module in front of the token's. Needs a C compiler."""
    module, orders = token.place / "failing.so", token.place / "orders"
    subprocess.run(
        [
            "cc", "-shared", "-fPIC", "-O1", f'-DREAL_MODULE="{MODULE}"', f'-DFAULT_FILE="{orders}"',
            "-o", str(module), "tests/support/failing_module.c", "-ldl",
        ],
        check=True,
    )  # fmt: skip
    return FailingToken(replace(token, settings=replace(token.settings, module=str(module))), orders)
