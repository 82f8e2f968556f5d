"""What a store of symmetric keys alone answers to everything else that a `GeneralKeyStore` is asked: no."""

from __future__ import annotations

from typing import NoReturn

from kagitori_keystore.algorithms import (
    AsymmetricEncryptionAlgorithm,
    DataKeyPairSpec,
    KeySpec,
    MessageForm,
    SigningAlgorithm,
)
from kagitori_keystore.base import Domain, MaterialRef, RequestRefused

_PASSED_ON = "an external key is not passed on as an external key"


class OfSymmetricKeysAlone:
    """The methods of `GeneralKeyStore` that external keys don't serve; all raise `RequestRefused`."""

    __slots__ = ()

    def generate(self, spec: KeySpec, domain: Domain, key_id: str) -> NoReturn:
        raise RequestRefused("an external key store makes no keys: they are named")

    def random(self, size: int) -> NoReturn:
        _refuse()

    def wrap_secret(self, domain: Domain, label: str, secret: bytes) -> NoReturn:
        _refuse()

    def unwrap_secret(self, domain: Domain, label: str, wrapped: bytes) -> NoReturn:
        _refuse()

    def public_key(self, domain: Domain, key_id: str, ref: MaterialRef) -> NoReturn:
        _refuse()

    def encrypt_asymmetric(
        self, domain: Domain, key_id: str, ref: MaterialRef, algorithm: AsymmetricEncryptionAlgorithm, plaintext: bytes
    ) -> NoReturn:
        _refuse()

    def decrypt_asymmetric(
        self, domain: Domain, key_id: str, ref: MaterialRef, algorithm: AsymmetricEncryptionAlgorithm, ciphertext: bytes
    ) -> NoReturn:
        _refuse()

    def sign(
        self, domain: Domain, key_id: str, ref: MaterialRef, algorithm: SigningAlgorithm, form: MessageForm,
        message: bytes,
    ) -> NoReturn:
        _refuse()

    def verify(
        self, domain: Domain, key_id: str, ref: MaterialRef, algorithm: SigningAlgorithm, form: MessageForm,
        message: bytes, signature: bytes,
    ) -> NoReturn:
        _refuse()

    def generate_mac(self, domain: Domain, key_id: str, ref: MaterialRef, message: bytes) -> NoReturn:
        _refuse()

    def verify_mac(self, domain: Domain, key_id: str, ref: MaterialRef, message: bytes, mac: bytes) -> NoReturn:
        _refuse()

    def derive_shared_secret(
        self, domain: Domain, key_id: str, ref: MaterialRef, peer_public_key: bytes
    ) -> NoReturn:
        _refuse()

    def encapsulate(self, domain: Domain, key_id: str, ref: MaterialRef) -> NoReturn:
        _refuse()

    def decapsulate(self, domain: Domain, key_id: str, ref: MaterialRef, ciphertext: bytes) -> NoReturn:
        _refuse()

    def generate_data_key_pair(
        self, domain: Domain, key_id: str, ref: MaterialRef, pair_spec: DataKeyPairSpec, context: bytes
    ) -> NoReturn:
        _refuse()

    def replicate(self, domain: Domain, key_id: str, ref: MaterialRef, target: Domain) -> NoReturn:
        _refuse()

    def seal_for_proxy(
        self, domain: Domain, key_id: str, ref: MaterialRef, plaintext: bytes, context: bytes
    ) -> NoReturn:
        raise RequestRefused(_PASSED_ON)

    def open_for_proxy(
        self, domain: Domain, key_id: str, ref: MaterialRef, nonce: bytes, sealed: bytes, context: bytes
    ) -> NoReturn:
        raise RequestRefused(_PASSED_ON)

    def proxy_nonce_bytes(self) -> NoReturn:
        raise RequestRefused(_PASSED_ON)

    def import_parameters(self, *_: object, **__: object) -> NoReturn:
        _refuse()

    def import_material(self, *_: object, **__: object) -> NoReturn:
        _refuse()


def _refuse() -> NoReturn:
    raise RequestRefused("an external key store holds symmetric encryption keys, and encrypts and decrypts alone")
