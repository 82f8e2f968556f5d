"""Which unwrapped bytes are exactly one private key of a spec, and what they become."""

from __future__ import annotations

import math
import os

import pytest
from cryptography.hazmat import asn1
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa, x25519
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_private_key,
)
from cryptography.x509 import ObjectIdentifier
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.foreign_keys import (
    CURVES,
    DER_SPECS,
    RSA_SPECS,
    PlainAlgorithm,
    RsaAlgorithm,
    ec_key,
    ec_structure,
    key_of,
    pkcs8,
    point,
    rsa_key,
    rsa_structure,
    traditional,
    wrapped_info,
)
from tests.support.ml_kem_512 import ALGORITHM as ML_KEM_512
from tests.support.ml_kem_512 import EXPANDED_BYTES, both_form, expanded_form, seed_form

from kagitori_keystore.algorithms import KeyFamily, KeySpec, MaterialForm
from kagitori_keystore.base import ImportFault, ImportRefused
from kagitori_keystore.importing.materials import canonical_material

HMAC_SPECS = tuple(spec for spec in KeySpec if spec.family is KeyFamily.HMAC)
SEEDED = tuple(spec for spec in DER_SPECS if spec.form is MaterialForm.SEED)


def refused(spec: KeySpec, unwrapped: bytes) -> None:
    with pytest.raises(ImportRefused) as caught:
        canonical_material(spec, unwrapped)
    assert caught.value.reason is ImportFault.WRONG_SHAPE
    assert str(caught.value) == str(ImportRefused(ImportFault.WRONG_SHAPE))
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None or caught.value.__suppress_context__


# Taken


@pytest.mark.parametrize("spec", [KeySpec.SYMMETRIC_DEFAULT, *HMAC_SPECS])
def test_raw_keys_stay_as_they_are(spec: KeySpec) -> None:
    key = os.urandom(spec.material_bytes)
    assert canonical_material(spec, key) == key


@pytest.mark.parametrize("spec", HMAC_SPECS)
def test_hmac_keys_may_be_longer_up_to_1024_bits(spec: KeySpec) -> None:
    for size in (spec.material_bytes + 1, 100, 128):
        assert len(canonical_material(spec, bytes(size))) == size
    for size in (0, 1, 27, spec.material_bytes - 1, 129, 256):
        refused(spec, bytes(size))


@pytest.mark.parametrize("spec", DER_SPECS)
def test_private_keys_are_kept_in_the_form_of_their_spec(spec: KeySpec) -> None:
    key = key_of(spec)
    material = canonical_material(spec, pkcs8(key))
    if spec.form is MaterialForm.SEED:
        assert len(material) == spec.material_bytes
        assert pkcs8(key).endswith(material)
    else:
        assert len(material) <= spec.material_bytes
        opened = load_der_private_key(bytes(material), None)
        assert opened.public_key() == key.public_key()
    if spec not in RSA_SPECS and spec.form is MaterialForm.PKCS8:
        assert material == pkcs8(key)


@pytest.mark.parametrize("spec", RSA_SPECS)
def test_an_rsa_key_has_one_material_however_it_is_written(spec: KeySpec) -> None:
    key = rsa_key(spec.bits)
    numbers = key.private_numbers()
    p, q, d = numbers.p, numbers.q, numbers.d
    order = math.lcm(p - 1, q - 1)
    exchanged = {"p": q, "q": p, "dp": numbers.dmq1, "dq": numbers.dmp1, "qi": pow(p, -1, q)}
    writings = [
        pkcs8(key),
        rsa_structure(key),
        rsa_structure(key, **exchanged),
        rsa_structure(key, d=pow(65_537, -1, (p - 1) * (q - 1))),
        rsa_structure(key, d=d + order),
    ]
    materials = {bytes(canonical_material(spec, writing)) for writing in writings}
    assert len(materials) == 1


@pytest.mark.parametrize("spec", CURVES)
def test_an_elliptic_key_has_one_material_however_it_is_written(spec: KeySpec) -> None:
    key = ec_key(spec)
    secret = key.private_numbers().private_value
    writings = [
        pkcs8(key),
        ec_structure(spec, secret),
        ec_structure(spec, secret, public=point(key)),
        ec_structure(spec, secret, public=point(key, PublicFormat.CompressedPoint)),
        ec_structure(spec, secret, public=point(key), inner_curve=CURVES[spec][1]),
    ]
    assert {bytes(canonical_material(spec, writing)) for writing in writings} == {pkcs8(key)}


def test_attributes_beside_a_key_are_dropped() -> None:
    seed = os.urandom(32)
    ed25519_oid = PlainAlgorithm(algorithm=ObjectIdentifier("1.3.101.112"))
    info = wrapped_info(ed25519_oid, asn1.encode_der(seed), attributes=True)
    assert canonical_material(KeySpec.ECC_NIST_EDWARDS25519, info) == seed


# Refused


@pytest.mark.parametrize("size", [0, 1, 16, 24, 31, 33, 64, 4096])
def test_symmetric_keys_have_32_bytes(size: int) -> None:
    refused(KeySpec.SYMMETRIC_DEFAULT, bytes(size))


@pytest.mark.parametrize("spec", DER_SPECS)
def test_keys_of_another_spec_are_refused(spec: KeySpec) -> None:
    for other in DER_SPECS:
        if other is not spec:
            refused(spec, pkcs8(key_of(other)))


@pytest.mark.parametrize("spec", DER_SPECS)
def test_other_ways_of_writing_a_key_are_refused(spec: KeySpec) -> None:
    key = key_of(spec)
    der = pkcs8(key)
    public = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    for writing in (
        b"",
        der + b"\x00",
        b"\x00" + der,
        der * 2,
        der[:-1],
        der[1:],
        pkcs8(key, encoding=Encoding.PEM),
        pkcs8(key, password=b"password"),
        public,
        der.hex().encode(),
        b"\x30\x80" + der[4 if der[1] == 0x82 else 3 if der[1] == 0x81 else 2 :] + b"\x00\x00",
        bytes(5000),
    ):
        refused(spec, writing)


@pytest.mark.parametrize("spec", [*RSA_SPECS, *CURVES])
def test_the_forms_before_pkcs8_are_refused(spec: KeySpec) -> None:
    key = key_of(spec)
    assert isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey)
    refused(spec, traditional(key))
    refused(spec, traditional(key, Encoding.PEM))


@pytest.mark.parametrize("part", ["n", "d", "p", "q", "dp", "dq", "qi"])
@pytest.mark.parametrize("change", [-2, 2])
def test_rsa_parts_that_do_not_belong_together_are_refused(part: str, change: int) -> None:
    key = rsa_key()
    numbers = key.private_numbers()
    values = {
        "n": numbers.public_numbers.n,
        "d": numbers.d,
        "p": numbers.p,
        "q": numbers.q,
        "dp": numbers.dmp1,
        "dq": numbers.dmq1,
        "qi": numbers.iqmp,
    }
    refused(KeySpec.RSA_2048, rsa_structure(key, **{part: values[part] + change}))


def test_rsa_keys_have_two_primes_and_the_usual_exponent() -> None:
    key = rsa_key()
    refused(KeySpec.RSA_2048, rsa_structure(key, version=1))
    refused(KeySpec.RSA_2048, rsa_structure(key, e=65_539))
    refused(KeySpec.RSA_2048, rsa_structure(key, e=1))
    for part in ("n", "e", "d", "p", "q", "dp", "dq", "qi"):
        for value in (0, 1, -1):
            refused(KeySpec.RSA_2048, rsa_structure(key, **{part: value}))
    for exponent in (3, 65_539):
        other = _rsa_key_with_exponent(exponent)
        if other is not None:
            refused(KeySpec.RSA_2048, other)


def test_rsa_keys_for_pss_alone_are_refused() -> None:
    """RFC 4055: another algorithm identifier around the same key; so is one without its NULL."""
    inner = traditional(rsa_key())
    rsa_encryption = ObjectIdentifier("1.2.840.113549.1.1.1")
    plain = RsaAlgorithm(algorithm=rsa_encryption, parameters=asn1.Null())
    assert canonical_material(KeySpec.RSA_2048, wrapped_info(plain, inner))
    refused(KeySpec.RSA_2048, wrapped_info(PlainAlgorithm(algorithm=rsa_encryption), inner))
    refused(KeySpec.RSA_2048, wrapped_info(PlainAlgorithm(algorithm=ObjectIdentifier("1.2.840.113549.1.1.10")), inner))


def test_rsa_moduli_have_their_size_to_the_bit() -> None:
    for bits in (1024, 2040, 2056):
        refused(KeySpec.RSA_2048, pkcs8(rsa.generate_private_key(65_537, bits)))


def test_a_modulus_a_bit_short_is_refused() -> None:
    """Two primes of 1,024 bits whose product has 2,047."""
    p, q = _prime_from(0x9 << 1020), _prime_from(0xA << 1020)
    assert p.bit_length() == q.bit_length() == 1024
    assert (p * q).bit_length() == 2047
    refused(KeySpec.RSA_2048, _rsa_of(p, q))


def test_rsa_primes_are_of_equal_size() -> None:
    """A modulus of 2,048 bits, one of whose primes has 512: from a prime of a 1,024-bit key and one of a 3,072."""
    small = rsa.generate_private_key(65_537, 1024).private_numbers().p  # noqa: S505  (to be refused)
    for _ in range(8):
        large = rsa.generate_private_key(65_537, 3072).private_numbers().p
        if (small * large).bit_length() == 2048:
            break
    else:
        pytest.fail("no prime of the wanted size in eight keys")
    refused(KeySpec.RSA_2048, _rsa_of(large, small))


@pytest.mark.parametrize("spec", CURVES)
def test_elliptic_halves_that_do_not_belong_together_are_refused(spec: KeySpec) -> None:
    key, other = ec_key(spec), ec_key(spec, 1)
    secret = key.private_numbers().private_value
    for form in (PublicFormat.UncompressedPoint, PublicFormat.CompressedPoint):
        refused(spec, ec_structure(spec, secret, public=point(other, form)))
    good = point(key)
    for public in (b"", b"\x00", b"\x05" + good[1:], good[:-1], good + b"\x00", good[:1] + bytes(len(good) - 1)):
        refused(spec, ec_structure(spec, secret, public=public))


@pytest.mark.parametrize("spec", CURVES)
def test_elliptic_secrets_out_of_range_are_refused(spec: KeySpec) -> None:
    order = CURVES[spec][0].group_order
    for secret in (0, order, order + 1):
        refused(spec, ec_structure(spec, secret))
    assert canonical_material(spec, ec_structure(spec, 1))
    assert canonical_material(spec, ec_structure(spec, order - 1))


def test_elliptic_curves_are_named_and_agree() -> None:
    key = ec_key(KeySpec.ECC_NIST_P256)
    secret = key.private_numbers().private_value
    spec = KeySpec.ECC_NIST_P256
    refused(spec, ec_structure(spec, secret, inner_curve=CURVES[KeySpec.ECC_SECG_P256K1][1]))
    refused(spec, ec_structure(spec, secret, outer_curve=CURVES[KeySpec.ECC_SECG_P256K1][1]))
    refused(spec, ec_structure(spec, secret, outer_curve="1.2.3.4"))
    refused(spec, ec_structure(spec, secret, version=0))
    refused(spec, ec_structure(spec, secret, version=2))


def test_a_public_half_beside_the_key_is_refused() -> None:
    """RFC 5958's second version: AWS takes RFC 5208, and nothing would compare the halves."""
    seed = os.urandom(32)
    public = ed25519.Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()
    algorithm = PlainAlgorithm(algorithm=ObjectIdentifier("1.3.101.112"))
    for version in (0, 1):
        info = wrapped_info(algorithm, asn1.encode_der(seed), version=version, public_key=public)
        refused(KeySpec.ECC_NIST_EDWARDS25519, info)
    refused(KeySpec.ECC_NIST_EDWARDS25519, wrapped_info(algorithm, asn1.encode_der(seed), version=1))


@pytest.mark.parametrize("size", [0, 31, 33, 64])
def test_edwards_seeds_have_32_bytes(size: int) -> None:
    algorithm = PlainAlgorithm(algorithm=ObjectIdentifier("1.3.101.112"))
    refused(KeySpec.ECC_NIST_EDWARDS25519, wrapped_info(algorithm, asn1.encode_der(bytes(size))))
    if size:
        refused(KeySpec.ECC_NIST_EDWARDS25519, wrapped_info(algorithm, bytes(size)))


def test_keys_of_no_spec_are_refused() -> None:
    strangers = (
        dsa.generate_private_key(2048),
        ed448.Ed448PrivateKey.generate(),
        x25519.X25519PrivateKey.generate(),
        ec.generate_private_key(ec.BrainpoolP256R1()),
    )
    for key in strangers:
        der = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
        for spec in DER_SPECS:
            refused(spec, der)


def test_ml_kem_512_takes_the_seed_alone_as_the_other_parameter_sets_do() -> None:
    """The library doesn't know it: the form is read here."""
    seed, expanded = os.urandom(64), os.urandom(EXPANDED_BYTES)
    for der in (seed_form(seed), seed_form(seed, attributes=True)):
        assert canonical_material(KeySpec.ML_KEM_512, der) == seed
    whole = seed_form(seed)
    for wrong in (
        both_form(seed, expanded), expanded_form(expanded), seed_form(seed[:-1]), seed_form(seed + b"\x00"),
        seed_form(b""), seed_form(seed, version=1), whole + b"\x00", whole[:-1], whole[2:], seed, b"",
        wrapped_info(ML_KEM_512, seed), wrapped_info(ML_KEM_512, b"\x04\x40" + seed),
        wrapped_info(ML_KEM_512, b"\x80\x81\x40" + seed), wrapped_info(ML_KEM_512, b"\x80\x40" + seed + b"\x00"),
        wrapped_info(RsaAlgorithm(algorithm=ML_KEM_512.algorithm, parameters=asn1.Null()), b"\x80\x40" + seed),
        bytes(5000),
    ):
        refused(KeySpec.ML_KEM_512, wrong)
    for other in DER_SPECS:
        refused(KeySpec.ML_KEM_512, pkcs8(key_of(other)))
        refused(other, whole)


FUZZ = settings(max_examples=200, deadline=None)


@FUZZ
@given(st.data())
def test_a_changed_ml_kem_512_key_is_refused_or_another_seed(data: st.DataObject) -> None:
    whole = seed_form(bytes(64))
    changed = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 3))):
        changed[data.draw(st.integers(0, len(changed) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        material = canonical_material(KeySpec.ML_KEM_512, bytes(changed))
    except ImportRefused:
        return
    assert changed[:-64] == whole[:-64]
    assert material == changed[-64:]


@FUZZ
@given(st.sampled_from(DER_SPECS), st.binary(max_size=300))
def test_any_bytes_are_refused(spec: KeySpec, unwrapped: bytes) -> None:
    refused(spec, unwrapped)


@FUZZ
@given(st.sampled_from([*CURVES, *SEEDED]), st.data())
def test_a_changed_key_is_refused_or_another_key(spec: KeySpec, data: st.DataObject) -> None:
    changed = bytearray(pkcs8(key_of(spec)))
    for _ in range(data.draw(st.integers(1, 3))):
        changed[data.draw(st.integers(0, len(changed) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        material = canonical_material(spec, bytes(changed))
    except ImportRefused:
        return
    # A seed is nothing but random bytes; halves of an elliptic key would contradict each other.
    assert spec in SEEDED or bytes(changed) == pkcs8(key_of(spec))
    assert len(material) == spec.material_bytes or spec in CURVES


def _rsa_key_with_exponent(exponent: int) -> bytes | None:
    """The key of the tests with another exponent, None if its primes allow no such one."""
    numbers = rsa_key().private_numbers()
    p, q = numbers.p, numbers.q
    order = math.lcm(p - 1, q - 1)
    if math.gcd(exponent, order) != 1:
        return None
    d = pow(exponent, -1, order)
    return rsa_structure(rsa_key(), e=exponent, d=d, dp=d % (p - 1), dq=d % (q - 1))


def _rsa_of(p: int, q: int) -> bytes:
    d = rsa.rsa_recover_private_exponent(65_537, p, q)
    parts = {"n": p * q, "d": d, "p": p, "q": q, "dp": d % (p - 1), "dq": d % (q - 1), "qi": pow(q, -1, p)}
    key = rsa_structure(rsa_key(), **parts)
    assert isinstance(load_der_private_key(key, None), rsa.RSAPrivateKey)  # a good key in itself
    return key


def _prime_from(start: int) -> int:
    """The first number from `start` on that is probably prime (Fermat) and can serve the exponent."""
    number = start | 1
    while pow(2, number - 1, number) != 1 or (number - 1) % 65_537 == 0:
        number += 2
    return number
