"""The one place that names concrete parts: key stores, root keys, clocks, randomness, listeners."""

from __future__ import annotations

import asyncio
import logging
import os
import ssl
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

from kagitori_keystore.base import KeyStore, RootKeyRefused
from kagitori_keystore.rootkey.file import open_file_root
from kagitori_keystore.rootkey.passphrase import open_passphrase_root
from kagitori_keystore.rootkey.provider import RootKeyProvider
from kagitori_keystore.software import SoftwareKeyStore
from kagitori_server import __version__
from kagitori_server.administration_ports import AuditFiles
from kagitori_server.admission import Faults
from kagitori_server.asking import lockout_check, may_assume_role
from kagitori_server.attestation import AWS_NITRO_ROOT_PEM, AttestationVerifier, read_roots
from kagitori_server.attesting import Attesting
from kagitori_server.audit.trail import open_trail
from kagitori_server.authn.authenticator import Authenticator, SocketIdentity
from kagitori_server.authn.web_tokens import WebTokens
from kagitori_server.authz.authorizer import Authorizer
from kagitori_server.bootstrap.certificates import Issued, check_pair, host_names, prepare
from kagitori_server.bootstrap.data_directory import DataDirectory
from kagitori_server.bootstrap.first_start import FirstStart
from kagitori_server.callers import Callers
from kagitori_server.config import Config, ConfigurationError
from kagitori_server.counting import Limiter, counted_actions
from kagitori_server.explaining import Explaining
from kagitori_server.federation.fetching import HttpsFetcher
from kagitori_server.federation.issuer_keys import IssuerKeys, KeyAges
from kagitori_server.identifiers import system_identifiers
from kagitori_server.limiting.leases import Leases
from kagitori_server.limiting.throttle import RatesRefused, Throttle, parse_rates
from kagitori_server.metering import Meter
from kagitori_server.model.errors import KmsError
from kagitori_server.model.limits import Quotas
from kagitori_server.operations.administration.ports import Administration, ServerFacts
from kagitori_server.operations.administration.root_key import RootKeyRotation
from kagitori_server.operations.context import DEFAULT_STORE, Identifiers, Services
from kagitori_server.operations.prices import PRICES
from kagitori_server.operations.row import Table
from kagitori_server.operations.table import TABLE
from kagitori_server.pipeline import Pipeline, Pools
from kagitori_server.recording import Recording
from kagitori_server.service_events import FreezeEvents, ServiceEvents
from kagitori_server.simulation.running import Simulations
from kagitori_server.storage.catalog import Catalog, open_catalog
from kagitori_server.storage.changes import Change, ChangeKind
from kagitori_server.transports.grpc.dispatcher import Dispatcher
from kagitori_server.transports.grpc.host import GrpcHost
from kagitori_server.transports.grpc.listeners import Listener, ListenerKind, ListenerRefused, TlsFiles
from kagitori_server.transports.metrics.listener import MetricsListener
from kagitori_server.transports.metrics.measures import Measures
from kagitori_server.workers import DeletionWorker, ExpirationWorker, RotationWorker, every, recover_intents

_FILE_MAX = 1_048_576
_ROOT_KEY_LOOKS = 3
"""Another process may rotate the root key between two looks at once."""
_GENERATION_THREADS = 2
_DECIDING_THREADS = 1
"""They run nothing that releases the interpreter lock, so more would only take more of the event loop's turns."""
_METER_REST = 0.001
"""Seconds between two blocks of the trail that are counted: some seventy records, in a fraction of that time."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Clocks:
    """What tells the time. `wall` in seconds since the epoch, `monotonic` in seconds since whenever."""

    wall: Callable[[], float] = time.time
    everybody: Callable[[], float] = time.time
    """As `wall`, the time by which peers judge the server's certificate."""
    monotonic: Callable[[], float] = time.monotonic


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where a started server listens; None for listeners that aren't configured."""

    grpc: str | None
    grpc_mtls: str | None
    grpc_plaintext: str | None
    socket: str | None
    metrics: str | None


class Server:
    """A whole deployment in one process. `open` blocks; `start` and `stop` run in the event loop that serves."""

    def __init__(self, config: Config, data: DataDirectory, clocks: Clocks | None = None) -> None:
        self._config = config
        self._data = data
        self._clocks = clocks or Clocks()
        self._ids = system_identifiers(os.urandom)
        self._table: Table = TABLE
        self._faults: Faults | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._metrics: MetricsListener | None = None
        self._ready = False
        self.first_start = False
        """True when `open` made the home account and its root credential."""

    def open(self) -> None:
        """Opens catalog, root key, key store and trail, and makes what is missing.

        Raises ConfigurationError, CatalogUnusableError, KeyStoreError, KmsError or OSError with a text for the
        operator.
        """
        config, data = self._config, self._data
        check_metrics_address(config)
        throttle = configured_throttle(config, self._clocks.monotonic)
        self._attesting = Attesting(open_attestation(config), self._clocks.wall)
        self._catalog = open_configured_catalog(config, data, self._clocks.monotonic)
        root_key = open_root_key(config, data)
        check_root_key(root_key, self._catalog)
        self._store = self._make_store(root_key)
        self._catalog.view.listen(forgetting(self._store))
        first = FirstStart(
            self._catalog, self._clocks.wall, self._ids, config.service.partition, config.service.account
        )
        self.first_start = first.ensure_home_account(data.root_token)
        self._trail = open_trail(data.audit)
        self._measures = Measures(
            self._table,
            in_flight=lambda: self._dispatcher.in_flight,
            audit_position=lambda: self._trail.position().seq,
        )
        self._meter = Meter(
            self._catalog, data.audit, self._trail, PRICES, self._clocks.monotonic, lambda: time.sleep(_METER_REST)
        )
        self._services = self._make_services(root_key)
        recover_intents(self._services, self._trail, data.audit)
        self._recording = Recording(
            clock=self._clocks.wall,
            new_event_id=self._ids.uuid,
            partition=config.service.partition,
            home_account=config.service.account,
            default_region=config.service.region,
        )
        self._pools = Pools(
            reads=ThreadPoolExecutor(config.limits.read_threads, "reads"),
            writes=ThreadPoolExecutor(1, "writes"),
            deciding=ThreadPoolExecutor(_DECIDING_THREADS, "deciding"),
            computing=ThreadPoolExecutor(os.cpu_count() or 1, "computing"),
            generation=ThreadPoolExecutor(_GENERATION_THREADS, "generation"),
        )
        self._events = ServiceEvents(self._catalog, self._recording, self._trail)
        self._workers = {
            "destroying due keys": DeletionWorker(self._services, self._events).run_once,
            "rotating due keys": RotationWorker(self._services, self._events).run_once,
            "deleting expired key material": ExpirationWorker(self._services, self._events).run_once,
        }
        leases = Leases(self._catalog, self._clocks.wall, self._ids.uuid, FreezeEvents(self._events))
        self._issuer_keys = open_issuer_keys(config, self._clocks.monotonic)
        self._metering = ThreadPoolExecutor(1, "metering")
        self._pipeline = self._make_pipeline(Limiter(throttle, leases))
        self._dispatcher = Dispatcher(self._pipeline, self._ids.uuid, config.limits.calls_in_flight)
        self._host = GrpcHost(
            self._dispatcher, self._listeners()
        )

    async def start(self) -> Addresses:
        """Listens and serves. Raises ListenerRefused; `stop` lets go of what was had by then."""
        await self._host.start()
        listen = self._config.listen
        if listen.metrics:
            self._metrics = MetricsListener(listen.metrics, self._measures, lambda: self._ready)
            try:
                await self._metrics.start()
            except OSError as error:
                raise ListenerRefused(f"Can't listen on {listen.metrics}: {error.strerror}") from None
        seconds = self._config.limits.deletion_check_seconds
        for name, job in (
            *self._workers.items(),
            ("settling intents", self._pipeline.settle),
            ("recording what was done", self._events.keep),
        ):
            self._tasks.append(asyncio.create_task(every(seconds, job, self._pools.writes, name)))
        seconds = self._config.limits.usage_count_seconds
        counting = every(seconds, self._meter.run_once, self._metering, "counting usage")
        self._tasks.append(asyncio.create_task(counting))
        self._host.set_serving(True)
        self._ready = True
        return self._addresses()

    async def stop(self) -> None:
        """Takes no more calls, finishes those in flight, makes everything durable and lets go of it."""
        self._ready = False
        await self._host.stop(self._config.limits.shutdown_seconds)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._metrics is not None:
            await self._metrics.stop()
        await asyncio.to_thread(self._close)

    def _close(self) -> None:
        self._meter.stop()
        pools = self._pools
        for pool in (self._metering, pools.generation, pools.computing, pools.deciding, pools.writes, pools.reads):
            pool.shutdown()
        self._issuer_keys.close()
        try:
            self._events.keep()
            self._pipeline.settle()
        except KmsError as error:
            _log.warning("the catalog could not be told that all records are in the trail: %s", error.code())
        self._trail.close()
        self._store.close()
        self._catalog.close()

    def _make_store(self, root_key: RootKeyProvider) -> SoftwareKeyStore:
        return SoftwareKeyStore(root_key, self._catalog.kek_shelf, os.urandom)

    def _make_identifiers(self) -> Identifiers:
        """For the handlers of operations."""
        return self._ids

    def _make_services(self, root_key: RootKeyProvider) -> Services:
        config = self._config
        self._authorizer = Authorizer()
        started = self._clocks.monotonic()
        administration = Administration(
            audit=AuditFiles(self._data.audit, self._trail),
            root_key=RootKeyRotation(
                config.root_key.provider, root_key, self._store.rewrap_kek, self._catalog.kek_shelf
            ),
            decisions=Explaining(self._authorizer, self._table),
            simulations=Simulations(
                self._data.audit, self._table, most=config.limits.simulations, monotonic=self._clocks.monotonic,
                pause=time.sleep,
            ),
            usage=self._meter,
            server=ServerFacts(__version__, config.service.region, tuple(sorted(self._table))),
            counted_actions=counted_actions(self._table),
            secrets=self._store,
            may_assume=may_assume_role,
            uptime=lambda: self._clocks.monotonic() - started,
            monotonic=self._clocks.monotonic,
        )
        return Services(
            catalog=self._catalog,
            stores={DEFAULT_STORE: self._store},
            clock=self._clocks.wall,
            ids=self._make_identifiers(),
            partition=config.service.partition,
            home_account=config.service.account,
            regions=config.service.served_regions,
            quotas=Quotas(
                keys_per_account_region=config.quotas.keys_per_account,
                aliases_per_key=config.quotas.aliases_per_key,
                grants_per_key=config.quotas.grants_per_key,
            ),
            lockout_check=lockout_check(self._authorizer),
            administration=administration,
        )

    def _make_pipeline(self, limiter: Limiter) -> Pipeline:
        config, listen = self._config, self._config.listen
        socket = None
        if listen.socket_principal:
            socket = SocketIdentity(listen.socket_principal, "socket", self._clocks.wall())
        web_tokens = WebTokens(self._clocks.wall, self._issuer_keys)
        return Pipeline(
            table=self._table,
            faults=self._faults,
            services=self._services,
            callers=Callers(
                Authenticator(self._clocks.wall, config.service.partition, socket, web_tokens), web_tokens,
                self._issuer_keys, self._catalog.view, self._pools.reads, config.service.region, self._clocks.wall,
            ),
            attesting=self._attesting,
            authorizer=self._authorizer,
            limiter=limiter,
            recording=self._recording,
            trail=self._trail,
            pools=self._pools,
            observer=self._measures,
            default_region=config.service.region,
            monotonic=self._clocks.monotonic,
        )

    def _listeners(self) -> list[Listener]:
        listen = self._config.listen
        listeners = []
        if listen.grpc:
            listeners.append(Listener(listen.grpc, ListenerKind.TLS, self._tls()))
        if listen.grpc_mtls:
            listeners.append(Listener(listen.grpc_mtls, ListenerKind.MTLS, self._tls()))
        if listen.grpc_plaintext:
            listeners.append(Listener(listen.grpc_plaintext, ListenerKind.PLAINTEXT))
        if listen.socket:
            listeners.append(Listener(listen.socket, ListenerKind.UNIX))
        return listeners

    def _tls(self) -> TlsFiles:
        tls = self._config.tls
        if tls.certificate_file and tls.client_ca_file:
            local = None
        else:
            local = prepare(self._data.tls, (*host_names(), *tls.server_names), self._clocks.everybody)
        own_ca = local.authority.pem if local is not None else None
        client_ca = read_file(tls.client_ca_file) if tls.client_ca_file else own_ca
        if tls.certificate_file:
            own = Issued(read_file(tls.certificate_file), read_secret(tls.key_file))
            check_pair(own)
            return TlsFiles(own.certificate, own.key, client_ca)
        if local is None:
            raise ConfigurationError("tls: there is no server certificate")
        return TlsFiles(local.server.certificate, local.server.key, client_ca)

    def _addresses(self) -> Addresses:
        bound = iter(self._host.addresses)
        listen = self._config.listen
        return Addresses(
            grpc=next(bound) if listen.grpc else None,
            grpc_mtls=next(bound) if listen.grpc_mtls else None,
            grpc_plaintext=next(bound) if listen.grpc_plaintext else None,
            socket=next(bound) if listen.socket else None,
            metrics=self._metrics.address if self._metrics is not None else None,
        )


def forgetting(store: KeyStore) -> Callable[[Sequence[Change] | None], None]:
    """A listener to the view that lets `store` forget what it has opened of keys that changed, in any process."""

    def changed(changes: Sequence[Change] | None) -> None:
        for change in changes or ():
            if change.kind is ChangeKind.KEY:
                _, key_id = change.parts()
                store.forget(key_id)

    return changed


def open_configured_catalog(config: Config, data: DataDirectory, monotonic: Callable[[], float]) -> Catalog:
    """The catalog that the configuration names. Raises as `open_catalog`, and ConfigurationError."""
    if not config.catalog.url:
        return open_catalog(data.catalog, monotonic=monotonic)
    try:
        url = make_url(config.catalog.url)
    except (ArgumentError, ValueError):
        # No cause: it quotes the URL, which may hold a password.
        raise ConfigurationError("catalog.url must be postgresql://… or sqlite:///…") from None
    if config.catalog.password_file:
        try:
            password = read_secret(config.catalog.password_file).decode().rstrip("\r\n")
        except UnicodeDecodeError:
            raise ConfigurationError(f"{config.catalog.password_file} is not UTF-8 text") from None
        url = url.set(password=password)
    return open_catalog(url.render_as_string(hide_password=False), monotonic=monotonic)


def check_metrics_address(config: Config) -> None:
    """Raises ConfigurationError for metrics on an address that others reach, unless that was allowed."""
    listen = config.listen
    if not listen.metrics or listen.metrics_anywhere:
        return
    try:
        Listener(listen.metrics, ListenerKind.PLAINTEXT).check()
    except ListenerRefused:
        raise ConfigurationError(
            "listen.metrics must be a loopback address and a port; listen.metrics_anywhere allows others"
        ) from None


def configured_throttle(config: Config, monotonic: Callable[[], float]) -> Throttle:
    """The request rates that the configuration names. Raises ConfigurationError."""
    throttling = config.throttling
    rates = {}
    for name in ("account_rates", "principal_rates"):
        try:
            rates[name] = parse_rates(getattr(throttling, name))
        except RatesRefused as error:
            raise ConfigurationError(f"throttling.{name}: {error}") from None
    return Throttle(
        account=rates["account_rates"], principal=rates["principal_rates"], burst_seconds=throttling.burst_seconds,
        buckets=throttling.buckets, monotonic=monotonic,
    )


def open_root_key(config: Config, data: DataDirectory) -> RootKeyProvider:
    """The root key that the configuration names. Raises ConfigurationError or KeyStoreError."""
    try:
        if config.root_key.provider == "passphrase":
            passphrase = read_secret(config.root_key.passphrase_file).rstrip(b"\r\n")
            return open_passphrase_root(data.root_key, passphrase, os.urandom)
        return open_file_root(data.root_key, os.urandom)
    except RootKeyRefused as error:
        raise ConfigurationError(f"{data.root_key}: {error}") from None


def open_issuer_keys(config: Config, monotonic: Callable[[], float]) -> IssuerKeys:
    """Where the keys of OpenID Connect issuers come from. Raises ConfigurationError."""
    oidc = config.oidc
    trusted = ssl.create_default_context()
    if oidc.ca_file:
        try:
            trusted.load_verify_locations(cadata=read_file(oidc.ca_file).decode("ascii"))
        except (ssl.SSLError, ValueError):
            raise ConfigurationError(f"{oidc.ca_file} holds no certificates in PEM form") from None
    ages = KeyAges(refresh=oidc.refresh_seconds, maximum=oidc.max_age_seconds, wait=oidc.fetch_seconds + 1)
    return IssuerKeys(HttpsFetcher(trusted, oidc.fetch_seconds), monotonic, ages)


def open_attestation(config: Config) -> AttestationVerifier:
    """What verifies attestation documents. Raises ConfigurationError."""
    attestation = config.attestation
    pem = read_file(attestation.roots_file) if attestation.roots_file else AWS_NITRO_ROOT_PEM
    try:
        roots = read_roots(pem)
    except ValueError:
        raise ConfigurationError(f"{attestation.roots_file} holds no certificates in PEM form") from None
    return AttestationVerifier(roots, max_age=attestation.max_age_seconds)


def check_root_key(root_key: RootKeyProvider, catalog: Catalog) -> None:
    """Raises ConfigurationError if the root key can't open what the catalog holds: another provider or data
    directory was configured, or the file got lost and a new one was just made."""
    for _ in range(_ROOT_KEY_LOOKS):
        named = {root_key.version_of(wrapped) for _, _, wrapped in catalog.kek_shelf.all()}
        if named <= set(root_key.versions()):
            return
    raise ConfigurationError(
        "the root key here isn't the one that the keys in the catalog are under; see root_key.provider and --data-dir"
    )


def read_file(path: str) -> bytes:
    """A file of at most 1 MiB. Raises ConfigurationError."""
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror}") from None
    if len(content) > _FILE_MAX:
        raise ConfigurationError(f"{path} is larger than {_FILE_MAX} bytes")
    return content


def read_secret(path: str) -> bytes:
    """A file that only its owner may read. Raises ConfigurationError."""
    try:
        mode = Path(path).stat().st_mode
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror}") from None
    if mode & 0o077:
        raise ConfigurationError(f"{path} can be read by others; run chmod 600 {path}")
    return read_file(path)
