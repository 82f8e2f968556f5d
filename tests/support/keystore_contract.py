"""What every key store owes, as plain checks: `tests/contract` runs each over each store and faulty ones.

A check takes a fresh `StoreUnderTest` and raises `AssertionError` when the store breaks its promise.
Adding a store means adding a row to the table in `tests/contract`, no check.
"""

from __future__ import annotations

import copy
import pickle
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial

import pytest
from tests.support.keystore_parts import (
    HOME,
    KEY,
    MULTI_REGION_KEY,
    OTHER_ACCOUNT,
    OTHER_KEY,
    OTHER_REGION,
)

from kagitori_keystore.algorithms import KeySpec
from kagitori_keystore.base import (
    Capability,
    CiphertextInvalid,
    Domain,
    ErrorKind,
    KeyStoreError,
    MaterialRef,
    RequestRefused,
    StoreKind,
    StoreLost,
    SymmetricKeyStore,
)
from kagitori_keystore.ciphertext import HEADER_BYTES, NONCE_BYTES, TAG_BYTES, parse

SPEC = KeySpec.SYMMETRIC_DEFAULT
CONTEXT = b"canonical context"
PLAINTEXT = b"the plaintext of this test"
LOST = {ErrorKind.SESSION_LOST, ErrorKind.STORE_LOST, ErrorKind.TOO_SLOW}


@dataclass
class StoreUnderTest:
    """A store and what a check must know of it.

    `sever` takes away what the store depends on and returns a store on the same ground with nothing cached.
    `holds_material`: `destroy` alone ends a material, since the reference does not contain it.
    """

    store: SymmetricKeyStore
    kind: StoreKind
    sever: Callable[[], SymmetricKeyStore]
    holds_material: bool


Check = Callable[[StoreUnderTest], None]


def refused(kinds: set[ErrorKind], call: Callable[[], object]) -> KeyStoreError:
    """Asserts that `call` fails with a `KeyStoreError` of one of these kinds; returns it."""
    with pytest.raises(Exception) as caught:  # noqa: PT011  (the next line says that nothing else may come out)
        call()
    assert isinstance(caught.value, KeyStoreError), f"{caught.type.__name__} came out of a key store"
    assert caught.value.kind in kinds
    return caught.value


def invalid(call: Callable[[], object]) -> None:
    """Asserts that `call` fails with `CiphertextInvalid`, which tells nothing more."""
    error = refused({ErrorKind.CALLER}, call)
    assert isinstance(error, CiphertextInvalid)
    assert str(error) == str(CiphertextInvalid())
    assert error.__cause__ is None
    assert error.__context__ is None or error.__suppress_context__


def decrypt(
    under: StoreUnderTest,
    ref: MaterialRef,
    blob: bytes,
    *,
    domain: Domain = HOME,
    key: str = KEY,
    context: bytes = CONTEXT,
) -> bytes:
    return under.store.decrypt(domain, key, ref, parse(blob), context)


def flips(data: bytes) -> list[bytes]:
    """`data` with one bit changed, for each bit."""
    return [
        data[:at] + bytes((data[at] ^ (1 << bit),)) + data[at + 1 :]
        for at in range(len(data))
        for bit in range(8)
    ]


def describes_itself(under: StoreUnderTest) -> None:
    description = under.store.describe()
    assert description.kind is under.kind
    assert description.capabilities >= {Capability.SYMMETRIC_ENCRYPTION, Capability.RANDOM_GENERATION}
    assert SPEC in description.key_specs
    under.store.health()


def round_trips(under: StoreUnderTest) -> None:
    for key in (KEY, MULTI_REGION_KEY):
        ref = under.store.generate(SPEC, HOME, key)
        assert ref.kind is under.kind
        for size in (1, 2, 15, 16, 17, 1024, 4096):
            for context in (b"", CONTEXT, bytes(8192)):
                plaintext = bytes(size)
                blob = under.store.encrypt(HOME, key, ref, plaintext, context)
                assert decrypt(under, ref, blob, key=key, context=context) == plaintext


def blobs_name_key_and_material(under: StoreUnderTest) -> None:
    for key in (KEY, MULTI_REGION_KEY):
        ref = under.store.generate(SPEC, HOME, key)
        blob = under.store.encrypt(HOME, key, ref, PLAINTEXT, CONTEXT)
        parsed = parse(blob)
        assert (parsed.kind, parsed.key_id, parsed.material_id) == (under.kind, key, ref.material_id)
        assert len(blob) == HEADER_BYTES + NONCE_BYTES[under.kind] + len(PLAINTEXT) + TAG_BYTES
        assert PLAINTEXT not in blob


def materials_and_blobs_are_unique(under: StoreUnderTest) -> None:
    refs = [under.store.generate(SPEC, HOME, KEY) for _ in range(20)]
    assert len({ref.material_id for ref in refs}) == len(refs)
    assert len({ref.reference for ref in refs}) == len(refs)
    blobs = [parse(under.store.encrypt(HOME, KEY, refs[0], PLAINTEXT, CONTEXT)) for _ in range(200)]
    assert len({blob.nonce for blob in blobs}) == len(blobs)
    assert len({blob.sealed for blob in blobs}) == len(blobs)


def data_keys_match_their_blobs(under: StoreUnderTest) -> None:
    ref = under.store.generate(SPEC, HOME, KEY)
    for size in (1, 16, 32, 64, 1024):
        plaintext, blob = under.store.generate_data_key(HOME, KEY, ref, size, CONTEXT)
        assert len(plaintext) == size
        assert decrypt(under, ref, blob) == plaintext
        silent = under.store.generate_data_key_without_plaintext(HOME, KEY, ref, size, CONTEXT)
        hidden = decrypt(under, ref, silent)
        assert len(hidden) == size
        assert size == 1 or hidden != plaintext


def random_bytes_are_fresh(under: StoreUnderTest) -> None:
    for size in (1, 1024):
        assert len(under.store.random(size)) == size
    assert len({under.store.random(16) for _ in range(100)}) == 100


def sizes_are_bounded(under: StoreUnderTest) -> None:
    store = under.store
    ref = store.generate(SPEC, HOME, KEY)
    calls: list[Callable[[], object]] = [
        lambda: store.encrypt(HOME, KEY, ref, b"", CONTEXT),
        lambda: store.encrypt(HOME, KEY, ref, bytes(4097), CONTEXT),
    ]
    for size in (-1, 0, 1025):
        calls += [
            partial(store.generate_data_key, HOME, KEY, ref, size, CONTEXT),
            partial(store.generate_data_key_without_plaintext, HOME, KEY, ref, size, CONTEXT),
            partial(store.random, size),
        ]
    for call in calls:
        error = refused({ErrorKind.CALLER}, call)
        assert isinstance(error, RequestRefused)
        assert not isinstance(error, CiphertextInvalid)


def key_ids_are_checked(under: StoreUnderTest) -> None:
    for key in (
        "",
        "mrk-",
        KEY.upper(),
        KEY + "0",
        KEY + "\n",
        KEY.replace("-", ""),
        "mrk-" + KEY,
        "alias/a",
    ):
        refused({ErrorKind.CALLER}, partial(under.store.generate, SPEC, HOME, key))


def every_flipped_bit_is_noticed(under: StoreUnderTest) -> None:
    ref = under.store.generate(SPEC, HOME, KEY)
    blob = under.store.encrypt(HOME, KEY, ref, PLAINTEXT, CONTEXT)
    for forged in flips(blob):
        invalid(partial(decrypt, under, ref, forged))


def every_truncation_and_extension_is_noticed(under: StoreUnderTest) -> None:
    ref = under.store.generate(SPEC, HOME, KEY)
    blob = under.store.encrypt(HOME, KEY, ref, PLAINTEXT, CONTEXT)
    forgeries = [blob[:size] for size in range(len(blob))] + [blob[start:] for start in range(1, len(blob))]
    forgeries += [blob + b"\x00", blob + blob, b"\x00" + blob, blob + bytes(6145 - len(blob)), bytes(1 << 20)]
    for forged in forgeries:
        invalid(partial(decrypt, under, ref, forged))


def context_is_bound(under: StoreUnderTest) -> None:
    ref = under.store.generate(SPEC, HOME, KEY)
    blob = under.store.encrypt(HOME, KEY, ref, PLAINTEXT, CONTEXT)
    for context in (b"", CONTEXT[:-1], CONTEXT + b"\x00", b"\x00" + CONTEXT, *flips(CONTEXT)):
        invalid(partial(decrypt, under, ref, blob, context=context))


def blobs_open_with_their_own_material_only(under: StoreUnderTest) -> None:
    store = under.store
    first, second = (store.generate(SPEC, HOME, KEY) for _ in range(2))
    other = store.generate(SPEC, HOME, OTHER_KEY)
    abroad = store.generate(SPEC, OTHER_REGION, KEY)
    blob = store.encrypt(HOME, KEY, first, PLAINTEXT, CONTEXT)
    invalid(lambda: decrypt(under, second, blob))
    invalid(lambda: decrypt(under, other, blob, key=OTHER_KEY))
    invalid(lambda: decrypt(under, abroad, blob, domain=OTHER_REGION))
    # A body under another header: as if the blob had been made with the second material.
    header = store.encrypt(HOME, KEY, second, PLAINTEXT, CONTEXT)[:HEADER_BYTES]
    invalid(lambda: decrypt(under, second, header + blob[HEADER_BYTES:]))
    invalid(lambda: decrypt(under, first, header + blob[HEADER_BYTES:]))
    parsed = parse(blob)
    invalid(lambda: store.decrypt(HOME, KEY, first, parsed._replace(nonce=b""), CONTEXT))
    invalid(lambda: store.decrypt(HOME, KEY, first, parsed._replace(sealed=b""), CONTEXT))


def references_do_not_move(under: StoreUnderTest) -> None:
    store = under.store
    ref = store.generate(SPEC, HOME, KEY)
    for domain in (HOME, OTHER_ACCOUNT, OTHER_REGION):
        store.generate(SPEC, domain, OTHER_KEY)  # so that no domain fails for being unused
    blob = parse(store.encrypt(HOME, KEY, ref, PLAINTEXT, CONTEXT))
    for warm in (True, False):
        for domain, key in ((HOME, OTHER_KEY), (OTHER_ACCOUNT, KEY), (OTHER_REGION, KEY)):
            moved: list[Callable[[], object]] = [
                partial(store.encrypt, domain, key, ref, PLAINTEXT, CONTEXT),
                partial(store.decrypt, domain, key, ref, blob, CONTEXT),
                partial(store.generate_data_key, domain, key, ref, 32, CONTEXT),
                partial(store.generate_data_key_without_plaintext, domain, key, ref, 32, CONTEXT),
            ]
            for call in moved:
                if not warm:
                    store.forget(KEY)
                refused({ErrorKind.KEY}, call)
        assert store.decrypt(HOME, KEY, ref, blob, CONTEXT) == PLAINTEXT


def forged_references_are_noticed(under: StoreUnderTest) -> None:
    store = under.store
    ref = store.generate(SPEC, HOME, KEY)
    other = store.generate(SPEC, HOME, KEY)
    store.encrypt(HOME, KEY, ref, PLAINTEXT, CONTEXT)  # warm: a forgery must not reach what is opened
    forgeries = [replace(ref, reference=forged) for forged in flips(ref.reference)]
    forgeries += [replace(ref, reference=ref.reference[:size]) for size in range(1, len(ref.reference))]
    forgeries += [replace(ref, reference=ref.reference + b"\x00"), replace(ref, reference=other.reference)]
    forgeries += [replace(ref, material_id=other.material_id)]
    forgeries += [replace(ref, kind=kind) for kind in StoreKind if kind is not under.kind]
    for forged in forgeries:
        refused({ErrorKind.KEY}, partial(store.encrypt, HOME, KEY, forged, PLAINTEXT, CONTEXT))


def forgetting_costs_nothing_but_time(under: StoreUnderTest) -> None:
    store = under.store
    ref = store.generate(SPEC, HOME, KEY)
    blob = store.encrypt(HOME, KEY, ref, PLAINTEXT, CONTEXT)
    for _ in range(2):
        store.forget(KEY)
    store.forget(OTHER_KEY)
    store.forget("no key id")
    assert decrypt(under, ref, blob) == PLAINTEXT


def destroying_ends_one_material(under: StoreUnderTest) -> None:
    store = under.store
    ref, other = (store.generate(SPEC, HOME, KEY) for _ in range(2))
    blob = store.encrypt(HOME, KEY, other, PLAINTEXT, CONTEXT)
    for _ in range(2):
        store.destroy(ref)
    if under.holds_material:
        refused({ErrorKind.KEY}, lambda: store.encrypt(HOME, KEY, ref, PLAINTEXT, CONTEXT))
    assert decrypt(under, other, blob) == PLAINTEXT
    foreign = replace(ref, kind=next(kind for kind in StoreKind if kind is not under.kind))
    refused({ErrorKind.KEY}, lambda: store.destroy(foreign))


def calls_of(under: StoreUnderTest, ref: MaterialRef, blob: bytes) -> list[Callable[[], object]]:
    """Every operation that touches the store."""
    store = under.store
    return [
        lambda: store.generate(SPEC, OTHER_REGION, KEY),
        lambda: store.encrypt(HOME, KEY, ref, PLAINTEXT, CONTEXT),
        lambda: decrypt(under, ref, blob),
        lambda: store.generate_data_key(HOME, KEY, ref, 32, CONTEXT),
        lambda: store.generate_data_key_without_plaintext(HOME, KEY, ref, 32, CONTEXT),
        store.health,
    ]


def a_lost_store_is_told(under: StoreUnderTest) -> None:
    ref = under.store.generate(SPEC, HOME, KEY)
    blob = under.store.encrypt(HOME, KEY, ref, PLAINTEXT, CONTEXT)
    lost = replace(under, store=under.sever())
    for call in calls_of(lost, ref, blob):
        refused(LOST, call)
    lost.store.forget(KEY)


def a_closed_store_stays_closed(under: StoreUnderTest) -> None:
    ref = under.store.generate(SPEC, HOME, KEY)
    blob = under.store.encrypt(HOME, KEY, ref, PLAINTEXT, CONTEXT)
    for _ in range(2):
        under.store.close()
    closed = [*calls_of(under, ref, blob), lambda: under.store.random(16), lambda: under.store.destroy(ref)]
    for call in closed:
        assert isinstance(refused({ErrorKind.STORE_LOST}, call), StoreLost)
    under.store.forget(KEY)


def failures_tell_no_secret(under: StoreUnderTest) -> None:
    store = under.store
    ref = store.generate(SPEC, HOME, KEY)
    blob = store.encrypt(HOME, KEY, ref, PLAINTEXT, CONTEXT)
    oversize = PLAINTEXT * 200
    errors = [
        refused({ErrorKind.CALLER}, lambda: decrypt(under, ref, blob, context=b"another")),
        refused({ErrorKind.CALLER}, lambda: store.encrypt(HOME, KEY, ref, oversize, CONTEXT)),
        refused({ErrorKind.KEY}, lambda: store.encrypt(HOME, OTHER_KEY, ref, PLAINTEXT, CONTEXT)),
    ]
    for error in errors:
        for secret in (PLAINTEXT, CONTEXT, ref.reference, blob):
            for form in (secret.hex(), repr(secret)[2:-1], secret[:16].hex()):
                assert form not in repr(error)
                assert form not in str(error)


def the_store_itself_is_guarded(under: StoreUnderTest) -> None:
    store = under.store
    assert repr(store).startswith("<")
    for refusal in (
        lambda: pickle.dumps(store),
        lambda: copy.copy(store),
        lambda: copy.deepcopy(store),
        lambda: store == object(),
    ):
        with pytest.raises(TypeError, match="secrets"):
            refusal()


def threads_do_not_disturb_each_other(under: StoreUnderTest) -> None:
    store = under.store
    refs = [store.generate(SPEC, HOME, KEY) for _ in range(4)]
    start = threading.Barrier(8)

    def work(worker: int) -> int:
        start.wait()
        done = 0
        for turn in range(60):
            ref = refs[(worker + turn) % len(refs)]
            plaintext = f"{worker} {turn}".encode() * 20
            blob = store.encrypt(HOME, KEY, ref, plaintext, CONTEXT)
            if turn % 7 == worker % 7:
                store.forget(KEY)
            assert decrypt(under, ref, blob) == plaintext
            invalid(partial(decrypt, under, ref, blob, context=b"wrong"))
            done += 1
        return done

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(work, range(8))) == [60] * 8


def first_uses_of_a_domain_may_coincide(under: StoreUnderTest) -> None:
    store = under.store
    for turn in range(5):
        domain = Domain(f"{turn:012d}", "ap-south-1")
        start = threading.Barrier(8)

        def first(_: int, domain: Domain = domain, start: threading.Barrier = start) -> MaterialRef:
            start.wait()
            return store.generate(SPEC, domain, KEY)

        with ThreadPoolExecutor(8) as pool:
            refs = list(pool.map(first, range(8)))
        for ref in refs:
            blob = store.encrypt(domain, KEY, ref, PLAINTEXT, CONTEXT)
            store.forget(KEY)
            assert decrypt(under, ref, blob, domain=domain) == PLAINTEXT


CONTRACT: tuple[Check, ...] = (
    describes_itself,
    round_trips,
    blobs_name_key_and_material,
    materials_and_blobs_are_unique,
    data_keys_match_their_blobs,
    random_bytes_are_fresh,
    sizes_are_bounded,
    key_ids_are_checked,
    every_flipped_bit_is_noticed,
    every_truncation_and_extension_is_noticed,
    context_is_bound,
    blobs_open_with_their_own_material_only,
    references_do_not_move,
    forged_references_are_noticed,
    forgetting_costs_nothing_but_time,
    destroying_ends_one_material,
    a_lost_store_is_told,
    a_closed_store_stays_closed,
    failures_tell_no_secret,
    the_store_itself_is_guarded,
    threads_do_not_disturb_each_other,
    first_uses_of_a_domain_may_coincide,
)
