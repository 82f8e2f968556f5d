"""sign, verify and mac as commands, against a real server: what they write is what openssl and others take."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import stat
import subprocess
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import mldsa
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from nacl.bindings import (
    crypto_sign_ed25519ph_final_verify,
    crypto_sign_ed25519ph_state,
    crypto_sign_ed25519ph_update,
)
from tests.support.commandline import CommandLine
from tests.support.devserver import DevServer

from kagitori.kms.v1 import key_material_pb2, resources_pb2
from kagitori.kms.v1.key_material_pb2 import GetParametersForImportRequest, ImportKeyMaterialRequest
from kagitori.kms.v1.keys_pb2 import CreateKeyRequest
from kagitori_client.importing import WrappingAlgorithm, read_key_material, wrap_key_material

INVALID = 4
SIZES = (0, 1, 4096, 4097, 3 << 20)
PSS = ("-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:digest")


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, devserver: DevServer, tmp_path: Path) -> CommandLine:
    return CommandLine(monkeypatch, devserver.environment(), tmp_path)


def new_key(cli: CommandLine, spec: str, usage: str = "SIGN_VERIFY") -> str:
    made = cli.json("key", "create", "--spec", spec, "--usage", usage)
    assert (made["key_spec"], made["key_usage"]) == (spec, usage)
    arn = made["arn"]
    assert isinstance(arn, str)
    return arn


def openssl(cli: CommandLine, *arguments: str) -> bool:
    """Whether openssl says that it is right."""
    done = subprocess.run(["openssl", *arguments], cwd=cli.folder, capture_output=True, check=False, timeout=30)
    assert done.returncode in (0, 1), done.stderr
    return done.returncode == 0


@pytest.mark.parametrize(
    ("spec", "algorithm", "digest", "options"),
    [
        ("RSA_2048", "RSASSA_PKCS1_V1_5_SHA_256", "sha256", ()),
        ("RSA_3072", "RSASSA_PSS_SHA_384", "sha384", PSS),
        ("RSA_2048", "RSASSA_PSS_SHA_512", "sha512", PSS),
        ("ECC_NIST_P256", "ECDSA_SHA_256", "sha256", ()),
        ("ECC_NIST_P384", "ECDSA_SHA_384", "sha384", ()),
        ("ECC_NIST_P521", "ECDSA_SHA_512", "sha512", ()),
        ("ECC_SECG_P256K1", "ECDSA_SHA_256", "sha256", ()),
    ],
)
def test_files_of_any_size(
    cli: CommandLine, spec: str, algorithm: str, digest: str, options: tuple[str, ...]
) -> None:
    """openssl hashes the whole file by itself, and finds the signature right."""
    key = new_key(cli, spec)
    named = ("--algorithm", algorithm)
    cli.done("public-key", key, "-o", "public.pem")
    for size in SIZES:
        (cli.folder / "file").write_bytes(os.urandom(size))
        cli.done("sign", "--key", key, *named, "file", "-o", "sig", "--force")
        check = ("dgst", f"-{digest}", "-verify", "public.pem", *options, "-signature", "sig", "file")
        assert openssl(cli, *check)
        assert cli.json("verify", "--key", key, *named, "file", "sig") == {"key_id": key, "signature_valid": True}
        (cli.folder / "file").write_bytes(os.urandom(size + 1))
        assert not openssl(cli, *check)
        refused = cli("verify", "--key", key, *named, "file", "sig")
        assert (refused.code, refused.out) == (INVALID, b"")
        assert refused.err.startswith("error: KMSInvalidSignatureException: ")


@pytest.mark.parametrize(
    ("spec", "algorithm", "digest", "make", "options"),
    [
        ("RSA_2048", "RSASSA_PKCS1_V1_5_SHA_512", "sha512", ("genrsa", "2048"), ()),
        ("RSA_2048", "RSASSA_PSS_SHA_256", "sha256", ("genrsa", "2048"), PSS),
        ("ECC_NIST_P256", "ECDSA_SHA_256", "sha256", ("ecparam", "-name", "prime256v1", "-genkey", "-noout"), ()),
        ("ECC_NIST_P384", "ECDSA_SHA_384", "sha384", ("ecparam", "-name", "secp384r1", "-genkey", "-noout"), ()),
        ("ECC_SECG_P256K1", "ECDSA_SHA_256", "sha256", ("ecparam", "-name", "secp256k1", "-genkey", "-noout"), ()),
    ],
)
def test_signatures_of_openssl(
    cli: CommandLine, devserver: DevServer, spec: str, algorithm: str, digest: str, make: tuple[str, ...],
    options: tuple[str, ...],
) -> None:
    """What openssl signs with a key that was then imported is verified, and nothing else is."""
    (cli.folder / "file").write_bytes(os.urandom(10_000))
    made = subprocess.run(["openssl", *make], capture_output=True, check=True, timeout=30).stdout
    (cli.folder / "private.pem").write_bytes(made)
    assert openssl(cli, "dgst", f"-{digest}", "-sign", "private.pem", *options, "-out", "sig", "file")
    key = imported(devserver, spec, made)
    cli.done("verify", "--key", key, "--algorithm", algorithm, "file", "sig")
    signature = bytearray((cli.folder / "sig").read_bytes())
    signature[-1] ^= 1
    (cli.folder / "sig").write_bytes(signature)
    assert cli("verify", "--key", key, "--algorithm", algorithm, "file", "sig").code == INVALID


def imported(devserver: DevServer, spec: str, file: bytes) -> str:
    """The ARN of a new key for signing, of the private key in a file."""
    with devserver.client() as client:
        request = CreateKeyRequest(
            key_spec=resources_pb2.KeySpec.Value(f"KEY_SPEC_{spec}"),
            key_usage=resources_pb2.KEY_USAGE_SIGN_VERIFY, origin=resources_pb2.ORIGIN_EXTERNAL,
        )
        key = client.keys.CreateKey(request).key_metadata.arn
        given = client.keys.GetParametersForImport(
            GetParametersForImportRequest(
                key_id=key, wrapping_key_spec=key_material_pb2.WRAPPING_KEY_SPEC_RSA_2048,
                wrapping_algorithm=key_material_pb2.WRAPPING_ALGORITHM_RSA_AES_KEY_WRAP_SHA_256,
            )
        )
        wrapped = wrap_key_material(
            read_key_material(file), given.public_key, WrappingAlgorithm.RSA_AES_KEY_WRAP_SHA_256
        )
        client.keys.ImportKeyMaterial(
            ImportKeyMaterialRequest(
                key_id=key, import_token=given.import_token, encrypted_key_material=wrapped,
                expiration_model=resources_pb2.EXPIRATION_MODEL_KEY_MATERIAL_DOES_NOT_EXPIRE,
            )
        )
        return key


def test_ed25519(cli: CommandLine) -> None:
    """Messages up to 4,096 bytes as they are; the prehashed kind takes the digest of any."""
    key = new_key(cli, "ECC_NIST_EDWARDS25519")
    cli.done("public-key", key, "-o", "public.pem")
    plain, hashed = ("--algorithm", "ED25519_SHA_512"), ("--algorithm", "ed25519_ph_sha_512")
    (cli.folder / "file").write_bytes(b"x" * 4096)
    cli.done("sign", "--key", key, *plain, "file", "-o", "sig")
    check = ("pkeyutl", "-verify", "-pubin", "-inkey", "public.pem", "-rawin", "-in", "file", "-sigfile", "sig")
    assert openssl(cli, *check)
    cli.done("verify", "--key", key, *plain, "file", "sig")
    for size in (0, 4097):
        (cli.folder / "file").write_bytes(b"x" * size)
        refused = cli("sign", "--key", key, *plain, "file")
        assert (refused.code, "hint: ED25519_PH_SHA_512" in refused.err) == (2, True)
        assert cli("verify", "--key", key, *plain, "file", "sig").code == 2
    cli.done("sign", "--key", key, *hashed, "file", "-o", "sig", "--force")
    cli.done("verify", "--key", key, *hashed, "file", "sig")
    state = crypto_sign_ed25519ph_state()
    crypto_sign_ed25519ph_update(state, hashlib.sha512(b"x" * 4097).digest())
    raw = cli.done("public-key", key, "--format", "der", "-o", "-").out[-32:]
    assert crypto_sign_ed25519ph_final_verify(state, (cli.folder / "sig").read_bytes(), raw)
    assert cli("sign", "--key", key, *plain, "--digest", "file").code == 2


@pytest.mark.parametrize("spec", ["ML_DSA_44", "ML_DSA_65", "ML_DSA_87"])
def test_ml_dsa(cli: CommandLine, spec: str) -> None:
    """Whatever the size: the signature is one over the file itself. The key has one algorithm, so none is named."""
    key = new_key(cli, spec)
    public = load_pem_public_key(cli.done("public-key", key).out)
    assert isinstance(public, mldsa.MLDSA44PublicKey | mldsa.MLDSA65PublicKey | mldsa.MLDSA87PublicKey)
    for size in SIZES:
        content = os.urandom(size)
        cli.done("sign", "--key", key, "-", "-o", "sig", "--force", stdin=content)
        signature = (cli.folder / "sig").read_bytes()
        public.verify(signature, content)
        with pytest.raises(InvalidSignature):
            public.verify(signature, content + b"x")
        (cli.folder / "file").write_bytes(content)
        cli.done("verify", "--key", key, "file", "sig")
        (cli.folder / "file").write_bytes(content + b"x")
        assert cli("verify", "--key", key, "file", "sig").code == INVALID


def test_hashes_made_elsewhere(cli: CommandLine) -> None:
    """A digest, or ML-DSA's mu, is signed as the message would be."""
    content = os.urandom(5000)
    (cli.folder / "file").write_bytes(content)
    key = new_key(cli, "ECC_NIST_P256")
    (cli.folder / "digest").write_bytes(hashlib.sha256(content).digest())
    cli.done("sign", "--key", key, "--digest", "digest", "-o", "sig")
    cli.done("verify", "--key", key, "file", "sig")
    cli.done("verify", "--key", key, "--digest", "digest", "sig")
    (cli.folder / "digest").write_bytes(content[:31])
    assert cli("sign", "--key", key, "--digest", "digest").code == 2
    assert cli("sign", "--key", key, "--digest", "file").code == 2
    key = new_key(cli, "ML_DSA_65")
    raw = cli.done("public-key", key, "--format", "der", "-o", "-").out[-1952:]
    mu = hashlib.shake_256(hashlib.shake_256(raw).digest(64) + b"\x00\x00" + content).digest(64)
    (cli.folder / "mu").write_bytes(mu)
    cli.done("sign", "--key", key, "--digest", "mu", "-o", "sig", "--force")
    cli.done("verify", "--key", key, "file", "sig")


def test_what_is_printed_and_written(cli: CommandLine) -> None:
    """base64 on stdout, bytes into a file that appears only when there is a signature."""
    key = new_key(cli, "RSA_2048")
    (cli.folder / "file").write_bytes(b"x")
    named = ("--algorithm", "RSASSA_PKCS1_V1_5_SHA_256")
    printed = cli.done("sign", "--key", key, *named, "file").text
    assert re.fullmatch(r"[A-Za-z0-9+/]{342}==\n", printed)
    assert cli.json("sign", "--key", key, *named, "file") == {"key_id": key, "signature": printed.strip()}
    raw = cli.done("sign", "--key", key, *named, "file", "-o", "-").out
    assert raw == base64.b64decode(printed), "this algorithm is deterministic"
    cli.done("sign", "--key", key, *named, "file", "-o", "sig")
    assert stat.S_IMODE((cli.folder / "sig").stat().st_mode) == 0o600
    before = cli.files()
    for wrong in (
        ("file",),
        ("--algorithm", "MD5", "file"),
        ("--algorithm", "RSASSA_PSS_SHA_256", "file", "-o", "sig"),
        ("--algorithm", "RSASSA_PSS_SHA_256", "absent", "-o", "new"),
        ("--algorithm", "RSASSA_PSS_SHA_256", "file", "-o", "file", "--force"),
    ):
        refused = cli("sign", "--key", key, *wrong)
        assert refused.code == 2, wrong
    assert "RSASSA_PSS_SHA_384" in cli("sign", "--key", key, "file").err
    refused = cli("sign", "--key", key, "--algorithm", "ECDSA_SHA_256", "file", "-o", "new")
    assert (refused.code, "hint: kagitori key show" in refused.err) == (1, True)
    (cli.folder / "empty").write_bytes(b"")
    assert cli("verify", "--key", key, *named, "file", "empty").code == 2
    assert cli("verify", "--key", key, *named, "file", "file").code == INVALID
    assert cli("verify", "--key", key, *named, "-", "-", stdin=b"x").code == 2
    cli.done("verify", "--key", key, *named, "file", "-", stdin=raw)
    assert cli.files() == before | {"empty"}
    assert cli("sign", "--key", cli.json("key", "create")["arn"], "file").code == 2


@pytest.mark.parametrize(("spec", "length"), [("HMAC_224", 28), ("HMAC_256", 32), ("HMAC_384", 48), ("HMAC_512", 64)])
def test_macs(cli: CommandLine, spec: str, length: int) -> None:
    """Made, checked, refused when wrong."""
    key = cli.json("key", "create", "--spec", spec)["arn"]
    (cli.folder / "file").write_bytes(b"x" * 4096)
    cli.done("mac", "generate", "--key", key, "file", "-o", "mac")
    mac = (cli.folder / "mac").read_bytes()
    assert len(mac) == length
    printed = cli.json("mac", "generate", "--key", key, "--algorithm", spec.replace("_", "_SHA_"), "file")
    assert base64.b64decode(printed["mac"]) == mac
    assert cli.json("mac", "verify", "--key", key, "file", "mac") == {"key_id": key, "mac_valid": True}
    (cli.folder / "mac").write_bytes(mac[:-1])
    refused = cli("mac", "verify", "--key", key, "file", "mac")
    assert (refused.code, refused.err.startswith("error: KMSInvalidMacException: ")) == (INVALID, True)
    for size in (0, 4097):
        (cli.folder / "file").write_bytes(b"x" * size)
        assert cli("mac", "generate", "--key", key, "file").code == 2


def test_keys_of_every_spec(cli: CommandLine) -> None:
    """The usage is filled in where there is one only; others have to be named."""
    for spec, usage in (
        ("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT"), ("hmac_256", "GENERATE_VERIFY_MAC"),
        ("ECC_SECG_P256K1", "SIGN_VERIFY"), ("ECC_NIST_EDWARDS25519", "SIGN_VERIFY"),
        ("ML_DSA_44", "SIGN_VERIFY"), ("ML_KEM_512", "ENCAPSULATE_DECAPSULATE"),
    ):
        made = cli.json("key", "create", "--spec", spec)
        assert (made["key_spec"], made["key_usage"]) == (spec.upper(), usage)
    for spec in ("RSA_2048", "ECC_NIST_P256"):
        refused = cli("key", "create", "--spec", spec)
        assert (refused.code, "say which with --usage" in refused.err) == (2, True)
    assert cli("key", "create", "--spec", "AES_256").code == 2
    assert cli("key", "create", "--spec", "RSA_2048", "--usage", "SIGN").code == 2
    assert cli("key", "create", "--origin", "AWS").code == 2
    assert cli("key", "create", "--spec", "SM2", "--usage", "SIGN_VERIFY").code == 1
    assert cli("key", "create", "--spec", "RSA_2048", "--usage", "key_agreement").code == 1
    made = cli.json("key", "create", "--multi-region", "--origin", "EXTERNAL")
    assert made["key_id"].startswith("mrk-")
    assert (made["multi_region"], made["origin"], made["key_state"]) == (True, "EXTERNAL", "PendingImport")
