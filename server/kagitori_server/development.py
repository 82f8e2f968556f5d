"""A server for tests: `wiring.Server` with a clock that can be moved, faults, a seed, and DevService to work them."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from kagitori_keystore.algorithms import KeySpec
from kagitori_keystore.base import Domain, MaterialRef, StoreLost
from kagitori_keystore.rootkey.provider import RootKeyProvider
from kagitori_keystore.secret import RandomSource
from kagitori_keystore.software.keks import KekShelf
from kagitori_keystore.software.libcrypto import LibCrypto
from kagitori_keystore.software.planted import PlantedKeyStore
from kagitori_server.bootstrap.access_keys import RootAccessKeys
from kagitori_server.bootstrap.data_directory import DataDirectory
from kagitori_server.config import Config, ConfigurationError
from kagitori_server.custom_stores import ConnectFailed, OpenedStore, Opener
from kagitori_server.laboratory.clock import TimeMachine, VirtualClock
from kagitori_server.laboratory.faults import Faults
from kagitori_server.laboratory.memory import Memory
from kagitori_server.laboratory.naming import FixedIdentifiers
from kagitori_server.laboratory.planting import Planter
from kagitori_server.laboratory.regions import AWS_REGIONS
from kagitori_server.laboratory.seed import Seed
from kagitori_server.model.custom_key_stores import ConnectionErrorCode, CustomKeyStore, CustomKeyStoreType
from kagitori_server.operations.context import Identifiers
from kagitori_server.operations.dev_table import dev_table
from kagitori_server.operations.row import Operation
from kagitori_server.wiring import Addresses, Clocks, Server


class LosableKeyStore(PlantedKeyStore):
    """Is lost while a fault says so, to the service's own work and to who asks how it is: calls have met the fault
    before they come here."""

    __slots__ = ("_faults",)

    def __init__(
        self, root: RootKeyProvider, shelf: KekShelf, random: RandomSource, faults: Faults, *,
        libcrypto: LibCrypto | None,
    ) -> None:
        super().__init__(root, shelf, random, libcrypto=libcrypto)
        self._faults = faults

    def health(self) -> None:
        """Raises `StoreLost` while the whole store is lost."""
        if self._faults.key_store_is_lost():
            raise StoreLost("the key store is lost by a fault that was injected")
        super().health()

    def generate(self, spec: KeySpec, domain: Domain, key_id: str) -> MaterialRef:
        """Raises `StoreLost` while the store is lost for that key."""
        if self._faults.key_store_is_lost(domain, key_id):
            raise StoreLost("the key store is lost by a fault that was injected")
        return super().generate(spec, domain, key_id)


class _LosableConnection:
    """A connection to a custom key store that is lost while a fault says so. All else is the connection's own."""

    def __init__(self, opened: OpenedStore, faults: Faults) -> None:
        self._opened = opened
        self._faults = faults

    def __getattr__(self, name: str) -> Any:
        return getattr(self._opened, name)

    def health(self) -> None:
        """Raises `StoreLost` while all stores are lost."""
        self._check()
        self._opened.health()

    def generate(self, spec: KeySpec, domain: Domain, key_id: str) -> MaterialRef:
        """Raises `StoreLost` while the store is lost for that key."""
        if self._faults.key_store_is_lost(domain, key_id):
            raise StoreLost("the key store is lost by a fault that was injected")
        return self._opened.generate(spec, domain, key_id)

    def destroy(self, ref: MaterialRef) -> None:
        """Raises `StoreLost` while all stores are lost: what is to be destroyed waits."""
        self._check()
        self._opened.destroy(ref)

    def _check(self) -> None:
        if self._faults.key_store_is_lost():
            raise StoreLost("the key store is lost by a fault that was injected")


class LosableOpener:
    """An `Opener` whose custom key stores can't be reached while a fault says that all key stores are lost."""

    def __init__(self, opener: Opener, faults: Faults) -> None:
        self._opener = opener
        self._faults = faults

    def verify(self, store: CustomKeyStore, secret: bytes | None) -> None:
        """As the opener does."""
        self._opener.verify(store, secret)

    def same_cluster(self, cluster_id: str, other: str) -> bool:
        """As the opener does."""
        return self._opener.same_cluster(cluster_id, other)

    def owns_secret(self, store: CustomKeyStore) -> bool:
        """As the opener does."""
        return self._opener.owns_secret(store)

    def open(self, store: CustomKeyStore, secret: bytes) -> OpenedStore:
        """Raises ConnectFailed as for a token or proxy that doesn't answer."""
        if self._faults.key_store_is_lost():
            raise ConnectFailed(_UNREACHABLE[store.kind])
        losable: Any = _LosableConnection(self._opener.open(store, secret), self._faults)
        opened: OpenedStore = losable
        return opened


_UNREACHABLE = {
    CustomKeyStoreType.AWS_CLOUDHSM: ConnectionErrorCode.NETWORK_ERRORS,
    CustomKeyStoreType.EXTERNAL_KEY_STORE: ConnectionErrorCode.XKS_PROXY_NOT_REACHABLE,
}


@dataclass(frozen=True, slots=True)
class PlantedAccessKey:
    """The root user's access key for the AWS endpoint. Nothing that it protects is to be kept."""

    access_key_id: str = "test"
    secret: str = field(default="test", repr=False)

    @property
    def environment(self) -> dict[str, str]:
        """What makes AWS SDKs and the AWS CLI sign with it."""
        return {"AWS_ACCESS_KEY_ID": self.access_key_id, "AWS_SECRET_ACCESS_KEY": self.secret}


def for_development(config: Config) -> Config:
    """With an AWS endpoint, every AWS Region is served, unless the configuration lists those that are."""
    service = config.service
    if not config.aws.listen or service.regions:
        return config
    return replace(config, service=replace(service, regions=tuple(dict.fromkeys((service.region, *AWS_REGIONS)))))


class DevelopmentServer(Server):
    """For tests, and for nothing that must be kept: who administers it can make its keys' deletion come at once."""

    def __init__(
        self, config: Config, data: DataDirectory, seed: Seed | None, access_key: PlantedAccessKey | None = None
    ) -> None:
        """Raises ConfigurationError where the data are of another kind of server, or of another seed."""
        if config.catalog.url:
            raise ConfigurationError("catalog.url is not for dev: it keeps its catalog in a folder of its own")
        if data.catalog.exists() and not data.development.exists():
            raise ConfigurationError(f"{data.root} holds the data of a server that isn't for tests")
        self._memory = Memory(data.development)
        self._seed = seed
        self._access_key = access_key or PlantedAccessKey()
        clock = VirtualClock(time.time, self._memory.now.clock_offset, self._memory.keep_clock)
        super().__init__(config, data, Clocks(wall=clock))
        self._clock = clock
        self._names = FixedIdentifiers(self._ids)
        self._time_machine = TimeMachine(clock)
        faults = Faults(frozenset(row.name for row in self._table.values() if isinstance(row, Operation)))
        self._faults = self._losses = faults
        self._table = {**self._table, **dev_table(self._time_machine, faults)}

    def open(self) -> None:
        """As for every server; the clock shows what the seed wants before anything is made."""
        fresh = not self._data.catalog.exists()
        if self._seed is not None and not fresh and self._memory.now.seed != self._seed.digest:
            raise ConfigurationError(
                f"{self._data.root} holds data already, which this seed didn't make; a seed fills an empty directory"
            )
        self._memory.keep()
        if fresh and self._seed is not None and self._seed.clock is not None:
            self._clock.start_at(self._seed.clock)
        super().open()
        self._time_machine.attach(self._catalog, tuple(self._workers.values()), self._pools.writes)

    async def start(self) -> Addresses:
        """Listens once the seed is carried out. Raises ConfigurationError for a seed that the service refuses."""
        if self._seed is not None and self._memory.now.seed is None:
            planter = Planter(
                handle=self._pipeline.handle, plant=self._planted.plant, names=self._names,
                new_request_id=self._ids.uuid, partition=self._config.service.partition,
                home_account=self._config.service.account,
            )
            await planter.carry_out(self._seed, self._data.root_token.read_text("ascii").strip())
            self._memory.keep_seed(self._seed.digest)
        return await super().start()

    def _provide_access_key(self, keys: RootAccessKeys) -> bool:
        keys.plant(self._access_key.access_key_id, self._access_key.secret)
        return False

    def _make_store(self, root_key: RootKeyProvider) -> PlantedKeyStore:
        self._planted = LosableKeyStore(
            root_key, self._catalog.kek_shelf, os.urandom, self._losses, libcrypto=self._libcrypto
        )
        return self._planted

    def _make_openers(self) -> Mapping[CustomKeyStoreType, Opener]:
        return {kind: LosableOpener(opener, self._losses) for kind, opener in super()._make_openers().items()}

    def _make_identifiers(self) -> Identifiers:
        return self._names.identifiers()
