"""What the service does by itself: ending keys and imported material whose time has come, rotating keys, and bringing
records into the trail.

Each is safe to run in several processes at once: the catalog's write turns are taken one after the other, and
whoever comes second finds nothing left to do.
"""

from __future__ import annotations

from kagitori_server.workers.deletion import DeletionWorker
from kagitori_server.workers.expiration import ExpirationWorker
from kagitori_server.workers.intents import recover_intents
from kagitori_server.workers.repeating import every
from kagitori_server.workers.rotation import RotationWorker
from kagitori_server.workers.usage import UsageWorker

__all__ = ["DeletionWorker", "ExpirationWorker", "RotationWorker", "UsageWorker", "every", "recover_intents"]
