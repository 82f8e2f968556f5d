"""The four calls of the proxy API, signed, and their answers held against the specification."""

from __future__ import annotations

import datetime as dt
import hmac
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from kagitori_keystore import sigv4
from kagitori_keystore.base import RequestRefused
from kagitori_keystore.secret import Guarded
from kagitori_keystore.xks import wire
from kagitori_keystore.xks.connections import Connections
from kagitori_keystore.xks.errors import ExternalKeyUnusable, ProxyFault, ProxyLost, failure
from kagitori_keystore.xks.settings import XksSettings

_SIGNED = ("host", "x-amz-date")
_STATUSES = ("ACTIVE", "DEGRADED", "UNAVAILABLE")


@dataclass(frozen=True, slots=True)
class RequestMetadata:
    """What a request tells the proxy's administrators of the call that it is made for."""

    operation: str
    request_id: str
    principal_arn: str = ""
    """Empty, as the key's ARN, in GetHealthStatus."""
    key_arn: str = ""

    def members(self) -> dict[str, str]:
        """As the API spells them."""
        found = {"kmsRequestId": self.request_id, "kmsOperation": self.operation}
        if self.principal_arn:
            found["awsPrincipalArn"] = self.principal_arn
        if self.key_arn:
            found["kmsKeyArn"] = self.key_arn
        return found


class Sealed(NamedTuple):
    """What the external key manager made of a plaintext."""

    iv: bytes
    metadata: bytes
    ciphertext: bytes
    tag: bytes


@dataclass(frozen=True, slots=True)
class Manager:
    """One external key manager behind the proxy."""

    id: str
    model: str
    status: str
    """ACTIVE, DEGRADED or UNAVAILABLE."""


@dataclass(frozen=True, slots=True)
class HealthStatus:
    """The answer of GetHealthStatus."""

    fleet_size: int
    proxy_vendor: str
    proxy_model: str
    manager_vendor: str
    managers: tuple[Manager, ...]


@dataclass(frozen=True, slots=True)
class KeyMetadata:
    """The answer of GetKeyMetadata."""

    spec: str
    usages: frozenset[str]
    enabled: bool

    def check(self) -> None:
        """Raises `ExternalKeyUnusable` unless AWS KMS would make a key of it (specification, GetKeyMetadata)."""
        if self.spec != wire.KEY_SPEC or not {"ENCRYPT", "DECRYPT"} <= self.usages:
            raise ExternalKeyUnusable(ProxyFault.KEY_USAGE)
        if not self.enabled:
            raise ExternalKeyUnusable(ProxyFault.KEY_DISABLED)


class Client(Guarded):
    """Talks to one proxy. Thread-safe. All calls raise what `errors` lists."""

    __slots__ = ("_clock", "_connections", "_keys", "_secret", "_settings")

    def __init__(
        self, settings: XksSettings, secret: bytes, clock: Callable[[], float], monotonic: Callable[[], float]
    ) -> None:
        """`clock` is in seconds since the epoch. Raises `RequestRefused` for a secret that AWS KMS would not take."""
        if not wire.SECRET.fullmatch(secret):
            raise RequestRefused("the secret of a proxy has 43 to 64 characters of Base64")
        self._settings = settings
        self._secret = secret
        self._clock = clock
        self._connections = Connections(settings, monotonic)
        self._keys: tuple[sigv4.Scope, bytes] | None = None

    def get_health_status(self, metadata: RequestMetadata) -> HealthStatus:
        """How the proxy and what is behind it are."""
        with _strictly():
            return _health(self._call("/health", metadata, {}))

    def get_key_metadata(self, key: str, metadata: RequestMetadata) -> KeyMetadata:
        """What the external key of id `key` is."""
        with _strictly():
            return _key_metadata(self._call(f"/keys/{_checked(key)}/metadata", metadata, {}))

    def encrypt(self, key: str, metadata: RequestMetadata, plaintext: bytes, aad: bytes) -> Sealed:
        """At most 4,300 bytes under an external key; `aad` has 1 to 8,192."""
        members: dict[str, object] = {
            "plaintext": wire.encoded(plaintext),
            "encryptionAlgorithm": wire.ENCRYPTION_ALGORITHM,
            "additionalAuthenticatedData": wire.encoded(aad),
            "ciphertextDataIntegrityValueAlgorithm": wire.INTEGRITY_ALGORITHM,
        }
        with _strictly():
            answer = self._call(f"/keys/{_checked(key)}/encrypt", metadata, members)
            iv = wire.octets(answer, "initializationVector", *wire.IV_BYTES)
            if len(iv) not in wire.IV_BYTES:
                raise wire.WireError("an initialisation vector has 12 or 16 bytes")
            sealed = Sealed(
                iv=iv,
                metadata=wire.optional_octets(answer, "ciphertextMetadata", 0, wire.METADATA_MAX_BYTES) or b"",
                ciphertext=wire.octets(answer, "ciphertext", len(plaintext), len(plaintext)),
                tag=wire.octets(answer, "authenticationTag", wire.TAG_BYTES, wire.TAG_BYTES),
            )
            told = wire.octets(answer, "ciphertextDataIntegrityValue", 32, 32)
            value = wire.integrity_value(aad, sealed.metadata, sealed.iv, sealed.ciphertext, sealed.tag)
            if not hmac.compare_digest(told, value):
                raise wire.WireError("the integrity value does not fit")
        return sealed

    def decrypt(self, key: str, metadata: RequestMetadata, sealed: Sealed, aad: bytes) -> bytes:
        """What `encrypt` made under the same key and `aad`. Raises `CiphertextInvalid` for all else."""
        members: dict[str, object] = {
            "ciphertext": wire.encoded(sealed.ciphertext),
            "encryptionAlgorithm": wire.ENCRYPTION_ALGORITHM,
            "additionalAuthenticatedData": wire.encoded(aad),
            "initializationVector": wire.encoded(sealed.iv),
            "authenticationTag": wire.encoded(sealed.tag),
        }
        if sealed.metadata:
            members["ciphertextMetadata"] = wire.encoded(sealed.metadata)
        with _strictly():
            answer = self._call(f"/keys/{_checked(key)}/decrypt", metadata, members, decrypting=True)
            return wire.octets(answer, "plaintext", len(sealed.ciphertext), len(sealed.ciphertext))

    def close(self) -> None:
        """Ends all connections; later calls raise `ProxyLost`."""
        self._connections.close()

    def _call(
        self, below: str, metadata: RequestMetadata, members: Mapping[str, object], *, decrypting: bool = False
    ) -> dict[str, object]:
        body = json.dumps({"requestMetadata": metadata.members(), **members}, separators=(",", ":")).encode()
        path = self._settings.uri_path + below
        answer = self._connections.post(path, self._headers(path, body), body)
        if answer.media_type != wire.MEDIA_TYPE:
            raise wire.WireError("an answer is JSON")
        found = wire.read_object(answer.body)
        if answer.status != 200:
            raise failure(wire.text(found, "errorName", 64), answer.status, decrypting=decrypting)
        return found

    def _headers(self, path: str, body: bytes) -> dict[str, str]:
        time = dt.datetime.fromtimestamp(self._clock(), dt.UTC).strftime("%Y%m%dT%H%M%SZ")
        scope = sigv4.Scope(time[:8], self._settings.region, wire.SERVICE)
        headers = [("host", self._settings.authority), ("x-amz-date", time)]
        canonical = sigv4.canonical_request("POST", path, (), headers, _SIGNED, sigv4.payload_hash(body))
        signed_as = sigv4.signature(self._key(scope), sigv4.string_to_sign(time, scope, canonical))
        return {
            "Host": self._settings.authority,
            "Content-Type": wire.MEDIA_TYPE,
            "X-Amz-Date": time,
            "Authorization": sigv4.authorization(self._settings.access_key_id, scope, _SIGNED, signed_as),
        }

    def _key(self, scope: sigv4.Scope) -> bytes:
        kept = self._keys
        if kept is None or kept[0] != scope:
            kept = self._keys = scope, sigv4.signing_key(self._secret, scope)
        return kept[1]


class _strictly:  # noqa: N801 - reads as a word of the `with` that it stands in
    """Turns what breaks the API's rules into the failure that says so."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        if isinstance(error, wire.WireError):
            raise ProxyLost(ProxyFault.MALFORMED_ANSWER) from None


def _checked(key: str) -> str:
    if not wire.KEY_ID.fullmatch(key) or key in (".", ".."):
        raise RequestRefused("an external key id has 1 to 128 letters, digits, dots, hyphens and underscores")
    return key


def _health(answer: Mapping[str, object]) -> HealthStatus:
    size = answer.get("xksProxyFleetSize")
    fleet = answer.get("ekmFleetDetails")
    if type(size) is not int or size < 0 or not isinstance(fleet, list) or not 1 <= len(fleet) <= wire.FLEET_MAX:
        raise wire.WireError("a fleet's size or its members are missing")
    return HealthStatus(
        fleet_size=size,
        proxy_vendor=wire.text(answer, "xksProxyVendor"),
        proxy_model=wire.text(answer, "xksProxyModel"),
        manager_vendor=wire.text(answer, "ekmVendor"),
        managers=tuple(map(_manager, fleet)),
    )


def _manager(found: object) -> Manager:
    if not isinstance(found, dict):
        raise wire.WireError("a member of the fleet is no object")
    status = wire.text(found, "healthStatus")
    if status not in _STATUSES:
        raise wire.WireError("a health status is unknown")
    return Manager(wire.text(found, "id"), wire.text(found, "model"), status)


def _key_metadata(answer: Mapping[str, object]) -> KeyMetadata:
    usages = answer.get("keyUsage")
    if not isinstance(usages, list) or len(usages) > wire.USAGES_MAX:
        raise wire.WireError("usages are a list of at most ten")
    if not all(isinstance(usage, str) for usage in usages):
        raise wire.WireError("a usage is a text")
    status = wire.text(answer, "keyStatus")
    if status not in ("ENABLED", "DISABLED"):
        raise wire.WireError("a key's status is unknown")
    return KeyMetadata(wire.text(answer, "keySpec"), frozenset(usages), status == "ENABLED")
