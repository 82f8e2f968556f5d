"""`Pkcs11KeyStore`: a key store whose keys never leave a PKCS#11 token, and `open_token`, which makes one."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterator

from kagitori_keystore.algorithms import (
    AsymmetricEncryptionAlgorithm,
    DataKeyPairSpec,
    KeyFamily,
    KeySpec,
    MessageForm,
    SigningAlgorithm,
    SigningScheme,
    agrees_on_keys,
    mac_algorithms,
)
from kagitori_keystore.base import (
    Capability,
    CiphertextInvalid,
    Domain,
    MaterialCorrupt,
    MaterialRef,
    MaterialUnknown,
    RequestRefused,
    SessionLost,
    StoreDescription,
    StoreKind,
    StoreLost,
    TooSlow,
)
from kagitori_keystore.cache import HandleCache
from kagitori_keystore.capabilities import DataKeyPair
from kagitori_keystore.ciphertext import (
    TAG_BYTES,
    CiphertextBlob,
    aad_prefix,
    encode_header,
    proxy_aad_prefix,
    with_context,
)
from kagitori_keystore.pkcs11 import public
from kagitori_keystore.pkcs11.client import Hello, WorkerClient
from kagitori_keystore.pkcs11.counting import Uses
from kagitori_keystore.pkcs11.lacking import Lacking
from kagitori_keystore.pkcs11.references import IV_BYTES, decode, material_id_of, owner_of
from kagitori_keystore.pkcs11.settings import ConnectFault, ConnectRefused, TokenObject, TokenSettings, UseCounter
from kagitori_keystore.pkcs11.wire import Op, split_all
from kagitori_keystore.secret import Guarded
from kagitori_keystore.software.abilities import Signable
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
from kagitori_keystore.software.families import families

GENERATION_FACTOR = 12
"""How many times longer the making of a key may take than its use: primes are found by chance."""
_MATERIALS_CACHED = 10_000
_FAMILIES = families(None)
"""For data key pairs, of specs that tokens make."""


def open_token(settings: TokenSettings, pin: bytes, counter: UseCounter) -> Pkcs11KeyStore:
    """Logs in, in the worker of this token on this machine. Raises `ConnectRefused`."""
    client = WorkerClient(settings, pin)
    try:
        return Pkcs11KeyStore(client, client.hello(), settings.deadline_seconds, Uses(counter))
    except TooSlow:
        raise ConnectRefused(ConnectFault.TOO_SLOW) from None
    except SessionLost:
        raise ConnectRefused(ConnectFault.WORKER_FAILED) from None


class _Opened(Guarded):
    """A reference that was proven, with all that is constant for its key."""

    __slots__ = ("aad_prefix", "domain", "header", "key_id", "material_id", "owner", "public", "spec", "spki")

    def __init__(self, domain: Domain, key_id: str, ref: MaterialRef) -> None:
        parsed = decode(ref.reference)
        self.domain, self.key_id, self.material_id = domain, key_id, ref.material_id
        self.spec, self.owner = parsed.spec, parsed.owner
        self.header = encode_header(StoreKind.PKCS11, key_id, ref.material_id)
        self.aad_prefix = aad_prefix(self.header)
        secret = parsed.spec.family in (KeyFamily.SYMMETRIC, KeyFamily.HMAC)
        self.spki = b"" if secret else parsed.check
        self.public = None if secret else public.load(parsed.check)

    def need_symmetric(self) -> None:
        if self.spec.family is not KeyFamily.SYMMETRIC:
            raise RequestRefused("the key is not symmetric")

    def need_public(self) -> public.PublicKey:
        if self.public is None:
            raise RequestRefused("the key has no public half")
        return self.public


class Pkcs11KeyStore(Lacking, Guarded):
    """Implements as much of `GeneralKeyStore` as the token can; made by `open_token`.

    Private and secret operations are done in the token, public ones here (`public.py`). Data key pairs, whose
    private half the caller gets anyway, are made here and encrypted in the token.
    """

    __slots__ = ("_client", "_closed", "_deadline", "_description", "_materials", "_serial", "_uses")

    def __init__(self, client: WorkerClient, hello: Hello, deadline: float, uses: Uses) -> None:
        self._client = client
        self._deadline = deadline
        self._uses = uses
        self._serial = hello.serial
        schemes = hello.schemes.split(",")
        self._description = StoreDescription(
            kind=StoreKind.PKCS11,
            capabilities=frozenset(Capability(name) for name in hello.capabilities.split(",")),
            key_specs=hello.found.specs,
            lacking=frozenset((
                *(each for each in SigningAlgorithm if each.scheme.value not in schemes),
                *(each for each in AsymmetricEncryptionAlgorithm if each.digest not in hello.found.oaep),
            )),
        )
        self._materials: HandleCache[bytes, _Opened] = HandleCache(_MATERIALS_CACHED)
        self._closed = False

    # KeyStore

    def describe(self) -> StoreDescription:
        return self._description

    def health(self) -> None:
        self._call(Op.HEALTH)

    def generate(self, spec: KeySpec, domain: Domain, key_id: str) -> MaterialRef:
        self._check_open()
        owner = owner_of(domain, key_id)
        if spec not in self._description.key_specs:
            raise RequestRefused("the store makes no keys of this spec")
        seconds = self._deadline * GENERATION_FACTOR
        (reference,) = self._client.call(Op.GENERATE, seconds, bytes((spec.code,)), owner, key_id.encode())
        return MaterialRef(StoreKind.PKCS11, reference, material_id_of(self._serial, decode(reference)))

    def forget(self, key_id: str) -> None:
        self._materials.drop_where(lambda opened: opened.key_id == key_id)

    def destroy(self, ref: MaterialRef) -> None:
        self._check_open()
        if ref.kind is not StoreKind.PKCS11:
            raise MaterialUnknown("the material belongs to another kind of store")
        self._materials.drop(ref.reference)
        self._call(Op.DESTROY, ref.reference)
        self._materials.drop(ref.reference)  # what was being opened meanwhile

    def close(self) -> None:
        self._closed = True
        self._materials.close()
        self._client.close()

    # SymmetricEncryption

    def encrypt(self, domain: Domain, key_id: str, ref: MaterialRef, plaintext: bytes, context: bytes) -> bytes:
        check_plaintext(plaintext)
        opened = self._opened(domain, key_id, ref)
        opened.need_symmetric()
        self._uses.take(ref.material_id)
        aad = with_context(opened.aad_prefix, context)
        return opened.header + self._call(Op.ENCRYPT, ref.reference, opened.owner, aad, plaintext)[0]

    def decrypt(self, domain: Domain, key_id: str, ref: MaterialRef, blob: CiphertextBlob, context: bytes) -> bytes:
        opened = self._opened(domain, key_id, ref)
        opened.need_symmetric()
        if blob.header != opened.header or len(blob.nonce) != IV_BYTES or len(blob.sealed) <= TAG_BYTES:
            raise CiphertextInvalid
        aad = with_context(opened.aad_prefix, context)
        return self._call(Op.DECRYPT, ref.reference, opened.owner, aad, blob.nonce, blob.sealed)[0]

    def generate_data_key(
        self, domain: Domain, key_id: str, ref: MaterialRef, size: int, context: bytes
    ) -> tuple[bytes, bytes]:
        return self._data_key(domain, key_id, ref, size, context, shown=True)

    def generate_data_key_without_plaintext(
        self, domain: Domain, key_id: str, ref: MaterialRef, size: int, context: bytes
    ) -> bytes:
        return self._data_key(domain, key_id, ref, size, context, shown=False)[1]

    def _data_key(
        self, domain: Domain, key_id: str, ref: MaterialRef, size: int, context: bytes, *, shown: bool
    ) -> tuple[bytes, bytes]:
        check_data_key_size(size)
        opened = self._opened(domain, key_id, ref)
        opened.need_symmetric()
        self._uses.take(ref.material_id)
        aad = with_context(opened.aad_prefix, context)
        plaintext, sealed = self._call(Op.DATA_KEY, ref.reference, opened.owner, aad, size.to_bytes(4), bytes((shown,)))
        return plaintext, opened.header + sealed

    # ProxyEncryption: to the worker an encryption like any other; the additional data keeps both apart

    def proxy_nonce_bytes(self) -> int:
        return IV_BYTES

    def seal_for_proxy(
        self, domain: Domain, key_id: str, ref: MaterialRef, plaintext: bytes, context: bytes
    ) -> tuple[bytes, bytes]:
        check_proxy_call(plaintext, context)
        opened = self._opened(domain, key_id, ref)
        opened.need_symmetric()
        self._uses.take(ref.material_id)
        aad = with_context(proxy_aad_prefix(opened.header), context)
        (sealed,) = self._call(Op.ENCRYPT, ref.reference, opened.owner, aad, plaintext)
        return sealed[:IV_BYTES], sealed[IV_BYTES:]

    def open_for_proxy(
        self, domain: Domain, key_id: str, ref: MaterialRef, nonce: bytes, sealed: bytes, context: bytes
    ) -> bytes:
        check_proxy_call(sealed[:-TAG_BYTES], context)
        opened = self._opened(domain, key_id, ref)
        opened.need_symmetric()
        if len(nonce) != IV_BYTES:
            raise CiphertextInvalid
        aad = with_context(proxy_aad_prefix(opened.header), context)
        return self._call(Op.DECRYPT, ref.reference, opened.owner, aad, nonce, sealed)[0]

    # DataKeyPairs

    def generate_data_key_pair(
        self, domain: Domain, key_id: str, ref: MaterialRef, pair_spec: DataKeyPairSpec, context: bytes
    ) -> DataKeyPair:
        spec = pair_spec.key_spec
        make_pair = _FAMILIES[spec.family].make_pair
        if make_pair is None or spec not in self._description.key_specs:
            raise RequestRefused("the store makes no key pairs of this spec")
        self._opened(domain, key_id, ref).need_symmetric()  # before the long work
        private, public_key = make_pair(spec, self.random)
        return DataKeyPair(private, public_key, self.encrypt(domain, key_id, ref, private, context))

    # RandomGeneration

    def random(self, size: int) -> bytes:
        self._check_open()
        check_random_size(size)
        return self._call(Op.RANDOM, size.to_bytes(4))[0]

    # PublicKeys

    def public_key(self, domain: Domain, key_id: str, ref: MaterialRef) -> bytes:
        opened = self._opened(domain, key_id, ref)
        opened.need_public()
        return opened.spki

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
        key = self._oaep_key(opened, algorithm)
        check_oaep_plaintext(opened.spec, algorithm, plaintext)
        return public.encrypt(key, algorithm, plaintext)

    def decrypt_asymmetric(
        self,
        domain: Domain,
        key_id: str,
        ref: MaterialRef,
        algorithm: AsymmetricEncryptionAlgorithm,
        ciphertext: bytes,
    ) -> bytes:
        opened = self._opened(domain, key_id, ref)
        self._oaep_key(opened, algorithm)
        if len(ciphertext) != opened.spec.ciphertext_bytes:
            raise CiphertextInvalid
        return self._call(Op.OAEP, ref.reference, opened.owner, algorithm.encode(), ciphertext)[0]

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
        what = self._signable(opened, algorithm, form, message)
        return self._call(Op.SIGN, ref.reference, opened.owner, algorithm.encode(), _to_sign(what))[0]

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
        what = self._signable(opened, algorithm, form, message)
        return public.verify(opened.need_public(), what, signature)

    # Macs

    def generate_mac(self, domain: Domain, key_id: str, ref: MaterialRef, message: bytes) -> bytes:
        opened = self._opened(domain, key_id, ref)
        if not mac_algorithms(opened.spec):
            raise RequestRefused("the key makes no MACs")
        check_mac_message(message)
        return self._call(Op.MAC, ref.reference, opened.owner, message)[0]

    def verify_mac(self, domain: Domain, key_id: str, ref: MaterialRef, message: bytes, mac: bytes) -> bool:
        return hmac.compare_digest(self.generate_mac(domain, key_id, ref, message), mac)

    # KeyAgreement

    def derive_shared_secret(self, domain: Domain, key_id: str, ref: MaterialRef, peer_public_key: bytes) -> bytes:
        opened = self._opened(domain, key_id, ref)
        if not agrees_on_keys(opened.spec) or Capability.KEY_AGREEMENT not in self._description.capabilities:
            raise RequestRefused("the key does not derive shared secrets")
        point = public.peer_point(opened.need_public(), peer_public_key)
        return self._call(Op.AGREE, ref.reference, opened.owner, point)[0]

    # Beyond the contract

    @property
    def serial(self) -> bytes:
        """The token's serial number, as its module gives it."""
        return self._serial

    def change_pin(self, new: bytes) -> None:
        """Sets another user PIN. Raises `RequestRefused` if the token does not take it.

        Other processes of this machine need it when they connect again. Keep the new PIN safe before this call
        and the old one until it returned: it may take effect although the call fails.
        """
        self._check_open()
        self._client.change_pin(self._deadline, new)

    def objects(self) -> Iterator[TokenObject]:
        """Every key that a store of this kind made in the token, in the order of ids. Reads page by page."""
        self._check_open()
        after = b""
        while True:
            fields = split_all(self._client.call(Op.OBJECTS, self._deadline * GENERATION_FACTOR, after)[0])
            if not fields:
                return
            for object_id, label in zip(fields[::2], fields[1::2], strict=True):
                text = label.decode("utf-8", "replace")
                yield TokenObject(object_id.hex(), text, KeySpec.__members__.get(text.split(" ")[1]))
            after = fields[-2]

    # Inside

    def _oaep_key(self, opened: _Opened, algorithm: AsymmetricEncryptionAlgorithm) -> public.PublicKey:
        check_oaep(opened.spec, algorithm)
        if algorithm in self._description.lacking:
            raise RequestRefused("the token does not decrypt with this algorithm")
        return opened.need_public()

    def _signable(self, opened: _Opened, algorithm: SigningAlgorithm, form: MessageForm, message: bytes) -> Signable:
        what = Signable(algorithm, form, message)
        check_signing(opened.spec, what)
        if algorithm in self._description.lacking:
            raise RequestRefused("the token does not sign with this algorithm")
        return what

    def _opened(self, domain: Domain, key_id: str, ref: MaterialRef) -> _Opened:
        opened = self._materials.get(ref.reference)
        if (
            opened is not None
            and opened.key_id == key_id
            and opened.material_id == ref.material_id
            and (opened.domain is domain or opened.domain == domain)
            and ref.kind is StoreKind.PKCS11
        ):
            return opened
        return self._open(domain, key_id, ref)

    def _open(self, domain: Domain, key_id: str, ref: MaterialRef) -> _Opened:
        self._check_open()
        if ref.kind is not StoreKind.PKCS11:
            raise MaterialUnknown("the material belongs to another kind of store")
        drops = self._materials.drops
        parsed = decode(ref.reference)
        if ref.material_id != material_id_of(self._serial, parsed):
            raise MaterialCorrupt("a reference to a token's key does not fit its material id")
        owner = owner_of(domain, key_id)
        self._call(Op.CHECK, ref.reference, owner)
        opened = _Opened(domain, key_id, ref)
        self._materials.put(ref.reference, opened, drops)
        return opened

    def _call(self, op: Op, *fields: bytes) -> list[bytes]:
        self._check_open()
        return self._client.call(op, self._deadline, *fields)

    def _check_open(self) -> None:
        if self._closed:
            raise StoreLost("the key store is closed")


def _to_sign(what: Signable) -> bytes:
    """What the token signs: the message itself with Ed25519, its digest with all else."""
    if what.algorithm.scheme is SigningScheme.ED25519 or what.form is MessageForm.DIGEST:
        return what.message
    digest = what.algorithm.digest
    if digest is None:
        raise RequestRefused("the token does not sign with this algorithm")
    return hashlib.new(digest.value[1], what.message).digest()
