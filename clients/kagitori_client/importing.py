"""The user's half of importing key material: reads a key file, and wraps the key under the service's public key.

    material = read_key_material(Path("key.pem").read_bytes())
    wrapped = wrap_key_material(material, parameters.public_key, WrappingAlgorithm.RSA_AES_KEY_WRAP_SHA_256)

The key leaves this machine wrapped only; what the service finds in it is judged there. Needs the extra `cli`.
Sources: AWS, "Requirements for imported key material" and "Encrypt the key material".
"""

from __future__ import annotations

import base64
import binascii
import enum
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field

from cryptography.exceptions import InternalError, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa, mlkem, rsa
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, OAEP
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.hashes import SHA1, SHA256
from cryptography.hazmat.primitives.keywrap import aes_key_wrap_with_padding
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_der_private_key,
    load_der_public_key,
    load_pem_private_key,
)

from kagitori_client.errors import KeyMaterialError

KEY_FILE_MAX_BYTES = 65_536
"""No single private key is longer; what is longer is not looked at."""

_AES_KEY_BYTES = 32
_RAW_SPECS = {
    "SYMMETRIC_DEFAULT": range(32, 33),
    "HMAC_224": range(28, 129),
    "HMAC_256": range(32, 129),
    "HMAC_384": range(48, 129),
    "HMAC_512": range(64, 129),
}
_RSA_SPECS = {2048: "RSA_2048", 3072: "RSA_3072", 4096: "RSA_4096"}
_CURVE_SPECS = {
    "secp256r1": "ECC_NIST_P256",
    "secp384r1": "ECC_NIST_P384",
    "secp521r1": "ECC_NIST_P521",
    "secp256k1": "ECC_SECG_P256K1",
}
_OTHER_SPECS = (
    (ed25519.Ed25519PrivateKey, "ECC_NIST_EDWARDS25519"),
    (mldsa.MLDSA44PrivateKey, "ML_DSA_44"),
    (mldsa.MLDSA65PrivateKey, "ML_DSA_65"),
    (mldsa.MLDSA87PrivateKey, "ML_DSA_87"),
    (mlkem.MLKEM768PrivateKey, "ML_KEM_768"),
    (mlkem.MLKEM1024PrivateKey, "ML_KEM_1024"),
)
# PKCS#8 of RFC 9935, which `cryptography` doesn't read for this parameter set: what follows on the outermost header
# (the version and the algorithm, 2.16.840.1.101.3.4.4.1), and all that comes before a seed of 64 bytes.
_ML_KEM_512 = bytes.fromhex("020100300b0609608648016503040401")
_ML_KEM_512_SEED = bytes.fromhex("3054") + _ML_KEM_512 + bytes.fromhex("04428040")
_ML_KEM_512_SEED_BYTES = 64
_NOT_ENCRYPTED = "there is a passphrase, and the private key is not encrypted"
_PEM_BLOCK = re.compile(rb"-----BEGIN ([A-Z0-9 ]{1,40})-----.*?-----END \1-----", re.DOTALL)
_HEXADECIMAL = re.compile(rb"(?:[0-9A-Fa-f]{2})+")
_BASE64 = re.compile(rb"[A-Za-z0-9+/]+={0,2}")


class WrappingAlgorithm(enum.StrEnum):
    """AWS `WrappingAlgorithm` of GetParametersForImport; RSAES_PKCS1_V1_5, which AWS retired, is left out."""

    RSAES_OAEP_SHA_1 = "RSAES_OAEP_SHA_1"
    RSAES_OAEP_SHA_256 = "RSAES_OAEP_SHA_256"
    RSA_AES_KEY_WRAP_SHA_1 = "RSA_AES_KEY_WRAP_SHA_1"
    RSA_AES_KEY_WRAP_SHA_256 = "RSA_AES_KEY_WRAP_SHA_256"


class KeyFileForm(enum.Enum):
    """How a key file is written."""

    RAW = "raw"
    """The bytes are the key: symmetric and HMAC keys."""
    PEM = "pem"
    """One private key in text: PKCS#8, encrypted or not, or the older forms for RSA and elliptic keys."""
    DER = "der"
    """The same in binary."""


@dataclass(frozen=True, slots=True)
class KeyMaterial:
    """One key, as it is to be wrapped: its raw bytes, or DER of an unencrypted PKCS#8.

    `key_specs` are the AWS key specs of the keys into which it can be imported.
    """

    content: bytes = field(repr=False)
    key_specs: tuple[str, ...]


def read_key_material(
    content: bytes, *, form: KeyFileForm | None = None, passphrase: bytes | None = None
) -> KeyMaterial:
    """The one key in a key file. Without `form`, the file is looked at to find it.

    Raises `KeyMaterialError` for anything else than one private, symmetric or HMAC key of a kind that the
    service can hold.
    """
    if not content:
        raise KeyMaterialError("the key file is empty")
    if len(content) > KEY_FILE_MAX_BYTES:
        raise KeyMaterialError(f"the key file is longer than {KEY_FILE_MAX_BYTES:,} bytes: it is not one key")
    match form or _form_of(content):
        case KeyFileForm.RAW:
            return _raw(content, certain=form is KeyFileForm.RAW)
        case KeyFileForm.PEM:
            block = _pem_block(content)
            return _ml_kem_512(_der_of(block), passphrase) or _private(_load(load_pem_private_key, block, passphrase))
        case KeyFileForm.DER:
            _refuse_public_der(content)
            return _ml_kem_512(content, passphrase) or _private(_load(load_der_private_key, content, passphrase))


def wrap_key_material(
    material: KeyMaterial,
    public_key: bytes,
    algorithm: WrappingAlgorithm,
    *,
    random: Callable[[int], bytes] = os.urandom,
) -> bytes:
    """The EncryptedKeyMaterial of ImportKeyMaterial.

    `public_key` is the PublicKey of GetParametersForImport, `algorithm` the one given in that call. Raises
    `KeyMaterialError` if that is no RSA key, or the material too long for the algorithm.
    """
    try:
        key = load_der_public_key(public_key)
    except (ValueError, UnsupportedAlgorithm, InternalError):
        key = None
    if not isinstance(key, rsa.RSAPublicKey) or key.key_size not in _RSA_SPECS:
        raise KeyMaterialError("the wrapping public key is not an RSA key of 2048, 3072 or 4096 bits")
    digest = SHA1() if algorithm.endswith("_SHA_1") else SHA256()  # noqa: S303  (OAEP needs no collision resistance)
    padding = OAEP(MGF1(digest), digest, None)
    if algorithm.startswith("RSA_AES_KEY_WRAP"):
        # PKCS#11 v3.1 section 6.1.25: the wrapped AES key, then the material under it (RFC 5649).
        aes_key = random(_AES_KEY_BYTES)
        return key.encrypt(aes_key, padding) + aes_key_wrap_with_padding(aes_key, material.content)
    longest = key.key_size // 8 - 2 * digest.digest_size - 2
    if len(material.content) > longest:
        raise KeyMaterialError(
            f"the key has {len(material.content):,} bytes, and {algorithm} under this key takes at most {longest}",
            hint="ask for the parameters with RSA_AES_KEY_WRAP_SHA_256, or with a longer wrapping key",
        )
    return key.encrypt(material.content, padding)


def _form_of(content: bytes) -> KeyFileForm:
    if b"-----BEGIN " in content:
        return KeyFileForm.PEM
    return KeyFileForm.DER if _is_one_der_sequence(content) else KeyFileForm.RAW


def _is_one_der_sequence(content: bytes) -> bool:
    """Whether the bytes are a SEQUENCE from end to end, which random keys hardly ever are."""
    if len(content) < 2 or content[0] != 0x30:
        return False
    if content[1] < 0x80:
        return len(content) == 2 + content[1]
    width = content[1] & 0x7F
    return 1 <= width <= 2 and len(content) == 2 + width + int.from_bytes(content[2 : 2 + width])


def _raw(content: bytes, *, certain: bool) -> KeyMaterial:
    if not certain:
        _refuse_text(content.strip())
    specs = tuple(spec for spec, sizes in _RAW_SPECS.items() if len(content) in sizes)
    if not specs:
        raise KeyMaterialError(
            f"the key file holds {len(content):,} bytes that are no private key in PEM or DER",
            hint="a raw symmetric key has 32 bytes, a raw HMAC key as many as its hash, up to 128",
        )
    return KeyMaterial(content, specs)


def _refuse_text(text: bytes) -> None:
    if _HEXADECIMAL.fullmatch(text) and len(text) // 2 in range(16, 129):
        raise KeyMaterialError(
            f"the key file looks like {len(text) // 2} bytes in hexadecimal",
            hint="decode it first (xxd -r -p), or say that it is raw",
        )
    if len(text) % 4 == 0 and len(text) >= 24 and _BASE64.fullmatch(text):
        size = len(base64.b64decode(text))
        raise KeyMaterialError(
            f"the key file looks like {size} bytes in base64",
            hint="decode it first (base64 -d), or say that it is raw",
        )


def _pem_block(content: bytes) -> bytes:
    """The block with the private key, as PEM."""
    blocks = {match.group(0): match.group(1) for match in _PEM_BLOCK.finditer(content)}
    # OpenSSL writes the name of the curve before the key; the key names it as well.
    keys = [block for block, label in blocks.items() if label != b"EC PARAMETERS"]
    if not keys:
        raise KeyMaterialError("the key file has no complete PEM block")
    if len(keys) > 1:
        raise KeyMaterialError("the key file has several PEM blocks", hint="leave the private key alone in it")
    label = blocks[keys[0]]
    if label == b"OPENSSH PRIVATE KEY":
        raise KeyMaterialError(
            "the key file is one of OpenSSH", hint="convert a copy of it: ssh-keygen -p -m PKCS8 -f COPY"
        )
    if not label.endswith(b"PRIVATE KEY"):
        raise KeyMaterialError(f"the key file holds a {label.decode('ascii').lower()}, not a private key")
    return keys[0]


def _der_of(block: bytes) -> bytes:
    """What a PEM block holds, empty if that can't be told, as of the older forms with headers."""
    try:
        return base64.b64decode(b"".join(block.splitlines()[1:-1]), validate=True)
    except binascii.Error:
        return b""


def _ml_kem_512(der: bytes, passphrase: bytes | None) -> KeyMaterial | None:
    """An unencrypted key of ML-KEM-512, None for all else. Raises `KeyMaterialError` for forms other than the seed."""
    width = der[1] & 0x7F if len(der) > 1 and der[1] > 0x80 else 0
    if not _is_one_der_sequence(der) or not der[2 + width :].startswith(_ML_KEM_512):
        return None
    if passphrase is not None:
        raise KeyMaterialError(_NOT_ENCRYPTED)
    if len(der) != len(_ML_KEM_512_SEED) + _ML_KEM_512_SEED_BYTES or not der.startswith(_ML_KEM_512_SEED):
        raise KeyMaterialError(
            "the key file holds an ML-KEM-512 key, and not its seed alone",
            hint="write it anew: openssl pkey -in FILE -provparam ml-kem.output_formats=seed-only -out COPY",
        )
    return KeyMaterial(der, ("ML_KEM_512",))


def _refuse_public_der(content: bytes) -> None:
    try:
        load_der_public_key(content)
    except (ValueError, UnsupportedAlgorithm, InternalError):
        return
    raise KeyMaterialError("the key file holds a public key, not a private key")


def _load(
    load: Callable[[bytes, bytes | None], PrivateKeyTypes], content: bytes, passphrase: bytes | None
) -> PrivateKeyTypes:
    try:
        return load(content, passphrase)
    except TypeError:
        # The library's word for a passphrase too few or too many. No causes: their frames hold the key.
        if passphrase is None:
            raise KeyMaterialError(
                "the private key is encrypted", hint="give its passphrase, or decrypt it with openssl pkcs8"
            ) from None
        raise KeyMaterialError(_NOT_ENCRYPTED) from None
    except UnsupportedAlgorithm:
        raise KeyMaterialError(
            "the key file cannot be read: its kind of key, or its encryption, is not known here",
            hint="of ML-KEM-512 unencrypted keys are read only: decrypt a copy with openssl pkey -in FILE -out COPY",
        ) from None
    except (ValueError, InternalError, binascii.Error):
        what = "the passphrase is wrong, or the private key is damaged" if passphrase else "it is no private key"
        raise KeyMaterialError(
            f"the key file cannot be read: {what}", hint="see what it is with: openssl pkey -in FILE -noout -text"
        ) from None


def _private(key: PrivateKeyTypes) -> KeyMaterial:
    if isinstance(key, rsa.RSAPrivateKey):
        spec = _RSA_SPECS.get(key.key_size)
        kind = f"an RSA key of {key.key_size} bits"
    elif isinstance(key, ec.EllipticCurvePrivateKey):
        spec = _CURVE_SPECS.get(key.curve.name)
        kind = f"a key on the curve {key.curve.name}"
    else:
        spec = next((name for known, name in _OTHER_SPECS if isinstance(key, known)), None)
        kind = "a key of a kind"
    if spec is None:
        raise KeyMaterialError(f"the key file holds {kind} for which there is no key spec")
    return KeyMaterial(key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()), (spec,))
