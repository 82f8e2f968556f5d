"""Client of the Kagitori key management service. The bare install needs gRPC and protobuf alone.

`KmsClient` and `AsyncKmsClient` call the service, `kagitori_client.signing` prepares messages of any size for Sign
and Verify. With the extra `cli` come `kagitori_client.envelope`, which encrypts files and streams of any size,
`kagitori_client.importing`, which wraps key files for import, `kagitori_client.receipts`, which verifies that calls
were recorded, and `kagitori_client.cli`, the command `kagitori`.

The names below are loaded when they are first used: gRPC reads its environment variables as it is imported,
and the command line sets one first.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kagitori_client.calls import Retries
    from kagitori_client.client import AsyncKmsClient, Connection, KmsClient, pages
    from kagitori_client.credentials import BearerToken, TokenFile
    from kagitori_client.endpoint import parse_endpoint
    from kagitori_client.errors import (
        ConfigurationError,
        ConnectionFailed,
        ContextMismatch,
        DoesNotVerify,
        EnvelopeError,
        InvalidPublicKey,
        KagitoriError,
        KeyMaterialError,
        MessageLength,
        NoUsableKey,
        ReceiptInvalid,
        ServiceError,
        SourceError,
        TooLarge,
        Violation,
    )
    from kagitori_client.settings import Settings, load_settings

__all__ = [
    "AsyncKmsClient",
    "BearerToken",
    "ConfigurationError",
    "Connection",
    "ConnectionFailed",
    "ContextMismatch",
    "DoesNotVerify",
    "EnvelopeError",
    "InvalidPublicKey",
    "KagitoriError",
    "KeyMaterialError",
    "KmsClient",
    "MessageLength",
    "NoUsableKey",
    "ReceiptInvalid",
    "Retries",
    "ServiceError",
    "Settings",
    "SourceError",
    "TokenFile",
    "TooLarge",
    "Violation",
    "load_settings",
    "pages",
    "parse_endpoint",
]

_MODULES = {
    "AsyncKmsClient": "client",
    "BearerToken": "credentials",
    "Connection": "client",
    "KmsClient": "client",
    "Retries": "calls",
    "Settings": "settings",
    "TokenFile": "credentials",
    "load_settings": "settings",
    "pages": "client",
    "parse_endpoint": "endpoint",
}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    # What is not in the table is an error, and errors are one module.
    value = getattr(import_module(f"kagitori_client.{_MODULES.get(name, 'errors')}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
