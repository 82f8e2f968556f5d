"""`kagitori key import`, `rotate`, `replicate` against a real server: from a key file to its use, and wrong usage."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.commandline import CommandLine
from tests.support.devserver import DevServer
from tests.support.imports import material_of
from tests.support.ml_kem_512 import (
    EXPANDED_BYTES,
    both_form,
    encrypted,
    expanded_form,
    pem,
    seed_form,
    spki_of,
)
from tests.support.whole_server import WholeServer

AES = bytes(range(32))


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, devserver: DevServer, tmp_path: Path) -> Iterator[CommandLine]:
    os.umask(0o077)
    yield CommandLine(monkeypatch, devserver.environment(), tmp_path)
    os.umask(0o022)


def _external(cli: CommandLine, *more: str) -> str:
    arn = cli.json("key", "create", "--origin", "EXTERNAL", *more)["arn"]
    assert isinstance(arn, str)
    return arn


def _state(cli: CommandLine, key: str, *more: str) -> str:
    state = cli.json("key", "show", key, *more)["key_state"]
    assert isinstance(state, str)
    return state


def test_a_symmetric_key_from_a_file(cli: CommandLine) -> None:
    """Imported, used, deleted, imported again; with an end; nothing of it in what is printed."""
    key = _external(cli, "--alias", "alias/mine")
    (cli.folder / "key.bin").write_bytes(AES)
    (cli.folder / "in").write_bytes(b"attack at dawn")
    imported = cli.done("--output", "json", "key", "import", "alias/mine", "--material", "key.bin")
    assert (imported.json["key_id"], len(imported.json["key_material_id"]), imported.err) == (key, 64, "")
    cli.done("encrypt", "--key", key, "in", "sealed")
    assert "PendingImport" not in cli.done("key", "show", key).text
    gone = cli.json("key", "delete-material", key, "--yes")
    assert gone == imported.json
    assert _state(cli, key) == "PendingImport"
    assert cli("decrypt", "--key", key, "sealed", "out").code == 1
    cli.done(
        "key", "import", key, "--material", "-", "--form", "raw", "--expires", "30d", "--algorithm",
        "rsaes_oaep_sha_256", "--wrapping-key", "rsa_2048", "--material-id", gone["key_material_id"], stdin=AES,
    )
    shown = cli.json("key", "show", key)
    assert (shown["key_state"], shown["expiration_model"]) == ("Enabled", "KEY_MATERIAL_EXPIRES")
    assert shown["valid_to"] > shown["creation_date"]
    cli.done("decrypt", "--key", key, "sealed", "out")
    assert (cli.folder / "out").read_bytes() == b"attack at dawn"


def _openssl(folder: Path, *arguments: str) -> bytes:
    ended = subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True, timeout=60)
    return ended.stdout


@pytest.mark.parametrize(("spec", "usage", "made"), [
    ("RSA_2048", "SIGN_VERIFY", ("genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048")),
    ("ECC_NIST_P521", "SIGN_VERIFY", ("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-521")),
    ("ECC_NIST_EDWARDS25519", "SIGN_VERIFY", ("genpkey", "-algorithm", "ED25519")),
    ("ECC_NIST_P256", "SIGN_VERIFY", (
        "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-aes256", "-pass", "file:words"
    )),
    ("HMAC_512", "GENERATE_VERIFY_MAC", ("rand", "64")),
])
def test_keys_that_openssl_made(cli: CommandLine, spec: str, usage: str, made: tuple[str, ...]) -> None:
    """The service has the same key: its public half is the file's."""
    (cli.folder / "words").write_text("correct horse\n")
    content = _openssl(cli.folder, *made)
    (cli.folder / "key").write_bytes(content)
    secret = ("--passphrase-file", "words") if b"ENCRYPTED" in content else ()
    key = _external(cli, "--spec", spec, "--usage", usage)
    answer = cli.json("key", "import", key, "--material", "key", *secret)
    assert answer == {"key_id": key, "key_material_id": None}
    assert _state(cli, key) == "Enabled"
    if not spec.startswith("HMAC"):
        public = _openssl(cli.folder, "pkey", "-in", "key", "-pubout", "-passin", "file:words")
        assert cli.done("public-key", key).out == public


def test_a_key_of_ml_kem_512(cli: CommandLine) -> None:
    """From PEM and DER with the seed; only the same key comes back. Other forms don't leave the machine."""
    key, seed = _external(cli, "--spec", "ML_KEM_512"), bytes(range(64))
    files = {
        "key.pem": pem(seed_form(seed)), "key.der": seed_form(seed), "other": pem(seed_form(bytes(64))),
        "both": pem(both_form(seed, bytes(EXPANDED_BYTES))), "expanded": expanded_form(bytes(EXPANDED_BYTES)),
        "sealed": pem(encrypted(seed_form(seed), b"correct horse"), "ENCRYPTED PRIVATE KEY"), "words": b"correct horse",
    }
    for name, content in files.items():
        (cli.folder / name).write_bytes(content)
    for name in ("both", "expanded"):
        refused = cli("key", "import", key, "--material", name)
        assert (refused.code, "output_formats=seed-only" in refused.err) == (2, True)
    assert cli("key", "import", key, "--material", "sealed", "--passphrase-file", "words").code == 2
    assert _state(cli, key) == "PendingImport"
    for name in ("key.pem", "key.der"):
        cli.done("key", "import", key, "--material", name)
        assert _state(cli, key) == "Enabled"
        assert cli.done("public-key", key, "--format", "der").out == spki_of(seed_form(seed))
        cli.done("key", "delete-material", key, "--yes")
    assert cli("key", "import", key, "--material", "other").code == 1
    assert _state(cli, key) == "PendingImport"


@pytest.mark.parametrize(("algorithm", "form"), [("RSAES_OAEP_SHA_256", "pem"), ("RSAES_OAEP_SHA_1", "der")])
def test_material_that_was_wrapped_elsewhere(cli: CommandLine, algorithm: str, form: str) -> None:
    """By openssl, as an HSM or a machine without network does it; token and public key are files."""
    key = _external(cli)
    given = cli.json(
        "key", "import-parameters", key, "--public-key-out", "wrap", "--token-out", "token", "--algorithm", algorithm,
        "--form", form,
    )
    assert (given["key_id"], given["public_key_out"], given["token_out"]) == (key, "wrap", "token")
    assert {(cli.folder / name).stat().st_mode & 0o777 for name in ("wrap", "token")} == {0o600}
    assert cli("key", "import-parameters", key, "--public-key-out", "wrap", "--token-out", "new").code == 2
    assert cli("key", "import-parameters", key, "--public-key-out", "a", "--token-out", "a").code == 2
    (cli.folder / "key.bin").write_bytes(AES)
    digest = "sha256" if algorithm.endswith("256") else "sha1"
    _openssl(
        cli.folder, "pkeyutl", "-encrypt", "-in", "key.bin", "-out", "wrapped", "-pubin", "-inkey", "wrap", "-keyform",
        form.upper(), "-pkeyopt", "rsa_padding_mode:oaep", "-pkeyopt", f"rsa_oaep_md:{digest}", "-pkeyopt",
        f"rsa_mgf1_md:{digest}",
    )
    imported = cli.json("key", "import", key, "--wrapped", "wrapped", "--token", "token", "--expires", "1d")
    assert imported == cli.json("key", "import", key, "--material", "key.bin")
    other = _external(cli)
    refused = cli("key", "import", other, "--wrapped", "wrapped", "--token", "token")
    assert (refused.code, "InvalidImportTokenException" in refused.err) == (1, True)
    (cli.folder / "wrapped").write_bytes(b"x")
    refused = cli("key", "import", key, "--wrapped", "wrapped", "--token", "token")
    assert (refused.code, refused.err.startswith("error: InvalidCiphertextException: ")) == (4, True)


def test_others_who_may_read_the_file(cli: CommandLine) -> None:
    """A warning; the import goes on."""
    key = _external(cli)
    (cli.folder / "key.bin").write_bytes(AES)
    (cli.folder / "key.bin").chmod(0o644)
    told = cli.done("key", "import", key, "--material", "key.bin").err
    assert told == "warning: others may read the key material in key.bin (mode 0644): chmod 600 it\n"


def test_rotation(cli: CommandLine) -> None:
    """On a schedule, on demand, and with imported material."""
    key = cli.json("key", "create", "--alias", "alias/rotating")["arn"]
    cli.done("key", "rotation", "enable", "alias/rotating", "--days", "180")
    status = cli.json("key", "rotation", "status", key)
    assert (status["key_rotation_enabled"], status["rotation_period_in_days"]) == (True, 180)
    cli.done("key", "rotation", "disable", key)
    assert cli.json("key", "rotation", "status", key)["key_rotation_enabled"] is False
    cli.done("key", "rotate", "alias/rotating")
    assert [entry["rotation_type"] for entry in cli.json("key", "rotations", key)["rotations"]] == [None, "ON_DEMAND"]
    mine = _external(cli)
    (cli.folder / "one").write_bytes(AES)
    (cli.folder / "two").write_bytes(bytes(32))
    cli.done("key", "import", mine, "--material", "one", "--description", "the first")
    refused = cli("key", "import", mine, "--material", "two")
    assert refused.code == 1
    assert refused.err.startswith("error: IncorrectKeyMaterialException: ")
    assert "other material with --new" in refused.err
    cli.done("key", "import", mine, "--material", "two", "--new")
    assert "PENDING_ROTATION" in cli.done("key", "rotations", mine).text
    cli.done("key", "rotate", mine)
    found = cli.json("key", "rotations", mine)["rotations"]
    assert [(entry["key_material_state"], entry["key_material_description"]) for entry in found] == [
        ("NON_CURRENT", "the first"), ("CURRENT", None)
    ]
    cli.done("key", "delete-material", mine, found[0]["key_material_id"], "--yes")
    assert _state(cli, mine) == "PendingImport"


@pytest.fixture
def two_regions(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[CommandLine]:
    """The command line of a server of its own, which serves two Regions and looks for what is due all the time."""
    settings: dict[str, dict[str, Any]] = {
        "listen": {"grpc": "localhost:0"}, "service": {"regions": ["us-east-1", "eu-west-1"]},
        "limits": {"deletion_check_seconds": 0.2}, "log": {"level": "error"},
    }
    data = tmp_path / "data"
    with WholeServer(data, settings) as server:
        yield CommandLine(monkeypatch, {
            "KAGITORI_ENDPOINT": f"https://{server.addresses.grpc}", "KAGITORI_CA_FILE": str(data / "tls" / "ca.crt"),
            "KAGITORI_TOKEN_FILE": str(data / "credentials" / "root.token"), "KAGITORI_REGION": "us-east-1",
        }, tmp_path)


def test_families(two_regions: CommandLine) -> None:
    """A key of one Region comes to another, waits there for its material, and becomes the primary."""
    cli, there = two_regions, ("--region", "eu-west-1")
    key = _external(cli, "--multi-region")
    importing = ("key", "import", key.rpartition("/")[2], "--material", "-")
    cli.done(*importing, stdin=AES)
    replica = cli.json("key", "replicate", key, "eu-west-1", "--tag", "a=b", "--description", "there")
    assert (replica["arn"], replica["description"]) == (key.replace("us-east-1", "eu-west-1"), "there")
    assert _state(cli, replica["arn"], *there) == "PendingImport"
    cli.done(*importing, *there, stdin=AES)
    assert _state(cli, replica["arn"], *there) == "Enabled"
    cli.done("key", "set-primary", key, "eu-west-1")
    told = cli.json("key", "show", key)["multi_region_configuration"]
    assert (told["multi_region_key_type"], told["primary_key"]["region"]) == ("REPLICA", "eu-west-1")
    refused = cli("key", "replicate", key, "eu-west-1")
    assert (refused.code, "UnsupportedOperationException" in refused.err) == (1, True)


def test_a_running_server_deletes_what_has_expired(two_regions: CommandLine) -> None:
    """By its own clock, with a record."""
    key = _external(two_regions)
    two_regions.done("key", "import", key, "--material", "-", "--expires", "3s", stdin=AES)
    assert _state(two_regions, key) == "Enabled"
    deadline = time.monotonic() + 20
    search = ("audit", "tail", "--filter", "event-name=DeleteExpiredKeyMaterial")
    while not (told := two_regions.done(*search).text):
        assert time.monotonic() < deadline
        time.sleep(0.3)
    assert told.count("DeleteExpiredKeyMaterial") == 1
    assert key.rpartition("/")[2] in told
    assert _state(two_regions, key) == "PendingImport"


@pytest.mark.parametrize(("arguments", "said"), [
    (("import", "KEY"), "give --material FILE"),
    (("import", "KEY", "--wrapped", "key"), "give --material FILE"),
    (("import", "KEY", "--token", "key"), "give --material FILE"),
    (("import", "KEY", "--material", "key", "--wrapped", "key", "--token", "key"), "give --material FILE"),
    (("import", "KEY", "--wrapped", "key", "--token", "key", "--form", "raw"), "are for --material"),
    (("import", "KEY", "--wrapped", "empty", "--token", "key"), "empty is empty: that is no wrapped key material"),
    (("import-parameters", "KEY", "--token-out", "t"), "--public-key-out"),
    (("import", "KEY", "--material", "missing"), "missing"),
    (("import", "KEY", "--material", "empty"), "empty is empty: that is no key material"),
    (("import", "KEY", "--material", "short"), "no private key in PEM or DER"),
    (("import", "KEY", "--material", "hexadecimal"), "looks like 32 bytes in hexadecimal"),
    (("import", "KEY", "--material", "key", "--algorithm", "RSAES_PKCS1_V1_5"), "--algorithm can't be"),
    (("import", "KEY", "--material", "key", "--wrapping-key", "RSA_1024"), "--wrapping-key can't be"),
    (("import", "KEY", "--material", "key", "--form", "jwk"), "--form can't be"),
    (("import", "KEY", "--material", "key", "--expires", "soon"), "is no duration"),
    (("import", "KEY", "--material", "-", "--passphrase-file", "-"), "only one"),
    (("delete-material", "KEY"), "wants a confirmation"),
    (("rotation", "enable", "KEY", "--days", "30"), "90"),
    (("rotate",), "KEY"),
    (("replicate", "KEY"), "REGION"),
    (("set-primary", "KEY"), "REGION"),
])
def test_wrong_usage(cli: CommandLine, arguments: tuple[str, ...], said: str) -> None:
    """Told before anything is sent."""
    for name, content in (
        ("empty", b""), ("short", b"x"), ("hexadecimal", AES.hex().encode() + b"\n"), ("key", AES)
    ):
        (cli.folder / name).write_bytes(content)
    key = "arn:aws:kms:us-east-1:000000000000:key/00000000-0000-4000-8000-000000000000"
    ended = cli("key", *(key if word == "KEY" else word for word in arguments))
    assert ended.code == 2
    assert said in ended.err


def test_material_of_another_kind(cli: CommandLine) -> None:
    """The service says so; the command says of what kind the file is."""
    key = _external(cli, "--spec", "RSA_2048", "--usage", "ENCRYPT_DECRYPT")
    (cli.folder / "key").write_bytes(material_of("ECC_NIST_P256"))
    refused = cli("key", "import", key, "--material", "key")
    assert refused.code == 1
    assert "the file can be the material of a key of spec ECC_NIST_P256" in refused.err
    own = cli.json("key", "create")["arn"]
    assert "UnsupportedOperationException" in cli("key", "import", own, "--material", "key").err
