"""What opened keys can do: one class for each ability, which the classes of a family combine.

The store checks what the tables of `algorithms.py` say (sizes, algorithms, forms) before it calls these, so
they may take it for granted. They are thread-safe, and raise nothing that is not written here.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from kagitori_keystore.algorithms import AsymmetricEncryptionAlgorithm, MessageForm, SigningAlgorithm
from kagitori_keystore.secret import Guarded


@dataclass(slots=True)
class Signable:
    """A message with how it is to be signed."""

    algorithm: SigningAlgorithm
    form: MessageForm
    message: bytes = field(repr=False)


class OpenedKey(Guarded):
    """A key that is ready for use."""

    __slots__ = ()


class PublicHalf(OpenedKey):
    """A key with a public half."""

    __slots__ = ()

    def public_der(self) -> bytes:
        """DER SubjectPublicKeyInfo."""
        raise NotImplementedError


class SigningKey(OpenedKey):
    """A key that signs."""

    __slots__ = ()

    def sign(self, what: Signable) -> bytes:
        """The signature."""
        raise NotImplementedError

    def verify(self, what: Signable, signature: bytes) -> bool:
        """Whether the signature is right; False, too, if it is malformed."""
        raise NotImplementedError


class OaepKey(OpenedKey):
    """A key that encrypts with RSAES-OAEP."""

    __slots__ = ()

    def encrypt(self, algorithm: AsymmetricEncryptionAlgorithm, plaintext: bytes) -> bytes:
        """The ciphertext."""
        raise NotImplementedError

    def decrypt(self, algorithm: AsymmetricEncryptionAlgorithm, ciphertext: bytes) -> bytes:
        """The plaintext. Raises `CiphertextInvalid`."""
        raise NotImplementedError


class MacKey(OpenedKey):
    """A key that authenticates messages."""

    __slots__ = ()

    def mac(self, message: bytes) -> bytes:
        """The message's MAC."""
        raise NotImplementedError


class AgreementKey(OpenedKey):
    """A key for Diffie-Hellman."""

    __slots__ = ()

    def agree(self, peer: bytes) -> bytes:
        """The raw shared secret. Raises `PublicKeyInvalid`."""
        raise NotImplementedError


class EncapsulationKey(OpenedKey):
    """A key that encapsulates shared secrets."""

    __slots__ = ()

    def encapsulate(self) -> tuple[bytes, bytes]:
        """(shared secret, ciphertext)."""
        raise NotImplementedError

    def decapsulate(self, ciphertext: bytes) -> bytes:
        """The shared secret of a ciphertext of the right length."""
        raise NotImplementedError
