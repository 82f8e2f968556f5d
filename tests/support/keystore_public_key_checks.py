"""What a store owes whose keys sign, encrypt, agree on secrets or encapsulate them: checks, and the table of all."""

from __future__ import annotations

import hashlib
from functools import partial

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key
from tests.support.keystore_abilities import MESSAGE, AbleStore, message_for
from tests.support.keystore_ability_checks import GENERAL_ROWS, Row, refused_as_request
from tests.support.keystore_contract import flips, invalid, refused
from tests.support.keystore_parts import HOME, KEY, OTHER_KEY
from tests.support.ml_kem_512 import peer_of

from kagitori_keystore.algorithms import (
    Digest,
    KeySpec,
    MessageForm,
    SigningAlgorithm,
    SigningScheme,
    agrees_on_keys,
    encapsulates,
    encryption_algorithms,
    oaep_plaintext_max,
    signing_algorithms,
)
from kagitori_keystore.base import Capability, ErrorKind, PublicKeyInvalid

HASHES: dict[Digest, hashes.HashAlgorithm] = {
    Digest.SHA_1: hashes.SHA1(),  # noqa: S303  (OAEP with it is part of AWS's model)
    Digest.SHA_256: hashes.SHA256(),
    Digest.SHA_384: hashes.SHA384(),
    Digest.SHA_512: hashes.SHA512(),
}


# SIGNING


def verifies_outside(public: bytes, algorithm: SigningAlgorithm, message: bytes, signature: bytes) -> bool:
    """What `cryptography` says of a signature over a raw message, given nothing but the public key."""
    key = load_der_public_key(public)
    chosen = HASHES[algorithm.digest] if algorithm.digest else hashes.SHA256()
    try:
        if isinstance(key, rsa.RSAPublicKey):
            pss = padding.PSS(padding.MGF1(chosen), chosen.digest_size)
            scheme = pss if algorithm.scheme is SigningScheme.PSS else padding.PKCS1v15()
            key.verify(signature, message, scheme, chosen)
        elif isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(signature, message, ec.ECDSA(chosen))
        else:
            assert isinstance(
                key,
                ed25519.Ed25519PublicKey | mldsa.MLDSA44PublicKey | mldsa.MLDSA65PublicKey | mldsa.MLDSA87PublicKey,
            )
            key.verify(signature, message)
    except InvalidSignature:
        return False
    return True


def external_mu(public: bytes, message: bytes) -> bytes:
    """FIPS 204 algorithm 7, line 6, for an empty context."""
    key = load_der_public_key(public)
    assert isinstance(key, mldsa.MLDSA44PublicKey | mldsa.MLDSA65PublicKey | mldsa.MLDSA87PublicKey)
    tr = hashlib.shake_256(key.public_bytes_raw()).digest(64)
    return hashlib.shake_256(tr + b"\x00\x00" + message).digest(64)


def signatures_verify(under: AbleStore, spec: KeySpec) -> None:
    store, ref = under.store, under.ref(spec)
    for algorithm, form in under.signings(spec):
        message = message_for(algorithm, form)
        signature = store.sign(HOME, KEY, ref, algorithm, form, message)
        assert store.verify(HOME, KEY, ref, algorithm, form, message, signature) is True
        store.forget(KEY)
        assert store.verify(HOME, KEY, ref, algorithm, form, message, signature) is True


def forms_are_the_same_message(under: AbleStore, spec: KeySpec) -> None:
    """A digest or representative that the caller computes gives a signature of the raw message, and back."""
    store, ref = under.store, under.ref(spec)
    public = store.public_key(HOME, KEY, ref)
    for algorithm, form in under.signings(spec):
        if algorithm.scheme is SigningScheme.ED25519_PH:
            continue  # takes digests alone, and as messages; RFC 8032's vector is tested elsewhere
        given = external_mu(public, MESSAGE) if form is MessageForm.EXTERNAL_MU else message_for(algorithm, form)
        signature = store.sign(HOME, KEY, ref, algorithm, form, given)
        assert verifies_outside(public, algorithm, MESSAGE, signature), f"{algorithm} {form}"
        assert not verifies_outside(public, algorithm, MESSAGE + b"!", signature)
        assert store.verify(HOME, KEY, ref, algorithm, MessageForm.RAW, MESSAGE, signature)


def messages_to_sign_are_bounded(under: AbleStore, spec: KeySpec) -> None:
    store, ref = under.store, under.ref(spec)
    for algorithm, form in under.signings(spec):
        least, most = algorithm.message_bytes(form)
        for size in (0, least - 1, most + 1):
            refused_as_request(partial(store.sign, HOME, KEY, ref, algorithm, form, bytes(size)))
            refused_as_request(partial(store.verify, HOME, KEY, ref, algorithm, form, bytes(size), bytes(64)))
        for size in (least, most):
            signature = store.sign(HOME, KEY, ref, algorithm, form, bytes(size))
            assert store.verify(HOME, KEY, ref, algorithm, form, bytes(size), signature)


def other_algorithms_and_forms_are_refused(under: AbleStore, spec: KeySpec) -> None:
    store, ref = under.store, under.ref(spec)
    for algorithm in SigningAlgorithm:
        for form in MessageForm:
            if (algorithm, form) not in under.signings(spec):
                for message in (message_for(algorithm, form), bytes(64)):
                    refused_as_request(partial(store.sign, HOME, KEY, ref, algorithm, form, message))
                    refused_as_request(partial(store.verify, HOME, KEY, ref, algorithm, form, message, bytes(64)))


def wrong_signatures_are_told_and_nothing_more(under: AbleStore, spec: KeySpec) -> None:
    store, ref = under.store, under.ref(spec)
    for algorithm, form in under.signings(spec):
        message = message_for(algorithm, form)
        right = store.sign(HOME, KEY, ref, algorithm, form, message)
        other = store.sign(HOME, KEY, under.ref(spec, number=1), algorithm, form, message)
        flipped = flips(right)
        wrong = [b"", b"\x00", right[:-1], right + b"\x00", right[1:], bytes(len(right)), b"\xff" * len(right), other]
        wrong += [bytes(6144), b"\xff" * 6144, b"\x30" * 64, bytes.fromhex("3006020100020100"), right * 2]
        wrong += [flipped[at] for at in range(0, len(flipped), max(1, len(flipped) // 24))]
        for signature in wrong:
            assert store.verify(HOME, KEY, ref, algorithm, form, message, signature) is False, f"{algorithm} {form}"
        another = message_for(algorithm, form, b"another message")
        assert store.verify(HOME, KEY, ref, algorithm, form, another, right) is False
        for different in signing_algorithms(spec):
            if different is not algorithm and form in different.forms and different not in under.refused:
                given = message_for(different, form)
                assert store.verify(HOME, KEY, ref, different, form, given, right) is False


# ASYMMETRIC_ENCRYPTION


def oaep_round_trips(under: AbleStore, spec: KeySpec) -> None:
    store, ref = under.store, under.ref(spec)
    public = load_der_public_key(store.public_key(HOME, KEY, ref))
    assert isinstance(public, rsa.RSAPublicKey)
    for algorithm in under.oaep(spec):
        chosen = HASHES[algorithm.digest]
        most = oaep_plaintext_max(spec, algorithm)
        for size in (1, 32, most):
            ciphertexts = {store.encrypt_asymmetric(HOME, KEY, ref, algorithm, bytes(size)) for _ in range(2)}
            ciphertexts.add(public.encrypt(bytes(size), padding.OAEP(padding.MGF1(chosen), chosen, None)))
            assert len(ciphertexts) == 3
            for ciphertext in ciphertexts:
                assert len(ciphertext) == spec.bits // 8
                assert store.decrypt_asymmetric(HOME, KEY, ref, algorithm, ciphertext) == bytes(size)
        for size in (0, most + 1, 4096):
            refused_as_request(partial(store.encrypt_asymmetric, HOME, KEY, ref, algorithm, bytes(size)))
    for algorithm in set(encryption_algorithms(spec)) & under.refused:
        refused_as_request(partial(store.encrypt_asymmetric, HOME, KEY, ref, algorithm, MESSAGE))
        refused_as_request(partial(store.decrypt_asymmetric, HOME, KEY, ref, algorithm, bytes(spec.bits // 8)))


def wrong_oaep_ciphertexts_are_all_alike(under: AbleStore, spec: KeySpec) -> None:
    store, ref = under.store, under.ref(spec)
    public = load_der_public_key(store.public_key(HOME, KEY, ref))
    assert isinstance(public, rsa.RSAPublicKey)
    one, another = encryption_algorithms(spec)
    for algorithm, different in ((one, another), (another, one)):
        if algorithm in under.refused:
            continue
        chosen = HASHES[algorithm.digest]
        other = HASHES[different.digest]
        right = store.encrypt_asymmetric(HOME, KEY, ref, algorithm, MESSAGE)
        wrong = [
            b"", b"\x00", right[:-1], right + b"\x00", b"\x00" + right, right[1:], bytes(6144),
            bytes(len(right)), bytes(len(right) - 1) + b"\x01", b"\xff" * len(right),
            public.encrypt(MESSAGE, padding.OAEP(padding.MGF1(other), other, None)),
            store.encrypt_asymmetric(HOME, KEY, under.ref(spec, number=1), algorithm, MESSAGE),
            public.encrypt(MESSAGE, padding.PKCS1v15()),
            public.encrypt(MESSAGE, padding.OAEP(padding.MGF1(chosen), chosen, b"label")),
            public.encrypt(MESSAGE, padding.OAEP(padding.MGF1(hashes.SHA512()), chosen, None)),
            *flips(right)[:: len(right)],
        ]  # fmt: skip
        for ciphertext in wrong:
            invalid(partial(store.decrypt_asymmetric, HOME, KEY, ref, algorithm, ciphertext))


# KEY_AGREEMENT

CURVES: dict[KeySpec, ec.EllipticCurve] = {
    KeySpec.ECC_NIST_P256: ec.SECP256R1(),
    KeySpec.ECC_NIST_P384: ec.SECP384R1(),
    KeySpec.ECC_NIST_P521: ec.SECP521R1(),
}


def spki(key: ec.EllipticCurvePublicKey) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def secrets_are_agreed_on(under: AbleStore, spec: KeySpec) -> None:
    store, ref = under.store, under.ref(spec)
    public = load_der_public_key(store.public_key(HOME, KEY, ref))
    assert isinstance(public, ec.EllipticCurvePublicKey)
    for _ in range(3):
        peer = ec.generate_private_key(CURVES[spec])
        secret = store.derive_shared_secret(HOME, KEY, ref, spki(peer.public_key()))
        assert secret == peer.exchange(ec.ECDH(), public)
        assert len(secret) == (spec.bits + 7) // 8
    first, second = under.ref(spec), under.ref(spec, OTHER_KEY)
    here = store.derive_shared_secret(HOME, KEY, first, store.public_key(HOME, OTHER_KEY, second))
    assert here == store.derive_shared_secret(HOME, OTHER_KEY, second, store.public_key(HOME, KEY, first))


def der(tag: int, content: bytes) -> bytes:
    size = len(content)
    head = bytes((size,)) if size < 128 else bytes((0x81, size)) if size < 256 else b"\x82" + size.to_bytes(2)
    return bytes((tag,)) + head + content


def wrong_peers(spec: KeySpec) -> dict[str, bytes]:
    """Public keys that no key of the spec may be used with."""
    key = ec.generate_private_key(CURVES[spec]).public_key()
    right, size = spki(key), (spec.bits + 7) // 8
    point = key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    algorithm = right[right.index(b"\x30", 1) : right.index(b"\x03", -len(point) - 5 + len(right))]

    def of(raw: bytes, identifier: bytes = algorithm) -> bytes:
        return der(0x30, identifier + der(0x03, b"\x00" + raw))

    assert of(point) == right, "the pieces make the key again"
    others = [curve for curve in (*CURVES.values(), ec.SECP256K1(), ec.SECP224R1()) if curve.name != CURVES[spec].name]
    rsa_key = rsa.generate_private_key(65537, 2048).public_key()
    wrong = {
        "empty": b"", "no DER": b"\x00" * 91, "point alone": point, "one more byte": right + b"\x00",
        "too long": right + bytes(8192), "infinity": of(b"\x00"), "no point": of(b""),
        "off the curve": of(point[:-1] + bytes((point[-1] ^ 1,))),
        "x twice": of(point[: 1 + size] + point[1 : size + 1]),
        "beyond the field": of(b"\x04" + b"\xff" * (2 * size)), "zeros": of(b"\x04" + bytes(2 * size)),
        "compressed, x of no point": of(b"\x02" + b"\xff" * size), "negated prefix": of(b"\x05" + point[1:]),
        "RSA": rsa_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        "Ed25519": ed25519.Ed25519PrivateKey.from_private_bytes(bytes(32)).public_key().public_bytes(
            Encoding.DER, PublicFormat.SubjectPublicKeyInfo
        ),
        "PEM": key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
    }  # fmt: skip
    wrong |= {f"truncated to {cut}": right[:cut] for cut in range(1, len(right), 7)}
    wrong |= {curve.name: spki(ec.generate_private_key(curve).public_key()) for curve in others}
    return wrong


def wrong_peers_are_all_alike(under: AbleStore, spec: KeySpec) -> None:
    for name, peer in wrong_peers(spec).items():
        call = partial(under.store.derive_shared_secret, HOME, KEY, under.ref(spec), peer)
        error = refused({ErrorKind.CALLER}, call)
        assert isinstance(error, PublicKeyInvalid), name
        assert str(error) == str(PublicKeyInvalid())
        assert error.__cause__ is None
        assert error.__context__ is None or error.__suppress_context__


# KEY_ENCAPSULATION


def encapsulated_secrets_come_back(under: AbleStore, spec: KeySpec) -> None:
    store, ref = under.store, under.ref(spec)
    public = peer_of(store.public_key(HOME, KEY, ref))
    made = [store.encapsulate(HOME, KEY, ref) for _ in range(3)] + [public.encapsulate()]
    assert len({secret for secret, _ in made}) == len({ciphertext for _, ciphertext in made}) == len(made)
    for secret, ciphertext in made:
        assert len(secret) == 32
        assert len(ciphertext) == spec.ciphertext_bytes
        assert store.decapsulate(HOME, KEY, ref, ciphertext) == secret


def forged_encapsulations_give_another_secret(under: AbleStore, spec: KeySpec) -> None:
    store, ref = under.store, under.ref(spec)
    secret, ciphertext = store.encapsulate(HOME, KEY, ref)
    others_secret, other = store.encapsulate(HOME, KEY, under.ref(spec, number=1))
    forgeries = [*flips(ciphertext)[:: len(ciphertext) // 2], other, bytes(len(ciphertext))]
    given = {store.decapsulate(HOME, KEY, ref, forged) for forged in forgeries}
    assert len(given) == len(forgeries)
    assert not {secret, others_secret} & given
    assert all(len(each) == 32 for each in given)
    assert {store.decapsulate(HOME, KEY, ref, forged) for forged in forgeries} == given, "the same each time"


def encapsulations_of_another_length_are_refused(under: AbleStore, spec: KeySpec) -> None:
    store, ref = under.store, under.ref(spec)
    ciphertext = store.encapsulate(HOME, KEY, ref)[1]
    others = [bytes(other.ciphertext_bytes) for other in ENCAPSULATING if other is not spec]
    for wrong in (b"", ciphertext[:-1], ciphertext + b"\x00", *others, bytes(6144)):
        invalid(partial(store.decapsulate, HOME, KEY, ref, wrong))


SIGNING = tuple(spec for spec in KeySpec if signing_algorithms(spec))
RSA = tuple(spec for spec in KeySpec if encryption_algorithms(spec))
AGREEING = tuple(spec for spec in KeySpec if agrees_on_keys(spec))
ENCAPSULATING = tuple(spec for spec in KeySpec if encapsulates(spec))

ROWS: tuple[Row, ...] = (
    *GENERAL_ROWS,
    Row(signatures_verify, Capability.SIGNING, SIGNING),
    Row(forms_are_the_same_message, Capability.SIGNING, SIGNING),
    Row(messages_to_sign_are_bounded, Capability.SIGNING, SIGNING),
    Row(other_algorithms_and_forms_are_refused, Capability.SIGNING, SIGNING),
    Row(wrong_signatures_are_told_and_nothing_more, Capability.SIGNING, SIGNING),
    Row(oaep_round_trips, Capability.ASYMMETRIC_ENCRYPTION, RSA),
    Row(wrong_oaep_ciphertexts_are_all_alike, Capability.ASYMMETRIC_ENCRYPTION, RSA),
    Row(secrets_are_agreed_on, Capability.KEY_AGREEMENT, AGREEING),
    Row(wrong_peers_are_all_alike, Capability.KEY_AGREEMENT, AGREEING),
    Row(encapsulated_secrets_come_back, Capability.KEY_ENCAPSULATION, ENCAPSULATING),
    Row(forged_encapsulations_give_another_secret, Capability.KEY_ENCAPSULATION, ENCAPSULATING),
    Row(encapsulations_of_another_length_are_refused, Capability.KEY_ENCAPSULATION, ENCAPSULATING),
)
