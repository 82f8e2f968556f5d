"""`SoftwareKeyStore`: every ability of the contract, over one root key and shelf."""

from __future__ import annotations

import hmac
from collections.abc import Iterable
from typing import TypeVar

from cryptography.exceptions import InvalidTag

from kagitori_keystore.algorithms import (
    AsymmetricEncryptionAlgorithm,
    DataKeyPairSpec,
    KeySpec,
    MessageForm,
    SigningAlgorithm,
    WrappingAlgorithm,
    WrappingSpec,
)
from kagitori_keystore.base import (
    Capability,
    CiphertextInvalid,
    Domain,
    LibraryLacking,
    MaterialRef,
    MaterialUnknown,
    RequestRefused,
    StoreDescription,
    StoreKind,
    StoreLost,
)
from kagitori_keystore.cache import HandleCache
from kagitori_keystore.capabilities import DataKeyPair
from kagitori_keystore.ciphertext import CiphertextBlob, aad_prefix, encode_header, proxy_aad_prefix, with_context
from kagitori_keystore.importing.materials import canonical_material
from kagitori_keystore.importing.sealing import seal, unseal
from kagitori_keystore.importing.unwrapping import make_wrapping_key, unwrap
from kagitori_keystore.rootkey.provider import RootKeyProvider
from kagitori_keystore.secret import Guarded, RandomSource, SecretBytes
from kagitori_keystore.software.abilities import (
    Ability,
    AgreementKey,
    EncapsulationKey,
    MacKey,
    OaepKey,
    OpenedKey,
    PublicHalf,
    Signable,
    SigningKey,
)
from kagitori_keystore.software.checks import (
    check_data_key_size,
    check_mac_message,
    check_oaep,
    check_oaep_plaintext,
    check_plaintext,
    check_proxy_call,
    check_random_size,
    check_signing,
)
from kagitori_keystore.software.encodings import spki
from kagitori_keystore.software.families import families, specs_made
from kagitori_keystore.software.keks import KekRing, KekShelf
from kagitori_keystore.software.libcrypto import LibCrypto
from kagitori_keystore.software.materials import seal_material, spec_of, unseal_material
from kagitori_keystore.software.symmetric import SymmetricKey
from kagitori_keystore.software.wrapped_secrets import (
    check_secret,
    check_wrapped,
    seal_secret,
    secret_aad,
    unseal_secret,
)
from kagitori_keystore.xaes import NONCE_BYTES, TAG_BYTES

_K = TypeVar("_K", bound=OpenedKey)


class _Opened(Guarded):
    """An opened key with all that is constant for its blobs, and whose it is."""

    __slots__ = ("aad_prefix", "domain", "header", "key", "key_id", "material_id", "spec")

    def __init__(self, domain: Domain, key_id: str, material_id: str, spec: KeySpec, key: OpenedKey) -> None:
        self.domain = domain
        self.key_id = key_id
        self.material_id = material_id
        self.spec = spec
        self.key = key
        self.header = encode_header(StoreKind.SOFTWARE, key_id, material_id)
        self.aad_prefix = aad_prefix(self.header)

    def able(self, ability: Ability[_K], lacking: str) -> _K:
        """The key, known to have an ability. Raises `RequestRefused` if it has not."""
        key = ability.of(self.key)
        if key is None:
            raise RequestRefused(lacking)
        return key


class SoftwareKeyStore(Guarded):
    """Implements `GeneralKeyStore` over a root key and a shelf of key-encryption keys.

    `random` makes keys and nonces, except for RSA and EC keys, which OpenSSL draws. At most `materials_cached`
    opened materials and `domains_cached` opened key-encryption keys are kept. Without a `libcrypto` the store makes
    no keys of ML_KEM_512, and `LibraryLacking` is raised where one is used. The store closes neither root key nor
    shelf: they belong to who made them.
    """

    __slots__ = ("_closed", "_description", "_families", "_keks", "_materials", "_random")

    def __init__(
        self,
        root: RootKeyProvider,
        shelf: KekShelf,
        random: RandomSource,
        *,
        libcrypto: LibCrypto | None = None,
        materials_cached: int = 10_000,
        domains_cached: int = 1_000,
    ) -> None:
        self._random = random
        self._families = families(libcrypto)
        self._description = StoreDescription(
            kind=StoreKind.SOFTWARE, capabilities=frozenset(Capability), key_specs=specs_made(libcrypto)
        )
        # By reference, checked against key, domain and material id on every hit.
        self._materials: HandleCache[bytes, _Opened] = HandleCache(materials_cached)
        self._keks = KekRing(root, shelf, random, domains_cached)
        self._closed = False

    # KeyStore

    def describe(self) -> StoreDescription:
        return self._description

    def health(self) -> None:
        self._check_open()
        self._keks.probe()

    def generate(self, spec: KeySpec, domain: Domain, key_id: str) -> MaterialRef:
        self._check_open()
        self._check_made(spec)
        kek = self._keks.of(domain)
        with SecretBytes(self._families[spec.family].make(spec, self._random)) as material:
            return seal_material(kek, self._random(NONCE_BYTES), spec, domain, key_id, material)

    def forget(self, key_id: str) -> None:
        self._materials.drop_where(lambda opened: opened.key_id == key_id)

    def destroy(self, ref: MaterialRef) -> None:
        self._check_open()
        if ref.kind is not StoreKind.SOFTWARE:
            raise MaterialUnknown("the material belongs to another kind of store")
        self._materials.drop(ref.reference)

    def close(self) -> None:
        self._closed = True
        self._materials.close()
        self._keks.close()

    # SymmetricEncryption

    def encrypt(self, domain: Domain, key_id: str, ref: MaterialRef, plaintext: bytes, context: bytes) -> bytes:
        check_plaintext(plaintext)
        opened = self._opened(domain, key_id, ref)
        cipher = opened.able(SymmetricKey, "the key is not symmetric").cipher
        nonce = self._random(NONCE_BYTES)
        return opened.header + nonce + cipher.encrypt(nonce, plaintext, with_context(opened.aad_prefix, context))

    def decrypt(self, domain: Domain, key_id: str, ref: MaterialRef, blob: CiphertextBlob, context: bytes) -> bytes:
        opened = self._opened(domain, key_id, ref)
        cipher = opened.able(SymmetricKey, "the key is not symmetric").cipher
        if blob.header != opened.header:  # another key or material; neither is secret
            raise CiphertextInvalid
        try:
            return cipher.decrypt(blob.nonce, blob.sealed, with_context(opened.aad_prefix, context))
        except (InvalidTag, ValueError):
            # ValueError: a nonce of another size, in a hand-made blob. No cause: its frames hold keys.
            raise CiphertextInvalid from None

    def generate_data_key(
        self, domain: Domain, key_id: str, ref: MaterialRef, size: int, context: bytes
    ) -> tuple[bytes, bytes]:
        check_data_key_size(size)
        plaintext = self._random(size)
        return plaintext, self.encrypt(domain, key_id, ref, plaintext, context)

    def generate_data_key_without_plaintext(
        self, domain: Domain, key_id: str, ref: MaterialRef, size: int, context: bytes
    ) -> bytes:
        return self.generate_data_key(domain, key_id, ref, size, context)[1]

    # ProxyEncryption

    def proxy_nonce_bytes(self) -> int:
        return NONCE_BYTES

    def seal_for_proxy(
        self, domain: Domain, key_id: str, ref: MaterialRef, plaintext: bytes, context: bytes
    ) -> tuple[bytes, bytes]:
        check_proxy_call(plaintext, context)
        opened = self._opened(domain, key_id, ref)
        cipher = opened.able(SymmetricKey, "the key is not symmetric").cipher
        nonce = self._random(NONCE_BYTES)
        return nonce, cipher.encrypt(nonce, plaintext, with_context(proxy_aad_prefix(opened.header), context))

    def open_for_proxy(
        self, domain: Domain, key_id: str, ref: MaterialRef, nonce: bytes, sealed: bytes, context: bytes
    ) -> bytes:
        check_proxy_call(sealed[:-TAG_BYTES], context)
        opened = self._opened(domain, key_id, ref)
        cipher = opened.able(SymmetricKey, "the key is not symmetric").cipher
        try:
            return cipher.decrypt(nonce, sealed, with_context(proxy_aad_prefix(opened.header), context))
        except (InvalidTag, ValueError):
            # As in `decrypt`.
            raise CiphertextInvalid from None

    # DataKeyPairs

    def generate_data_key_pair(
        self, domain: Domain, key_id: str, ref: MaterialRef, pair_spec: DataKeyPairSpec, context: bytes
    ) -> DataKeyPair:
        spec = pair_spec.key_spec
        make_pair = self._families[spec.family].make_pair
        if make_pair is None or spec not in self._description.key_specs:
            raise RequestRefused("the store makes no key pairs of this spec")
        self._opened(domain, key_id, ref).able(SymmetricKey, "the key is not symmetric")  # before the long work
        private, public = make_pair(spec, self._random)
        return DataKeyPair(private, public, self.encrypt(domain, key_id, ref, private, context))

    # RandomGeneration

    def random(self, size: int) -> bytes:
        self._check_open()
        check_random_size(size)
        return self._random(size)

    # PublicKeys

    def public_key(self, domain: Domain, key_id: str, ref: MaterialRef) -> bytes:
        return self._opened(domain, key_id, ref).able(PublicHalf, "the key has no public half").public_der()

    # AsymmetricEncryption

    def encrypt_asymmetric(
        self,
        domain: Domain,
        key_id: str,
        ref: MaterialRef,
        algorithm: AsymmetricEncryptionAlgorithm,
        plaintext: bytes,
    ) -> bytes:
        opened = self._opened(domain, key_id, ref)
        check_oaep(opened.spec, algorithm)
        check_oaep_plaintext(opened.spec, algorithm, plaintext)
        return opened.able(OaepKey, "the key does not encrypt").encrypt(algorithm, plaintext)

    def decrypt_asymmetric(
        self,
        domain: Domain,
        key_id: str,
        ref: MaterialRef,
        algorithm: AsymmetricEncryptionAlgorithm,
        ciphertext: bytes,
    ) -> bytes:
        opened = self._opened(domain, key_id, ref)
        check_oaep(opened.spec, algorithm)
        return opened.able(OaepKey, "the key does not encrypt").decrypt(algorithm, ciphertext)

    # Signing

    def sign(
        self,
        domain: Domain,
        key_id: str,
        ref: MaterialRef,
        algorithm: SigningAlgorithm,
        form: MessageForm,
        message: bytes,
    ) -> bytes:
        opened = self._opened(domain, key_id, ref)
        what = Signable(algorithm, form, message)
        check_signing(opened.spec, what)
        return opened.able(SigningKey, "the key does not sign").sign(what)

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
        opened = self._opened(domain, key_id, ref)
        what = Signable(algorithm, form, message)
        check_signing(opened.spec, what)
        return opened.able(SigningKey, "the key does not sign").verify(what, signature)

    # Macs

    def generate_mac(self, domain: Domain, key_id: str, ref: MaterialRef, message: bytes) -> bytes:
        key = self._opened(domain, key_id, ref).able(MacKey, "the key makes no MACs")
        check_mac_message(message)
        return key.mac(message)

    def verify_mac(self, domain: Domain, key_id: str, ref: MaterialRef, message: bytes, mac: bytes) -> bool:
        return hmac.compare_digest(self.generate_mac(domain, key_id, ref, message), mac)

    # KeyAgreement

    def derive_shared_secret(self, domain: Domain, key_id: str, ref: MaterialRef, peer_public_key: bytes) -> bytes:
        key = self._opened(domain, key_id, ref).able(AgreementKey, "the key does not derive shared secrets")
        return key.agree(peer_public_key)

    # KeyEncapsulation

    def encapsulate(self, domain: Domain, key_id: str, ref: MaterialRef) -> tuple[bytes, bytes]:
        return self._opened(domain, key_id, ref).able(EncapsulationKey, "the key does not encapsulate").encapsulate()

    def decapsulate(self, domain: Domain, key_id: str, ref: MaterialRef, ciphertext: bytes) -> bytes:
        opened = self._opened(domain, key_id, ref)
        key = opened.able(EncapsulationKey, "the key does not encapsulate")
        if len(ciphertext) != opened.spec.ciphertext_bytes:
            raise CiphertextInvalid
        return key.decapsulate(ciphertext)

    # MaterialImport

    def import_parameters(
        self, domain: Domain, key_id: str, wrapping_spec: WrappingSpec, binding: bytes
    ) -> tuple[bytes, bytes]:
        self._check_open()
        kek = self._keks.of(domain)
        key = make_wrapping_key(wrapping_spec)
        sealed = seal(kek, self._random(NONCE_BYTES), wrapping_spec, domain, key_id, binding, key)
        return spki(key.public_key()), sealed

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
        self._check_open()
        if spec not in self._description.key_specs:
            raise LibraryLacking("the key is of a spec that this process lacks the library for")
        kek = self._keks.existing(domain)
        wrapping_key = unseal(kek, domain, key_id, binding, sealed)
        unwrapped = unwrap(wrapping_key, algorithm, wrapped_material, self._random)
        with SecretBytes(canonical_material(spec, unwrapped)) as material:
            return seal_material(kek, self._random(NONCE_BYTES), spec, domain, key_id, material)

    # MaterialReplication

    def replicate(self, domain: Domain, key_id: str, ref: MaterialRef, target: Domain) -> MaterialRef:
        self._check_open()
        if target.account != domain.account:
            raise RequestRefused("a material is replicated within its account")
        spec = spec_of(ref)
        kek = self._keks.of(target)
        with unseal_material(self._keks.existing(domain), domain, key_id, ref) as material:
            return seal_material(kek, self._random(NONCE_BYTES), spec, target, key_id, material)

    # SecretWrapping

    def wrap_secret(self, domain: Domain, label: str, secret: bytes) -> bytes:
        self._check_open()
        aad = secret_aad(domain, label)
        check_secret(secret)
        return seal_secret(self._keks.of(domain), self._random(NONCE_BYTES), secret, aad)

    def unwrap_secret(self, domain: Domain, label: str, wrapped: bytes) -> bytes:
        self._check_open()
        aad = secret_aad(domain, label)
        check_wrapped(wrapped)
        return unseal_secret(self._keks.existing(domain), wrapped, aad)

    # Beyond the contract

    def open_domain(self, domain: Domain) -> None:
        """Opens the domain's key-encryption key before it is needed: the root key may be far away.

        Raises `MaterialUnknown` if there is none yet, and what the root key raises.
        """
        self._check_open()
        self._keks.existing(domain)

    def is_at_hand(self, domain: Domain, references: Iterable[bytes]) -> bool:
        """Whether these materials can be used without asking shelf or root key, which may be far away."""
        return self._keks.is_open(domain) or all(self._materials.get(each) is not None for each in references)

    def rewrap_kek(self, domain: Domain, wrapped: bytes) -> bytes:
        """Wraps a domain's key-encryption key under the current root key version (step 2 of a rotation).

        Returns `wrapped` itself if it is under that version already. Raises what the root key raises.
        """
        self._check_open()
        return self._keks.rewrap(domain, wrapped)

    # Inside

    def _opened(self, domain: Domain, key_id: str, ref: MaterialRef) -> _Opened:
        opened = self._materials.get(ref.reference)
        if (
            opened is not None
            and opened.key_id == key_id
            and opened.material_id == ref.material_id
            and (opened.domain is domain or opened.domain == domain)
            and ref.kind is StoreKind.SOFTWARE
        ):
            return opened
        return self._open(domain, key_id, ref)

    def _open(self, domain: Domain, key_id: str, ref: MaterialRef) -> _Opened:
        self._check_open()
        drops = self._materials.drops
        spec = spec_of(ref)
        with unseal_material(self._keks.existing(domain), domain, key_id, ref) as material:
            key = self._families[spec.family].open(spec, material)
        opened = _Opened(domain, key_id, ref.material_id, spec, key)
        self._materials.put(ref.reference, opened, drops)
        return opened

    def _check_made(self, spec: KeySpec) -> None:
        if spec not in self._description.key_specs:
            raise RequestRefused("the store makes no keys of this spec")

    def _check_open(self) -> None:
        if self._closed:
            raise StoreLost("the key store is closed")
