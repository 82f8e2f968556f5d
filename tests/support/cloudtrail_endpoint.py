"""What `aws cloudtrail validate-logs` asks of CloudTrail, answered over HTTP from a catalog: DescribeTrails and
ListPublicKeys in AWS JSON 1.1."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

from tests.support.s3_server import ACCESS_KEY_ID, SECRET, S3Server

from kagitori_server.delivery.checking import known_of
from kagitori_server.delivery.naming import TrailDescription
from kagitori_server.storage.catalog import Catalog

CLI_SECONDS = 120


class CloudTrailEndpoint:
    """Answers until the block ends."""

    def __init__(self, trail: TrailDescription, catalog: Catalog) -> None:
        answers: dict[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
            "DescribeTrails": lambda _: _trails(trail), "ListPublicKeys": lambda asked: _keys(catalog, asked),
        }

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                name = self.headers["X-Amz-Target"].rpartition(".")[2]
                content = json.dumps(answers[name](asked))
                self.send_response(200)
                self.send_header("Content-Type", "application/x-amz-json-1.1")
                self.end_headers()
                self.wfile.write(content.encode())

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever)

    def __enter__(self) -> CloudTrailEndpoint:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _trails(trail: TrailDescription) -> dict[str, Any]:
    return {"trailList": [{
        "Name": trail.name, "TrailARN": trail.arn, "S3BucketName": trail.bucket, "S3KeyPrefix": trail.prefix,
        "HomeRegion": trail.home_region, "IsOrganizationTrail": False, "IsMultiRegionTrail": True,
    }]}


def _keys(catalog: Catalog, asked: Mapping[str, Any]) -> dict[str, Any]:
    start, end = (_moment(asked[name]) for name in ("StartTime", "EndTime"))
    return {"PublicKeyList": [
        {
            "Value": base64.b64encode(key.value).decode(), "Fingerprint": key.fingerprint,
            "ValidityStartTime": key.validity_start, "ValidityEndTime": key.validity_end,
        }
        for key in known_of(catalog).keys if key.validity_start <= end and key.validity_end >= start
    ]}


def _moment(value: Any) -> float:
    return float(value) if isinstance(value, int | float) else datetime.fromisoformat(value).timestamp()


def validate_logs(
    s3: S3Server, trail: TrailDescription, catalog: Catalog, start: float, end: float, *, account: str = "",
    region: str = "",
) -> str:
    """What `aws cloudtrail validate-logs` says of a time, with every file that it looks at."""
    with CloudTrailEndpoint(trail, catalog) as endpoint:
        times = [datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%SZ") for moment in (start, end)]
        done = subprocess.run(
            [
                sys.executable, "-m", "awscli", "cloudtrail", "validate-logs", "--trail-arn",
                trail.arn, "--start-time", times[0], "--end-time", times[1], "--verbose",
                *(["--account-id", account] if account else []),
                "--region", region or trail.home_region,
            ],
            env={
                **os.environ, "AWS_ACCESS_KEY_ID": ACCESS_KEY_ID, "AWS_SECRET_ACCESS_KEY": SECRET,
                "AWS_ENDPOINT_URL_S3": s3.endpoint, "AWS_ENDPOINT_URL_CLOUDTRAIL": endpoint.address,
                "AWS_EC2_METADATA_DISABLED": "true",
            },
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=CLI_SECONDS, check=False,
        )
    return done.stdout
