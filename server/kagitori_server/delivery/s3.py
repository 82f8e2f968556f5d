"""A bucket as destination, of Amazon S3 or of whatever has its API."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, TypeVar

import boto3
import botocore.config
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError

from kagitori_server.delivery.destination import OBJECT_MAX_BYTES, DestinationFailed, Stored

_CONNECT_SECONDS = 5
_READ_SECONDS = 30
_CALL_SECONDS = 75.0
"""How long a call may take with all that belongs to it. botocore's timeouts are those of single waits, of which a
server that sends a byte now and then makes as many as it likes."""
_ABSENT = frozenset({"NoSuchKey", "404"})
_FAILURES = (BotoCoreError, ClientError, HTTPClientError)
_Found = TypeVar("_Found")


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

    def __init__(
        self, bucket: Bucket, kms_key: str = "", trail_arn: str = "", seconds: float = _CALL_SECONDS
    ) -> None:
        self._bucket = bucket.name
        self._seconds = seconds
        self._left: threading.Thread | None = None
        """A call that was given up and goes on."""
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
            self._in_time(lambda: self._client.put_object(
                Bucket=self._bucket, Key=key, Body=content, Metadata=dict(metadata), ContentType="application/json",
                ContentEncoding="gzip", **encryption,
            ))
        except _FAILURES as error:
            raise self._failed(error) from None

    def get(self, key: str) -> Stored | None:
        """One GetObject."""
        def ask() -> Stored:
            found = self._client.get_object(Bucket=self._bucket, Key=key)
            return Stored(found["Body"].read(OBJECT_MAX_BYTES + 1), found["Metadata"])

        try:
            stored = self._in_time(ask)
        except ClientError as error:
            if _code(error) in _ABSENT:
                return None
            raise self._failed(error) from None
        except _FAILURES as error:
            raise self._failed(error) from None
        if len(stored.content) > OBJECT_MAX_BYTES:
            raise DestinationFailed(f"{key} is larger than {OBJECT_MAX_BYTES} bytes")
        return stored

    def tidy(self, before: float, until: Callable[[], bool]) -> None:
        """A put that is broken off leaves nothing."""

    def keys(self, prefix: str) -> Iterator[str]:
        """ListObjectsV2, page after page."""
        pages = iter(self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=prefix))
        try:
            while (page := self._in_time(lambda: next(pages, None))) is not None:
                for found in page.get("Contents", ()):
                    yield found["Key"]
        except _FAILURES as error:
            raise self._failed(error) from None

    def _in_time(self, ask: Callable[[], _Found]) -> _Found:
        """What `ask` gives, or raises. On a thread that nobody waits for at the end; of those that were given up there
        is one at most."""
        answer: Future[_Found] = Future()
        if self._left is not None and self._left.is_alive():
            raise DestinationFailed(f"bucket {self._bucket}: an earlier call has no end yet")

        def run() -> None:
            try:
                answer.set_result(ask())
            except BaseException as error:  # noqa: BLE001 - it is raised to who asked
                answer.set_exception(error)

        thread = threading.Thread(target=run, name="s3-call", daemon=True)
        thread.start()
        try:
            return answer.result(self._seconds)
        except TimeoutError:
            self._left = thread
            raise DestinationFailed(f"bucket {self._bucket}: it took too long") from None

    def _failed(self, error: Exception) -> DestinationFailed:
        # What errors say in full may quote requests, with their headers.
        what = _code(error) if isinstance(error, ClientError) else type(error).__name__
        return DestinationFailed(f"bucket {self._bucket}: {what}")


def _code(error: ClientError) -> str:
    code: str = error.response.get("Error", {}).get("Code", "")
    return code or "ClientError"
