"""Configuration: frozen dataclasses, one per section, checked when the server starts.

A value comes from the first of these that has it: a flag, the environment (`KAGITORI_SECTION__NAME`), the TOML file,
the default here. Secrets are never values: where one is needed, the value is the path of a file that holds it.
`docs/kagitori.toml` is the commented sample; a test loads it and compares it with the defaults here.
"""

from __future__ import annotations

import dataclasses
import re
import tomllib
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from kagitori_server.setting_values import ConfigurationError as ConfigurationError
from kagitori_server.setting_values import converted, is_address, need
from kagitori_server.sink_config import SinkConfig
from kagitori_server.trail_config import AuditConfig, DeliveryConfig, TransparencyConfig

_ACCOUNT = re.compile(r"[0-9]{12}")
_REGION = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_REGION_FORM = "lower-case letters, digits and inner hyphens"
_PARTITION = re.compile(r"aws[a-z-]{0,24}")
_XKS_PREFIX = re.compile(r"(?:/[A-Za-z0-9/_-]{0,115}[A-Za-z0-9_-])?")
_XKS_OFFER = re.compile(
    r"[A-Za-z0-9_.-]{1,128}="
    r"(?:[a-z0-9-]{1,64}|alias/[A-Za-z0-9:/_-]{1,250}|arn:[a-z-]{1,30}:kms:[a-z0-9-]{1,63}:[0-9]{12}:[A-Za-z0-9:/_-]{1,260})"
)
_HOST = re.compile(r"[a-z0-9.-]{1,253}")
_CLUSTER = re.compile(r"cluster-[2-7a-zA-Z]{11,16}")
_ENVIRONMENT_PREFIX = "KAGITORI_"
_MAX_FILE_BYTES = 1_048_576


@dataclass(frozen=True, slots=True)
class ServiceConfig:
    """What this deployment is."""

    account: str = "000000000000"
    """The operator's own (home) account, 12 digits. Made on first start; its root user administers the others."""
    region: str = "us-east-1"
    """The Region of calls that name none."""
    regions: tuple[str, ...] = ()
    """All Regions that are served; empty for `region` alone."""
    partition: str = "aws"
    """Second part of ARNs."""

    def __post_init__(self) -> None:
        need(_ACCOUNT.fullmatch(self.account), "service.account", "12 digits")
        need(_PARTITION.fullmatch(self.partition), "service.partition", "aws, aws-cn and the like")
        need(_REGION.fullmatch(self.region), "service.region", _REGION_FORM)
        need(all(map(_REGION.fullmatch, self.regions)), "service.regions", f"a list of names of {_REGION_FORM}")
        need(not self.regions or self.region in self.regions, "service.regions", "a list that holds service.region")

    @property
    def served_regions(self) -> tuple[str, ...]:
        """Every Region that calls may name."""
        return self.regions or (self.region,)


@dataclass(frozen=True, slots=True)
class ListenConfig:
    """Where the server listens. Addresses are `host:port`; `[::1]:port` for IPv6; empty for none."""

    grpc: str = "127.0.0.1:7700"
    """TLS; callers show an API token."""
    grpc_mtls: str = ""
    """TLS with client certificates: nobody connects without one."""
    grpc_plaintext: str = ""
    """No TLS at all; loopback addresses only."""
    socket: str = ""
    """Path of a Unix socket, mode 0600; whoever may open it calls as `socket_principal`."""
    socket_principal: str = ""
    """ARN of the user or role that calls by the socket stand for. Empty: they must show a token."""
    metrics: str = ""
    """Prometheus metrics and health pages over plain HTTP; loopback unless `metrics_anywhere`."""
    metrics_anywhere: bool = False
    """Allows `metrics` on other addresses than loopback ones."""

    def __post_init__(self) -> None:
        listeners = (self.grpc, self.grpc_mtls, self.grpc_plaintext, self.socket)
        need(any(listeners), "listen", "at least one of grpc, grpc_mtls, grpc_plaintext and socket")
        for name in ("grpc", "grpc_mtls", "grpc_plaintext", "metrics"):
            address = getattr(self, name)
            need(not address or is_address(address), f"listen.{name}", "host:port")


@dataclass(frozen=True, slots=True)
class TlsConfig:
    """Certificates. Empty paths: a local CA in the data directory is made and used."""

    certificate_file: str = ""
    key_file: str = ""
    client_ca_file: str = ""
    """CA of client certificates on `listen.grpc_mtls`."""
    server_names: tuple[str, ...] = ()
    """More names and IP addresses for the generated server certificate."""

    def __post_init__(self) -> None:
        need(bool(self.certificate_file) == bool(self.key_file), "tls", "both certificate_file and key_file, or none")


@dataclass(frozen=True, slots=True)
class CatalogConfig:
    """Where keys, names and policies are kept."""

    url: str = ""
    """`postgresql://…`, or empty for SQLite in the data directory."""
    password_file: str = ""
    """File with the database password, so that the URL needs none."""


@dataclass(frozen=True, slots=True)
class RootKeyConfig:
    """What protects everything else at rest."""

    provider: str = "file"
    """`file` (mode 0600 in the data directory), `passphrase` (Argon2id), or `pkcs11`: a key in a token."""
    passphrase_file: str = ""
    """For `passphrase`: the file that holds it."""
    previous_provider: str = ""
    """Another provider, whose root key unwraps still: until the root key was rotated, that is."""
    module: str = ""
    """For `pkcs11`: path of the token's PKCS#11 library."""
    token_label: str = ""
    token_serial: str = ""
    """At least one of both, which no other token has."""
    pin_file: str = ""
    """The file that holds the PIN of the token's user."""
    deadline_seconds: float = 5.0
    """How long one use of the token may take."""
    softhsm_conf: str = ""
    """What SoftHSM reads as SOFTHSM2_CONF."""
    library_parameters: str = ""
    """What the library is started with, for those that want something (NSS)."""

    def __post_init__(self) -> None:
        known, used = ("file", "passphrase", "pkcs11"), (self.provider, self.previous_provider)
        need(self.provider in known, "root_key.provider", "file, passphrase or pkcs11")
        need(
            self.previous_provider in {"", *known} - {self.provider},
            "root_key.previous_provider", "empty, or another one of file, passphrase and pkcs11",
        )
        passphrase, token = self.passphrase_file, self.token_label or self.token_serial
        need("passphrase" not in used or passphrase, "root_key.passphrase_file", "a path, since a passphrase is used")
        for name, given in (("module", self.module), ("token_label", token), ("pin_file", self.pin_file)):
            need("pkcs11" not in used or given, f"root_key.{name}", "given, since a token is used")
        need(0 < self.deadline_seconds <= 600, "root_key.deadline_seconds", "more than 0, at most 600")


@dataclass(frozen=True, slots=True)
class KeystoreConfig:
    """The service's own key store."""

    libcrypto: str = ""
    """Absolute path of an OpenSSL's libcrypto of 3.5 or newer, which keys of ML_KEM_512 need; empty: one is looked for,
    and without one there are no such keys."""

    def __post_init__(self) -> None:
        absolute = Path(self.libcrypto).is_absolute()
        need(not self.libcrypto or absolute, "keystore.libcrypto", "empty, or an absolute path")


@dataclass(frozen=True, slots=True)
class LimitsConfig:
    """Bounds of one process."""

    calls_in_flight: int = 1024
    """Calls beyond are refused with ThrottlingException."""
    read_threads: int = 4
    """Threads for look-ups and other work that blocks."""
    shutdown_seconds: float = 20.0
    """How long a shutdown waits for calls in flight."""
    simulations: int = 2
    """Simulations of policies that run at once; more are refused with ThrottlingException."""
    audit_streams: int = 4
    """Calls of TailEvents and ExportEvents at once; more are refused with ThrottlingException."""
    deletion_check_seconds: float = 60.0
    """How often keys whose waiting period is over are looked for."""
    usage_count_seconds: float = 5.0
    """How often the records that came to the audit trail are counted. Who asks for usage doesn't wait for that."""
    audit_index_seconds: float = 1.0
    """How often the records that came to the audit trail are put into its index. Look-ups find them before, too."""

    def __post_init__(self) -> None:
        need(1 <= self.calls_in_flight <= 100_000, "limits.calls_in_flight", "1 to 100000")
        need(1 <= self.read_threads <= 64, "limits.read_threads", "1 to 64")
        need(1 <= self.simulations <= 16, "limits.simulations", "1 to 16")
        need(1 <= self.audit_streams <= 64, "limits.audit_streams", "1 to 64")
        need(0 < self.audit_index_seconds <= 86_400, "limits.audit_index_seconds", "more than 0, at most 86400")
        need(0 < self.shutdown_seconds <= 600, "limits.shutdown_seconds", "more than 0, at most 600")
        need(0 < self.deletion_check_seconds <= 86_400, "limits.deletion_check_seconds", "more than 0, at most 86400")
        need(0 < self.usage_count_seconds <= 86_400, "limits.usage_count_seconds", "more than 0, at most 86400")


@dataclass(frozen=True, slots=True)
class ThrottlingConfig:
    """Request rates, of each process by itself. Entries are `group=calls a second`, or `aws` for AWS's rates; empty for
    no limit. `model/rates.py` has the groups."""

    account_rates: tuple[str, ...] = ()
    """Of each account and Region."""
    principal_rates: tuple[str, ...] = ()
    """Of each user, role (with all its sessions) or root user in a Region, besides."""
    burst_seconds: float = 1.0
    """How long a rate can be saved up for a burst."""
    buckets: int = 100_000
    """How many accounts and principals, times groups, are told apart at once."""
    failures_of_source: float = 5.0
    """Calls a second of one source (an IPv4 address, an IPv6 network of 64 bits) that don't prove who calls and are
    recorded one by one; 0: all are."""
    failures_together: float = 20.0
    """Such calls a second of all sources together; 0: all are."""
    failures_burst_seconds: float = 60.0
    """How long these two rates can be saved up."""

    def __post_init__(self) -> None:
        need(0 < self.burst_seconds <= 3_600, "throttling.burst_seconds", "more than 0, at most 3600")
        need(100 <= self.buckets <= 10_000_000, "throttling.buckets", "100 to 10000000")
        for name in ("failures_of_source", "failures_together"):
            rate = getattr(self, name)
            need(rate == 0 or 0.001 <= rate <= 1_000_000, f"throttling.{name}", "0, or 0.001 to 1000000")
        burst = self.failures_burst_seconds
        need(0 < burst <= 86_400, "throttling.failures_burst_seconds", "more than 0, at most 86400")


@dataclass(frozen=True, slots=True)
class QuotasConfig:
    """How much there may be, where AWS lets it be adjusted; the defaults are AWS's. What is there already stays."""

    keys_per_account: int = 100_000
    """KMS keys of an account in a Region."""
    aliases_per_key: int = 50
    grants_per_key: int = 50_000
    custom_key_stores: int = 10
    """Of an account in a Region."""

    def __post_init__(self) -> None:
        for name in ("keys_per_account", "aliases_per_key", "grants_per_key", "custom_key_stores"):
            need(1 <= getattr(self, name) <= 10_000_000, f"quotas.{name}", "1 to 10000000")


@dataclass(frozen=True, slots=True)
class OidcConfig:
    """How keys of OpenID Connect issuers are fetched."""

    ca_file: str = ""
    """Authorities (PEM) that issuers' certificates may come from, beside those that the system trusts."""
    fetch_seconds: float = 5.0
    """How long one fetch may take."""
    refresh_seconds: float = 300.0
    """Keys older than this are fetched anew when they are used."""
    max_age_seconds: float = 86_400.0
    """How long keys serve while their issuer can't be reached."""

    def __post_init__(self) -> None:
        need(0 < self.fetch_seconds <= 60, "oidc.fetch_seconds", "more than 0, at most 60")
        need(0 < self.refresh_seconds <= 86_400, "oidc.refresh_seconds", "more than 0, at most 86400")
        need(
            self.refresh_seconds <= self.max_age_seconds <= 604_800,
            "oidc.max_age_seconds", "at least oidc.refresh_seconds, at most 604800",
        )


@dataclass(frozen=True, slots=True)
class XksProxyConfig:
    """Keys of this service as external keys of AWS KMS, or of another Kagitori: the XKS proxy API over HTTPS. Requests
    are signed with access keys."""

    listen: str = ""
    """`host:port`; empty for none."""
    path_prefix: str = ""
    """What comes before `/kms/xks/v1` in paths, such as `/example`."""
    keys: tuple[str, ...] = ()
    """Which keys are offered, `external-id=key`: a key id, alias or ARN, as the principal that signs may name it."""
    client_ca_file: str = ""
    """With it, nobody connects without a client certificate of this CA."""
    client_name: str = ""
    """The common name that the client certificate must have, such as `cks.kms.us-east-1.amazonaws.com`."""

    def __post_init__(self) -> None:
        need(not self.listen or is_address(self.listen), "xks_proxy.listen", "host:port")
        prefix = _XKS_PREFIX.fullmatch(self.path_prefix)
        need(prefix, "xks_proxy.path_prefix", "empty, or / and at most 116 letters, digits, slashes, - and _")
        offers = [_XKS_OFFER.fullmatch(offer) for offer in self.keys]
        need(all(offers), "xks_proxy.keys", "a list of external-id=key")
        need(len(self.offered) == len(self.keys), "xks_proxy.keys", "a list without repeated external ids")
        need(
            bool(self.client_ca_file) == bool(self.client_name),
            "xks_proxy", "both client_ca_file and client_name, or none",
        )

    @property
    def offered(self) -> dict[str, str]:
        """External id -> key id, alias or ARN."""
        return dict(offer.split("=", 1) for offer in self.keys)


@dataclass(frozen=True, slots=True)
class AwsConfig:
    """The protocols of AWS services, for AWS SDKs and the AWS CLI. Requests are signed with access keys."""

    listen: str = ""
    """`host:port`, HTTPS with the certificate of `tls`; empty for none."""
    plaintext: bool = False
    """No TLS; loopback addresses only."""

    def __post_init__(self) -> None:
        need(not self.listen or is_address(self.listen), "aws.listen", "host:port")


@dataclass(frozen=True, slots=True)
class ClusterConfig:
    """A PKCS#11 token that custom key stores may use, under the name of a CloudHSM cluster."""

    module: str = ""
    """Path of the token's PKCS#11 library."""
    token_label: str = ""
    token_serial: str = ""
    """At least one of both, which no other token has."""
    deadline_seconds: float = 10.0
    """How long one use of a key may take."""
    change_pin: bool = True
    """Whether connecting gives the token's user a PIN that this deployment alone knows."""
    copy_of: str = ""
    """The cluster whose keys this one has copies of, so that a custom key store may change from one to the other."""
    softhsm_conf: str = ""
    """What SoftHSM reads as SOFTHSM2_CONF."""
    library_parameters: str = ""
    """What the library is started with, for those that want something (NSS)."""

    def __post_init__(self) -> None:
        need(self.module, "hsm.….module", "the path of a PKCS#11 library")
        need(self.token_label or self.token_serial, "hsm.…", "a section with token_label or token_serial")
        need(0 < self.deadline_seconds <= 600, "hsm.….deadline_seconds", "more than 0, at most 600")


@dataclass(frozen=True, slots=True)
class XksConfig:
    """How external key store proxies are called."""

    ca_file: str = ""
    """The only authorities (PEM) that proxies' certificates may come from; empty: those that the system trusts."""
    port: int = 443
    """Where proxies listen: AWS's addresses of them name no port."""
    deadline_seconds: float = 0.25
    """How long a proxy may take to answer; a network timeout is tried once more."""
    hosts: tuple[str, ...] = ()
    """Host names that proxies may have; empty: any."""

    def __post_init__(self) -> None:
        need(all(map(_HOST.fullmatch, self.hosts)), "xks.hosts", "a list of host names in lower case")
        need(1 <= self.port <= 65_535, "xks.port", "1 to 65535")
        need(0 < self.deadline_seconds <= 30, "xks.deadline_seconds", "more than 0, at most 30")


@dataclass(frozen=True, slots=True)
class AttestationConfig:
    """Which attestation documents of recipients are believed."""

    roots_file: str = ""
    """Certificates (PEM) that documents may lead to; empty for the root that AWS publishes for Nitro."""
    max_age_seconds: float = 300.0
    """How long a document can be used after it was made."""

    def __post_init__(self) -> None:
        need(0 < self.max_age_seconds <= 86_400, "attestation.max_age_seconds", "more than 0, at most 86400")


@dataclass(frozen=True, slots=True)
class LogConfig:
    """The service's own log, on standard error. It never holds payloads, keys or tokens."""

    level: str = "info"
    format: str = "auto"
    """`json`, `text`, or `auto`: text on a terminal, JSON elsewhere."""

    def __post_init__(self) -> None:
        need(self.level in ("debug", "info", "warning", "error"), "log.level", "debug, info, warning or error")
        need(self.format in ("auto", "json", "text"), "log.format", "auto, json or text")


@dataclass(frozen=True, slots=True)
class Config:
    """Everything that can be configured, but the data directory, which is named at the start."""

    service: ServiceConfig = field(default_factory=ServiceConfig)
    listen: ListenConfig = field(default_factory=ListenConfig)
    tls: TlsConfig = field(default_factory=TlsConfig)
    catalog: CatalogConfig = field(default_factory=CatalogConfig)
    root_key: RootKeyConfig = field(default_factory=RootKeyConfig)
    keystore: KeystoreConfig = field(default_factory=KeystoreConfig)
    limits: LimitsConfig = field(default_factory=LimitsConfig)
    audit: AuditConfig = field(default_factory=AuditConfig)
    throttling: ThrottlingConfig = field(default_factory=ThrottlingConfig)
    quotas: QuotasConfig = field(default_factory=QuotasConfig)
    oidc: OidcConfig = field(default_factory=OidcConfig)
    attestation: AttestationConfig = field(default_factory=AttestationConfig)
    aws: AwsConfig = field(default_factory=AwsConfig)
    xks_proxy: XksProxyConfig = field(default_factory=XksProxyConfig)
    hsm: Mapping[str, ClusterConfig] = field(default_factory=dict)
    """The tokens by the cluster ids that CreateCustomKeyStore names them with."""
    xks: XksConfig = field(default_factory=XksConfig)
    delivery: DeliveryConfig = field(default_factory=DeliveryConfig)
    transparency: TransparencyConfig = field(default_factory=TransparencyConfig)
    log: LogConfig = field(default_factory=LogConfig)


def load_config(
    file: Path | None, environment: Mapping[str, str], flags: Mapping[str, Mapping[str, Any]]
) -> Config:
    """The configuration from its three sources; `flags` holds given flags only, by section and name.

    Raises ConfigurationError, also for unknown sections and names: a misspelt setting must not be ignored.
    """
    values: dict[str, dict[str, Any]] = {section.name: {} for section in dataclasses.fields(Config)}
    for source, found in (
        (f"{file}", _read_file(file) if file else {}),
        ("the environment", _read_environment(environment)),
        ("the flags", flags),
    ):
        for section, members in found.items():
            if section not in values or not isinstance(members, Mapping):
                raise ConfigurationError(f"{source}: there is no section {section!r}")
            values[section].update(members)
    types = typing.get_type_hints(Config)
    clusters = _clusters(values.pop("hsm"))
    sinks = _sinks(values["audit"].pop("sinks", []))
    sections = {name: _section(name, types[name], given) for name, given in values.items()}
    return Config(hsm=clusters, **{**sections, "audit": replace(sections["audit"], sinks=sinks)})


def _clusters(given: Mapping[str, Any]) -> Mapping[str, ClusterConfig]:
    for name, members in given.items():
        need(_CLUSTER.fullmatch(name), f"hsm.{name[:40]}", "cluster- and 11 to 16 of 2-7, a-z and A-Z")
        need(isinstance(members, Mapping), f"hsm.{name}", "a section")
    clusters = {name: _section(f"hsm.{name}", ClusterConfig, members) for name, members in given.items()}
    for name, cluster in clusters.items():
        need(not cluster.copy_of or cluster.copy_of in clusters, f"hsm.{name}.copy_of", "another cluster's section")
    return clusters


def _sinks(given: Any) -> tuple[SinkConfig, ...]:
    need(isinstance(given, list), "audit.sinks", "tables [[audit.sinks]]")
    sinks = []
    for number, members in enumerate(given):
        need(isinstance(members, Mapping), f"audit.sinks[{number}]", "a table")
        sink = _section(f"audit.sinks[{number}]", SinkConfig, members)
        for met, setting, wanted in sink.demands():
            need(met, f"audit.sinks[{number}].{setting}", wanted)
        sinks.append(sink)
    need(len({sink.name for sink in sinks}) == len(sinks), "audit.sinks", "tables of different names")
    return tuple(sinks)


def _section(name: str, cls: type[Any], given: Mapping[str, Any]) -> Any:
    hints = typing.get_type_hints(cls)
    unknown = given.keys() - hints.keys()
    if unknown:
        raise ConfigurationError(f"{name}.{min(unknown)} is not a setting")
    return cls(**{member: converted(f"{name}.{member}", hints[member], value) for member, value in given.items()})


def _read_file(file: Path) -> dict[str, Any]:
    try:
        with file.open("rb") as opened:
            content = opened.read(_MAX_FILE_BYTES + 1)
        need(len(content) <= _MAX_FILE_BYTES, str(file), "a file of at most 1 MiB")
        return tomllib.loads(content.decode())
    except OSError as error:
        raise ConfigurationError(f"{file}: {error.strerror}") from None
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigurationError(f"{file} is not TOML: {error}") from None


def _read_environment(environment: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """Variables of the form KAGITORI_SECTION__NAME; others with the prefix belong to the client."""
    found: dict[str, dict[str, Any]] = {}
    for variable, value in environment.items():
        if variable.startswith(_ENVIRONMENT_PREFIX) and "__" in variable:
            section, name = variable.removeprefix(_ENVIRONMENT_PREFIX).lower().split("__", 1)
            found.setdefault(section, {})[name] = value
    return found
