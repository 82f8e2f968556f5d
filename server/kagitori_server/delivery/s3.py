"""A bucket as destination, of Amazon S3 or of whatever has its API."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import boto3
import botocore.config
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError

from kagitori_server.delivery.destination import OBJECT_MAX_BYTES, DestinationFailed, Stored

_CONNECT_SECONDS = 5
_READ_SECONDS = 30
_ABSENT = frozenset({"NoSuchKey", "404"})
_FAILURES = (BotoCoreError, ClientError, HTTPClientError)


@dataclass(frozen=True, slots=True)
class Bucket:
    """Which bucket, and how it is reached."""

    name: str
    region: str
    endpoint: str = ""
    """`https://host:port` of a service other than Amazon's; empty for that."""
    ca_file: str = ""
    """The only authorities (PEM) of its certificate; empty: those that botocore comes with."""
    access_key_id: str = ""
    secret_access_key: str = field(default="", repr=False)
    """Empty: where boto3 looks by itself."""


class S3Destination:
    """Objects of a bucket. With `kms_key` (an ARN), log files are put with that key for the bucket's own encryption
    (SSE-KMS) and `trail_arn` in the encryption context, for a service that knows the key."""

    def __init__(self, bucket: Bucket, kms_key: str = "", trail_arn: str = "") -> None:
        self._bucket = bucket.name
        self._encryption: dict[str, str] = {}
        if kms_key:
            context = json.dumps({"aws:cloudtrail:arn": trail_arn}, separators=(",", ":"))
            self._encryption = {
                "ServerSideEncryption": "aws:kms", "SSEKMSKeyId": kms_key,
                "SSEKMSEncryptionContext": base64.b64encode(context.encode()).decode(),
            }
        session = boto3.session.Session(
            aws_access_key_id=bucket.access_key_id or None, aws_secret_access_key=bucket.secret_access_key or None,
            region_name=bucket.region,
        )
        # Services other than Amazon's seldom have a host name for each bucket.
        addressing = {"addressing_style": "path"} if bucket.endpoint else {}
        self._client: Any = session.client(
            "s3", endpoint_url=bucket.endpoint or None, verify=bucket.ca_file or None,
            config=botocore.config.Config(
                connect_timeout=_CONNECT_SECONDS, read_timeout=_READ_SECONDS, s3=addressing,
                retries={"mode": "standard", "total_max_attempts": 2},
            ),
        )

    def put(self, key: str, content: bytes, metadata: Mapping[str, str]) -> None:
        """One PutObject, which is all or nothing."""
        encryption = {} if metadata else self._encryption
        try:
            self._client.put_object(
                Bucket=self._bucket, Key=key, Body=content, Metadata=dict(metadata), ContentType="application/json",
                ContentEncoding="gzip", **encryption,
            )
        except _FAILURES as error:
            raise self._failed(error) from None

    def get(self, key: str) -> Stored | None:
        """One GetObject."""
        try:
            found = self._client.get_object(Bucket=self._bucket, Key=key)
            content: bytes = found["Body"].read(OBJECT_MAX_BYTES + 1)
        except ClientError as error:
            if _code(error) in _ABSENT:
                return None
            raise self._failed(error) from None
        except _FAILURES as error:
            raise self._failed(error) from None
        if len(content) > OBJECT_MAX_BYTES:
            raise DestinationFailed(f"{key} is larger than {OBJECT_MAX_BYTES} bytes")
        return Stored(content, found["Metadata"])

    def keys(self, prefix: str) -> Iterator[str]:
        """ListObjectsV2, page after page."""
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=prefix)
        try:
            for page in pages:
                for found in page.get("Contents", ()):
                    yield found["Key"]
        except _FAILURES as error:
            raise self._failed(error) from None

    def _failed(self, error: Exception) -> DestinationFailed:
        # What errors say in full may quote requests, with their headers.
        what = _code(error) if isinstance(error, ClientError) else type(error).__name__
        return DestinationFailed(f"bucket {self._bucket}: {what}")


def _code(error: ClientError) -> str:
    code: str = error.response.get("Error", {}).get("Code", "")
    return code or "ClientError"
