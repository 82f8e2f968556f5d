"""Readers for the files of the package `cryptography_vectors`, and a way to give a store a known material."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import cryptography_vectors
from tests.support.keystore_parts import HOME, KEY, Workshop

from kagitori_keystore.algorithms import KeySpec
from kagitori_keystore.base import MaterialRef
from kagitori_keystore.software.keks import KekRing
from kagitori_keystore.software.materials import seal_material
from kagitori_keystore.xaes import NONCE_BYTES

_ROOT = Path(cryptography_vectors.__file__).parent
_PAIR = re.compile(r"(\w+)\s*=\s*(.*)")


def known(shop: Workshop, spec: KeySpec, material: bytes) -> MaterialRef:
    """A reference on a known material, of the key KEY at HOME: sealed as the workshop's store seals what it draws."""
    kek = KekRing(shop.root, shop.shelf, shop.random, 1).of(HOME)
    return seal_material(kek, shop.random(NONCE_BYTES), spec, HOME, KEY, bytearray(material))


def lines(*path: str) -> Iterator[str]:
    """The lines of a file, as it lies in the package, without comments and blank ones."""
    with _ROOT.joinpath(*path).open(encoding="latin-1") as file:
        for line in file:
            if line.strip() and not line.startswith("#"):
                yield line.strip()


def records(*path: str, last: str) -> Iterator[tuple[str, dict[str, str]]]:
    """(section, fields) of a file of NIST's kind, a record ending with the field `last`.

    Fields stay until they are given anew, as moduli do there that are written once for many messages.
    """
    section, fields = "", {}
    for line in lines(*path):
        if line.startswith("["):
            section = line.strip("[]")
        elif found := _PAIR.match(line):
            fields[found[1]] = found[2]
            if found[1] == last:
                yield section, dict(fields)


def labelled(*path: str) -> Iterator[dict[str, bytes]]:
    """Fields of a file of RSA Laboratories' kind: labels in comments, values in lines of hexadecimal digits.

    One dictionary for each "Encryption", with what was given before it. "Modulus" and its like begin a new key.
    """
    label, fields = "", dict[str, bytes]()
    with _ROOT.joinpath(*path).open(encoding="latin-1") as file:
        for line in (raw.strip() for raw in file):
            if line.startswith("#"):
                if label == "Encryption" and fields.get(label):
                    yield dict(fields)
                label = line.strip("# :")
                fields.pop(label, None)
            elif line and re.fullmatch(r"[0-9a-fA-F ]+", line):
                digits = line.replace(" ", "")
                fields[label] = fields.get(label, b"") + bytes.fromhex(digits.rjust(len(digits) + len(digits) % 2, "0"))
    if label == "Encryption":
        yield dict(fields)
