"""Attested recipients over TLS: the client passes them through, the configuration says whom to believe, and
docs/attestation.md works as it is written."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from google.protobuf.message import Message
from tests.support.attestations import Hypervisor, put
from tests.support.commandline import PROGRAM as CLIENT
from tests.support.inprocess import REGION
from tests.support.operated import PATIENCE, OperatedServer, environment
from tests.support.recipients import flipped, hypervisor_of, opened
from tests.support.whole_server import WholeServer

from kagitori.kms.v1 import batch_pb2, cryptography_pb2, keys_pb2, resources_pb2
from kagitori_client import BearerToken, Connection, KmsClient, ServiceError, parse_endpoint
from kagitori_server.attestation import AWS_NITRO_ROOT_PEM
from kagitori_server.config import ConfigurationError

ROOT = Path(__file__).parents[2]
PROGRAM = "kagitori-server --data-dir data --set attestation.roots_file=attested/root.pem\n"


@pytest.fixture(scope="module")
def hypervisor() -> Hypervisor:
    return hypervisor_of(time.time())


def _settings(roots: Path | None) -> dict[str, dict[str, Any]]:
    attestation = {"max_age_seconds": 120.0} if roots is None else {"roots_file": str(roots), "max_age_seconds": 120.0}
    return {
        "listen": {"grpc": "127.0.0.1:0"}, "service": {"region": REGION}, "log": {"level": "error"},
        "attestation": attestation,
    }


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory, hypervisor: Hypervisor) -> Iterator[KmsClient]:
    folder = tmp_path_factory.mktemp("whole")
    roots = folder / "roots.pem"
    # Roots may be several: the tests' own beside that of AWS.
    roots.write_bytes(AWS_NITRO_ROOT_PEM + hypervisor.root.certificate.public_bytes(Encoding.PEM))
    with WholeServer(folder / "data", _settings(roots)) as server, _client(server) as opened_client:
        yield opened_client


def _client(server: WholeServer) -> KmsClient:
    endpoint = parse_endpoint(f"https://{server.addresses.grpc}")
    return KmsClient(Connection(endpoint, roots=server.authority, token=BearerToken(server.root_token)))


def _recipient(hypervisor: Hypervisor, *, age: float = 0.0) -> resources_pb2.RecipientInfo:
    return _shown(hypervisor.document(put(timestamp=int((time.time() - age) * 1000))))


def _shown(document: bytes) -> resources_pb2.RecipientInfo:
    return resources_pb2.RecipientInfo(
        key_encryption_algorithm=resources_pb2.KEY_ENCRYPTION_MECHANISM_RSAES_OAEP_SHA_256,
        attestation_document=document,
    )


def _only_for_the_recipient(answer: Message, secret: str) -> bytes:
    assert not answer.HasField(secret)
    envelope: bytes = answer.ciphertext_for_recipient  # type: ignore[attr-defined]  # of whichever message it is
    return opened(envelope)


def test_every_operation_with_a_recipient(client: KmsClient, hypervisor: Hypervisor) -> None:
    """What is absent from the answer is absent from the message, not an empty text."""
    recipient = _recipient(hypervisor)
    key = client.keys.CreateKey(keys_pb2.CreateKeyRequest()).key_metadata.key_id
    data_key = client.crypto.GenerateDataKey(
        cryptography_pb2.GenerateDataKeyRequest(key_id=key, number_of_bytes=48, recipient=recipient)
    )
    assert not data_key.HasField("key_material_id")
    plaintext = _only_for_the_recipient(data_key, "plaintext")
    decrypted = client.crypto.Decrypt(
        cryptography_pb2.DecryptRequest(ciphertext_blob=data_key.ciphertext_blob, recipient=recipient)
    )
    assert _only_for_the_recipient(decrypted, "plaintext") == plaintext
    assert len(plaintext) == 48
    random = client.crypto.GenerateRandom(
        cryptography_pb2.GenerateRandomRequest(number_of_bytes=1_024, recipient=recipient)
    )
    assert len(_only_for_the_recipient(random, "plaintext")) == 1_024
    pair = client.crypto.GenerateDataKeyPair(
        cryptography_pb2.GenerateDataKeyPairRequest(
            key_id=key, key_pair_spec=resources_pb2.DATA_KEY_PAIR_SPEC_ECC_NIST_P384, recipient=recipient
        )
    )
    private = _only_for_the_recipient(pair, "private_key_plaintext")
    sealed = cryptography_pb2.DecryptRequest(ciphertext_blob=pair.private_key_ciphertext_blob)
    assert client.crypto.Decrypt(sealed).plaintext == private
    agreement = client.keys.CreateKey(
        keys_pb2.CreateKeyRequest(
            key_spec=resources_pb2.KEY_SPEC_ECC_NIST_P256, key_usage=resources_pb2.KEY_USAGE_KEY_AGREEMENT
        )
    ).key_metadata.key_id
    peer = ec.generate_private_key(ec.SECP256R1()).public_key()
    request = cryptography_pb2.DeriveSharedSecretRequest(
        key_id=agreement, key_agreement_algorithm=resources_pb2.KEY_AGREEMENT_ALGORITHM_ECDH,
        public_key=peer.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
    )
    clear = client.crypto.DeriveSharedSecret(request).shared_secret
    request.recipient.CopyFrom(recipient)
    assert _only_for_the_recipient(client.crypto.DeriveSharedSecret(request), "shared_secret") == clear
    items = [sealed, cryptography_pb2.DecryptRequest(
        ciphertext_blob=pair.private_key_ciphertext_blob, recipient=recipient
    )]
    first, second = client.crypto.BatchDecrypt(batch_pb2.BatchDecryptRequest(items=items)).outcomes
    assert first.response.plaintext == _only_for_the_recipient(second.response, "plaintext") == private


def test_refusals_reach_the_client(client: KmsClient, hypervisor: Hypervisor) -> None:
    """With AWS's name, the member that was wrong, and the configured age."""
    for bad, why in (
        (_shown(b"document"), "malformed"),
        (_recipient(hypervisor_of(time.time())), "trusted root"),
        (_recipient(hypervisor, age=121), "too old"),
        (_shown(flipped(hypervisor.document())), "signature"),
        (resources_pb2.RecipientInfo(), "AttestationDocument"),
    ):
        request = cryptography_pb2.GenerateRandomRequest(number_of_bytes=16, recipient=bad)
        with pytest.raises(ServiceError) as caught:
            client.crypto.GenerateRandom(request)
        assert caught.value.code == "ValidationException"
        assert why in str(caught.value)
        assert [violation.field for violation in caught.value.violations] == ["recipient.attestation_document"]
        status: Any = caught.value.__cause__
        assert status is None or status.code() is grpc.StatusCode.INVALID_ARGUMENT
    request = cryptography_pb2.GenerateRandomRequest(number_of_bytes=16, recipient=_recipient(hypervisor, age=110))
    assert client.crypto.GenerateRandom(request).ciphertext_for_recipient


def test_by_default_only_awss_root_is_believed(tmp_path: Path, hypervisor: Hypervisor) -> None:
    with WholeServer(tmp_path / "data", _settings(None)) as server, _client(server) as client:
        request = cryptography_pb2.GenerateRandomRequest(number_of_bytes=16, recipient=_recipient(hypervisor))
        with pytest.raises(ServiceError, match="trusted root"):
            client.crypto.GenerateRandom(request)


@pytest.mark.parametrize("content", [None, b"", b"junk", b"-----BEGIN CERTIFICATE-----\njunk\n"])
def test_without_roots_the_server_does_not_start(tmp_path: Path, content: bytes | None) -> None:
    roots = tmp_path / "roots.pem"
    if content is not None:
        roots.write_bytes(content)
    with pytest.raises(ConfigurationError, match=re.escape(str(roots))):
        WholeServer(tmp_path / "data", _settings(roots)).__enter__()


def test_the_guide_works_as_written(tmp_path: Path) -> None:
    """Its blocks, in a folder that looks like a checkout; the server is started as it says."""
    prepare, start, *blocks = re.findall(
        r"^```sh\n(.*?)^```", (ROOT / "docs" / "attestation.md").read_text(), re.DOTALL | re.MULTILINE
    )
    assert start == PROGRAM
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    for name, command in (("kagitori", CLIENT), ("python", (sys.executable,))):
        program = tmp_path / "bin" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text(f'#!/bin/sh\nexec {shlex.join(command)} "$@"\n')
        program.chmod(0o700)
    given = environment(HOME=str(tmp_path / "home"))
    given["PATH"] = f"{tmp_path / 'bin'}:{given['PATH']}"

    def typed(text: str, **more: str) -> str:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", text], cwd=tmp_path, env={**given, **more},
            capture_output=True, text=True, timeout=2 * PATIENCE, check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    typed(prepare)
    flag, setting = shlex.split(start)[-2:]
    setting = setting.replace("attested", str(tmp_path / "attested"))
    with OperatedServer(tmp_path / "data", flag, setting, "--log-level", "warning") as server:
        said = typed(
            "\n".join(blocks), KAGITORI_ENDPOINT=f"https://{server.addresses['grpc']}",
            KAGITORI_CA_FILE=str(server.data / "tls" / "ca.crt"),
            KAGITORI_TOKEN_FILE=str(server.data / "credentials" / "root.token"),
        )
        assert server.terminate() == 0
        assert server.log == ""
    assert "the same data key" in said
    assert said.rindex("EXPLICIT_DENY") < said.rindex("ALLOWED")
    for name in ("root.key", "recipient.key"):
        assert (tmp_path / "attested" / name).stat().st_mode & 0o777 == 0o600
