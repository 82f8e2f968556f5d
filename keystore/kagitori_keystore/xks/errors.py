"""How calls to an external key store proxy fail, in terms of the contract.

    KeyStoreError
      CiphertextInvalid    CALLER      the proxy, or the inner cipher, does not verify the ciphertext
      ExternalKeyUnknown   KEY         the proxy knows no key of that id
      ExternalKeyUnusable  KEY         it knows it, and the key or its policy refuses
      ProxyLost            STORE_LOST  the proxy is out of reach, out of trust, or makes no sense
      ProxyTooSlow         TOO_SLOW    no answer within the deadline, or the proxy says so of what is behind it

`fault` says what happened, for the AWS exception or connection error that is made of it.
"""

from __future__ import annotations

import enum
from typing import ClassVar

from kagitori_keystore.base import CiphertextInvalid, ErrorKind, KeyStoreError, MaterialUnknown, StoreLost, TooSlow


class ProxyFault(enum.Enum):
    """What came of a call to the proxy, beside an answer."""

    UNREACHABLE = "unreachable"
    """No TCP connection, or it broke."""
    TLS_REFUSED = "tls-refused"
    """No TLS connection: an unknown authority, another host's certificate, an old protocol."""
    TIMED_OUT = "timed-out"
    MALFORMED_ANSWER = "malformed-answer"
    """Not an answer of the API, or one that breaks its rules."""
    REQUEST_REFUSED = "request-refused"
    """ValidationException: the proxy does not understand us."""
    CREDENTIALS_REFUSED = "credentials-refused"
    """AuthenticationFailedException."""
    PATH_REFUSED = "path-refused"
    """InvalidUriPathException."""
    UNSUPPORTED = "unsupported"
    """UnsupportedOperationException."""
    THROTTLED = "throttled"
    DEPENDENCY_TIMED_OUT = "dependency-timed-out"
    INTERNAL = "internal"
    """InternalException."""
    MANAGER_UNAVAILABLE = "manager-unavailable"
    """The proxy is well and says that no external key manager behind it is."""
    ACCESS_DENIED = "access-denied"
    KEY_DISABLED = "key-disabled"
    """InvalidStateException, or the key's status."""
    KEY_USAGE = "key-usage"
    """InvalidKeyUsageException, or the key's spec or usage."""
    KEY_NOT_FOUND = "key-not-found"


class ProxyLost(StoreLost):
    """No call to the proxy can be expected to succeed now."""

    def __init__(self, fault: ProxyFault) -> None:
        super().__init__(f"the external key store proxy can't be used: {fault.value}")
        self.fault = fault


class ProxyTooSlow(TooSlow):
    """No answer in time; the operation may have happened."""

    def __init__(self, fault: ProxyFault) -> None:
        super().__init__(f"the external key store proxy was too slow: {fault.value}")
        self.fault = fault


class ExternalKeyUnknown(MaterialUnknown):
    """The proxy knows no key of that id."""

    fault = ProxyFault.KEY_NOT_FOUND

    def __init__(self) -> None:
        super().__init__("the external key store proxy knows no such key")


class ExternalKeyUnusable(KeyStoreError):
    """The external key can't be used for this."""

    kind: ClassVar[ErrorKind] = ErrorKind.KEY

    def __init__(self, fault: ProxyFault) -> None:
        super().__init__(f"the external key can't be used: {fault.value}")
        self.fault = fault


_LOST = {
    "ValidationException": ProxyFault.REQUEST_REFUSED,
    "AuthenticationFailedException": ProxyFault.CREDENTIALS_REFUSED,
    "InvalidUriPathException": ProxyFault.PATH_REFUSED,
    "UnsupportedOperationException": ProxyFault.UNSUPPORTED,
    "ThrottlingException": ProxyFault.THROTTLED,
    "InternalException": ProxyFault.INTERNAL,
}
_UNUSABLE = {
    "InvalidStateException": ProxyFault.KEY_DISABLED,
    "InvalidKeyUsageException": ProxyFault.KEY_USAGE,
    "AccessDeniedException": ProxyFault.ACCESS_DENIED,
}
STATUS = {
    "ValidationException": 400,
    "InvalidStateException": 400,
    "InvalidCiphertextException": 400,
    "InvalidKeyUsageException": 400,
    "AuthenticationFailedException": 401,
    "AccessDeniedException": 403,
    "KeyNotFoundException": 404,
    "InvalidUriPathException": 404,
    "ThrottlingException": 429,
    "UnsupportedOperationException": 501,
    "DependencyTimeoutException": 503,
    "InternalException": 500,
}
"""The API's errors by name, with their HTTP status."""


def failure(name: str, status: int, *, decrypting: bool) -> KeyStoreError:
    """What an error of the API means here. One that the API doesn't have, or not for this call, is malformed."""
    if STATUS.get(name) != status:
        return ProxyLost(ProxyFault.MALFORMED_ANSWER)
    if name == "InvalidCiphertextException":
        return CiphertextInvalid() if decrypting else ProxyLost(ProxyFault.MALFORMED_ANSWER)
    if name == "KeyNotFoundException":
        return ExternalKeyUnknown()
    if name == "DependencyTimeoutException":
        return ProxyTooSlow(ProxyFault.DEPENDENCY_TIMED_OUT)
    if name in _UNUSABLE:
        return ExternalKeyUnusable(_UNUSABLE[name])
    return ProxyLost(_LOST[name])
