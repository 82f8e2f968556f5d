"""The root key that the configuration names, opened: in a file, from a passphrase, or in a PKCS#11 token."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from kagitori_keystore.base import Capability, Domain, MaterialCorrupt, RequestRefused, RootKeyRefused
from kagitori_keystore.pkcs11.settings import ConnectFault, ConnectRefused, TokenSettings
from kagitori_keystore.pkcs11.store import Pkcs11KeyStore, open_token
from kagitori_keystore.rootkey.file import open_file_root
from kagitori_keystore.rootkey.moving import MovingRootKeys
from kagitori_keystore.rootkey.passphrase import open_passphrase_root
from kagitori_keystore.rootkey.pkcs11 import open_token_root
from kagitori_keystore.rootkey.provider import RootKeyProvider
from kagitori_keystore.rootkey.token_uses import TokenUses
from kagitori_keystore.software import SoftwareKeyStore
from kagitori_server.bootstrap.data_directory import DataDirectory, write_private_file
from kagitori_server.config import Config, ConfigurationError, RootKeyConfig
from kagitori_server.configured import read_secret
from kagitori_server.storage.catalog import Catalog

_LOOKS = 3
"""Another process may rotate the root key between two looks at once."""
_REFUSED_PIN = "refused-pin"
_OPENED_AHEAD = 1_000


@dataclass(frozen=True, slots=True)
class OpenedRootKey:
    """A root key, and what has to be let go of with it."""

    keys: RootKeyProvider
    token_serial: bytes | None
    """The token that holds it: nobody may change the PIN of that one."""
    close: Callable[[], None]


def open_root_key(config: Config, data: DataDirectory) -> OpenedRootKey:
    """The root key that the configuration names, made at the first start; with the previous provider's, where there is
    one. Raises ConfigurationError or KeyStoreError."""
    section = config.root_key
    with ExitStack() as opened:
        keys, serial = _open(section.provider, section, data, opened)
        if section.previous_provider:
            old, old_serial = _open(section.previous_provider, section, data, opened)
            keys, serial = MovingRootKeys(keys, old), serial or old_serial
        return OpenedRootKey(keys, serial, opened.pop_all().close)


def check_root_key(root_key: RootKeyProvider, catalog: Catalog) -> None:
    """Raises ConfigurationError if the root key can't open what the catalog holds: another provider or data
    directory was configured, or the file got lost and a new one was just made."""
    for _ in range(_LOOKS):
        try:
            named = {root_key.version_of(wrapped) for _, _, wrapped in catalog.kek_shelf.all()}
        except MaterialCorrupt:  # wraps of another provider have another form
            break
        if named <= set(root_key.versions()):
            return
    raise ConfigurationError(
        "the root key here isn't the one that the keys in the catalog are under; see root_key.provider, "
        "root_key.previous_provider and --data-dir"
    )


def open_ahead(store: SoftwareKeyStore, catalog: Catalog) -> None:
    """Has the key-encryption keys opened that there are, so that no call waits for a token in the event loop.

    Raises KeyStoreError: the token is asked for the first time.
    """
    for account, region, _ in catalog.kek_shelf.all()[:_OPENED_AHEAD]:
        store.open_domain(Domain(account, region))


def _open(
    provider: str, section: RootKeyConfig, data: DataDirectory, opened: ExitStack
) -> tuple[RootKeyProvider, bytes | None]:
    """The keys, and the serial number of their token if they are in one."""
    try:
        if provider == "pkcs11":
            store = _open_token(section, data)
            opened.callback(store.close)
            keys: RootKeyProvider = open_token_root(data.root_key, store)
            serial: bytes | None = store.serial
        elif provider == "passphrase":
            passphrase = read_secret(section.passphrase_file).rstrip(b"\r\n")
            keys, serial = open_passphrase_root(data.root_key, passphrase, os.urandom), None
        else:
            keys, serial = open_file_root(data.root_key, os.urandom), None
    except RootKeyRefused as error:
        raise ConfigurationError(f"{data.root_key}: {error}") from None
    opened.callback(keys.close)
    return keys, serial


def _open_token(section: RootKeyConfig, data: DataDirectory) -> Pkcs11KeyStore:
    pin_file = Path(section.pin_file)
    pin = read_secret(section.pin_file).rstrip(b"\r\n")
    refused, stamp = data.root_key / _REFUSED_PIN, _stamp(pin_file)
    if refused.exists() and refused.read_bytes() == stamp:
        raise ConfigurationError(
            f"root_key: the token has refused the PIN in {pin_file}, which isn't tried again before that file changes"
        )
    try:
        store = open_token(_settings(section, data), pin, TokenUses(data.root_key))
    except ConnectRefused as failure:
        if failure.fault is ConnectFault.PIN_REFUSED:
            # Whoever starts a server again and again would lock the token.
            write_private_file(refused, stamp)
            raise ConfigurationError(f"root_key: the token refuses the PIN in {pin_file}") from None
        raise ConfigurationError(f"root_key: {failure} ({_named(section)})") from None
    except RequestRefused as failure:
        raise ConfigurationError(f"root_key: {failure}") from None
    refused.unlink(missing_ok=True)
    if Capability.SYMMETRIC_ENCRYPTION not in store.describe().capabilities:
        store.close()
        raise ConfigurationError(f"root_key: the token has no AES-GCM ({_named(section)})")
    return store


def _settings(section: RootKeyConfig, data: DataDirectory) -> TokenSettings:
    return TokenSettings(
        module=section.module,
        token_serial=section.token_serial or None,
        token_label=section.token_label or None,
        deadline_seconds=section.deadline_seconds,
        runtime_dir=data.run,
        softhsm_conf=section.softhsm_conf or None,
        library_parameters=section.library_parameters or None,
    )


def _named(section: RootKeyConfig) -> str:
    names = (f"label {section.token_label}" * bool(section.token_label),
             f"serial number {section.token_serial}" * bool(section.token_serial))  # fmt: skip
    return ", ".join((f"module {section.module}", *filter(None, names)))


def _stamp(file: Path) -> bytes:
    found = file.stat()
    return f"{found.st_ino} {found.st_mtime_ns} {found.st_size}".encode("ascii")
