"""Structured logs: one event a line on stderr, JSON for programs, aligned text for people at a terminal.

Owns the set-up; the rooms below get `log_event(name, fields)` and know nothing of it. Rule: an event has a fixed
name and its facts as fields, never a sentence with values in it, so that logs can be counted.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Mapping
from typing import Any, TextIO

import structlog

from gramme.runtime.config import Settings

LogEvent = Callable[[str, Mapping[str, Any]], None]

_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


def configure(settings: Settings, stream: TextIO | None = None) -> structlog.typing.FilteringBoundLogger:
    """Set the process's logging up and return its logger, bound to the node. `stream`: stderr by default."""
    stream = sys.stderr if stream is None else stream
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            _plain_bytes,
            _renderer(settings, stream),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[settings.log_level]),
        logger_factory=structlog.PrintLoggerFactory(stream),
        cache_logger_on_first_use=True,
    )
    logger: structlog.typing.FilteringBoundLogger = structlog.get_logger().bind(node=settings.node_id)
    return logger


def event_logger(logger: structlog.typing.FilteringBoundLogger) -> LogEvent:
    """The `log_event` of `node.ports.Ports`. A field `level` sets the event's level ("info" without)."""

    def log_event(name: str, fields: Mapping[str, Any]) -> None:
        level = _LEVELS.get(fields.get("level", "info"), logging.INFO)
        logger.log(level, name, **{key: value for key, value in fields.items() if key not in ("level", "event")})

    return log_event


def _renderer(settings: Settings, stream: TextIO) -> structlog.typing.Processor:
    console = settings.log_format == "console" or (settings.log_format == "auto" and stream.isatty())
    if console:
        return structlog.dev.ConsoleRenderer(colors=stream.isatty())
    return structlog.processors.JSONRenderer()


def _plain_bytes(_logger: Any, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    for key, value in event.items():
        if isinstance(value, bytes):
            event[key] = value.hex()
    return event
