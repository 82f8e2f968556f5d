"""Makes a SoftHSM token in a folder of its own: `python softhsm/init_token.py --directory DIR`.

PINs come from files or the environment, never from arguments, which every user of the machine can read. A PIN file
that does not exist is made, with a random PIN. Says what a server has to be told, as JSON on standard output.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import secrets
import sys
from pathlib import Path

import pkcs11

MODULES = (
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib64/pkcs11/libsofthsm2.so",
    "/usr/local/lib/softhsm/libsofthsm2.so",
)
TEMPLATE = Path(__file__).parent / "softhsm2.conf.template"
LABEL_BYTES = 32
PIN_VARIABLE, SO_PIN_VARIABLE = "KAGITORI_TOKEN_PIN", "KAGITORI_TOKEN_SO_PIN"


def main() -> None:
    """Reads the arguments, makes the token, prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--directory", type=Path, required=True, help="where configuration, token and PINs lie")
    parser.add_argument("--label", default="kagitori", help="the token's label, at most 32 bytes")
    parser.add_argument("--pin-file", type=Path, help=f"the user PIN (default: ${PIN_VARIABLE}, then DIRECTORY/pin)")
    parser.add_argument("--so-pin-file", type=Path, help=f"the SO PIN (default: ${SO_PIN_VARIABLE}, DIRECTORY/so-pin)")
    parser.add_argument("--module", default=next(filter(os.path.exists, MODULES), MODULES[0]))
    options = parser.parse_args()
    os.umask(0o077)
    directory = options.directory.absolute()
    (directory / "tokens").mkdir(parents=True, exist_ok=True)
    pin = read_pin(options.pin_file, PIN_VARIABLE, directory / "pin")
    so_pin = read_pin(options.so_pin_file, SO_PIN_VARIABLE, directory / "so-pin")
    configuration = directory / "softhsm2.conf"
    configuration.write_text(TEMPLATE.read_text().replace("@DIRECTORY@", str(directory)))
    os.environ["SOFTHSM2_CONF"] = str(configuration)
    serial = make_token(options.module, options.label, pin, so_pin)
    print(json.dumps({"module": options.module, "softhsm_conf": str(configuration), "token_serial": serial}))


def read_pin(file: Path | None, variable: str, default: Path) -> str:
    """The PIN of a file or of the environment; a random one, written to the file, if there is neither."""
    if file is None and variable in os.environ:
        return os.environ[variable]
    file = file or default
    if not file.exists():
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as made:
            made.write(secrets.token_urlsafe(18) + "\n")
    return file.read_text().rstrip("\n")


def make_token(module: str, label: str, pin: str, so_pin: str) -> str:
    """Initialises the free slot; returns the serial number. Ends the program if there is a token of this label."""
    if not 1 <= len(label.encode()) <= LABEL_BYTES:
        sys.exit(f"A label has 1 to {LABEL_BYTES} bytes.")
    library = pkcs11.lib(module)
    if any(token.label == label for token in library.get_tokens()):
        sys.exit(f"There is a token {label!r} already.")
    # python-pkcs11 has no C_InitToken. SoftHSM always offers one slot more than it has tokens.
    free = next(
        slot.slot_id for slot in library.get_slots() if pkcs11.TokenFlag.TOKEN_INITIALIZED not in slot.get_token().flags
    )
    proof, name = so_pin.encode(), label.encode().ljust(LABEL_BYTES)
    code = ctypes.CDLL(module).C_InitToken(ctypes.c_ulong(free), proof, ctypes.c_ulong(len(proof)), name)
    if code != 0:
        sys.exit(f"C_InitToken failed with 0x{code:x}.")
    library.reinitialize()  # the new token has another slot
    token = library.get_token(token_label=label)
    with token.open(rw=True, so_pin=so_pin) as session:
        session.init_pin(pin)
    return token.serial.decode()


if __name__ == "__main__":
    main()
