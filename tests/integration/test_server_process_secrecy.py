"""Nothing that a caller keeps secret comes out anywhere but in answers: logs, audit trail, metrics, other files."""

from __future__ import annotations

import base64
import json
import re
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from tests.support.operated import OperatedServer, Stubs, bearer

from kagitori.kms.v1 import (
    batch_pb2,
    credentials_pb2,
    cryptography_pb2,
    identity_policies_pb2,
    keys_pb2,
    principals_pb2,
    resources_pb2,
)
from kagitori_server.transports.grpc.contract import DEV_SERVICE, SERVICES
from kagitori_server.transports.grpc.contract import path as path_of

FREE = "127.0.0.1:0"
PAYLOAD = b"MARKED-payload-\x00-that-nobody-may-see"
TOKEN = "kgt_" + "MARKEDtoken" * 3 + "0123456789"
KEY_SHAPED = "arn:aws:kms:us-east-1:000000000000:key/00000000-0000-4000-8000-00000000dead"
SECRET_NAMES = re.compile(r"password|secret|grant_token|credential|raw_|jwks")
MALFORMED_TOKEN = "MARKED-token-of-no-form-at-all"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OperatedServer]:
    """A server that logs everything it has to say."""
    arguments = ("--metrics-listen", FREE, "--grpc-plaintext-listen", FREE, "--log-level", "debug")
    with OperatedServer(tmp_path_factory.mktemp("secrecy") / "data", *arguments, anew=True) as operated:
        yield operated


def _forms(secret: bytes) -> set[bytes]:
    """The secret, and its hex and base64 at each alignment, without the ends that its surroundings change."""
    forms = {secret, secret.hex().encode(), secret.hex().upper().encode(), repr(secret)[2:-1].encode()}
    for shift in range(3):
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            forms.add(encode(b"\x00" * shift + secret)[4:-4])
    return forms


def _fetch(server: OperatedServer, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://{server.addresses['metrics']}{path}", timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def _try(call: Callable[..., object], request: Message, **options: object) -> bool:
    try:
        call(request, **options)
    except grpc.RpcError:
        return False
    return True


def _every_method(root: Stubs) -> None:
    """Every method of the contract, with something secret in every member that holds bytes, and in others that could.

    Most of it is refused; what operations do with secrets that they take is tested in the process
    (test_secrecy_of_operations.py).
    """
    for service in (*SERVICES, DEV_SERVICE):
        for method in service.methods:
            kind = GetMessageClass(method.input_type)
            call = root.channel.unary_stream if method.server_streaming else root.channel.unary_unary
            rpc: Callable[[Message], Any] = call(path_of(method), request_serializer=kind.SerializeToString)
            for text in ("", KEY_SHAPED):
                error = _refusal(rpc, _marked(kind(), text), streams=method.server_streaming)
                assert "StatusCode.INTERNAL" not in error, method.name
                for form in _forms(PAYLOAD) | _forms(TOKEN.encode()):
                    assert form not in error.encode(), method.name


def _refusal(rpc: Callable[[Message], Any], request: Message, *, streams: bool) -> str:
    """All that a refusal tells; empty when there is none."""
    try:
        answer = rpc(request)
        if streams:
            list(answer)
    except grpc.RpcError as error:
        return f"{error} {error.trailing_metadata()}"
    return ""


def _marked(message: Message, text: str, depth: int = 0) -> Message:
    """The message with the payload in all bytes, and in all texts what sounds like secret or else `text`."""
    for field in message.DESCRIPTOR.fields:
        repeated = field.is_repeated
        if field.type == field.TYPE_BYTES:
            value: object = PAYLOAD
        elif field.type == field.TYPE_STRING:
            value = TOKEN if SECRET_NAMES.search(field.name) else text
        elif field.message_type is not None and depth < 3 and not field.message_type.GetOptions().map_entry:
            inner = getattr(message, field.name)
            inner = inner.add() if repeated else inner
            inner.SetInParent()
            _marked(inner, text, depth + 1)
            continue
        else:
            continue
        if repeated:
            getattr(message, field.name).append(value)
        elif value:
            setattr(message, field.name, value)
    return message


def _session(root: Stubs, server: OperatedServer) -> list[bytes]:
    """Calls that fail in every way we can think of, each with something secret. Returns secrets of answers."""
    key = root.keys.CreateKey(keys_pb2.CreateKeyRequest()).key_metadata.key_id
    encrypt = cryptography_pb2.EncryptRequest(key_id=key, plaintext=PAYLOAD)
    sealed = root.crypto.Encrypt(encrypt).ciphertext_blob
    damaged = sealed[:-1] + bytes((sealed[-1] ^ 1,))
    data_key = root.crypto.GenerateDataKey(
        cryptography_pb2.GenerateDataKeyRequest(key_id=key, key_spec=resources_pb2.DATA_KEY_SPEC_AES_256)
    ).plaintext
    random = root.crypto.GenerateRandom(cryptography_pb2.GenerateRandomRequest(number_of_bytes=48)).plaintext
    user = root.make_user("secretive")
    made = root.make_token(user)
    for key_id in ("", key, "alias/none", "x" * 3000, "arn:aws:kms:us-east-1:000000000000:key/none"):
        request = cryptography_pb2.EncryptRequest(key_id=key_id, plaintext=PAYLOAD * (1 if key_id != key else 200))
        assert not _try(root.crypto.Encrypt, request)
        for blob in (PAYLOAD, damaged, PAYLOAD * 100, sealed + PAYLOAD):
            assert not _try(root.crypto.Decrypt, cryptography_pb2.DecryptRequest(ciphertext_blob=blob, key_id=key_id))
        _try(root.crypto.ReEncrypt, cryptography_pb2.ReEncryptRequest(
            ciphertext_blob=PAYLOAD, destination_key_id=key_id or "x"))
    _try(root.crypto.BatchEncrypt, batch_pb2.BatchEncryptRequest(
        items=[encrypt, cryptography_pb2.EncryptRequest(plaintext=PAYLOAD)]))
    for token in (TOKEN, MALFORMED_TOKEN, made.token[:-1], "\u007f" + MALFORMED_TOKEN):
        assert not _try(root.crypto.Encrypt, encrypt, **bearer(token))
    with server.plain("grpc_plaintext") as stranger:
        for token in (TOKEN, MALFORMED_TOKEN, made.token[:-1], made.token + MALFORMED_TOKEN):
            assert not _try(stranger.crypto.Encrypt, encrypt, **bearer(token))
            basic = {"metadata": (("authorization", f"Basic {token}"),)}
            assert not _try(stranger.crypto.Encrypt, encrypt, **basic)
        path = "/kagitori.kms.v1.CryptoService/Encrypt"
        raw: grpc.UnaryUnaryMultiCallable[bytes, bytes] = stranger.channel.unary_unary(path)
        for body in (PAYLOAD, b"\xff" + PAYLOAD, encrypt.SerializeToString() + b"\x1a\xff" + PAYLOAD):
            with pytest.raises(grpc.RpcError):
                raw(body, **bearer(server.root_token))
        raw = stranger.channel.unary_unary("/kagitori.kms.v1.CryptoService/NoSuchCall")
        with pytest.raises(grpc.RpcError):
            raw(PAYLOAD, **bearer(server.root_token))
        assert stranger.whoami(**bearer(made.token)) == user
    root.admin.RevokeToken(credentials_pb2.RevokeTokenRequest(token_id=made.token_id))
    assert not _try(root.admin.PutIdentityPolicy, identity_policies_pb2.PutIdentityPolicyRequest(
        principal_arn=user, policy_name="bad", policy_document="{"))
    assert not _try(root.admin.CreateUser, principals_pb2.CreateUserRequest(user_name="secretive"))
    _every_method(root)
    return [data_key, random, made.token.encode(), server.root_token.encode()]


def test_probes_and_metrics(server: OperatedServer) -> None:
    """Three pages, nothing else."""
    assert _fetch(server, "/healthz") == (200, "ok\n")
    assert _fetch(server, "/readyz") == (200, "ready\n")
    status, text = _fetch(server, "/metrics")
    assert status == 200
    assert "kagitori_calls_in_flight" in text
    for path in ("/", "/metrics/", "/../data/credentials/root.token", "/%2e%2e/", "/debug"):
        assert _fetch(server, path)[0] == 404, path


def test_nothing_secret_comes_out(server: OperatedServer) -> None:
    """After a session of failures no file but those made for it holds a payload, a token or key material."""
    with server.stubs() as root:
        secrets = [PAYLOAD, TOKEN.encode(), MALFORMED_TOKEN.encode(), *_session(root, server)]
    _, metrics = _fetch(server, "/metrics")
    assert server.terminate() == 0
    assert server.process.stdout is not None
    data = server.data
    root_key = (data / "root-key" / "root-key").read_bytes()
    places = {
        str(path.relative_to(data)): path.read_bytes()
        for path in data.rglob("*")
        if path.is_file() and path != data / "credentials" / "root.token"
    }
    places |= {"stderr": server.stderr.read_bytes(), "stdout": "\n".join(server.said).encode()}
    places["metrics"] = metrics.encode()
    assert sum(name.startswith("audit/") and name.endswith(".jsonl") for name in places) == 1
    for secret in secrets:
        for form in _forms(secret):
            for name, content in places.items():
                assert form not in content, (name, form)
    # The root key's file holds versions of 32 bytes; no part of it is anywhere else.
    for start in range(16, len(root_key) - 32, 8):
        piece = root_key[start : start + 24]
        for name, content in places.items():
            assert name.startswith("root-key/") or not any(form in content for form in _forms(piece)), name


def test_log_lines_are_json(server: OperatedServer) -> None:
    """Standard error is no terminal here, so each line is one JSON object; nothing went wrong unforeseen."""
    if server.process.poll() is None:
        assert server.terminate() == 0
    lines = [json.loads(line) for line in server.log.splitlines()]
    assert lines
    for line in lines:
        assert {"event", "level", "logger", "timestamp"} <= line.keys()
        assert "exception" not in line, line
        assert line["level"] in ("debug", "info"), line


def test_audit_records_of_the_session(server: OperatedServer) -> None:
    """Refused calls left records too: of unknown callers, and of broken requests."""
    segment = server.data / "audit" / "chain-00" / "00000001.jsonl"
    records = [json.loads(line) for line in segment.read_bytes().splitlines()]
    events = [record.get("event", record) for record in records]
    codes = {str(event.get("errorCode")) for event in events if isinstance(event, dict)}
    assert {"UnrecognizedClientException", "ValidationException", "InvalidCiphertextException"} <= codes
