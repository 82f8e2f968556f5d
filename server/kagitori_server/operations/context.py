"""What a handler gets: the call as the pipeline established it, and the parts of the service it may use."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from kagitori_keystore.base import Domain
from kagitori_keystore.capabilities import GeneralKeyStore
from kagitori_server.attestation import Attestation
from kagitori_server.model.call import Evidence
from kagitori_server.model.grants import Grant
from kagitori_server.model.keys import Key
from kagitori_server.model.limits import Quotas
from kagitori_server.model.lookup import Lookup
from kagitori_server.model.principals import Caller
from kagitori_server.operations.administration.ports import Administration
from kagitori_server.operations.consequences import Consequence
from kagitori_server.operations.row import KeySlot, Operation
from kagitori_server.operations.stores import Stores
from kagitori_server.policy.statements import KeyPolicy
from kagitori_server.storage.catalog import Catalog
from kagitori_server.storage.writer import Writer


@dataclass(frozen=True, slots=True)
class Identifiers:
    """Sources of fresh names. Constructor arguments, so that tests can make them predictable."""

    uuid: Callable[[], str]
    """A random UUID in its 36-character lower-case form."""
    unique_id: Callable[[str], str]
    """An IAM-style unique id with the given four-letter prefix (`AIDA`, `AROA`)."""
    secret: Callable[[], str]
    """A URL-safe text holding 256 random bits."""


@dataclass(frozen=True, slots=True)
class Services:
    """The parts of the service that handlers use. Made once, by wiring."""

    catalog: Catalog
    stores: Stores
    clock: Callable[[], float]
    ids: Identifiers
    partition: str
    home_account: str
    """The operator's account: its administrators may also administer the others."""
    regions: tuple[str, ...]
    quotas: Quotas
    lockout_check: Callable[[Context, KeyPolicy, str], None]
    """(call, candidate key policy, key ARN): raises MalformedPolicyDocumentException when the caller could
    not change the policy again."""
    administration: Administration
    """What AdminService's operations need beyond all this."""


@dataclass(slots=True)
class Context:
    """One call, as far as it has come."""

    operation: Operation
    caller: Caller
    request: Any
    """The row's request shape, every constraint checked."""
    evidence: Evidence
    account: str
    """Where new resources are made and lists look: the caller's, or the one an administrator named."""
    region: str
    services: Services
    now: float
    """When the call was received, seconds since the epoch."""
    lookup: Lookup
    """Records of the catalog as they are now; within a write transaction nobody else can change them."""
    keys: dict[str, Key] = field(default_factory=dict)
    """The keys of the call by slot name."""
    grant: Grant | None = None
    """The grant that the request names, once it's found."""
    entities: list[str] = field(default_factory=list)
    """ARNs of the users, roles, groups and managed policies that the call is about, as its record tells them."""
    writer_or_none: Writer | None = None
    prepared: Any = None
    """What the row's `prepare` made for its handler."""
    store_id: str | None = None
    """The custom key store that the request names, for operations that use one."""
    counted: Any = None
    """What budgets have counted of the call: `limiting.leases.Counted`."""
    attestation: Attestation | None = None
    """What a document proved of the request's recipient, for whom the answer is to be encrypted. None without one."""
    extra: dict[str, Any] = field(default_factory=dict)
    """What the audit record shows as additionalEventData."""
    consequences: list[Consequence] = field(default_factory=list)
    """What the call leaves records of beside its own, if it succeeds."""
    request_id: str = ""
    """Of the call."""

    def again(self, request: Any, lookup: Lookup) -> Context:
        """The context of a call that is as far as this one and like it in all but its request."""
        return Context(
            self.operation, self.caller, request, self.evidence, self.account, self.region, self.services, self.now,
            lookup, self.keys, request_id=self.request_id,
        )

    @property
    def key(self) -> Key:
        """The key of an operation that touches one."""
        return self.keys["key"]

    @property
    def writer(self) -> Writer:
        """The open write transaction of a row that writes."""
        if self.writer_or_none is None:
            message = f"{self.operation.name} is not a row that writes"
            raise RuntimeError(message)
        return self.writer_or_none

    def keep_grant(self, slot: KeySlot, key: Key, grant: Grant) -> None:
        """Lets the call, and its record, go on with the grant that it named and the grant's key."""
        self.keys[slot.name], self.grant = key, grant
        self.extra["grant_id"] = grant.grant_id

    def store(self, key: Key) -> GeneralKeyStore:
        """The key store that holds the key's material. Of a custom one: in `distant_pool` alone."""
        return self.services.stores.of(key.store_id)

    def distant_pool(self) -> Executor | None:
        """Where the call is performed if it may have to wait for a key store: a custom one has a part in it, or the
        service's own has yet to open a key-encryption key. None if it needs no waiting."""
        stores = self.services.stores
        if self.store_id is not None:
            return stores.pool(self.store_id)
        for key in self.keys.values():
            if not stores.at_hand(key, domain_of(key.account, key.region)):
                return stores.pool(key.store_id)
        return None


@lru_cache(maxsize=1024)
def domain_of(account: str, region: str) -> Domain:
    """The partition of key-encryption keys a key belongs to."""
    return Domain(account, region)
