"""Abilities of a key store beyond symmetric keys: one Protocol for each of the other `Capability` members.

Everything that `base.py` says of a store holds here too: methods are synchronous and thread-safe and fail with
`KeyStoreError`s alone. Every method that takes a `ref` raises `MaterialUnknown` and `MaterialCorrupt` when it
is not this key's in this domain, and `RequestRefused` when the key's spec lacks the ability or the algorithm
(`algorithms.py` says which has which).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from kagitori_keystore.algorithms import (
    AsymmetricEncryptionAlgorithm,
    DataKeyPairSpec,
    KeySpec,
    MessageForm,
    SigningAlgorithm,
    WrappingAlgorithm,
    WrappingSpec,
)
from kagitori_keystore.base import Domain, MaterialRef, SecretWrapping, SymmetricKeyStore


class PublicKeys(Protocol):
    """Hands out what is public of an asymmetric key (AWS GetPublicKey)."""

    def public_key(self, domain: Domain, key_id: str, ref: MaterialRef) -> bytes:
        """DER SubjectPublicKeyInfo (RFC 5280), the same bytes in every call."""
        ...


class AsymmetricEncryption(Protocol):
    """Encryption with RSA keys: RSAES-OAEP (RFC 8017 section 7.1), no label (AWS Encrypt, Decrypt)."""

    def encrypt_asymmetric(
        self,
        domain: Domain,
        key_id: str,
        ref: MaterialRef,
        algorithm: AsymmetricEncryptionAlgorithm,
        plaintext: bytes,
    ) -> bytes:
        """A ciphertext as long as the modulus. The plaintext has 1 to `oaep_plaintext_max` bytes, beyond that
        `RequestRefused` is raised."""
        ...

    def decrypt_asymmetric(
        self,
        domain: Domain,
        key_id: str,
        ref: MaterialRef,
        algorithm: AsymmetricEncryptionAlgorithm,
        ciphertext: bytes,
    ) -> bytes:
        """The plaintext. Raises `CiphertextInvalid`, whatever about the ciphertext is wrong."""
        ...


class Signing(Protocol):
    """Digital signatures (AWS Sign, Verify) with RSA, EC, Ed25519 and ML-DSA keys.

    `form` says what `message` is, `SigningAlgorithm.message_bytes` how long it has to be: RAW 1 to 4,096
    bytes, DIGEST as long as the algorithm's digest, EXTERNAL_MU 64 bytes. `RequestRefused` otherwise.
    """

    def sign(
        self,
        domain: Domain,
        key_id: str,
        ref: MaterialRef,
        algorithm: SigningAlgorithm,
        form: MessageForm,
        message: bytes,
    ) -> bytes:
        """The signature: DER for ECDSA, plain bytes for all else (at most 4,627, of ML_DSA_87)."""
        ...

    def verify(
        self,
        domain: Domain,
        key_id: str,
        ref: MaterialRef,
        algorithm: SigningAlgorithm,
        form: MessageForm,
        message: bytes,
        signature: bytes,
    ) -> bool:
        """Whether the signature is this key's over this message; False for a malformed one of any length."""
        ...


class Macs(Protocol):
    """Message authentication with HMAC keys (RFC 2104; AWS GenerateMac, VerifyMac); the spec names the hash."""

    def generate_mac(self, domain: Domain, key_id: str, ref: MaterialRef, message: bytes) -> bytes:
        """A MAC as long as the digest. The message has 1 to 4,096 bytes, or `RequestRefused` is raised."""
        ...

    def verify_mac(self, domain: Domain, key_id: str, ref: MaterialRef, message: bytes, mac: bytes) -> bool:
        """Whether `mac` is the MAC of the message, compared in constant time; False for any other length."""
        ...


class KeyAgreement(Protocol):
    """Diffie-Hellman with keys on NIST curves (NIST SP 800-56A section 5.7.1.2; AWS DeriveSharedSecret)."""

    def derive_shared_secret(self, domain: Domain, key_id: str, ref: MaterialRef, peer_public_key: bytes) -> bytes:
        """The raw secret: the shared point's x coordinate, 32, 48 or 66 bytes.

        `peer_public_key` is DER SubjectPublicKeyInfo of a point on the key's own curve (a named one); raises
        `PublicKeyInvalid` for everything else.
        """
        ...


class KeyEncapsulation(Protocol):
    """Shared secrets with ML-KEM keys (FIPS 203; AWS Encapsulate, Decapsulate)."""

    def encapsulate(self, domain: Domain, key_id: str, ref: MaterialRef) -> tuple[bytes, bytes]:
        """(shared secret of 32 bytes, ciphertext of `KeySpec.ciphertext_bytes`)."""
        ...

    def decapsulate(self, domain: Domain, key_id: str, ref: MaterialRef, ciphertext: bytes) -> bytes:
        """The shared secret. Raises `CiphertextInvalid` for a ciphertext of another length.

        A forged one of the right length gives a pseudo-random secret, the same each time (implicit rejection,
        FIPS 203 section 7.3).
        """
        ...


@dataclass(frozen=True, slots=True)
class DataKeyPair:
    """A fresh key pair for use elsewhere, and the blob from which its private key comes back by decryption.

    `private_key` is DER PKCS#8 (RFC 5958; for ML-KEM the seed), at most 2,377 bytes, `public_key` DER
    SubjectPublicKeyInfo, `blob` a ciphertext blob whose plaintext is `private_key`.
    """

    private_key: bytes = field(repr=False)
    public_key: bytes
    blob: bytes


class DataKeyPairs(Protocol):
    """Key pairs under SYMMETRIC_DEFAULT keys (AWS GenerateDataKeyPair and its variant without plaintext)."""

    def generate_data_key_pair(
        self, domain: Domain, key_id: str, ref: MaterialRef, pair_spec: DataKeyPairSpec, context: bytes
    ) -> DataKeyPair:
        """A new pair. Raises `RequestRefused` for a spec whose keys the store does not make.

        Finding the primes of an RSA pair takes from a tenth of a second to several seconds.
        """
        ...


class MaterialImport(Protocol):
    """Materials made elsewhere (AWS GetParametersForImport, ImportKeyMaterial)."""

    def import_parameters(
        self, domain: Domain, key_id: str, wrapping_spec: WrappingSpec, binding: bytes
    ) -> tuple[bytes, bytes]:
        """(DER SubjectPublicKeyInfo of a new RSA pair, its private key sealed for this key, domain and `binding`).

        `binding` is what the server wants to find unchanged at the import: expiry, algorithm and so on.
        """
        ...

    def import_material(
        self,
        spec: KeySpec,
        domain: Domain,
        key_id: str,
        sealed: bytes,
        binding: bytes,
        algorithm: WrappingAlgorithm,
        wrapped_material: bytes,
    ) -> MaterialRef:
        """A reference on the material that was wrapped under the public key of `import_parameters`.

        The same material for the same key has the same material id. Raises `ImportRefused` when it does not
        open, or opens to anything but one private key of exactly this spec; `MaterialCorrupt` when `sealed`
        is not of this key, domain and binding.
        """
        ...


class MaterialReplication(Protocol):
    """Materials of multi-Region keys (AWS ReplicateKey)."""

    def replicate(self, domain: Domain, key_id: str, ref: MaterialRef, target: Domain) -> MaterialRef:
        """The same material for the same key in another Region of the same account: its id stays the same.

        Raises `RequestRefused` when `target` is of another account.
        """
        ...


class ProxyEncryption(Protocol):
    """Encryption for others who keep nonce and ciphertext in formats of their own: what an external key store proxy
    (AWS XKS) does with SYMMETRIC_DEFAULT keys.

    Nothing sealed here opens by `SymmetricEncryption.decrypt`, nor the other way round. `context` has at most 8,216
    bytes and is authenticated.
    """

    def seal_for_proxy(
        self, domain: Domain, key_id: str, ref: MaterialRef, plaintext: bytes, context: bytes
    ) -> tuple[bytes, bytes]:
        """(nonce, ciphertext and 16 bytes of tag) of 1 to 4,300 bytes. Raises `RequestRefused` beyond that."""
        ...

    def open_for_proxy(
        self, domain: Domain, key_id: str, ref: MaterialRef, nonce: bytes, sealed: bytes, context: bytes
    ) -> bytes:
        """The plaintext. Raises `CiphertextInvalid`, whatever is wrong."""
        ...

    def proxy_nonce_bytes(self) -> int:
        """How long this store's nonces are; constant, at most 24."""
        ...


class GeneralKeyStore(
    SymmetricKeyStore,
    SecretWrapping,
    PublicKeys,
    AsymmetricEncryption,
    Signing,
    Macs,
    KeyAgreement,
    KeyEncapsulation,
    DataKeyPairs,
    MaterialImport,
    MaterialReplication,
    ProxyEncryption,
    Protocol,
):
    """A store for keys of every family: what the server's cryptographic operations ask for.

    What a store can't do it refuses, with `RequestRefused`; `StoreDescription.capabilities` says so before. That is
    what to ask, and not `isinstance`: stores may be wrapped in objects that pass calls on by `__getattr__`, where
    protocols that are checked at run time find nothing from Python 3.12 on (`inspect.getattr_static`).
    """
