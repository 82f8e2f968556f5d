"""A whole service without transports, of real parts in a folder: what tests of operations call.

    with InProcess(tmp_path) as service:
        token = service.new_user("alice", policies={"all": ALLOW_ALL})
        service.call("CreateKey", {}, token=token)      # the answer, or raises KmsError
        assert service.records()[-1]["eventName"] == "CreateKey"
"""

from __future__ import annotations

import asyncio
import json
import os
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.support.made_catalogs import put_catalog
from tests.support.ml_kem_512 import libcrypto

from kagitori_keystore.rootkey.file import open_file_root
from kagitori_keystore.software import SoftwareKeyStore
from kagitori_server.administration_ports import AuditFiles
from kagitori_server.asking import lockout_check, may_assume_role
from kagitori_server.attestation import AWS_NITRO_ROOT_PEM, AttestationVerifier, read_roots
from kagitori_server.attesting import Attesting
from kagitori_server.audit.indexing import Indexer, Indexes
from kagitori_server.audit.trail import open_trail
from kagitori_server.authn.authenticator import Authenticator
from kagitori_server.authn.web_tokens import WebTokens
from kagitori_server.authz.authorizer import Authorizer
from kagitori_server.bootstrap.first_start import FirstStart
from kagitori_server.callers import Callers
from kagitori_server.counting import Limiter, counted_actions
from kagitori_server.custom_stores import Opener, StoreRegistry, Timing
from kagitori_server.explaining import Explaining
from kagitori_server.federation.fetching import HttpsFetcher
from kagitori_server.federation.issuer_keys import IssuerKeys, KeyAges
from kagitori_server.identifiers import system_identifiers
from kagitori_server.limiting.leases import Leases
from kagitori_server.limiting.throttle import Throttle, parse_rates
from kagitori_server.log_keys import LogKeys
from kagitori_server.metering import Meter
from kagitori_server.model.arn import root_arn
from kagitori_server.model.call import Call, Evidence
from kagitori_server.model.custom_key_stores import CustomKeyStoreType
from kagitori_server.model.errors import KmsError
from kagitori_server.model.limits import Quotas
from kagitori_server.operations.administration.ports import Administration, DeliveredTrail, ServerFacts
from kagitori_server.operations.administration.root_key import RootKeyRotation
from kagitori_server.operations.administration.usage_lists import UsageLists
from kagitori_server.operations.context import Services
from kagitori_server.operations.neighbour_table import NEIGHBOURS
from kagitori_server.operations.prices import PRICES
from kagitori_server.operations.table import TABLE
from kagitori_server.performing import Pools
from kagitori_server.pipeline import Observer, Pipeline
from kagitori_server.recording import Recording
from kagitori_server.service_events import FreezeEvents, ServiceEvents
from kagitori_server.service_keys import ServiceKeys
from kagitori_server.simulation.running import Simulations
from kagitori_server.storage.catalog import open_catalog
from kagitori_server.transparency.log import TransparencyLog
from kagitori_server.transparency.receipts import Receipts

HOME = "000000000000"
REGION = "us-east-1"
REGIONS = (REGION, "eu-west-1")
START = 1_790_000_000.0
"""What the clock shows at first, seconds since the epoch."""

ALLOW_ALL = '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}'


@cache
def _authorities() -> ssl.SSLContext:
    """Those of the system, which take longer to read than all else that a service does when it is opened."""
    return ssl.create_default_context()


class FakeClock:
    """Shows what it's told to."""

    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        """Lets time pass."""
        self.now += seconds


class Silent:
    """An observer that isn't interested."""

    def observed(self, operation: str, error_code: str | None, seconds: float) -> None:
        """Forgets it."""


class InProcess:
    """Opens (or reopens) a service in `folder`; a context manager that closes it. For one thread.

    `account_rates` and `principal_rates` are as in the configuration; `clock` tells their time, too. With `timing` it
    follows what the catalog says of custom key stores, which `openers` open. `monotonic` is the clock by which calls
    wait and have their turns, `log_monotonic` that of those who ask for proofs; nothing is in the index until `indexer`
    is run.
    """

    def __init__(
        self, folder: Path, clock: FakeClock | None = None, *, ages: KeyAges | None = None, fetch_seconds: float = 5.0,
        account_rates: Sequence[str] = (), principal_rates: Sequence[str] = (), quotas: Quotas | None = None,
        openers: Mapping[CustomKeyStoreType, Opener] | None = None, timing: Timing | None = None,
        attestation: AttestationVerifier | None = None, delivered: DeliveredTrail | None = None,
        observer: Observer | None = None, monotonic: Callable[[], float] = time.monotonic,
        log_monotonic: Callable[[], float] = time.monotonic, with_libcrypto: bool = True,
    ) -> None:
        self.clock = clock or FakeClock(START)
        self._quotas = quotas or Quotas()
        self._delivered = delivered
        self.issuer_keys = IssuerKeys(HttpsFetcher(_authorities(), fetch_seconds), self.clock, ages)
        self.ids = system_identifiers(os.urandom)
        put_catalog(folder / "kagitori.db")
        self.catalog = open_catalog(folder / "kagitori.db", monotonic=time.monotonic)
        self.root_keys = open_file_root(folder / "root-key", os.urandom)
        self.store = SoftwareKeyStore(
            self.root_keys, self.catalog.kek_shelf, os.urandom, libcrypto=libcrypto() if with_libcrypto else None
        )
        self.stores = StoreRegistry(
            catalog=self.catalog, default=self.store, secrets=self.store, openers=openers or {},
            clock=self.clock, monotonic=time.monotonic, worker=self.ids.uuid(),
            new_secret=self.ids.secret, timing=timing,
        )
        self.catalog.view.listen(self.stores.changed)
        if timing is not None:
            self.stores.start()
        self.audit_folder = folder / "audit"
        self.trail = open_trail(self.audit_folder)
        self.meter = Meter(self.catalog, self.audit_folder, self.trail, PRICES, time.monotonic, lambda: None)
        indexes = Indexes(self.audit_folder)
        self.indexer = Indexer(self.audit_folder, self.trail, indexes, lambda: None)
        self.transparency = TransparencyLog(
            self.audit_folder, self.trail, LogKeys(lambda: self.service_keys, time.monotonic), "test.example/audit",
            log_monotonic, lambda: None, indexes,
        )
        self._proving = ThreadPoolExecutor(1)
        self._authorizer = Authorizer()
        self._pools = Pools(
            reads=ThreadPoolExecutor(2), writes=ThreadPoolExecutor(1), deciding=ThreadPoolExecutor(1),
            computing=ThreadPoolExecutor(2), generation=ThreadPoolExecutor(1), stores=ThreadPoolExecutor(1),
        )
        self._runner = asyncio.Runner()
        first = FirstStart(self.catalog, self.clock, self.ids, "aws", HOME)
        first.ensure_home_account(folder / "root.token")
        self.root_token = (folder / "root.token").read_text().strip()
        self.simulations = Simulations(
            self.audit_folder, TABLE, most=2, monotonic=time.monotonic, pause=lambda _seconds: None
        )
        self.services = self._make_services()
        self.recording = Recording(
            clock=self.clock, new_event_id=self.ids.uuid, partition="aws", home_account=HOME, default_region=REGION
        )
        self.events = ServiceEvents(self.catalog, self.recording, self.trail)
        self.service_keys = ServiceKeys(self.services, REGION, self.events, days=90)
        throttle = Throttle(
            account=parse_rates(account_rates), principal=parse_rates(principal_rates), burst_seconds=1.0,
            buckets=1_000, monotonic=self.clock,
        )
        self.pipeline = Pipeline(
            table=TABLE,
            services=self.services,
            callers=self._make_callers(),
            attesting=Attesting(attestation or AttestationVerifier(read_roots(AWS_NITRO_ROOT_PEM)), self.clock),
            authorizer=self._authorizer,
            limiter=Limiter(throttle, Leases(self.catalog, self.clock, self.ids.uuid, FreezeEvents(self.events))),
            recording=self.recording,
            trail=self.trail,
            pools=self._pools,
            observer=observer or Silent(),
            default_region=REGION,
            monotonic=monotonic,
            beside=NEIGHBOURS,
            receipts=Receipts(self.transparency, self._proving),
            thread_time=time.thread_time,
        )

    def _make_callers(self) -> Callers:
        web_tokens = WebTokens(self.clock, self.issuer_keys)
        self.authenticator = Authenticator(self.clock, "aws", None, web_tokens)
        return Callers(
            self.authenticator, web_tokens, self.issuer_keys, self.catalog.view,
            self._pools.reads, REGION, self.clock,
        )

    def _make_services(self) -> Services:
        return Services(
            catalog=self.catalog,
            stores=self.stores,
            clock=self.clock,
            ids=self.ids,
            partition="aws",
            home_account=HOME,
            regions=REGIONS,
            quotas=self._quotas,
            lockout_check=lockout_check(self._authorizer),
            administration=Administration(
                audit=AuditFiles(self.audit_folder, self.trail),
                trail=self._delivered,
                transparency=self.transparency,
                root_key=RootKeyRotation("file", self.root_keys, self.store.rewrap_kek, self.catalog.kek_shelf),
                decisions=Explaining(self._authorizer, TABLE),
                simulations=self.simulations,
                usage=self.meter,
                usage_lists=UsageLists(self.clock),
                server=ServerFacts("0.0.0", REGION, tuple(TABLE)),
                counted_actions=counted_actions(TABLE),
                secrets=self.store,
                may_assume=may_assume_role,
                uptime=lambda: self.clock() - START,
                monotonic=time.monotonic,
            ),
        )

    def __enter__(self) -> InProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._runner.close()
        pools = self._pools
        for pool in (pools.reads, pools.writes, pools.deciding, pools.computing, pools.generation, pools.stores):
            pool.shutdown()
        self._proving.shutdown()
        self.stores.close()
        self.issuer_keys.close()
        self.trail.close()
        self.store.close()
        self.root_keys.close()
        self.catalog.close()

    def call(
        self, operation: str, values: Mapping[str, Any] | None = None, *, token: str | None = None,
        certificate: bytes | None = None, region: str | None = None,
    ) -> Any:
        """The answer to a call by the home account's root, or by whom `token` or `certificate` proves.

        Raises KmsError.
        """
        if token is None and certificate is None:
            token = self.root_token
        return self.send(operation, values, Evidence(token=token, certificate=certificate), region)

    def send(
        self, operation: str, values: Mapping[str, Any] | None, evidence: Evidence, region: str | None = None
    ) -> Any:
        """The answer to a call with just this evidence. Raises KmsError."""
        members = dict(values or {})
        call = Call(operation, self.ids.uuid(), evidence, region, lambda: members)
        return self._runner.run(self.pipeline.handle(call))

    def with_receipt(self, operation: str, values: Mapping[str, Any], token: str | None = None) -> bytes | None:
        """The receipt that a call is answered or refused with, by root or whom `token` proves."""
        call = Call(
            operation, self.ids.uuid(), Evidence(token=token or self.root_token), None, lambda: values,
            receipt_wanted=True,
        )
        with suppress(KmsError):
            self._runner.run(self.pipeline.handle(call))
        return call.receipt

    def new_account(self, account: str, name: str = "tenant") -> str:
        """Makes an account. Returns a token of its root user."""
        self.call("CreateAccount", {"account_id": account, "name": name})
        return self.new_token(root_arn("aws", account))

    def new_user(self, name: str, *, account: str = HOME, policies: Mapping[str, str] | None = None) -> str:
        """Makes a user with identity policies by name. Returns a token of it."""
        user = self.call("CreateUser", {"account_id": account, "user_name": name}).user
        for policy_name, document in (policies or {}).items():
            values = {"principal_arn": user.arn, "policy_name": policy_name, "policy_document": document}
            self.call("PutIdentityPolicy", values)
        return self.new_token(user.arn)

    def new_token(self, principal_arn: str, session_name: str | None = None) -> str:
        """A token of a user, role or root user that never expires."""
        values = {"principal_arn": principal_arn}
        if session_name is not None:
            values["session_name"] = session_name
        token: str = self.call("CreateToken", values).token
        return token

    def audit_text(self) -> str:
        """Everything that the trail holds, as it is on the disk."""
        return "".join(path.read_text() for path in sorted(self.audit_folder.rglob("*.jsonl")))

    def records(self) -> list[dict[str, Any]]:
        """The audit records, oldest first."""
        return [json.loads(line)["event"] for line in self.audit_text().splitlines()]
