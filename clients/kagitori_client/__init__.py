"""Client of the Kagitori key management service. The bare install needs gRPC and protobuf alone.

`KmsClient` and `AsyncKmsClient` call the service, `kagitori_client.envelope` encrypts files and streams of any
size (extra `cli`), `kagitori_client.cli` is the command `kagitori` (extra `cli`).
"""

from __future__ import annotations

from kagitori_client.calls import Retries
from kagitori_client.client import AsyncKmsClient, Connection, KmsClient, pages
from kagitori_client.credentials import BearerToken
from kagitori_client.endpoint import parse_endpoint
from kagitori_client.errors import (
    ConfigurationError,
    ConnectionFailed,
    ContextMismatch,
    DoesNotVerify,
    EnvelopeError,
    KagitoriError,
    NoUsableKey,
    ServiceError,
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
    "KagitoriError",
    "KmsClient",
    "NoUsableKey",
    "Retries",
    "ServiceError",
    "Settings",
    "TooLarge",
    "Violation",
    "load_settings",
    "pages",
    "parse_endpoint",
]
