"""What checks of abilities beyond symmetric encryption share: the store, its keys, and every operation on a key.

A store is given with what it says of itself; a check is about one key spec, and `Operation` says which specs
have which operation, as AWS has it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from tests.support.keystore_contract import CONTEXT
from tests.support.keystore_parts import HOME, KEY

from kagitori_keystore.algorithms import (
    AsymmetricEncryptionAlgorithm,
    DataKeyPairSpec,
    KeyFamily,
    KeySpec,
    MessageForm,
    SigningAlgorithm,
    agrees_on_keys,
    encapsulates,
    encryption_algorithms,
    mac_algorithms,
    signing_algorithms,
)
from kagitori_keystore.base import Capability, Domain, MaterialRef, StoreKind
from kagitori_keystore.capabilities import GeneralKeyStore

MESSAGE = b"the message of this test"


@dataclass
class AbleStore:
    """A store whose abilities are checked; keys are made once and shared by checks that leave them in place.

    `fresh` gives another store of the kind on ground of its own. `capabilities` and `key_specs` are what the
    store is expected to say of itself, `refused` are algorithms that it lacks although it has keys for them.
    """

    store: GeneralKeyStore
    kind: StoreKind
    fresh: Callable[[], GeneralKeyStore]
    capabilities: frozenset[Capability]
    key_specs: frozenset[KeySpec]
    refs: dict[tuple[KeySpec, str, int], MaterialRef] = field(default_factory=dict)
    refused: frozenset[SigningAlgorithm | AsymmetricEncryptionAlgorithm] = frozenset()

    def ref(self, spec: KeySpec, key: str = KEY, number: int = 0) -> MaterialRef:
        """A key of the spec at HOME, the same one for the same arguments."""
        if (spec, key, number) not in self.refs:
            self.refs[spec, key, number] = self.store.generate(spec, HOME, key)
        return self.refs[spec, key, number]

    def signings(self, spec: KeySpec) -> list[tuple[SigningAlgorithm, MessageForm]]:
        """Every way in which this store's keys of the spec sign."""
        return [(algorithm, form) for algorithm, form in signings(spec) if algorithm not in self.refused]

    def oaep(self, spec: KeySpec) -> list[AsymmetricEncryptionAlgorithm]:
        """Every way in which this store's keys of the spec encrypt."""
        return [algorithm for algorithm in encryption_algorithms(spec) if algorithm not in self.refused]


def asymmetric(spec: KeySpec) -> bool:
    return spec.family not in (KeyFamily.SYMMETRIC, KeyFamily.HMAC)


def message_for(algorithm: SigningAlgorithm, form: MessageForm, message: bytes = MESSAGE) -> bytes:
    """The message in a form: itself, its digest, or 64 bytes that stand for its representative."""
    if form is MessageForm.RAW:
        return message
    digest = algorithm.digest
    return hashlib.new(digest.value[1] if form is MessageForm.DIGEST and digest else "sha512", message).digest()


def signings(spec: KeySpec) -> list[tuple[SigningAlgorithm, MessageForm]]:
    """Every way in which keys of the spec sign."""
    return [(algorithm, form) for algorithm in signing_algorithms(spec) for form in algorithm.forms]


@dataclass(frozen=True)
class Operation:
    """An operation on a key: the ability it belongs to, the specs that have it, one call of it."""

    capability: Capability
    has: Callable[[KeySpec], bool]
    call: Callable[[GeneralKeyStore, Domain, str, MaterialRef], object]


def _sign(store: GeneralKeyStore, domain: Domain, key: str, ref: MaterialRef, spec: KeySpec) -> bytes:
    algorithm, form = (signings(spec) or signings(KeySpec.RSA_2048))[0]
    return store.sign(domain, key, ref, algorithm, form, message_for(algorithm, form))


def _verify(store: GeneralKeyStore, domain: Domain, key: str, ref: MaterialRef, spec: KeySpec) -> bool:
    algorithm, form = (signings(spec) or signings(KeySpec.RSA_2048))[0]
    return store.verify(domain, key, ref, algorithm, form, message_for(algorithm, form), b"no signature")


def operations(spec: KeySpec, peer: bytes, oaep: AsymmetricEncryptionAlgorithm) -> dict[str, Operation]:
    """Every operation, with arguments that suit a key of this spec if any do. `peer` is a public key."""
    symmetric = (KeySpec.SYMMETRIC_DEFAULT,)
    ciphertext = bytes(spec.ciphertext_bytes or 768)
    signs: Callable[[KeySpec], bool] = lambda spec: bool(signing_algorithms(spec))  # noqa: E731  (a row's cell)
    return {
        "encrypt": Operation(
            Capability.SYMMETRIC_ENCRYPTION,
            symmetric.__contains__,
            lambda store, domain, key, ref: store.encrypt(domain, key, ref, MESSAGE, CONTEXT),
        ),
        "generate_data_key": Operation(
            Capability.SYMMETRIC_ENCRYPTION,
            symmetric.__contains__,
            lambda store, domain, key, ref: store.generate_data_key(domain, key, ref, 32, CONTEXT),
        ),
        "generate_data_key_pair": Operation(
            Capability.DATA_KEY_PAIRS,
            symmetric.__contains__,
            lambda store, domain, key, ref: store.generate_data_key_pair(
                domain, key, ref, DataKeyPairSpec.ECC_NIST_P256, CONTEXT
            ),
        ),
        "public_key": Operation(
            Capability.PUBLIC_KEYS,
            asymmetric,
            lambda store, domain, key, ref: store.public_key(domain, key, ref),
        ),
        "encrypt_asymmetric": Operation(
            Capability.ASYMMETRIC_ENCRYPTION,
            lambda spec: bool(encryption_algorithms(spec)),
            lambda store, domain, key, ref: store.encrypt_asymmetric(domain, key, ref, oaep, MESSAGE),
        ),
        "sign": Operation(
            Capability.SIGNING, signs, lambda store, domain, key, ref: _sign(store, domain, key, ref, spec)
        ),
        "verify": Operation(
            Capability.SIGNING, signs, lambda store, domain, key, ref: _verify(store, domain, key, ref, spec)
        ),
        "generate_mac": Operation(
            Capability.MACS,
            lambda spec: bool(mac_algorithms(spec)),
            lambda store, domain, key, ref: store.generate_mac(domain, key, ref, MESSAGE),
        ),
        "verify_mac": Operation(
            Capability.MACS,
            lambda spec: bool(mac_algorithms(spec)),
            lambda store, domain, key, ref: store.verify_mac(domain, key, ref, MESSAGE, b"no MAC"),
        ),
        "derive_shared_secret": Operation(
            Capability.KEY_AGREEMENT,
            agrees_on_keys,
            lambda store, domain, key, ref: store.derive_shared_secret(domain, key, ref, peer),
        ),
        "encapsulate": Operation(
            Capability.KEY_ENCAPSULATION,
            encapsulates,
            lambda store, domain, key, ref: store.encapsulate(domain, key, ref),
        ),
        "decapsulate": Operation(
            Capability.KEY_ENCAPSULATION,
            encapsulates,
            lambda store, domain, key, ref: store.decapsulate(domain, key, ref, ciphertext),
        ),
        "replicate": Operation(
            Capability.MATERIAL_REPLICATION,
            tuple(KeySpec).__contains__,
            lambda store, domain, key, ref: store.replicate(domain, key, ref, Domain(domain.account, "sa-east-1")),
        ),
    }


def calls(
    under: AbleStore, spec: KeySpec, domain: Domain, key: str, ref: MaterialRef, *, able: bool = True
) -> dict[str, Callable[[], object]]:
    """By name, the operations that a key of the spec has (or those that it has not) and this store has."""
    peer = under.store.public_key(HOME, KEY, under.ref(spec)) if agrees_on_keys(spec) else b"no key"
    oaep = (under.oaep(spec) or [AsymmetricEncryptionAlgorithm.RSAES_OAEP_SHA_1])[-1]
    return {
        name: partial(operation.call, under.store, domain, key, ref)
        for name, operation in operations(spec, peer, oaep).items()
        if operation.capability in under.capabilities and operation.has(spec) is able
    }
