"""Connecting one custom key store, and what the catalog is told of it.

The order in which the PIN of a token is changed bears a crash at any point: the new one is in the catalog before the
token has it, and the old one until the token is known to have the new one. Whoever connects next tries both.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial

from kagitori_keystore.base import Domain, KeyStoreError, RequestRefused, SecretWrapping
from kagitori_server.custom_stores.ports import ConnectFailed, OpenedStore, Opener
from kagitori_server.model.custom_key_stores import (
    ConnectionErrorCode,
    ConnectionState,
    CustomKeyStore,
    CustomKeyStoreType,
    secret_label,
)
from kagitori_server.storage.catalog import Catalog

_log = logging.getLogger(__name__)

_PIN_CHARACTERS = 32
"""The longest password of a custom key store (AWS); of URL-safe characters, so 192 random bits."""


@dataclass(frozen=True, slots=True)
class Connected:
    """A connection that the catalog knows of."""

    record: CustomKeyStore
    store: OpenedStore


class Connecting:
    """The steps of connecting and disconnecting. Blocks; one at a time for each store."""

    def __init__(
        self, catalog: Catalog, secrets: SecretWrapping, openers: Mapping[CustomKeyStoreType, Opener],
        clock: Callable[[], float], worker: str, new_secret: Callable[[], str],
    ) -> None:
        self._catalog = catalog
        self._secrets = secrets
        self._openers = openers
        self._clock = clock
        self._worker = worker
        self._new_secret = new_secret

    def open(self, record: CustomKeyStore) -> tuple[OpenedStore, bytes]:
        """A connection, and the wrapped secret it was made with. Raises ConnectFailed."""
        opener = self._openers.get(record.kind)
        if opener is None:
            raise ConnectFailed(ConnectionErrorCode.INTERNAL_ERROR)
        for wrapped in filter(None, (record.wrapped_secret, record.new_secret)):
            try:
                return opener.open(record, self._unwrapped(record, wrapped)), wrapped
            except ConnectFailed as failed:
                refused = failed.code is ConnectionErrorCode.INVALID_CREDENTIALS
                if not refused or wrapped is not record.wrapped_secret or record.new_secret is None:
                    raise
            except KeyStoreError:
                _log.exception("%s can't be opened", record.store_id)
                raise ConnectFailed(ConnectionErrorCode.INTERNAL_ERROR) from None
        raise ConnectFailed(ConnectionErrorCode.INVALID_CREDENTIALS)

    def connect(self, store_id: str) -> Connected | None:
        """Connects a store that this process is to connect, and tells the catalog how it went. None if it failed or
        isn't wanted any more. Raises KmsError when the catalog fails."""
        record = self._wanted(store_id)
        if record is None:
            return None
        opened: OpenedStore | None = None
        try:
            opened, wrapped = self.open(record)
            self._check_token(store_id, opened)
            if self._openers[record.kind].owns_secret(record):
                wrapped = self._change_secret(record, opened, wrapped)
        except ConnectFailed as failed:
            _log.warning("%s could not be connected: %s", store_id, failed.code)
            if opened is not None:
                opened.close()
            self._settle(store_id, partial(_failed, failed.code))
            return None
        except BaseException:
            if opened is not None:
                opened.close()
            self._settle(store_id, partial(_failed, ConnectionErrorCode.INTERNAL_ERROR))
            raise
        settled = self._settle(store_id, lambda now: replace(
            now, state=ConnectionState.CONNECTED, wrapped_secret=wrapped, new_secret=None,
            lacking=_lacking(opened),
        ))
        if settled is None:
            opened.close()
            return None
        _log.info("%s is connected", store_id)
        return Connected(settled, opened)

    def told(self, record: CustomKeyStore, opened: OpenedStore) -> None:
        """Keeps what a connected store that was opened anew says of itself, if that is news: its module may be another
        one than before."""
        if record.lacking == _lacking(opened):
            return
        with self._catalog.write() as writer:
            now = writer.custom_key_store(record.store_id)
            if now is not None and now.connected and now.revision == record.revision:
                writer.put_custom_key_store(replace(now, lacking=_lacking(opened)))

    def give_up(self, record: CustomKeyStore) -> None:
        """The process that was to connect a store is gone."""
        with self._catalog.write() as writer:
            now = writer.custom_key_store(record.store_id)
            if now == record:
                writer.put_custom_key_store(replace(
                    now, state=ConnectionState.FAILED, error=ConnectionErrorCode.INTERNAL_ERROR,
                    changed=self._clock(), worker="",
                ))

    def disconnected(self, record: CustomKeyStore) -> None:
        """The connections of a store are closed, or the process that was to close them is gone."""
        with self._catalog.write() as writer:
            now = writer.custom_key_store(record.store_id)
            if now == record:
                writer.put_custom_key_store(replace(
                    now, state=ConnectionState.DISCONNECTED, changed=self._clock(), worker=""
                ))

    def _change_secret(self, record: CustomKeyStore, opened: OpenedStore, present: bytes) -> bytes:
        """Gives the token, whose PIN is `present`, one that the service alone knows. Both are wrapped.

        Raises ConnectFailed.
        """
        new = self._new_secret()[:_PIN_CHARACTERS].encode()
        wrapped = self._secrets.wrap_secret(_domain(record), secret_label(record.store_id), new)
        with self._catalog.write() as writer:
            now = writer.custom_key_store(record.store_id)
            if now != record:
                raise ConnectFailed(ConnectionErrorCode.INTERNAL_ERROR)
            writer.put_custom_key_store(replace(now, wrapped_secret=present, new_secret=wrapped))
        try:
            opened.change_secret(new)
        except RequestRefused:
            _log.warning("%s: the token does not take a PIN of 32 characters; see change_pin", record.store_id)
            raise ConnectFailed(ConnectionErrorCode.INTERNAL_ERROR) from None
        return wrapped

    def _check_token(self, store_id: str, opened: OpenedStore) -> None:
        """Before another token's PIN is changed: a copy of a token under another serial number has none of the keys.

        Raises ConnectFailed.
        """
        with self._catalog.read() as reader:
            materials = reader.materials_in_store(store_id)
        if any(not opened.is_of(material_id, reference) for _, material_id, reference in materials):
            _log.error("%s: its keys are in a token with another serial number than this one", store_id)
            raise ConnectFailed(ConnectionErrorCode.CLUSTER_NOT_FOUND)

    def _unwrapped(self, record: CustomKeyStore, wrapped: bytes) -> bytes:
        return self._secrets.unwrap_secret(_domain(record), secret_label(record.store_id), wrapped)

    def _wanted(self, store_id: str) -> CustomKeyStore | None:
        with self._catalog.read() as reader:
            record = reader.custom_key_store(store_id)
        return record if record is not None and self._mine(record) else None

    def _mine(self, record: CustomKeyStore) -> bool:
        return record.state is ConnectionState.CONNECTING and record.worker == self._worker

    def _settle(
        self, store_id: str, change: Callable[[CustomKeyStore], CustomKeyStore]
    ) -> CustomKeyStore | None:
        """Writes how connecting ended, if anybody still waits for that."""
        with self._catalog.write() as writer:
            now = writer.custom_key_store(store_id)
            if now is None or not self._mine(now):
                return None
            settled = replace(change(now), changed=self._clock(), worker="")
            writer.put_custom_key_store(settled)
            return settled


def _lacking(opened: OpenedStore) -> frozenset[str]:
    return frozenset(map(str, opened.describe().lacking))


def _domain(record: CustomKeyStore) -> Domain:
    return Domain(record.account, record.region)


def _failed(code: ConnectionErrorCode, now: CustomKeyStore) -> CustomKeyStore:
    return replace(now, state=ConnectionState.FAILED, error=code)
