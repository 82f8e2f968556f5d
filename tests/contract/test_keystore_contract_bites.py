"""The contract notices a store that breaks it: each fault fails the checks that are about it."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support import keystore_contract as contract
from tests.support.keystore_contract import CONTRACT, Check, StoreUnderTest
from tests.support.keystore_faults import Fault, FaultyStore
from tests.support.keystore_parts import Workshop

from kagitori_keystore.base import KeyStoreError, StoreKind

CAUGHT_BY: dict[Fault, tuple[Check, ...]] = {
    Fault.IGNORES_CONTEXT: (contract.context_is_bound,),
    Fault.ACCEPTS_MOVED_REFERENCES: (contract.references_do_not_move,),
    Fault.ACCEPTS_ANY_CIPHERTEXT: (
        contract.every_flipped_bit_is_noticed,
        contract.every_truncation_and_extension_is_noticed,
        contract.context_is_bound,
        contract.blobs_open_with_their_own_material_only,
    ),
    Fault.REPEATS_CIPHERTEXTS: (contract.materials_and_blobs_are_unique,),
    Fault.REPEATS_MATERIAL: (contract.materials_and_blobs_are_unique,),
    Fault.REPEATS_RANDOM: (contract.random_bytes_are_fresh,),
    Fault.TRUNCATES_OVERSIZE: (contract.sizes_are_bounded,),
    Fault.SHORT_DATA_KEYS: (contract.data_keys_match_their_blobs,),
    Fault.UNRELATED_DATA_KEYS: (contract.data_keys_match_their_blobs,),
    Fault.LEAKS_FOREIGN_ERRORS: (contract.every_flipped_bit_is_noticed, contract.context_is_bound),
    Fault.EXPLAINS_BAD_CIPHERTEXTS: (contract.every_flipped_bit_is_noticed, contract.context_is_bound),
    Fault.CHAINS_CAUSES: (contract.every_flipped_bit_is_noticed, contract.context_is_bound),
    Fault.BLAMES_CALLER_FOR_KEY: (contract.references_do_not_move, contract.forged_references_are_noticed),
    Fault.BLAMES_KEY_FOR_LOSS: (contract.a_lost_store_is_told, contract.a_closed_store_stays_closed),
    Fault.ECHOES_PLAINTEXT: (contract.failures_tell_no_secret,),
    Fault.HEALTHY_WHEN_LOST: (contract.a_lost_store_is_told, contract.a_closed_store_stays_closed),
    Fault.SERVES_AFTER_CLOSE: (contract.a_closed_store_stays_closed,),
    Fault.FAILS_ON_SECOND_DESTROY: (contract.destroying_ends_one_material,),
    Fault.FORGETS_FOR_GOOD: (contract.forgetting_costs_nothing_but_time,),
    Fault.DENIES_ABILITIES: (contract.describes_itself,),
    Fault.SHOWS_ITSELF: (contract.the_store_itself_is_guarded,),
    Fault.MIXES_THREADS: (contract.threads_do_not_disturb_each_other,),
}


def faulty(place: Path, fault: Fault | None) -> StoreUnderTest:
    """A software store with one fault, or none."""
    shop = Workshop(place)

    def sever() -> FaultyStore:
        shop.root.close()
        shop.shelf.lost = True
        return FaultyStore(shop.another_process(), fault)

    return StoreUnderTest(FaultyStore(shop.store, fault), StoreKind.SOFTWARE, sever, holds_material=False)


def test_each_fault_has_a_check() -> None:
    """No fault is declared without saying which check catches it."""
    assert set(CAUGHT_BY) == set(Fault)
    assert all(set(checks) <= set(CONTRACT) for checks in CAUGHT_BY.values())


@pytest.mark.parametrize(
    ("fault", "check"),
    [(fault, check) for fault, checks in CAUGHT_BY.items() for check in checks],
    ids=lambda value: value.name.lower() if isinstance(value, Fault) else value.__name__,
)
def test_check_bites(tmp_path: Path, fault: Fault, check: Check) -> None:
    """The check that is about a fault fails on a store that has it."""
    with pytest.raises((AssertionError, KeyStoreError, pytest.fail.Exception)):
        check(faulty(tmp_path, fault))


@pytest.mark.parametrize("check", CONTRACT, ids=lambda check: check.__name__)
def test_the_wrapper_alone_breaks_nothing(tmp_path: Path, check: Check) -> None:
    """Without a fault the wrapped store passes, so what the checks catch is the fault."""
    check(faulty(tmp_path, None))
