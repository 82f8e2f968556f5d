"""SYMMETRIC_DEFAULT keys: XAES-256-GCM, materials are 32 bytes."""

from __future__ import annotations

from kagitori_keystore.algorithms import KeySpec
from kagitori_keystore.secret import RandomSource
from kagitori_keystore.software.abilities import OpenedKey
from kagitori_keystore.xaes import XaesKey


class SymmetricKey(OpenedKey):
    """An opened key."""

    __slots__ = ("cipher",)

    def __init__(self, cipher: XaesKey) -> None:
        self.cipher = cipher


def make(spec: KeySpec, random: RandomSource) -> bytearray:
    """The material of a new key."""
    return bytearray(random(spec.material_bytes))


def open_key(_: KeySpec, material: bytearray) -> SymmetricKey:
    return SymmetricKey(XaesKey(material))
