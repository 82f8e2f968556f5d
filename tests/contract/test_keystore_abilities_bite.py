"""The checks of abilities notice a store that breaks them: each fault fails the checks that are about it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support import keystore_ability_checks as general
from tests.support import keystore_public_key_checks as public
from tests.support.keystore_abilities import AbleStore
from tests.support.keystore_ability_checks import AbilityCheck
from tests.support.keystore_ability_faults import Fault, FaultyAbilities
from tests.support.keystore_parts import Workshop
from tests.support.keystore_public_key_checks import ROWS

from kagitori_keystore.algorithms import KeySpec
from kagitori_keystore.base import KeyStoreError, StoreKind
from kagitori_keystore.capabilities import GeneralKeyStore

RSA, P256, EDWARDS = KeySpec.RSA_2048, KeySpec.ECC_NIST_P256, KeySpec.ECC_NIST_EDWARDS25519
HMAC, DSA, KEM = KeySpec.HMAC_256, KeySpec.ML_DSA_44, KeySpec.ML_KEM_768
SYMMETRIC = KeySpec.SYMMETRIC_DEFAULT

CAUGHT_BY: dict[Fault, tuple[tuple[AbilityCheck, KeySpec], ...]] = {
    Fault.SERVES_MOVED_KEYS: tuple(
        (general.references_serve_their_own_key_only, spec) for spec in (SYMMETRIC, RSA, P256, EDWARDS, HMAC, DSA, KEM)
    ),
    Fault.SERVES_FORGED_REFERENCES: tuple(
        (general.forged_references_of_any_spec_are_noticed, spec) for spec in (SYMMETRIC, P256, EDWARDS, HMAC, DSA, KEM)
    ),
    Fault.LETS_HMAC_KEYS_SIGN: ((general.keys_do_what_their_spec_allows, HMAC),),
    Fault.BLAMES_KEY_FOR_ABILITY: tuple(
        (general.keys_do_what_their_spec_allows, spec) for spec in (SYMMETRIC, P256, HMAC, KEM)
    ),
    Fault.SERVES_AFTER_CLOSE: tuple((general.a_closed_store_uses_no_key, spec) for spec in (P256, HMAC, DSA, KEM)),
    Fault.MIXES_UP_KEYS: (
        (general.public_keys_are_spki, P256),
        (general.macs_verify, HMAC),
        (public.wrong_signatures_are_told_and_nothing_more, EDWARDS),
        (public.forged_encapsulations_give_another_secret, KEM),
    ),
    Fault.PUBLIC_KEY_CHANGES: (
        (general.public_keys_are_spki, P256),
        (public.forms_are_the_same_message, P256),
        (public.secrets_are_agreed_on, P256),
        (public.encapsulated_secrets_come_back, KEM),
    ),
    Fault.PUBLIC_KEY_IS_RAW: ((general.public_keys_are_spki, EDWARDS),),
    Fault.ACCEPTS_ANY_SIGNATURE: tuple(
        (public.wrong_signatures_are_told_and_nothing_more, spec) for spec in (RSA, P256, EDWARDS, DSA)
    ),
    Fault.RAISES_ON_WRONG_SIGNATURE: tuple(
        (public.wrong_signatures_are_told_and_nothing_more, spec) for spec in (RSA, P256, EDWARDS, DSA)
    ),
    Fault.REFUSES_ODD_SIGNATURES: ((public.wrong_signatures_are_told_and_nothing_more, P256),),
    Fault.HASHES_DIGESTS_AGAIN: (
        (public.forms_are_the_same_message, RSA),
        (public.forms_are_the_same_message, P256),
        (public.messages_to_sign_are_bounded, P256),
    ),
    Fault.SIGNS_MU_AS_MESSAGE: ((public.forms_are_the_same_message, DSA), (public.messages_to_sign_are_bounded, DSA)),
    Fault.SIGNS_ANY_LENGTH: tuple((public.messages_to_sign_are_bounded, spec) for spec in (RSA, P256, EDWARDS, DSA)),
    Fault.SIGNS_PKCS1_FOR_PSS: ((public.forms_are_the_same_message, RSA),),
    Fault.SWAPS_UNKNOWN_ALGORITHMS: ((public.other_algorithms_and_forms_are_refused, P256),),
    Fault.IGNORES_ALGORITHM_ON_VERIFY: ((public.wrong_signatures_are_told_and_nothing_more, RSA),),
    Fault.TRUNCATES_OAEP: ((public.oaep_round_trips, RSA),),
    Fault.SWAPS_OAEP_HASH: (
        (public.oaep_round_trips, RSA),
        (public.wrong_oaep_ciphertexts_are_all_alike, RSA),
    ),
    Fault.EXPLAINS_OAEP: ((public.wrong_oaep_ciphertexts_are_all_alike, RSA),),
    Fault.GIVES_EMPTY_FOR_BAD_OAEP: ((public.wrong_oaep_ciphertexts_are_all_alike, RSA),),
    Fault.ACCEPTS_MAC_PREFIXES: ((general.other_macs_do_not_verify, HMAC),),
    Fault.SHORTENS_MACS: ((general.macs_verify, HMAC),),
    Fault.MACS_ANY_LENGTH: ((general.messages_for_macs_are_bounded, HMAC),),
    Fault.SALTS_MACS: ((general.macs_verify, HMAC),),
    Fault.HASHES_SECRETS: ((public.secrets_are_agreed_on, P256),),
    Fault.ACCEPTS_ANY_PEER: ((public.wrong_peers_are_all_alike, P256),),
    Fault.EXPLAINS_PEERS: ((public.wrong_peers_are_all_alike, P256),),
    Fault.REPEATS_ENCAPSULATION: ((public.encapsulated_secrets_come_back, KEM),),
    Fault.REFUSES_FORGED_ENCAPSULATION: ((public.forged_encapsulations_give_another_secret, KEM),),
    Fault.REPEATS_REJECTED_SECRET: ((public.forged_encapsulations_give_another_secret, KEM),),
    Fault.PADS_ENCAPSULATION: ((public.encapsulations_of_another_length_are_refused, KEM),),
    Fault.PAIRS_DO_NOT_MATCH: tuple((general.data_key_pairs_belong_together, spec) for spec in (P256, EDWARDS, KEM)),
    Fault.PAIR_BLOBS_IGNORE_CONTEXT: ((general.data_key_pairs_belong_together, P256),),
    Fault.PAIRS_REPEAT: ((general.data_key_pairs_belong_together, P256),),
    Fault.PAIRS_UNDER_ANY_KEY: ((general.data_key_pairs_need_a_symmetric_key, P256),),
    Fault.REPLICAS_ARE_OTHER_KEYS: tuple(
        (general.replicas_are_the_same_key, spec) for spec in (SYMMETRIC, P256, HMAC, DSA, KEM)
    ),
    Fault.REPLICAS_LEAVE_ACCOUNTS: ((general.replicas_stay_in_their_account, SYMMETRIC),),
}


def faulty(place: Path, fault: Fault | None) -> AbleStore:
    """A software store with one fault, or none."""
    made: list[Path] = []

    def fresh() -> GeneralKeyStore:
        made.append(place / str(len(made)))
        made[-1].mkdir()
        return FaultyAbilities(Workshop(made[-1]).store, fault)

    store = fresh()
    description = store.describe()
    return AbleStore(store, StoreKind.SOFTWARE, fresh, description.capabilities, description.key_specs)


def test_each_fault_has_a_check_and_each_check_a_fault() -> None:
    """No fault is declared without saying which check catches it, and no check has never been seen to fail."""
    assert set(CAUGHT_BY) == set(Fault)
    proven = {check for caught in CAUGHT_BY.values() for check, _ in caught}
    unproven = {row.check for row in ROWS} - proven
    assert unproven == {general.threads_may_share_a_key, public.signatures_verify}, "these two find crashes"


@pytest.mark.parametrize(
    ("fault", "check", "spec"),
    [(fault, check, spec) for fault, caught in CAUGHT_BY.items() for check, spec in caught],
    ids=lambda value: value.name if isinstance(value, Fault | KeySpec) else value.__name__,
)
def test_check_bites(tmp_path: Path, fault: Fault, check: AbilityCheck, spec: KeySpec) -> None:
    """The check that is about a fault fails on a store that has it."""
    with pytest.raises((AssertionError, KeyStoreError, ValueError, pytest.fail.Exception)):
        check(faulty(tmp_path, fault), spec)


@pytest.fixture(scope="module")
def faultless(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AbleStore]:
    able = faulty(tmp_path_factory.mktemp("faultless"), None)
    yield able
    able.store.close()


PROVEN = sorted({(check.__name__, spec.name) for caught in CAUGHT_BY.values() for check, spec in caught})


@pytest.mark.parametrize(("name", "spec"), PROVEN)
def test_the_wrapper_alone_breaks_nothing(faultless: AbleStore, name: str, spec: str) -> None:
    """Without a fault the wrapped store passes, so what the checks catch is the fault."""
    check = next(row.check for row in ROWS if row.check.__name__ == name)
    check(faultless, KeySpec[spec])
