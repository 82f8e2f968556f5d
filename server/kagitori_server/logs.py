"""The service's own log: one line per event on standard error, JSON for machines or text for people.

What is logged never holds payloads, key material or tokens: modules log names, counts and reasons. The audit
trail is something else and lives in `audit/`.
"""

from __future__ import annotations

import logging
import sys

import structlog

from kagitori_server.config import LogConfig


def configure_logs(config: LogConfig) -> None:
    """Sends the standard library's logging through structlog's renderers. Call once, at the start."""
    as_json = config.format == "json" or (config.format == "auto" and not sys.stderr.isatty())
    shared: list[structlog.typing.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renderer: structlog.typing.Processor
    if as_json:
        shared.append(structlog.processors.format_exc_info)
        renderer = structlog.processors.JSONRenderer()
    else:
        renderer = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(config.level.upper())
    # Its migrations announce every step; what went wrong is raised anyway.
    logging.getLogger("alembic").setLevel(logging.WARNING)
