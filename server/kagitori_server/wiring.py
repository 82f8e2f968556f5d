"""The one place that names concrete parts: key stores, root keys, clocks, randomness, listeners."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from kagitori_keystore.rootkey.provider import RootKeyProvider
from kagitori_keystore.software import SoftwareKeyStore
from kagitori_server import __version__
from kagitori_server.administration_ports import AuditFiles
from kagitori_server.admission import Faults
from kagitori_server.asking import lockout_check, may_assume_role
from kagitori_server.attesting import Attesting
from kagitori_server.audit.indexing import Indexer, Indexes
from kagitori_server.audit.keeping import Keeper, Keeping
from kagitori_server.audit.trail import Trail, open_trail
from kagitori_server.authn.authenticator import Authenticator, SocketIdentity
from kagitori_server.authn.signatures import Signatures
from kagitori_server.authn.web_tokens import WebTokens
from kagitori_server.authz.authorizer import Authorizer
from kagitori_server.bootstrap.access_keys import RootAccessKeys
from kagitori_server.bootstrap.data_directory import DataDirectory
from kagitori_server.bootstrap.first_start import FirstStart
from kagitori_server.callers import Callers
from kagitori_server.config import Config
from kagitori_server.configured import (
    check_aws_address,
    check_metrics_address,
    configured_quotas,
    configured_strangers,
    configured_throttle,
    make_pools,
    open_attestation,
    open_configured_catalog,
    open_issuer_keys,
    open_libcrypto,
    open_sinks,
)
from kagitori_server.counting import Limiter, counted_actions
from kagitori_server.custom_stores import CatalogUses, Opener, StoreRegistry
from kagitori_server.delivery.running import Delivery
from kagitori_server.delivery_opener import check_delivered, describe_trail, open_delivery
from kagitori_server.explaining import Explaining
from kagitori_server.followers import Follower, Followers, do_in_time
from kagitori_server.forgetting import forgetting, forgetting_access_keys
from kagitori_server.identifiers import system_identifiers
from kagitori_server.limiting.leases import Leases
from kagitori_server.listening import Listening
from kagitori_server.log_keys import LogKeys
from kagitori_server.metering import Meter
from kagitori_server.model.custom_key_stores import CustomKeyStoreType
from kagitori_server.model.errors import KmsError
from kagitori_server.operations.administration.ports import Administration, ServerFacts
from kagitori_server.operations.administration.root_key import RootKeyRotation
from kagitori_server.operations.administration.usage_lists import UsageLists
from kagitori_server.operations.context import Identifiers, Services
from kagitori_server.operations.neighbour_table import NEIGHBOURS
from kagitori_server.operations.prices import PRICES
from kagitori_server.operations.proxied_table import PROXIED
from kagitori_server.operations.row import Table
from kagitori_server.operations.table import TABLE
from kagitori_server.pipeline import Pipeline
from kagitori_server.reception import REPORT_SECONDS, Reception
from kagitori_server.recording import Recording
from kagitori_server.root_keys import check_root_key, open_ahead, open_root_key
from kagitori_server.service_events import FreezeEvents, ServiceEvents
from kagitori_server.service_keys import ServiceKeys
from kagitori_server.simulation.running import Simulations
from kagitori_server.sinks import stop_all
from kagitori_server.store_openers import openers
from kagitori_server.transparency.log import TransparencyLog
from kagitori_server.transparency.receipts import Receipts
from kagitori_server.transports.awsjson.application import Application as AwsApplication
from kagitori_server.transports.awsjson.neighbours import NEIGHBOUR_SERVICES
from kagitori_server.transports.awsjson.services import KMS, AwsService, Routes
from kagitori_server.transports.grpc.dispatcher import Dispatcher
from kagitori_server.transports.grpc.host import GrpcHost
from kagitori_server.transports.grpc.listeners import ListenerRefused
from kagitori_server.transports.http.host import HttpHost, HttpListenRefused
from kagitori_server.transports.metrics.listener import MetricsListener
from kagitori_server.transports.metrics.measures import Measures
from kagitori_server.transports.xks.application import Application, Offer
from kagitori_server.workers import (
    DeletionWorker,
    ExpirationWorker,
    RotationWorker,
    UsageWorker,
    every,
    recover_intents,
)
from kagitori_server.xks_health import XksHealth

_SINK_SECONDS = 2.0
"""How long the end of the server waits for deliveries of audit records that are under way; they are repeated later."""
_DELIVERING = "delivering the audit trail"
_FINISHING_SECONDS = 5.0
"""What the delivery of what is left may take longer than it should."""
_METER_REST = 0.001
"""Seconds between two blocks of the trail that are counted: some seventy records, in a fraction of that time."""
DELIVERY_LOOK_SECONDS = 0.5
"""How often is looked whether log files or digests are due."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Clocks:
    """What tells the time. `wall` in seconds since the epoch, `monotonic` in seconds since whenever."""

    wall: Callable[[], float] = time.time
    everybody: Callable[[], float] = time.time
    """As `wall`, the time of peers: by which they judge the server's certificate and date what they sign."""
    monotonic: Callable[[], float] = time.monotonic
    thread_time: Callable[[], float] = time.thread_time
    """Processor time of the thread that asks, in seconds."""


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where a started server listens; None for listeners that aren't configured."""

    grpc: str | None
    grpc_mtls: str | None
    grpc_plaintext: str | None
    socket: str | None
    metrics: str | None
    aws: str | None
    xks_proxy: str | None


AWS_SERVICES: tuple[AwsService, ...] = (KMS, *NEIGHBOUR_SERVICES)
"""What `aws.listen` speaks. The first answers requests that name no service."""


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
        self._xks: HttpHost | None = None
        self._aws: HttpHost | None = None
        self._applications: list[Application | AwsApplication] = []
        self._ready = False
        self.first_start = False
        """True when `open` made the home account and its root credential."""
        self.access_key_made = False
        """True when `open` made the root user's access key."""

    def open(self) -> None:
        """Opens catalog, root key, key store and trail, and makes what is missing.

        Raises ConfigurationError, CatalogUnusableError, KeyStoreError, KmsError or OSError with a text for the
        operator.
        """
        config, data = self._config, self._data
        check_metrics_address(config)
        check_aws_address(config)
        throttle = configured_throttle(config, self._clocks.monotonic)
        self._libcrypto = open_libcrypto(config)
        self._attesting = Attesting(open_attestation(config), self._clocks.wall)
        self._catalog = open_configured_catalog(config, data, self._clocks.monotonic)
        self._root_key = open_root_key(config, data)
        root_key = self._root_key.keys
        check_root_key(root_key, self._catalog)
        self._store = self._make_store(root_key)
        if self._root_key.token_serial is not None:
            open_ahead(self._store, self._catalog)
        self._catalog.view.listen(forgetting(self._store))
        self._stores = self._open_stores()
        self._catalog.view.listen(self._stores.changed)
        self._signatures = Signatures(self._store)
        self._catalog.view.listen(forgetting_access_keys(self._signatures))
        first = FirstStart(
            self._catalog, self._clocks.wall, self._ids, config.service.partition, config.service.account
        )
        self.first_start = first.ensure_home_account(data.root_token)
        if config.aws.listen:
            self.access_key_made = self._provide_access_key(RootAccessKeys(
                self._catalog, self._store, self._clocks.wall, self._ids, config.service.partition,
                config.service.account, config.service.region,
            ))
        self._trail = self._open_trail()
        self._measures = Measures(
            [*self._table, *(row.name for row in NEIGHBOURS.values())],
            in_flight=lambda: self._dispatcher.in_flight + sum(each.in_flight for each in self._applications),
            audit_position=lambda: self._trail.position().seq,
            sinks=lambda: [sink.status() for sink in self._sinks],
            left_out=lambda: self._reception.left_out,
        )
        self._sinks = open_sinks(config, data, self._trail, __version__, self._clocks.wall)
        self._meter = Meter(
            self._catalog, data.audit, self._trail, PRICES, self._clocks.monotonic, lambda: time.sleep(_METER_REST)
        )
        self._indexes = Indexes(data.audit)
        self._indexer = Indexer(data.audit, self._trail, self._indexes, lambda: time.sleep(_METER_REST))
        self._transparency = TransparencyLog(
            data.audit, self._trail, LogKeys(lambda: self._service_keys, self._clocks.monotonic),
            config.transparency.log_name, self._clocks.monotonic, lambda: time.sleep(_METER_REST), self._indexes,
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
        self._pools = make_pools(config)
        self._events = ServiceEvents(self._catalog, self._recording, self._trail)
        self._service_keys = ServiceKeys(
            self._services, config.service.region, self._events, config.delivery.signing_key_days
        )
        self._delivery = self._make_delivery()
        self._workers = {
            "destroying due keys": DeletionWorker(self._services, self._events).run_once,
            "rotating due keys": RotationWorker(self._services, self._events).run_once,
            "deleting expired key material": ExpirationWorker(self._services, self._events).run_once,
            "summing up old usage": UsageWorker(self._catalog, self._clocks.wall).run_once,
        }
        leases = Leases(self._catalog, self._clocks.wall, self._ids.uuid, FreezeEvents(self._events))
        self._issuer_keys = open_issuer_keys(config, self._clocks.monotonic)
        self._keeper = self._make_keeper()
        self._proving = ThreadPoolExecutor(1, "proving")
        self._followers = Followers(self._make_followers())
        self._pipeline = self._make_pipeline(Limiter(throttle, leases))
        self._reception = self._make_reception()
        self._listening = Listening(config, data, self._clocks.everybody)
        self._dispatcher = Dispatcher(self._reception, self._ids.uuid, config.limits.calls_in_flight)
        self._host = GrpcHost(self._dispatcher, self._listening.grpc())
        if config.xks_proxy.listen:
            self._xks = self._make_xks_proxy()
        if config.aws.listen:
            self._aws = self._make_aws_endpoint()

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
        self._stores.start()
        for host in filter(None, (self._xks, self._aws)):
            try:
                await host.start()
            except HttpListenRefused as error:
                raise ListenerRefused(str(error)) from None
        seconds = self._config.limits.deletion_check_seconds
        for name, job, between in (
            *((name, job, seconds) for name, job in self._workers.items()),
            ("settling intents", self._pipeline.settle, seconds),
            ("recording what was done", self._events.keep, seconds),
            ("recording what was left out", self._reception.report, REPORT_SECONDS),
        ):
            self._tasks.append(asyncio.create_task(every(between, job, self._pools.writes, name)))
        self._tasks += self._followers.start()
        for sink in self._sinks:
            sink.start()
        self._host.set_serving(True)
        self._ready = True
        return self._addresses()

    async def stop(self) -> None:
        """Takes no more calls, finishes those in flight, makes everything durable and lets go of it."""
        self._ready = False
        await asyncio.gather(*(host.stop() for host in (self._xks, self._aws) if host is not None))
        await self._host.stop(self._config.limits.shutdown_seconds)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._metrics is not None:
            await self._metrics.stop()
        await asyncio.to_thread(self._close)

    def _close(self) -> None:
        seconds = self._config.limits.shutdown_seconds
        left = self._followers.close(seconds)
        pools = self._pools
        for pool in (
            self._proving, pools.stores, pools.generation, pools.computing, pools.deciding, pools.writes, pools.reads,
        ):
            pool.shutdown()
        self._issuer_keys.close()
        try:
            self._reception.report()
            self._events.keep()
            self._pipeline.settle()
        except KmsError as error:
            _log.warning("the catalog could not be told that all records are in the trail: %s", error.code())
        if self._delivery is not None and _DELIVERING not in left:
            do_in_time(_DELIVERING, partial(self._delivery.finish, seconds), seconds + _FINISHING_SECONDS)
        self._trail.close()
        stop_all(self._sinks, _SINK_SECONDS)
        self._stores.close()
        self._store.close()
        self._root_key.close()
        self._catalog.close()

    def _make_keeper(self) -> Keeper:
        audit = self._config.audit
        reached: dict[str, Callable[[str], int | None]] = {
            "usage": self._meter.counted, "index": self._indexer.indexed, "trees": self._transparency.kept,
        }
        if self._delivery is not None:
            reached["delivery"] = self._delivery.delivered
        reached |= {f"sink {sink.name}": sink.sent for sink in self._sinks}
        archive = Path(audit.archive_directory) if audit.archive_directory else None
        return Keeper(
            self._data.audit, self._trail, Keeping(audit.retention_days, archive, audit.archive_days), reached,
            lambda name, details: self._recording.of_upkeep(name, details).event, self._clocks.wall,
        )

    def _make_followers(self) -> list[Follower]:
        limits, audit = self._config.limits, self._config.audit
        followers = [
            Follower("counting usage", self._meter, limits.usage_count_seconds),
            Follower("indexing the audit trail", self._indexer, limits.audit_index_seconds),
            Follower("keeping the audit trail", self._keeper, audit.keeping_seconds),
        ]
        # Who wants trees when asked only has them kept up with what is removed all the same.
        seconds = self._config.transparency.update_seconds or (audit.keeping_seconds if audit.retention_days else 0)
        if seconds:
            followers.append(Follower("adding records to trees", self._transparency, seconds))
        if self._delivery is not None:
            followers.append(Follower(_DELIVERING, self._delivery, DELIVERY_LOOK_SECONDS))
        return followers

    def _make_delivery(self) -> Delivery | None:
        clocks = self._clocks
        return open_delivery(
            self._config, self._services, self._trail, self._data.audit, self._service_keys, clocks.wall,
            clocks.monotonic,
        )

    def _open_trail(self) -> Trail:
        return open_trail(self._data.audit)

    def _make_store(self, root_key: RootKeyProvider) -> SoftwareKeyStore:
        return SoftwareKeyStore(root_key, self._catalog.kek_shelf, os.urandom, libcrypto=self._libcrypto)

    def _make_identifiers(self) -> Identifiers:
        """For the handlers of operations."""
        return self._ids

    def _open_stores(self) -> StoreRegistry:
        return StoreRegistry(
            catalog=self._catalog, default=self._store, secrets=self._store,
            openers=self._make_openers(), clock=self._clocks.wall, monotonic=self._clocks.monotonic,
            worker=self._ids.uuid(), new_secret=self._ids.secret,
        )

    def _make_openers(self) -> Mapping[CustomKeyStoreType, Opener]:
        """How custom key stores are reached."""
        return openers(
            self._config, self._data.run, CatalogUses(self._catalog), self._store, self._clocks.wall,
            root_token=self._root_key.token_serial,
        )

    def _make_services(self, root_key: RootKeyProvider) -> Services:
        config = self._config
        self._authorizer = Authorizer()
        started = self._clocks.monotonic()
        administration = Administration(
            audit=AuditFiles(
                self._data.audit, self._trail, self._indexes, streams=config.limits.audit_streams,
                rest=lambda: time.sleep(_METER_REST),
                check_delivered=lambda: check_delivered(config, self._catalog, self._data.audit),
            ),
            trail=describe_trail(config) if config.delivery.wanted else None,
            transparency=self._transparency,
            root_key=RootKeyRotation(
                config.root_key.provider, root_key, self._store.rewrap_kek, self._catalog.kek_shelf
            ),
            decisions=Explaining(self._authorizer, self._table),
            simulations=Simulations(
                self._data.audit, self._table, most=config.limits.simulations, monotonic=self._clocks.monotonic,
                pause=time.sleep,
            ),
            usage=self._meter,
            usage_lists=UsageLists(self._clocks.monotonic),
            server=ServerFacts(__version__, config.service.region, tuple(sorted(self._table))),
            counted_actions=counted_actions(self._table),
            secrets=self._store,
            may_assume=may_assume_role,
            uptime=lambda: self._clocks.monotonic() - started,
            monotonic=self._clocks.monotonic,
        )
        return Services(
            catalog=self._catalog,
            stores=self._stores,
            clock=self._clocks.wall,
            ids=self._make_identifiers(),
            partition=config.service.partition,
            home_account=config.service.account,
            regions=config.service.served_regions,
            quotas=configured_quotas(config),
            lockout_check=lockout_check(self._authorizer),
            administration=administration,
        )

    def _make_pipeline(self, limiter: Limiter) -> Pipeline:
        config, listen = self._config, self._config.listen
        socket = None
        if listen.socket_principal:
            socket = SocketIdentity(listen.socket_principal, "socket", self._clocks.wall())
        web_tokens = WebTokens(self._clocks.wall, self._issuer_keys)
        authenticator = Authenticator(
            self._clocks.wall, config.service.partition, socket, web_tokens, signatures=self._signatures,
            signers_clock=self._clocks.everybody,
        )
        self._callers = Callers(
            authenticator, web_tokens, self._issuer_keys, self._catalog.view, self._pools.reads,
            config.service.region, self._clocks.wall, self._signatures,
        )
        return Pipeline(
            table=self._table,
            faults=self._faults,
            beside={**PROXIED, **NEIGHBOURS},
            services=self._services,
            callers=self._callers,
            attesting=self._attesting,
            authorizer=self._authorizer,
            limiter=limiter,
            recording=self._recording,
            trail=self._trail,
            pools=self._pools,
            observer=self._measures,
            default_region=config.service.region,
            monotonic=self._clocks.monotonic,
            receipts=Receipts(self._transparency, self._proving),
            thread_time=self._clocks.thread_time,
        )

    def _make_reception(self) -> Reception:
        clocks = self._clocks
        return Reception(
            self._pipeline, configured_strangers(self._config, clocks.monotonic, clocks.wall), callers=self._callers,
            recording=self._recording, trail=self._trail, observer=self._measures, monotonic=clocks.monotonic,
        )

    def _provide_access_key(self, keys: RootAccessKeys) -> bool:
        """The root user's access key, for who uses the AWS endpoint first. True if it was made."""
        return keys.ensure(self._data.aws_credentials)

    def _make_aws_endpoint(self) -> HttpHost:
        config = self._config
        application = AwsApplication(
            self._reception, Routes(AWS_SERVICES, {**self._table, **NEIGHBOURS}), self._ids.uuid,
            config.service.served_regions, config.limits.calls_in_flight,
        )
        self._applications.append(application)
        tls = None if config.aws.plaintext else self._listening.http_tls()
        return HttpHost(config.aws.listen, tls, application, config.limits.shutdown_seconds)

    def _make_xks_proxy(self) -> HttpHost:
        config, service = self._config.xks_proxy, self._config.service
        files = self._listening.http_tls(config.client_ca_file, config.client_name)
        health = XksHealth(
            self._callers, self._catalog.view, self._stores, self._pools.reads, self._clocks.monotonic,
            offered=tuple(config.offered.values()), partition=service.partition, region=service.region,
        )
        application = Application(
            self._reception, health, Offer(config.path_prefix, config.offered, __version__), self._ids.uuid,
            self._config.limits.calls_in_flight,
        )
        self._applications.append(application)
        return HttpHost(config.listen, files, application)

    def _addresses(self) -> Addresses:
        bound = iter(self._host.addresses)
        listen = self._config.listen
        return Addresses(
            grpc=next(bound) if listen.grpc else None,
            grpc_mtls=next(bound) if listen.grpc_mtls else None,
            grpc_plaintext=next(bound) if listen.grpc_plaintext else None,
            socket=next(bound) if listen.socket else None,
            metrics=self._metrics.address if self._metrics is not None else None,
            aws=self._aws.address if self._aws is not None else None,
            xks_proxy=self._xks.address if self._xks is not None else None,
        )
