"""The service's own log: one line per event on standard error, JSON for machines or text for people.

What is logged never holds payloads, key material or tokens: modules log names, counts and reasons. An exception is
told by its kind and the lines of code it passed, not by its text, which may quote what a caller sent, and not by
the values it met. The audit trail is something else and lives in `audit/`.
"""

from __future__ import annotations

import logging
import sys
import traceback

import structlog

from kagitori_server.config import LogConfig


def configure_logs(config: LogConfig) -> None:
    """Sends the standard library's logging through structlog's renderers. Call once, at the start."""
    as_json = config.format == "json" or (config.format == "auto" and not sys.stderr.isatty())
    shared: list[structlog.typing.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.ExceptionRenderer(_without_texts),
    ]
    renderer: structlog.typing.Processor
    if as_json:
        renderer = structlog.processors.JSONRenderer()
    else:
        # Its own choice would show the values of local variables, keys and payloads among them.
        plain = structlog.dev.plain_traceback
        renderer = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=plain)
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


def _without_texts(exc_info: structlog.typing.ExcInfo) -> str:
    """The kinds of an exception and of those that led to it, and where each was raised."""
    told = []
    error: BaseException | None = exc_info[1]
    while error is not None:
        kind = type(error)
        frames = "".join(traceback.format_tb(error.__traceback__))
        told.append(f"{kind.__module__}.{kind.__qualname__}\n{frames}".rstrip())
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return "\nled to by\n".join(told)
