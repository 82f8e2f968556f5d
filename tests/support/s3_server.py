"""An S3 server: a process of its own (moto), which keeps buckets in memory."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from types import TracebackType
from typing import Any

import boto3
from botocore.exceptions import EndpointConnectionError

READY_SECONDS = 60
ACCESS_KEY_ID, SECRET = "test-access-key", "test-secret"


class S3Server:
    """Serves until the block ends."""

    def __init__(self) -> None:
        with socket.socket() as found:
            found.bind(("127.0.0.1", 0))
            port = found.getsockname()[1]
        self.endpoint = f"http://127.0.0.1:{port}"
        self._process = subprocess.Popen(
            [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )
        self.client: Any = boto3.client(
            "s3", endpoint_url=self.endpoint, region_name="us-east-1", aws_access_key_id=ACCESS_KEY_ID,
            aws_secret_access_key=SECRET,
        )
        self._await()

    def new_bucket(self, name: str) -> str:
        """Makes an empty bucket."""
        self.client.create_bucket(Bucket=name)
        return name

    def objects(self, bucket: str) -> list[str]:
        """The keys of a bucket, in order."""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=bucket)
        return [found["Key"] for page in pages for found in page.get("Contents", ())]

    def __enter__(self) -> S3Server:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        self._process.wait(READY_SECONDS)

    def _await(self) -> None:
        end = time.monotonic() + READY_SECONDS
        while True:
            try:
                self.client.list_buckets()
            except EndpointConnectionError:
                assert self._process.poll() is None, "the S3 server ended"
                assert time.monotonic() < end, "the S3 server doesn't answer"
                time.sleep(0.1)
            else:
                return
