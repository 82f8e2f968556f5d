"""A store that breaks one promise about keys of any family at a time, to prove that the checks bite."""

from __future__ import annotations

import enum
import hashlib
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from kagitori_keystore.algorithms import (
    AsymmetricEncryptionAlgorithm,
    DataKeyPairSpec,
    KeySpec,
    MessageForm,
    SigningAlgorithm,
    SigningScheme,
    WrappingAlgorithm,
    WrappingSpec,
)
from kagitori_keystore.base import (
    CiphertextInvalid,
    Domain,
    KeyStoreError,
    MaterialCorrupt,
    MaterialRef,
    PublicKeyInvalid,
    RequestRefused,
    StoreDescription,
)
from kagitori_keystore.capabilities import DataKeyPair, GeneralKeyStore
from kagitori_keystore.ciphertext import CiphertextBlob

T = TypeVar("T")


class Fault(enum.Enum):
    """What the store does wrong."""

    SERVES_MOVED_KEYS = enum.auto()
    SERVES_FORGED_REFERENCES = enum.auto()
    LETS_HMAC_KEYS_SIGN = enum.auto()
    BLAMES_KEY_FOR_ABILITY = enum.auto()
    SERVES_AFTER_CLOSE = enum.auto()
    MIXES_UP_KEYS = enum.auto()
    PUBLIC_KEY_CHANGES = enum.auto()
    PUBLIC_KEY_IS_RAW = enum.auto()
    ACCEPTS_ANY_SIGNATURE = enum.auto()
    RAISES_ON_WRONG_SIGNATURE = enum.auto()
    REFUSES_ODD_SIGNATURES = enum.auto()
    HASHES_DIGESTS_AGAIN = enum.auto()
    SIGNS_MU_AS_MESSAGE = enum.auto()
    SIGNS_ANY_LENGTH = enum.auto()
    SIGNS_PKCS1_FOR_PSS = enum.auto()
    SWAPS_UNKNOWN_ALGORITHMS = enum.auto()
    IGNORES_ALGORITHM_ON_VERIFY = enum.auto()
    TRUNCATES_OAEP = enum.auto()
    SWAPS_OAEP_HASH = enum.auto()
    EXPLAINS_OAEP = enum.auto()
    GIVES_EMPTY_FOR_BAD_OAEP = enum.auto()
    ACCEPTS_MAC_PREFIXES = enum.auto()
    SHORTENS_MACS = enum.auto()
    MACS_ANY_LENGTH = enum.auto()
    SALTS_MACS = enum.auto()
    HASHES_SECRETS = enum.auto()
    ACCEPTS_ANY_PEER = enum.auto()
    EXPLAINS_PEERS = enum.auto()
    REPEATS_ENCAPSULATION = enum.auto()
    REFUSES_FORGED_ENCAPSULATION = enum.auto()
    REPEATS_REJECTED_SECRET = enum.auto()
    PADS_ENCAPSULATION = enum.auto()
    PAIRS_DO_NOT_MATCH = enum.auto()
    PAIR_BLOBS_IGNORE_CONTEXT = enum.auto()
    PAIRS_REPEAT = enum.auto()
    PAIRS_UNDER_ANY_KEY = enum.auto()
    REPLICAS_ARE_OTHER_KEYS = enum.auto()
    REPLICAS_LEAVE_ACCOUNTS = enum.auto()


class FaultyAbilities:
    """Everything is done by a real store, except what `fault` says (None: nothing)."""

    def __init__(self, real: GeneralKeyStore, fault: Fault | None) -> None:
        self._real = real
        self._fault = fault
        self._owners: dict[str, tuple[Domain, MaterialRef]] = {}
        self._keys: dict[str, str] = {}
        self._specs: dict[str, KeySpec] = {}
        self._first: dict[object, object] = {}

    # KeyStore

    def describe(self) -> StoreDescription:
        return self._real.describe()

    def health(self) -> None:
        self._real.health()

    def generate(self, spec: KeySpec, domain: Domain, key_id: str) -> MaterialRef:
        ref = self._real.generate(spec, domain, key_id)
        self._owners[ref.material_id] = domain, ref
        self._keys[ref.material_id] = key_id
        self._specs[ref.material_id] = spec
        return ref

    def forget(self, key_id: str) -> None:
        self._real.forget(key_id)

    def destroy(self, ref: MaterialRef) -> None:
        self._real.destroy(ref)

    def close(self) -> None:
        if self._fault is not Fault.SERVES_AFTER_CLOSE:
            self._real.close()

    # SymmetricEncryption, RandomGeneration, SecretWrapping

    def encrypt(self, domain: Domain, key_id: str, ref: MaterialRef, plaintext: bytes, context: bytes) -> bytes:
        if self._fault is Fault.PAIR_BLOBS_IGNORE_CONTEXT:
            context = b""
        at, key, ref = self._bend(domain, key_id, ref)
        return self._do(lambda: self._real.encrypt(at, key, ref, plaintext, context))

    def decrypt(self, domain: Domain, key_id: str, ref: MaterialRef, blob: CiphertextBlob, context: bytes) -> bytes:
        if self._fault is Fault.PAIR_BLOBS_IGNORE_CONTEXT:
            context = b""
        at, key, ref = self._bend(domain, key_id, ref)
        return self._do(lambda: self._real.decrypt(at, key, ref, blob, context))

    def generate_data_key(
        self, domain: Domain, key_id: str, ref: MaterialRef, size: int, context: bytes
    ) -> tuple[bytes, bytes]:
        at, key, ref = self._bend(domain, key_id, ref)
        return self._do(lambda: self._real.generate_data_key(at, key, ref, size, context))

    def generate_data_key_without_plaintext(
        self, domain: Domain, key_id: str, ref: MaterialRef, size: int, context: bytes
    ) -> bytes:
        return self.generate_data_key(domain, key_id, ref, size, context)[1]

    def random(self, size: int) -> bytes:
        return self._real.random(size)

    def wrap_secret(self, domain: Domain, label: str, secret: bytes) -> bytes:
        return self._real.wrap_secret(domain, label, secret)

    def unwrap_secret(self, domain: Domain, label: str, wrapped: bytes) -> bytes:
        return self._real.unwrap_secret(domain, label, wrapped)

    # PublicKeys

    def public_key(self, domain: Domain, key_id: str, ref: MaterialRef) -> bytes:
        at, key, ref = self._bend(domain, key_id, ref)
        public = self._do(lambda: self._real.public_key(at, key, ref))
        if self._fault is Fault.PUBLIC_KEY_CHANGES:
            fresh = self._real.generate(self._specs[ref.material_id], at, key)
            return self._real.public_key(at, key, fresh)
        return public[12:] if self._fault is Fault.PUBLIC_KEY_IS_RAW else public

    # AsymmetricEncryption

    def encrypt_asymmetric(
        self,
        domain: Domain,
        key_id: str,
        ref: MaterialRef,
        algorithm: AsymmetricEncryptionAlgorithm,
        plaintext: bytes,
    ) -> bytes:
        at, key, ref = self._bend(domain, key_id, ref)
        if self._fault is Fault.TRUNCATES_OAEP:
            plaintext = plaintext[:190]
        algorithm = self._oaep(algorithm)
        return self._do(lambda: self._real.encrypt_asymmetric(at, key, ref, algorithm, plaintext))

    def decrypt_asymmetric(
        self,
        domain: Domain,
        key_id: str,
        ref: MaterialRef,
        algorithm: AsymmetricEncryptionAlgorithm,
        ciphertext: bytes,
    ) -> bytes:
        at, key, ref = self._bend(domain, key_id, ref)
        algorithm = self._oaep(algorithm)
        try:
            return self._do(lambda: self._real.decrypt_asymmetric(at, key, ref, algorithm, ciphertext))
        except CiphertextInvalid:
            if self._fault is Fault.EXPLAINS_OAEP and len(ciphertext) != 256:
                raise RequestRefused("the ciphertext has the wrong length") from None
            if self._fault is Fault.GIVES_EMPTY_FOR_BAD_OAEP:
                return b""
            raise

    def _oaep(self, algorithm: AsymmetricEncryptionAlgorithm) -> AsymmetricEncryptionAlgorithm:
        return AsymmetricEncryptionAlgorithm.RSAES_OAEP_SHA_1 if self._fault is Fault.SWAPS_OAEP_HASH else algorithm

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
        at, key, ref = self._bend(domain, key_id, ref)
        if self._fault is Fault.LETS_HMAC_KEYS_SIGN and self._specs.get(ref.material_id) is KeySpec.HMAC_256:
            return self._real.generate_mac(at, key, ref, message)
        algorithm, form, message = self._signing(ref, algorithm, form, message)
        return self._do(lambda: self._real.sign(at, key, ref, algorithm, form, message))

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
        at, key, ref = self._bend(domain, key_id, ref)
        asked = algorithm
        algorithm, form, message = self._signing(ref, algorithm, form, message)
        right = self._do(lambda: self._real.verify(at, key, ref, algorithm, form, message, signature))
        if right:
            return True
        if self._fault is Fault.RAISES_ON_WRONG_SIGNATURE or (
            self._fault is Fault.REFUSES_ODD_SIGNATURES and len(signature) > 1_000
        ):
            raise RequestRefused("the signature is not valid")
        if self._fault is Fault.IGNORES_ALGORITHM_ON_VERIFY and asked.scheme in (
            SigningScheme.PSS,
            SigningScheme.PKCS1,
        ):
            digest = hashlib.sha256(b"the message of this test").digest()
            return any(
                self._real.verify(at, key, ref, other, MessageForm.DIGEST, digest, signature)
                for other in (SigningAlgorithm.RSASSA_PSS_SHA_256, SigningAlgorithm.RSASSA_PKCS1_V1_5_SHA_256)
            )
        return self._fault is Fault.ACCEPTS_ANY_SIGNATURE

    def _signing(
        self, ref: MaterialRef, algorithm: SigningAlgorithm, form: MessageForm, message: bytes
    ) -> tuple[SigningAlgorithm, MessageForm, bytes]:
        if self._fault is Fault.HASHES_DIGESTS_AGAIN and MessageForm.RAW in algorithm.forms:
            form = MessageForm.RAW if form is MessageForm.DIGEST else form
        if self._fault is Fault.SIGNS_MU_AS_MESSAGE and form is MessageForm.EXTERNAL_MU:
            form = MessageForm.RAW
        if self._fault is Fault.SIGNS_ANY_LENGTH and form in algorithm.forms:
            least, most = algorithm.message_bytes(form)
            message = message[:most].ljust(least, b"\x00")
        if self._fault is Fault.SIGNS_PKCS1_FOR_PSS and algorithm.scheme is SigningScheme.PSS:
            algorithm = SigningAlgorithm(algorithm.replace("PSS", "PKCS1_V1_5"))
        swappable = self._specs.get(ref.material_id) is KeySpec.ECC_NIST_P256 and form is MessageForm.RAW
        if self._fault is Fault.SWAPS_UNKNOWN_ALGORITHMS and swappable and algorithm.scheme is SigningScheme.ECDSA:
            algorithm = SigningAlgorithm.ECDSA_SHA_256
        return algorithm, form, message

    # Macs

    def generate_mac(self, domain: Domain, key_id: str, ref: MaterialRef, message: bytes) -> bytes:
        at, key, ref = self._bend(domain, key_id, ref)
        if self._fault is Fault.MACS_ANY_LENGTH:
            message = message[:4096] or b"\x00"
        mac = self._do(lambda: self._real.generate_mac(at, key, ref, message))
        if self._fault is Fault.SALTS_MACS:
            return self._real.random(len(mac))
        return mac[:-4] if self._fault is Fault.SHORTENS_MACS else mac

    def verify_mac(self, domain: Domain, key_id: str, ref: MaterialRef, message: bytes, mac: bytes) -> bool:
        at, key, ref = self._bend(domain, key_id, ref)
        if self._fault is Fault.ACCEPTS_MAC_PREFIXES and mac:
            return self._do(lambda: self._real.generate_mac(at, key, ref, message)).startswith(mac)
        if self._fault is Fault.MACS_ANY_LENGTH:
            message = message[:4096] or b"\x00"
        return self._do(lambda: self._real.verify_mac(at, key, ref, message, mac))

    # KeyAgreement

    def derive_shared_secret(self, domain: Domain, key_id: str, ref: MaterialRef, peer_public_key: bytes) -> bytes:
        at, key, ref = self._bend(domain, key_id, ref)
        try:
            secret = self._do(lambda: self._real.derive_shared_secret(at, key, ref, peer_public_key))
        except PublicKeyInvalid:
            if self._fault is Fault.ACCEPTS_ANY_PEER:
                return bytes(32)
            if self._fault is Fault.EXPLAINS_PEERS:
                raise RequestRefused("the point is not on the curve") from None
            raise
        return hashlib.sha256(secret).digest() if self._fault is Fault.HASHES_SECRETS else secret

    # KeyEncapsulation

    def encapsulate(self, domain: Domain, key_id: str, ref: MaterialRef) -> tuple[bytes, bytes]:
        at, key, ref = self._bend(domain, key_id, ref)
        made = self._do(lambda: self._real.encapsulate(at, key, ref))
        return self._same(ref.material_id, made) if self._fault is Fault.REPEATS_ENCAPSULATION else made

    def decapsulate(self, domain: Domain, key_id: str, ref: MaterialRef, ciphertext: bytes) -> bytes:
        at, key, ref = self._bend(domain, key_id, ref)
        if self._fault is Fault.PADS_ENCAPSULATION:
            size = self._specs[ref.material_id].ciphertext_bytes
            ciphertext = ciphertext[:size].ljust(size, b"\x00")
        secret = self._do(lambda: self._real.decapsulate(at, key, ref, ciphertext))
        forged = not any(ciphertext[at : at + 64].strip(b"\x00") for at in range(0, len(ciphertext), 64))
        if self._fault is Fault.REFUSES_FORGED_ENCAPSULATION and forged:
            raise CiphertextInvalid
        return bytes(32) if self._fault is Fault.REPEATS_REJECTED_SECRET else secret

    # DataKeyPairs

    def generate_data_key_pair(
        self, domain: Domain, key_id: str, ref: MaterialRef, pair_spec: DataKeyPairSpec, context: bytes
    ) -> DataKeyPair:
        at, key, ref = self._bend(domain, key_id, ref)
        if self._fault is Fault.PAIRS_UNDER_ANY_KEY:
            ref = self._real.generate(KeySpec.SYMMETRIC_DEFAULT, at, key)
        context = b"" if self._fault is Fault.PAIR_BLOBS_IGNORE_CONTEXT else context
        pair = self._do(lambda: self._real.generate_data_key_pair(at, key, ref, pair_spec, context))
        if self._fault is Fault.PAIRS_DO_NOT_MATCH:
            other = self._real.generate_data_key_pair(at, key, ref, pair_spec, context)
            return replace(pair, public_key=other.public_key)
        return self._same(pair_spec, pair) if self._fault is Fault.PAIRS_REPEAT else pair

    # MaterialImport, about which nothing is wrong

    def import_parameters(
        self, domain: Domain, key_id: str, wrapping_spec: WrappingSpec, binding: bytes
    ) -> tuple[bytes, bytes]:
        return self._real.import_parameters(domain, key_id, wrapping_spec, binding)

    def import_material(
        self, spec: KeySpec, domain: Domain, key_id: str, sealed: bytes, binding: bytes, algorithm: WrappingAlgorithm,
        wrapped_material: bytes,
    ) -> MaterialRef:
        return self._real.import_material(spec, domain, key_id, sealed, binding, algorithm, wrapped_material)

    # MaterialReplication

    def seal_for_proxy(
        self, domain: Domain, key_id: str, ref: MaterialRef, plaintext: bytes, context: bytes
    ) -> tuple[bytes, bytes]:
        return self._real.seal_for_proxy(domain, key_id, ref, plaintext, context)

    def open_for_proxy(
        self, domain: Domain, key_id: str, ref: MaterialRef, nonce: bytes, sealed: bytes, context: bytes
    ) -> bytes:
        return self._real.open_for_proxy(domain, key_id, ref, nonce, sealed, context)

    def proxy_nonce_bytes(self) -> int:
        return self._real.proxy_nonce_bytes()

    def replicate(self, domain: Domain, key_id: str, ref: MaterialRef, target: Domain) -> MaterialRef:
        at, key, ref = self._bend(domain, key_id, ref)
        if self._fault is Fault.REPLICAS_LEAVE_ACCOUNTS and target.account != domain.account:
            return ref
        replica = self._do(lambda: self._real.replicate(at, key, ref, target))
        if self._fault is Fault.REPLICAS_ARE_OTHER_KEYS:
            return self._real.generate(self._specs[ref.material_id], target, key)
        return replica

    # Inside

    def _bend(self, domain: Domain, key_id: str, ref: MaterialRef) -> tuple[Domain, str, MaterialRef]:
        owner = self._owners.get(ref.material_id)
        if owner and self._fault is Fault.SERVES_MOVED_KEYS:
            domain, key_id = owner[0], self._keys[ref.material_id]
        if owner and self._fault is Fault.SERVES_FORGED_REFERENCES and ref.reference != owner[1].reference:
            ref = owner[1]
        if owner and self._fault is Fault.MIXES_UP_KEYS:
            first = self._first.setdefault(self._specs[ref.material_id], ref)
            ref = first if isinstance(first, MaterialRef) else ref
        return domain, key_id, ref

    def _same(self, about: object, made: T) -> T:
        first: T = self._first.setdefault(about, made)  # type: ignore[assignment]  # one type for each key of the map
        return first

    def _do(self, call: Callable[[], T]) -> T:
        try:
            return call()
        except (CiphertextInvalid, PublicKeyInvalid):
            raise
        except KeyStoreError as error:
            if self._fault is Fault.BLAMES_KEY_FOR_ABILITY and isinstance(error, RequestRefused):
                raise MaterialCorrupt("the key cannot do this") from None
            raise
