"""Stores behind objects that pass calls on: what a store can do is asked of its description alone."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest
from tests.support.keystore_parts import HOME, KEY, Workshop

from kagitori_keystore import base, capabilities
from kagitori_keystore.algorithms import KeySpec
from kagitori_keystore.capabilities import GeneralKeyStore


class PassingOn:
    """As connections to custom key stores are."""

    def __init__(self, store: GeneralKeyStore) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


PROTOCOLS = [
    found for module in (base, capabilities) for _, found in inspect.getmembers(module, inspect.isclass)
    if getattr(found, "_is_protocol", False) and found.__module__ == module.__name__
]


@pytest.mark.parametrize("protocol", PROTOCOLS, ids=lambda protocol: str(protocol.__name__))
def test_no_protocol_is_checked_at_run_time(tmp_path: Path, protocol: type) -> None:
    """From Python 3.12 on that is by `inspect.getattr_static`, which doesn't see what is passed on."""
    methods = [name for name in vars(protocol) if not name.startswith("_")]
    passing = PassingOn(Workshop(tmp_path).store)
    assert not any(inspect.getattr_static(passing, name, None) for name in methods)
    assert all(callable(getattr(passing, name)) for name in methods)
    with pytest.raises(TypeError, match="runtime_checkable"):
        isinstance(passing, protocol)


def test_all_abilities_are_those_of_a_general_store() -> None:
    """So that a store without one refuses it, rather than lacking the method."""
    general = set(dir(GeneralKeyStore))
    for protocol in PROTOCOLS:
        assert {name for name in vars(protocol) if not name.startswith("_")} <= general, protocol


def test_what_is_passed_on_works(tmp_path: Path) -> None:
    passing: Any = PassingOn(Workshop(tmp_path).store)
    ref = passing.generate(KeySpec.SYMMETRIC_DEFAULT, HOME, KEY)
    nonce, sealed = passing.seal_for_proxy(HOME, KEY, ref, b"data", b"")
    assert passing.open_for_proxy(HOME, KEY, ref, nonce, sealed, b"") == b"data"
