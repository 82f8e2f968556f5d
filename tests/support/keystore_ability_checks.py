"""What a store with an ability owes, as plain checks of one ability and one key spec each.

A check takes an `AbleStore` and a spec, and raises `AssertionError` when the store breaks its promise. Results
are held against `cryptography`, used from outside with the store's public keys alone.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial

from cryptography.hazmat.primitives.serialization import load_der_public_key
from tests.support.keystore_abilities import AbleStore, asymmetric, calls
from tests.support.keystore_contract import CONTEXT, flips, invalid, refused
from tests.support.keystore_parts import HOME, KEY, MULTI_REGION_KEY, OTHER_ACCOUNT, OTHER_KEY, OTHER_REGION
from tests.support.ml_kem_512 import peer_of, spki_of

from kagitori_keystore.algorithms import SPEC_BY_CODE, DataKeyPairSpec, KeyFamily, KeySpec, mac_algorithms
from kagitori_keystore.base import Capability, CiphertextInvalid, ErrorKind, RequestRefused
from kagitori_keystore.ciphertext import parse

AbilityCheck = Callable[[AbleStore, KeySpec], None]
MESSAGE = b"a message"


@dataclass(frozen=True)
class Row:
    """A check, the ability it is about (None: being a store at all) and the specs it is run with."""

    check: AbilityCheck
    capability: Capability | None
    specs: tuple[KeySpec, ...]


def refused_as_request(call: Callable[[], object]) -> None:
    """Asserts that the caller is told that the request was wrong, and not that a ciphertext was."""
    error = refused({ErrorKind.CALLER}, call)
    assert isinstance(error, RequestRefused)
    assert not isinstance(error, CiphertextInvalid)


# Any key


def references_serve_their_own_key_only(under: AbleStore, spec: KeySpec) -> None:
    ref = under.ref(spec)
    for domain in (OTHER_ACCOUNT, OTHER_REGION):
        under.store.generate(KeySpec.HMAC_256, domain, KEY)  # so that no domain fails for being unused
    for domain, key in ((HOME, OTHER_KEY), (OTHER_ACCOUNT, KEY), (OTHER_REGION, KEY)):
        for call in calls(under, spec, domain, key, ref).values():
            refused({ErrorKind.KEY}, call)
            under.store.forget(KEY)
            refused({ErrorKind.KEY}, call)


def forged_references_of_any_spec_are_noticed(under: AbleStore, spec: KeySpec) -> None:
    ref, other = under.ref(spec), under.ref(spec, number=1)
    reference = ref.reference
    forgeries = [replace(ref, reference=forged) for forged in flips(reference[:80])[::61]]
    forgeries = [replace(each, reference=each.reference + reference[80:]) for each in forgeries]
    forgeries += [replace(ref, reference=reference[:-80] + forged) for forged in flips(reference[-80:])[::61]]
    forgeries += [replace(ref, reference=reference[:-1]), replace(ref, reference=reference + b"\x00")]
    forgeries += [replace(ref, material_id=other.material_id), replace(ref, reference=other.reference)]
    forgeries += [  # the material of one spec passed off as another's
        replace(ref, reference=reference[:1] + bytes((code,)) + reference[2:])
        for code in SPEC_BY_CODE
        if code != reference[1]
    ]
    for forged in forgeries:
        for call in calls(under, spec, HOME, KEY, forged).values():
            refused({ErrorKind.KEY}, call)


def keys_do_what_their_spec_allows(under: AbleStore, spec: KeySpec) -> None:
    ref = under.ref(spec)
    own = calls(under, spec, HOME, KEY, ref)
    assert own
    for call in own.values():
        call()
    for call in calls(under, spec, HOME, KEY, ref, able=False).values():
        refused_as_request(call)
    with_blob = parse(under.store.encrypt(HOME, KEY, under.ref(KeySpec.SYMMETRIC_DEFAULT), MESSAGE, CONTEXT))
    if spec is not KeySpec.SYMMETRIC_DEFAULT:
        refused_as_request(partial(under.store.decrypt, HOME, KEY, ref, with_blob, CONTEXT))


def a_closed_store_uses_no_key(under: AbleStore, spec: KeySpec) -> None:
    store = under.fresh()
    closed = replace(under, store=store, refs={})
    ref = closed.ref(spec)
    own = calls(closed, spec, HOME, KEY, ref)
    for call in own.values():
        call()  # warm: what is opened must not outlive the store
    store.close()
    for call in own.values():
        refused({ErrorKind.STORE_LOST}, call)


def threads_may_share_a_key(under: AbleStore, spec: KeySpec) -> None:
    own = calls(under, spec, HOME, KEY, under.ref(spec))
    start = threading.Barrier(4)

    def work(worker: int) -> None:
        start.wait()
        for turn in range(6):
            if turn % 3 == worker % 3:
                under.store.forget(KEY)
            for call in own.values():
                call()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))


# PUBLIC_KEYS


def public_keys_are_spki(under: AbleStore, spec: KeySpec) -> None:
    store = under.store
    first, second = (store.public_key(HOME, KEY, under.ref(spec, number=number)) for number in (0, 1))
    assert peer_of(first) if spec is KeySpec.ML_KEM_512 else load_der_public_key(first)
    assert first != second
    store.forget(KEY)
    assert store.public_key(HOME, KEY, under.ref(spec)) == first
    assert len(first) == _SPKI_BYTES[spec]


_SPKI_BYTES = {
    KeySpec.RSA_2048: 294,
    KeySpec.RSA_3072: 422,
    KeySpec.RSA_4096: 550,
    KeySpec.ECC_NIST_P256: 91,
    KeySpec.ECC_NIST_P384: 120,
    KeySpec.ECC_NIST_P521: 158,
    KeySpec.ECC_SECG_P256K1: 88,
    KeySpec.ECC_NIST_EDWARDS25519: 44,
    KeySpec.ML_DSA_44: 1334,
    KeySpec.ML_DSA_65: 1974,
    KeySpec.ML_DSA_87: 2614,
    KeySpec.ML_KEM_512: 822,
    KeySpec.ML_KEM_768: 1206,
    KeySpec.ML_KEM_1024: 1590,
}


# MACS


def macs_verify(under: AbleStore, spec: KeySpec) -> None:
    store, ref = under.store, under.ref(spec)
    for message in (b"m", MESSAGE, bytes(4096)):
        mac = store.generate_mac(HOME, KEY, ref, message)
        assert spec.digest
        assert len(mac) == spec.digest.size
        assert mac == store.generate_mac(HOME, KEY, ref, message)
        assert store.verify_mac(HOME, KEY, ref, message, mac) is True
    other = under.ref(spec, number=1)
    assert store.generate_mac(HOME, KEY, other, MESSAGE) != store.generate_mac(HOME, KEY, ref, MESSAGE)


def other_macs_do_not_verify(under: AbleStore, spec: KeySpec) -> None:
    store, ref = under.store, under.ref(spec)
    mac = store.generate_mac(HOME, KEY, ref, MESSAGE)
    other = store.generate_mac(HOME, KEY, under.ref(spec, number=1), MESSAGE)
    wrong = [*flips(mac), *(mac[:size] for size in range(len(mac))), mac + b"\x00", mac + mac, bytes(6144), other]
    for forged in wrong:
        assert store.verify_mac(HOME, KEY, ref, MESSAGE, forged) is False
    assert store.verify_mac(HOME, KEY, ref, MESSAGE + b"\x00", mac) is False


def messages_for_macs_are_bounded(under: AbleStore, spec: KeySpec) -> None:
    for message in (b"", bytes(4097)):
        refused_as_request(partial(under.store.generate_mac, HOME, KEY, under.ref(spec), message))
        refused_as_request(partial(under.store.verify_mac, HOME, KEY, under.ref(spec), message, bytes(32)))


# DATA_KEY_PAIRS


def data_key_pairs_belong_together(under: AbleStore, spec: KeySpec) -> None:
    store, ref = under.store, under.ref(KeySpec.SYMMETRIC_DEFAULT)
    pair = store.generate_data_key_pair(HOME, KEY, ref, DataKeyPairSpec[spec.name], CONTEXT)
    assert spki_of(pair.private_key) == pair.public_key
    assert len(pair.public_key) == _SPKI_BYTES[spec]
    assert store.decrypt(HOME, KEY, ref, parse(pair.blob), CONTEXT) == pair.private_key
    invalid(partial(store.decrypt, HOME, KEY, ref, parse(pair.blob), b"another context"))
    assert repr(pair.private_key)[2:20] not in repr(pair)
    if spec.family is not KeyFamily.RSA:  # whose pairs take too long to make two
        another = store.generate_data_key_pair(HOME, KEY, ref, DataKeyPairSpec[spec.name], CONTEXT)
        assert another.private_key != pair.private_key


def data_key_pairs_need_a_symmetric_key(under: AbleStore, spec: KeySpec) -> None:
    pair = DataKeyPairSpec[spec.name]
    refused_as_request(
        partial(under.store.generate_data_key_pair, HOME, KEY, under.ref(KeySpec.HMAC_256), pair, CONTEXT)
    )


# MATERIAL_REPLICATION


def replicas_are_the_same_key(under: AbleStore, spec: KeySpec) -> None:
    store, key = under.store, MULTI_REGION_KEY
    ref = under.ref(spec, key)
    replica = store.replicate(HOME, key, ref, OTHER_REGION)
    assert (replica.kind, replica.material_id) == (ref.kind, ref.material_id)
    assert replica.reference != ref.reference
    if asymmetric(spec):
        assert store.public_key(OTHER_REGION, key, replica) == store.public_key(HOME, key, ref)
    elif mac_algorithms(spec):
        assert store.generate_mac(OTHER_REGION, key, replica, MESSAGE) == store.generate_mac(HOME, key, ref, MESSAGE)
    else:
        blob = parse(store.encrypt(HOME, key, ref, MESSAGE, CONTEXT))
        assert store.decrypt(OTHER_REGION, key, replica, blob, CONTEXT) == MESSAGE
    for call in calls(under, spec, HOME, key, replica).values():
        refused({ErrorKind.KEY}, call)


def replicas_stay_in_their_account(under: AbleStore, spec: KeySpec) -> None:
    ref = under.ref(spec, MULTI_REGION_KEY)
    refused_as_request(partial(under.store.replicate, HOME, MULTI_REGION_KEY, ref, OTHER_ACCOUNT))
    refused({ErrorKind.KEY}, partial(under.store.replicate, HOME, KEY, ref, OTHER_REGION))


ALL = tuple(KeySpec)
MACS = tuple(spec for spec in KeySpec if mac_algorithms(spec))
PAIRS = tuple(pair.key_spec for pair in DataKeyPairSpec)

GENERAL_ROWS: tuple[Row, ...] = (
    Row(references_serve_their_own_key_only, None, ALL),
    Row(forged_references_of_any_spec_are_noticed, None, ALL),
    Row(keys_do_what_their_spec_allows, None, ALL),
    Row(a_closed_store_uses_no_key, None, ALL),
    Row(threads_may_share_a_key, None, ALL),
    Row(public_keys_are_spki, Capability.PUBLIC_KEYS, tuple(spec for spec in KeySpec if asymmetric(spec))),
    Row(macs_verify, Capability.MACS, MACS),
    Row(other_macs_do_not_verify, Capability.MACS, MACS),
    Row(messages_for_macs_are_bounded, Capability.MACS, MACS),
    Row(data_key_pairs_belong_together, Capability.DATA_KEY_PAIRS, PAIRS),
    Row(data_key_pairs_need_a_symmetric_key, Capability.DATA_KEY_PAIRS, PAIRS),
    Row(replicas_are_the_same_key, Capability.MATERIAL_REPLICATION, ALL),
    Row(replicas_stay_in_their_account, Capability.MATERIAL_REPLICATION, ALL),
)
