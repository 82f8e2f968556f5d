"""The key stores of a process: the service's own, and its connections to the custom ones."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotYet
from dataclasses import dataclass

from kagitori_keystore.base import (
    Domain,
    ErrorKind,
    KeyStore,
    KeyStoreError,
    MaterialRef,
    SecretWrapping,
    StoreKind,
    StoreLost,
)
from kagitori_keystore.capabilities import GeneralKeyStore
from kagitori_server.custom_stores.connecting import Connecting
from kagitori_server.custom_stores.pools import StorePool
from kagitori_server.custom_stores.ports import STORE_KINDS, ConnectFailed, OpenedStore, Opener, OwnStore
from kagitori_server.model.custom_key_stores import (
    DEFAULT_STORE,
    ConnectionState,
    CustomKeyStore,
    CustomKeyStoreType,
    DoomedMaterial,
)
from kagitori_server.model.errors import KmsError, KMSInvalidStateException, UnsupportedOperationException
from kagitori_server.model.keys import Key
from kagitori_server.storage.catalog import Catalog
from kagitori_server.storage.changes import Change, ChangeKind

_log = logging.getLogger(__name__)

_TRANSITIONS = 16
"""Custom key stores that are connected or disconnected at once."""


@dataclass(frozen=True, slots=True)
class Timing:
    """In seconds, and how many calls go to one custom key store at once."""

    look: float = 5.0
    """How often the catalog is asked what is to be connected; changes that this process sees are followed at once."""
    retry: float = 5.0
    """How long a store that could not be reached isn't tried again."""
    attempt: float = 180.0
    """How long a process may take to connect or disconnect: after that it is taken for dead."""
    threads: int = 8
    waiting: int = 128


@dataclass(slots=True)
class _Connection:
    made_of: CustomKeyStore
    """As the catalog had it."""
    store: OpenedStore

    def outdated(self, record: CustomKeyStore) -> bool:
        """Whether a connection made now would be another one."""
        before = self.made_of
        return (before.revision, before.wrapped_secret) != (record.revision, record.wrapped_secret)


@dataclass(frozen=True, slots=True)
class _Failure:
    record: CustomKeyStore
    at: float
    lasting: bool


class StoreRegistry:
    """`operations.stores.Stores`. Thread-safe. `start` follows the catalog in a thread until `close`."""

    def __init__(
        self, *, catalog: Catalog, default: OwnStore, secrets: SecretWrapping,
        openers: Mapping[CustomKeyStoreType, Opener], clock: Callable[[], float], monotonic: Callable[[], float],
        worker: str, new_secret: Callable[[], str], timing: Timing | None = None,
    ) -> None:
        """`worker` names this process in the catalog; `new_secret` makes URL-safe texts of 256 random bits."""
        self.default = default
        self.worker = worker
        self._catalog = catalog
        self._openers = openers
        self._clock = clock
        self._monotonic = monotonic
        self._timing = timing or Timing()
        self._connecting = Connecting(catalog, secrets, openers, clock, worker, new_secret)
        self._open: dict[str, _Connection] = {}
        self._failures: dict[str, _Failure] = {}
        self._undestroyed: set[str] = set()
        """Ids of material that couldn't be destroyed, of which the log has told."""
        self._pools: dict[str, StorePool] = {}
        self._locks: dict[str, threading.Lock] = {}
        self._busy: set[str] = set()
        """Stores of which a transition is under way."""
        self._guard = threading.Lock()
        self._transitions = ThreadPoolExecutor(_TRANSITIONS, "key-stores")
        self._wake = threading.Event()
        self._closed = False
        self._thread = threading.Thread(target=self._follow, name="key-stores")

    # --- what operations ask --------------------------------------------------------------------------------

    def of(self, store_id: str) -> GeneralKeyStore:
        """The store of that id; see `operations.stores.Stores.of`."""
        return self.default if store_id == DEFAULT_STORE else self.custom(store_id)

    def custom(self, store_id: str) -> OpenedStore:
        """The custom key store of that id, opened if it has to be."""
        found = self._open.get(store_id)
        return found.store if found is not None else self._open_connected(store_id)

    def at_hand(self, key: Key, domain: Domain) -> bool:
        """Whether a key can be used without waiting; see `operations.stores.Stores.at_hand`."""
        if key.store_id != DEFAULT_STORE:
            return False
        # Of all materials: what is decrypted may be under an older one.
        return self.default.is_at_hand(domain, (material.reference for material in key.materials))

    def pool(self, store_id: str) -> StorePool:
        """The threads for calls to a custom key store."""
        with self._guard:
            pool = self._pools.get(store_id)
            if pool is None:
                pool = self._pools[store_id] = StorePool(store_id, self._timing.threads, self._timing.waiting)
            return pool

    def verify(self, store: CustomKeyStore, secret: bytes | None) -> None:
        """Looks whether a configuration could be connected; see `operations.stores.Stores.verify`."""
        opener = self._openers.get(store.kind)
        if opener is None:
            raise UnsupportedOperationException(f"Custom key stores of type {store.kind} are not configured here.")
        opener.verify(store, secret)

    def same_cluster(self, cluster_id: str, other: str) -> bool:
        """Whether two clusters hold the same keys."""
        opener = self._openers.get(CustomKeyStoreType.AWS_CLOUDHSM)
        return cluster_id == other or (opener is not None and opener.same_cluster(cluster_id, other))

    def discard(self, store_id: str, reference: MaterialRef) -> None:
        """Lets material go that no key has, without waiting."""
        try:
            self.pool(store_id).submit(self._discard, store_id, reference)
        except (KmsError, RuntimeError):  # too many calls wait, or the process ends
            _log.warning("material %s is left over in %s", reference.material_id, store_id)

    def probe(self, seconds: float) -> Iterator[tuple[str, StoreKind, str, float]]:
        """Uses every store once; see `operations.stores.Stores.probe`."""
        with self._catalog.read() as reader:
            records = reader.all_custom_key_stores()
        asked = [(record, self._asked(record)) for record in records]
        began = self._monotonic()
        yield DEFAULT_STORE, self.default.describe().kind, _ill(self.default), self._monotonic() - began
        for record, future in asked:
            detail = f"it is {record.state}" if record.error is None else f"it is {record.state}: {record.error}"
            if future is not None:
                try:
                    detail = future.result(max(0.0, began + seconds - self._monotonic()))
                except NotYet:
                    detail = "it did not answer in time"
            yield record.store_id, STORE_KINDS[record.kind], detail, self._monotonic() - began

    def _asked(self, record: CustomKeyStore) -> Future[str] | None:
        if not record.connected:
            return None
        try:
            return self.pool(record.store_id).submit(self._probed, record.store_id)
        except KmsError as error:
            answered: Future[str] = Future()
            answered.set_result(error.message)
            return answered

    def _probed(self, store_id: str) -> str:
        try:
            return _ill(self.custom(store_id))
        except KeyStoreError as error:
            return str(error)
        except KmsError as error:
            return error.message

    def _discard(self, store_id: str, reference: MaterialRef) -> None:
        try:
            self.custom(store_id).destroy(reference)
        except (KeyStoreError, KmsError) as error:
            _log.warning("material %s is left over in %s: %s", reference.material_id, store_id, error)

    # --- opening --------------------------------------------------------------------------------------------

    def _lock(self, store_id: str) -> threading.Lock:
        with self._guard:
            return self._locks.setdefault(store_id, threading.Lock())

    def _open_connected(self, store_id: str) -> OpenedStore:
        """Opens what the catalog says is connected. Raises KMSInvalidStateException or StoreLost."""
        with self._lock(store_id):
            found = self._open.get(store_id)
            if found is not None:
                return found.store
            with self._catalog.read() as reader:
                record = reader.custom_key_store(store_id)
            if record is None or not record.connected:
                raise KMSInvalidStateException(f"The custom key store {store_id} is not connected.")
            if self._closed:
                raise StoreLost("the process ends")
            self._check_failure(record)
            try:
                opened, _ = self._connecting.open(record)
            except ConnectFailed as failed:
                self._failures[store_id] = _Failure(record, self._monotonic(), failed.lasting)
                _log.warning("%s can't be opened: %s", store_id, failed.code)
                raise StoreLost(f"the custom key store can't be reached: {failed.code}") from None
            self._failures.pop(store_id, None)
            self._open[store_id] = _Connection(record, opened)
            _log.info("%s is open", store_id)
            self._note(record, opened)
            return opened

    def _note(self, record: CustomKeyStore, opened: OpenedStore) -> None:
        """What a store says of itself is told to the catalog; keys can be used without."""
        try:
            self._connecting.told(record, opened)
        except KmsError as error:
            _log.warning("%s: what it can do isn't noted: %s", record.store_id, error.code())

    def _check_failure(self, record: CustomKeyStore) -> None:
        """Refuses to try again what failed just now, or what could lock a user out of the token."""
        failure = self._failures.get(record.store_id)
        if failure is None or failure.record != record:
            return
        if failure.lasting or self._monotonic() - failure.at < self._timing.retry:
            raise StoreLost("the custom key store can't be reached")

    # --- following the catalog ------------------------------------------------------------------------------

    def start(self) -> None:
        """Begins to follow the catalog."""
        self._thread.start()

    def changed(self, changes: Sequence[Change] | None) -> None:
        """The view's listener: wakes up for changes of custom key stores, and lets them forget changed keys."""
        for change in changes or ():
            if change.kind is ChangeKind.KEY:
                _, key_id = change.parts()
                for connection in tuple(self._open.values()):
                    connection.store.forget(key_id)
        if changes is None or any(change.kind is ChangeKind.CUSTOM_KEY_STORE for change in changes):
            self._wake.set()

    def close(self) -> None:
        """Ends what was started and every connection; the catalog goes on saying what is connected."""
        self._closed = True
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join()
        self._transitions.shutdown()
        with self._guard:
            pools = list(self._pools.values())
        for pool in pools:
            pool.shutdown(cancel_futures=True)
        for store_id in tuple(self._open):
            self._close(store_id)

    def _follow(self) -> None:
        while not self._closed:
            try:
                self.follow_once()
            except KmsError as error:
                _log.warning("custom key stores are not followed: %s", error.code())
            except Exception:  # noqa: BLE001 - a thread that dies silently would be worse than one that repeats itself
                _log.exception("custom key stores are not followed")
            self._wake.wait(self._timing.look)
            self._wake.clear()

    def follow_once(self) -> None:
        """Begins what the catalog says is to be done. Raises KmsError when it can't be read."""
        with self._catalog.read() as reader:
            records = reader.all_custom_key_stores()
            doomed = {
                record.store_id: reader.doomed_materials(record.store_id) for record in records if record.connected
            }
        for store_id in self._open.keys() - {record.store_id for record in records}:
            self._begin(store_id, self._close, store_id)
        for record in records:
            self._begin_one(record, doomed.get(record.store_id, []))

    def _begin_one(self, record: CustomKeyStore, doomed: Sequence[DoomedMaterial]) -> None:
        mine, store_id = record.worker == self.worker, record.store_id
        late = self._clock() - record.changed > self._timing.attempt
        connection = self._open.get(store_id)
        match record.state:
            case ConnectionState.CONNECTED if connection is None or connection.outdated(record):
                self._begin(store_id, self._reopen, store_id)
            case ConnectionState.CONNECTED:
                if doomed:
                    self._begin(store_id, self._destroy, store_id, doomed)
            case ConnectionState.CONNECTING if mine:
                self._begin(store_id, self._connect, store_id)
            case ConnectionState.CONNECTING if late:
                self._begin(store_id, self._connecting.give_up, record)
            case ConnectionState.DISCONNECTING if mine or late:
                self._begin(store_id, self._disconnect, record)
            case _:
                if connection is not None:
                    self._begin(store_id, self._close, store_id)

    def _begin(self, store_id: str, job: Callable[..., object], *arguments: object) -> None:
        """Runs a transition of a store, unless one is under way: the next look then sees what it came to."""
        with self._guard:
            if store_id in self._busy:
                return
            self._busy.add(store_id)
        self._transitions.submit(self._transition, store_id, job, *arguments)

    def _transition(self, store_id: str, job: Callable[..., object], *arguments: object) -> None:
        try:
            job(*arguments)
            self._wake_if_waited_for(store_id)
        except KeyStoreError as error:
            _log.warning("%s: %s", store_id, error)
        except KmsError as error:
            _log.warning("%s: %s", store_id, error.message or error.code())
        except Exception:  # noqa: BLE001 - tried again at the next look
            _log.exception("%s could not be brought to its state", store_id)
        finally:
            with self._guard:
                self._busy.discard(store_id)

    def _wake_if_waited_for(self, store_id: str) -> None:
        """What was asked of the store meanwhile was put off."""
        with self._catalog.read() as reader:
            record = reader.custom_key_store(store_id)
        waiting = {ConnectionState.CONNECTING, ConnectionState.DISCONNECTING}
        if record is not None and record.worker == self.worker and record.state in waiting:
            with self._guard:
                self._busy.discard(store_id)
            self._wake.set()

    def _connect(self, store_id: str) -> None:
        with self._lock(store_id):
            self._close(store_id)
            made = self._connecting.connect(store_id)
            if made is not None:
                self._failures.pop(store_id, None)
                self._open[store_id] = _Connection(made.record, made.store)

    def _reopen(self, store_id: str) -> None:
        with self._lock(store_id):
            self._close(store_id)
        self._open_connected(store_id)

    def _disconnect(self, record: CustomKeyStore) -> None:
        with self._lock(record.store_id):
            self._close(record.store_id)
            self._connecting.disconnected(record)

    def _close(self, store_id: str) -> None:
        connection = self._open.pop(store_id, None)
        if connection is not None:
            connection.store.close()
            _log.info("%s is closed", store_id)

    def _destroy(self, store_id: str, doomed: Sequence[DoomedMaterial]) -> None:
        store = self.custom(store_id)
        with self._catalog.read() as reader:
            record = reader.custom_key_store(store_id)
        if record is None:
            return
        for material in doomed:
            try:
                store.destroy(MaterialRef(STORE_KINDS[record.kind], material.reference, material.material_id))
            except KeyStoreError as error:
                if error.kind is not ErrorKind.KEY:
                    raise
                # Of this material alone: what is to go besides doesn't wait for it.
                if material.material_id not in self._undestroyed:
                    self._undestroyed.add(material.material_id)
                    _log.warning("material %s can't be destroyed in %s: %s", material.material_id, store_id, error)
                continue
            self._undestroyed.discard(material.material_id)
            with self._catalog.write() as writer:
                writer.forget_doomed(material)
            _log.info("material %s is gone from %s", material.material_id, store_id)


def _ill(store: KeyStore) -> str:
    """What is wrong with a store, empty if nothing. By its contract a store's messages hold no key and no PIN."""
    try:
        store.health()
    except KeyStoreError as failure:
        return str(failure) or type(failure).__name__
    return ""

