"""What opened keys can do: one class for each ability, which the classes of a family combine.

The store checks what the tables of `algorithms.py` say (sizes, algorithms, forms) before it calls these, so
they may take it for granted. They are thread-safe, and raise nothing that is not written here.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Protocol, Self, TypeVar

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

    @classmethod
    def of(cls, key: OpenedKey) -> Self | None:
        """A key if it has this ability, which is the class, else None."""
        return key if isinstance(key, cls) else None


_K = TypeVar("_K", bound=OpenedKey, covariant=True)


class Ability(Protocol[_K]):
    """One of the classes here: the abstract ones too, which `type[...]` would leave out."""

    def of(self, key: OpenedKey) -> _K | None:
        """A key if it has this ability, else None."""
        ...


class PublicHalf(OpenedKey, ABC):
    """A key with a public half."""

    __slots__ = ()

    @abstractmethod
    def public_der(self) -> bytes:
        """DER SubjectPublicKeyInfo."""


class SigningKey(OpenedKey, ABC):
    """A key that signs."""

    __slots__ = ()

    @abstractmethod
    def sign(self, what: Signable) -> bytes:
        """The signature."""

    @abstractmethod
    def verify(self, what: Signable, signature: bytes) -> bool:
        """Whether the signature is right; False, too, if it is malformed."""


class OaepKey(OpenedKey, ABC):
    """A key that encrypts with RSAES-OAEP."""

    __slots__ = ()

    @abstractmethod
    def encrypt(self, algorithm: AsymmetricEncryptionAlgorithm, plaintext: bytes) -> bytes:
        """The ciphertext."""

    @abstractmethod
    def decrypt(self, algorithm: AsymmetricEncryptionAlgorithm, ciphertext: bytes) -> bytes:
        """The plaintext. Raises `CiphertextInvalid`."""


class MacKey(OpenedKey, ABC):
    """A key that authenticates messages."""

    __slots__ = ()

    @abstractmethod
    def mac(self, message: bytes) -> bytes:
        """The message's MAC."""


class AgreementKey(OpenedKey, ABC):
    """A key for Diffie-Hellman."""

    __slots__ = ()

    @abstractmethod
    def agree(self, peer: bytes) -> bytes:
        """The raw shared secret. Raises `PublicKeyInvalid`."""


class EncapsulationKey(OpenedKey, ABC):
    """A key that encapsulates shared secrets."""

    __slots__ = ()

    @abstractmethod
    def encapsulate(self) -> tuple[bytes, bytes]:
        """(shared secret, ciphertext)."""

    @abstractmethod
    def decapsulate(self, ciphertext: bytes) -> bytes:
        """The shared secret of a ciphertext of the right length."""
