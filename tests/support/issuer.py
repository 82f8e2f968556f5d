"""An OpenID Connect issuer: keys, tokens signed with them, and a real HTTP or HTTPS server on a loopback port.

Signatures are made with `cryptography` here, not by the library that the service checks them with.

    with Issuer() as issuer:
        issuer.token(sub="system:serviceaccount:shop:orders")
"""

from __future__ import annotations

import base64
import http.server
import json
import ssl
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

from cryptography.hazmat.primitives import hashes, hmac, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

AUDIENCE = "kagitori"
_HASHES: Mapping[str, hashes.HashAlgorithm] = {
    "256": hashes.SHA256(), "384": hashes.SHA384(), "512": hashes.SHA512(),
}
_CURVES: Mapping[str, ec.EllipticCurve] = {"P-256": ec.SECP256R1(), "P-384": ec.SECP384R1(), "P-521": ec.SECP521R1()}
_KEY_KINDS = {"ES256": "P-256", "ES384": "P-384", "ES512": "P-521"}

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey


def base64url(content: bytes) -> str:
    """RFC 7515, without padding."""
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def _number(value: int, length: int | None = None) -> str:
    return base64url(value.to_bytes(length or (value.bit_length() + 7) // 8))


class SigningKey:
    """A private key with an id, for one algorithm."""

    def __init__(self, algorithm: str = "ES256", key_id: str = "key-1", bits: int = 2048) -> None:
        self.algorithm = algorithm
        self.key_id = key_id
        self.private = _new_key(algorithm, bits)

    def jwk(self, **more: object) -> dict[str, object]:
        """The public key as a JSON Web Key."""
        public, own = self.private.public_key(), {"kid": self.key_id, "use": "sig", "alg": self.algorithm}
        if isinstance(public, rsa.RSAPublicKey):
            numbers = public.public_numbers()
            parts = {"kty": "RSA", "n": _number(numbers.n), "e": _number(numbers.e)}
        elif isinstance(public, ec.EllipticCurvePublicKey):
            point, length = public.public_numbers(), (public.key_size + 7) // 8
            parts = {
                "kty": "EC", "crv": _KEY_KINDS[self.algorithm], "x": _number(point.x, length),
                "y": _number(point.y, length),
            }
        else:
            raw = public.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
            curve = "Ed25519" if isinstance(public, ed25519.Ed25519PublicKey) else "Ed448"
            parts = {"kty": "OKP", "crv": curve, "x": base64url(raw)}
        return {**own, **parts, **more}

    def sign(self, content: bytes, algorithm: str | None = None) -> bytes:
        """A signature as JSON Web Signatures have it (RFC 7518, RFC 8037)."""
        name = algorithm or self.algorithm
        digest = _HASHES.get(name[-3:], hashes.SHA256())
        if isinstance(self.private, rsa.RSAPrivateKey):
            if name.startswith("PS"):
                salted = padding.PSS(padding.MGF1(digest), digest.digest_size)
                return self.private.sign(content, salted, digest)
            return self.private.sign(content, padding.PKCS1v15(), digest)
        if isinstance(self.private, ec.EllipticCurvePrivateKey):
            length = (self.private.key_size + 7) // 8
            r, s = decode_dss_signature(self.private.sign(content, ec.ECDSA(digest)))
            return r.to_bytes(length) + s.to_bytes(length)
        return self.private.sign(content)


def _new_key(algorithm: str, bits: int) -> PrivateKey:
    if algorithm.startswith(("RS", "PS")):
        return rsa.generate_private_key(65_537, bits)
    if algorithm.startswith("ES"):
        return ec.generate_private_key(_CURVES[_KEY_KINDS[algorithm]])
    return ed448.Ed448PrivateKey.generate() if algorithm == "Ed448" else ed25519.Ed25519PrivateKey.generate()


def compact(header: Mapping[str, object] | str, claims: Mapping[str, object] | str, key: SigningKey) -> str:
    """A token of just this header and these claims (or JSON texts), signed with `key` as its algorithm says."""
    texts = (part if isinstance(part, str) else json.dumps(part) for part in (header, claims))
    signed = ".".join(base64url(text.encode()) for text in texts)
    return f"{signed}.{base64url(key.sign(signed.encode()))}"


def with_hmac(header: Mapping[str, object], claims: Mapping[str, object], secret: bytes) -> str:
    """A token whose `signature` is an HMAC with SHA-256."""
    signed = ".".join(base64url(json.dumps(part).encode()) for part in (header, claims))
    tag = hmac.HMAC(secret, hashes.SHA256())
    tag.update(signed.encode())
    return f"{signed}.{base64url(tag.finalize())}"


class Issuer:
    """Serves its discovery document and its keys until the block ends.

    `answers` says what is answered by path; `asked` counts. `pause` seconds lie between two bytes of an answer;
    none is given while `open` isn't set.
    """

    def __init__(
        self, certificate: Path | None = None, key: Path | None = None, *, now: float, host: str = "127.0.0.1"
    ) -> None:
        self.now = now
        self.signing = SigningKey()
        self.folder = Path() if certificate is None else certificate.parent
        self.pause = 0.0
        self.open = threading.Event()
        self.open.set()
        self.status = 200
        self.asked: list[str] = []
        self._server = http.server.ThreadingHTTPServer((host, 0), self._handler())
        self._server.daemon_threads = True
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate, key)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        scheme = "http" if certificate is None else "https"
        self.url = f"{scheme}://{host}:{self._server.server_port}"
        self.name = self.url.partition("://")[2]
        self.headers: dict[str, str] = {}
        self.answers: dict[str, bytes] = {}
        self.publish(self.signing)
        self.discover()
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))

    def discover(self, **members: object) -> None:
        """Publishes the discovery document, with `members` in place of what it should say."""
        document = {"issuer": self.url, "jwks_uri": f"{self.url}/keys", **members}
        self.answers["/.well-known/openid-configuration"] = json.dumps(document).encode()

    def publish(self, *keys: SigningKey) -> str:
        """Publishes these keys. Returns the key set."""
        document = json.dumps({"keys": [key.jwk() for key in keys]})
        self.answers["/keys"] = document.encode()
        return document

    def claims(self, **claims: object) -> dict[str, object]:
        """Those of a token that is good for five minutes; None takes one away."""
        whole = {
            "iss": self.url, "aud": AUDIENCE, "sub": "workload", "iat": int(self.now), "nbf": int(self.now),
            "exp": int(self.now) + 300, **claims,
        }
        return {name: value for name, value in whole.items() if value is not None}

    def header(self, **members: object) -> dict[str, object]:
        """That of a token by the issuer's first key; None takes a member away."""
        whole = {"alg": self.signing.algorithm, "kid": self.signing.key_id, "typ": "JWT", **members}
        return {name: value for name, value in whole.items() if value is not None}

    def token(self, **claims: object) -> str:
        """A good token, but for these claims."""
        return compact(self.header(), self.claims(**claims), self.signing)

    def _handler(self) -> type[http.server.BaseHTTPRequestHandler]:
        issuer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                issuer.asked.append(self.path)
                issuer.open.wait(10)
                body = issuer.answers.get(self.path)
                self.send_response(404 if body is None else issuer.status)
                for name, value in issuer.headers.items():
                    self.send_header(name, value)
                self.end_headers()
                try:
                    issuer._send(self, body or b"")
                except OSError:
                    return  # the other side has had enough

            def log_request(self, code: int | str = "-", size: int | str = "-") -> None:  # noqa: ARG002 - the base's
                return

        return Handler

    def _send(self, handler: http.server.BaseHTTPRequestHandler, body: bytes) -> None:
        if not self.pause:
            handler.wfile.write(body)
            return
        for byte in body:
            handler.wfile.write(bytes([byte]))
            time.sleep(self.pause)

    def __enter__(self) -> Issuer:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Answers no more."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()
