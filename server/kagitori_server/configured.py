"""Parts that the configuration names, opened: catalog, libcrypto, issuers' keys, roots of attestation, files."""

from __future__ import annotations

import importlib.metadata
import logging
import os
import ssl
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

from kagitori_keystore.software.libcrypto import LibCrypto, LibCryptoUnusable
from kagitori_server.attestation import AWS_NITRO_ROOT_PEM, AttestationVerifier, read_roots
from kagitori_server.audit.trail import Trail
from kagitori_server.bootstrap.data_directory import DataDirectory
from kagitori_server.config import Config, ConfigurationError
from kagitori_server.federation.fetching import HttpsFetcher
from kagitori_server.federation.issuer_keys import IssuerKeys, KeyAges
from kagitori_server.limiting.strangers import Strangers
from kagitori_server.limiting.throttle import RatesRefused, Throttle, parse_rates
from kagitori_server.model.limits import Quotas
from kagitori_server.performing import Pools
from kagitori_server.sink_config import SinkConfig
from kagitori_server.sinks import Follower, SinkRefused, SinkTerms, open_sink
from kagitori_server.storage.catalog import Catalog, open_catalog
from kagitori_server.transports.grpc.listeners import Listener, ListenerKind, ListenerRefused

_FILE_MAX = 1_048_576
_SYSTEM_LIBCRYPTO = "libcrypto.so.3"
_CARRIER, _CARRIED_IN, _CARRIED = "psycopg-binary", "psycopg_binary.libs", "libcrypto-*.so*"
"""A distribution whose wheels carry a libcrypto, which is in the process anyway where the catalog is PostgreSQL."""
_GENERATION_THREADS = 2
_DECIDING_THREADS = 1
"""They run nothing that releases the interpreter lock, so more would only take more of the event loop's turns."""
_TRYING_THREADS = 4
_log = logging.getLogger(__name__)


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


def open_libcrypto(config: Config) -> LibCrypto | None:
    """What serves keys of ML_KEM_512: the library that the configuration names, else the first that is fit of those
    that are on the machine. Raises ConfigurationError for one that is named and isn't fit."""
    if not config.keystore.libcrypto:
        return first_libcrypto(known_libcryptos())
    try:
        found = LibCrypto(config.keystore.libcrypto)
    except LibCryptoUnusable as refusal:
        raise ConfigurationError(f"keystore.libcrypto: {refusal}") from None
    _log.info("ML_KEM_512 is served by OpenSSL %s, %s", found.version, found.name)
    return found


def first_libcrypto(names: Iterable[str]) -> LibCrypto | None:
    """The first of these that is fit for ML_KEM_512, None without one. The log says which."""
    for name in names:
        try:
            found = LibCrypto(name)
        except LibCryptoUnusable as refusal:
            _log.debug("%s", refusal)
        else:
            _log.info("ML_KEM_512 is served by OpenSSL %s, %s", found.version, found.name)
            return found
    _log.info("ML_KEM_512 is not served: no OpenSSL of 3.5 or newer was found")
    return None


def known_libcryptos() -> Iterator[str]:
    """The system's, then those that an installed distribution carries, by its own list of its files."""
    yield _SYSTEM_LIBCRYPTO
    try:
        files = importlib.metadata.files(_CARRIER) or ()
    except importlib.metadata.PackageNotFoundError:
        return
    for file in files:
        if file.parent.name == _CARRIED_IN and file.match(_CARRIED):
            yield str(file.locate())


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


def check_aws_address(config: Config) -> None:
    """Raises ConfigurationError for an AWS endpoint without TLS on an address that others reach."""
    if not config.aws.listen or not config.aws.plaintext:
        return
    try:
        Listener(config.aws.listen, ListenerKind.PLAINTEXT).check()
    except ListenerRefused:
        raise ConfigurationError("aws.listen must be a loopback address, since aws.plaintext is true") from None


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


def configured_strangers(
    config: Config, monotonic: Callable[[], float], clock: Callable[[], float]
) -> Strangers:
    """How many failed proofs of callers are recorded."""
    throttling = config.throttling
    return Strangers(
        of_source=throttling.failures_of_source, together=throttling.failures_together,
        burst_seconds=throttling.failures_burst_seconds, monotonic=monotonic, clock=clock,
    )


def configured_quotas(config: Config) -> Quotas:
    """How many there may be."""
    quotas = config.quotas
    return Quotas(
        keys_per_account_region=quotas.keys_per_account,
        aliases_per_key=quotas.aliases_per_key,
        grants_per_key=quotas.grants_per_key,
        custom_key_stores_per_account_region=quotas.custom_key_stores,
    )


def make_pools(config: Config) -> Pools:
    """The threads that calls are worked on in."""
    return Pools(
        reads=ThreadPoolExecutor(config.limits.read_threads, "reads"),
        writes=ThreadPoolExecutor(1, "writes"),
        deciding=ThreadPoolExecutor(_DECIDING_THREADS, "deciding"),
        computing=ThreadPoolExecutor(os.cpu_count() or 1, "computing"),
        generation=ThreadPoolExecutor(_GENERATION_THREADS, "generation"),
        stores=ThreadPoolExecutor(_TRYING_THREADS, "trying-stores"),
    )


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


def sink_terms(sink: SinkConfig) -> SinkTerms:
    """A sink with the contents of its files. Raises ConfigurationError."""
    try:
        token = read_secret(sink.token_file).decode("ascii").strip() if sink.token_file else None
        authorities = read_file(sink.ca_file).decode("ascii") if sink.ca_file else None
    except UnicodeDecodeError:
        raise ConfigurationError(f"audit.sinks, {sink.name}: token_file and ca_file hold ASCII text") from None
    return SinkTerms(
        name=sink.name, kind=sink.kind, url=sink.url,
        secret=read_secret(sink.secret_file).rstrip(b"\r\n") if sink.secret_file else None,
        token=token, authorities=authorities, batch_records=sink.batch_records, seconds=sink.timeout_seconds,
        from_beginning=sink.from_beginning,
    )


def open_sinks(
    config: Config, data: DataDirectory, trail: Trail, version: str, clock: Callable[[], float]
) -> tuple[Follower, ...]:
    """Followers of the trail for the sinks that the configuration names, yet to be started. Raises ConfigurationError,
    OSError."""
    followers = []
    for sink in config.audit.sinks:
        try:
            followers.append(open_sink(sink_terms(sink), data.sinks, data.audit, trail, version, clock))
        except SinkRefused as refusal:
            raise ConfigurationError(f"audit.sinks, {sink.name}: {refusal}") from None
    return tuple(followers)


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
