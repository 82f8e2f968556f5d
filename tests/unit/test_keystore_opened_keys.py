"""Opened keys of every family: they show nothing, give nothing away, and come from materials of their spec alone."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_der_public_key
from tests.support.keystore_abilities import MESSAGE, asymmetric, message_for, signings
from tests.support.keystore_parts import HOME, KEY, OTHER_REGION, Workshop
from tests.support.ml_kem_512 import libcrypto
from tests.support.published_vectors import known

from kagitori_keystore.algorithms import (
    DataKeyPairSpec,
    KeySpec,
    MaterialForm,
    MessageForm,
    SigningAlgorithm,
    encapsulates,
    mac_algorithms,
)
from kagitori_keystore.base import MaterialCorrupt
from kagitori_keystore.capabilities import DataKeyPair, GeneralKeyStore
from kagitori_keystore.pkcs11 import public
from kagitori_keystore.software.abilities import MacKey, PublicHalf, Signable
from kagitori_keystore.software.families import families
from kagitori_keystore.software.symmetric import SymmetricKey
from kagitori_keystore.xaes import XaesKey

FAMILIES = families(libcrypto())
MADE = [spec for spec in KeySpec if spec.bits not in (3072, 4096)]
DRAWN = [spec for spec in MADE if spec.form is not MaterialForm.PKCS8]


@pytest.fixture
def shop(tmp_path: Path) -> Workshop:
    return Workshop(tmp_path)


def test_the_store_is_general(shop: Workshop) -> None:
    """Checked by the type checker: the store is what the server's operations ask for."""
    store: GeneralKeyStore = shop.store
    assert store.describe().key_specs == frozenset(KeySpec)


@pytest.mark.parametrize("spec", MADE, ids=lambda spec: spec.name)
def test_opened_keys_are_guarded(shop: Workshop, spec: KeySpec) -> None:
    """`repr` shows the type alone; pickling, copying, hashing and `==` raise; nothing can be hung on them."""
    family = FAMILIES[spec.family]
    key = family.open(spec, family.make(spec, shop.random))
    assert repr(key) == str(key) == f"<{type(key).__name__}, contents withheld>"
    assert not hasattr(key, "__dict__")
    refusals: list[Callable[[], object]] = [
        lambda: pickle.dumps(key),
        lambda: copy.copy(key),
        lambda: copy.deepcopy(key),
        lambda: key == key,
        lambda: {key},
    ]
    for refusal in refusals:
        with pytest.raises(TypeError, match=r"^secrets are not "):
            refusal()


@pytest.mark.parametrize("spec", MADE, ids=lambda spec: spec.name)
def test_opened_keys_do_not_lean_on_their_material(shop: Workshop, spec: KeySpec) -> None:
    """The buffer may be overwritten as soon as the key is open."""
    family = FAMILIES[spec.family]
    material = family.make(spec, shop.random)
    copied = bytes(material)
    ref = known(shop, spec, copied)
    key = family.open(spec, material)
    material[:] = bytes(len(material))
    if isinstance(key, PublicHalf):
        assert key.public_der() == shop.store.public_key(HOME, KEY, ref)
    elif isinstance(key, MacKey):
        assert key.mac(MESSAGE) == shop.store.generate_mac(HOME, KEY, ref, MESSAGE)
    else:
        assert isinstance(key, SymmetricKey)
        assert key.cipher.encrypt(bytes(24), MESSAGE, b"") == XaesKey(copied).encrypt(bytes(24), MESSAGE, b"")


@pytest.mark.parametrize("spec", DRAWN, ids=lambda spec: spec.name)
def test_no_answer_holds_the_material(shop: Workshop, spec: KeySpec) -> None:
    """Everything that is answered about a key is searched for the bytes that were drawn for it."""
    store = shop.store
    before = len(shop.random.given)
    ref = store.generate(spec, HOME, KEY)
    (material,) = [drawn for drawn in shop.random.given[before:] if len(drawn) == spec.material_bytes][-1:]
    answers: list[object] = [ref, ref.reference, store.replicate(HOME, KEY, ref, OTHER_REGION).reference]
    if asymmetric(spec):
        answers.append(store.public_key(HOME, KEY, ref))
    for algorithm, form in signings(spec):
        answers.append(store.sign(HOME, KEY, ref, algorithm, form, message_for(algorithm, form)))
    if mac_algorithms(spec):
        answers.append(store.generate_mac(HOME, KEY, ref, MESSAGE))
    if encapsulates(spec):
        secret, ciphertext = store.encapsulate(HOME, KEY, ref)
        answers += [secret, ciphertext, store.decapsulate(HOME, KEY, ref, ciphertext)]
    for answer in answers:
        for half in (material[:16], material[16:32]):
            assert half.hex() not in (answer.hex() if isinstance(answer, bytes) else repr(answer))


def test_data_key_pairs_show_their_public_half_alone(shop: Workshop) -> None:
    """The private half of a pair is for the caller, not for a log."""
    ref = shop.store.generate(KeySpec.SYMMETRIC_DEFAULT, HOME, KEY)
    pair = shop.store.generate_data_key_pair(HOME, KEY, ref, DataKeyPairSpec.ECC_NIST_EDWARDS25519, b"")
    assert isinstance(pair, DataKeyPair)
    assert "private_key" not in repr(pair)
    assert repr(pair.private_key[-16:])[2:-1] not in repr(pair)


def pkcs8(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())


@pytest.mark.parametrize(
    ("spec", "make"),
    [
        (KeySpec.RSA_3072, lambda: pkcs8(rsa.generate_private_key(65537, 2048))),
        (KeySpec.RSA_2048, lambda: pkcs8(ec.generate_private_key(ec.SECP256R1()))),
        (KeySpec.RSA_2048, lambda: b"no DER"),
        (KeySpec.ECC_NIST_P256, lambda: pkcs8(ec.generate_private_key(ec.SECP256K1()))),
        (KeySpec.ECC_NIST_P384, lambda: pkcs8(ec.generate_private_key(ec.SECP256R1()))),
        (KeySpec.ECC_SECG_P256K1, lambda: b"\x30\x00"),
        (KeySpec.ECC_NIST_P521, lambda: b"\x00" * 241),
    ],
)
def test_materials_of_another_spec_are_corrupt(shop: Workshop, spec: KeySpec, make: Callable[[], bytes]) -> None:
    """What verifies but is no key of its spec is the key's fault, and no cause is told that could show it."""
    with pytest.raises(MaterialCorrupt) as caught:
        shop.store.public_key(HOME, KEY, known(shop, spec, make()))
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None or caught.value.__suppress_context__


@pytest.mark.parametrize("scheme", ["PSS", "PKCS1_V1_5"])
def test_an_rsa_signature_keeps_its_leading_zero(shop: Workshop, scheme: str) -> None:
    """RFC 8017 section 8.1.2, step 1: one that is shorter than the modulus is none. One in 256 begins with a zero."""
    algorithm, form = SigningAlgorithm(f"RSASSA_{scheme}_SHA_256"), MessageForm.RAW
    ref = shop.store.generate(KeySpec.RSA_2048, HOME, KEY)
    for number in range(5000):
        message = number.to_bytes(4)
        signature = shop.store.sign(HOME, KEY, ref, algorithm, form, message)
        if signature[0] == 0:
            break
    assert shop.store.verify(HOME, KEY, ref, algorithm, form, message, signature) is True
    assert shop.store.verify(HOME, KEY, ref, algorithm, form, message, signature[1:]) is False
    assert shop.store.verify(HOME, KEY, ref, algorithm, form, message, b"\x00" + signature) is False
    key = load_der_public_key(shop.store.public_key(HOME, KEY, ref))
    assert isinstance(key, rsa.RSAPublicKey)
    what = Signable(algorithm, form, message)
    assert public.verify(key, what, signature) is True
    assert public.verify(key, what, signature[1:]) is False
