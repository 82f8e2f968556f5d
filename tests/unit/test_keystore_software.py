"""The software store beyond the contract: wrapping, caching, key-encryption keys and their races."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from tests.support.keystore_parts import (
    HOME,
    KEY,
    MULTI_REGION_KEY,
    OTHER_ACCOUNT,
    OTHER_KEY,
    OTHER_REGION,
    MemoryShelf,
    Workshop,
)

from kagitori_keystore.algorithms import SPEC_BY_CODE, KeySpec
from kagitori_keystore.base import (
    Domain,
    ErrorKind,
    KeyStoreError,
    MaterialCorrupt,
    MaterialRef,
    MaterialUnknown,
    RequestRefused,
    StoreKind,
    StoreLost,
    SymmetricKeyStore,
)
from kagitori_keystore.ciphertext import parse
from kagitori_keystore.software import KekShelf, SoftwareKeyStore

SPEC = KeySpec.SYMMETRIC_DEFAULT
REFERENCE_BYTES = 2 + 24 + 32 + 16


@pytest.fixture
def shop(tmp_path: Path) -> Workshop:
    return Workshop(tmp_path)


def test_satisfies_the_protocols(shop: Workshop) -> None:
    """Checked by the type checker: the store and the shelf are what the contract asks for."""
    store: SymmetricKeyStore = shop.store
    shelf: KekShelf = shop.shelf
    assert store.describe().kind is StoreKind.SOFTWARE
    assert shelf.get(HOME) is None


def test_reference_holds_wrapped_material_only(shop: Workshop) -> None:
    """A reference has its exact size and no byte string the random source gave except the nonce."""
    ref = shop.store.generate(SPEC, HOME, KEY)
    assert len(ref.reference) == REFERENCE_BYTES
    assert ref.reference[:2] == bytes((1, SPEC.code))
    secrets = [given for given in shop.random.given if len(given) == 32]
    assert len(secrets) >= 3, "root key, key-encryption key and material were drawn"
    assert not any(secret in ref.reference or secret in shop.shelf.rows[HOME] for secret in secrets)


@pytest.mark.parametrize(
    ("key", "encoded"),
    [(KEY, "01" + KEY.replace("-", "")), (MULTI_REGION_KEY, "02" + MULTI_REGION_KEY[4:])],
)
def test_material_id_is_the_documented_hash(shop: Workshop, key: str, encoded: str) -> None:
    """The id is recomputed from the docstring."""
    ref = shop.store.generate(SPEC, HOME, key)
    material = [given for given in shop.random.given if len(given) == 32][-1]
    preimage = b"kagitori material id v1\x00" + bytes.fromhex(encoded) + (32).to_bytes(4, "big") + material
    assert ref.material_id == hashlib.sha256(preimage).hexdigest()


def test_another_process_opens_what_this_one_made(shop: Workshop) -> None:
    """Reference and blob are all that crosses from one process to another."""
    ref = shop.store.generate(SPEC, HOME, KEY)
    blob = shop.store.encrypt(HOME, KEY, ref, b"message", b"context")
    copied = MaterialRef(StoreKind.SOFTWARE, bytes(bytearray(ref.reference)), ref.material_id)
    assert shop.another_process().decrypt(HOME, KEY, copied, parse(blob), b"context") == b"message"


def test_reference_is_bound_to_spec_and_version(shop: Workshop) -> None:
    """The two code bytes are authenticated as well as known."""
    ref = shop.store.generate(SPEC, HOME, KEY)
    for at in (0, 1):
        for value in set(range(256)) - {ref.reference[at]}:
            forged = ref.reference[:at] + bytes((value,)) + ref.reference[at + 1 :]
            with pytest.raises(MaterialCorrupt):
                shop.store.encrypt(HOME, KEY, replace(ref, reference=forged), b"message", b"")


def test_every_field_of_a_cached_reference_counts(shop: Workshop) -> None:
    """With a material open, a call that differs from its owner in one field gets nothing out of the cache."""
    ref = shop.store.generate(SPEC, HOME, KEY)
    other = shop.store.generate(SPEC, HOME, OTHER_KEY)
    shop.store.generate(SPEC, OTHER_ACCOUNT, KEY)
    shop.store.generate(SPEC, OTHER_REGION, KEY)
    shop.store.encrypt(HOME, KEY, ref, b"message", b"")
    forgeries: list[tuple[Domain, str, MaterialRef]] = [
        (OTHER_ACCOUNT, KEY, ref),
        (OTHER_REGION, KEY, ref),
        (HOME, OTHER_KEY, ref),
        (HOME, KEY, replace(ref, material_id=other.material_id)),
        (HOME, KEY, replace(ref, reference=other.reference)),
    ]
    for domain, key, forged in forgeries:
        with pytest.raises(MaterialCorrupt):
            shop.store.encrypt(domain, key, forged, b"message", b"")
    with pytest.raises(MaterialUnknown):
        shop.store.encrypt(HOME, KEY, replace(ref, kind=StoreKind.PKCS11), b"message", b"")
    assert shop.store.encrypt(HOME, KEY, ref, b"message", b"")


def test_unused_domain_has_no_key(shop: Workshop) -> None:
    """A reference used where nothing was ever made is refused, and no key-encryption key appears for it."""
    ref = shop.store.generate(SPEC, HOME, KEY)
    with pytest.raises(MaterialUnknown):
        shop.store.encrypt(OTHER_REGION, KEY, ref, b"message", b"")
    assert set(shop.shelf.rows) == {HOME}


def test_domains_have_keys_of_their_own(shop: Workshop) -> None:
    """One key-encryption key per account and Region, made once; swapping rows on the shelf opens nothing."""
    refs = {domain: shop.store.generate(SPEC, domain, KEY) for domain in (HOME, OTHER_ACCOUNT, OTHER_REGION)}
    rows = dict(shop.shelf.rows)
    assert len(set(rows.values())) == len(refs)
    shop.store.generate(SPEC, HOME, OTHER_KEY)
    assert shop.shelf.rows == rows
    shop.shelf.rows[HOME], shop.shelf.rows[OTHER_ACCOUNT] = rows[OTHER_ACCOUNT], rows[HOME]
    for domain in (HOME, OTHER_ACCOUNT):
        with pytest.raises(MaterialCorrupt):
            shop.another_process().encrypt(domain, KEY, refs[domain], b"message", b"")


def test_materials_are_bound_to_their_domain_itself(shop: Workshop) -> None:
    """Even if two domains had one key-encryption key, a reference would not move between them."""
    ref = shop.store.generate(SPEC, HOME, KEY)
    with shop.root.unwrap(shop.shelf.rows[HOME], b"kagitori kek v1\x00000000000000us-east-1") as kek:
        for domain in (OTHER_ACCOUNT, OTHER_REGION):
            aad = b"kagitori kek v1\x00" + (domain.account + domain.region).encode()
            shop.shelf.rows[domain] = shop.root.wrap(kek, aad)
    for domain in (OTHER_ACCOUNT, OTHER_REGION):
        own = shop.store.generate(SPEC, domain, KEY)
        assert shop.store.encrypt(domain, KEY, own, b"message", b"")
        with pytest.raises(MaterialCorrupt):
            shop.store.encrypt(domain, KEY, ref, b"message", b"")


def test_damaged_key_encryption_keys_are_refused(shop: Workshop) -> None:
    """Every bit of a row on the shelf counts, and so does every length."""
    ref = shop.store.generate(SPEC, HOME, KEY)
    row = shop.shelf.rows[HOME]
    forgeries = [row[:at] + bytes((row[at] ^ 0x10,)) + row[at + 1 :] for at in range(len(row))]
    forgeries += [row[:size] for size in range(len(row))] + [row + b"\x00", bytes(5000)]
    for forged in forgeries:
        shop.shelf.rows[HOME] = forged
        with pytest.raises((MaterialCorrupt, MaterialUnknown)):
            shop.another_process().encrypt(HOME, KEY, ref, b"message", b"")


def test_a_key_encryption_key_of_another_size_is_refused(shop: Workshop) -> None:
    """A row that verifies but holds no 256-bit key is not used."""
    shop.shelf.rows[HOME] = shop.root.wrap(bytearray(16), b"kagitori kek v1\x00" + b"000000000000us-east-1")
    with pytest.raises(MaterialCorrupt, match="wrong size"):
        shop.store.generate(SPEC, HOME, KEY)


class SlowShelf(MemoryShelf):
    """Lets all first users see an empty shelf before any of them may put."""

    def __init__(self, users: int) -> None:
        super().__init__()
        self.offered: list[bytes] = []
        self._all_looked = threading.Barrier(users)

    def put_if_absent(self, domain: Domain, wrapped: bytes) -> bytes:
        self._all_looked.wait()
        self.offered.append(wrapped)
        return super().put_if_absent(domain, wrapped)


def test_concurrent_first_uses_agree_on_the_winner(shop: Workshop) -> None:
    """Six processes make a domain's first key at once; all offer one, one is kept, every reference opens."""
    shelf = SlowShelf(6)
    shop.shelf = shelf
    stores = [shop.another_process() for _ in range(6)]
    with ThreadPoolExecutor(6) as pool:
        refs = list(pool.map(lambda store: store.generate(SPEC, HOME, KEY), stores))
    assert len(set(shelf.offered)) == 6
    assert shelf.rows[HOME] in shelf.offered
    for ref in refs:
        for store in (*stores, shop.another_process()):
            assert store.encrypt(HOME, KEY, ref, b"message", b"")


def test_shelf_failures_are_losses_of_the_store(shop: Workshop) -> None:
    """A database error comes out as `StoreLost`, with its cause for the log."""
    ref = shop.store.generate(SPEC, HOME, KEY)
    cold = shop.another_process()
    shop.shelf.lost = True
    for call in (
        partial(cold.generate, SPEC, OTHER_REGION, KEY),
        partial(cold.encrypt, HOME, KEY, ref, b"message", b""),
        cold.health,
    ):
        with pytest.raises(StoreLost) as caught:
            call()
        assert isinstance(caught.value.__cause__, ConnectionError)
    assert shop.store.encrypt(HOME, KEY, ref, b"message", b""), "what is open needs no shelf"


def test_shelf_may_speak_the_vocabulary(shop: Workshop) -> None:
    """A `KeyStoreError` from the shelf passes unchanged."""

    class TimidShelf(MemoryShelf):
        def get(self, domain: Domain) -> bytes | None:
            raise MaterialUnknown(f"nothing for {domain.region}")

    shop.shelf = TimidShelf()
    with pytest.raises(MaterialUnknown, match="nothing for us-east-1"):
        shop.another_process().generate(SPEC, HOME, KEY)


def test_eviction_changes_nothing_but_speed(tmp_path: Path) -> None:
    """With room for two materials, twenty in use by threads all work."""
    shop = Workshop(tmp_path, materials_cached=2)
    refs = [shop.store.generate(SPEC, HOME, KEY) for _ in range(20)]

    def work(worker: int) -> None:
        for turn in range(100):
            ref = refs[(worker * 7 + turn) % len(refs)]
            blob = shop.store.encrypt(HOME, KEY, ref, b"message", b"")
            assert shop.store.decrypt(HOME, KEY, ref, parse(blob), b"") == b"message"

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(work, range(6)))


@pytest.mark.parametrize(
    "make",
    [
        lambda: Domain("", "us-east-1"),
        lambda: Domain("12345678901", "us-east-1"),
        lambda: Domain("1234567890123", "us-east-1"),
        lambda: Domain("１" * 12, "us-east-1"),
        lambda: Domain("000000000000\n", "us-east-1"),
        lambda: Domain("000000000000", ""),
        lambda: Domain("000000000000", "US-EAST-1"),
        lambda: Domain("000000000000", "-east"),
        lambda: Domain("000000000000", "east-"),
        lambda: Domain("000000000000", "us_east"),
        lambda: Domain("000000000000", "a" * 64),
        lambda: Domain("000000000000", "us-east-1\n"),
    ],
)
def test_domains_are_checked(make: Callable[[], Domain]) -> None:
    """An account is 12 ASCII digits, a Region a short lower-case name, with nothing behind it."""
    with pytest.raises(RequestRefused):
        make()


@pytest.mark.parametrize(
    ("reference", "material_id"),
    [(b"", "ab" * 32), (bytes(3073), "ab" * 32), (b"x", ""), (b"x", "AB" * 32), (b"x", "ab" * 32 + "\n")],
)
def test_references_are_checked(reference: bytes, material_id: str) -> None:
    """A row of the catalog that is out of shape is the key's fault."""
    with pytest.raises(MaterialCorrupt) as caught:
        MaterialRef(StoreKind.SOFTWARE, reference, material_id)
    assert caught.value.kind is ErrorKind.KEY


def test_a_key_is_at_hand_with_all_of_its_materials(shop: Workshop) -> None:
    """While the key-encryption key is open any is; without it one that isn't kept would have to ask for the root key,
    whichever of the key's materials it is."""
    older, newer = (shop.store.generate(SPEC, HOME, KEY) for _ in range(2))
    store = SoftwareKeyStore(shop.root, shop.shelf, shop.random, domains_cached=1)
    both = [older.reference, newer.reference]
    assert not store.is_at_hand(HOME, both)
    assert store.is_at_hand(HOME, [])
    store.encrypt(HOME, KEY, newer, b"data", b"")
    assert store.is_at_hand(HOME, both)
    store.generate(SPEC, OTHER_REGION, KEY)
    assert store.is_at_hand(HOME, both[1:])
    assert not store.is_at_hand(HOME, both)
    store.encrypt(HOME, KEY, older, b"data", b"")
    store.generate(SPEC, OTHER_REGION, KEY)
    assert store.is_at_hand(HOME, both)
    store.close()


def test_error_kinds_are_closed() -> None:
    """Every failure class has one of the five kinds, and each kind has a class."""
    pending, kinds = list(KeyStoreError.__subclasses__()), set()
    while pending:
        failure = pending.pop()
        kinds.add(failure.kind)
        pending += failure.__subclasses__()
    assert kinds == set(ErrorKind)


def test_codes_are_unique() -> None:
    """No two key specs and no two store kinds share a byte."""
    assert len(SPEC_BY_CODE) == len(KeySpec)
    assert all(1 <= spec.code <= 255 for spec in KeySpec)
    assert all(1 <= kind.code <= 255 for kind in StoreKind)
