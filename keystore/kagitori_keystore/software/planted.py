"""A software key store for tests, which can be told what key to make next."""

from __future__ import annotations

from kagitori_keystore.algorithms import KeySpec
from kagitori_keystore.base import Domain, MaterialRef
from kagitori_keystore.importing.materials import canonical_material
from kagitori_keystore.rootkey.provider import RootKeyProvider
from kagitori_keystore.secret import RandomSource, SecretBytes
from kagitori_keystore.software.keks import KekShelf
from kagitori_keystore.software.libcrypto import LibCrypto
from kagitori_keystore.software.materials import seal_material
from kagitori_keystore.software.store import SoftwareKeyStore
from kagitori_keystore.xaes import NONCE_BYTES


class PlantedKeyStore(SoftwareKeyStore):
    """Makes a key as others do, unless its material was planted. For one thread at a time while anything is."""

    __slots__ = ("_planted",)

    def __init__(
        self, root: RootKeyProvider, shelf: KekShelf, random: RandomSource, *, libcrypto: LibCrypto | None = None
    ) -> None:
        super().__init__(root, shelf, random, libcrypto=libcrypto)
        self._planted: dict[str, bytes] = {}

    def plant(self, key_id: str, material: bytes) -> None:
        """Lets the next material that is generated for a key be this one, in the form that imports have."""
        self._planted[key_id] = material

    def generate(self, spec: KeySpec, domain: Domain, key_id: str) -> MaterialRef:
        """As planted, or fresh. Raises `ImportRefused` for what was planted and is no key of the spec."""
        planted = self._planted.pop(key_id, None)
        if planted is None:
            return super().generate(spec, domain, key_id)
        self._check_open()
        self._check_made(spec)
        with SecretBytes(canonical_material(spec, planted)) as material:
            return seal_material(self._keks.of(domain), self._random(NONCE_BYTES), spec, domain, key_id, material)
