"""Kagitori for other people's tests: real servers, started in a moment and gone without a trace.

`plugin` has the fixtures for pytest; `running` is what they are made of, for other test frameworks:

    from kagitori_client.testing import running

    with running(seed=Path("seed.toml")) as service:
        service.client.crypto.Encrypt(...)

The names below are loaded when they are first used: pytest loads the plugin of this package for everybody who has
it, and gRPC takes its time.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kagitori_client.testing.service import Account, Aws, NotStarted, Service, nursery, running

__all__ = ["Account", "Aws", "NotStarted", "Service", "nursery", "running"]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module("kagitori_client.testing.service"), name)
