"""What every store with the ability MATERIAL_IMPORT owes. A new store is one more row of `STORES`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import cast

import pytest
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, OAEP
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA1, SHA256
from cryptography.hazmat.primitives.hmac import HMAC
from cryptography.hazmat.primitives.keywrap import aes_key_wrap_with_padding
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key
from tests.support.foreign_keys import DER_SPECS, key_of, pkcs8
from tests.support.keystore_contract import refused
from tests.support.keystore_parts import (
    HOME,
    KEY,
    MULTI_REGION_KEY,
    OTHER_ACCOUNT,
    OTHER_KEY,
    OTHER_REGION,
    Workshop,
)

from kagitori_keystore.algorithms import KeyFamily, KeySpec, WrappingAlgorithm, WrappingSpec
from kagitori_keystore.base import (
    Capability,
    Domain,
    ErrorKind,
    ImportFault,
    ImportRefused,
    MaterialRef,
)
from kagitori_keystore.capabilities import GeneralKeyStore
from kagitori_keystore.ciphertext import parse
from kagitori_keystore.importing.unwrapping import combines

BINDING = b"expires at noon"
CONTEXT = b"canonical context"
KEY_WRAP = WrappingAlgorithm.RSA_AES_KEY_WRAP_SHA_256
OAEP_256 = WrappingAlgorithm.RSAES_OAEP_SHA_256
RAW_SPECS = tuple(spec for spec in KeySpec if spec.family in (KeyFamily.SYMMETRIC, KeyFamily.HMAC))
SIZES_OF_KEY = {WrappingSpec.RSA_2048: 2048, WrappingSpec.RSA_3072: 3072, WrappingSpec.RSA_4096: 4096}


STORES: dict[str, Callable[[Path], GeneralKeyStore]] = {"software": lambda place: Workshop(place).store}


@pytest.fixture(scope="module", params=STORES)
def store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GeneralKeyStore]:
    """One for all tests but those that close it or count what it holds: wrapping pairs take long to make."""
    opened = STORES[request.param](tmp_path_factory.mktemp("store"))
    yield opened
    opened.close()


@pytest.fixture(params=STORES)
def fresh_store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[GeneralKeyStore]:
    opened = STORES[request.param](tmp_path)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def given(store: GeneralKeyStore) -> Parameters:
    """Parameters for KEY at HOME, bound to BINDING."""
    return parameters(store)


@pytest.fixture(scope="module")
def abroad(store: GeneralKeyStore) -> Parameters:
    """For KEY in another Region."""
    return parameters(store, domain=OTHER_REGION)


@pytest.fixture(scope="module")
def elsewhere(store: GeneralKeyStore) -> Parameters:
    """For another key at HOME."""
    return parameters(store, key=OTHER_KEY)


@dataclass
class Parameters:
    """What a user gets, and the user's half of the work."""

    public_key: RSAPublicKey
    sealed: bytes

    def wrap(self, algorithm: WrappingAlgorithm, material: bytes) -> bytes:
        digest = SHA1() if algorithm.name.endswith("_SHA_1") else SHA256()  # noqa: S303  (what AWS names)
        padding = OAEP(MGF1(digest), digest, None)
        if not algorithm.wraps_aes_key:
            return self.public_key.encrypt(material, padding)
        aes_key = os.urandom(32)
        return self.public_key.encrypt(aes_key, padding) + aes_key_wrap_with_padding(aes_key, material)


def parameters(
    store: GeneralKeyStore,
    *,
    spec: WrappingSpec = WrappingSpec.RSA_2048,
    domain: Domain = HOME,
    key: str = KEY,
    binding: bytes = BINDING,
) -> Parameters:
    der, sealed = store.import_parameters(domain, key, spec, binding)
    return Parameters(cast("RSAPublicKey", load_der_public_key(der)), sealed)


def imported(
    store: GeneralKeyStore,
    given: Parameters,
    spec: KeySpec,
    material: bytes,
    *,
    algorithm: WrappingAlgorithm = KEY_WRAP,
    domain: Domain = HOME,
    key: str = KEY,
    binding: bytes = BINDING,
) -> MaterialRef:
    wrapped = given.wrap(algorithm, material)
    return store.import_material(spec, domain, key, given.sealed, binding, algorithm, wrapped)


def material_of(spec: KeySpec) -> bytes:
    return os.urandom(spec.material_bytes) if spec in RAW_SPECS else pkcs8(key_of(spec))


def test_the_ability_is_told(store: GeneralKeyStore) -> None:
    assert Capability.MATERIAL_IMPORT in store.describe().capabilities


@pytest.mark.parametrize("spec", WrappingSpec)
def test_wrapping_pairs_are_new_and_as_asked(store: GeneralKeyStore, spec: WrappingSpec) -> None:
    first, second = parameters(store, spec=spec), parameters(store, spec=spec)
    assert first.public_key.key_size == second.public_key.key_size == SIZES_OF_KEY[spec]
    assert first.public_key != second.public_key
    assert max(len(first.sealed), len(second.sealed)) <= 3072  # an import token of 6,144 bytes carries it


@pytest.mark.parametrize("algorithm", WrappingAlgorithm)
@pytest.mark.parametrize("spec", [*RAW_SPECS, *DER_SPECS])
def test_every_spec_is_imported(
    store: GeneralKeyStore, given: Parameters, spec: KeySpec, algorithm: WrappingAlgorithm
) -> None:
    if not combines(spec, WrappingSpec.RSA_2048, algorithm):
        return
    ref = imported(store, given, spec, material_of(spec), algorithm=algorithm)
    assert ref.kind is store.describe().kind
    assert spec in store.describe().key_specs


def test_an_imported_symmetric_key_encrypts(store: GeneralKeyStore, given: Parameters) -> None:
    ref = imported(store, given, KeySpec.SYMMETRIC_DEFAULT, bytes(32))
    blob = store.encrypt(HOME, KEY, ref, b"plaintext", CONTEXT)
    assert store.decrypt(HOME, KEY, ref, parse(blob), CONTEXT) == b"plaintext"


def test_what_was_encrypted_opens_after_the_next_import(store: GeneralKeyStore, given: Parameters) -> None:
    """A user deletes a material and imports it again, wrapped in another way."""
    material = os.urandom(32)
    first = imported(store, given, KeySpec.SYMMETRIC_DEFAULT, material)
    blob = store.encrypt(HOME, KEY, first, b"plaintext", CONTEXT)
    store.destroy(first)
    store.forget(KEY)
    again = imported(store, given, KeySpec.SYMMETRIC_DEFAULT, material, algorithm=OAEP_256)
    assert again.material_id == first.material_id
    assert store.decrypt(HOME, KEY, again, parse(blob), CONTEXT) == b"plaintext"


@pytest.mark.parametrize("size", [32, 64, 65, 128])
def test_an_imported_hmac_key_makes_its_macs(store: GeneralKeyStore, given: Parameters, size: int) -> None:
    material = os.urandom(size)
    ref = imported(store, given, KeySpec.HMAC_256, material)
    expected = HMAC(material, SHA256())
    expected.update(b"message")
    mac = expected.finalize()
    assert store.generate_mac(HOME, KEY, ref, b"message") == mac
    store.forget(KEY)
    assert store.verify_mac(HOME, KEY, ref, b"message", mac)


@pytest.mark.parametrize("spec", DER_SPECS)
def test_an_imported_pair_has_the_public_half_of_its_key(
    store: GeneralKeyStore, given: Parameters, spec: KeySpec
) -> None:
    ref = imported(store, given, spec, material_of(spec))
    public = key_of(spec).public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert store.public_key(HOME, KEY, ref) == public


@pytest.mark.parametrize("spec", [KeySpec.SYMMETRIC_DEFAULT, KeySpec.HMAC_512, *DER_SPECS])
def test_a_material_has_one_id_for_a_key_and_another_for_another(
    store: GeneralKeyStore, given: Parameters, abroad: Parameters, elsewhere: Parameters, spec: KeySpec
) -> None:
    material = material_of(spec)
    ids = {imported(store, given, spec, material).material_id for _ in range(2)}
    ids.add(imported(store, abroad, spec, material, domain=OTHER_REGION).material_id)
    assert len(ids) == 1
    ids.add(imported(store, elsewhere, spec, material, key=OTHER_KEY).material_id)
    assert len(ids) == 2


def test_parameters_are_of_use_more_than_once_until_the_server_says_no(
    store: GeneralKeyStore, given: Parameters
) -> None:
    refs = [imported(store, given, KeySpec.SYMMETRIC_DEFAULT, bytes([number]) * 32) for number in (1, 2)]
    assert len({ref.material_id for ref in refs}) == 2


def test_parameters_are_of_use_for_their_key_domain_and_binding_only(store: GeneralKeyStore) -> None:
    given = parameters(store)
    for domain in (OTHER_ACCOUNT, OTHER_REGION):
        parameters(store, domain=domain)  # so that no domain fails for being unused
    moves: list[dict[str, Domain | str | bytes]] = [
        {"domain": OTHER_ACCOUNT},
        {"domain": OTHER_REGION},
        {"key": OTHER_KEY},
        {"key": MULTI_REGION_KEY},
        {"binding": b""},
        {"binding": BINDING + b"!"},
    ]
    for move in moves:
        call = partial(imported, store, given, KeySpec.SYMMETRIC_DEFAULT, bytes(32), **move)  # type: ignore[arg-type]  # one argument each
        refused({ErrorKind.KEY}, call)
    other = parameters(store)
    crossed = Parameters(given.public_key, other.sealed)
    assert reason(partial(imported, store, crossed, KeySpec.SYMMETRIC_DEFAULT, bytes(32))) is ImportFault.UNDECRYPTABLE


def test_a_domain_without_keys_imports_nothing(fresh_store: GeneralKeyStore) -> None:
    given = parameters(fresh_store)
    refused(
        {ErrorKind.KEY},
        lambda: imported(fresh_store, given, KeySpec.SYMMETRIC_DEFAULT, bytes(32), domain=OTHER_ACCOUNT),
    )


def test_forged_parameters_are_noticed(store: GeneralKeyStore, given: Parameters) -> None:
    forgeries = [b"", given.sealed[:-1], given.sealed + b"\x00", given.sealed[1:], bytes(3000)]
    for at in range(0, len(given.sealed), 7):
        changed = bytearray(given.sealed)
        changed[at] ^= 1
        forgeries.append(bytes(changed))
    for sealed in forgeries:
        forged = Parameters(given.public_key, sealed)
        refused({ErrorKind.KEY}, partial(imported, store, forged, KeySpec.SYMMETRIC_DEFAULT, bytes(32)))


def reason(call: Callable[[], object]) -> ImportFault:
    error = refused({ErrorKind.CALLER}, call)
    assert isinstance(error, ImportRefused)
    assert str(error) == str(ImportRefused(error.reason))
    assert error.__cause__ is None
    assert error.__context__ is None or error.__suppress_context__
    return error.reason


@pytest.mark.parametrize("algorithm", WrappingAlgorithm)
def test_what_does_not_open_has_one_answer(
    store: GeneralKeyStore, given: Parameters, algorithm: WrappingAlgorithm
) -> None:
    wrapped = given.wrap(algorithm, bytes(32))
    forgeries = [b"", bytes(len(wrapped)), wrapped[:-1], wrapped + b"\x00", wrapped[8:], bytes(6145)]
    for at in range(0, len(wrapped), 16):
        changed = bytearray(wrapped)
        changed[at] ^= 1
        forgeries.append(bytes(changed))
    forgeries += [given.wrap(other, bytes(32)) for other in WrappingAlgorithm if other is not algorithm]
    for forged in forgeries:
        call = partial(
            store.import_material,
            KeySpec.SYMMETRIC_DEFAULT, HOME, KEY, given.sealed, BINDING, algorithm, forged,
        )  # fmt: skip
        assert reason(call) is ImportFault.UNDECRYPTABLE


@pytest.mark.parametrize("spec", [*RAW_SPECS, *DER_SPECS])
def test_a_material_of_another_spec_is_refused(store: GeneralKeyStore, given: Parameters, spec: KeySpec) -> None:
    others = [bytes(16), bytes(256), b"-----BEGIN PRIVATE KEY-----", material_of(spec) + b"\x00" * 128]
    others += [material_of(other) for other in DER_SPECS if other is not spec]
    if spec in RAW_SPECS:
        others = [other for other in others if not spec.material_may_have(len(other))]
    else:
        others += [bytes(32), pkcs8(key_of(spec), password=b"password")]
    for other in others:
        assert reason(partial(imported, store, given, spec, other)) is ImportFault.WRONG_SHAPE


def test_specs_that_the_store_does_not_make_are_refused(store: GeneralKeyStore, given: Parameters) -> None:
    for spec in set(KeySpec) - store.describe().key_specs:
        error = refused({ErrorKind.CALLER}, partial(imported, store, given, spec, bytes(64)))
        assert not isinstance(error, ImportRefused)


def test_arguments_are_bounded(store: GeneralKeyStore) -> None:
    for key, binding in (("alias/a", BINDING), (KEY.upper(), BINDING), (KEY, bytes(1025))):
        refused({ErrorKind.CALLER}, partial(store.import_parameters, HOME, key, WrappingSpec.RSA_2048, binding))


def test_a_closed_store_stays_closed(fresh_store: GeneralKeyStore) -> None:
    given = parameters(fresh_store)
    fresh_store.close()
    refused({ErrorKind.STORE_LOST}, lambda: parameters(fresh_store))
    refused({ErrorKind.STORE_LOST}, lambda: imported(fresh_store, given, KeySpec.SYMMETRIC_DEFAULT, bytes(32)))
