"""Software that people already own, unchanged but for endpoint and credentials, against the service over TLS."""

from __future__ import annotations

import base64
import json
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from tests.support.aws_server import AwsServer, aws_server
from tests.support.devserver import running_server
from tests.support.peers import peers, program, run_program, run_script

PATIENCE = 60.0
_ENCRYPTION_SDK_BYTES = 100 * 1024 * 1024


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AwsServer]:
    """One for all of this module."""
    with aws_server(tmp_path_factory.mktemp("aws")) as running:
        yield running


@pytest.fixture(scope="module")
def environment(server: AwsServer, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What somebody sets who uses it instead of AWS."""
    return {**server.environment, "HOME": str(tmp_path_factory.mktemp("home"))}


def _aws(environment: Mapping[str, str], *arguments: str, status: int = 0) -> Any:
    done = run_program(
        [program("aws"), "--output", "json", "kms", *arguments], environment, status=status
    )
    return json.loads(done.stdout) if status == 0 and done.stdout.strip() else done.stderr.decode()


def _key(environment: Mapping[str, str]) -> str:
    """The ARN of a fresh symmetric key."""
    arn: str = _aws(environment, "create-key")["KeyMetadata"]["Arn"]
    return arn


def _seen(done: subprocess.CompletedProcess[bytes]) -> Any:
    return json.loads(done.stdout.splitlines()[-1])


def test_aws_cli(environment: dict[str, str], tmp_path: Path) -> None:
    key = _key(environment)
    _aws(environment, "create-alias", "--alias-name", "alias/of-the-cli", "--target-key-id", key)
    plain, sealed, opened = tmp_path / "plain", tmp_path / "sealed", tmp_path / "opened"
    plain.write_bytes(b"\x00secret\xff")
    bound = ["--encryption-context", "tenant=t1"]
    answer = _aws(environment, "encrypt", "--key-id", "alias/of-the-cli", "--plaintext", f"fileb://{plain}", *bound)
    sealed.write_bytes(base64.b64decode(answer["CiphertextBlob"]))
    answer = _aws(environment, "decrypt", "--ciphertext-blob", f"fileb://{sealed}", *bound)
    opened.write_bytes(base64.b64decode(answer["Plaintext"]))
    assert opened.read_bytes() == plain.read_bytes()
    assert answer["KeyId"] == key
    listed = _aws(environment, "list-aliases", "--page-size", "1")["Aliases"]
    assert "alias/of-the-cli" in [each["AliasName"] for each in listed]
    message = _aws(environment, "decrypt", "--ciphertext-blob", f"fileb://{sealed}", status=255)
    assert "(InvalidCiphertextException) when calling the Decrypt operation" in message
    _aws(environment, "disable-key", "--key-id", key)
    message = _aws(environment, "decrypt", "--ciphertext-blob", f"fileb://{sealed}", *bound, status=255)
    assert f"(DisabledException) when calling the Decrypt operation: {key} is disabled." in message


def test_aws_cli_with_a_wrong_secret(environment: dict[str, str]) -> None:
    wrong = {**environment, "AWS_SECRET_ACCESS_KEY": "x" * 40}
    message = _aws(wrong, "list-keys", status=255)
    assert "(InvalidSignatureException) when calling the ListKeys operation" in message


def test_javascript_sdk(environment: dict[str, str]) -> None:
    seen = _seen(run_script("javascript.cjs", {**environment, "NODE_EXTRA_CA_CERTS": environment["AWS_CA_BUNDLE"]}))
    arn = seen.pop("disabled")
    assert arn[0] is True
    assert arn[1].endswith(" is disabled.")
    assert seen == {
        "opened": "secret", "openedBy": True, "created": True, "dataKeyBytes": 64, "valid": True,
        "validOutside": True, "listed": True, "missing": [True, 400], "altered": [True, 400], "requestId": True,
    }


def test_encryption_sdk_with_a_large_file(environment: dict[str, str], tmp_path: Path) -> None:
    size = _ENCRYPTION_SDK_BYTES
    done = run_script("encryption_sdk.py", environment, str(tmp_path), _key(environment), str(size))
    assert _seen(done) == {"equal": True, "bound": "backup", "refused": True, "bytes": size}
    for file in tmp_path.iterdir():
        file.unlink()


def test_encryption_cli(environment: dict[str, str], tmp_path: Path) -> None:
    plain, sealed, opened = tmp_path / "plain", tmp_path / "sealed", tmp_path / "opened"
    plain.write_bytes(b"secret" * 10_000)
    command = [program("aws-encryption-cli", "encryption-cli"), "--suppress-metadata"]
    key = ["--wrapping-keys", f"key={_key(environment)}"]
    bound = ["--encryption-context", "purpose=backup"]
    run_program([*command, "--encrypt", *key, *bound, "-i", str(plain), "-o", str(sealed)], environment)
    run_program([*command, "--decrypt", *key, *bound, "-i", str(sealed), "-o", str(opened)], environment)
    assert opened.read_bytes() == plain.read_bytes()
    assert b"secret" not in sealed.read_bytes()
    other = ["--wrapping-keys", f"key={_key(environment)}"]
    run_program([*command, "--decrypt", *other, "-i", str(sealed), "-o", str(tmp_path / "no")], environment, status=1)


def test_tink(environment: dict[str, str]) -> None:
    seen = _seen(run_script("tink_aead.py", environment, _key(environment)))
    assert seen == {"opened": "secret", "refused": True, "keyset": "local"}


def test_parquet(environment: dict[str, str], tmp_path: Path) -> None:
    key = _key(environment).rpartition("/")[2]
    seen = _seen(run_script("parquet.py", environment, str(tmp_path / "table.parquet"), key))
    assert seen == {"equal": True, "magic": "PARE", "marked": False, "wrap": 1, "unwrap": 1}


def test_mongo_fields(server: AwsServer, environment: dict[str, str]) -> None:
    seen = _seen(run_script("mongo_fields.py", environment, server.address, _key(environment)))
    assert seen["opened"] == "secret"
    assert seen["marked"] is False
    assert "InvalidCiphertextException" in seen["refused"]


def test_sops(environment: dict[str, str], tmp_path: Path) -> None:
    key = _key(environment)
    document = tmp_path / "plain.yaml"
    document.write_text("password: secret-of-sops\n")
    sops = [program("sops")]
    bound = ["--encryption-context", "team:a"]
    sealed = run_program([*sops, "encrypt", "--kms", key, *bound, str(document)], environment).stdout
    assert b"secret-of-sops" not in sealed
    file = tmp_path / "sealed.yaml"
    file.write_bytes(sealed)
    assert run_program([*sops, "decrypt", str(file)], environment).stdout == document.read_bytes()
    file.write_bytes(sealed.replace(b"team: a", b"team: b"))
    assert b"InvalidCiphertextException" in run_program([*sops, "decrypt", str(file)], environment, status=128).stderr


def test_sops_files_move_from_aws(tmp_path: Path) -> None:
    """As docs/migration.md says, with another instance in the part of AWS."""
    home = tmp_path / ".aws"
    home.mkdir()
    config, credentials, keys = "", "", {}
    document, file = tmp_path / "plain.yaml", tmp_path / "sealed.yaml"
    document.write_text("password: secret-of-sops\n")
    sops, environment = [program("sops")], {"HOME": str(tmp_path)}
    listening = ["--aws-listen", "127.0.0.1:0"]
    with running_server(listening) as here:
        with running_server([*listening, "--account", "111122223333"]) as aws:
            for name, server in (("prod", aws), ("here", here)):
                given = server.variables
                keys[name] = _key(given)
                config += f"[profile {name}]\nregion = us-east-1\nservices = {name}\n[services {name}]\n"
                config += f"kms =\n  endpoint_url = {given['AWS_ENDPOINT_URL_KMS']}\n"
                credentials += f"[{name}]\naws_access_key_id = {given['AWS_ACCESS_KEY_ID']}\n"
                credentials += f"aws_secret_access_key = {given['AWS_SECRET_ACCESS_KEY']}\n"
            (home / "config").write_text(config)
            (home / "credentials").write_text(credentials)
            by_aws = [*sops, "encrypt", "--kms", keys["prod"], "--aws-profile", "prod", str(document)]
            file.write_bytes(run_program(by_aws, environment).stdout)
            rules = f"creation_rules:\n  - kms: {keys['here']}\n    aws_profile: here\n"
            (tmp_path / ".sops.yaml").write_text(rules)
            run_program([*sops, "updatekeys", "--yes", str(file)], environment, folder=tmp_path)
        assert run_program([*sops, "decrypt", str(file)], environment).stdout == document.read_bytes()


def test_items_and_objects(environment: dict[str, str]) -> None:
    with _store() as url:
        seen = _seen(run_script("stored_items.py", environment, url, _key(environment)))
    assert seen == {"item": "PLAINTEXT-MARK", "itemMarked": False, "object": True, "objectMarked": False}


def test_ansible(environment: dict[str, str], tmp_path: Path) -> None:
    playbook = tmp_path / "play.yml"
    playbook.write_text(
        "- hosts: localhost\n"
        "  gather_facts: false\n"
        "  tasks:\n"
        "    - amazon.aws.kms_key:\n"
        "        alias: of-ansible\n"
        "        description: made by a playbook\n"
        "        enable_key_rotation: true\n"
        "        tags: {team: a}\n"
    )
    given = {
        **environment, "ANSIBLE_COLLECTIONS_PATH": str(peers() / "collections"), "ANSIBLE_LOCALHOST_WARNING": "false",
    }
    command = [
        program("ansible-playbook"), "-i", "localhost,", "-c", "local",
        "-e", f"ansible_python_interpreter={program('python')}", str(playbook),
    ]
    assert b"changed=1" in run_program(command, given).stdout
    assert b"changed=0" in run_program(command, given).stdout
    key = _aws(environment, "describe-key", "--key-id", "alias/of-ansible")["KeyMetadata"]["KeyId"]
    assert _aws(environment, "get-key-rotation-status", "--key-id", key)["KeyRotationEnabled"] is True
    assert _aws(environment, "list-resource-tags", "--key-id", key)["Tags"] == [{"TagKey": "team", "TagValue": "a"}]


def test_openbao_unseals_itself(server: AwsServer, environment: dict[str, str], tmp_path: Path) -> None:
    key, port = _key(environment), _free_port()
    (tmp_path / "store").mkdir()
    configuration = tmp_path / "bao.hcl"
    configuration.write_text(
        f'storage "file" {{\n  path = "{tmp_path / "store"}"\n}}\n'
        f'listener "tcp" {{\n  address = "127.0.0.1:{port}"\n  tls_disable = true\n}}\n'
        f'seal "awskms" {{\n  kms_key_id = "{key}"\n  endpoint = "{server.environment["AWS_ENDPOINT_URL_KMS"]}"\n}}\n'
        f'api_addr = "http://127.0.0.1:{port}"\ndisable_mlock = true\n'
    )
    client = {**environment, "BAO_ADDR": f"http://127.0.0.1:{port}"}
    with _bao(configuration, client):
        made = run_program(
            [program("bao"), "operator", "init", "-format=json", "-recovery-shares=1", "-recovery-threshold=1"], client
        )
        client["BAO_TOKEN"] = json.loads(made.stdout)["root_token"]
        _until_unsealed(client)
    with _bao(configuration, client):
        _until_unsealed(client)
    # Without the key it stays sealed: the service is what opens it.
    _aws(environment, "disable-key", "--key-id", key)
    with _bao(configuration, client) as again:
        time.sleep(2)
        status = subprocess.run(
            [program("bao"), "status", "-format=json"], env=client, capture_output=True, check=False, timeout=PATIENCE
        )
        assert again.poll() is not None or json.loads(status.stdout)["sealed"] is True


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        port: int = found.getsockname()[1]
        return port


def _until_unsealed(client: Mapping[str, str]) -> None:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        status = subprocess.run(
            [program("bao"), "status", "-format=json"], env=client, capture_output=True, check=False, timeout=PATIENCE
        )
        with suppress(ValueError):
            if json.loads(status.stdout)["sealed"] is False:
                return
        time.sleep(0.2)
    pytest.fail(f"still sealed: {status.stdout.decode()}")


@contextmanager
def _running(
    command: list[str], environment: Mapping[str, str], port: int
) -> Iterator[subprocess.Popen[bytes]]:
    """A server of somebody else's, once it listens."""
    with subprocess.Popen(
        command, env={**environment}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        try:
            end = time.monotonic() + PATIENCE
            while process.poll() is None and time.monotonic() < end:
                with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                    break
                time.sleep(0.1)
            yield process
        finally:
            process.terminate()
            process.wait(PATIENCE)


@contextmanager
def _bao(configuration: Path, environment: Mapping[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    port = int(environment["BAO_ADDR"].rpartition(":")[2])
    with _running([program("bao"), "server", f"-config={configuration}"], environment, port) as process:
        yield process


@contextmanager
def _store() -> Iterator[str]:
    """A server that plays DynamoDB and S3; it knows nothing of keys."""
    port = _free_port()
    with _running([program("moto_server"), "-p", str(port)], {"PATH": str(peers() / "main" / "bin")}, port):
        yield f"http://127.0.0.1:{port}"
