"""What the trail is called, and what its files are called (AWS CloudTrail, "CloudTrail log file name format" and
"digest file structure")."""

from __future__ import annotations

import base64
import hashlib
import re
import time
from dataclasses import dataclass

LOG = "CloudTrail"
DIGEST = "CloudTrail-Digest"
_UNIQUE_LENGTH = 16
_SIGNIFICANT = re.compile(
    r"(?:.+/)?AWSLogs/(?P<account>[0-9]{12})/(?P<kind>CloudTrail|CloudTrail-Digest)/(?P<region>[a-z0-9-]{1,63})/"
    r"[0-9]{4}/[0-9]{2}/[0-9]{2}/(?P<name>[^/]+)\.json\.gz"
)


@dataclass(frozen=True, slots=True)
class TrailDescription:
    """The trail as DescribeTrails tells of it. There is one in a deployment: of all accounts and Regions."""

    name: str
    partition: str
    account: str
    """The home account, whose trail it is."""
    home_region: str
    bucket: str
    """Where it is delivered to. Of a directory: the bucket that its content is meant for."""
    prefix: str
    """What object keys begin with, without the slash behind it; may be empty."""
    kms_key: str = ""
    """ARN of the key that log files are encrypted under; empty for none."""

    @property
    def arn(self) -> str:
        """`arn:PARTITION:cloudtrail:REGION:ACCOUNT:trail/NAME`."""
        return f"arn:{self.partition}:cloudtrail:{self.home_region}:{self.account}:trail/{self.name}"

    def log_key(self, account: str, region: str, moment: float, source: str) -> str:
        """The object key of a log file. Equal for equal arguments; `source` says what is in it, in any words."""
        day, minute = _utc("%Y/%m/%d", moment), _utc("%Y%m%dT%H%MZ", moment)
        unique = base64.b32encode(hashlib.sha256(f"{source} {account} {region}".encode()).digest())
        name = f"{account}_{LOG}_{region}_{minute}_{unique.decode()[:_UNIQUE_LENGTH]}"
        return f"{self.folder(account, LOG, region)}/{day}/{name}.json.gz"

    def digest_key(self, account: str, region: str, end: float) -> str:
        """The object key of the digest that ends at `end`, whole seconds since the epoch."""
        day, second = _utc("%Y/%m/%d", end), _utc("%Y%m%dT%H%M%SZ", end)
        name = f"{account}_{DIGEST}_{region}_{self.name}_{self.home_region}_{second}"
        return f"{self.folder(account, DIGEST, region)}/{day}/{name}.json.gz"

    def folder(self, account: str, kind: str, region: str) -> str:
        """What the keys of an account's and Region's files of a kind begin with."""
        return f"{self.root}/{account}/{kind}/{region}"

    @property
    def root(self) -> str:
        """What all keys begin with."""
        return f"{self.prefix}/AWSLogs" if self.prefix else "AWSLogs"

    def object_arn(self, key: str) -> str:
        """`arn:PARTITION:s3:::BUCKET/KEY`."""
        return f"arn:{self.partition}:s3:::{self.bucket}/{key}"


@dataclass(frozen=True, slots=True)
class Named:
    """An object key taken apart."""

    account: str
    kind: str
    """`CloudTrail` or `CloudTrail-Digest`."""
    region: str
    name: str
    """The last part, without its endings."""


def parse_key(key: str) -> Named | None:
    """What a key says; None for one that no file of a trail has."""
    found = _SIGNIFICANT.fullmatch(key)
    return None if found is None else Named(found["account"], found["kind"], found["region"], found["name"])


def utc_text(moment: float) -> str:
    """`YYYY-MM-DDTHH:MM:SSZ`."""
    return _utc("%Y-%m-%dT%H:%M:%SZ", moment)


def _utc(form: str, moment: float) -> str:
    return time.strftime(form, time.gmtime(int(moment)))
