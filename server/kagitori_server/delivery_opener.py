"""Delivery of the audit trail as the configuration has it: where to, by what, and how that is verified."""

from __future__ import annotations

import time
from collections.abc import Callable
from configparser import ConfigParser
from configparser import Error as ConfigParserError
from pathlib import Path

from kagitori_server.audit.trail import Trail
from kagitori_server.config import Config, ConfigurationError
from kagitori_server.configured import read_secret
from kagitori_server.delivery.checking import DeliveryReport, check_delivery, known_of
from kagitori_server.delivery.destination import Destination, DestinationFailed
from kagitori_server.delivery.digests import Digests
from kagitori_server.delivery.directory import DirectoryDestination
from kagitori_server.delivery.log_files import LogFiles, Sealing
from kagitori_server.delivery.naming import TrailDescription
from kagitori_server.delivery.running import Delivery
from kagitori_server.model.errors import DependencyTimeoutException
from kagitori_server.operations.context import Services
from kagitori_server.service_calls import CLOUDTRAIL, ServiceCaller
from kagitori_server.service_keys import ServiceKeys
from kagitori_server.storage.catalog import Catalog

_DIRECTORY_BUCKET = "kagitori"
"""The bucket that digests name when a directory is delivered to and no bucket was named."""

_REST = 0.001
"""Seconds between two blocks of the trail that are read: some seventy records, in a fraction of that time."""


def open_delivery(
    config: Config, services: Services, trail: Trail, audit_root: Path, keys: ServiceKeys,
    wall: Callable[[], float], monotonic: Callable[[], float],
) -> Delivery | None:
    """The deliverer of this process; None where nothing is delivered. Raises ConfigurationError."""
    if not config.delivery.wanted:
        return None
    catalog, description, destination = services.catalog, describe_trail(config), open_destination(config)
    return Delivery(
        catalog=catalog,
        description=description,
        log_files=LogFiles(
            catalog, audit_root, trail, description, destination, wall, lambda: time.sleep(_REST),
            _sealing(config, services, trail, description),
        ),
        digests=Digests(
            catalog, keys, description, destination, wall, services.ids.uuid(), config.delivery.digest_seconds
        ),
        clock=wall,
        monotonic=monotonic,
        period=config.delivery.period_seconds,
        digest_period=config.delivery.digest_seconds,
        accounts=[(config.service.account, region) for region in config.service.served_regions],
        tidy=destination.tidy,
    )


def check_delivered(config: Config, catalog: Catalog, audit_root: Path) -> DeliveryReport | None:
    """Verifies what was delivered; None where nothing is. Raises DependencyTimeoutException when it's out of reach,
    KmsError, OSError."""
    if not config.delivery.wanted:
        return None
    try:
        return check_delivery(
            open_destination(config), describe_trail(config), lambda: known_of(catalog), audit_root
        )
    except (ConfigurationError, DestinationFailed) as error:
        raise DependencyTimeoutException(str(error)) from None


def describe_trail(config: Config) -> TrailDescription:
    """The trail that the configuration has delivered."""
    service, delivery = config.service, config.delivery
    return TrailDescription(
        name=delivery.trail, partition=service.partition, account=service.account, home_region=service.region,
        bucket=delivery.s3_bucket or _DIRECTORY_BUCKET, prefix=delivery.prefix, kms_key=delivery.kms_key,
    )


def open_destination(config: Config) -> Destination:
    """Where the configuration has the audit trail delivered to. Raises ConfigurationError."""
    delivery = config.delivery
    if delivery.directory:
        root = Path(delivery.directory)
        if not root.is_dir():
            raise ConfigurationError(f"delivery.directory: {root} is not a directory")
        return DirectoryDestination(root)
    try:
        from kagitori_server.delivery.s3 import Bucket, S3Destination
    except ImportError:
        raise ConfigurationError("delivery.s3_bucket: the extra s3 of kagitori-kms is not installed") from None
    access_key_id, secret = _s3_credentials(delivery.s3_credentials_file)
    bucket = Bucket(
        name=delivery.s3_bucket, region=delivery.s3_region or config.service.region, endpoint=delivery.s3_endpoint,
        ca_file=delivery.s3_ca_file, access_key_id=access_key_id, secret_access_key=secret,
    )
    return S3Destination(bucket, delivery.kms_key if delivery.kms_by_bucket else "", describe_trail(config).arn)


def _sealing(config: Config, services: Services, trail: Trail, description: TrailDescription) -> Sealing | None:
    """What encrypts log files under the configured key, if this service does. Raises ConfigurationError."""
    if not description.kms_key or config.delivery.kms_by_bucket:
        return None
    if description.kms_key.split(":")[4] != description.account:
        raise ConfigurationError("delivery.kms_key must be a key of the service's own account")
    try:
        from kagitori_server.delivery.sealing import EnvelopeSealing
    except ImportError:
        raise ConfigurationError("delivery.kms_key: the extra sealing of kagitori-kms is not installed") from None
    return EnvelopeSealing(ServiceCaller(services, trail, CLOUDTRAIL, description.arn), description)


def _s3_credentials(path: str) -> tuple[str, str]:
    if not path:
        return "", ""
    parser = ConfigParser(interpolation=None)
    try:
        parser.read_string(read_secret(path).decode())
        section = parser["default"]
        return section["aws_access_key_id"], section["aws_secret_access_key"]
    except (ConfigParserError, KeyError, UnicodeDecodeError):
        # No cause: it may quote the file.
        raise ConfigurationError(
            f"{path} must have a section [default] with aws_access_key_id and aws_secret_access_key"
        ) from None
