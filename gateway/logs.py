"""Logging: one pipeline to standard error for the gateway's own lines and those of its libraries."""

from __future__ import annotations

import logging
import os
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from gateway.errors import GatewayError
from gateway.text import sanitise

if TYPE_CHECKING:
    from collections.abc import Sequence

_INFORMATIONAL = 6  # as syslog numbers them
_PRIORITIES = {"critical": 2, "error": 3, "warning": 4, "info": _INFORMATIONAL, "debug": 7}


def configure_logging(*, level: str, form: str | None) -> None:
    """Log from `level` on, as `json` lines or for a `console`; libraries from warning on.

    `form` None: console on a terminal, otherwise JSON.
    """
    form = form or ("console" if sys.stderr.isatty() else "json")
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renderer: structlog.typing.Processor = (
        # With rich installed, the default would show every local variable, secrets too.
        structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
        if form == "console"
        else structlog.processors.JSONRenderer()
    )
    if _goes_to_journald():
        renderer = _with_priority(renderer)
    tail = [structlog.processors.format_exc_info if form == "json" else _sanitised_values, renderer]
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


def log_failure(reason: str, problems: Sequence[str]) -> None:
    """Log why the daemon ends; `problems` are lines about its files, each with its place."""
    details = {"problems": problems} if problems else {}
    structlog.get_logger().critical("gateway.failed", reason=reason, **details)


def _goes_to_journald() -> bool:
    """Return whether journald reads standard error, by the variable that systemd sets for its services."""
    mark = os.environ.get("JOURNAL_STREAM")
    if mark is None:
        return False
    status = os.fstat(sys.stderr.fileno())
    return mark == f"{status.st_dev}:{status.st_ino}"


def _with_priority(renderer: structlog.typing.Processor) -> structlog.typing.Processor:
    """Begin each line with its priority, which journald reads: for `journalctl -p err`."""

    def render(logger: structlog.typing.WrappedLogger, name: str, entry: structlog.typing.EventDict) -> str:
        priority = _PRIORITIES.get(entry["level"], _INFORMATIONAL)
        lines = str(renderer(logger, name, entry)).splitlines()
        return "\n".join(f"<{priority}>{line}" for line in lines)

    return render


def _sanitised_values(_: object, __: str, entry: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Sanitise values, so that names from elsewhere cannot control the terminal."""
    return {key: sanitise(value) if isinstance(value, str) else value for key, value in entry.items()}


def error_text(error: Exception) -> str:
    """Return an error for a user: one of ours in its own words, an unexpected one with its place."""
    return str(error) if isinstance(error, GatewayError) else internal_error_text(error)


def internal_error_text(error: BaseException) -> str:
    """Return an unexpected error and its place; a traceback could contain values that must not be logged."""
    place = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {error} (line {place.lineno} of {Path(place.filename).name})"
