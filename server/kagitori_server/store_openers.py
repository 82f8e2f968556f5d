"""How custom key stores of each type are opened: beside wiring, the one place that names concrete ones."""

from __future__ import annotations

import logging
import os
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kagitori_keystore.base import Domain, KeyStoreError, MaterialRef, RequestRefused
from kagitori_keystore.capabilities import GeneralKeyStore
from kagitori_keystore.pkcs11.references import decode, material_id_of
from kagitori_keystore.pkcs11.settings import ConnectFault, ConnectRefused, TokenSettings, UseCounter
from kagitori_keystore.pkcs11.store import Pkcs11KeyStore, open_token
from kagitori_keystore.xks import InnerCipher, ProxyFault, ProxyLost, ProxyTooSlow, XksKeyStore, XksSettings, open_proxy
from kagitori_server.config import ClusterConfig, Config, XksConfig
from kagitori_server.custom_stores import ConnectFailed, OpenedStore, Opener
from kagitori_server.model.custom_key_stores import ConnectionErrorCode, CustomKeyStore, CustomKeyStoreType
from kagitori_server.model.errors import (
    CloudHsmClusterInvalidConfigurationException,
    CloudHsmClusterNotActiveException,
    CloudHsmClusterNotFoundException,
    KmsError,
    XksProxyIncorrectAuthenticationCredentialException,
    XksProxyInvalidConfigurationException,
    XksProxyInvalidResponseException,
    XksProxyUriUnreachableException,
)

_log = logging.getLogger(__name__)

_Code = ConnectionErrorCode

_TOKEN_CODES: Mapping[ConnectFault, ConnectionErrorCode] = {
    ConnectFault.TOKEN_NOT_FOUND: _Code.INSUFFICIENT_CLOUDHSM_HSMS,
    ConnectFault.TOKEN_AMBIGUOUS: _Code.CLUSTER_NOT_FOUND,
    ConnectFault.PIN_REFUSED: _Code.INVALID_CREDENTIALS,
    ConnectFault.PIN_LOCKED: _Code.USER_LOCKED_OUT,
    ConnectFault.PIN_NOT_SET: _Code.USER_NOT_FOUND,
    ConnectFault.MODULE_FAILED: _Code.INTERNAL_ERROR,
    ConnectFault.WORKER_FAILED: _Code.INTERNAL_ERROR,
    ConnectFault.TOO_SLOW: _Code.NETWORK_ERRORS,
}

_PROXY_CODES: Mapping[ProxyFault, ConnectionErrorCode] = {
    ProxyFault.UNREACHABLE: _Code.XKS_PROXY_NOT_REACHABLE,
    ProxyFault.MANAGER_UNAVAILABLE: _Code.XKS_PROXY_NOT_REACHABLE,
    ProxyFault.TLS_REFUSED: _Code.XKS_PROXY_INVALID_TLS_CONFIGURATION,
    ProxyFault.TIMED_OUT: _Code.XKS_PROXY_TIMED_OUT,
    ProxyFault.DEPENDENCY_TIMED_OUT: _Code.XKS_PROXY_TIMED_OUT,
    ProxyFault.CREDENTIALS_REFUSED: _Code.INVALID_CREDENTIALS,
    ProxyFault.ACCESS_DENIED: _Code.XKS_PROXY_ACCESS_DENIED,
    ProxyFault.PATH_REFUSED: _Code.XKS_PROXY_INVALID_CONFIGURATION,
    ProxyFault.REQUEST_REFUSED: _Code.XKS_PROXY_INVALID_CONFIGURATION,
    ProxyFault.UNSUPPORTED: _Code.XKS_PROXY_INVALID_CONFIGURATION,
}
"""Other faults are answers that make no sense: XKS_PROXY_INVALID_RESPONSE."""


def openers(
    config: Config, runtime_dir: Path, uses: UseCounter, inner: InnerCipher, clock: Callable[[], float], *,
    root_token: bytes | None = None,
) -> Mapping[CustomKeyStoreType, Opener]:
    """An opener for each type. `runtime_dir` is where workers of tokens are met, `uses` counts what tokens encrypt,
    `inner` encrypts what proxies are given, `root_token` is the serial number of the token with the root key."""
    return {
        CustomKeyStoreType.AWS_CLOUDHSM: TokenOpener(config.hsm, runtime_dir, uses, root_token),
        CustomKeyStoreType.EXTERNAL_KEY_STORE: ProxyOpener(config.xks, config.service.partition, inner, clock),
    }


@dataclass(frozen=True, slots=True)
class TokenObjectFound:
    """A key object of a token, as `keystore check` tells of it."""

    object_id: str
    label: str
    kind: str


class _Opened:
    """A store with what the registry asks of it beyond the key store contract; all else is the store's own."""

    def __init__(self, store: GeneralKeyStore) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


class OpenedToken(_Opened):
    """A token that is logged in to."""

    _store: Pkcs11KeyStore

    def change_secret(self, new: bytes) -> None:
        """Gives its user another PIN."""
        self._store.change_pin(new)

    def adopt(self, _domain: Domain, _key_id: str, _xks_key_id: str) -> MaterialRef:
        """There are no external keys. Raises RequestRefused."""
        raise RequestRefused("a token has no external keys")

    def objects(self) -> Iterable[TokenObjectFound]:
        """Its key objects."""
        for found in self._store.objects():
            kind = "unknown" if found.spec is None else found.spec.name
            yield TokenObjectFound(found.id, found.label, kind)

    def object_id(self, reference: bytes) -> str:
        """Which object a reference means."""
        return decode(reference).object_id.hex()

    def is_of(self, material_id: str, reference: bytes) -> bool:
        """By the token's serial number."""
        return material_id_of(self._store.serial, decode(reference)) == material_id


class OpenedProxy(_Opened):
    """A proxy that can be called."""

    _store: XksKeyStore

    def change_secret(self, _new: bytes) -> None:
        """A proxy's secret is made there. Raises RequestRefused."""
        raise RequestRefused("the secret of a proxy is not ours")

    def objects(self) -> Iterable[TokenObjectFound]:
        """What a manager holds is its own."""
        return ()

    def object_id(self, _reference: bytes) -> str:
        """There are no objects. Raises RequestRefused."""
        raise RequestRefused("a proxy has no objects")

    def is_of(self, _material_id: str, _reference: bytes) -> bool:
        """Nobody knows."""
        return True


class TokenOpener:
    """Opens the PKCS#11 tokens that the configuration names."""

    def __init__(
        self, clusters: Mapping[str, ClusterConfig], runtime_dir: Path, uses: UseCounter, root_token: bytes | None
    ) -> None:
        self._clusters = clusters
        self._root_token = root_token
        self._runtime_dir = runtime_dir
        self._uses = uses

    def verify(self, store: CustomKeyStore, _secret: bytes | None) -> None:
        """The cluster has to be configured, its library to be there. PINs are tried when connecting, since wrong ones
        are counted."""
        cluster = self._clusters.get(store.cluster_id or "")
        if cluster is None:
            raise CloudHsmClusterNotFoundException(f"No section hsm.{store.cluster_id} is configured.")
        if not Path(cluster.module).is_file():
            raise CloudHsmClusterNotActiveException(f"The PKCS#11 library of {store.cluster_id} is not there.")
        try:
            self._settings(cluster)
        except RequestRefused as refused:
            raise CloudHsmClusterInvalidConfigurationException(str(refused)) from None

    def same_cluster(self, cluster_id: str, other: str) -> bool:
        """By `copy_of`, at whichever of both it is written."""
        return self._origin(cluster_id) == self._origin(other)

    def _origin(self, cluster_id: str) -> str:
        seen = {cluster_id}
        while (cluster := self._clusters.get(cluster_id)) is not None and cluster.copy_of not in seen | {""}:
            cluster_id = cluster.copy_of
            seen.add(cluster_id)
        return cluster_id

    def open(self, store: CustomKeyStore, secret: bytes) -> OpenedStore:
        """Logs in. Raises ConnectFailed."""
        cluster = self._clusters.get(store.cluster_id or "")
        if cluster is None:
            raise ConnectFailed(ConnectionErrorCode.CLUSTER_NOT_FOUND)
        try:
            token = open_token(self._settings(cluster), secret, self._uses)
        except ConnectRefused as refused:
            raise ConnectFailed(_TOKEN_CODES[refused.fault]) from None
        if cluster.change_pin and token.serial == self._root_token:
            token.close()
            _log.error("%s holds the root key, so its PIN must stay: set change_pin = false", store.cluster_id)
            raise ConnectFailed(ConnectionErrorCode.INTERNAL_ERROR)
        opened: Any = OpenedToken(token)
        result: OpenedStore = opened
        return result

    def owns_secret(self, store: CustomKeyStore) -> bool:
        """As the cluster's section says."""
        return self._clusters[store.cluster_id or ""].change_pin

    def _settings(self, cluster: ClusterConfig) -> TokenSettings:
        return TokenSettings(
            module=cluster.module,
            token_serial=cluster.token_serial or None,
            token_label=cluster.token_label or None,
            deadline_seconds=cluster.deadline_seconds,
            runtime_dir=self._runtime_dir,
            softhsm_conf=cluster.softhsm_conf or None,
            library_parameters=cluster.library_parameters or None,
        )


class ProxyOpener:
    """Opens external key stores behind proxies."""

    def __init__(
        self, config: XksConfig, partition: str, inner: InnerCipher, clock: Callable[[], float]
    ) -> None:
        self._config = config
        self._partition = partition
        self._inner = inner
        self._clock = clock

    def verify(self, store: CustomKeyStore, secret: bytes | None) -> None:
        """Asks the proxy how it is, unless the secret for that isn't given, or its host isn't one of those allowed."""
        if not self._may_be_asked(store):
            raise XksProxyInvalidConfigurationException("This service uses no proxies of that host.")
        if secret is None:
            self._settings(store)
            return
        opened = self._opened(store, secret)
        try:
            opened.health()
        except KeyStoreError as failure:
            raise _refusal(failure) from None
        finally:
            opened.close()

    def same_cluster(self, cluster_id: str, other: str) -> bool:
        """Proxies are no clusters."""
        return cluster_id == other

    def open(self, store: CustomKeyStore, secret: bytes) -> OpenedStore:
        """Asks the proxy how it is. Raises ConnectFailed."""
        if not self._may_be_asked(store):
            raise ConnectFailed(_Code.XKS_PROXY_INVALID_CONFIGURATION)
        opened = self._opened(store, secret)
        try:
            opened.health()
        except (ProxyLost, ProxyTooSlow) as failure:
            opened.close()
            raise ConnectFailed(_PROXY_CODES.get(failure.fault, _Code.XKS_PROXY_INVALID_RESPONSE)) from None
        except BaseException:
            opened.close()
            raise
        wrapped: Any = OpenedProxy(opened)
        result: OpenedStore = wrapped
        return result

    def owns_secret(self, _store: CustomKeyStore) -> bool:
        """Never."""
        return False

    def _may_be_asked(self, store: CustomKeyStore) -> bool:
        """Whether the operator lets whoever may make custom key stores have requests sent to that host."""
        hosts = self._config.hosts
        return not hosts or (
            store.proxy is not None and store.proxy.uri_endpoint.removeprefix("https://").lower() in hosts
        )

    def _opened(self, store: CustomKeyStore, secret: bytes) -> XksKeyStore:
        return open_proxy(
            self._settings(store), secret, inner=self._inner, random=os.urandom,
            request_ids=lambda: str(uuid.uuid4()), clock=self._clock, monotonic=time.monotonic,
        )

    def _settings(self, store: CustomKeyStore) -> XksSettings:
        """Raises XksProxyInvalidConfigurationException."""
        proxy, config = store.proxy, self._config
        if proxy is None:
            raise XksProxyInvalidConfigurationException("The custom key store has no proxy.")
        try:
            return XksSettings(
                uri_endpoint=proxy.uri_endpoint if config.port == _HTTPS else f"{proxy.uri_endpoint}:{config.port}",
                uri_path=proxy.uri_path,
                access_key_id=proxy.access_key_id,
                ca_file=Path(config.ca_file) if config.ca_file else None,
                region=store.region,
                partition=self._partition,
                deadline_seconds=config.deadline_seconds,
            )
        except RequestRefused as refused:
            raise XksProxyInvalidConfigurationException(str(refused)) from None


_HTTPS = 443


def _refusal(failure: KeyStoreError) -> KmsError:
    """What CreateCustomKeyStore and UpdateCustomKeyStore answer for what came of a look at a proxy."""
    fault = failure.fault if isinstance(failure, ProxyLost | ProxyTooSlow) else None
    text = str(failure)
    match None if fault is None else _PROXY_CODES.get(fault):
        case _Code.INVALID_CREDENTIALS:
            return XksProxyIncorrectAuthenticationCredentialException(text)
        case _Code.XKS_PROXY_NOT_REACHABLE | _Code.XKS_PROXY_TIMED_OUT:
            return XksProxyUriUnreachableException(text)
        case _Code.XKS_PROXY_INVALID_CONFIGURATION | _Code.XKS_PROXY_INVALID_TLS_CONFIGURATION:
            return XksProxyInvalidConfigurationException(text)
        case _Code.XKS_PROXY_ACCESS_DENIED:
            return XksProxyInvalidConfigurationException(text)
        case _:
            return XksProxyInvalidResponseException(text)
