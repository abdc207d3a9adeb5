"""Logging: one pipeline to standard error for the gateway's own lines and those of its libraries."""

from __future__ import annotations

import logging
import sys
import traceback
from pathlib import Path

import structlog

from gateway.plain import harmless


def configure_logging(*, level: str, form: str | None) -> None:
    """Log from `level` on, as `json` lines or for a `console`; libraries only from warning on.

    `form` None: for a console on a terminal, otherwise as JSON.
    """
    form = form or ("console" if sys.stderr.isatty() else "json")
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renderer: structlog.typing.Processor = (
        # Where rich is installed, the default would show every local variable, secrets too.
        structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
        if form == "console"
        else structlog.processors.JSONRenderer()
    )
    tail = [structlog.processors.format_exc_info if form == "json" else _harmless_values, renderer]
    number = logging.getLevelNamesMapping()[level.upper()]
    structlog.configure(
        processors=[*shared, *tail],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *tail],
        )
    )
    logging.basicConfig(handlers=[handler], level=max(number, logging.WARNING), force=True)


def _harmless_values(_: object, __: str, entry: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Keep names from elsewhere from steering the terminal on which a console's lines are read."""
    return {key: harmless(value) if isinstance(value, str) else value for key, value in entry.items()}


def unforeseen(error: BaseException) -> str:
    """Return what happened and where; a traceback would carry values that are nobody's business."""
    place = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {error} (line {place.lineno} of {Path(place.filename).name})"
