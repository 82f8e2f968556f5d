"""public-key, data-key-pair, derive, encapsulate, decapsulate and --raw, against a real server and openssl."""

from __future__ import annotations

import hashlib
import os
import stat
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_private_key,
    load_der_public_key,
    load_pem_private_key,
    load_pem_public_key,
)
from tests.support.commandline import CommandLine
from tests.support.devserver import DevServer
from tests.support.ml_kem_512 import peer_of

OAEP = {"sha1": "RSAES_OAEP_SHA_1", "sha256": "RSAES_OAEP_SHA_256"}


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, devserver: DevServer, tmp_path: Path) -> CommandLine:
    return CommandLine(monkeypatch, devserver.environment(), tmp_path)


def new_key(cli: CommandLine, spec: str, usage: str) -> str:
    return str(cli.json("key", "create", "--spec", spec, "--usage", usage)["arn"])


def openssl(cli: CommandLine, *arguments: str) -> None:
    done = subprocess.run(["openssl", *arguments], cwd=cli.folder, capture_output=True, check=False, timeout=30)
    assert done.returncode == 0, done.stderr


def is_secret(cli: CommandLine, *names: str) -> bool:
    return all(stat.S_IMODE((cli.folder / name).stat().st_mode) == 0o600 for name in names)


@pytest.mark.parametrize("digest", OAEP)
def test_small_data_under_rsa(cli: CommandLine, digest: str) -> None:
    """What openssl encrypts with the public key is decrypted by name of key and algorithm alone, and ours returns."""
    key = new_key(cli, "RSA_2048", "ENCRYPT_DECRYPT")
    named = ("--raw", "--key", key, "--algorithm", OAEP[digest])
    cli.done("public-key", key, "-o", "public.pem")
    content = os.urandom(190)
    (cli.folder / "in").write_bytes(content)
    openssl(
        cli, "pkeyutl", "-encrypt", "-pubin", "-inkey", "public.pem", "-in", "in", "-out", "sealed",
        "-pkeyopt", "rsa_padding_mode:oaep", "-pkeyopt", f"rsa_oaep_md:{digest}",
    )
    assert cli.done("decrypt", *named, "sealed", "-").out == content
    cli.done("encrypt", *named, "in", "ours")
    assert len((cli.folder / "ours").read_bytes()) == 256
    cli.done("decrypt", *named, "ours", "out")
    assert (cli.folder / "out").read_bytes() == content
    assert is_secret(cli, "out")
    before = cli.files()
    (cli.folder / "sealed").write_bytes(os.urandom(256))
    refused = cli("decrypt", *named, "sealed", "new")
    assert (refused.code, refused.err.startswith("error: InvalidCiphertextException: ")) == (4, True)
    (cli.folder / "in").write_bytes(os.urandom(215))
    assert cli("encrypt", *named, "in", "new").code == 1
    for wrong in (
        ("decrypt", "--raw", "--key", key, "ours", "new"),
        ("decrypt", "--raw", "--algorithm", OAEP[digest], "ours", "new"),
        ("encrypt", "--raw", "--key", key, "--key", key, "in", "new"),
        ("encrypt", "--key", key, "--algorithm", OAEP[digest], "in", "new"),
        ("encrypt", *named, "in", "in", "--force"),
    ):
        assert cli(*wrong).code == 2, wrong
    assert cli.files() == before


def test_small_data_under_a_symmetric_key(cli: CommandLine) -> None:
    """Its ciphertexts name their key; the context has to be the same."""
    key = cli.json("key", "create")["arn"]
    (cli.folder / "in").write_bytes(b"x" * 4096)
    cli.done("encrypt", "--raw", "--key", key, "--context", "a=b", "in", "sealed")
    cli.done("decrypt", "--raw", "--context", "a=b", "sealed", "out")
    assert (cli.folder / "out").read_bytes() == b"x" * 4096
    assert cli("decrypt", "--raw", "sealed", "new").code == 4
    (cli.folder / "in").write_bytes(b"x" * 4097)
    assert cli("encrypt", "--raw", "--key", key, "in", "new").code == 2
    assert "new" not in cli.files()


@pytest.mark.parametrize("spec", ["RSA_2048", "ECC_NIST_P521", "ECC_SECG_P256K1", "ECC_NIST_EDWARDS25519"])
def test_pairs(cli: CommandLine, spec: str) -> None:
    """The private key belongs to the public one, and its encrypted copy opens to the same."""
    key = cli.json("key", "create")["arn"]
    cli.done(
        "data-key-pair", "--key", key, "--spec", spec, "--context", "device=1",
        "--public-out", "public.pem", "--private-out", "private.pem", "--ciphertext-out", "sealed",
    )
    private = load_pem_private_key((cli.folder / "private.pem").read_bytes(), None)
    public = load_pem_public_key((cli.folder / "public.pem").read_bytes())
    form = Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    assert private.public_key().public_bytes(*form) == public.public_bytes(*form)
    assert is_secret(cli, "private.pem", "sealed")
    opened = load_der_private_key(
        cli.done("decrypt", "--raw", "--context", "device=1", "sealed", "-").out, None
    )
    assert opened.public_key().public_bytes(*form) == public.public_bytes(*form)
    cli.done(
        "data-key-pair", "--key", key, "--spec", spec, "--without-plaintext", "--format", "der",
        "--public-out", "public.der", "--ciphertext-out", "sealed2",
    )
    load_der_public_key((cli.folder / "public.der").read_bytes())
    before = cli.files()
    files = ("--public-out", "a", "--ciphertext-out", "b")
    for wrong in (
        files, (*files, "--private-out", "c", "--without-plaintext"), (*files, "--private-out", "a"),
        (*files, "--private-out", "sealed"), ("--public-out", "a", "--ciphertext-out", "a", "--without-plaintext"),
    ):
        assert cli("data-key-pair", "--key", key, "--spec", spec, *wrong).code == 2, wrong
    assert cli("data-key-pair", "--key", key, "--spec", "DSA", *files, "--without-plaintext").code == 2
    assert cli.files() == before


@pytest.mark.parametrize(
    ("spec", "curve"),
    [("ECC_NIST_P256", ec.SECP256R1()), ("ECC_NIST_P384", ec.SECP384R1()), ("ECC_NIST_P521", ec.SECP521R1())],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_shared_secrets(cli: CommandLine, spec: str, curve: ec.EllipticCurve) -> None:
    """openssl derives the same secret from its side; the peer may be PEM or DER."""
    key = new_key(cli, spec, "KEY_AGREEMENT")
    cli.done("public-key", key, "-o", "ours.pem")
    openssl(cli, "ecparam", "-name", {"secp256r1": "prime256v1"}.get(curve.name, curve.name), "-genkey", "-noout",
            "-out", "theirs.key")
    openssl(cli, "pkey", "-in", "theirs.key", "-pubout", "-out", "theirs.pem")
    openssl(cli, "pkey", "-in", "theirs.key", "-pubout", "-outform", "DER", "-out", "theirs.der")
    openssl(cli, "pkeyutl", "-derive", "-inkey", "theirs.key", "-peerkey", "ours.pem", "-out", "secret")
    for peer in ("theirs.pem", "theirs.der"):
        cli.done("derive", "--key", key, "--peer", peer, "-o", "derived", "--force")
        assert (cli.folder / "derived").read_bytes() == (cli.folder / "secret").read_bytes()
        assert is_secret(cli, "derived")
    assert cli.done("derive", "--key", key, "--peer", "theirs.pem", "-o", "-").out == (
        cli.folder / "secret"
    ).read_bytes()
    assert cli("derive", "--key", key, "--peer", "theirs.pem").code == 2, "a secret is shown only where told"
    assert cli("derive", "--key", key, "--peer", "theirs.key", "-o", "new").code == 2
    other = ec.generate_private_key(ec.SECP256K1()).public_key()
    (cli.folder / "other.der").write_bytes(other.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))
    assert cli("derive", "--key", key, "--peer", "other.der", "-o", "new").code == 1
    assert "new" not in cli.files()


@pytest.mark.parametrize("spec", ["ML_KEM_512", "ML_KEM_768", "ML_KEM_1024"])
def test_encapsulation(cli: CommandLine, spec: str) -> None:
    """Secrets come out the same on both sides, whoever encapsulated."""
    key = new_key(cli, spec, "ENCAPSULATE_DECAPSULATE")
    cli.done("encapsulate", "--key", key, "--ciphertext-out", "sent", "--secret-out", "secret")
    cli.done("decapsulate", "--key", key, "sent", "-o", "found")
    assert (cli.folder / "found").read_bytes() == (cli.folder / "secret").read_bytes()
    assert is_secret(cli, "secret", "found")
    secret, ciphertext = peer_of(cli.done("public-key", key, "--format", "der").out).encapsulate()
    assert cli.done("decapsulate", "--key", key, "-", "-o", "-", stdin=ciphertext).out == secret
    altered = bytes([ciphertext[0] ^ 1]) + ciphertext[1:]
    assert cli.done("decapsulate", "--key", key, "-", "-o", "-", stdin=altered).out != secret
    assert cli("decapsulate", "--key", key, "-", "-o", "new", stdin=ciphertext[:-1]).code == 4
    assert cli("encapsulate", "--key", key, "--ciphertext-out", "a", "--secret-out", "a").code == 2
    assert cli.files() == {"sent", "secret", "found"}


def test_public_keys(cli: CommandLine) -> None:
    """PEM for people, DER on demand; keys without a public half are refused."""
    key = new_key(cli, "RSA_3072", "SIGN_VERIFY")
    pem = cli.done("public-key", key)
    der = cli.done("public-key", key, "--format", "der").out
    assert load_pem_public_key(pem.out) == load_der_public_key(der)
    assert all(len(line) <= 64 for line in pem.text.splitlines())
    assert cli.json("public-key", key)["signing_algorithms"][0] == "RSASSA_PKCS1_V1_5_SHA_256"
    cli.done("public-key", key, "-o", "file")
    assert (cli.folder / "file").read_bytes() == pem.out
    assert cli("public-key", key, "-o", "file").code == 2
    assert cli("public-key", cli.json("key", "create")["arn"]).code == 1


def test_secrets_stay_off_terminals_and_out_of_messages(cli: CommandLine) -> None:
    """A terminal is refused before the service makes the secret."""
    key = new_key(cli, "ML_KEM_768", "ENCAPSULATE_DECAPSULATE")
    cli.done("encapsulate", "--key", key, "--ciphertext-out", "sent", "--secret-out", "secret")
    master, slave = os.openpty()
    try:
        with cli.process(["decapsulate", "--key", key, "sent", "-o", "-"], stdout=slave, stderr=subprocess.PIPE) as run:
            assert run.stderr is not None
            said = run.stderr.read()
            assert run.wait(60) == 2
    finally:
        os.close(slave)
        os.close(master)
    assert b"terminal" in said
    shown = cli("--output", "json", "decapsulate", "--key", key, "sent", "-o", "again", "--debug")
    secret = (cli.folder / "secret").read_bytes()
    assert hashlib.sha256((cli.folder / "again").read_bytes()).digest() == hashlib.sha256(secret).digest()
    assert secret.hex() not in shown.text + shown.err
