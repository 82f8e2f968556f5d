"""Audit records to elsewhere as they come: webhooks, syslog servers, OpenTelemetry collectors.

Each sink is a follower of the trail with a thread and a durable cursor of its own: it reads from the disk what is
durable already, at its own pace, and never stands in the way of a call or of another sink. What isn't delivered waits
on the disk, not in memory. A record is delivered at least once and in the order of its chain; its `eventID` tells
repetitions.
"""

from __future__ import annotations

from kagitori_server.sinks.delivery import Batch, Delivery, DeliveryFailed
from kagitori_server.sinks.follower import Follower, Pace, SinkStatus, stop_all
from kagitori_server.sinks.opening import SinkRefused, SinkTerms, open_sink

__all__ = [
    "Batch", "Delivery", "DeliveryFailed", "Follower", "Pace", "SinkRefused", "SinkStatus", "SinkTerms",
    "open_sink", "stop_all",
]
