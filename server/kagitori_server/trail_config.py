"""What is configured of the audit trail: how long it is kept, where it is sent and delivered, what is proven of it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from kagitori_server.setting_values import need
from kagitori_server.sink_config import SinkConfig
from kagitori_server.timed_http import is_loopback

_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_KEY_PREFIX = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*(?:/[A-Za-z0-9_-][A-Za-z0-9._-]*)*")
_TRAIL = re.compile(r"[A-Za-z0-9](?:[._-]?[A-Za-z0-9]){2,127}")
_KEY_ARN = re.compile(r"arn:[a-z-]{1,30}:kms:[a-z0-9-]{1,63}:[0-9]{12}:key/[a-z0-9-]{1,64}")


@dataclass(frozen=True, slots=True)
class AuditConfig:
    """How long the audit trail is kept, and where, and to whom it is sent on. Whole segments of 64 MiB are moved and
    removed."""

    retention_days: float = 0.0
    """Records older than this are removed, provably by this setting; 0 keeps them for ever."""
    archive_directory: str = ""
    """Where segments are compressed to; empty for nowhere. One directory for each data directory."""
    archive_days: float = 7.0
    """Segments go to the archive when their records are that old."""
    keeping_seconds: float = 3600.0
    """How often it is looked for what can be moved or removed."""
    sinks: tuple[SinkConfig, ...] = ()
    """Receivers of records as they come; each is a table `[[audit.sinks]]`."""

    def __post_init__(self) -> None:
        for name in ("retention_days", "archive_days"):
            need(0 <= getattr(self, name) <= 36_500, f"audit.{name}", "0 to 36500")
        need(0 < self.keeping_seconds <= 86_400, "audit.keeping_seconds", "more than 0, at most 86400")


def _is_endpoint(url: str) -> bool:
    """Whether it's `https://host[:port]`, or `http://` with a loopback address."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        return False
    if not host or parts.username is not None or parts.query or parts.fragment:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and is_loopback(host))


@dataclass(frozen=True, slots=True)
class DeliveryConfig:
    """Where the audit trail is delivered to, as log files and digests of CloudTrail: a directory, a bucket or none."""

    directory: str = ""
    """Path of a directory; empty for none."""
    s3_bucket: str = ""
    """Name of an S3 bucket. With `directory`: the bucket that its content is meant for, which digests name."""
    prefix: str = ""
    """What object keys begin with, without a slash behind it."""
    s3_endpoint: str = ""
    """`https://host:port` of an S3 service other than Amazon's."""
    s3_region: str = ""
    """Region of the bucket; empty for `service.region`."""
    s3_ca_file: str = ""
    """The only authorities (PEM) of the endpoint's certificate; empty: those that botocore comes with."""
    s3_credentials_file: str = ""
    """File with `aws_access_key_id` and `aws_secret_access_key` in a section `[default]`; empty: where boto3 looks by
    itself, such as the environment."""
    trail: str = "kagitori"
    """The trail's name."""
    period_seconds: float = 300.0
    """How often log files are delivered."""
    digest_seconds: float = 3_600.0
    """How often digests are."""
    signing_key_days: int = 90
    """After so many days another key signs."""
    kms_key: str = ""
    """ARN of a symmetric key of this service under which log files are encrypted."""
    kms_by_bucket: bool = False
    """Whether the bucket encrypts (SSE-KMS), which then has to be able to use `kms_key`; else this service does."""

    def __post_init__(self) -> None:
        need(not self.s3_bucket or _BUCKET.fullmatch(self.s3_bucket), "delivery.s3_bucket", "the name of a bucket")
        need(not self.prefix or _KEY_PREFIX.fullmatch(self.prefix), "delivery.prefix",
              "letters, digits, dots, underscores and hyphens between slashes, with none at its ends")
        need(_TRAIL.fullmatch(self.trail), "delivery.trail", "3 to 128 letters, digits, dots, underscores and hyphens")
        need(0 < self.period_seconds <= 86_400, "delivery.period_seconds", "more than 0, at most 86400")
        need(1 <= self.digest_seconds <= 86_400, "delivery.digest_seconds", "1 to 86400")
        need(1 <= self.signing_key_days <= 3_650, "delivery.signing_key_days", "1 to 3650")
        need(not self.kms_key or _KEY_ARN.fullmatch(self.kms_key), "delivery.kms_key", "the ARN of a key")
        need(
            not self.kms_by_bucket or (self.kms_key and self.s3_bucket and not self.directory),
            "delivery.kms_by_bucket", "false without a kms_key and a bucket",
        )
        need(
            not self.s3_endpoint or _is_endpoint(self.s3_endpoint), "delivery.s3_endpoint",
            "https://host:port; http:// is for loopback addresses, since records are sent in the clear",
        )

    @property
    def wanted(self) -> bool:
        """Whether anything is delivered."""
        return bool(self.directory or self.s3_bucket)


@dataclass(frozen=True, slots=True)
class TransparencyConfig:
    """The trees over the audit trail, in which single records can be proven."""

    log_name: str = "kagitori"
    """What the names of this installation's logs begin with, such as `kms.example.com/audit`: printable ASCII without
    spaces and plus signs. Another name makes other logs of them."""
    update_seconds: float = 5.0
    """How often records that came are added to the trees and, once somebody has asked for a head, checkpoints are
    published. Who asks doesn't wait for that. 0: when asked only, and before records are removed."""

    def __post_init__(self) -> None:
        good = self.log_name.isascii() and self.log_name.isprintable() and not {" ", "+"} & set(self.log_name)
        need(good and 1 <= len(self.log_name) <= 200, "transparency.log_name", "1 to 200 characters, no space, no +")
        need(0 <= self.update_seconds <= 86_400, "transparency.update_seconds", "0 to 86400")
