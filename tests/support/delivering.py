"""A deliverer over a service in the test's process, and what came of it."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.support.inprocess import HOME, REGION, REGIONS, InProcess

from kagitori_server.delivery.destination import Destination, DestinationFailed
from kagitori_server.delivery.digests import Digests
from kagitori_server.delivery.directory import DirectoryDestination
from kagitori_server.delivery.log_files import LogFiles, Sealing
from kagitori_server.delivery.naming import TrailDescription
from kagitori_server.delivery.running import Delivery
from kagitori_server.service_keys import ServiceKeys

BUCKET = "trail-bucket"
PERIOD, HOUR = 300.0, 3_600.0
DESCRIPTION = TrailDescription("kagitori", "aws", HOME, REGION, BUCKET, "audit")


class Faulty:
    """A directory that fails when it's told to: before an object is put, or after."""

    def __init__(self, root: Path) -> None:
        self.real = DirectoryDestination(root)
        self.puts: list[str] = []
        self.fail_before: str | None = None
        self.fail_after: str | None = None

    def put(self, key: str, content: bytes, metadata: Mapping[str, str]) -> None:
        if self.fail_before is not None and self.fail_before in key:
            raise DestinationFailed("away")
        self.real.put(key, content, metadata)
        self.puts.append(key)
        if self.fail_after is not None and self.fail_after in key:
            raise DestinationFailed("gone")

    get = property(lambda self: self.real.get)
    keys = property(lambda self: self.real.keys)
    tidy = property(lambda self: self.real.tidy)


class Deliverer:
    """All parts of delivery, by hand. `worker` is the name of the process that it stands for."""

    def __init__(
        self, service: InProcess, destination: Destination, worker: str = "one",
        description: TrailDescription = DESCRIPTION, key_days: int = 90, sealing: Sealing | None = None,
    ) -> None:
        self.service = service
        self.keys = ServiceKeys(service.services, REGION, service.events, key_days)
        self.logs = LogFiles(
            service.catalog, service.audit_folder, service.trail, description, destination, service.clock,
            lambda: None, sealing,
        )
        self.digests = Digests(
            service.catalog, self.keys, description, destination, service.clock, worker, HOUR
        )
        self.running = Delivery(
            service.catalog, description, self.logs, self.digests, service.clock, service.clock, PERIOD, HOUR,
            [(HOME, region) for region in REGIONS], destination.tidy,
        )

    def deliver(self) -> int:
        """Log files alone."""
        return self.logs.deliver(lambda: False)

    def hours(self, count: int) -> None:
        """Lets hours pass as they would."""
        for _ in range(count * 12):
            self.service.clock.advance(300)
            self.running.run_once()


def objects(root: Path, kind: str = "CloudTrail") -> dict[str, Any]:
    """Log files (or digests) of a directory by object key, read."""
    return {
        path.relative_to(root).as_posix(): json.loads(gzip.decompress(path.read_bytes()))
        for path in sorted(root.rglob("*.json.gz")) if f"/{kind}/" in path.as_posix()
    }


def delivered(root: Path) -> list[dict[str, Any]]:
    """All records of all log files."""
    return [record for found in objects(root).values() for record in found["Records"]]
