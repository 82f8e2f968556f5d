"""Running a job again and again."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import Executor

from kagitori_server.model.errors import KmsError

_log = logging.getLogger(__name__)


async def every(seconds: float, job: Callable[[], object], pool: Executor, name: str) -> None:
    """Runs `job` in `pool` again and again until cancelled. A failure is logged and the next round comes."""
    loop = asyncio.get_running_loop()
    while True:
        try:
            await loop.run_in_executor(pool, job)
        except KmsError as error:
            _log.warning("%s: %s; trying again in %.0f s", name, error.message or error.code(), seconds)
        except Exception:  # noqa: BLE001 - a worker that dies silently would be worse than one that repeats itself
            _log.exception("%s failed; trying again in %.0f s", name, seconds)
        await asyncio.sleep(seconds)
