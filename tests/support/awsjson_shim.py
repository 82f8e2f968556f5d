"""A minimal AWS KMS endpoint for tests: AWS's JSON protocol on one side, our gRPC client on the other.

It lets stock AWS software (boto3, the AWS Encryption SDK's own KMS providers) use a running server over a real
socket. Three operations; signatures are not checked.
"""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from kagitori.kms.v1.cryptography_pb2 import DecryptRequest, EncryptRequest, GenerateDataKeyRequest
from kagitori_client import KmsClient, ServiceError


def _bytes(value: Any) -> bytes:
    return base64.b64decode(value)


def _text(value: bytes) -> str:
    return base64.b64encode(value).decode("ascii")


def _answer(client: KmsClient, operation: str, asked: dict[str, Any]) -> dict[str, Any]:
    context = asked.get("EncryptionContext", {})
    if operation == "GenerateDataKey":
        made = client.crypto.GenerateDataKey(
            GenerateDataKeyRequest(
                key_id=asked["KeyId"], number_of_bytes=asked["NumberOfBytes"], encryption_context=context
            )
        )
        return {
            "KeyId": made.key_id,
            "Plaintext": _text(made.plaintext),
            "CiphertextBlob": _text(made.ciphertext_blob),
        }
    if operation == "Encrypt":
        sealed = client.crypto.Encrypt(
            EncryptRequest(key_id=asked["KeyId"], plaintext=_bytes(asked["Plaintext"]), encryption_context=context)
        )
        return {"KeyId": sealed.key_id, "CiphertextBlob": _text(sealed.ciphertext_blob)}
    if operation == "Decrypt":
        opened = client.crypto.Decrypt(
            DecryptRequest(
                key_id=asked.get("KeyId"),
                ciphertext_blob=_bytes(asked["CiphertextBlob"]),
                encryption_context=context,
            )
        )
        return {"KeyId": opened.key_id, "Plaintext": _text(opened.plaintext)}
    raise ServiceError("UnsupportedOperationException", operation)


@contextmanager
def aws_endpoint(client: KmsClient) -> Iterator[str]:
    """Serves on a free port of loopback; gives its URL."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            operation = self.headers["X-Amz-Target"].removeprefix("TrentService.")
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            try:
                status, answer = 200, _answer(client, operation, asked)
            except ServiceError as error:
                status, answer = 400, {"__type": error.code, "message": error.message}
            content = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/x-amz-json-1.1")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the base class's name
            """Silent."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()
